"""What the terminal shows when a save fails: our one sentence, and nothing of the libraries."""

from __future__ import annotations

import logging
import sys

from stylegan_jax.checkpoints.checkpointer import Checkpointer


def test_a_full_disk_shows_no_tracebacks_of_libraries(tmp_path, capsys, caplog):
    Checkpointer(tmp_path).close()
    lost = "Task exception was never retrieved\nfuture: <Task coro=<f() done, defined at /x/orbax/checkpoint/s.py:1>>"
    logging.getLogger("asyncio").error(lost)
    assert not caplog.records
    logging.getLogger("asyncio").error("Task exception was never retrieved, of another library")
    assert len(caplog.records) == 1
    capsys.readouterr()
    sys.excepthook(RuntimeError, RuntimeError("Event loop is closed"), None)
    assert capsys.readouterr().err == ""
    sys.excepthook(RuntimeError, RuntimeError("ours"), None)
    assert "ours" in capsys.readouterr().err
