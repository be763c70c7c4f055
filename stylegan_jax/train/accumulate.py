"""Gradient accumulation: a batch in micro-batches, one after the other, with the gradient of the whole batch.

Micro-batch i of k holds the rows i, i + k, i + 2k, … . Minibatch-stddev groups of the whole batch hold rows that are
n / group apart, so with k dividing n / group every group lies whole in one micro-batch, at the places where the
discriminator looks for it. And row r of a micro-batch comes from row k * r + i, so an evenly split batch stays evenly
split: no row changes its device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train.gan.objective import Aux

Tree = Any
Objective = Callable[[Tree, Tree], tuple[jax.Array, Aux]]
Gradient = Callable[[Tree, Tree], tuple[Tree, Aux]]


def gradients(of: Objective, params: Tree, data: Tree, count: int, layout: Layout) -> tuple[Tree, Aux]:
    """Return (gradient by `params`, aux) of the mean of `of` over the micro-batches of `data`.

    Args:
        of: (params, part of `data`) -> (loss, mean over its rows; aux).
        params: what to differentiate by.
        data: arrays with one row per image; scalars are shared by all micro-batches.
        count: number of micro-batches; 1 takes `data` whole.
        layout: spreads each micro-batch over the devices.

    Returns:
        The gradient, and aux with rows in the order of `data` and scalars averaged.
    """
    return average(jax.grad(of, has_aux=True), params, data, count, layout)


def average(of_part: Gradient, params: Tree, data: Tree, count: int, layout: Layout) -> tuple[Tree, Aux]:
    """Return the mean over the micro-batches of what `of_part` returns, as `gradients` does of a loss's gradient."""
    if count == 1:
        return of_part(params, data)

    def add(total: Tree, part: Tree) -> tuple[Tree, Aux]:
        grads, aux = of_part(params, part)
        return jax.tree.map(jnp.add, total, grads), aux

    total, aux = _scan(add, jax.tree.map(jnp.zeros_like, params), data, count, layout)
    return jax.tree.map(lambda x: x / count, total), aux


def path_length_gradients(
    lengths_of: Callable[[Tree, Tree], jax.Array],
    penalty_of: Callable[[jax.Array], tuple[jax.Array, Aux]],
    params: Tree,
    data: Tree,
    count: int,
    layout: Layout,
) -> tuple[Tree, Aux]:
    """Return (gradient, aux) of penalty_of(lengths_of(params, data)), a loss that couples all rows.

    The penalty compares every length with a running mean that all of them move, so it is not a mean over micro-batches.
    It is exact all the same: a first pass gives all lengths l (no gradient by `params`, so no second derivatives), the
    penalty's derivative by them gives a weight per row, and d penalty = sum over rows of weight * d l, which is a sum
    over micro-batches.

    Args:
        lengths_of: (params, part) -> float[rows].
        penalty_of: float[n] -> (loss, aux).
        params: what to differentiate by.
        data: as in `gradients`.
        count: number of micro-batches.
        layout: as in `gradients`.
    """
    if count == 1:
        return jax.grad(lambda p: penalty_of(lengths_of(p, data)), has_aux=True)(params)
    _, lengths = _scan(lambda _, part: (None, lengths_of(params, part)), None, data, count, layout)
    weights, aux = jax.grad(penalty_of, has_aux=True)(lengths)

    def of(p: Tree, part: Tree) -> tuple[jax.Array, Aux]:
        rows, weight = part
        return count * jnp.sum(weight * lengths_of(p, rows)), Aux({}, {})  # `gradients` divides by the count

    grads, _ = gradients(of, params, (data, layout.split(weights)), count, layout)
    return grads, aux


def _scan(body: Callable, carry: Tree, data: Tree, count: int, layout: Layout) -> tuple[Tree, Tree]:
    """Run body(carry, part) -> (carry, out) over the micro-batches; join what they return."""
    leaves, structure = jax.tree.flatten(data)
    shared = {i: x for i, x in enumerate(leaves) if x.ndim == 0}
    rows = {i: _split(x, count, layout) for i, x in enumerate(leaves) if x.ndim}

    def step(carry: Tree, part: dict[int, jax.Array]) -> tuple[Tree, Tree]:
        both = part | shared
        return body(carry, jax.tree.unflatten(structure, [both[i] for i in range(len(leaves))]))

    carry, out = jax.lax.scan(step, carry, rows)
    return carry, jax.tree.map(_join, out)


def _split(x: jax.Array, count: int, layout: Layout) -> jax.Array:
    """[n, …] -> [count, n / count, …], still spread over the devices by rows."""
    parts = x.reshape(x.shape[0] // count, count, *x.shape[1:])
    return jax.lax.with_sharding_constraint(jnp.moveaxis(parts, 1, 0), layout.phases)


def _join(x: jax.Array) -> jax.Array:
    """The inverse of `_split`; a scalar per micro-batch becomes its mean."""
    return x.mean() if x.ndim == 1 else jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:])
