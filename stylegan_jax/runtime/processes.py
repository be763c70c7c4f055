"""The processes of a run on several hosts: they join at the start, agree, and fail together."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax

import stylegan_jax
from stylegan_jax.base.agreement import bytes_from_first, failed_processes
from stylegan_jax.base.errors import StyleganError
from stylegan_jax.base.trees import flatten
from stylegan_jax.config import ConfigError, DistributedConfig, ExperimentConfig

T = TypeVar("T")

_LOST = ("gloo", "connection", "heartbeat", "coordination service", "unavailable", "deadline")
"""Words in the errors of collective operations when a process has died."""
_GONE = "another process of this run died or cannot be reached"
_RESUME = "the last checkpoint is kept: run the same command on every host to continue from it"


class LostProcessError(StyleganError):
    """Another process of the run died or cannot be reached."""


@contextlib.contextmanager
def join_processes(config: DistributedConfig) -> Iterator[None]:
    """Join the run's other processes before JAX touches a device, and leave them at the end.

    With `mode='auto'` and no coordinator, JAX finds the processes of a TPU slice, SLURM, Open MPI or GKE job. If it
    finds none, or the job has one process, this process is alone and uses all devices of its machine.

    Raises:
        ConfigError: the others did not join in time.
        LostProcessError: one of them died. Exit without Python's exit hooks, which would wait for it.
    """
    if config.mode == "off" or _is_single_task(config) or not _join(config):
        yield
        return
    with _last_words():
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1 or not any(word in str(error).lower() for word in _LOST):
                raise
            raise LostProcessError(f"{_GONE} ({_first_line(error)}); {_RESUME}") from error
    jax.distributed.shutdown()  # not after an error: it waits for the others, which may have died


def _is_single_task(config: DistributedConfig) -> bool:
    """Return whether SLURM or Open MPI started a single process, to which JAX would assign the first GPU only."""
    tasks = os.environ.get("OMPI_COMM_WORLD_SIZE") or os.environ.get("SLURM_NTASKS")
    return config.mode == "auto" and not config.coordinator and tasks == "1"


def _join(config: DistributedConfig) -> bool:
    where: dict[str, Any] = {}
    if config.coordinator:
        where = {"coordinator_address": config.coordinator, "cluster_detection_method": "deactivate"}
        where |= {"num_processes": config.num_processes, "process_id": config.process_id}
    try:
        jax.distributed.initialize(
            **where,
            initialization_timeout=config.start_timeout_s,
            heartbeat_timeout_seconds=config.heartbeat_s,
            shutdown_timeout_seconds=config.heartbeat_s,
        )
    except ValueError as error:
        if where:
            raise ConfigError(f"config.distributed does not fit: {error}") from None
        return False  # no cluster found
    except jax.errors.JaxRuntimeError as error:
        raise ConfigError(
            f"the processes of this run did not all join within config.distributed.start_timeout_s="
            f"{config.start_timeout_s} s ({_first_line(error)}); start the same command on every host, and check that "
            f"every host can reach {config.coordinator or 'process 0'}"
        ) from None
    return True


@contextlib.contextmanager
def _last_words() -> Iterator[None]:
    """Start a small process that prints what to do if this one ends without leaving the context.

    If a process of the run is silent for too long, JAX aborts all others from its own thread, bypassing Python.
    """
    script = "import sys; sys.stdin.read() or sys.stderr.write(sys.argv[1])"
    text = f"error: this process was killed, or {_GONE} (see above); {_RESUME}\n"
    command = [sys.executable, "-S", "-c", script, text]
    # In its own session, so that Ctrl-C does not reach it.
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True) as witness:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                witness.communicate("left in order")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def run_on_all_processes(action: Callable[[], T]) -> T:
    """Run an action on every process; if it fails on one, raise an error on all.

    Raises:
        Exception: what the action raised on this process.
        ConfigError: it failed on another one.
    """
    if jax.process_count() == 1:
        return action()
    error, result = None, None
    try:
        result = action()
    except Exception as e:
        error = e
    failed = failed_processes(error is not None)
    if error is not None:
        raise error
    if len(failed):
        raise ConfigError(f"process {failed[0]} could not start; see its output for the reason")
    return result  # type: ignore[return-value]


def check_agreement(config: ExperimentConfig, facts: dict[str, Any]) -> None:
    """Check that all processes agree on everything that determines the computation.

    Args:
        config: the experiment; `process_id` and the folders of caches and weights may differ.
        facts: other values that must be equal, by their names in messages.

    Raises:
        ConfigError: on every process; on those that differ from process 0, the message lists the differences.
    """
    if jax.process_count() == 1:
        return
    mine = {f"config.{key}": value for key, value in flatten(config.to_dict(), ".").items()}
    own = ("distributed.process_id", "train.compilation_cache", "eval.cache", "eval.features_path")
    for key in (f"config.{key}" for key in own):
        del mine[key]
    mine |= facts | code_version()
    first = json.loads(bytes_from_first(json.dumps(mine).encode()))
    mine = json.loads(json.dumps(mine))
    keys = sorted(mine.keys() | first.keys())
    differing = [f"{k}: {first.get(k)!r} there, {mine.get(k)!r} here" for k in keys if first.get(k) != mine.get(k)]

    def refuse() -> None:
        if differing:
            raise ConfigError(
                f"process {jax.process_index()} was not started like process 0:\n  "
                + "\n  ".join(differing)
                + "\nUse the same command, data and installation on every host"
            )

    run_on_all_processes(refuse)


def check_shared(folder: Path) -> None:
    """Check that all processes see the same folder, because each writes its part of a checkpoint.

    Raises:
        ConfigError: on every process, if one sees another folder.
    """
    if jax.process_count() == 1:
        return
    mark = folder / f".shared-{bytes_from_first(os.urandom(8)).hex()}"

    def write() -> None:
        if jax.process_index() == 0:
            mark.touch()

    def look() -> None:
        if not mark.exists():
            raise ConfigError(
                f"--workdir={folder} of process {jax.process_index()} is not the folder of process 0; pass all "
                "processes the same folder, on a file system that they share"
            )

    run_on_all_processes(write)
    try:
        run_on_all_processes(look)
    finally:
        if jax.process_index() == 0:
            mark.unlink(missing_ok=True)


def code_version() -> dict[str, str]:
    """Return a digest of this package's source, and the versions of the packages that affect the computation."""
    root = Path(os.path.dirname(stylegan_jax.__file__))
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    versions = {f"version of {name}": importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")}
    return {"source of stylegan_jax (digest)": digest.hexdigest()[:16]} | versions
