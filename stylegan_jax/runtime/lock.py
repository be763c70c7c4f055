"""Lock a workdir for one live run: two would mix their checkpoints."""

from __future__ import annotations

import contextlib
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
from collections.abc import Iterator
from types import TracebackType

from stylegan_jax.base.agreement import all_processes
from stylegan_jax.base.errors import StyleganError

_log = logging.getLogger(__name__)

LOCK_FILE = "run.lock"
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


class WorkdirBusyError(StyleganError):
    """Another live run is using the workdir; the message names it."""


class WorkdirMovedError(StyleganError):
    """The workdir is no longer the folder in which the run began."""


class WorkdirLock:
    """Holds `<workdir>/run.lock` while the run lives.

    The kernel releases the lock when its holder ends, however it ends, so a killed run leaves nothing to clean up. The
    file itself stays, because deleting it would let two processes lock two files of the same name. If a run has several
    processes, only the first takes the lock. If the file system does not support locks (some network mounts, gs://), a
    warning is logged and the run continues without one.
    """

    def __init__(self, workdir: str | os.PathLike[str]):
        """Store the workdir, without locking it yet."""
        self._workdir = os.fspath(workdir)
        self._fd: int | None = None
        self._note = b""

    def __enter__(self) -> WorkdirLock:
        """Take the lock, without waiting for it.

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
        # A forked worker shares the lock and would keep it if the run were killed.
        os.register_at_fork(after_in_child=self._close)
        note = json.dumps(_describe_self()).encode()
        self._note = note if _write(fd, note) else b""
        return self

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Check, before writing in the workdir and after an error, that it is still the locked folder.

        All processes of the run must enter this context.

        Raises:
            WorkdirMovedError: it was moved, deleted, or replaced by another run's.
        """
        moved = WorkdirMovedError(
            f"{self._workdir} is no longer the folder that this run began in: it was moved, deleted or replaced. "
            "Move it back and run the same command again, or pass its new path as --workdir"
        )
        if not all_processes(self._is_in_place()):
            raise moved
        try:
            yield
        except Exception:
            if not self._is_in_place():
                raise moved from None
            raise

    def _is_in_place(self) -> bool:
        if not self._note:
            return True  # without a note there is nothing to compare
        try:
            return pathlib.Path(self._workdir, LOCK_FILE).read_bytes() == self._note
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # a failing disk does not mean that the folder was moved

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None):
        if self._fd is not None:
            _write(self._fd, b"{}")
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
    except (ValueError, KeyError, TypeError, OSError):  # the note is still being written
        return "another process that has just started"


def _write(fd: int, content: bytes) -> bool:
    """Return whether writing succeeded."""
    try:
        os.ftruncate(fd, 0)
        return os.pwrite(fd, content, 0) == len(content)
    except OSError as error:  # the disk is full, for example; the lock holds nevertheless
        _log.warning("cannot write who holds the lock into the lock file: %s", error)
        return False
