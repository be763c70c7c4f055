"""Style mixing (SG1 §3.1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def mix_styles(key: jax.Array, ws: jax.Array, other: jax.Array, prob: float) -> jax.Array:
    """With probability `prob`, replace the styles from a random slot onwards by those of a second latent.

    As in the official code, the whole batch shares one cutoff, uniform over slots 1 … l-1.

    Args:
        key: one key for the batch.
        ws: float[n, l, w].
        other: float[n, l, w], styles of the second latents.
        prob: probability in [0, 1].

    Returns:
        float[n, l, w].
    """
    num_ws = ws.shape[1]
    take, where = jax.random.uniform(key, (2,))
    cutoff = 1 + jnp.floor(where * (num_ws - 1)).astype(jnp.int32)
    cutoff = jnp.where(take < prob, cutoff, num_ws)
    return jnp.where((jnp.arange(num_ws) < cutoff)[None, :, None], ws, other)
