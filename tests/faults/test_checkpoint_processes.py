"""Two processes write and restore one checkpoint, and take the same decisions about damage."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_processes_agree(tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    script = Path(__file__).with_name("two_processes.py")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, os.fspath(script), str(number), str(port), os.fspath(tmp_path / "run")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    expected = {"step": 1, "nimg": 1, "left": [1], "equal": True, "refused": True, "saved": [1, 2], "stop": True}
    for number, (stdout, stderr) in enumerate(outputs):
        assert processes[number].returncode == 0, stderr
        report = json.loads(stdout.splitlines()[-1])
        assert report == expected | ({"sampled": 2} if number == 0 else {})
