"""Styles as arrays: groups of slots, mixing, moving along a direction; and files of styles."""

from __future__ import annotations

import logging
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base import arrays
from stylegan_jax.base.flags import split_paths
from stylegan_jax.inert.ordinary import wrong_file
from stylegan_jax.inert.stream import RefusedError
from stylegan_jax.inert.weights import read_tensors
from stylegan_jax.sampling import projections

log = logging.getLogger(__name__)

NAMES = ("w", "ws", "dlatents", "dlatent", "w_plus", "projected_w", "styles", "arr_0")
"""Names of the array of styles in .npz files of projectors and encoders, in order of preference."""
OTHER_PROJECTIONS = ("projected_w_final.np[yz]", "projected_w.npy", "dlatents.np[yz]")
"""Patterns for the files of other projectors; in a folder, the first pattern with a file is used."""


def slot_groups(model: Any) -> dict[str, list[int]]:
    """Return the style slots of a `LoadedModel` by name: 'coarse', 'middle', 'fine' and 'all'.

    Coarse slots are those of layers up to 8x8, middle ones up to 32x32, fine ones the rest, as in the StyleGAN paper
    (section 3.1); they are thirds if slots have no resolution (StyleGAN3).
    """
    num_ws, slots = model.gan.spec.num_ws, model.gan.spec.slots
    first, second = num_ws // 3, 2 * num_ws // 3
    if slots:
        first, second = (sum(resolution <= most for resolution in slots) for most in (8, 32))
    ends = {"coarse": (0, first), "middle": (first, second), "fine": (second, num_ws), "all": (0, num_ws)}
    return {name: list(range(*slots)) for name, slots in ends.items()}


def check_slots(model: Any, what: str) -> None:
    """Raise ValueError, saying that `what` needs several style slots, if the model has only one."""
    if model.gan.spec.num_ws == 1:
        raise ValueError(
            f"{what} needs several style slots, and arch {model.config.arch!r} has one, its latent; use what moves the "
            "whole latent: boundaries and differences (edit), interpolation (video), projection without --plus"
        )


def mix(rows: np.ndarray, columns: np.ndarray, layers: Sequence[int]) -> np.ndarray:
    """Return float32[r, c, l, w]: styles [r, l, w] with the slots `layers` from styles [c, l, w] (SG1 §3.1, fig. 3)."""
    mixed = np.repeat(rows[:, None], len(columns), axis=1)
    mixed[:, :, layers] = columns[None][:, :, layers]
    return mixed


def move(ws: np.ndarray, step: np.ndarray, layers: Sequence[int], strengths: Sequence[float]) -> np.ndarray:
    """Return float32[n, s, l, w]: styles [n, l, w] with the slots `layers` moved by each strength times step [w]."""
    moved = np.repeat(ws[:, None], len(strengths), axis=1)
    moved[:, :, layers] += np.asarray(strengths, np.float32)[None, :, None, None] * step
    return moved


def read(flag: str, text: str, spec: Any) -> np.ndarray:
    """Return the styles ws float32[n, l, w] that a flag names.

    Args:
        flag: for errors, such as '--styles'.
        text: files or folders, separated by commas. A file is .npy, or .npz, .pt or .safetensors with one array or
            one of `NAMES`: [n, l, w]; [n, w] or [n, 1, w] for one style in every slot; or a single [w]. A folder is
            searched for projections.
        spec: of the model.

    Raises:
        ValueError: a file is missing or damaged, has no styles, or belongs to another model; the error names flag and
            file.
    """
    return np.concatenate([_in_slots(w, spec) for w in _read_each(flag, text, spec)])


def read_means(flag: str, text: str, spec: Any) -> np.ndarray:
    """Return float32[n, w] from the files that `read` reads: the mean over slots if slots have different styles."""
    return np.concatenate([w.mean(axis=1) if w.ndim == 3 else w for w in _read_each(flag, text, spec)])


def _in_slots(w: np.ndarray, spec: Any) -> np.ndarray:
    return np.repeat(w[:, None], spec.num_ws, axis=1) if w.ndim == 2 else w


