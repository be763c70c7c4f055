"""Reading checkpoints: which are committed, and their trees with every byte verified. It needs no lock."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from stylegan_jax.base.agreement import all_processes
from stylegan_jax.checkpoints import format1, manifest as manifest_lib
from stylegan_jax.checkpoints.manifest import CheckpointError, DamagedError, PyTree

_log = logging.getLogger(__name__)

FOLDER = "checkpoints"
COMMITTED = "commit_success.txt"  # Orbax writes it last (AtomicityMode.COMMIT_FILE)
_PASSES = 10

PathLike = str | os.PathLike[str]


def restore_g_ema(
    workdir: PathLike, target: PyTree | None = None, step: int | None = None
) -> tuple[PyTree, dict[str, Any], int]:
    """Read the averaged generator, verified, without the rest of the state; safe while training writes.

    Args:
        workdir: the run's directory.
        target: tree of `jax.ShapeDtypeStruct` or arrays with shardings; None returns nested dicts of NumPy arrays.
        step: which checkpoint; None takes the newest that is not damaged.

    Returns:
        (g_ema, meta, step).

    Raises:
        CheckpointError: there is no checkpoint, it is damaged, or it does not fit the target.
    """
    if target is not None:
        target = jax.tree.map(as_target, target)
    return _read_latest(absolute(workdir) / FOLDER, "g_ema", target, step)


def restore_state(workdir: PathLike, target: PyTree, step: int | None = None) -> tuple[PyTree, dict[str, Any], int]:
    """Read the whole train state, verified, even while training runs; for transfer, not for resuming.

    Args:
        workdir: the run's directory.
        target: tree of `jax.ShapeDtypeStruct` with shardings.
        step: which checkpoint; None takes the newest that is not damaged.

    Returns:
        (state, meta, step).

    Raises:
        CheckpointError: there is no checkpoint, it is damaged, or it does not fit the target.
    """
    return _read_latest(absolute(workdir) / FOLDER, "state", jax.tree.map(as_target, target), step)


def restore_nets(
    workdir: PathLike, parts: Sequence[str], step: int | None = None
) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Read only some parts of the train state, verified; safe while training writes.

    Args:
        workdir: the run's directory.
        parts: names of the state's fields, as 'nets' and 'moving'.
        step: which checkpoint; None takes the newest that is not damaged.

    Returns:
        (nested dicts of NumPy arrays, meta, step).

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    return _read_latest(absolute(workdir) / FOLDER, "state", None, step, tuple(parts))


def read_meta(workdir: PathLike, step: int | None = None) -> dict[str, Any]:
    """Read only the metadata of a checkpoint (None: the newest that is not damaged), verified.

    Raises:
        CheckpointError: there is no checkpoint, or its metadata is damaged.
    """
    return _read_latest(absolute(workdir) / FOLDER, None, None, step)[1]


def _read_latest(
    root: epath.Path, item: str | None, target: PyTree | None, step: int | None, parts: tuple[str, ...] = ()
) -> tuple[PyTree, dict[str, Any], int]:
    """Read while training may add and delete steps: start over if the list has changed."""
    steps: list[int] = []
    damaged: dict[int, str] = {}
    for attempt in range(_PASSES):
        if attempt:
            time.sleep(0.1)
        before, steps = steps, committed_steps(root)
        if attempt and steps == before:
            break
        damaged = {}
        require_step(root, steps, step)
        for candidate in [step] if step is not None else steps[::-1]:
            try:
                tree, meta = read_step(root, candidate, item, target, parts=parts)
                for skipped, problem in damaged.items():
                    _log.warning("checkpoint %s is damaged and was skipped: %s", root / str(skipped), problem)
                return tree, meta, candidate
            except DamagedError as error:
                damaged[candidate] = str(error)
            if committed_steps(root) != steps:
                break
    if not steps:
        raise CheckpointError(f"no checkpoint in {root}: pass the workdir of a run that has saved at least once")
    raise damage_error(root, steps, damaged)


def read_step(
    root: epath.Path,
    step: int,
    item: str | None,
    target: PyTree | None,
    *,
    on_all_processes: bool = False,
    parts: tuple[str, ...] = (),
) -> tuple[PyTree, dict[str, Any]]:
    """Read one committed step, verified.

    Args:
        root: the checkpoints' directory.
        step: which one.
        item: 'state' or 'g_ema'; None reads only the metadata.
        target: tree of `jax.ShapeDtypeStruct` with shardings; None restores nested dicts of NumPy arrays.
        on_all_processes: all processes call this for the same step; if one cannot read it, all of them raise.
        parts: first parts of the names of the leaves to read, if there is no target; empty: all.

    Returns:
        (tree, meta).

    Raises:
        DamagedError: the files are missing, unreadable, or not what was saved.
        CheckpointError: the target does not fit what was saved.
    """
    path = root / str(step)
    tree, recorded, is_old = None, {}, False
    with _damage(on_all_processes):
        manifest, meta = (json.loads((path / name / "metadata").read_bytes()) for name in ("manifest", "meta"))
        manifest_lib.check_manifest(manifest, step, meta)
        if item is not None:
            recorded, is_old = manifest["items"][item], manifest["format"] == 1 and item == "state"
            new_name = format1.renamed if is_old else str
            if parts:
                recorded = {k: leaf for k, leaf in recorded.items() if new_name(k).split("/")[0] in parts}
            if target is not None:
                named = {new_name(name): leaf for name, leaf in recorded.items()}
                manifest_lib.check_target(named, target, f"'{item}' of checkpoint {path}")
            wanted = target
            if target is None:
                wanted = _numpy_target(recorded)
            elif is_old:
                wanted = format1.as_format1(target, recorded)
            # Names cannot describe empty dicts.
            tree = _read_arrays(path / item, wanted, allow_less=target is None)
    if item is not None:
        with _damage(on_all_processes):  # apart, because checking may gather leaves from all processes
            manifest_lib.check_content(recorded, item, tree)
    if is_old:
        assert tree is not None
        tree = format1.as_nested(tree) if target is None else format1.as_format2(tree, target)
    return tree, meta


@contextlib.contextmanager
def _damage(on_all_processes: bool) -> Iterator[None]:
    """Turn any error that the files may have caused into DamagedError, on all processes if it occurs on one."""
    problem: DamagedError | None = None
    try:
        yield
    except DamagedError as error:
        problem = error
    except (CheckpointError, PermissionError, MemoryError, jax.errors.JaxRuntimeError):
        raise  # not the files' fault
    except Exception as error:
        problem = DamagedError(reason(error))
        problem.__cause__ = error
    if on_all_processes and not all_processes(problem is None):
        raise problem or DamagedError("another process could not read it")
    if problem is not None:
        raise problem


def _read_arrays(path: epath.Path, target: PyTree, *, allow_less: bool) -> PyTree:
    restore_args = jax.tree.map(_restore_args, target)
    arguments = ocp.args.PyTreeRestore(target, restore_args=restore_args, partial_restore=allow_less)
    # The bare handler, because ocp.Checkpointer would wait for all processes, even if only one of them samples.
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
        return handler.restore(path, args=arguments)


def _restore_args(leaf: jax.ShapeDtypeStruct | np.ndarray) -> ocp.RestoreArgs:
    if isinstance(leaf, np.ndarray):
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(sharding=leaf.sharding, global_shape=leaf.shape, dtype=leaf.dtype)


def as_target(leaf: Any) -> jax.ShapeDtypeStruct | np.ndarray:
    """Return shape, dtype and sharding to restore to; NumPy stays NumPy, and the default is the first local device.

    Raises:
        CheckpointError: JAX would narrow the dtype without an error.
    """
    if isinstance(leaf, np.ndarray):
        return leaf
    if jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
        raise CheckpointError(
            f"cannot restore a {leaf.dtype} leaf to a device while JAX's 64-bit mode is off; "
            "pass a NumPy array as its target, or set jax_enable_x64"
        )
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _numpy_target(recorded: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Build the nested dicts described by the leaf names."""
    tree: dict[str, Any] = {}
    for name, leaf in recorded.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = np.broadcast_to(np.zeros((), jax.numpy.dtype(leaf["dtype"])), leaf["shape"])
    return tree


