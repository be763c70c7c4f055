"""What people install: the wheel trains from any folder, and the source distribution is the repository."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta as b; to = sys.argv[1]; b.build_wheel(to); b.build_sdist(to)"
NOT_SHIPPED = {"setup.cfg", "PKG-INFO"}  # setuptools adds them
FORGED = "models/forged/model.json"


def tracked() -> list[str]:
    """Return the repository's files, new ones included; skip where there is no repository."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a checkout")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build both distributions from a copy of the repository; return their folder."""
    out, tree = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("tree")
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    (tree / FORGED).parent.mkdir()
    (tree / FORGED).write_text("{}")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, str(out)], cwd=tree, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shutil.rmtree(tree)
    return out


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


def test_the_source_distribution_is_the_repository(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    names = {name for name in names if ".egg-info/" not in name} - NOT_SHIPPED
    assert names == {*tracked(), FORGED}


def test_the_wheel_holds_the_recipes_and_the_data_and_no_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for name in ("emoji64.zip", "fluent64.zip", "earth.jpg"):
            assert archive.read(f"stylegan_jax/datasets/{name}") == (ROOT / "datasets" / name).read_bytes()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    shipped = {f"stylegan_jax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    assert shipped <= names and {"stylegan_jax/datasets/NOTICE", "stylegan_jax/sampling/web/page.js"} <= names
    models = [name for name in [*tracked(), FORGED] if name.startswith("models/")]
    assert {name.replace("models", "stylegan_jax/pretrained", 1) for name in models} <= names
    assert "stylegan_jax/py.typed" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"stylegan_jax"}
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Dist: orbax-checkpoint<1," in metadata
    for line in re.findall(r"Requires-Dist: tensorflow.*", metadata):
        assert 'python_version < "3.14"' in line


ADDRESS = "https://example.org/me/mine"


def test_the_page_on_pypi_has_whole_links(monkeypatch):
    given = {}
    monkeypatch.setattr("setuptools.setup", lambda **options: given.update(options))
    monkeypatch.setenv("STYLEGAN_JAX_REPOSITORY", f"{ADDRESS}/")
    runpy.run_path(str(ROOT / "setup.py"))
    page, version = given["long_description"], given["version"]
    targets = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", page)
    assert all(target.startswith(("https://", "#")) for _, target in targets), targets
    ours = [(bool(picture), t.partition(f"/v{version}/")) for picture, t in targets if t.startswith(ADDRESS)]
    assert len(ours) > 20 and {picture for picture, _ in ours} == {True, False}
    for picture, (root, _, path) in ours:
        assert root == f"{ADDRESS}/{'raw' if picture else 'blob'}" and (ROOT / path.partition("#")[0]).exists()
    assert all(url.startswith(ADDRESS) for url in given["project_urls"].values())
    monkeypatch.delenv("STYLEGAN_JAX_REPOSITORY")
    runpy.run_path(str(ROOT / "setup.py"))
    assert not re.search(r"\]\((?!https?:|#)", given["long_description"]) and not given["project_urls"]


@pytest.mark.parametrize(
    ("value", "left"), [("", {"tensorflow", "-cpu", "-datasets"}), ("own", {"-datasets"}), ("none", set())]
)
def test_tensorflow_can_be_left_out(value, left, monkeypatch):
    given = {}
    monkeypatch.setattr("setuptools.setup", lambda **options: given.update(options))
    monkeypatch.setenv("STYLEGAN_JAX_TENSORFLOW", value)
    runpy.run_path(str(ROOT / "setup.py"))
    found = re.findall(r"^tensorflow(-\w+)?>", "\n".join(given["install_requires"]), re.M)
    assert {name or "tensorflow" for name in found} == left
    monkeypatch.setenv("STYLEGAN_JAX_TENSORFLOW", "no")
    with pytest.raises(SystemExit, match="STYLEGAN_JAX_TENSORFLOW is 'no'; use 'own' to keep"):
        runpy.run_path(str(ROOT / "setup.py"))


def test_the_extras_are_those_that_the_doctor_knows(monkeypatch):
    from stylegan_jax.tools import doctor

    given = {}
    monkeypatch.setattr("setuptools.setup", lambda **options: given.update(options))
    runpy.run_path(str(ROOT / "setup.py"))
    not_of_a_command = {"test", "dev", "docs", "cuda", "tpu", "peers"}
    assert given["extras_require"].keys() - not_of_a_command == doctor.OPTIONAL.keys() - {"tensorflow"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel into an empty environment that sees the dependencies of this one; return a caller of it."""
    folder, empty = tmp_path_factory.mktemp("venv"), tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "-q", "--no-deps"]
    subprocess.run([*pip, "--no-index", "--disable-pip-version-check", "--no-warn-conflicts", str(wheel)], check=True)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "STYLEGAN_JAX_TENSORFLOW")}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(folder / "bin" / words[0]), *words[1:]], cwd=empty, env=environment, capture_output=True, text=True
        )

    where = call(
        "python", "-c", "import stylegan_jax, stylegan_jax.configs as c; print(stylegan_jax.__file__, *c.__path__)"
    )
    package = site / "stylegan_jax"
    assert where.stdout.split() == [str(package / "__init__.py"), str(package / "configs")], where.stderr
    call.folder = empty
    return call


# Few programs: those of the regularisers change nothing here.
SHORT = ("total_kimg=0.016", "num_devices=1")
SHORT = (*(f"--config.train.{key}" for key in SHORT), "--config.loss.pl_weight=0", "--config.loss.d_reg=none")
# The command with a made-up feature network: a real one costs minutes on two cores.
EVALUATE = """
import sys
import numpy as np
from stylegan_jax.__main__ import main
from stylegan_jax.features import FeatureNet
from stylegan_jax.metrics import detectors

matrix = np.random.default_rng(0).standard_normal((192, 4)).astype(np.float32)
apply = lambda params, images, outputs: {key: images.reshape(-1, 192) / 255 @ params for key in outputs}
detectors.load = lambda names, paths: {name: FeatureNet(name, {}, matrix, apply, "x", "made up") for name in names}
sys.exit(main(sys.argv[1:]))
"""
OLD = """
from configs import common, tiny

def get_config():
    c = tiny.get_config()
    c.name, c.model.w_dim = "mine", common.get_config().model.w_dim // 64
    return c
"""


def test_an_empty_folder_is_enough_to_train_sample_and_evaluate(installed):
    def works(*words: str) -> str:
        done = installed(*words)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    (installed.folder / "configs").mkdir()  # of the user's own; neither ours nor a package
    (installed.folder / "old.py").write_text(OLD)
    works("stylegan-jax", "train", "--config=tiny", "--workdir=run", *SHORT)
    works("stylegan-jax", "sample", "--model=run", "--seeds=0-3", "--out=samples")
    assert (installed.folder / "samples/grid.png").is_file() and (installed.folder / "samples/seed0003.png").is_file()
    words = ["metrics", "--model=run", "--metrics=fid5k", "--num_images=16", "--num_devices=1"]
    assert json.loads(works("python", "-c", EVALUATE, *words))["value"] >= 0
    shown = works("stylegan-jax", "train", "--config=old.py", "--dry_run")
    assert '"name": "mine"' in shown and '"w_dim": 8' in shown
    for recipe in ("quickstart", "configs/quickstart.py"):  # an error after the recipe was found
        done = installed("stylegan-jax", "train", f"--config={recipe}", "--dry_run", "--config.model.resolution=-1")
        assert done.returncode == 2 and "config.model.resolution is -1" in done.stderr
    done = installed("stylegan-jax", "train", "--config=quickstrat", "--dry_run")
    assert done.returncode == 2 and "no recipe quickstrat; did you mean 'quickstart'?" in done.stderr
    code = "from stylegan_jax import config, data; "
    code += "print(data.open_source(config.DataConfig(source='zip', path='datasets/emoji64.zip', cache='off'), "
    assert works("python", "-c", f"{code}(64, 64, 3)).info().num_images)").strip() == "3781"
