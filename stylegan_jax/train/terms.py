"""The reported terms of training, summed on the device so that the loop never waits for a step.

`Stats` lives in `TrainState`, so that a resumed run reports the same means as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

NONFINITE = "nonfinite/"
"""Prefix of the terms that report a program's share of non-finite steps (`train.on_nan` skip or scrub)."""


@flax.struct.dataclass
class Stats:
    """Statistics of n terms since the last report.

    Attributes:
        total: float32[n], sums.
        squares: float32[n], sums of squares.
        count: float32[n], numbers of values.
        bad_step: int32[n], the step of the first NaN or infinity; -1: none.
    """

    total: jax.Array
    squares: jax.Array
    count: jax.Array
    bad_step: jax.Array


def empty(count: int) -> Stats:
    """Return empty statistics of `count` terms."""
    zeros = lambda: jnp.zeros([count], jnp.float32)  # separate buffers, because the state is donated
    return Stats(zeros(), zeros(), zeros(), jnp.full([count], -1, jnp.int32))


def add(
    stats: Stats, names: Sequence[str], values: Mapping[str, jax.Array], step: jax.Array, *, drop_bad: bool = False
) -> Stats:
    """Add one value to each of some terms.

    Args:
        stats: before.
        names: all terms, in the order of `stats`.
        values: scalars by term.
        step: recorded for terms whose first NaN or infinity this is.
        drop_bad: skip non-finite values instead of adding and recording them.
    """
    if not values:
        return stats
    index = np.array([names.index(name) for name in values])
    x = jnp.stack([jnp.asarray(v, jnp.float32) for v in values.values()])
    good = jnp.isfinite(x)
    if drop_bad:
        x, bad = jnp.where(good, x, 0), stats.bad_step[index]
    else:
        bad = jnp.where(good | (stats.bad_step[index] >= 0), stats.bad_step[index], step)
    return Stats(
        total=stats.total.at[index].add(x),
        squares=stats.squares.at[index].add(jnp.square(x)),
        count=stats.count.at[index].add(good.astype(jnp.float32) if drop_bad else 1.0),
        bad_step=stats.bad_step.at[index].set(bad),
    )


def means(stats: Stats, names: Sequence[str]) -> dict[str, float]:
    """Return the mean of every term that has values; `stats` must be on the host."""
    return {n: float(stats.total[i] / stats.count[i]) for i, n in enumerate(names) if stats.count[i]}


def stds(stats: Stats, names: Sequence[str]) -> dict[str, float]:
    """Return the population standard deviation over steps of every term that has values."""
    out = {}
    for i, name in enumerate(names):
        if stats.count[i]:
            mean = float(stats.total[i] / stats.count[i])
            out[name] = max(float(stats.squares[i] / stats.count[i]) - mean**2, 0.0) ** 0.5
    return out


def first_bad(stats: Stats, names: Sequence[str]) -> tuple[str, int] | None:
    """Return (term, step) of the earliest NaN or infinity, or None; within a step, the first term in `names`."""
    found = [(int(s), i) for i, s in enumerate(stats.bad_step) if s >= 0]
    if not found:
        return None
    step, index = min(found)
    return names[index], step