def _read_each(flag: str, text: str, spec: Any) -> Iterator[np.ndarray]:
    """Yield float32[n, l, w] or [n, w] of every file."""
    for path in split_paths(text):
        if not path:
            raise ValueError(f"{flag}={text}: an empty path; write files or folders, with commas between")
        for file in _find_files(flag, path):
            try:
                found = read_array(file, NAMES, "styles", spec.w_dim)
                yield _fit(found, spec)
            except ValueError as error:
                raise ValueError(f"{flag}={file}: {error}") from None
            if spec.num_ws > 1 and found.shape == (spec.num_ws, spec.w_dim):
                log.warning(
                    "warning: %s=%s holds %d styles, as many as this model has style slots; they are taken as %d "
                    "images. If it is one style with a vector per slot, save it as [1, %d, %d]",
                    *(flag, file, spec.num_ws, spec.num_ws, spec.num_ws, spec.w_dim),
                )


def _find_files(flag: str, path: str) -> list[Path]:
    if not os.path.isdir(path):
        return [Path(path)]
    if found := projections.find_projections(path):
        return found
    for pattern in OTHER_PROJECTIONS:
        if found := sorted(Path(path).rglob(pattern)):
            return found
    raise ValueError(f"{flag}={path}: no projected_w.npz in it; pass a folder that tools.project wrote, or files")


def read_array(path: Path, names: Sequence[str], what: str, width: int = 0) -> np.ndarray:
    """Return the array of an .npy file, or one of an .npz, .pt or .safetensors file, float32 and finite.

    Args:
        path: the file; nothing in it is executed.
        names: possible names of the array, of which the first found is used; a single array may have any name.
        what: the word for the arrays, for errors.
        width: length of the last axis, checked before a large array is read; 0: any.

    Raises:
        ValueError: no array has such a name (the message lists those that exist), or the file or array cannot be used.
    """
    tensors = _read_tensors(path, what)
    headers = arrays.read_headers(path) if tensors is None else tensors
    only = list(headers) if len(headers) == 1 else []
    name = next((name for name in ("", *names, *only) if name in headers), None)
    if name is None:
        kinds = [f"{key} {x.dtype}{list(x.shape)}" for key, x in headers.items()]
        raise ValueError(f"it holds {arrays.listed(kinds)}; {what} are called {' or '.join(map(repr, names[:3]))}")
    shape, dtype = headers[name].shape, headers[name].dtype
    if dtype.kind == "O":
        raise ValueError("it holds a pickled Python object, which is not read; save the array alone with numpy.save")
    is_large = 1 << 20 < math.prod(shape) * dtype.itemsize <= arrays.MAX_BYTES  # unpacking it takes seconds
    if width and is_large and shape[-1] != width:
        raise ValueError(f"{what} of shape {list(shape)}; this model takes [n, {width}]")
    with np.errstate(over="ignore"):
        found = np.asarray(arrays.load(path, (name,))[name] if tensors is None else tensors[name], np.float32)
    if not np.isfinite(found).all():
        bad = int(np.count_nonzero(~np.isfinite(found)))
        raise ValueError(f"{bad} of its {found.size} numbers are not finite (NaN or infinity), as {what} must be")
    return found


def _read_tensors(path: Path, what: str) -> dict[str, np.ndarray] | None:
    """Return the tensors of a torch.save, pickle or safetensors file by name; None for NumPy's files."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        head = file.read(6)
        if head == b"\x93NUMPY" or not head:
            return None
        if head[:2] == b"PK":
            try:
                names = zipfile.ZipFile(file).namelist()
            except (ValueError, OSError, LookupError, RuntimeError, zipfile.BadZipFile):
                return None
            if not any(name.endswith("data.pkl") for name in names):
                return None
        try:
            found = read_tensors(file)
        except RefusedError as error:
            raise ValueError(wrong_file(file, what) or str(error)) from None
    return {name: x for name, x in found.items() if x.dtype.kind in arrays.NUMBERS}


def _fit(w: np.ndarray, spec: Any) -> np.ndarray:
    """Return styles of any accepted shape as [n, l, w] or [n, w]."""
    w = w[None] if w.ndim == 1 else w
    w = w[:, 0] if w.ndim == 3 and w.shape[1] == 1 else w
    wanted = {2: (spec.w_dim,), 3: (spec.num_ws, spec.w_dim)}.get(w.ndim)
    if w.shape[1:] != wanted or not len(w):
        raise ValueError(
            f"styles of shape {list(w.shape)}; this model takes [n, {spec.num_ws}, {spec.w_dim}] or [n, {spec.w_dim}]"
        )
    return w
