"""Gradient penalties by `jax.grad`: R1, WGAN-GP and path length. Per-example arrays out."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Logits = Callable[[jax.Array], jax.Array]


def r1_penalty(logits: Logits, image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared gradient norm of the discriminator at real images (Mescheder et al. 2018, eq. 9).

    Args:
        logits: image float[n, h, w, c] -> float[n, k]; augmentation belongs inside, so that the gradient passes it.
        image: float[n, h, w, c], before augmentation.

    Returns:
        (penalty float[n] = sum over h, w, c of the squared gradient, logits float[n, k]); weight it with gamma / 2.
    """

    def total(x):
        y = logits(x)
        return y.sum(), y

    grads, values = jax.grad(total, has_aux=True)(image)
    return jnp.sum(jnp.square(grads), axis=(1, 2, 3)), values


def gradient_penalty(
    logits: Logits, real: jax.Array, fake: jax.Array, mix: jax.Array, *, target: float = 1.0
) -> tuple[jax.Array, jax.Array]:
    """Two-sided penalty on the gradient norm between reals and fakes (Gulrajani et al. 2017, eq. 3).

    Args:
        logits: image float[n, h, w, c] -> float[n, k].
        real: float[n, h, w, c].
        fake: float[n, h, w, c].
        mix: float[n], interpolation weight of each pair, drawn uniformly from [0, 1).
        target: gradient norm asked for.

    Returns:
        (penalty float[n] = (norm - target)^2 / target^2, logits of the interpolates float[n, k]).
    """
    squared, values = r1_penalty(logits, real + (fake - real) * mix[:, None, None, None])
    norm = jnp.sqrt(squared + 1e-12)  # the root has no gradient at zero
    return jnp.square(norm - target) / target**2, values


def path_lengths(synthesize: Callable[[jax.Array], jax.Array], ws: jax.Array, noise: jax.Array) -> jax.Array:
    """Length of the Jacobian-vector product with a random image (SG2 §3.2, eq. 4).

    Args:
        synthesize: styles float[n, l, w] -> image float[n, h, w, c].
        ws: float[n, l, w].
        noise: float[n, h, w, c], unit normal; divided here by sqrt(h * w).

    Returns:
        float[n] = sqrt(mean over l of the sum over w of the squared gradient of sum(image * noise) by `ws`).
    """
    scaled = noise / jnp.sqrt(jnp.asarray(noise.shape[1] * noise.shape[2], noise.dtype))
    grads = jax.grad(lambda w: jnp.sum(synthesize(w) * scaled))(ws)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(grads), axis=2), axis=1))


def path_length_penalty(lengths: jax.Array, mean: jax.Array, decay: float) -> tuple[jax.Array, jax.Array]:
    """Squared deviation from the running mean, which is updated first.

    The gradient passes through the updated mean (`decay` of it depends on these lengths), as in the official code;
    store the returned mean without its gradient.

    Args:
        lengths: float[n].
        mean: float[], running mean so far.
        decay: weight of the new lengths, 0.01 in SG2.

    Returns:
        (penalty float[n], updated mean float[]).
    """
    mean = mean + (lengths.mean() - mean) * decay
    return jnp.square(lengths - mean), mean
