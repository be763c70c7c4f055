"""Times of the frames of generated clips, drawn in the same way as those of the data (paper §3.2, `data.clips`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import ModelConfig
from stylegan_jax.config.arch.stylegan_v import clip_rule
from stylegan_jax.config.clips import distances


def draw_times(config: ModelConfig, key: jax.Array) -> jax.Array:
    """Return the times float32[t] of a clip's frames, in a video of max_num_frames frames.

    The distance is drawn first, then the start, then which frames lie between; only the start may be fractional.
    """
    own = config.stylegan_v
    choose, begin, fill = jax.random.split(key, 3)
    known = np.asarray(distances(clip_rule(config), own.max_num_frames), np.int32)
    distance = jax.random.choice(choose, jnp.asarray(known))
    if own.sampling == "uniform":
        inner = jnp.arange(own.frames) * distance
        span = (own.frames - 1) * distance
    else:
        # Of the offsets 1 … distance - 1, the ones with the smallest random numbers.
        offsets = jnp.arange(1, int(known.max()) + 1)
        order = jnp.where(offsets < distance, jax.random.uniform(fill, offsets.shape), 2.0)
        chosen = jnp.sort(jnp.argsort(order)[: max(own.frames - 2, 0)] + 1)
        inner, span = jnp.concatenate([jnp.zeros(1, jnp.int32), chosen, distance[None]])[: own.frames], distance
    room = own.max_num_frames - 1 - span
    start = jax.random.uniform(begin) * room
    if not own.fractional_starts:
        start = jax.random.randint(begin, (), 0, room + 1)
    return start.astype(jnp.float32) + inner.astype(jnp.float32)
