"""What the terminal shows when a save fails: our one sentence, and nothing of the libraries."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

from stylegan_jax.checkpoints import checkpointer
from stylegan_jax.checkpoints.checkpointer import Checkpointer


def test_a_full_disk_shows_no_tracebacks_of_libraries(tmp_path, caplog, monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)
    checkpointer._silence.cache_clear()
    Checkpointer(tmp_path).close()
    lost = "Task exception was never retrieved\nfuture: <Task coro=<f() done, defined at /x/orbax/checkpoint/s.py:1>>"
    logging.getLogger("asyncio").error(lost)
    scope = {}
    exec(
        compile(
            "def write():\n    raise OSError(28, 'No space left on device')", "/x/orbax/checkpoint/path.py", "exec"
        ),
        scope,
    )
    try:
        scope["write"]()
    except OSError as error:
        logging.getLogger("asyncio").error("Future exception was never retrieved", exc_info=error)
    assert not caplog.records
    logging.getLogger("asyncio").error("Task exception was never retrieved, of another library")
    assert len(caplog.records) == 1
    for error in (RuntimeError("Event loop is closed"), RuntimeError("ours")):
        sys.unraisablehook(SimpleNamespace(exc_type=type(error), exc_value=error))
    assert [str(lost.exc_value) for lost in shown] == ["ours"]
