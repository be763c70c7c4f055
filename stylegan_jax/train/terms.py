"""The reported terms of training, summed on the device so that the loop never waits for a step.

`Stats` lives in `TrainState`, so that a resumed run reports the same means as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base.spec import PHASES

REPORTED_BY = {
    "loss/g_adversarial": "g_main",
    "loss/g_path_length": "g_reg",
    "loss/d_adversarial": "d_main",
    "loss/d_penalty": "d_reg",
    "scores/fake": "d_main",
    "scores/real": "d_main",
    "signs/fake": "d_main",
    "signs/real": "d_main",
    "path_length/mean": "g_reg",
    "augment/p": "d_main",
    "augment/r_t": "d_main",
} | {f"nonfinite/{phase}": phase for phase in PHASES}
"""Which program reports a term. augment/p is the strength of the augmentation, augment/r_t what steers it: the mean
sign of the discriminator on reals since p last moved (`config.augment.mode` fixed or ada). nonfinite/… is the share of
a program's steps whose loss or gradient was not finite (`config.train.on_nan` skip or scrub)."""

TERMS = tuple(REPORTED_BY)


@flax.struct.dataclass
class Stats:
    """Per term of `TERMS`: float32 sums and counts since the last report, and the step of the first bad value or -1."""

    total: jax.Array
    squares: jax.Array
    count: jax.Array
    bad_step: jax.Array


def empty() -> Stats:
    """Return statistics of nothing."""
    zeros = lambda: jnp.zeros([len(TERMS)], jnp.float32)  # buffers of their own, since the state is donated
    return Stats(zeros(), zeros(), zeros(), jnp.full([len(TERMS)], -1, jnp.int32))


def add(stats: Stats, values: Mapping[str, jax.Array], step: jax.Array, *, drop_bad: bool = False) -> Stats:
    """Add one value per named term (scalars), and note the first step at which a term is NaN or infinite.

    With `drop_bad`, such values are left out instead.
    """
    index = np.array([TERMS.index(name) for name in values])
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


def means(stats: Stats) -> dict[str, float]:
    """Return the mean of every term that has been seen; `stats` must be on the host."""
    return {n: float(stats.total[i] / stats.count[i]) for i, n in enumerate(TERMS) if stats.count[i]}


def stds(stats: Stats) -> dict[str, float]:
    """Return the population standard deviation over steps of every term that has been seen."""
    out = {}
    for i, name in enumerate(TERMS):
        if stats.count[i]:
            mean = float(stats.total[i] / stats.count[i])
            out[name] = max(float(stats.squares[i] / stats.count[i]) - mean**2, 0.0) ** 0.5
    return out


def first_bad(stats: Stats) -> tuple[str, int] | None:
    """Return (term, step) of the earliest NaN or infinity, or None; a loss comes before what follows from it."""
    found = [(int(s), i) for i, s in enumerate(stats.bad_step) if s >= 0]
    if not found:
        return None
    step, index = min(found)
    return TERMS[index], step
