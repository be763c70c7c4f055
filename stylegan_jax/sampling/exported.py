"""`load_exported(folder)`: run what `tools.export` wrote, without the code of the architecture."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import safetensors.numpy
from jax import export

from stylegan_jax.base.spec import Array
from stylegan_jax.config import ConfigError, suggest
from stylegan_jax.sampling import hub
from stylegan_jax.sampling.labels import Label, as_labels, read_names
from stylegan_jax.sampling.model import Latents, as_latents, check_truncation

FOLDER = "stablehlo"
FORMAT, FORMAT_VERSION = "stylegan_jax exported programs", 1
FUNCTIONS = ("map", "synthesize", "sample")
KNOWN_CALLS = ("custom_call @shape_assertion",)
"""Calls that XLA itself resolves, in programs with a batch of any size; others could call code in this process."""
BACKENDS = {"gpu": "cuda"}
"""Backends whose name in JAX is not that of `jax.export`."""


class Description(NamedTuple):
    """The content of export.json.

    Attributes:
        platforms: platforms for which there are programs.
        sha256: of the weights file.
        reads: {function: names of its weights}.
        programs: {function: {platform: checksum of its program}}.
        label_kind: as `SourceInfo.label_kind`.
        z_dim: length of a latent.
        label_dim: length of a label; 0: none.
        label_names: names of the classes; () if unknown.
        num_ws: style slots.
    """

    platforms: list[str]
    sha256: str
    reads: dict[str, list[str]]
    programs: dict[str, dict[str, str]]
    label_kind: str
    z_dim: int
    label_dim: int
    label_names: tuple[str, ...]
    num_ws: int


class ExportedModel:
    """Exported programs and their weights. Each new number of images compiles again.

    Args:
        described: content of export.json.
        programs: deserialised functions by name.
        weights: {name: array} of all functions.
    """

    def __init__(self, described: Description, programs: dict[str, export.Exported], weights: dict[str, np.ndarray]):
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
        num_ws, label_dim = self._described.num_ws, self._described.label_dim
        check_truncation(psi, cutoff, num_ws)
        z = as_latents(z, self._described.z_dim)
        cond = as_labels(label, len(z), label_dim, self._described.label_kind, self._described.label_names)
        slots = np.where(np.arange(num_ws) < (num_ws if cutoff is None else cutoff), psi, 1.0).astype(np.float32)
        return [z, *[cond] * bool(label_dim), slots]

    def _run(self, name: str, *inputs: np.ndarray) -> np.ndarray:
        weights = {key: self._weights[key] for key in self._described.reads[name]}
        return jax.device_get(self._calls[name](weights, *inputs))


def load_exported(path: str | os.PathLike[str], platform: str = "") -> ExportedModel:
    """Load the programs of a folder that `tools.export` wrote.

    Args:
        path: the folder, or its address on the Hugging Face Hub ('hf://user/name').
        platform: 'cpu', 'cuda' or 'tpu'; '': that of the default device.

    Raises:
        ConfigError: there are no programs, or none for the platform; a file is unreadable or not the described one; or
            a program calls code outside itself, in which case it is not compiled.
    """
    path = os.path.expanduser(path)
    folder = hub.pull(path, hub.EXPORTED_FILES) if hub.is_address(path) else Path(path)
    where = os.fspath(path)
    described = _read_description(folder / FOLDER / "export.json", where)
    backend = jax.default_backend()
    platform = platform or BACKENDS.get(backend, backend)
    if platform not in described.platforms:
        raise ConfigError(f"{where} was not exported for {platform!r}; {suggest(platform, described.platforms)}")
    weights, programs = _check(folder / "weights.safetensors", described.sha256), {}
    for name in FUNCTIONS:
        data = _check(folder / FOLDER / f"{name}.{platform}.bin", described.programs[name][platform])
        try:
            programs[name] = export.deserialize(bytearray(data))
            unsafe = foreign_calls(programs[name].mlir_module())
        except Exception as error:  # whatever its parsers raise
            raise ConfigError(f"{where}: {name}.{platform}.bin is not a program that JAX can read ({error})") from error
        if unsafe:
            raise ConfigError(
                f"{where}: {name}.{platform}.bin calls code outside itself, which our programs never do, so it was not "
                f"compiled: {', '.join(unsafe[:8])}"
            )
    return ExportedModel(described, programs, _read_weights(weights, described, where))


def foreign_calls(module: str) -> list[str]:
    """Return a program's calls outside itself that are not in `KNOWN_CALLS`.

    Args:
        module: its text, as MLIR prints it.
    """
    found = re.findall(r"custom_call(?!_target)(?: @\w+|.{0,60})|stablehlo\.(?:infeed|outfeed|send|recv)\b", module)
    return sorted({text for text in found if text not in KNOWN_CALLS})


def _read_description(path: Path, where: str) -> Description:
    """Return the content of export.json, which is untrusted.

    Raises:
        ConfigError: it is missing, of another version, or incomplete.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"the format is {content['format']!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{where} holds no exported programs ({error}); python -m stylegan_jax.tools.export writes them"
        ) from None
    if content.get("format_version") != FORMAT_VERSION:
        raise ConfigError(
            f"{where}: export.json has the format version {content.get('format_version')!r}, this code reads "
            f"{FORMAT_VERSION}; use the release that wrote it, or export again"
        )
    try:
        about = {name: content["functions"][name] for name in FUNCTIONS}
        platforms = list(content["precision"])
        sizes = {x["name"]: x["shape"] for x in about["sample"]["inputs"]}
        label_dim = int(sizes["label"][1]) if "label" in sizes else 0
        return Description(
            platforms,
            content["weights"]["sha256"],
            {name: [str(key) for key in about[name]["weights"]] for name in FUNCTIONS},
            {name: {p: about[name]["files"][p]["sha256"] for p in platforms} for name in FUNCTIONS},
            str(content["label_kind"]),
            int(sizes["z"][1]),
            label_dim,
            read_names(content.get("label_names"), label_dim),
            int(sizes["psi"][0]),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: export.json is damaged ({type(error).__name__}: {error}); export again") from None


def _read_weights(data: bytes, described: Description, where: str) -> dict[str, np.ndarray]:
    """Return the weights that the functions read, from the bytes of a safetensors file."""
    try:
        found = safetensors.numpy.load(data)
        return {key: found[key] for names in described.reads.values() for key in names}
    except (safetensors.SafetensorError, KeyError) as error:
        raise ConfigError(f"{where}: weights.safetensors does not hold what export.json names ({error})") from None


def _check(path: Path, sha256: str) -> bytes:
    """Return the bytes of a file after a check of its checksum."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ConfigError(f"{path} is not the file that export.json describes: damaged or replaced; export again")
    return data
