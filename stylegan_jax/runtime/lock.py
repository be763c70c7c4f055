"""One live run per workdir: two writers would mix their checkpoints."""

from __future__ import annotations

import datetime
import errno
import fcntl
import json
import logging
import os
import pathlib
import shlex
import socket
import sys
from types import TracebackType

from stylegan_jax.base.errors import StyleganError

_log = logging.getLogger(__name__)

LOCK_FILE = "run.lock"
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


class WorkdirBusyError(StyleganError):
    """Another live run holds the workdir; the message names it and says what to do."""


class WorkdirLock:
    """Holds `<workdir>/run.lock` while the run lives.

    The kernel drops the lock when the holder ends, however it ends, so a killed run leaves nothing to clean up. The
    file itself stays: deleting it would let two processes lock two files of the same name. With several processes
    per run, only the first takes the lock. Where the file system has no locks (some network mounts, gs://), a
    warning is logged and the run goes on without.
    """

    def __init__(self, workdir: str | os.PathLike[str]):
        """Remember the workdir; nothing is locked yet."""
        self._workdir = os.fspath(workdir)
        self._fd: int | None = None

    def __enter__(self) -> WorkdirLock:
        """Take the lock at once or not at all.

        Raises:
            WorkdirBusyError: a live run holds it.
            RuntimeError: this object already holds it.
        """
        if self._fd is not None:
            raise RuntimeError(f"the lock of {self._workdir} is already held by this object; enter it once")
        if "://" in self._workdir:
            self._warn_unlocked("it is not on a local file system")
            return self
        directory = pathlib.Path(self._workdir)
        directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _describe_holder(fd)
            os.close(fd)
            raise WorkdirBusyError(
                f"{self._workdir} is in use by {holder}; one workdir serves one run at a time. "
                "Stop that run, or pass another workdir to this one"
            ) from None
        except OSError as error:
            os.close(fd)
            if error.errno not in _NO_LOCKS_HERE:
                raise
            self._warn_unlocked(str(error))
            return self
        self._fd = fd
        # A forked worker shares the lock and would keep it after a kill of the run.
        os.register_at_fork(after_in_child=self._close)
        _write(fd, _describe_self())
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None):
        if self._fd is not None:
            _write(self._fd, {})
        self._close()

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _warn_unlocked(self, reason: str) -> None:
        _log.warning("cannot lock %s (%s); make sure that no other run uses it", self._workdir, reason)


def _describe_self() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
    }


def _describe_holder(fd: int) -> str:
    try:
        holder = json.loads(os.pread(fd, 65536, 0))
        return (
            f"process {holder['pid']} on host {holder['host']}, started {holder['started']} ({holder['command'][:200]})"
        )
    except (ValueError, KeyError, TypeError, OSError):  # it is just being written
        return "another process that has just started"


def _write(fd: int, content: dict[str, str | int]) -> None:
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(content).encode(), 0)
    except OSError as error:  # a full disk: the lock holds all the same
        _log.warning("cannot note the holder in the lock file: %s", error)
