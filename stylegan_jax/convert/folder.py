"""Model folders: `model.json` describes the networks and their origin, `weights.safetensors` has the arrays.

Nothing in a model folder can run code. The weights file is tied to its description by a SHA-256 checksum.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from safetensors import SafetensorError

from stylegan_jax.base.trees import flatten, unflatten
from stylegan_jax.config.arch import ARCH_RULES
from stylegan_jax.convert.arguments.shared import check_arguments
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.importer import check_net_name, sha256_file
from stylegan_jax.convert.pickles import listing
from stylegan_jax.convert.tables import check_tree, network_tree
from stylegan_jax.inert.ordinary import wrong_file
from stylegan_jax.inert.stream import show

FORMAT = "stylegan_jax model folder"
FORMAT_VERSION = 1
MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
PROGRAMS = "stablehlo"
"""Folder in a model folder with exported programs, which read the same weights; see `tools.export`."""
LICENCE_NOTE = (
    "The weights keep the licence they were published under; NVIDIA's StyleGAN weights allow research and "
    "non-commercial use only. The licence of this code does not extend to them."
)
_NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+")
_MAX_JSON = 1 << 20
_KEYS = {"format", "format_version", "architecture", "arguments", "nets", "weights", "provenance", "licence_note"}


def write_model_folder(
    path: str | os.PathLike[str],
    model_config: Mapping[str, Any],
    nets: Mapping[str, Any],
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write a model folder; either all of it appears or none.

    Args:
        path: the folder to create.
        model_config: every model configuration key, `arch` included.
        nets: {'g_ema' | 'g' | 'd': nested dicts of arrays}.
        provenance: JSON-ready description of where the weights come from.
        overwrite: replace an existing model folder.

    Raises:
        BadCheckpointError: `path` exists, or the trees do not fit the configuration.
    """
    with new_folder(path, overwrite=overwrite) as folder:
        fill_model_folder(folder, path, model_config, nets, provenance)


