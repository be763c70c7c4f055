"""Closed paths through latents, styles, labels and transforms of the canvas, and the frames along them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from stylegan_jax.base import images
from stylegan_jax.base.spec import Array
from stylegan_jax.sampling.labels import Label, as_labels
from stylegan_jax.sampling.model import (
    CHUNK,
    Latents,
    LoadedModel,
    as_latents,
    as_styles,
    check_classes,
    check_styles_draw,
    in_chunks,
)

PATHS = ("latent", "translate", "rotate")
SPACES = ("w", "z")


def loop(
    model: LoadedModel,
    z: Latents = (),
    label: Label = None,
    *,
    styles: Array | None = None,
    path: str = "latent",
    space: str = "w",
    frames: int = 60,
    radius: float = 0.125,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: str = "const",
    chunk: int = CHUNK,
) -> Iterator[np.ndarray]:
    """Return the frames of a video that can be played in a loop.

    Args:
        model: the model that draws them.
        z: the k keyframes: seeds, or latents float[k, z].
        label: for all keyframes, or one each; see `LoadedModel.map`.
        styles: float[k, l, w], keyframes instead of `z` and `label`, not truncated.
        path: 'latent' moves from one keyframe to the next; 'translate' and 'rotate' move each keyframe's canvas once
            around, for an architecture that supports this; see `transforms`.
        space: of a latent path: 'w', a cubic spline through the styles, or 'z', great circles through the latents.
        frames: number of frames per keyframe.
        radius: radius of 'translate', in image heights.
        psi: truncation, see `LoadedModel.map`.
        cutoff: see `LoadedModel.map`.
        noise: 'const' or 'none'.
        chunk: images per call.

    Returns:
        An iterator over k * frames images uint8[h, w, c].

    Raises:
        ValueError: a keyframe, label, path or number does not fit.
    """
    for name, value, known in (("path", path, PATHS), ("space", space, SPACES)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; known: {', '.join(known)}")
    if frames < 1:
        raise ValueError(f"frames={frames} must be at least 1")
    if path != "latent":
        model.check_moves()
    spec = model.gan.spec
    check_styles_draw(spec)
    height, width, _ = spec.image_shape
    to_styles = lambda z, cond: model.map(z, cond if cond.shape[1] else None, psi=psi, cutoff=cutoff, chunk=chunk)
    if styles is None:
        latents = as_latents(z, spec.z_dim)
        cond = as_labels(label, len(latents), spec.label_dim, model.label_kind, model.label_names)
        check_classes(cond, spec)
        if path == "latent" and space == "z" and len(spec.w_avg) == 2 and (cond != cond[:1]).any():
            raise ValueError(
                "space='z' blends the labels of its keyframes, and this architecture takes one class at a time; use "
                "space='w' (--space=w), or one class for all"
            )
    if path == "latent" and space == "z" and styles is None:
        keys, at = latents, lambda t: to_styles(slerp(latents, t), blend(cond, t))
    else:
        keys = to_styles(latents, cond) if styles is None else as_styles(styles, spec)
        at = spline(keys) if path == "latent" else lambda t: keys[np.floor(t).astype(int)]

    def each() -> Iterator[np.ndarray]:
        for t, n in in_chunks(np.arange(len(keys) * frames) / frames, chunk):
            transform = None if path == "latent" else transforms(path, t, radius, width / height)
            image = model.synthesize(at(t), noise=noise, transform=transform, chunk=chunk)
            yield from images.to_pixels(image)[:n]

    return each()


def slerp(z: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return float32[n, z] on the closed path of great circles through latents float[k, z]; t float[n] in [0, k)."""
    at = np.floor(t).astype(int)
    a, b, share = z[at % len(z)], z[(at + 1) % len(z)], (t - at)[:, None]
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    angle = np.arccos(np.clip(np.sum(unit(a) * unit(b), axis=1, keepdims=True), -1, 1))
    angle = np.maximum(angle, 1e-6)  # 0 if a seed follows itself
    return ((np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)).astype(np.float32)


def spline(ws: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return t float[n] in [0, k) -> float32[n, l, w], the closed cubic spline through ws float[k, l, w]."""
    from scipy.interpolate import CubicSpline

    through = CubicSpline(np.arange(len(ws) + 1), np.concatenate([ws, ws[:1]]), bc_type="periodic")
    return lambda t: through(t).astype(np.float32)


def blend(labels: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return float32[n, k] on the closed path of straight lines through labels float32[m, k]; t float[n] in [0, m)."""
    at = np.floor(t).astype(int)
    share = (t - at)[:, None]
    return ((1 - share) * labels[at % len(labels)] + share * labels[(at + 1) % len(labels)]).astype(np.float32)


def make_transform(x: float, y: float, degrees: float, aspect: float) -> np.ndarray:
    """Return the float32[3, 3] for `Gan.with_transform` that rotates the picture and then moves it.

    Args:
        x: translation to the right, as a share of the width.
        y: translation down, as a share of the height.
        degrees: counter-clockwise rotation about the centre.
        aspect: width / height.
    """
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    moved = np.array([[cos, sin, x * aspect], [-sin, cos, y], [0, 0, 1]])
    return np.linalg.inv(moved).astype(np.float32)


def transforms(path: str, t: np.ndarray, radius: float, aspect: float) -> np.ndarray:
    """Return float32[n, 3, 3] for `Gan.with_transform`: one loop per whole step of t float[n].

    Args:
        path: 'translate', a circle about the centre that starts on the right and goes down; 'rotate', a full turn
            counter-clockwise; anything else does not move.
        t: times; each whole number completes a loop.
        radius: of the circle, in image heights.
        aspect: width / height.
    """
    x, y, degrees = (np.zeros_like(t) for _ in range(3))
    if path == "translate":
        x, y = radius / aspect * np.cos(2 * np.pi * t), radius * np.sin(2 * np.pi * t)
    if path == "rotate":
        degrees = 360 * (t % 1)
    return np.stack([make_transform(*move, aspect) for move in zip(x, y, degrees, strict=True)])
