"""The notebooks are valid, stripped of outputs, and run from top to bottom, on a tiny model and without network.

Their code is executed cell by cell in one namespace, as a kernel does; the cell tagged 'install' is skipped, and the
cell tagged 'parameters' is followed by the values of the test.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.metadata
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest
from PIL import Image

from configs import tiny
from notebooks import install
from stylegan_jax import features, load_model, models
from stylegan_jax.base import images
from stylegan_jax.config import from_dict
from stylegan_jax.convert import write_model_folder

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

SMALL = {"z_dim": 16, "w_dim": 16, "mapping_layers": 1, "channel_max": 8, "channel_base": 64}
QUICK = {
    "train.batch_size": 8,
    "train.num_devices": 1,
    "log.tick_kimg": 0.016,
    "log.grid_columns": 4,
    "log.grid_rows": 2,
}
QUICK |= {"loss.pl_weight": 0.0, "loss.r1_gamma": 0.0}  # two programs fewer to compile


def tags(cell: Any) -> list[str]:
    return cell["metadata"].get("tags", [])


def execute(name: str, parameters: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Run a notebook; return its names and what its cells show."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    shown, injected = [], False
    for i, cell in enumerate(json.loads((ROOT / "notebooks" / name).read_text())["cells"]):
        if cell["cell_type"] != "code" or "install" in tags(cell):
            continue
        tree = ast.parse("".join(cell["source"]), f"{name}, cell {i}")
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{name}, cell {i}", "exec"), namespace)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), f"{name}, cell {i}", "eval"), namespace))
        if "parameters" in tags(cell):
            assert not (unknown := set(parameters) - set(namespace)), unknown
            namespace.update(parameters)
            injected = True
    assert injected
    return namespace, [x for x in shown if x is not None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a small random model whose styles show."""
    tree = tiny.get_config()
    tree.model.update({"compute_dtype": "float32", "label_dim": 2})
    config = from_dict(tree).model
    g = jax.device_get(jax.jit(models.build(config).init_g)(jax.random.key(1)))
    g["w_avg"] = np.zeros(config.w_dim, np.float32)
    path = tmp_path_factory.mktemp("notebooks") / "model"
    write_model_folder(path, dataclasses.asdict(config), {"g_ema": g}, {})
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_there_are_three():
    assert [p.stem for p in NOTEBOOKS] == ["project_and_edit", "sample", "train_small"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_they_are_valid_and_stripped(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert [tags(cell) for cell in code[:2]] == [["install"], ["parameters"]]
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert not any(tags(cell) for cell in code[2:])


def install_cell(path: Path) -> str:
    return "".join(json.loads(path.read_text())["cells"][1]["source"])


def test_the_install_cells_differ_in_extras_only():
    assert len({install_cell(path).replace(', "features"', "") for path in NOTEBOOKS}) == 1


SMI = {
    "a GPU": ("echo 'GPU 0: Tesla T4 (UUID: GPU-1)'", "cuda"),
    "no device": ("echo 'No devices were found'; exit 6", ""),
    "no driver": ("echo 'NVIDIA-SMI has failed because it could not communicate with the GPU driver' ; exit 9", ""),
    "nothing": (None, ""),
}


@pytest.mark.parametrize("case", SMI)
def test_the_extra_is_that_of_what_is_there(case, tmp_path, monkeypatch):
    """Without it, Colab's GPU stays unused beside a newer jaxlib than its plugin's."""
    script, extra = SMI[case]
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(install, "find_accelerator", functools.partial(install.find_accelerator, tmp_path / "pci"))
    assert install.find_accelerator() == extra
    card = tmp_path / "pci" / "0000:00:04.0"  # Google's network card, then its TPU v5e
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x1ae0\n")
    (card / "device").write_text("0x0042\n")
    assert install.find_accelerator() == extra
    (card / "device").write_text("0x0063\n")
    assert install.find_accelerator() == (extra or "tpu")


@pytest.mark.parametrize(
    ("version", "kept"), [("2.19.0", True), ("2.20.1", True), ("3.0.0rc1", True), ("2.18.0", False), (None, False)]
)
def test_a_tensorflow_that_is_there_stays(version, kept, monkeypatch):
    def look(name):
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", look)
    assert install.has_tensorflow() is kept
    call, environment = install.command(["features", "cuda"], kept)
    assert call[1:] == ["-m", "pip", "install", "-q", "-e", ".[features,cuda]"]
    assert environment.get("STYLEGAN_JAX_TENSORFLOW") == ("own" if kept else None)
    assert install.command([""], kept)[0][-1] == "."


def test_setup_leaves_tensorflow_out_only_where_it_is_asked_to(monkeypatch):
    given = {}
    monkeypatch.setattr("setuptools.setup", lambda **options: given.update(options))
    for value, expected in (("own", False), ("", True)):
        monkeypatch.setenv("STYLEGAN_JAX_TENSORFLOW", value)
        runpy.run_path(str(ROOT / "setup.py"))
        names = [line.split(">")[0] for line in given["install_requires"]]
        assert ("tensorflow-cpu" in names, "tensorflow" in names) == (expected, expected)


def test_the_devices_are_told_and_an_unused_one_is_named(monkeypatch, capfd):
    calls = []

    def run(command, **options):
        calls.append(command)
        return subprocess.CompletedProcess(command, 0, "cpu [CpuDevice(id=0)]\n")

    monkeypatch.setattr(install, "find_accelerator", lambda: "cuda")
    monkeypatch.setattr(install.subprocess, "run", run)
    assert install.main(["features"]) == 0
    out = capfd.readouterr().out
    assert "devices of JAX: [CpuDevice(id=0)]" in out
    assert "warning: this machine has a GPU, and JAX does not use it (it uses cpu)" in out
    assert calls[0][-1] == ".[features,cuda]"
    monkeypatch.setattr(install, "find_accelerator", lambda: "")
    assert install.main([]) == 0
    assert "warning" not in capfd.readouterr().out


def test_the_install_cell_clones_once(monkeypatch, tmp_path):
    commands = []

    def run(command, check):
        commands.append(command[:2])
        if command[0] == "git":
            (Path("checkout") / "stylegan_jax").mkdir(parents=True)

    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr("sys.path", [])
    code = install_cell(NOTEBOOKS[0]).replace('REPOSITORY = ""', 'REPOSITORY = "https://example.org/x"')
    pip = [sys.executable, "-m"]
    for start, expected in ((tmp_path, [["git", "clone"], pip]), (None, []), (tmp_path, [pip])):  # again; a new kernel
        if start:
            monkeypatch.chdir(start)
        exec(code, {})
        assert Path.cwd() == tmp_path / "checkout" and commands == expected
        commands.clear()


def test_the_install_cell_does_nothing_in_a_checkout(monkeypatch, tmp_path):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setattr("sys.path", [])
    exec(install_cell(NOTEBOOKS[0]), {})
    assert Path.cwd() == tmp_path


def test_sample(folder):
    names, shown = execute("sample.ipynb", {"RUN": str(folder), "LABEL": 1, "OUT": "out"})
    assert len(shown) == 5 and all(isinstance(x, Image.Image) for x in shown)
    model = load_model(folder)
    np.testing.assert_array_equal(names["pixels"], model.sample(range(12), label=1, psi=0.7))
    assert len(list(Path("out").glob("seed*.png"))) == 12
    with np.load("out/styles.npz") as file:
        np.testing.assert_array_equal(file["w"], names["ws"])
    for picture in shown:  # each shows pictures that differ
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 50


def test_sample_takes_few_seeds(folder):
    names, shown = execute("sample.ipynb", {"RUN": str(folder), "LABEL": 0, "SEEDS": range(3, 6), "OUT": "out"})
    assert len(shown) == 5 and names["mixed"].shape == (2, *names["ws"].shape[1:])


def test_train_small():
    own = {f"model.{key}": value for key, value in SMALL.items()} | QUICK
    parameters = {"DATA": str(ROOT / "datasets/emoji64.zip"), "RESOLUTION": 8, "KIMG": 0.064, "WORKDIR": "run"}
    names, shown = execute("train_small.ipynb", parameters | {"SETTINGS": own})
    assert int(names["state"].step) == 8 and [row["nimg"] for row in names["rows"]][-1] == 64
    reals, curves, fakes = shown
    assert reals.size == (8 * 64, 3 * 64) == fakes.size and curves.size == (560, 400)
    assert names["model"].provenance["nimg"] == 64


def pixel_distance(params, image, outputs):
    return {"lpips": (image.reshape(len(image), -1) - params["zero"]) / 255 / 60}


def test_project_and_edit(folder, monkeypatch):
    net = features.FeatureNet("vgg16_lpips", {"lpips": -1}, {"zero": jnp.zeros(())}, pixel_distance, "", "")
    monkeypatch.setattr(features, "load_features", lambda name: net)
    names, shown = execute("project_and_edit.ipynb", {"RUN": str(folder), "LABEL": 0, "STEPS": 60, "OUT": "out"})
    found = names["found"]
    assert found.lpips[0] < 0.5 * found.start_lpips[0]
    assert len(shown) == 4
    drawn = names["own"].synthesize(found.ws)
    assert np.abs(drawn - found.images).max() < 1e-3  # the middle column of the grids is what was found
    np.testing.assert_array_equal(names["edited"][2], images.to_pixels(drawn)[0])
    with np.load("out/styles.npz") as file:
        np.testing.assert_array_equal(file["w"], found.ws)
    assert Path("out/edited.png").is_file()
