"""One thread owns the model: it draws the newest wish first, and long jobs pause for wishes between two steps.

Every view of a page (the picture, the grid, …) is a *lane* with at most one waiting wish and one that is being drawn.
A newer wish replaces the waiting one and asks the one being drawn to stop at its next `check`, so a slider that moves
faster than the model draws builds up no queue.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any

from stylegan_jax.base.errors import StyleganError

PREVIEW_SECONDS = 0.7
"""Seconds between two previews of a job, because drawing one takes time too."""
NEWER = "a newer request has arrived"
KEPT_JOBS = 64
"""Number of finished jobs that are kept."""

Check = Callable[[], None]
"""Function that raises `Stale` once a newer request has arrived."""


class Stale(StyleganError):
    """Nobody waits for this picture any more: a newer wish of the lane has arrived, or the session has ended."""


class Cancelled(StyleganError):
    """The job was cancelled."""


class Busy(StyleganError):
    """Another job of this session is running."""


class _Wish:
    def __init__(self, number: int, work: Callable[[Check], Any]):
        self.number, self.work = number, work
        self.future: Future = Future()
        self.is_stale = False

    def check(self) -> None:
        if self.is_stale:
            raise Stale(NEWER)

    def drop(self, why: str) -> None:
        with contextlib.suppress(InvalidStateError):  # nobody waits any more
            self.future.set_exception(Stale(why))

    def grant(self) -> None:
        try:
            result = self.work(self.check)
        except BaseException as error:
            with contextlib.suppress(InvalidStateError):
                self.future.set_exception(error)
        else:
            with contextlib.suppress(InvalidStateError):
                self.future.set_result(result)


class Job:
    """A long task.

    Attributes:
        id: name of the job for the page.
        session: session that started it.
        kind: name of the task.
        state: 'waiting', 'running', 'done', 'failed' or 'cancelled'.
        step: steps done so far.
        steps: total number of steps; 0 while unknown.
        losses: one per step if it minimises a loss.
        preview: PNG of the result so far.
        version: number of previews so far.
        error: if it failed, one sentence about why.
        about: further facts for the page, JSON-ready.
        result: return value of `work`.
    """

    def __init__(self, session: str, kind: str, work: Callable[[Job], Any]):
        self.id, self.session, self.kind, self.work = uuid.uuid4().hex, session, kind, work
        self.state, self.step, self.steps, self.error = "waiting", 0, 0, ""
        self.losses: list[float] = []
        self.preview, self.version, self.result = b"", 0, None
        self.about: dict[str, Any] = {}
        self.started, self.ended = 0.0, 0.0
        self._cancelled = threading.Event()
        self._shown = 0.0
        self.between: Callable[[], None] = lambda: None

    def cancel(self) -> None:
        """Ask the job to stop before its next step."""
        self._cancelled.set()

    def tick(self, step: int, steps: int, loss: float | None = None, draw: Callable[[], bytes] | None = None) -> None:
        """Record a step, draw a preview now and then, and let wishes that arrived meanwhile be drawn.

        Raises:
            Cancelled: the job was asked to stop.
        """
        self.step, self.steps = step, steps
        if loss is not None:
            self.losses.append(loss)
        if self._cancelled.is_set():
            raise Cancelled("the job was cancelled")
        if draw is not None and time.monotonic() - self._shown > PREVIEW_SECONDS:
            self.preview, self.version = draw(), self.version + 1
            self._shown = time.monotonic()
        self.between()
        if self._cancelled.is_set():
            raise Cancelled("the job was cancelled")

    def told(self) -> dict[str, Any]:
        """Return the job's state for the page."""
        end = self.ended or time.monotonic()
        shown = self.losses[:: max(1, len(self.losses) // 200)]
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "step": self.step,
            "steps": self.steps,
            "seconds": round(end - self.started, 1) if self.started else 0.0,
            "losses": shown,
            "loss": self.losses[-1] if self.losses else None,
            "preview": self.version,
            "error": self.error,
            "about": self.about,
            "result": self.result if self.state == "done" else None,
        }


class Worker:
    """The thread, its waiting wishes, and its jobs."""

    def __init__(self, explain: Callable[[Exception], str] = str):
        self._explain = explain
        self._lock = threading.Condition()
        self._waiting: OrderedDict[tuple[str, str], _Wish] = OrderedDict()
        self._drawn: dict[tuple[str, str], _Wish] = {}
        self._newest: dict[tuple[str, str], int] = {}
        self._jobs: deque[Job] = deque()
        self._known: OrderedDict[str, Job] = OrderedDict()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="studio-model", daemon=True)
        self._thread.start()

    def ask(self, session: str, lane: str, number: int, work: Callable[[Check], Any]) -> Future:
        """Call `work(check)` in the thread that owns the model, unless a newer wish arrives first.

        Args:
            session: session of the wish.
            lane: the view that shows the result.
            number: increases from wish to wish of a lane; a wish that arrives late is stale at once.
            work: function to call; it should call `check` between pictures.

        Returns:
            A future of the return value, or of the exception `Stale` if nobody waits any more.
        """
        wish, key = _Wish(number, work), (session, lane)
        with self._lock:
            if self._is_closed or number <= self._newest.get(key, -1):
                wish.drop(NEWER)
                return wish.future
            self._newest[key] = number
            if old := self._waiting.get(key):
                old.drop(NEWER)
            if old := self._drawn.get(key):
                old.is_stale = True
            self._waiting[key] = wish  # replaces the old one at its place in the queue
            self._lock.notify()
        return wish.future

    def start(self, session: str, kind: str, work: Callable[[Job], Any]) -> Job:
        """Queue a job behind those that wait already.

        Raises:
            Busy: a job of this session waits or is running.
        """
        job = Job(session, kind, work)
        job.between = self._serve
        with self._lock:
            for other in self._known.values():
                if other.session == session and other.state in ("waiting", "running"):
                    raise Busy(f"{other.kind} is {other.state} in this page; wait for it, or cancel it")
            self._jobs.append(job)
            self._known[job.id] = job
            while len(self._known) > KEPT_JOBS:
                self._known.popitem(last=False)
            self._lock.notify()
        return job

    def job(self, session: str, number: str) -> Job | None:
        """Return a job of a session."""
        job = self._known.get(number)
        return job if job is not None and job.session == session else None

    def cancel(self, job: Job) -> None:
        """Cancel a job: it stops before its next step, or never begins."""
        job.cancel()
        with self._lock:
            if job in self._jobs:
                self._jobs.remove(job)
                job.state = "cancelled"

    def ahead(self, job: Job) -> int:
        """Return the number of jobs ahead of a waiting one."""
        with self._lock:
            running = any(other.state == "running" for other in self._known.values())
            return running + (self._jobs.index(job) if job in self._jobs else 0)

    def is_working(self, session: str) -> bool:
        """Return whether a job of this session waits or is running."""
        with self._lock:
            jobs = list(self._known.values())
        return any(job.session == session and job.state in ("waiting", "running") for job in jobs)

    def waiting(self) -> int:
        """Return the number of waiting wishes, for tests and measurements."""
        return len(self._waiting)

    def forget(self, session: str) -> None:
        """Drop the wishes of a session, and cancel its jobs."""
        with self._lock:
            for key in [key for key in self._waiting if key[0] == session]:
                self._waiting.pop(key).drop("the session has ended")
            for key, wish in self._drawn.items():
                wish.is_stale |= key[0] == session
            for key in [key for key in self._newest if key[0] == session]:
                del self._newest[key]
            mine = [job for job in self._known.values() if job.session == session]
            for job in mine:
                job.cancel()
                if job in self._jobs:
                    self._jobs.remove(job)
                    job.state = "cancelled"
                if job.state != "running":
                    del self._known[job.id]

    def close(self, seconds: float = 30.0) -> None:
        """Drop everything, and wait for the thread to end."""
        with self._lock:
            self._is_closed = True
            sessions = {key[0] for key in (*self._waiting, *self._drawn)} | {j.session for j in self._known.values()}
            self._lock.notify()
        for session in sessions:
            self.forget(session)
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    def _serve(self) -> None:
        """Draw the wishes that are waiting now."""
        while True:
            with self._lock:
                if not self._waiting:
                    return
                key, wish = self._waiting.popitem(last=False)
                self._drawn[key] = wish
            wish.grant()
            with self._lock:
                if self._drawn.get(key) is wish:
                    del self._drawn[key]

    def _run(self) -> None:
        while True:
            with self._lock:
                while not (self._waiting or self._jobs or self._is_closed):
                    self._lock.wait()
                if self._is_closed:
                    return
            self._serve()
            with self._lock:
                job = self._jobs.popleft() if self._jobs else None
                if job is not None:
                    job.state, job.started = "running", time.monotonic()
            if job is not None:
                self._do(job)

    def _do(self, job: Job) -> None:
        try:
            job.tick(0, 0)
            job.result = job.work(job)
            state = "done"
        except Cancelled:
            state = "cancelled"
        except Exception as error:
            state, job.error = "failed", self._explain(error)
        job.ended = time.monotonic()
        job.state = state
