"""A folder that is a web page with the generator, which runs in the browser; no server computes anything."""

from __future__ import annotations

import os
import tarfile
from importlib import resources
from pathlib import Path

from stylegan_jax.config import ConfigError
from stylegan_jax.convert.folder import check_replaceable, new_folder
from stylegan_jax.sampling import onnx_files
from stylegan_jax.sampling.model import LoadedModel, further_inputs

RUNTIME = "onnxruntime-web"
FILES = {
    "dist/ort.wasm.min.mjs": "ort.wasm.min.mjs",
    "dist/ort-wasm-simd-threaded.mjs": "ort-wasm-simd-threaded.mjs",
    "dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
    "package.json": "package.json",
}
"""{file of the npm package that the page needs: its name in the folder `ort`}."""
MAX_BYTES = 100 * 2**20
"""Size limit of each; the largest of version 1.30 has 14 MB."""


def write_web(
    model: LoadedModel,
    out: str | os.PathLike[str],
    *,
    runtime: str | os.PathLike[str] | None = None,
    noise: str = "const",
    half: bool = False,
    overwrite: bool = False,
    name: str = "",
    licence: str = "",
) -> None:
    """Write a page with the model: seed, truncation, label, style mixing, a random walk, saving.

    Any static host can serve it, and it loads nothing from other hosts. `python -m http.server --directory=OUT` serves
    it locally; browsers do not load modules from file:// addresses.

    Args:
        model: the model, grown to its end.
        out: the folder.
        runtime: the npm package onnxruntime-web (MIT), as its folder or the archive that `npm pack` writes; None:
            node_modules/onnxruntime-web in the current folder.
        noise: 'const' or 'none'.
        half: store weights in float16.
        overwrite: replace a folder that this function wrote.
        name: title; '': the name of the folder.
        licence: of the weights; '': not stated.

    Raises:
        ConfigError: the runtime is missing, the model draws more than z, or for the reasons of `onnx_files.write_onnx`.
        ValueError: the model is still growing.
        BadCheckpointError: `out` exists and may not be replaced.
    """
    if further := further_inputs(model.gan.spec):
        raise ConfigError(
            f"this model draws {', '.join(further)} besides z, and the page draws only z; --to=onnx writes files that "
            "take them as inputs"
        )
    check_replaceable(out, overwrite, onnx_files.is_ours)
    parts = read_runtime(runtime)
    with new_folder(out, overwrite=overwrite, ours=onnx_files.is_ours) as fresh:
        title = name or Path(out).resolve().name
        onnx_files.fill_onnx(fresh, model, ("map", "synthesize"), noise, half, title, licence)
        page = resources.files("stylegan_jax.sampling") / "web"
        for file in ("index.html", "page.css", "page.js"):
            (fresh / file).write_bytes((page / file).read_bytes())
        (fresh / "ort").mkdir()
        for file, data in parts.items():
            (fresh / "ort" / file).write_bytes(data)


def read_runtime(path: str | os.PathLike[str] | None) -> dict[str, bytes]:
    """Return the files of the runtime by their names in the folder `ort`.

    Raises:
        ConfigError: they are missing.
    """
    place = Path(path if path is not None else Path("node_modules") / RUNTIME)
    how = f"run `npm pack {RUNTIME}` and pass --runtime=FILE.tgz, or --runtime=node_modules/{RUNTIME}"
    if not place.exists():
        raise ConfigError(f"{place} does not exist; the page needs the npm package {RUNTIME} (MIT): {how}")
    try:
        if place.is_dir():
            return {name: (place / source).read_bytes() for source, name in FILES.items()}
        with tarfile.open(place) as archive:
            return {name: _member(archive, f"package/{source}") for source, name in FILES.items()}
    except (OSError, EOFError, KeyError, tarfile.TarError) as error:
        raise ConfigError(f"{place} is not the npm package {RUNTIME} ({error}); {how}") from None


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    info = archive.getmember(name)
    file = archive.extractfile(info)
    if file is None or info.size > MAX_BYTES:
        raise KeyError(f"{name} is not a file of at most {MAX_BYTES} bytes")
    return file.read(info.size)
