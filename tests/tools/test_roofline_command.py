"""`tools.benchmark --target`: the report of a stored program, bad input, and a real compilation where libtpu is."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jax.experimental import topologies

from configs import tiny
from stylegan_jax import roofline
from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config import from_dict
from stylegan_jax.tools.benchmark import roofline as command, roofline_report
from stylegan_jax.tools.benchmark.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
RECIPE = f"--config={ROOT / 'configs' / 'tiny.py'}"
TEXT = (ROOT / "tests" / "roofline" / "two_chips.hlo").read_text()
# ml_collections loads a recipe in the old way.
pytestmark = pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def record():
    """Return a record as the tool makes it, with one stored program as training and as sampling."""
    chip = roofline.CHIPS["v5e"]
    cost = roofline.program(roofline.parse(TEXT), chip) | {
        "memory": {"peak": 3 * 2**29},
        "images": 8,
        "does_not_fit": "",
    }
    programs = {
        "d_main": cost | {"kind": "train", "runs_per_step": 1.0},
        "sample_8": cost | {"kind": "sample", "runs_per_step": 0.0},
    }
    return {
        "target": "v5e",
        "devices": 2,
        "effort": -1.0,
        "versions": {"jax": "0", "libtpu": "1"},
        "config": from_dict(tiny.get_config()).to_dict(),
        "compute_dtype": "bfloat16",
        "programs": programs,
        "train": roofline.iteration({"d_main": cost}, {"d_main": 1.0}, 8),
    }


def test_report_shows_the_record_and_marks_it_as_computed(record):
    text = roofline_report.text(record)
    cost = record["programs"]["d_main"]
    assert "tiny: stylegan2 at 8, batch 8, bfloat16, compiled for 2 x TPU v5e, effort -1" in text and "libtpu 1" in text
    blocks = text.split("\n\n")
    assert all("computed" in block.splitlines()[0] for block in blocks[1:]) and "computed" in blocks[0]
    row = next(line.split() for line in blocks[1].splitlines() if line.startswith("d_main"))
    s = cost["seconds"]
    wanted = [cost["flops"] / 1e9, cost["bytes"] / 1e9]
    wanted += [1000 * s[part] for part in ("arithmetic", "memory", "communication", "larger", "in_order")]
    assert [float(v) for v in row[1:8]] == pytest.approx(wanted, rel=0.006)
    assert row[-3:] == ["1.50", "memory", f"{8 / s['least']:,.0f}"]
    assert "ops/fir.py:188 _filter < ops/fir.py:135 upfirdn2d" in text
    assert f"cannot exceed {8 / s['larger']:,.0f} img/s on 2 chips" in text and "mostly memory" in text
    assert f"no implementation of these products can exceed {8 / s['least']:,.0f}" in text
    assert f"sample_8 cannot exceed {8 / s['larger']:,.0f} img/s" in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--target=v7"], "--target=v7: known: v5e, v6e, v5p"),
        (["--target=v5e", "--devices=6"], "--devices=6: a slice of v5e has 1, 2, 4"),
        (["--target=v5e", "--devices=0"], "--devices=0: a slice of v5e has 1, 2, 4"),
        (["--devices=2"], "--devices=2 needs --target"),
        (["--effort=-1"], "--effort=-1.0 needs --target"),
        (["--target=v5e", "--effort=2"], "--effort=2.0 must be from -1 to 1"),
        (["--target=v5e", "--device=cpu"], "leave out --device"),
        (["--target=v5e", "--what=data"], "leave out --device and --what=data"),
    ],
)
def test_bad_flags(capsys, flags, words):
    assert main([RECIPE, *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_missing_compiler_is_named_with_its_extra(capsys, monkeypatch):
    def missing(*_, **__):
        raise RuntimeError("JAX TPU support not installed; cannot generate TPU topology.")

    monkeypatch.setattr(topologies, "get_topology_desc", missing)
    assert main([RECIPE, "--target=v5e"]) == 2
    assert (
        "needs the TPU's compiler, the package libtpu: pip install 'stylegan_jax[roofline]'" in capsys.readouterr().err
    )
    monkeypatch.setattr(topologies, "get_topology_desc", lambda *_, **__: 1 / 0)
    with pytest.raises(ConfigError, match="--target=v5e --devices=8: libtpu has no such slice: division by zero"):
        roofline.compile_devices("v5e", 8)


def test_a_program_that_does_not_fit_says_by_how_much_and_what_helps(record):
    config = from_dict(tiny.get_config())
    error = (
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
        "Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G."
    )
    told = command.too_large("d_reg", error, command.what_helps("train", config))
    assert told.startswith("d_reg needs 20.50 GiB of the chip's 15.75 GiB: 4.75 GiB too much (computed). One of these")
    assert "config.train.grad_accum=2" in told and "config.model.remat_from=64" in told
    error = (  # of libtpu 0.0.42.1
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (24.00G) exceeds "
        "available HBM (15.75G)."
    )
    told = command.too_large("sample_8", error, command.what_helps("sample", config))
    assert told == "sample_8 needs 24.00 GiB of the chip's 15.75 GiB: 8.25 GiB too much (computed). Lower --batch"
    assert "512.00 GiB of the chip's 0.50 GiB" in command.too_large("a", "Used 0.50T of 512.00M hbm", "")
    assert command.too_large("a", "INTERNAL: no\nmore", "") == "a could not be compiled: INTERNAL: no"
    record["programs"]["d_main"]["does_not_fit"] = told
    assert f"computed: {told}" in roofline_report.text(record)


def test_what_helps_leaves_out_what_is_set():
    given = tiny.get_config()
    given.model.remat_from, given.train.grad_accum = 8, 2
    told = command.what_helps("train", from_dict(given))
    assert "remat_from" not in told and "config.train.grad_accum=4" in told


def test_a_compiled_program_larger_than_the_memory_is_reported(monkeypatch):
    """The compiler accepts some whose arguments and temporaries together exceed what it says it may use."""
    memory = {"peak": 17 * command.programs.GIB}
    monkeypatch.setattr(command.programs, "memory_of", lambda compiled: memory)

    class Program:
        trace = lower = compile = lambda self, *_, **__: self
        cost_analysis = dict
        as_text = staticmethod(lambda: TEXT)

    job = command.programs.Job("train", Program(), (), 8, 1.0)
    config, chip = from_dict(tiny.get_config()), roofline.CHIPS["v5e"]
    told = command._program("d_main", job, chip, -1.0, config)["does_not_fit"]
    assert told.startswith("d_main needs 17.00 GiB of the chip's 15.75 GiB: 1.25 GiB too much (computed).")
    memory["peak"] = 15 * command.programs.GIB
    assert command._program("d_main", job, chip, -1.0, config)["does_not_fit"] == ""


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu, of the extra 'roofline', is not installed"
)
def test_sampling_is_compiled_for_a_tpu_that_is_not_here(tmp_path):
    """In a process of its own: the package changes the process that loads it."""
    path = tmp_path / "roofline.json"
    arguments = [RECIPE, "--target=v5e", "--programs=sample_8", "--effort=-1", f"--json={path}"]
    run = [sys.executable, "-m", "stylegan_jax.tools.benchmark", *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(run, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "compiled for 1 x TPU v5e" in done.stdout and "bfloat16" in done.stdout
    found = json.loads(path.read_text())
    cost = found["programs"]["sample_8"]
    assert list(found["programs"]) == ["sample_8"] and found["computed"] is True and found["versions"]["libtpu"]
    assert 0 < cost["flops"] < cost["cost_analysis"]["flops"]  # which counts the other arithmetic too
    assert cost["memory"]["argument"] > 0 and len(cost["top"]) == 10
    assert sum(kind["flops"] for kind in cost["kinds"].values()) == cost["flops"] and "train" not in found
