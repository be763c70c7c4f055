"""Runs of the kill server, in a process of its own, as the tests need them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("kill_server.py")


def kill_and_compare(
    program: str, directory: Path, kills: int, seed: int, longest: float, **variables: str
) -> list[Any]:
    """Kill a program again and again until it ends in the bits of a straight run; return its checks after the kills.

    Args:
        program: 'module:function' of this folder.
        directory: where it works: undisturbed in 'straight', and in 'killed'.
        kills: how many.
        seed: of their times.
        longest: seconds after being ready, at most.
        variables: of the environment.
    """
    command = [sys.executable, os.fspath(SERVER), program, os.fspath(directory)]
    command += ["--kills", str(kills), "--seed", str(seed), "--longest", str(longest)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1200, check=False)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["codes"] == [0, 0], result.stderr
    assert len(report["checks"]) == report["kills"] > 0
    assert (directory / "killed/done").read_text() == (directory / "straight/done").read_text()
    return report["checks"]
