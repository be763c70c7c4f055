"""Gradient penalties and path length, with one value per example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Critic = Callable[[jax.Array], tuple[jax.Array, Any]]
"""Images -> (logits float[n, k], anything else to return)."""


class Penalty(NamedTuple):
    """A penalty on the discriminator's gradient with respect to its images.

    Attributes:
        kind: 'gradient' (the squared norm) or 'deviation' (the norm's squared deviation from 1).
        where: the images at which it is evaluated: 'real', 'fake', or 'mix' (between the two).
        weight: the key in `config.loss` of its weight.
        scale: constant factor of the weight.
    """

    kind: str
    where: str
    weight: str
    scale: float = 1.0


PENALTIES: dict[str, Penalty] = {
    "r1": Penalty("gradient", "real", "r1_gamma", 0.5),  # Mescheder et al. 2018, eq. 9
    "r2": Penalty("gradient", "fake", "r1_gamma", 0.5),  # Mescheder et al. 2018, eq. 10; with R1's gamma as in R3GAN
    "wgan_gp": Penalty("deviation", "mix", "gp_weight"),  # Gulrajani et al. 2017, eq. 3
}


def split(names: str) -> list[str]:
    """Return the names in a value such as 'r1+r2'; [] for 'none'."""
    return [] if names == "none" else [name.strip() for name in names.split("+")]


def penalties(names: str) -> tuple[Penalty, ...]:
    """Return the penalties in a value such as 'r1+r2'; () for 'none'."""
    return tuple(PENALTIES[name] for name in split(names))


def squared_norm(critic: Critic, image: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    """Return the squared norm of the discriminator's gradient at images (Mescheder et al. 2018, eq. 9).

    Args:
        critic: image -> (logits float[n, k], more); it includes the augmentation, so that the gradient passes through.
        image: float[n, h, w, c] or clips float[n, t, h, w, c], before augmentation.

    Returns:
        (float[n], logits, more). The first is the squared gradient of the sum of the logits, summed over h, w, c and
        averaged over t.
    """

    def total(x: jax.Array) -> tuple[jax.Array, Any]:
        logits, more = critic(x)
        return logits.sum(), (logits, more)

    grads, (logits, more) = jax.grad(total, has_aux=True)(image)
    per_frame = jnp.sum(jnp.square(grads), axis=(-3, -2, -1))
    return per_frame.reshape(per_frame.shape[0], -1).mean(axis=1), logits, more


def deviation(squared: jax.Array, *, target: float = 1.0) -> jax.Array:
    """Return the squared deviation of a gradient norm from its target (Gulrajani et al. 2017, eq. 3).

    Args:
        squared: float[n], squared norms.
        target: the desired gradient norm.

    Returns:
        float[n] = (norm - target)^2 / target^2.
    """
    norm = jnp.sqrt(squared + 1e-12)  # the root has no gradient at zero
    return jnp.square(norm - target) / target**2


def interpolate(real: jax.Array, fake: jax.Array, mix: jax.Array) -> jax.Array:
    """Return real + (fake - real) * mix for images of equal shape [n, …] and weights float[n]."""
    return real + (fake - real) * mix.reshape(-1, *[1] * (real.ndim - 1))


def path_lengths(synthesize: Callable[[jax.Array], jax.Array], ws: jax.Array, noise: jax.Array) -> jax.Array:
    """Return the path lengths: norms of the product of the Jacobian and a random image (SG2 §3.2, eq. 4).

    Args:
        synthesize: styles float[n, l, w] -> images float[n, h, w, c] or clips float[n, t, h, w, c].
        ws: float[n, l, w].
        noise: standard normal, of the images' shape; divided by sqrt(h * w) here.

    Returns:
        float[n] = sqrt(mean over l of the sum over w of the squared gradient of sum(image * noise) with respect to
        `ws`).
    """
    scaled = noise / jnp.sqrt(jnp.asarray(noise.shape[-3] * noise.shape[-2], noise.dtype))
    grads = jax.grad(lambda w: jnp.sum(synthesize(w) * scaled))(ws)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(grads), axis=2), axis=1))


def path_length_penalty(lengths: jax.Array, mean: jax.Array, decay: float) -> tuple[jax.Array, jax.Array]:
    """Return the squared deviations of path lengths from their running mean, which is updated first.

    As in the official code, the gradient passes through the updated mean, to which these lengths contribute with weight
    `decay`; store the returned mean without its gradient.

    Args:
        lengths: float[n].
        mean: float[], running mean so far.
        decay: weight of the new lengths, 0.01 in SG2.

    Returns:
        (penalty float[n], updated mean float[]).
    """
    mean = mean + (lengths.mean() - mean) * decay
    return jnp.square(lengths - mean), mean
