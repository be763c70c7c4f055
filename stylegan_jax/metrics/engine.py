"""Passes over numbered items, in chunks of one size on all devices; collected in order, and resumable.

All processes of a run take part. The first process reads what determines the course of a pass (stored entries, its
progress) and sends it to the others; only the first collects.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from stylegan_jax.base.agreement import failed_processes, number_from_first
from stylegan_jax.base.errors import StyleganError
from stylegan_jax.metrics.collect import Collector, Rows, restore
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.metrics.store import Store

log = logging.getLogger(__name__)

SAVE_SECONDS = 300.0
"""Seconds between writes of an unfinished pass to disk."""


class StoppedError(StyleganError):
    """A pass was asked to stop before its end."""


class Job(NamedTuple):
    """A pass.

    Attributes:
        title: text of the progress bar.
        identity: plain nested dict of everything that determines the numbers; {}: the pass cannot be resumed.
        count: items, numbered from 0.
        chunk: items per call, a multiple of the devices' share of a batch.
        load: int64[chunk] item numbers -> what the host prepares (in a thread, one chunk ahead). The last chunk is
            padded with the last item.
        compute: the result of `load` -> {name: float[chunk, …]} on the devices, replicated; returns at once.
        unit: the progress bar's word for an item.
    """

    title: str
    identity: Mapping[str, Any]
    count: int
    chunk: int
    load: Callable[[np.ndarray], Any]
    compute: Callable[[Any], Mapping[str, jax.Array]]
    unit: str = "img"


def is_first() -> bool:
    """Return whether this is the process that collects."""
    return jax.process_index() == 0


def run_on_first(title: str, compute: Callable[[], list]) -> list:
    """Return what the first process computes; [] on the others.

    Raises:
        MetricError: `compute` failed in a run of several processes; all of them raise this.
        Exception: `compute` failed in a run of one process.
    """
    if jax.process_count() == 1:
        return compute()
    error, values = None, []
    try:
        values = compute() if is_first() else []
    except Exception as e:
        error = e
    if not number_from_first(error is None):
        reason = f"{type(error).__name__}: {error}" if error else "the first process failed; its own output says why"
        raise MetricError(f"{title}: {reason}") from error
    return values


def _loaded(title: str, ahead: Future) -> Any:
    """Return what this process loaded; if loading failed on any process, fail on all, as none computes alone."""
    if jax.process_count() == 1:
        return ahead.result()
    error = ahead.exception()
    failed = failed_processes(error is not None)
    if error is not None:
        log.error("%s: process %d: %s", title, jax.process_index(), error)
        raise MetricError(f"{title}: {type(error).__name__}: {error}") from error
    if len(failed):
        raise MetricError(f"{title}: process {failed[0]} cannot load its images; its own output says why")
    return ahead.result()


def run(
    job: Job,
    collectors: Mapping[str, list[Collector]],
    store: Store,
    *,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> float:
    """Run a pass to its end, continuing an earlier one with the same identity.

    Args:
        job: the pass.
        collectors: {name of an output: its collectors}.
        store: the pass is written to it every `SAVE_SECONDS`.
        progress: show a bar with the time left if the error output is a terminal.
        stop: called after every chunk; True ends the pass. All processes must return the same.

    Returns:
        Seconds that the pass took.

    Raises:
        MetricError: an output is NaN, infinite or too large for its collector, or loading failed on one of several
            processes.
        Exception: what `load` raised, in a run of one process.
        StoppedError: `stop` returned True.
    """
    began = saved = time.monotonic()
    done = number_from_first(_resume(job, collectors, store) if is_first() else 0)
    keep = is_first() and bool(job.identity)

    def load(start: int) -> Any:
        return job.load(np.minimum(np.arange(start, start + job.chunk), job.count - 1)) if start < job.count else None

    whole = True
    with ThreadPoolExecutor(1) as pool, _bar(job, done, progress) as bar:
        ahead = pool.submit(load, done)
        pending: list[tuple[int, Mapping[str, jax.Array]]] = []
        try:
            for start in [*range(done, job.count, job.chunk), None]:
                if start is not None:  # the devices work on this chunk while the one before is collected
                    inputs = _loaded(job.title, ahead)
                    ahead = pool.submit(load, start + job.chunk)
                    pending.append((start, job.compute(inputs)))
                if len(pending) == 2 or (start is None and pending):
                    first, outputs = pending.pop(0)
                    whole = False
                    _collect(job, first, outputs, collectors)
                    bar.update(min(first + job.chunk, job.count) - done)
                    done, whole = min(first + job.chunk, job.count), True
                if stop():
                    raise StoppedError(job.title)
                if keep and time.monotonic() - saved > SAVE_SECONDS:
                    _save(job, done, collectors, store)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            if keep and whole:
                _save(job, done, collectors, store)
            raise
    if keep and time.monotonic() - began > SAVE_SECONDS:  # what comes next may take memory, and fail
        _save(job, done, collectors, store)
    return time.monotonic() - began


def forget(job: Job, store: Store) -> None:
    """Delete the stored part of a pass whose results have been reported."""
    if is_first() and job.identity:
        store.remove("pass", job.identity)


def _collect(job: Job, start: int, outputs: Mapping[str, jax.Array], collectors: Mapping[str, list[Collector]]) -> None:
    count = min(job.chunk, job.count - start)
    for name, rows in sorted(
        jax.device_get(outputs).items(), key=lambda item: "/" in item[0]
    ):  # images before features
        rows = rows[:count]
        good = np.isfinite(rows).reshape(count, -1).all(axis=1)
        if not good.all():
            raise MetricError(
                f"{job.title}: {name} of item {start + int(np.argmin(good))} is NaN or infinite; check the images (has "
                "the model diverged?) and the network's weights"
            )
        for collector in collectors.get(name, ()):
            if isinstance(collector, Rows):
                collector.check(rows)  # on all processes, as above, so that they fail together
            if start < collector.count and is_first():
                collector.add(start, rows)


def _each(collectors: Mapping[str, list[Collector]]) -> list[tuple[str, Collector]]:
    return [(f"{name}/{i}", c) for name in sorted(collectors) for i, c in enumerate(collectors[name])]


def _save(job: Job, done: int, collectors: Mapping[str, list[Collector]], store: Store) -> None:
    arrays = {f"{name}/{key}": x for name, c in _each(collectors) for key, x in c.arrays().items()}
    store.save("pass", job.identity, {"done": np.asarray(done)} | arrays)


def _resume(job: Job, collectors: Mapping[str, list[Collector]], store: Store) -> int:
    """Fill the collectors with the stored part of this pass; return the number of items done."""
    found = store.load("pass", job.identity) if job.identity else None
    if found is None:
        return 0
    of = lambda name: {key.removeprefix(name): x for key, x in found.items() if key.startswith(name)}
    fits = restore([(collector, of(name + "/")) for name, collector in _each(collectors)], job.title)
    return int(found["done"]) if fits else 0


def _bar(job: Job, done: int, progress: bool) -> Any:
    from tqdm import tqdm

    shown = progress and is_first() and sys.stderr.isatty()
    return tqdm(total=job.count, initial=done, desc=job.title, unit=job.unit, disable=not shown, leave=False)
