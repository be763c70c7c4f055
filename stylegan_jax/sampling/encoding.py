"""Encoders in use: images to styles in one pass, or in a few (ReStyle).

    from stylegan_jax import sampling

    encoder = sampling.load_encoder("runs/encoder")  # with the generator that it was trained for
    ws = encoder.encode(pixels)  # uint8 [n, h, w, c] or float in [-1, 1] -> float32 [n, l, w]
    images = encoder.model.synthesize(ws)

Images must be aligned like those that the generator was trained on; `alignment.crop` does this by landmarks.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stylegan_jax import encoders
from stylegan_jax.base import images as pictures
from stylegan_jax.base.spec import Array, Variables
from stylegan_jax.checkpoints.restore import committed_steps, restore_g_ema
from stylegan_jax.config import ConfigError, EncoderConfig, from_dict
from stylegan_jax.encoders import Encoder, restyle
from stylegan_jax.models import Gan
from stylegan_jax.sampling import drawing, model as trained
from stylegan_jax.sampling.load import load_model
from stylegan_jax.sampling.model import CHUNK, LoadedModel

Model = LoadedModel | str | os.PathLike[str] | None
"""A generator, or its path; None: the one that belongs to the encoder."""


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedEncoder:
    """An encoder with the generator whose styles it finds.

    Attributes:
        encoder: its functions.
        variables: its arrays, {'params', 'batch_stats', 'average'}.
        model: the generator.
        provenance: where it comes from, as text to print or store.
    """

    encoder: Encoder = dataclasses.field(repr=False)
    variables: Variables = dataclasses.field(repr=False)
    model: LoadedModel = dataclasses.field(repr=False)
    provenance: dict[str, Any]

    @functools.cached_property
    def _placed(self) -> Variables:
        return jax.device_put(self.variables)

    def encode(self, images: Array, *, iterations: int | None = None, chunk: int = CHUNK) -> np.ndarray:
        """Return the styles of images.

        Args:
            images: uint8[n, h, w, c], or float[n, h, w, c] in [-1, 1], of any size, with the encoder's channels and
                aspect ratio, which are the generator's (except for e4e of cars: 4:3).
            iterations: of a residual encoder (ReStyle); None: as it was trained.
            chunk: images per call.

        Returns:
            ws float32[n, l, w].

        Raises:
            ValueError: the images have another shape, the encoder is not residual and there are several iterations, or
                the styles are not finite.
        """
        spec = self.encoder.spec
        images = check_images(images, spec.image)
        count = spec.iterations if iterations is None else iterations
        if count < 1 or (count > 1 and not spec.residual):
            rule = "at least 1" if spec.residual else "1: only a residual encoder (ReStyle) repeats"
            raise ValueError(f"iterations is {count}; it must be {rule}")
        run, g = _program(self.encoder, self.model.gan, count), self.model.on_device().g_ema
        parts = [jax.device_get(run(self._placed, g, part))[:n] for part, n in trained.in_chunks(images, chunk)]
        ws = np.concatenate(parts)
        trained.check_finite(ws, "styles", "the encoder's weights are not finite, or it diverged in training")
        return ws


@functools.lru_cache(maxsize=16)
def _program(encoder: Encoder, gan: Gan, iterations: int) -> Any:
    def run(variables, g, images):  # weights are arguments, because constants would be compiled in
        images = pictures.from_pixels(images) if images.dtype == np.uint8 else images
        ws, _ = restyle.iterate(encoder, variables, lambda ws: drawing.draw(gan, g, ws), images, iterations)
        return ws

    return jax.jit(run)


def check_images(images: Array, shape: tuple[int, int, int]) -> np.ndarray:
    """Return images as uint8 or float32[n, h, w, c].

    Raises:
        ValueError: the type, the channels or the aspect ratio do not fit an encoder of images of `shape`, (h, w, c), or
            numbers are outside [-1, 1].
    """
    images = np.asarray(images)
    height, width, channels = shape
    if images.ndim != 4 or images.shape[3] != channels or 0 in images.shape or images.dtype.kind not in "uf":
        raise ValueError(
            f"images are {images.dtype}{list(images.shape)}; pass uint8[n, h, w, {channels}], or float in [-1, 1]"
        )
    h, w = images.shape[1:3]
    if h * width != w * height:
        raise ValueError(
            f"images are {w}x{h} and the encoder sees {width}x{height}; images must have its aspect ratio, and be "
            "aligned as in training: crop them first (sampling.alignment.crop, or sampling.read_images)"
        )
    if images.dtype.kind == "u" and images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype}; pixels are uint8")
    if images.dtype.kind == "f":
        images = images.astype(np.float32)
        if not (np.abs(images) <= 1.5).all():
            raise ValueError(f"images have numbers up to {np.abs(images).max():g}; floats are in [-1, 1]")
    return images


def load_encoder(path: str | os.PathLike[str], model: Model = None, step: int | None = None) -> LoadedEncoder:
    """Load an encoder, and the generator that it belongs to.

    Args:
        path: the workdir of a run with `config.task='encoder'`, or an e4e, pSp or ReStyle `.pt`, which is read without
            executing anything in it.
        model: the generator, or its path; None: the one that the run was trained for, or that the file contains.
        step: which checkpoint of a workdir; None: the newest.

    Raises:
        ConfigError: `path` is none of these, or the generator's style slots are not the encoder's.
        BadCheckpointError, CheckpointError, others: as `load_model`.
    """
    path = Path(os.path.expanduser(path))
    if path.is_file():
        return _from_file(path, model, step)
    if not committed_steps(path / "checkpoints"):
        raise ConfigError(f"{path} contains no encoder; pass the workdir of a run of --config=configs/e4e.py, or a .pt")
    config, variables, facts = _from_workdir(path, step)
    generator = _open(config.model if model is None else model)
    facts |= {} if isinstance(model, LoadedModel) else {"model": os.fspath(config.model if model is None else model)}
    spec = generator.gan.spec
    _check(path, variables, generator)
    encoder = encoders.build(config, num_ws=spec.num_ws, w_dim=spec.w_dim, channels=spec.image_shape[2])
    return LoadedEncoder(encoder, variables, generator, facts)


def _from_file(path: Path, model: Model, step: int | None) -> LoadedEncoder:
    """Return another project's encoder; the generator draws the average image of a residual one."""
    from stylegan_jax.convert.encoders import read_encoder

    if step is not None:
        raise ConfigError(f"step {step} of {path}: only a run's workdir has steps; leave it out")
    made = read_encoder(path)
    generator = _open(path if model is None else model)
    _check(path, made.variables, generator)
    if made.encoder.spec.image[2] != generator.gan.spec.image_shape[2]:
        raise ConfigError(
            f"the encoder {path} sees {made.encoder.spec.image[2]} channels, and the generator draws "
            f"{generator.gan.spec.image_shape[2]}; pass the generator that it was trained for"
        )
    variables = made.variables
    if made.encoder.spec.residual:
        w = variables["average"]["w"]
        variables = jax.device_get(encoders.with_average(variables, w, generator.synthesize(w[None])[0]))
    facts = {"file": str(path), "notes": list(made.notes)}
    facts |= {} if isinstance(model, LoadedModel) else {"model": os.fspath(path if model is None else model)}
    return LoadedEncoder(made.encoder, variables, generator, facts)


def _open(model: LoadedModel | str | os.PathLike[str]) -> LoadedModel:
    return model if isinstance(model, LoadedModel) else load_model(model)


def _check(path: Path, variables: Variables, generator: LoadedModel) -> None:
    """Check that a generator takes the styles that an encoder returns.

    Raises:
        ConfigError: the generator has other style slots.
    """
    spec = generator.gan.spec
    trained.check_styles_draw(spec)
    own = np.shape(variables["average"]["w"])
    if own != (spec.num_ws, spec.w_dim):
        raise ConfigError(
            f"the encoder {path} returns {own[0]} styles of {own[1]} numbers, and the generator takes {spec.num_ws} of "
            f"{spec.w_dim}; pass the generator that it was trained for, or one of the same size"
        )


def _from_workdir(path: Path, step: int | None) -> tuple[EncoderConfig, Variables, dict[str, Any]]:
    variables, meta, step = restore_g_ema(path, step=step)
    if meta["config"].get("task") != "encoder":
        raise ConfigError(f"{path} is the run of a generator; pass it as the model, and the run of its encoder here")
    return from_dict(meta["config"]).encoder, variables, {"workdir": str(path), "step": step, "nimg": meta["nimg"]}
