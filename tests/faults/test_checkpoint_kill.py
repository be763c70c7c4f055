"""Killed at any instant, a run continues bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SERVER = Path(__file__).with_name("kill_server.py")


def run(directory: Path, kills: int, seed: int = 0, longest: float = 0.5, steps: int = 40) -> dict[str, Any]:
    directory.mkdir()
    command = [sys.executable, os.fspath(SERVER), "toy_run:train", os.fspath(directory)]
    command += ["--kills", str(kills), "--seed", str(seed), "--longest", str(longest)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
        "TOY_STEPS": str(steps),
    }
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["codes"] == [0], result.stderr
    return report


def check_kills(report: dict[str, Any]) -> None:
    for state in report["checks"]:
        assert state["requested"] - state["committed"] <= 2  # the one being written, and the one just asked for
    committed = [state["committed"] for state in report["checks"]]
    assert committed == sorted(committed)


def test_two_kills(tmp_path: Path):
    report = run(tmp_path / "killed", kills=2, longest=0.1, steps=10)
    check_kills(report)
    assert report["kills"] == 2


@pytest.mark.slow
def test_fifteen_kills_end_in_the_same_bits(tmp_path: Path):
    run(tmp_path / "straight", kills=0)
    report = run(tmp_path / "killed", kills=15, seed=1)
    check_kills(report)
    assert report["kills"] == 15
    assert (tmp_path / "killed/done").read_text() == (tmp_path / "straight/done").read_text()