def fill_model_folder(
    folder: Path,
    path: str | os.PathLike[str],
    model_config: Mapping[str, Any],
    nets: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Write the files of a model folder into an existing `folder`; messages name `path`. See `write_model_folder`."""
    with _located(path):
        config = json.loads(json.dumps(dict(model_config), allow_nan=False))
        provenance = json.loads(json.dumps(dict(provenance), allow_nan=False))
        nets = _check_nets(config, nets)
        flat = {name: np.asarray(value) for name, value in flatten(nets).items()}
        _check_arrays(flat)
    weights = folder / WEIGHTS_FILE
    save_arrays(weights, flat)
    model = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": config["arch"],
        "arguments": {key: value for key, value in config.items() if key != "arch"},
        "nets": sorted(nets),
        "weights": {
            "file": WEIGHTS_FILE,
            "sha256": sha256_file(weights),
            "parameters": {name: count_parameters(nets[name]) for name in sorted(nets)},
        },
        "provenance": provenance,
        "licence_note": LICENCE_NOTE,
    }
    save_json(folder / MODEL_FILE, model)


def read_model_folder(
    path: str | os.PathLike[str], first_of: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a model folder and check it against its own description.

    Args:
        path: the folder.
        first_of: read only the first of these networks that exists; (): read all.

    Returns:
        (content of model.json, {net: nested dicts of arrays}); our networks in float32, whatever the file's precision.

    Raises:
        BadCheckpointError: a file is missing or damaged, or the arrays are not those of the architecture.
    """
    folder = Path(path)
    with _located(path):
        model = _read_json(folder / MODEL_FILE)
        weights = folder / WEIGHTS_FILE
        if not weights.is_file():
            raise BadCheckpointError(path, f"has no {WEIGHTS_FILE}")
        if sha256_file(weights) != model["weights"].get("sha256"):
            with open(weights, "rb") as file:
                other = wrong_file(file)
            other = "" if "safetensors" in other else other
            raise BadCheckpointError(
                weights, other or "does not match the checksum in model.json: damaged or replaced; download it again"
            )
        try:
            with safetensors.safe_open(weights, framework="np") as file:
                names = list(file.keys())
                held = sorted({name.partition("/")[0] for name in names})
                wanted = next(([net] for net in first_of if net in held), held)
                flat = {name: file.get_tensor(name) for name in names if name.partition("/")[0] in wanted}
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # types, too
            raise BadCheckpointError(weights, f"damaged ({error})") from None
        _check_arrays(flat)
        nets = unflatten(flat)
        if held != model["nets"]:
            listed = ", ".join(map(show, model["nets"][:8])) or "no networks"
            raise BadCheckpointError(path, f"model.json lists {listed}, but the weights contain {listing(held)}")
        return model, _check_nets(model_config(model), nets)


def model_config(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model configuration keys in the content of model.json."""
    return {"arch": model["architecture"], **model["arguments"]}


def count_parameters(tree: Mapping[str, Any]) -> int:
    """Return the number of parameters in `params` of one network."""
    return sum(int(np.size(value)) for value in flatten(tree.get("params", {})).values())


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a safetensors file, which is on disk when this returns."""
    safetensors.numpy.save_file({k: np.require(v, requirements=["C", "A"]) for k, v in arrays.items()}, path)
    path.chmod(0o644)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def save_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON, which is on disk when this returns."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(data, indent=2, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def new_folder(
    path: str | os.PathLike[str], *, overwrite: bool = False, ours: Callable[[set[str]], bool] | None = None
) -> Iterator[Path]:
    """Yield a hidden sibling folder that is renamed to `path` if the block succeeds, and deleted otherwise.

    Args:
        path: the folder.
        overwrite: replace an existing folder of the same kind.
        ours: decides from the names in a folder whether it is of that kind; None: `is_model_folder`.

    Raises:
        BadCheckpointError: `path` exists and may not be replaced, or writing fails.
    """
    target = Path(os.path.abspath(path))
    check_replaceable(path, overwrite, ours or is_model_folder)
    fresh, old = (target.with_name(f".{target.name}.{kind}-{os.getpid()}") for kind in ("new", "old"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        yield fresh
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise BadCheckpointError(path, f"cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)


def is_model_folder(names: set[str]) -> bool:
    """Return whether a folder with these names in it is a model folder, and nothing else."""
    endings, others = (".json", ".jsonl", ".safetensors"), ("README.md", "curves.png", PROGRAMS)
    known = lambda name: name.endswith(endings) or name in others
    return (MODEL_FILE in names or "init_kwargs.json" in names) and all(map(known, names))


def check_replaceable(
    path: str | os.PathLike[str], overwrite: bool, ours: Callable[[set[str]], bool] = is_model_folder
) -> None:
    """Check that `new_folder` may create `path`.

    Raises:
        BadCheckpointError: it exists and may not be replaced.
    """
    target = Path(os.path.abspath(path))
    if target.exists() and not _replaceable(target, overwrite, ours):
        hint = " and is not a folder that this tool wrote;" if overwrite else "; pass --overwrite (overwrite=True), or"
        raise BadCheckpointError(path, f"exists already{hint} choose another name")


def _replaceable(target: Path, overwrite: bool, ours: Callable[[set[str]], bool]) -> bool:
    """Return whether a folder may be replaced: an empty one, or one of ours if requested."""
    if not target.is_dir():
        return False
    names = {entry.name for entry in target.iterdir()}
    return not names or (overwrite and ours(names))


@contextlib.contextmanager
def _located(path: str | os.PathLike[str]) -> Iterator[None]:
    """Add `path` to errors that lack it."""
    try:
        yield
    except BadCheckpointError as error:
        raise error if error.path else BadCheckpointError(path, error.reason) from None
    except (TypeError, ValueError, KeyError, RecursionError, OverflowError) as error:
        raise BadCheckpointError(path, f"not a model folder ({type(error).__name__}: {error})") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            raw = file.read(_MAX_JSON + 1)
    except OSError as error:
        raise BadCheckpointError(path, f"cannot be read: {error.strerror or error}") from None
    if len(raw) > _MAX_JSON:
        raise BadCheckpointError(path, f"longer than {_MAX_JSON} bytes")
    try:
        model = json.loads(raw)
    except (ValueError, RecursionError) as error:
        other = wrong_file(io.BytesIO(raw))
        other = "" if "JSON" in other else other
        raise BadCheckpointError(path, other or f"damaged, not JSON: {str(error)[:200]}; download it again") from None
    if not isinstance(model, dict) or model.get("format") != FORMAT:
        raise BadCheckpointError(path, f"not the description of a {FORMAT}")
    if model.get("format_version") != FORMAT_VERSION:
        raise BadCheckpointError(
            path, f"format version {model.get('format_version')!r:.20}; this code reads {FORMAT_VERSION}"
        )
    kinds = {"architecture": str, "arguments": dict, "nets": list, "weights": dict, "provenance": dict}
    wrong = [k for k, kind in kinds.items() if not isinstance(model.get(k), kind)]
    unknown = sorted(set(model) - _KEYS)
    if wrong or unknown or "arch" in model["arguments"]:
        parts = [f"keys missing or of the wrong type: {', '.join(wrong)}"] * bool(wrong)
        parts += [f"unknown keys: {listing(unknown)}"] * bool(unknown)
        raise BadCheckpointError(path, "; ".join(parts) or "arch is among the arguments; its key is 'architecture'")
    return model


def _check_arrays(flat: Mapping[str, np.ndarray]) -> None:
    for name, value in flat.items():
        if not _NAME.fullmatch(name):
            raise BadCheckpointError("", f"the array name {name!r:.80} is not of the form net/part/part")
        if value.dtype.kind not in "fiub":
            raise BadCheckpointError("", f"{name} has the type {value.dtype}, which a model folder cannot hold")


def _check_nets(config: Mapping[str, Any], nets: Mapping[str, Any]) -> dict[str, Any]:
    """Return the networks, with their configuration's dtypes, after a check against it.

    Names, shapes and values are checked if the architecture is one of ours; others are returned unchanged.
    """
    if not nets:
        raise BadCheckpointError("", "holds no networks")
    if config["arch"] not in ARCH_RULES:
        return dict(nets)
    model, out = check_arguments(config), {}
    for name, tree in nets.items():
        check_net_name(name)
        expected = network_tree(model, name)
        try:
            check_tree(tree, expected)
        except BadCheckpointError as error:
            raise BadCheckpointError("", f"{name}: {error.reason}") from None
        dtypes = {key: leaf.dtype for key, leaf in flatten(expected).items()}
        out[name] = unflatten({key: np.asarray(x, dtypes[key]) for key, x in flatten(tree).items()})
    return out
