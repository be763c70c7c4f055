"""Averages whose width is chosen after training, from stored averages of other widths (EDM2; Karras et al. 2023, §3).

The power-function average of parameters w(s) after t images weights them by p(s) = (g + 1) s^g / t^(g + 1), s in [0,
t]. Its relative width is the standard deviation of p divided by t. A run regularly stores a few such averages
(`config.train.posthoc_ema`). To obtain another width, they are combined so that the weights come closest to the profile
p of that width, by least squares. Inner products of two profiles have a closed form, so no trajectory is needed.

Unlike in the paper, the combination's weights sum to one, so constant parameters are reproduced exactly. Time is
counted in images; an average that moves by `1 - (1 - n / t)^(g + 1)` when the last n of t images are shown is exactly
the one above, for parameters that are constant between iterations and any batch sizes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from stylegan_jax.base.errors import StyleganError
from stylegan_jax.checkpoints.averages import REST, Snapshot, average_name, read_headers, read_snapshot
from stylegan_jax.checkpoints.restore import PathLike
from stylegan_jax.sampling import card
from stylegan_jax.sampling.load import from_run
from stylegan_jax.sampling.model import LoadedModel

MAX_WIDTH = math.sqrt(1 / 12)
"""Width of the plain mean, whose exponent is 0; wider profiles would weight the beginning most."""
MAX_ERROR = 0.1
"""Largest distance of a profile from the requested one, relative to its norm; farther ones raise an error."""


class AverageError(StyleganError, ValueError):
    """A run's snapshots cannot be combined to an average of this width; the message says which widths they reach."""


class Profiles(NamedTuple):
    """Power-function profiles.

    Attributes:
        exponents: float64[n].
        times: float64[n], images shown at their ends.
    """

    exponents: np.ndarray
    times: np.ndarray


class Combination(NamedTuple):
    """How stored averages combine into one of another width.

    Attributes:
        weights: float64[n], of the stored averages.
        error: norm of the difference between its profile and the requested one, relative to the latter's norm.
    """

    weights: np.ndarray
    error: float


def exponent_of(width: float) -> float:
    """Return the exponent of a relative width: the largest root of (g + 1) = width² (g + 2)² (g + 3).

    Raises:
        AverageError: the width is not in (0, `MAX_WIDTH`].
    """
    if not 0 < width <= MAX_WIDTH:
        raise AverageError(
            f"the width {width:g} is out of range: it is the standard deviation of the average's weights relative to "
            f"the length of training; use more than 0 and at most {math.floor(MAX_WIDTH * 1e4) / 1e4:g}, such as 0.1"
        )
    x = width**-2.0
    return max(0.0, float(np.roots([1.0, 7.0, 16.0 - x, 12.0 - x]).real.max()))


def width_of(exponent: float) -> float:
    """Return the relative width of an exponent, the inverse of `exponent_of`."""
    return math.sqrt((exponent + 1) / (exponent + 3)) / (exponent + 2)


def inner_products(a: Profiles, b: Profiles) -> np.ndarray:
    """Return the integral of the product of every profile of `a` with every one of `b`, float64[n, m]."""
    g, t, h, u = a.exponents[:, None], a.times[:, None], b.exponents[None], b.times[None]
    end = np.minimum(t, u)
    return (g + 1) * (h + 1) / (g + h + 1) * (end / t) ** g * (end / u) ** h * end / (t * u)


def combine(stored: Profiles, width: float, time: float) -> Combination:
    """Return the combination of stored profiles, with weights that sum to one, that is nearest to a requested one.

    Args:
        stored: profiles that end at `time` or before.
        width: the requested relative width.
        time: images shown at its end.
    """
    wanted = Profiles(np.array([exponent_of(width)]), np.array([float(time)]))
    gram, onto = inner_products(stored, stored), inner_products(stored, wanted)[:, 0]
    square = inner_products(wanted, wanted)[0, 0]
    scale = 1 / np.sqrt(np.diag(gram))  # normalises the profiles, which are much larger in early snapshots
    products = gram * scale[:, None] * scale
    start = scale / (scale @ scale)  # weights that sum to one; `free` are the directions that keep the sum
    free = np.linalg.qr(scale[:, None], mode="complete")[0][:, 1:]
    right = free.T @ (onto * scale - products @ start)
    weights = scale * (start + free @ np.linalg.lstsq(free.T @ products @ free, right, rcond=None)[0])
    left = square - 2 * weights @ onto + weights @ gram @ weights
    return Combination(weights, math.sqrt(max(left, 0.0) / square))


def snapshots_of(workdir: PathLike, step: int | None = None) -> list[Snapshot]:
    """Return the snapshots of a run up to a step (None: all), in order.

    Raises:
        AverageError: the run has no snapshots, or none of that step.
        CheckpointError: one is damaged.
    """
    found = read_headers(workdir)
    if not found:
        raise AverageError(f"{workdir} {_why_none(Path(workdir))}")
    kept = [s for s in found if step is None or s.step <= step]
    if not kept or (step is not None and kept[-1].step != step):
        near = min(found, key=lambda s: abs(s.step - (step or 0)))
        raise AverageError(
            f"{workdir} has no snapshot of step {step}; the nearest of its {len(found)} is of step {near.step}, and "
            f"the last of step {found[-1].step}"
        )
    return kept


