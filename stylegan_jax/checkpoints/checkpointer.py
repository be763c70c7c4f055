"""Writing and resuming checkpoints: atomic, asynchronous, every byte verified on restore.

A checkpoint is a directory `<workdir>/checkpoints/<step>` with four items, committed together: 'state' (the whole
train state), 'g_ema' (the generator to sample from, readable alone), 'meta' (JSON: config, counters) and 'manifest'
(JSON: SHA-256 per leaf, see `manifest.py`). The directories show which checkpoint is the latest; there is no pointer
file. The writer holds the workdir's lock (`runtime/lock.py`); reading `g_ema` or `meta` needs no lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from stylegan_jax.base.agreement import all_processes
from stylegan_jax.checkpoints import manifest as manifest_lib
from stylegan_jax.checkpoints.manifest import CheckpointError, DamagedError, NonFiniteError, PyTree
from stylegan_jax.checkpoints.restore import (
    COMMITTED,
    FOLDER,
    PathLike,
    absolute,
    as_target,
    best_of,
    committed_steps,
    damage_error,
    is_step,
    read_meta,
    read_scores,
    read_step,
    reason,
    require_step,
    restore_g_ema,
)

__all__ = ["CheckpointError", "Checkpointer", "DamagedError", "NonFiniteError", "read_meta", "restore_g_ema"]

_log = logging.getLogger(__name__)

_ASIDE = "checkpoints_aside"
_UNFINISHED = ".orbax-checkpoint-tmp"
_PATIENCE_S = 2_000_000_000


class Checkpointer:
    """Writes and restores a run's checkpoints; the caller holds the workdir's lock.

    Saving copies the arrays to the host, hashes them, and returns; files are written while training continues. If that
    fails, the next `save`, `wait` or `close` raises the error, after which the object can be used again.
    """

    def __init__(
        self,
        workdir: PathLike,
        *,
        keep_latest: int = 2,
        keep_every: Callable[[int], int] | None = None,
        keep_best: str | None = None,
        best_mode: str = "min",
    ):
        """Open `<workdir>/checkpoints` and remove what interrupted saves left there.

        Args:
            workdir: the run's directory; created if missing.
            keep_latest: how many of the newest checkpoints are kept; 2 leaves one to fall back on.
            keep_every: step -> number of its period, never decreasing; the first checkpoint of each period except 0
                is kept for ever.
            keep_best: name of a metric; the checkpoint with its best value is kept too.
            best_mode: 'min' or 'max': which values are better.

        Raises:
            CheckpointError: a number is out of range, or the directory cannot be written.
        """
        if keep_latest < 1:
            raise CheckpointError(f"keep_latest={keep_latest} must be at least 1; 2 leaves one to fall back on")
        self._root = absolute(workdir) / FOLDER
        self._aside = absolute(workdir) / _ASIDE
        self._keep_latest, self._keep_every, self._keep_best = keep_latest, keep_every, keep_best
        self._sign = 1 if best_mode == "min" else -1
        self._scores: dict[int, float] = {}
        self._pending: int | None = None
        self._manager: ocp.CheckpointManager | None = None
        _silence()
        try:
            self._open()
        except OSError as error:
            raise self._write_error(None, error) from error

    def save(
        self,
        step: int,
        state: PyTree,
        g_ema: PyTree,
        meta: Mapping[str, Any],
        *,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Save a step; on return the arrays may be donated or changed.

        Args:
            step: larger than every saved step.
            state: pytree of arrays, restored by `restore`.
            g_ema: nested dicts of arrays, restored by `restore_g_ema`.
            meta: plain JSON: config, images shown, …
            metrics: numbers by name, stored for `keep_best`; values that are not finite are dropped.

        Raises:
            CheckpointError: the previous save failed (and this one is not started), the step is not new, or the
                trees cannot be stored.
            NonFiniteError: a leaf holds NaN or infinity.
        """
        self.wait()
        newest = max(self.steps(), default=None)
        if newest is not None and step <= newest:
            raise CheckpointError(
                f"cannot save step {step}: {self._root} already holds step {newest}, and steps must increase. "
                "Restore before training on, or start in a new workdir"
            )
        _check_nested_dicts(g_ema)
        items = {"state": state, "g_ema": g_ema}
        plain_meta = manifest_lib.plain_json(dict(meta), "meta")
        scores = {name: float(value) for name, value in (metrics or {}).items() if math.isfinite(value)}
        problem: CheckpointError | None = None
        manifest: dict[str, Any] = {}
        try:
            manifest = manifest_lib.build_manifest(step, items, plain_meta, scores)
        except CheckpointError as error:
            problem = error
        if not all_processes(problem is None):
            raise problem or CheckpointError(f"cannot save step {step}: it failed on another process; see its log")
        if self._keep_best in scores:
            self._scores[step] = scores[self._keep_best]
        self._start(step, items, plain_meta, manifest)

    def steps(self) -> list[int]:
        """Return the committed steps in ascending order."""
        return committed_steps(self._root)

    def best(self) -> tuple[int, float] | None:
        """Return (step, value) of the best checkpoint by `keep_best`, the first of equals; None if none has a value.

        The values are in the checkpoints' manifests, and the best checkpoint is kept, so they survive a restart.
        """
        step = best_of(self._scores, self._sign)
        return None if step is None else (step, self._scores[step])

    def restore(
        self,
        target: PyTree,
        *,
        step: int | None = None,
        strict: bool = False,
        check: Callable[[Mapping[str, Any]], None] = lambda meta: None,
    ) -> tuple[PyTree, dict[str, Any], int] | None:
        """Restore the newest good checkpoint, every byte verified.

        If a checkpoint is damaged, a warning names it and the next older one is used. Checkpoints newer than the
        restored one are moved to `<workdir>/checkpoints_aside`, so that the run can save those steps again.

        Args:
            target: tree of `jax.ShapeDtypeStruct` or arrays with the shardings to restore to; leaves without one
                go to the first local device, NumPy leaves stay NumPy.
            step: restore this one and no other.
            strict: raise an error on a damaged newest checkpoint instead of falling back.
            check: called with the metadata before anything is moved; an error that it raises ends the restore.

        Returns:
            (state, meta, step), or None if there is no checkpoint yet.

        Raises:
            CheckpointError: the state does not fit the target (the leaf is named), all checkpoints are damaged, or
                the requested one is missing or damaged.
        """
        self.wait()
        target = jax.tree.map(as_target, target)
        steps = self.steps()
        require_step(self._root, steps, step)
        damaged: dict[int, str] = {}
        for candidate in [step] if step is not None else steps[::-1]:
            try:
                state, meta = read_step(self._root, candidate, "state", target, on_all_processes=True)
            except DamagedError as error:
                damaged[candidate] = str(error)
                if strict:
                    break
                _log.warning("checkpoint %s is damaged: %s", self._root / str(candidate), damaged[candidate])
                continue
            check(meta)
            self._set_aside([later for later in steps if later > candidate], damaged)
            return state, meta, candidate
        if damaged:
            raise damage_error(self._root, steps, damaged)
        return None

    def wait(self) -> None:
        """Wait until the last save is on disk.

        Raises:
            CheckpointError: the save failed; older checkpoints are untouched.
        """
        if self._manager is None:
            return
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            self._reopen()
            raise self._write_error(self._pending, error) from error

    def close(self) -> None:
        """Wait for the last save and release the threads.

        Raises:
            CheckpointError: the last save failed.
        """
        if self._manager is None:
            return
        try:
            self.wait()
        finally:
            self._manager.close()
            self._manager = None

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None):
        try:
            self.close()
        except CheckpointError as error:
            if kind is None:
                raise
            _log.error("the last checkpoint failed too: %s", error)  # and must not hide the error that ends the run

    def _open(self) -> None:
        """Remove leftovers and start a fresh manager, which lists the directory again."""
        if jax.process_index() == 0:
            self._root.mkdir(parents=True, exist_ok=True)
            _sweep(self._root)
        self._scores = read_scores(self._root, self._keep_best)
        policies: list[Any] = [checkpoint_managers.LatestN(self._keep_latest), _KeepBest(self._scores, self._sign)]
        if self._keep_every is not None:
            policies.append(_KeepEvery(self._keep_every))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
            atomicity_options=ocp.options.AtomicityOptions(mode=ocp.options.AtomicityMode.COMMIT_FILE),
            # If a save fails early, waiting for a directory made in the background blocks the process for 300 s.
            # The timeout is measured by the wall clock, which leaps when a suspended machine wakes up.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False, timeout_secs=_PATIENCE_S),
            # Otherwise a damaged metadata file of any step would fail the start.
            lightweight_initialize=True,
        )
        self._manager = ocp.CheckpointManager(self._root, options=options)

    def _reopen(self) -> None:
        """Start afresh after a failure, and delete what the failed save had written."""
        if self._manager is not None:
            with contextlib.suppress(Exception):  # it would report the same failure again
                self._manager.close()
        with contextlib.suppress(OSError):
            self._open()

    def _start(self, step: int, items: Mapping[str, PyTree], meta: Any, manifest: Any) -> None:
        if self._manager is None:
            raise CheckpointError(f"cannot save step {step}: this Checkpointer is closed; open a new one")
        arguments = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        arguments |= {"meta": ocp.args.JsonSave(meta), "manifest": ocp.args.JsonSave(manifest)}
        self._pending = step
        try:
            started = self._manager.save(step, args=ocp.args.Composite(**arguments), force=True)
        except Exception as error:
            self._reopen()
            raise self._write_error(step, error) from error
        if not started:
            raise CheckpointError(f"Orbax declined to save step {step} in {self._root}; start in a new workdir")

    def _set_aside(self, steps: Sequence[int], damaged: Mapping[int, str]) -> None:
        """Move checkpoints out of the way; nothing is deleted."""
        if not steps:
            return
        if jax.process_index() == 0:
            self._aside.mkdir(parents=True, exist_ok=True)
            for step in steps:
                name = f"{step}-{'damaged' if step in damaged else 'newer'}"
                taken = {path.name for path in self._aside.iterdir()}
                place = self._aside / next(n for i in range(len(taken) + 1) if (n := f"{name}-{i}") not in taken)
                (self._root / str(step)).rename(place)
                _log.warning("moved checkpoint %s to %s; delete it when you do not need it", step, place)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("stylegan_jax: checkpoints set aside")
        if self._manager is not None:
            self._manager.close()
            self._open()  # the manager must forget them

    def _write_error(self, step: int | None, error: Exception) -> CheckpointError:
        path = self._root if step is None else self._root / str(step)
        try:
            free = f"{shutil.disk_usage(os.fspath(self._root.parent)).free:,} bytes are free there"
        except OSError:
            free = "the free space there is unknown"
        steps = committed_steps(self._root)
        kept = f"The checkpoint of step {steps[-1]} is intact" if steps else "There is no earlier checkpoint"
        return CheckpointError(
            f"cannot write checkpoint {path}: {reason(error)}; {free}. {kept}. "
            "Free space, raise the quota or make the directory writable, then run the same command again"
        )


