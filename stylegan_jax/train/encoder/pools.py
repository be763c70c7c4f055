"""Pools of styles: the latent discriminator also sees earlier ones (Shrivastava et al. 2017, §2.3), as arrays."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from stylegan_jax.base import rng


@flax.struct.dataclass
class Pool:
    """Earlier styles.

    Attributes:
        styles: float[size, w]; rows from `count` on are not filled yet.
        count: int32[], rows that are.
    """

    styles: jax.Array
    count: jax.Array


@flax.struct.dataclass
class Draws:
    """What decides for each of n styles, in their order.

    Attributes:
        coin: float[n] in [0, 1): above 0.5 a stored style is taken.
        place: int32[n] in [0, size): which.
    """

    coin: jax.Array
    place: jax.Array


def empty(size: int, w_dim: int) -> Pool:
    """Return a pool without styles."""
    return Pool(jnp.zeros([size, w_dim]), jnp.zeros([], jnp.int32))


def draw(key: jax.Array, n: int, size: int) -> Draws:
    """Draw what `query` needs for n styles; a row does not depend on n."""
    keys = lambda name: rng.per_example(rng.stream(key, name), jnp.arange(n))
    coin = jax.vmap(jax.random.uniform)(keys("coin"))
    return Draws(coin, jax.vmap(lambda k: jax.random.randint(k, (), 0, size))(keys("place")))


def query(pool: Pool, w: jax.Array, draws: Draws) -> tuple[jax.Array, Pool]:
    """Pass styles through a pool, one after another.

    Until the pool is full, a style is stored and shown. Then half of them are shown and forgotten, and half stored,
    where the style that they replace is shown.

    Args:
        pool: before.
        w: float[n, w].
        draws: of as many styles.

    Returns:
        (float[n, w] to show, the pool after).
    """
    size = pool.styles.shape[0]

    def step(pool: Pool, row: Any) -> tuple[Pool, jax.Array]:
        new, coin, place = row
        is_full = pool.count == size
        at = jnp.where(is_full, place, pool.count)
        is_stored = ~is_full | (coin > 0.5)
        old = pool.styles[at]
        styles = pool.styles.at[at].set(jnp.where(is_stored, new, old))
        shown = jnp.where(is_full & is_stored, old, new)
        return Pool(styles, jnp.minimum(pool.count + 1, size)), shown

    after, shown = jax.lax.scan(step, pool, (w, draws.coin, draws.place))
    return shown, after
