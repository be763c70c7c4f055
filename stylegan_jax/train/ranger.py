"""Ranger: rectified Adam (Liu et al. 2020), lookahead (Zhang et al. 2019), centralised gradients (Yong et al. 2020).

The values and their order are those that the published e4e, pSp and ReStyle encoders were trained with.
"""

from __future__ import annotations

import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from stylegan_jax.base.spec import Tree
from stylegan_jax.train.optim import Optimizer

BETAS = (0.95, 0.999)
EPS = 1e-5
EVERY, SHARE = 6, 0.5
"""Lookahead: every so many steps the slow parameters move this share of the way to the fast ones."""
LEAST_LENGTH = 5.0
"""Shortest effective length of the average of squares at which steps are rectified; shorter: momentum alone."""


@flax.struct.dataclass
class Moments:
    """Ranger's state of one parameter.

    Attributes:
        mean: moving average of the gradients.
        square: moving average of their squares.
        slow: lookahead's slow copy of the parameter.
        count: int32[], steps taken by this parameter.
    """

    mean: jax.Array
    square: jax.Array
    slow: jax.Array
    count: jax.Array


def ranger(betas: tuple[float, float] = BETAS, eps: float = EPS) -> Optimizer:
    """Return Ranger.

    The learning rate passed to `update` may be a tree (a prefix of the parameters' tree) instead of a number. As
    published, parameters with a rate of 0 are skipped together with their moments and count, so that rectification and
    lookahead of a block begin when its training does. `eps` is added to the square root of the second moment, which has
    no bias correction, so `eps` has more influence than in other rectified Adams. `update` ignores its `beta2`.

    Args:
        betas: decays of the first and second moments.
        eps: added to the square root of the second moment.
    """

    def start(x: jax.Array) -> Moments:
        return Moments(jnp.zeros_like(x), jnp.zeros_like(x), jnp.copy(x), jnp.zeros([], jnp.int32))

    def update(grads: Tree, state: Tree, params: Tree, lr: Any, beta2: Any, is_whole: bool = True) -> tuple[Tree, Tree]:
        is_number = lambda x: not isinstance(x, dict)
        rates = jax.tree.map(lambda rate, some: jax.tree.map(lambda _: rate, some), lr, params, is_leaf=is_number)
        steps = jax.tree.map(lambda p, g, m, rate: _step(betas, eps, p, g, m, rate), params, grads, state, rates)
        take = lambda k: jax.tree.map(lambda _, pair: pair[k], params, steps)
        return take(0), take(1)

    return Optimizer(lambda params: jax.tree.map(start, params), update, lambda params: params)


def _step(
    betas: tuple[float, float], eps: float, p: jax.Array, g: jax.Array, before: Moments, rate: Any
) -> tuple[jax.Array, Moments]:
    """Return (update, moments) of one parameter."""
    b1, b2 = betas
    g = centralised(g)
    t = before.count + 1
    mean, square = b1 * before.mean + (1 - b1) * g, b2 * before.square + (1 - b2) * jnp.square(g)
    started, length, factor = _rectification(t.astype(p.dtype), b1, b2)
    moved = jnp.where(length > LEAST_LENGTH, factor * mean / (jnp.sqrt(square) + eps), mean / started)
    fast = p - rate * moved
    is_due = t % EVERY == 0
    slow = jnp.where(is_due, before.slow + SHARE * (fast - before.slow), before.slow)
    after = Moments(mean, square, slow, t)
    is_on = jnp.asarray(rate) > 0
    kept = jax.tree.map(lambda new, old: jnp.where(is_on, new, old), after, before)
    return jnp.where(is_on, jnp.where(is_due, slow, fast) - p, 0), kept


def centralised(g: jax.Array) -> jax.Array:
    """Subtract a gradient's mean over all axes but the last (outputs); one-dimensional gradients are unchanged."""
    return g if g.ndim < 2 else g - g.mean(axis=tuple(range(g.ndim - 1)), keepdims=True)


def _rectification(t: jax.Array, b1: float, b2: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return (1 - b1^t, effective length of the average of squares, rectified step's factor) at step t (Liu et al. §4).

    The length is 2 / (1 - b2) - 1 - 2 t b2^t / (1 - b2^t). At first it is only a few, yet the difference of two terms
    in the thousands. With x = -t log(b2), the last term is 2 / -log(b2) times x / (e^x - 1) = 1 - x/2 + x^2/12 - …;
    while x is small, the first two terms of this series are combined analytically and only the rest in float32.
    """
    started, squares = (-jnp.expm1(t * math.log(b)) for b in (b1, b2))
    longest, rate = 2 / (1 - b2) - 1, -math.log(b2)
    x = t * rate
    rest = jnp.square(x) * (1 / 12 - jnp.square(x) * (1 / 720 - jnp.square(x) / 30240))
    early, late = (longest - 2 / rate) + t - 2 / rate * rest, longest - 2 * t * (1 - squares) / squares
    length = jnp.where(x < 0.25, early, late)
    n = jnp.maximum(length, LEAST_LENGTH)  # below, the factor is unused and only has to be finite
    ratio = (n - 4) / (longest - 4) * (n - 2) / n * longest / (longest - 2)
    return started, length, jnp.sqrt(squares * ratio) / started
