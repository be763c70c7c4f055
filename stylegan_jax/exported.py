"""`load_exported(folder)`: run what `tools.export` made, without the code of the architecture."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from jax import export

from stylegan_jax import hub
from stylegan_jax.config import ConfigError, suggest
from stylegan_jax.spec import Array
from stylegan_jax.trained import Label, Latents, as_labels, as_latents, check_truncation

FOLDER = "stablehlo"
BACKENDS = {"gpu": "cuda"}
"""JAX's names of backends, where `jax.export` has others."""


class ExportedModel:
    """Exported programs and their weights. Every other number of images is compiled anew.

    Args:
        described: content of export.json.
        programs: deserialised functions by name.
        weights: {name: array} of all functions.
    """

    def __init__(self, described: dict[str, Any], programs: dict[str, export.Exported], weights: dict[str, np.ndarray]):
        """Place the weights on the default device; see `load_exported`."""
        self._described, self.programs = described, programs
        self._weights = jax.device_put(weights)
        self._calls = {name: jax.jit(program.call) for name, program in programs.items()}

    def map(self, z: Latents, label: Label = None, *, psi: float = 1.0, cutoff: int | None = None) -> np.ndarray:
        """Return ws float32[n, l, w] of seeds or latents; as `LoadedModel.map`."""
        return self._run("map", *self._inputs(z, label, psi, cutoff))

    def synthesize(self, ws: Array) -> np.ndarray:
        """Return float32[n, h, w, c], about [-1, 1], of ws float[n, l, w]."""
        return self._run("synthesize", np.asarray(ws, np.float32))

    def sample(self, z: Latents, label: Label = None, *, psi: float = 1.0, cutoff: int | None = None) -> np.ndarray:
        """Return pictures uint8[n, h, w, c] of seeds or latents; as `LoadedModel.sample`."""
        return self._run("sample", *self._inputs(z, label, psi, cutoff))

    def _inputs(self, z: Latents, label: Label, psi: float, cutoff: int | None) -> list[np.ndarray]:
        sizes = {x["name"]: x["shape"] for x in self._described["functions"]["sample"]["inputs"]}
        (num_ws,) = sizes["psi"]
        check_truncation(psi, cutoff, num_ws)
        z = as_latents(z, sizes["z"][1])
        label_dim = sizes["label"][1] if "label" in sizes else 0
        cond = as_labels(label, len(z), label_dim, self._described["label_kind"])
        slots = np.where(np.arange(num_ws) < (num_ws if cutoff is None else cutoff), psi, 1.0).astype(np.float32)
        return [z, *[cond] * bool(label_dim), slots]

    def _run(self, name: str, *inputs: np.ndarray) -> np.ndarray:
        weights = {key: self._weights[key] for key in self._described["functions"][name]["weights"]}
        return jax.device_get(self._calls[name](weights, *inputs))


def load_exported(path: str | os.PathLike[str], platform: str = "") -> ExportedModel:
    """Load the programs of a folder that `tools.export` wrote.

    Args:
        path: the folder, or its address on the Hugging Face Hub ('hf://user/name').
        platform: 'cpu', 'cuda' or 'tpu'; '': that of the default device.

    Raises:
        ConfigError: no programs there, none for the platform, or a file that is not the one described.
    """
    folder = hub.pull(path, hub.EXPORTED_FILES) if hub.is_address(path) else Path(path)
    try:
        described = json.loads((folder / FOLDER / "export.json").read_text())
        known = list(described["precision"])
        described_weights = described["weights"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{os.fspath(path)} holds no exported programs ({error}); python -m stylegan_jax.tools.export writes them"
        ) from None
    backend = jax.default_backend()
    platform = platform or BACKENDS.get(backend, backend)
    if platform not in known:
        raise ConfigError(f"{os.fspath(path)} was not exported for {platform!r}; {suggest(platform, known)}")
    weights = folder / "weights.safetensors"
    _check(weights, described_weights)
    programs = {}
    for name, about in described["functions"].items():
        file = folder / FOLDER / f"{name}.{platform}.bin"
        programs[name] = export.deserialize(bytearray(_check(file, about["files"][platform]["sha256"])))
    return ExportedModel(described, programs, safetensors.numpy.load_file(weights))


def _check(path: Path, sha256: str) -> bytes:
    """Return the bytes of a file that has this checksum."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ConfigError(f"{path} is not the file that export.json describes: damaged or exchanged; export again")
    return data
