"""Style mixing (SG1 §3.1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def mix_styles(key: jax.Array, ws: jax.Array, other: jax.Array, prob: float) -> jax.Array:
    """With a probability, take the styles of another latent, starting at a random slot.

    One cutoff serves the whole batch, uniform over the slots 1 … l-1, as in the official code.

    Args:
        key: one key.
        ws: float[n, l, w].
        other: float[n, l, w], styles of a second latent.
        prob: probability in [0, 1].

    Returns:
        float[n, l, w].
    """
    num_ws = ws.shape[1]
    take, where = jax.random.uniform(key, (2,))
    cutoff = 1 + jnp.floor(where * (num_ws - 1)).astype(jnp.int32)
    cutoff = jnp.where(take < prob, cutoff, num_ws)
    return jnp.where((jnp.arange(num_ws) < cutoff)[None, :, None], ws, other)
