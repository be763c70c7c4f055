"""Stopping by a signal: the loop finishes its step, saves, and exits with code 0."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

_NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")  # a scheduler's preemption, Ctrl-C, Slurm's early warning


class StopSignal:
    """Context manager that turns SIGTERM, SIGINT and SIGUSR1 into a request to stop.

    A second SIGINT raises KeyboardInterrupt at once. The previous handlers are restored on exit. Outside the main
    thread, where Python does not allow handlers, nothing is installed and nothing is ever requested.

    With several processes, a signal to one of them stops all at the same step. JAX's coordination service ensures this
    without waiting for a device. It watches SIGTERM, so the other signals are turned into SIGTERM.
    """

    def __init__(self) -> None:
        """Install nothing yet. JAX must know the other processes by now."""
        self._requested: str | None = None
        self._interrupted = False
        self._steps = 0
        self._former: dict[signal.Signals, Any] = {}
        self._several = jax.process_count() > 1

    @property
    def requested(self) -> str | None:
        """The name of the first signal that this process received, or None."""
        return self._requested

    def agreed(self) -> bool:
        """Return whether to stop now, equal on all processes; call it after every step."""
        if not self._several:
            return self._requested is not None
        self._steps += 1  # not the state's step, which a rollback decreases
        return multihost_utils.reached_preemption_sync_point(self._steps)

    def reason(self) -> str:
        """Return what requested the stop."""
        return self._requested or "a signal to a process of the run"

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for name in _NAMES:
                number = getattr(signal, name, None)  # Windows has no SIGUSR1
                if number is not None and not (self._several and name == "SIGTERM"):
                    self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None):
        for number, handler in self._former.items():
            # None stands for a handler that was not installed from Python; it cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._former = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT and self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = self._interrupted or number == signal.SIGINT
        if self._requested is None:
            self._requested = name
        hint = "; press Ctrl-C again to quit at once" if number == signal.SIGINT else ""
        # Not print or logging, because the interrupted code may hold their locks.
        with contextlib.suppress(OSError):
            os.write(2, f"{name}: finishing this step, then saving and stopping{hint}\n".encode())
        if self._several:
            os.kill(os.getpid(), signal.SIGTERM)
