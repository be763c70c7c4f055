"""Runs of the kill server, in a process of its own, as the tests need them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

SERVER = Path(__file__).with_name("kill_server.py")


class Killed(NamedTuple):
    """What became of a program: its undisturbed directory, those with kills, and the checks after each kill in them."""

    straight: Path
    places: list[Path]
    checks: list[list[Any]]


def kill_and_compare(
    program: str, directory: Path, kills: int, seed: int, longest: float = 0.5, **variables: str
) -> dict[str, Killed]:
    """Kill programs again and again until each ends in the bits of a straight run; return what is left, by name.

    Args:
        program: 'module:function,…' of this folder.
        directory: where they work.
        kills: how many of each.
        seed: of their times.
        longest: seconds after being ready, at most, where the module names no stages.
        variables: of the environment.
    """
    command = [sys.executable, os.fspath(SERVER), program, os.fspath(directory)]
    command += ["--kills", str(kills), "--seed", str(seed), "--longest", str(longest)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=7200, check=False)
    assert result.returncode == 0, result.stderr
    names = program.split(":")[1].split(",")
    reports = [json.loads(line) for line in result.stdout.splitlines() if line.startswith('{"kills"')]
    found = {}
    for name, report in zip(names, reports, strict=True):
        straight, checks = directory / name / "straight", report["checks"]
        places = [directory / name / f"killed{i}" for i in range(len(checks))]
        assert sum(report["kills"].values()) == sum(map(len, checks)) == kills
        assert {(place / "done").read_text() for place in places} == {(straight / "done").read_text()}
        found[name] = Killed(straight, places, checks)
    return found
