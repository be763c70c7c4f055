"""One live run per workdir."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stylegan_jax.runtime.lock import LOCK_FILE, WorkdirBusyError, WorkdirLock

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
HOLD = """
import sys, time
from stylegan_jax.runtime.lock import WorkdirLock
with WorkdirLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_and_a_killed_one_leaves_nothing(tmp_path: Path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        start = time.monotonic()
        with pytest.raises(WorkdirBusyError) as caught, WorkdirLock(tmp_path):
            pass
        assert time.monotonic() - start < 5
        for part in (str(tmp_path), f"process {holder.pid} ", socket.gethostname(), "started 20", "another workdir"):
            assert part in str(caught.value)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with WorkdirLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_the_lock_is_released_and_taken_again(tmp_path: Path):
    lock = WorkdirLock(tmp_path / "new" / "run")
    for _ in range(2):
        with lock, pytest.raises(WorkdirBusyError, match=f"process {os.getpid()}"), WorkdirLock(tmp_path / "new/run"):
            pass
    assert (tmp_path / "new/run" / LOCK_FILE).exists()
    with lock, pytest.raises(RuntimeError, match="already held"):
        lock.__enter__()


def test_an_unreadable_holder_still_locks(tmp_path: Path):
    with WorkdirLock(tmp_path):
        (tmp_path / LOCK_FILE).write_text("")
        with pytest.raises(WorkdirBusyError, match="just started"), WorkdirLock(tmp_path):
            pass


def test_a_forked_worker_does_not_keep_the_lock(tmp_path: Path):
    code = """
import os, sys, time
from stylegan_jax.runtime.lock import WorkdirLock
lock = WorkdirLock(sys.argv[1]).__enter__()
if os.fork() == 0:
    print("worker", os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert run.stdout is not None
    worker = int(run.stdout.readline().split()[1])
    try:
        run.kill()
        run.wait()
        with WorkdirLock(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        run.stdout.close()


def test_without_locks_the_run_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with WorkdirLock(tmp_path):
        assert "cannot lock" in caplog.text and "No locks available" in caplog.text
    caplog.clear()
    with WorkdirLock("gs://bucket/run"):
        assert "cannot lock gs://bucket/run" in caplog.text