def plan(snapshots: Sequence[Snapshot], widths: Sequence[float]) -> list[Combination]:
    """Return the combination for each width at the time of the last snapshot.

    Raises:
        AverageError: a width is out of range, or the snapshots do not reach it.
    """
    stored, time = profiles_of(snapshots), snapshots[-1].nimg
    found = [combine(stored, width, time) for width in widths]
    for width, combination in zip(widths, found, strict=True):
        if combination.error > MAX_ERROR:
            tried = np.geomspace(0.005, MAX_WIDTH, 60)
            reached = [w for w in tried if combine(stored, w, time).error <= MAX_ERROR]
            reach = f"they reach widths from {min(reached):.2g} to {max(reached):.2g}" if reached else "they reach none"
            raise AverageError(
                f"the width {width:g} is too far from what {_count(snapshots)} of widths "
                f"{', '.join(f'{w:g}' for w in snapshots[-1].widths)} can approximate (error of the profile "
                f"{combination.error:.0%}, at most {MAX_ERROR:.0%}): {reach}; choose one of them, or train with more "
                "frequent snapshots (config.log.average_ticks)"
            )
    return found


def profiles_of(snapshots: Sequence[Snapshot]) -> Profiles:
    """Return the profiles of all averages of snapshots, snapshot by snapshot."""
    rows = [(exponent_of(width), float(s.nimg)) for s in snapshots for width in s.widths]
    exponents, times = zip(*rows, strict=True)
    return Profiles(np.array(exponents), np.array(times))


def reconstruct(snapshots: Sequence[Snapshot], weights: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Return combinations of the averages of snapshots, summed in float64.

    Every file is read and verified once. Collections that are not averaged come from the last snapshot.

    Args:
        snapshots: in order.
        weights: of all averages, snapshot by snapshot; one array per combination.

    Returns:
        Per combination, a generator's variables {'params', 'w_avg', 'buffers', …}, float32.

    Raises:
        CheckpointError: a file is damaged.
    """
    sums: list[Any] = [None] * len(weights)
    rest: dict[str, Any] = {}
    number = 0
    for snapshot in snapshots:
        trees = read_snapshot(snapshot)
        rest = trees.get(REST, {})
        for i in range(len(snapshot.widths)):
            tree = trees[average_name(i)]
            for k, w in enumerate(weights):
                part = jax.tree.map(lambda x, w=w[number]: w * x.astype(np.float64), tree)
                sums[k] = part if sums[k] is None else jax.tree.map(np.add, sums[k], part)
            number += 1
    return [rest | jax.tree.map(lambda x: np.asarray(x, np.float32), tree) for tree in sums]


def average(workdir: PathLike, widths: Sequence[float], step: int | None = None) -> list[LoadedModel]:
    """Return the models of a run whose averages have these relative widths.

    Args:
        workdir: workdir of a run with `config.train.posthoc_ema`.
        widths: in (0, `MAX_WIDTH`].
        step: step of the snapshot at which the averages end; None: the last.

    Raises:
        AverageError: there are no snapshots, or they do not reach a width.
        CheckpointError: a snapshot is damaged.
    """
    snapshots = snapshots_of(workdir, step)
    combinations = plan(snapshots, widths)
    last = snapshots[-1]
    facts = card.run_facts(Path(workdir), last.meta, last.step) | {"metrics": []}  # the run measured another average
    models = []
    trees = reconstruct(snapshots, [c.weights for c in combinations])
    for width, combination, tree in zip(widths, combinations, trees, strict=True):
        own = {
            "width": width,
            "stored_widths": list(last.widths),
            "snapshots": len(snapshots),
            "first_nimg": snapshots[0].nimg,
            "profile_error": combination.error,
        }
        models.append(from_run(str(workdir), {"g_ema": tree}, last.meta, last.step, facts | {"average": own}))
    return models


def _why_none(workdir: Path) -> str:
    if not workdir.exists():
        return "does not exist; pass the workdir of a run with config.train.posthoc_ema"
    try:
        widths = json.loads((workdir / "config.json").read_text())["train"]["posthoc_ema"]
    except (OSError, ValueError, KeyError, TypeError):
        widths = []
    if widths:
        return "has stored no averages yet; let it train on (config.log.average_ticks says when the next is stored)"
    return (
        "has no snapshots of averages: only runs started with --config.train.posthoc_ema=0.05,0.1 store them; train "
        "one (--config.train.init_from starts from the weights of this one)"
    )


def _count(snapshots: Sequence[Snapshot]) -> str:
    return f"{len(snapshots)} snapshots" if len(snapshots) > 1 else "1 snapshot"
