"""The generator as ONNX files, for runtimes without JAX: a folder with one file per function and a description."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

from stylegan_jax import __version__, models
from stylegan_jax.base.files import write_whole
from stylegan_jax.base.spec import Tree
from stylegan_jax.base.trees import flatten
from stylegan_jax.config import ConfigError
from stylegan_jax.convert.folder import check_replaceable, new_folder, save_json
from stylegan_jax.sampling import programs
from stylegan_jax.sampling.model import LoadedModel

FORMAT, FORMAT_VERSION = "stylegan_jax ONNX models", 1
DESCRIPTION = "onnx.json"
PAGE = ("index.html", "page.css", "page.js", "ort")
"""Further files of a page."""
LARGEST = 2**31 - 1
"""Largest file that the format allows, in bytes, weights included."""


def write_onnx(
    model: LoadedModel,
    out: str | os.PathLike[str],
    *,
    functions: tuple[str, ...] = ("map", "synthesize", "sample"),
    noise: str = "const",
    half: bool = False,
    overwrite: bool = False,
    name: str = "",
    licence: str = "",
) -> None:
    """Write FUNCTION.onnx for each function, and onnx.json, which describes them.

    The functions are those of `tools.export`: `map` (z, label, psi -> ws), `synthesize` (ws -> image float32, about
    [-1, 1]) and `sample` (z, label, psi -> pixels uint8), with a batch of any size, in float32. The last two also take
    a model's inputs besides z: for clips, per row a frame's time, in frames, and the motion noise of its clip.

    Args:
        model: the model, grown to its end.
        out: the folder.
        functions: which of them to write.
        noise: 'const' or 'none'.
        half: store weights in float16, which halves the size; they are converted to float32 on loading.
        overwrite: replace a folder that this function wrote.
        name: title; '': the name of the folder.
        licence: of the weights; '': not stated.

    Raises:
        ConfigError: the package `onnx` is missing, or a file would be larger than the format allows.
        ValueError: the model is still growing.
        OnnxError: the exporter has no rule for an operation, or ONNX lacks it.
        BadCheckpointError: `out` exists and may not be replaced.
    """
    check_replaceable(out, overwrite, is_ours)
    with new_folder(out, overwrite=overwrite, ours=is_ours) as fresh:
        fill_onnx(fresh, model, functions, noise, half, name or Path(out).resolve().name, licence)


def is_ours(names: set[str]) -> bool:
    """Return whether a folder with these names in it contains ONNX files or a page, and nothing else."""
    return DESCRIPTION in names and all(name.endswith((".onnx", ".json")) or name in PAGE for name in names)


def fill_onnx(
    folder: Path,
    model: LoadedModel,
    functions: tuple[str, ...],
    noise: str,
    half: bool,
    name: str,
    licence: str,
) -> dict[str, Any]:
    """Write the files of `write_onnx` into a folder; return the description."""
    check_package()
    if not model.is_grown:
        raise ValueError(
            f"at step {model.provenance.get('step')} the model is still growing; export a later checkpoint"
        )
    from stylegan_jax.onnx import to_onnx

    gan, spec = in_full_precision(model), model.gan.spec
    weights: Tree = flatten({programs.NET: {**model.g_ema, "w_avg": model.w_avg}})
    files = {}
    for key, function in programs.functions(gan, noise, with_further=True).items():
        if key not in functions:
            continue
        read = {path: x for path, x in weights.items() if function.reads(path)}
        output, dtype, shape = function.output
        made = to_onnx(function.run, read, function.inputs, output, half=half)
        if made.ByteSize() > LARGEST:
            raise ConfigError(
                f"{key}.onnx would have {made.ByteSize() / 2**30:.1f} GiB, and the format allows 2; store the weights "
                "in float16 (--half), or export StableHLO"
            )
        data = made.SerializeToString()
        write_whole(folder / f"{key}.onnx", data)
        files[key] = {
            "file": f"{key}.onnx",
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "inputs": [{"name": n, "dtype": "float32", "shape": list(s)} for n, s in function.inputs.items()],
            "output": {"name": output, "dtype": dtype, "shape": shape},
        }
    about = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": name,
        "licence": licence,
        "architecture": model.config.arch,
        "image": list(spec.image_shape),
        "z_dim": spec.z_dim,
        "w_dim": spec.w_dim,
        "num_ws": spec.num_ws,
        "label_dim": spec.label_dim,
        "label_kind": model.label_kind,
        "label_names": list(model.label_names),
        "noise": noise,
        "weights": "float16" if half else "float32",
        "functions": files,
        "versions": {"stylegan_jax": __version__},
    }
    save_json(folder / DESCRIPTION, about)
    return about


def in_full_precision(model: LoadedModel) -> models.Gan:
    """Return a model's bundle that computes in float32 throughout."""
    return models.build(dataclasses.replace(model.config, compute_dtype="float32"))


def check_package() -> None:
    """Check that the package `onnx` is installed.

    Raises:
        ConfigError: it is not; the message names the extra.
    """
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise ConfigError("ONNX files need the package onnx: pip install 'stylegan_jax[onnx]'") from None
