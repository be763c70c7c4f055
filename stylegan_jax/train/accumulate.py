"""Gradient accumulation: process a batch in micro-batches and return the exact gradient of the whole batch.

Micro-batch i of k consists of rows i, i + k, i + 2k, … . The rows of a minibatch-stddev group are n / group apart in
the batch, so if k divides n / group, each group falls into one micro-batch, at the positions that the discriminator
expects. Row r of a micro-batch is row k * r + i of the batch, so a batch that is split evenly over the devices stays
so, and no row changes its device.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from stylegan_jax.base.spec import Tree
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train.task import Aux

Objective = Callable[[Tree, Tree], tuple[jax.Array, Aux]]


def gradients(loss_of: Objective, params: Tree, rows: Tree, count: int, layout: Layout) -> tuple[Tree, Aux]:
    """Return (gradient with respect to `params`, aux) of the mean of `loss_of` over the micro-batches of `rows`.

    Args:
        loss_of: (params, part of `rows`) -> (mean loss of these rows, aux).
        params: the loss is differentiated with respect to these.
        rows: arrays with one row per example; scalars are shared by all micro-batches.
        count: number of micro-batches; 1: `rows` is processed at once.
        layout: spreads each micro-batch over the devices.

    Returns:
        The gradient, and the micro-batches' aux combined as `Aux` describes.
    """
    gradient = jax.grad(loss_of, has_aux=True)
    if count == 1:
        return gradient(params, rows)

    def add(total: Tree, part: Tree) -> tuple[Tree, Aux]:
        grads, aux = gradient(params, part)
        return jax.tree.map(jnp.add, total, grads), aux

    total, parts = _scan(add, jax.tree.map(jnp.zeros_like, params), rows, count, layout)
    return jax.tree.map(lambda x: x / count, total), _join_aux(parts)


def coupled_gradients(
    values_of: Callable[[Tree, Tree], jax.Array],
    couple: Callable[[jax.Array], tuple[jax.Array, Aux]],
    params: Tree,
    rows: Tree,
    count: int,
    layout: Layout,
) -> tuple[Tree, Aux]:
    """Return (gradient, aux) of couple(values_of(params, rows)), a loss that couples all rows.

    The path-length penalty compares every length with a running mean that depends on all of them, so it is not a mean
    over micro-batches. The result is nevertheless exact: a first pass computes all values v (without gradients, hence
    without second derivatives), and the derivative of `couple` with respect to v is a weight per row. The gradient is
    the sum over rows of weight * dv/dparams, which splits into micro-batches.

    Args:
        values_of: (params, part of `rows`) -> float[r], one value per row.
        couple: float[n] -> (loss, aux).
        params, rows, count, layout: as in `gradients`.
    """
    if count == 1:
        return jax.grad(lambda p: couple(values_of(p, rows)), has_aux=True)(params)
    _, parts = _scan(lambda _, part: (None, values_of(params, part)), None, rows, count, layout)
    weights, aux = jax.grad(couple, has_aux=True)(_join_rows(parts))

    def weighted(p: Tree, part: Tree) -> tuple[jax.Array, Aux]:
        some, weight = part
        return count * jnp.sum(weight * values_of(p, some)), Aux({}, {}, {})  # `gradients` divides by the count

    grads, _ = gradients(weighted, params, (rows, layout.split(weights)), count, layout)
    return grads, aux


def _scan(body: Callable, carry: Tree, rows: Tree, count: int, layout: Layout) -> tuple[Tree, Tree]:
    """Run body(carry, part) -> (carry, out) over the micro-batches; return (carry, stacked outs)."""
    leaves, structure = jax.tree.flatten(rows)
    shared = {i: x for i, x in enumerate(leaves) if x.ndim == 0}
    split = {i: _split(x, count, layout) for i, x in enumerate(leaves) if x.ndim}

    def step(carry: Tree, part: dict[int, jax.Array]) -> tuple[Tree, Tree]:
        both = part | shared
        return body(carry, jax.tree.unflatten(structure, [both[i] for i in range(len(leaves))]))

    return jax.lax.scan(step, carry, split)


def _split(x: jax.Array, count: int, layout: Layout) -> jax.Array:
    """Reshape [n, …] to [count, n / count, …], with rows still spread over the devices."""
    parts = x.reshape(x.shape[0] // count, count, *x.shape[1:])
    return jax.lax.with_sharding_constraint(jnp.moveaxis(parts, 1, 0), layout.phases)


def _join_rows(x: jax.Array) -> jax.Array:
    """Return the rows in their original order: the inverse of `_split`."""
    return jnp.moveaxis(x, 0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _join_aux(parts: Aux) -> Aux:
    """Combine the stacked results of the micro-batches."""
    mean = lambda x: x.mean(axis=0).astype(x.dtype)
    return Aux(jax.tree.map(_join_rows, parts.rows), jax.tree.map(mean, parts.means), jax.tree.map(mean, parts.moved))
