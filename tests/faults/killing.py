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
) -> list[list[Any]]:
    """Kill programs again and again until each ends in the bits of a straight run; return their checks after the kills.

    Args:
        program: 'module:function,…' of this folder.
        directory: where they work: undisturbed in 'FUNCTION/straight', and in 'FUNCTION/killed'.
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
    names = program.split(":")[1].split(",")
    reports = [json.loads(line) for line in result.stdout.splitlines() if line.startswith('{"kills"')]
    for name, report in zip(names, reports, strict=True):
        assert report["codes"] == [0, 0], result.stderr
        assert len(report["checks"]) == report["kills"] > 0
        killed, straight = (directory / name / place / "done" for place in ("killed", "straight"))
        assert killed.read_text() == straight.read_text()
    return [report["checks"] for report in reports]
