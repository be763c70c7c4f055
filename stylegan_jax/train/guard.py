"""Steps whose loss or gradient is not finite: the policies of `config.train.on_nan`, inside jit.

`halt` and `rollback` let the values through: the loop finds them in the statistics. `skip` leaves the state as it was;
`scrub` takes the step with NaN as 0 and infinity as 1e5 in the gradient, as the official code does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base.errors import StyleganError
from stylegan_jax.base.spec import Tree
from stylegan_jax.train import terms
from stylegan_jax.train.task import Task

BAD_STEPS = 16
"""With on_nan 'skip' or 'scrub', this many bad steps of a program in a row, counted in whole ticks, end the run."""
SCRUBBED = 1e5
"""The value that replaces an infinite gradient, with its sign."""


class DivergedError(StyleganError):
    """A loss became NaN or infinite; the message names the term, the step and the last good checkpoint."""


def scrub(grads: Tree) -> Tree:
    """Replace NaN by 0 and infinities by ±1e5 in every leaf."""
    return jax.tree.map(lambda x: jnp.nan_to_num(x, nan=0.0, posinf=SCRUBBED, neginf=-SCRUBBED), grads)


def all_finite(tree: Tree) -> jax.Array:
    """Return bool[]: no leaf holds NaN or infinity."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()


def choose(condition: jax.Array, new: Tree, old: Tree) -> Tree:
    """Return `new` if the scalar `condition` holds, else `old`, leaf by leaf."""
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


def check_steps(stats: terms.Stats, task: Task, policy: str, streaks: dict[str, int], step: int) -> Iterator[str]:
    """Yield warnings of steps that were skipped or scrubbed; end the run if every recent step was bad.

    Args:
        stats: the statistics of a tick, on the host.
        task: names the terms.
        policy: `config.train.on_nan`.
        streaks: bad steps in a row by program, in whole ticks; updated.
        step: iterations done.

    Raises:
        DivergedError: the last `BAD_STEPS` steps of a program were bad.
    """
    found = bad_steps(stats, task.terms)
    for program in counted(stats, task.terms):  # a program that did not run in this tick keeps its streak
        bad, all_ = found.get(program, (0, 1))
        streaks[program] = streaks.get(program, 0) + bad if bad == all_ else 0
    done = "skipped" if policy == "skip" else "taken with a scrubbed gradient"
    for program, (bad, all_) in found.items():
        yield f"warning: {bad} of {all_} steps of {program} were not finite and were {done}"
    lost = [program for program, bad in streaks.items() if bad >= BAD_STEPS]
    if lost:
        raise DivergedError(
            f"the last {streaks[lost[0]]} steps of {lost[0]} before step {step} were not finite. {task.advice}, and "
            "run in a new workdir"
        )
