"""Videos of any length from a model that was trained on videos, and its frames as images; see `LoadedModel.video`."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from stylegan_jax import models
from stylegan_jax.base import images
from stylegan_jax.base.spec import Array
from stylegan_jax.config.arch import clips_of
from stylegan_jax.models import stills
from stylegan_jax.sampling import drawing
from stylegan_jax.sampling.labels import Label, as_labels
from stylegan_jax.sampling.model import (
    Latents,
    LoadedModel,
    as_latents,
    as_styles,
    check_finite,
    is_seeds,
    seed_key,
    to_array,
)


def video(
    model: LoadedModel,
    seeds: Latents,
    frames: int,
    fps: float | None,
    start: float,
    motion_seeds: int | Sequence[int] | np.ndarray | None,
    *,
    speed: float,
    label: Label,
    styles: Array | None,
    psi: float,
    cutoff: int | None,
    chunk: int,
) -> Iterator[np.ndarray]:
    """Check the arguments of `LoadedModel.video`, and return what it returns."""
    check_time(model)
    if chunk < 1:
        raise ValueError(f"{chunk} images per call; it must be at least 1")
    step = time_step(model, frames, fps, start, speed)
    given = to_array(seeds) if styles is None else None
    ws = as_styles(styles, model.gan.spec) if styles is not None else np.zeros(0)
    n = len(ws) if given is None else len(given)
    moving = choose_motion(motion_seeds, given, n)
    cond = as_labels(label, n, model.gan.spec.label_dim, model.label_kind, model.label_names)
    if given is not None:
        ws = model.map(as_latents(given, model.gan.spec.z_dim), label, psi=psi, cutoff=cutoff, chunk=chunk)
    run, (g, *_) = _drawer(model.gan), model._placed
    total = frames * n

    def each() -> Iterator[np.ndarray]:
        held: list[np.ndarray] = []
        for first in range(0, total, chunk):
            frame, cell = np.divmod(np.minimum(np.arange(first, first + chunk), total - 1), n)
            times = (start + frame * step).astype(np.float32)
            image = jax.device_get(run(g, ws[cell], moving[cell], times, cond[cell]))[: total - first]
            check_finite(image, "frames", "the model's weights are not finite, or its styles are too large")
            held += list(images.to_pixels(image))
            while len(held) >= n:
                yield np.stack(held[:n])
                del held[:n]

    return each()


def check_time(model: LoadedModel) -> None:
    """Raise ValueError unless the model draws videos."""
    if model.gan.draw_at is None and clips_of(model.config) is not None:
        raise ValueError(
            "this model draws the frames of one time, chosen by model.still(); use the model that still() was called on"
        )
    if model.gan.draw_at is None:
        raise ValueError(
            f"arch {model.config.arch!r} draws images, which have no time; use a model that was trained on videos, "
            "such as stylegan_v"
        )


def check_at(name: str, time: float) -> None:
    """Raise ValueError for a time that is negative or not a number; `name` is that of the argument."""
    if not isinstance(time, numbers.Real) or not 0 <= time < float(np.finfo(np.float32).max):
        raise ValueError(f"{name}={time} must be a number from 0, the time of a video's first frame")


def time_step(model: LoadedModel, frames: int, fps: float | None, start: float, speed: float) -> float:
    """Return the time between frames of a video, in frames of the training data.

    Raises:
        ValueError: a number does not fit, `fps` is passed although the data's frame rate is unknown, or frames are so
            late that float32 cannot distinguish their times.
    """
    if not isinstance(frames, numbers.Real) or frames < 1 or frames % 1:
        raise ValueError(f"frames={frames} must be a whole number from 1")
    check_at("start", start)
    for name, value in (("speed", speed), ("fps", fps)):
        if value is not None and not (isinstance(value, numbers.Real) and 0 < value < math.inf):
            raise ValueError(f"{name}={value} must be a number above 0")
    if fps is not None and model.fps is None:
        raise ValueError(
            f"fps={fps}: the frame rate of this model's data is unknown; leave it out, and set speed, which is 1 for a "
            "step of one frame of the data"
        )
    step = speed if fps is None or model.fps is None else speed * model.fps / fps
    last = start + (frames - 1) * step
    if last > np.finfo(np.float32).max or (frames > 1 and np.spacing(np.float32(last)) > step / 2):
        raise ValueError(
            f"start={start} frames={frames} speed={speed}: the last frame would be at time {last:g}, where float32 "
            f"cannot represent steps of {step:g}; lower start or frames, or raise the speed"
        )
    return step


def choose_motion(motion_seeds: Any, seeds: np.ndarray | None, n: int) -> np.ndarray:
    """Return uint32[n], the seed of each video's motion: as passed, or its own seed, or 0 if it has none."""
    if motion_seeds is None:
        return (seeds if seeds is not None and is_seeds(seeds) else np.zeros(n)).astype(np.uint32)
    found = np.atleast_1d(to_array(motion_seeds) if not np.isscalar(motion_seeds) else np.asarray(motion_seeds))
    if not is_seeds(found) or len(found) not in (1, n):
        raise ValueError(
            f"motion_seeds={motion_seeds}: pass an integer from 0 to {2**32 - 1} for all {n} videos, or one each"
        )
    return np.broadcast_to(found.astype(np.uint32), (n,))


@functools.lru_cache(maxsize=64)
def _drawer(gan: models.Gan) -> Any:
    def run(g, ws, seeds, times, cond):  # a row for each frame, so that it depends on no other
        assert gan.draw_at is not None
        inputs = jax.vmap(functools.partial(stills.one_frame, gan.draw_at))(jax.vmap(seed_key)(seeds), times, cond)
        return drawing.draw(gan, g, ws, inputs)[:, 0]

    return jax.jit(run)


def still(model: LoadedModel, time: float, motion_seed: int | None, label: Label) -> LoadedModel:
    """Check the arguments of `LoadedModel.still`, and return what it returns."""
    check_time(model)
    check_at("time", time)
    if motion_seed is not None:
        choose_motion(motion_seed, None, 1)
    dim = model.gan.spec.label_dim
    cond: tuple[float, ...] = ()
    if label is not None:
        cond = tuple(as_labels(label, 1, dim, model.label_kind, model.label_names)[0].tolist())
    seed = None if motion_seed is None else int(motion_seed)
    return model.replace(gan=_still(model.gan, float(np.float32(time)), seed, cond), d=None)


@functools.lru_cache(maxsize=64)
def _still(gan: models.Gan, time: float, motion_seed: int | None, label: tuple[float, ...]) -> models.Gan:
    key = None if motion_seed is None else seed_key(motion_seed)
    return stills.still(gan, time, key, label)
