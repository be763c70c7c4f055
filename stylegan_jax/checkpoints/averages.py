"""Snapshots of a run's power-function averages: `<workdir>/averages/<images shown>.safetensors`.

A file holds every average of `config.train.posthoc_ema` at one step, and whatever else sampling needs. Its header holds
the metadata of a checkpoint of that step and a SHA-256 of everything. Files are written whole or not at all, by the
holder of the workdir's lock; reading needs no lock.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy

from stylegan_jax.base.agreement import all_processes
from stylegan_jax.base.files import replacing
from stylegan_jax.base.trees import digest_of, flatten, unflatten
from stylegan_jax.checkpoints.manifest import CheckpointError, NonFiniteError, host_copy, plain_json
from stylegan_jax.checkpoints.restore import PathLike, reason

FOLDER = "averages"
ENDING = ".safetensors"
AVERAGE = "power"
"""With a number appended, the name of an average in states and snapshots."""
REST = "rest"
"""The entry of a snapshot that holds the collections that are not averaged."""
_FORMAT = "stylegan_jax averages"
_VERSION = "1"


class Snapshot(NamedTuple):
    """The header of a snapshot.

    Attributes:
        path: the file.
        step: iterations done.
        meta: the metadata of a checkpoint of this step: 'config', 'nimg', …
        digest: of the metadata and the arrays.
    """

    path: Path
    step: int
    meta: dict[str, Any]
    digest: str

    @property
    def nimg(self) -> int:
        """Images shown."""
        return self.meta["nimg"]

    @property
    def widths(self) -> tuple[float, ...]:
        """Relative widths of its averages."""
        return tuple(self.meta["config"]["train"]["posthoc_ema"])


def average_name(number: int) -> str:
    """Return the name, in states and snapshots, of an average by its place in `config.train.posthoc_ema`."""
    return f"{AVERAGE}{number}"


def write_snapshot(workdir: PathLike, step: int, tree: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Write a snapshot; every process of a run calls this, and the file is on disk when it returns.

    Args:
        workdir: the run's directory.
        step: iterations done.
        tree: {name of an average, or `REST`: nested dicts of arrays}.
        meta: plain JSON with 'config' and 'nimg'.

    Raises:
        NonFiniteError: an array holds NaN or infinity.
        CheckpointError: the file cannot be written; earlier ones are untouched.
    """
    arrays = {name: np.require(host_copy(x), requirements=["C", "A"]) for name, x in flatten(tree).items()}
    bad = [name for name, x in arrays.items() if not np.isfinite(x).all()]
    if bad:
        raise NonFiniteError(
            f"no snapshot of step {step}: {len(bad)} of {len(arrays)} arrays of the averages hold NaN or infinity "
            f"('{bad[0]}'); resume from the last checkpoint with a smaller learning rate or stronger regularisation"
        )
    path, problem = _path(workdir, meta["nimg"]), None
    if jax.process_index() == 0:
        try:
            _write(path, step, arrays, plain_json(dict(meta), "meta"))
        except OSError as error:
            problem = _write_error(path, error)
    if not all_processes(problem is None):
        raise problem or CheckpointError(f"cannot write {path}: it failed on another process; see its log")


def read_headers(workdir: PathLike) -> list[Snapshot]:
    """Return the snapshots of a run in order of images shown; none if the folder does not exist.

    Raises:
        CheckpointError: a file is damaged, or of a newer version.
    """
    found = [_read_header(path) for path in Path(workdir, FOLDER).glob(f"*{ENDING}")]
    return sorted(found, key=lambda snapshot: snapshot.nimg)


def read_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """Return {name of an average, or `REST`: nested dicts of arrays}, without empty collections.

    Raises:
        CheckpointError: the content is not what was saved.
    """
    try:
        arrays = safetensors.numpy.load_file(snapshot.path)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise _damage_error(snapshot.path, reason(error)) from None
    if digest_of(arrays, {"step": snapshot.step, "meta": snapshot.meta}) != snapshot.digest:
        raise _damage_error(snapshot.path, "its content does not match its SHA-256")
    return unflatten(arrays)


def remove_newer(workdir: PathLike, nimg: int) -> None:
    """Delete snapshots taken after `nimg` images, which a resumed run writes again, and unfinished files."""
    for path in Path(workdir, FOLDER).glob(f"*{ENDING}*"):
        if path.suffix != ENDING or not path.stem.isdecimal() or int(path.stem) > nimg:
            path.unlink(missing_ok=True)


def _path(workdir: PathLike, nimg: int) -> Path:
    return Path(workdir, FOLDER, f"{nimg:09d}{ENDING}")


def _write(path: Path, step: int, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    about = {"step": step, "meta": meta}
    header = {"format": _FORMAT, "version": _VERSION, "about": json.dumps(about), "sha256": digest_of(arrays, about)}
    content = safetensors.numpy.save(arrays, header)
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read_header(path: Path) -> Snapshot:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
        if header.get("format") != _FORMAT:
            raise ValueError("not a snapshot of averages")
        if header["version"] == _VERSION:
            about = json.loads(header["about"])
            return Snapshot(path, about["step"], about["meta"], header["sha256"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise _damage_error(path, reason(error)) from None
    raise CheckpointError(
        f"{path} has version {header['version']}, and this code reads {_VERSION}; install a newer stylegan_jax"
    )


def _damage_error(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged ({problem}); move it away: the other snapshots work without it")


def _write_error(path: Path, error: OSError) -> CheckpointError:
    try:
        free = f"{shutil.disk_usage(path.parents[1]).free:,} bytes are free there"
    except OSError:
        free = "the free space there is unknown"
    return CheckpointError(
        f"cannot write {path}: {error.strerror or error}; {free}. Checkpoints and earlier snapshots are intact. Free "
        "space, or store fewer with a larger config.log.average_ticks, then run the same command again"
    )
