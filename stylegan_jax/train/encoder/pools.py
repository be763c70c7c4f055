"""Pools of earlier styles, which the latent discriminator sees too (Shrivastava et al. 2017, §2.3), as arrays."""

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
        styles: float[size, w]; the first `count` rows are filled.
        count: int32[].
    """

    styles: jax.Array
    count: jax.Array


@flax.struct.dataclass
class Draws:
    """Random decisions for n styles.

    Attributes:
        coin: float[n] in [0, 1): above 0.5, a stored style is shown.
        place: int32[n] in [0, size), the row of that style.
    """

    coin: jax.Array
    place: jax.Array


def empty(size: int, w_dim: int) -> Pool:
    """Return an empty pool."""
    return Pool(jnp.zeros([size, w_dim]), jnp.zeros([], jnp.int32))


def draw(key: jax.Array, n: int, size: int) -> Draws:
    """Draw the decisions of `query` for n styles; a row does not depend on n."""
    keys = lambda name: rng.per_example(rng.stream(key, name), jnp.arange(n))
    coin = jax.vmap(jax.random.uniform)(keys("coin"))
    return Draws(coin, jax.vmap(lambda k: jax.random.randint(k, (), 0, size))(keys("place")))


def query(pool: Pool, w: jax.Array, draws: Draws) -> tuple[jax.Array, Pool]:
    """Pass styles through a pool, one after another.

    Until the pool is full, every style is stored and shown. Then, with probability 1/2, a style is shown without being
    stored; otherwise it replaces a random stored one, which is shown instead.

    Args:
        pool: the pool before.
        w: float[n, w], styles.
        draws: the random decisions for n styles.

    Returns:
        (float[n, w] to show, the pool afterwards).
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
