"""Presets of compiler flags: what they set, that XLA knows the flags, that the environment's own flags win."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FLAGS = Path(__file__).parents[2] / "launch" / "flags"
PRESETS = sorted(FLAGS.glob("*.sh"))
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "LIBTPU_", "MALLOC_", "JAX_"))}


def sourced(preset: Path, **environment: str) -> dict[str, str]:
    command = ["bash", "-euc", f"source '{preset}'; env -0"]
    done = subprocess.run(command, env=CLEAN | environment, capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.stem)
def test_own_flags_stay_and_come_last(preset):
    for name, value in sourced(preset).items():
        if name not in CLEAN and name.startswith(("XLA_", "LIBTPU_")):
            assert sourced(preset, **{name: "--mine=1"})[name] == value.rstrip() + " --mine=1"
        elif name not in CLEAN and name.startswith("MALLOC_"):
            assert sourced(preset, **{name: "7"})[name] == "7"


def test_xla_knows_every_flag():
    flags = [flag for p in PRESETS for flag in sourced(p).get("XLA_FLAGS", "").split()]
    assert len(flags) >= 8
    start = "import jax; print(jax.jit(lambda x: x + 1)(1), jax.device_count())"
    run = lambda flags: subprocess.run(
        [sys.executable, "-c", start],
        env=CLEAN | {"XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    known = run(flags)
    assert known.returncode == 0 and known.stdout.split() == ["2", "8"], known.stderr
    assert run([*flags, "--xla_no_such_flag=1"]).returncode != 0


def test_the_table_has_every_preset():
    text = (FLAGS / "README.md").read_text()
    assert [p.name for p in PRESETS if f"`{p.name}`" not in text] == []
