"""Handle steps with a non-finite loss or gradient: the policies of `config.train.on_nan`, inside jit.

`halt` and `rollback` change nothing here: the loop finds the values in the statistics. `skip` keeps the state from
before the step; `scrub` replaces NaN by 0 and infinities by ±1e5 in the gradient, as the official code does.
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
"""With on_nan 'skip' or 'scrub', this many bad steps of one program in a row end the run; only ticks in which every
step was bad count."""
SCRUBBED = 1e5
"""The value that replaces an infinite gradient, with its sign."""


class DivergedError(StyleganError):
    """Training diverged: a loss is NaN or infinite, or every recent step of a program was bad."""


def scrub(grads: Tree) -> Tree:
    """Replace NaN by 0 and infinities by ±1e5 in every leaf."""
    return jax.tree.map(lambda x: jnp.nan_to_num(x, nan=0.0, posinf=SCRUBBED, neginf=-SCRUBBED), grads)


def all_finite(tree: Tree) -> jax.Array:
    """Return bool[]: whether every element of every leaf is finite."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()


def choose(condition: jax.Array, new: Tree, old: Tree) -> Tree:
    """Return `new` if the scalar `condition` holds, else `old`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def bad_steps(stats: terms.Stats, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return {program: (non-finite steps, all steps)} since the last report; `stats` must be on the host."""
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
    """Yield warnings about skipped or scrubbed steps, and raise an error if too many in a row were bad.

    Args:
        stats: the statistics of a tick, on the host.
        task: its `terms` name the statistics, its `advice` ends the error message.
        policy: `config.train.on_nan`, 'skip' or 'scrub'.
        streaks: consecutive bad steps by program, counted over ticks with bad steps only; updated in place.
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
