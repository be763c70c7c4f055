"""What happens to a step whose loss or gradient is not finite: the policies of `config.train.on_nan`, inside jit.

`halt` and `rollback` let the values through: the loop finds them in the statistics. `skip` leaves the state as it was;
`scrub` takes the step with NaN as 0 and infinity as 1e5 in the gradient, as the official code does.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base.spec import Tree
from stylegan_jax.train import terms

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


def bad_steps(stats: terms.Stats, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return {program: (steps that were not finite, steps)} since the last report; `stats` must be on the host."""
    found = {}
    for program, i in _programs(names).items():
        if stats.total[i]:
            found[program] = (round(float(stats.total[i])), round(float(np.asarray(stats.count)[i])))
    return found


def counted(stats: terms.Stats, names: Sequence[str]) -> list[str]:
    """Return the programs whose steps were checked since the last report; `stats` must be on the host."""
    ran = np.asarray(stats.count)
    return [program for program, i in _programs(names).items() if ran[i]]


def _programs(names: Sequence[str]) -> dict[str, int]:
    return {n.removeprefix(terms.NONFINITE): i for i, n in enumerate(names) if n.startswith(terms.NONFINITE)}
