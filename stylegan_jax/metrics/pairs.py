"""Pairs of images, such as photographs and their reconstructions: one number for each pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.metrics import engine, ensemble
from stylegan_jax.metrics.collect import Rows
from stylegan_jax.metrics.definitions import PIXELWISE, Chosen
from stylegan_jax.metrics.images import Extractor
from stylegan_jax.metrics.store import Store

Pixels = Callable[[np.ndarray], np.ndarray]
"""Numbers int64[m] -> uint8[m, h, w, 3]."""


def measure(
    c: Chosen, count: int, first: Pixels, second: Pixels, extractor: Extractor, *, seed: int = 0, **options: Any
) -> tuple[np.ndarray, float]:
    """Compare pairs of images.

    Args:
        c: a metric of the family 'pairs'.
        count: pairs.
        first: their first images, by number.
        second: their second images; of the same size where `c` compares pixel by pixel.
        extractor: has the network of `c`, if it needs one.
        seed: of the transformations of E-LPIPS.
        options: `progress` and `stop`, as of `engine.run`.

    Returns:
        float32[count] on the first process (empty on the others), and the seconds it took.

    Raises:
        MetricError, StoppedError and others, as `engine.run`.
    """
    rows = Rows(count)
    compare = _compare(c, extractor, seed)
    load = lambda index: [own := extractor.own(index), first(own), second(own)]
    job = engine.Job(c.name, {}, count, extractor.chunk, load, lambda loaded: {"pair": compare(*loaded)}, "pair")
    seconds = engine.run(job, {"pair": [rows]}, Store(None), **options)
    return rows.rows.reshape(-1), seconds


def is_distance(c: Chosen) -> bool:
    """Return whether a metric of pairs is a distance, which is never negative; if not, it is a cosine."""
    return c.metric.need in PIXELWISE


def _compare(c: Chosen, extractor: Extractor, seed: int) -> ensemble.Compare:
    if c.metric.need == "elpips":
        return ensemble.of_pairs(extractor, int(c.metric.variant), seed)
    compare = _mean_square if c.metric.need == "pixels" else _distance if is_distance(c) else _cosine
    plain = extractor.of_pairs(c.net, c.output, compare)
    return lambda index, a, b: plain(a, b)


def _mean_square(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the mean squared difference of images in [0, 255], on the scale [-1, 1]."""
    return jnp.square((a - b) / 127.5).mean(axis=(1, 2, 3))


def _distance(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.square(a - b).sum(axis=1)


def _cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    return (a * b).sum(axis=1) / (jnp.linalg.norm(a, axis=1) * jnp.linalg.norm(b, axis=1))
