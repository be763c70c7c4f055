"""Metrics of a run of two processes are those of one process, and all processes have them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import json_rows

SCRIPT = Path(__file__).with_name("metrics_run.py")


def run(workdir: Path, count: int, devices: int, **variables: str) -> list[str]:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags} | variables
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, str(SCRIPT), str(workdir), address, str(count)]
    started = [subprocess.Popen([*command, str(i)], **options) for i in range(count)]
    try:
        outputs = [p.communicate(timeout=240)[0] for p in started]
    finally:
        for process in started:
            process.kill()
    assert [p.returncode for p in started] == [0] * count, "\n".join(outputs)
    return outputs


@pytest.mark.slow
def test_two_processes_give_the_metrics_of_one(tmp_path):
    for name, count, devices in (("one", 1, 4), ("two", 2, 2)):
        for output in run(tmp_path / name, count, devices):
            assert "done 16" in output
    one, two = (json_rows(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert [r["metric"] for r in one[:4]] == ["fid40_full", "pr40_3_precision", "pr40_3_recall", "fid40"]
    assert len(one) == 8 and one[0]["value"] > 0
    for a, b in zip(one, two, strict=True):
        assert (a["metric"], a["step"]) == (b["metric"], b["step"])
        assert b["value"] == pytest.approx(a["value"], rel=1e-3)
    assert list((tmp_path / "two-cache0").iterdir())
    assert not (tmp_path / "two-cache1").exists()  # the first process keeps what is known of the reals


@pytest.mark.slow
def test_images_that_one_process_cannot_load_are_a_warning_of_the_run(tmp_path):
    first, second = run(tmp_path / "two", 2, 2, METRICS_RUN_FAILS="1")
    assert "done 16" in first and "done 16" in second
    assert "warning: no metrics at step 16: reals: process 1 cannot load its images" in first
    assert "reals: process 1: the disk is gone" in second
