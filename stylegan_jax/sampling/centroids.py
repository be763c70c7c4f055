"""Centroids of styles, for multimodal truncation towards the nearest mode (Mokady et al. 2022; StyleGAN-XL).

model = load_model("runs/xl")
found = centroids.find(model, 64, 10_000)
model.replace(centroids=found).sample(range(16), psi=0.7, label=3)
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.cluster.vq import kmeans2

from stylegan_jax.base import arrays
from stylegan_jax.models import GanSpec
from stylegan_jax.sampling.model import LoadedModel

NAME = "centroids"
"""Name of the array in an .npz file."""
PART = 1024
"""Number of styles that are mapped before their slots are dropped."""


def find(
    model: LoadedModel,
    count: int,
    samples: int,
    *,
    classes: Sequence[int] = (),
    seed: int = 0,
    iterations: int = 30,
    chunk: int = 64,
) -> np.ndarray:
    """Return the k-means centroids of the styles of random latents, with random classes if the model has classes.

    The published files have 10,000 centroids of 600,000 styles. All stages of StyleGAN-XL share the stem's mapping
    network, so the centroids of one stage fit later ones.

    Args:
        model: only its mapping network matters.
        count: number of centroids.
        samples: number of styles, at least `count`.
        classes: classes to draw from, uniformly; (): all.
        seed: of latents, classes, and the first centroids (k-means++).
        iterations: of k-means.
        chunk: latents per call.

    Returns:
        float32[count, w].

    Raises:
        ValueError: a number is out of range, the model lacks a class, or there are fewer distinct styles than
            centroids.
    """
    if not 1 <= count <= samples or iterations < 1:
        raise ValueError(
            f"count={count} samples={samples} iterations={iterations}: all must be 1 or more, and count <= samples"
        )
    spec, draw = model.gan.spec, np.random.RandomState(seed)
    z = draw.randn(samples, spec.z_dim).astype(np.float32)
    label = None
    if spec.label_dim:
        label = draw.choice(np.asarray(classes or range(spec.label_dim)), samples)
    parts = [slice(first, first + PART) for first in range(0, samples, PART)]
    own = lambda part: None if label is None else label[part]
    w = np.concatenate([model.map(z[part], own(part), chunk=chunk)[:, 0] for part in parts])
    if len(np.unique(w, axis=0)) < count:
        raise ValueError(
            f"count={count}: {samples} latents have fewer distinct styles; pass more samples, or a smaller count"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of the clusters is empty")  # such a centroid stays where it is
        found, _ = kmeans2(w.astype(np.float64), count, iter=iterations, minit="++", rng=np.random.default_rng(seed))
    return found.astype(np.float32)


def read(path: str | Path, spec: GanSpec, given: str = "") -> np.ndarray:
    """Return centroids float32[m, w] from an .npz that holds an array of that name, or from an .npy, as published.

    Args:
        path: the file.
        spec: of the model.
        given: the path as the user wrote it, for errors; '': `path`.

    Raises:
        ValueError: it is not such a file, or does not fit the model.
    """
    given = given or str(path)
    found = arrays.load(path)
    table = found.get(NAME, next(iter(found.values())) if len(found) == 1 else None)
    if table is None or table.ndim != 2 or table.shape[1] != spec.w_dim or not len(table):
        shapes = {name: list(x.shape) for name, x in found.items()}
        raise ValueError(f"{given} holds {shapes}; it must have centroids [m, {spec.w_dim}], as tools.centroids writes")
    if table.dtype.kind != "f" or not np.isfinite(table).all():
        raise ValueError(f"{given}: its centroids are {table.dtype}, or not finite; make them with tools.centroids")
    return table.astype(np.float32)
