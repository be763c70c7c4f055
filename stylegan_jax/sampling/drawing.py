"""From latents to pixels: map, truncate, draw, quantise. Pure functions; callers jit them.

Notebooks, tools, metrics and the previews of a run all sample through here, so an architecture's inputs and truncation
are handled in one place. The losses of training call the bundle directly.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from stylegan_jax import models
from stylegan_jax.base import images
from stylegan_jax.base.spec import Inputs, Variables
from stylegan_jax.models import Gan


def map_styles(
    gan: Gan,
    variables: Variables,
    w_avg: jax.Array | None,
    inputs: Inputs | jax.Array,
    cond: jax.Array,
    psi: jax.Array | float | None = None,
    cutoff: int | None = None,
    centroids: jax.Array | None = None,
) -> jax.Array:
    """Map latents and labels to styles, and truncate them.

    Args:
        gan: the model.
        variables: of its generator.
        w_avg: float[w], the centre of truncation, or float[k, w] with one per class; ignored if psi is None.
        inputs: what `gan.draw_inputs` draws; an array float[n, z] stands for {'z': array}.
        cond: labels float[n, k].
        psi: truncation, see `models.truncate`, or float[1, l, 1] for one per slot; None: the mapped styles bit for bit,
            which psi=1 returns only up to rounding.
        cutoff: truncate only the first `cutoff` slots; None: all.
        centroids: float[m, w]; truncate towards the nearest, whatever the class (XL §3.4); None: towards `w_avg`.

    Returns:
        ws float[n, l, w].
    """
    ws = gan.map_latents(variables, inputs if isinstance(inputs, dict) else {"z": inputs}, cond)
    if psi is None:
        return ws
    assert w_avg is not None, "truncation needs its centre"
    centre = gan.centre(w_avg, cond) if centroids is None else centroids[nearest(centroids, ws[:, 0])]
    return models.truncate(ws, centre, psi, cutoff)


def nearest(centroids: jax.Array, w: jax.Array) -> jax.Array:
    """Return int[n], the number of the nearest of centroids float[m, w] to each row of w float[n, w]."""
    products = jnp.matmul(w, centroids.T, precision="highest")
    return jnp.argmin(jnp.sum(jnp.square(centroids), axis=1)[None] - 2 * products, axis=1)


def draw(
    gan: Gan,
    variables: Variables,
    ws: jax.Array,
    inputs: Inputs | None = None,
    *,
    noise: str = "const",
    key: jax.Array | None = None,
    transform: jax.Array | None = None,
) -> jax.Array:
    """Draw the images of styles.

    Args:
        gan: the model.
        variables: of its generator.
        ws: float[n, l, w].
        inputs: further inputs of the synthesis network, such as the times of a clip; None: none.
        noise: static: 'const' (the model's own maps), 'random' (fresh, from `key`) or 'none'.
        key: for random noise: one, or [n] for one per image; ignored for other noise.
        transform: float[3, 3], or float[n, 3, 3], for `gan.with_transform`, which the architecture must support; None:
            no transform.

    Returns:
        float32[n, h, w, c], about [-1, 1]; for clips float32[n, t, h, w, c].
    """
    if transform is not None:
        assert gan.with_transform is not None, "this architecture has a fixed canvas"
        variables = gan.with_transform(variables, transform)
    sample, _ = gan.synthesize(variables, ws, inputs or {}, noise=noise, key=key if noise == "random" else None)
    return sample["image"]


def draw_pixels(
    gan: Gan,
    variables: Variables,
    ws: jax.Array,
    inputs: Inputs | None = None,
    *,
    noise: str = "const",
    key: jax.Array | None = None,
    transform: jax.Array | None = None,
) -> jax.Array:
    """Draw uint8[n, h, w, c]; see `draw`. As one compiled program, it may differ by 1 from `to_pixels` of `draw`."""
    return images.to_pixels(draw(gan, variables, ws, inputs, noise=noise, key=key, transform=transform))
