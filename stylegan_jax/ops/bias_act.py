"""Bias, activation, gain and clamp, in that order (SG2 §2; clamp: ADA App. C)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Activation(NamedTuple):
    """An activation `apply(x, alpha, gain)` with its default slope and the gain that keeps unit variance."""

    apply: Callable[[jax.Array, float, float], jax.Array]
    alpha: float
    gain: float


def _scaled(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array, float, float], jax.Array]:
    return lambda x, _, gain: function(x) if gain == 1 else function(x) * gain


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _leaky(x: jax.Array, alpha: float, gain: float) -> jax.Array:
    return x * _slope(x, alpha, gain)


def _slope(x: jax.Array, alpha: float, gain: float) -> jax.Array:
    """Return slope and gain as one factor, else XLA on CPU keeps a whole array of the gain for the gradient."""
    return jnp.where(x > 0, jnp.asarray(gain, x.dtype), jnp.asarray(alpha * gain, x.dtype))


@_leaky.defjvp
def _leaky_jvp(
    alpha: float, gain: float, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Differentiate by the sign of the output, which the next layer keeps anyway, so the input is not kept."""
    (x,), (dx,) = primals, tangents
    y = _leaky(x, alpha, gain)
    return y, dx * _slope(y if alpha >= 0 and gain > 0 else x, alpha, gain)


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(_scaled(lambda x: x), 0.0, 1.0),
    "relu": Activation(_scaled(lambda x: jnp.where(x > 0, x, jnp.zeros_like(x))), 0.0, math.sqrt(2)),
    "lrelu": Activation(_leaky, 0.2, math.sqrt(2)),
    "tanh": Activation(_scaled(jnp.tanh), 0.0, 1.0),
    "sigmoid": Activation(_scaled(jax.nn.sigmoid), 0.0, 1.0),
    "elu": Activation(_scaled(jax.nn.elu), 0.0, 1.0),
    "selu": Activation(_scaled(jax.nn.selu), 0.0, 1.0),
    "softplus": Activation(_scaled(jax.nn.softplus), 0.0, 1.0),
    "swish": Activation(_scaled(lambda x: jax.nn.sigmoid(x) * x), 0.0, math.sqrt(2)),
}


def bias_act(
    x: jax.Array,
    b: jax.Array | None = None,
    *,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> jax.Array:
    """Add a bias, apply an activation, scale, clamp.

    Args:
        x: float[..., c].
        b: float[c] or None; cast to the dtype of `x`.
        act: name in `ACTIVATIONS`.
        alpha: slope of lrelu; None takes the default.
        gain: multiplies the activation; None takes the activation's own.
        clamp: bound of the absolute value after the gain; None: no bound.

    Returns:
        float[..., c], dtype of `x`.

    Raises:
        ValueError: `act` is unknown.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"act is {act!r}; known: {', '.join(ACTIVATIONS)}")
    spec = ACTIVATIONS[act]
    if b is not None:
        x = x + spread_bias(b.astype(x.dtype), x.shape)
    x = spec.apply(x, spec.alpha if alpha is None else alpha, spec.gain if gain is None else gain)
    return x if clamp is None else jnp.clip(x, -clamp, clamp)


def spread_bias(b: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Broadcast a bias float[c] to be added to an array of `shape`, in two stages.

    Its gradient is then summed within each image first and over images last. Contributions that cancel between images,
    as those through minibatch stddev do, cancel exactly; in one long sum they leave rounding errors of the largest of
    them. The factors 2 and 1/2 are exact and keep XLA from joining the two sums.

    Args:
        b: float[c].
        shape: (n, …, c).

    Returns:
        float[1, …, 1, c] for n-dimensional shapes up to [n, c], else float[n, 1, …, 1, c].
    """
    if len(shape) < 3:
        return b.reshape((1,) * (len(shape) - 1) + b.shape)
    rows = jnp.broadcast_to(2 * b[None], (shape[0], b.shape[0])) * 0.5
    return rows.reshape(shape[:1] + (1,) * (len(shape) - 2) + b.shape)
