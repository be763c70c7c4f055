"""What happens to a step whose loss or gradient is not finite: the policies of `config.train.on_nan`, inside jit.

`halt` and `rollback` let the values through: the loop finds them in the statistics. `skip` leaves the state as it was;
`scrub` takes the step with NaN as 0 and infinity as 1e5 in the gradient, as the official code does.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base.spec import PHASES
from stylegan_jax.train import terms

Tree = Any

SCRUBBED = 1e5
"""What an infinite gradient counts as, with its sign."""


def scrub(grads: Tree) -> Tree:
    """Replace NaN by 0 and infinities by ±1e5 in every leaf."""
    return jax.tree.map(lambda x: jnp.nan_to_num(x, nan=0.0, posinf=SCRUBBED, neginf=-SCRUBBED), grads)


def all_finite(tree: Tree) -> jax.Array:
    """Return bool[]: no leaf holds NaN or infinity."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()


def choose(condition: jax.Array, new: Tree, old: Tree) -> Tree:
    """Return `new` where the scalar `condition` holds, else `old`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def bad_steps(stats: terms.Stats) -> dict[str, tuple[int, int]]:
    """Return {program: (steps that were not finite, steps)} since the last report; `stats` must be on the host."""
    found = {}
    for phase in PHASES:
        i = terms.TERMS.index(f"nonfinite/{phase}")
        if stats.total[i]:
            found[phase] = (round(float(stats.total[i])), round(float(np.asarray(stats.count)[i])))
    return found


def counted(stats: terms.Stats) -> list[str]:
    """Return the programs whose steps were checked since the last report; `stats` must be on the host."""
    ran = np.asarray(stats.count)
    return [phase for phase in PHASES if ran[terms.TERMS.index(f"nonfinite/{phase}")]]