def absolute(workdir: PathLike) -> epath.Path:
    """Return the absolute path of a workdir; addresses such as gs://bucket/run stay as they are."""
    path = epath.Path(workdir)
    return path if "://" in os.fspath(workdir) else path.absolute()


def committed_steps(root: epath.Path | pathlib.Path) -> list[int]:
    """Return the committed steps in ascending order."""
    try:
        names = [path.name for path in root.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name) for name in names if is_step(name) and (root / name / COMMITTED).exists())


def best_of(scores: Mapping[int, float], sign: int) -> int | None:
    """Return the step with the smallest sign * score, the first of equals."""
    return min(sorted(scores), key=lambda step: sign * scores[step], default=None)


def read_scores(root: epath.Path, metric: str | None) -> dict[int, float]:
    """Return {step: value of the metric} for the steps that have it; damaged manifests count as none."""
    scores = {}
    for step in committed_steps(root) if metric is not None else []:
        with contextlib.suppress(Exception):
            scores[step] = float(
                json.loads((root / str(step) / "manifest" / "metadata").read_bytes())["metrics"][metric]
            )
    return scores


def best_step(workdir: PathLike) -> tuple[int, str] | None:
    """Return the step of a run's best checkpoint by its `log.keep_best`, and that name; None if none has a value."""
    log = read_meta(workdir)["config"].get("log", {})
    name = log.get("keep_best", "")
    scores = read_scores(absolute(workdir) / "checkpoints", name or None)
    step = best_of(scores, 1 if log.get("best_mode", "min") == "min" else -1)
    return None if step is None else (step, name)


def is_step(name: str) -> bool:
    """Return whether a directory name is a step number as we write it."""
    return name.isascii() and name.isdigit() and name == str(int(name))


def require_step(root: epath.Path, steps: Sequence[int], step: int | None) -> None:
    """Raise CheckpointError if the requested step does not exist."""
    if step is not None and step not in steps:
        raise CheckpointError(f"no checkpoint of step {step} in {root}; there are: {list(steps)}. Choose one of them")


def damage_error(root: epath.Path, steps: Sequence[int], damaged: Mapping[int, str]) -> CheckpointError:
    """Return the error that lists the damaged steps with their reasons."""
    listed = "; ".join(f"step {step}: {problem}" for step, problem in damaged.items())
    good = [step for step in steps if step not in damaged]
    fix = f"Other steps there: {good}; choose one, or allow falling back" if good else "Restore a backup of them"
    return CheckpointError(f"damaged checkpoint in {root}: {listed}. {fix}, or start in a new workdir")


def reason(error: BaseException) -> str:
    """Return the type and the first line of an error's root cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
