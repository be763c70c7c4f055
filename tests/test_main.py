"""The training command as a user meets it: help, and mistakes answered by one line and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stylegan_jax.config import ConfigError
from stylegan_jax.tools._command_line import unknown_key
from stylegan_jax.train.startup import make_folder

ROOT = Path(__file__).resolve().parents[1]


def command(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, "-m", "stylegan_jax.main", *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},  # one device: tiny's batch is too small for eight
        capture_output=True,
        text=True,
        timeout=240,
    )


def refused(*arguments: str) -> str:
    """Run a command that must be refused; return its one line of error."""
    done = command(*arguments)
    shown = f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in shown, shown
    assert done.returncode == 2, shown
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, shown
    assert done.stderr.rstrip().endswith(errors[0]), shown  # nothing after it
    return errors[0]


def test_help_is_quick_and_complete():
    done = command("--help", python=("-X", "importtime"))
    assert done.returncode in (0, 1)  # absl's --help exits with 1
    for flag in ("--workdir", "--config", "dry_run"):
        assert flag in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "absl.flags" in imported
    assert not {name for name in imported if name.split(".")[0] in ("tensorflow", "jax", "clu")}


def test_only_a_dry_run_needs_no_workdir():
    assert "--workdir is missing" in refused("--config=configs/tiny.py")
    assert "config.train.batch_size is 0" in refused(
        "--config=configs/tiny.py", "--dry_run", "--config.train.batch_size=0"
    )


def test_missing_data(tmp_path):
    line = refused(
        "--config=configs/tiny.py",
        f"--workdir={tmp_path / 'run'}",
        "--config.data.source=folder",
        f"--config.data.path={tmp_path / 'nowhere'}",
    )
    assert str(tmp_path / "nowhere") in line


def test_misspelt_key(tmp_path):
    line = refused("--config=configs/tiny.py", f"--workdir={tmp_path / 'run'}", "--config.train.batch_sise=3")
    assert "config.train.batch_sise does not exist; did you mean 'batch_size'?" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("trian.batch_size=3", "config.trian does not exist; did you mean 'train'?"),
        ("train.batchsize=3", "config.train.batchsize does not exist; did you mean 'batch_size'?"),
        ("log.foo=3", "config.log.foo does not exist; known: "),
        ("log.tensorboard=True", "config.log.tensorboard does not exist; use --config.log.trackers="),
    ],
)
def test_a_key_that_does_not_exist_is_named_whole(flag, told):
    assert told in unknown_key(["train", "--config=tiny", "--config.train.batch_size=3", f"--config.{flag}"])


def test_missing_recipe(tmp_path):
    line = refused("--config=configs/tinny.py", f"--workdir={tmp_path / 'run'}")
    assert "configs/tinny.py" in line and "tiny" in line.replace("configs/tinny.py", "")
    assert not (tmp_path / "run").exists()


def test_garbage_to_start_from(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(bytes(range(256)) * 8)
    line = refused("--config=configs/tiny.py", f"--workdir={tmp_path / 'run'}", f"--config.train.init_from={path}")
    assert "x.pkl" in line


def test_a_workdir_whose_name_is_not_utf_8_ends_the_run_before_it_starts(tmp_path):
    with pytest.raises(ConfigError, match=r"caf\\udce9'?: the name is not valid UTF-8"):
        make_folder(tmp_path / "caf\udce9")
    assert not list(tmp_path.iterdir())


def test_a_model_folder_is_no_workdir(tmp_path):
    (tmp_path / "model.json").touch()
    line = refused("--config=configs/tiny.py", f"--workdir={tmp_path}")
    assert "is a model folder" in line and f"config.train.init_from={tmp_path}" in line
    assert [p.name for p in tmp_path.iterdir()] == ["model.json"]


FULL = """
import errno, sys
import jax
from absl import flags
sys.argv[1:] = ["--config=configs/tiny.py", "--config.distributed.mode=off", f"--workdir={sys.argv[1]}"]
import stylegan_jax.main as main, stylegan_jax.train.loop as loop
flags.FLAGS(sys.argv)
for error in (
    jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 3221225472 bytes."),
    jax.errors.JaxRuntimeError("INTERNAL: Error dispatching. Out of memory allocating 3221225472 bytes"),
    MemoryError(),
    OSError(errno.ENOSPC, "No space left on device"),
):
    def train(*_):
        raise error
    loop.train = train
    print(main.train_recipe(["main"]))
"""


def test_training_without_memory_or_room_says_which_key_helps(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "run")], capture_output=True, text=True, cwd=ROOT)
    lines = done.stderr.strip().splitlines()
    assert done.stdout.split() == ["1"] * 4 and len(lines) == 4
    for line in lines[:3]:
        assert line.startswith("error: out of memory") and "has no checkpoint yet" in line
        for key in ("config.train.batch_size", "config.train.grad_accum", "config.model.remat_from"):
            assert key in line
    assert "(3.0 GiB asked for)" in lines[0] and "(3.0 GiB asked for)" in lines[1]
    assert "no room left on the disk of" in lines[3] and "choose another --workdir" in lines[3]