@functools.cache
def _silence() -> None:
    """Hide what Orbax and TensorStore print about a failed save, which we raise as `CheckpointError`.

    Orbax logs pages of traceback. TensorStore's threads print one for each write that ends after Orbax has given up,
    and asyncio logs one for each that nothing awaits any more.
    """
    whole = logging.Formatter()  # formats the traceback too, sometimes the only part that names Orbax
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(
            lambda r: r.levelno < logging.ERROR or "orbax" not in r.pathname + whole.format(r)
        )
    show = sys.unraisablehook

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if not (lost.exc_type is RuntimeError and str(lost.exc_value) == "Event loop is closed"):
            show(lost)

    sys.unraisablehook = hook


@dataclasses.dataclass
class _KeepEvery:
    """Orbax preservation policy: keep the first checkpoint of each period except 0."""

    period: Callable[[int], int]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        firsts: dict[int, int] = {}
        for step in sorted(c.step for c in checkpoints):
            firsts.setdefault(self.period(step), step)
        return [self.period(c.step) > 0 and firsts[self.period(c.step)] == c.step for c in checkpoints]


@dataclasses.dataclass(frozen=True)
class _KeepBest:
    """Orbax preservation policy: keep the step with the best score (the dict is filled as steps are saved).

    Orbax's own BestN reads each step's metrics file when it starts, and fails if one is damaged.
    """

    scores: Mapping[int, float]
    sign: int

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        best = best_of({c.step: self.scores[c.step] for c in checkpoints if c.step in self.scores}, self.sign)
        return [checkpoint.step == best for checkpoint in checkpoints]


def _sweep(root: epath.Path) -> None:
    """Delete what interrupted saves and deletions left: steps without their commit file, temporary directories."""
    for path in root.iterdir():
        unfinished = _UNFINISHED in path.name or (is_step(path.name) and not (path / COMMITTED).exists())
        if unfinished and path.is_dir():
            _log.info("removing the unfinished checkpoint %s", path)
            path.rmtree()


def _check_nested_dicts(g_ema: PyTree) -> None:
    """Raise an error unless a tree is nested dicts: sampling restores g_ema from its leaf names alone."""
    for path, _ in jax.tree_util.tree_flatten_with_path(g_ema)[0]:
        keys = [entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey) and isinstance(entry.key, str)]
        if not path or len(keys) != len(path) or any("/" in key or not key for key in keys):
            raise CheckpointError(
                f"g_ema must be nested dicts with string keys without '/', but has {jax.tree_util.keystr(path)!r}; "
                "pass the Flax variables as they are, or rename the key"
            )
