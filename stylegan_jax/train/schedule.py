"""Decide which programs run at a step, and when to report, draw and save: pure functions of the step number."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from stylegan_jax.config import ExperimentConfig, images_shown, levels
from stylegan_jax.train import terms
from stylegan_jax.train.programs import FINISH
from stylegan_jax.train.task import Phase, Plan

SNAPSHOTS = 64
"""Approximate number of snapshots of averages with log.average_ticks=0: enough for widths of 0.02 to 0.25
(docs/tools.md)."""


def due_phases(phases: Sequence[Phase], step: int, nimg: int) -> list[str]:
    """Return the names of the phases that iteration `step` runs, in order; `nimg` images were shown before it."""
    is_on = lambda phase: nimg >= phase.start_nimg and (phase.end_nimg is None or nimg < phase.end_nimg)
    return [phase.name for phase in phases if step % phase.every == 0 and is_on(phase)]


def cadence(phases: Sequence[Phase], total_nimg: float) -> dict[str, float]:
    """Return how often each program runs per iteration, on average over a run of `total_nimg` images."""
    until = lambda nimg: min(nimg / total_nimg, 1)
    share = lambda phase: (
        (until(math.inf if phase.end_nimg is None else phase.end_nimg) - until(phase.start_nimg)) / phase.every
    )
    return {phase.name: share(phase) for phase in phases} | {FINISH: 1.0}


def reported_terms(config: ExperimentConfig, plan: Plan) -> list[str]:
    """Return the terms that a run of this configuration reports per tick."""
    terms_of = [name for phase in plan.phases for name in phase.reports]
    checked = [phase.name for phase in plan.phases] if config.train.on_nan in ("skip", "scrub") else []
    return [*terms_of, *plan.finish_reports, *(f"{terms.NONFINITE}{name}" for name in checked)]


def total_steps(config: ExperimentConfig) -> int:
    """Return the number of iterations of the whole run."""
    return levels(config)[-1].end


class Due(NamedTuple):
    """What is due after a step.

    Attributes:
        tick: number of ticks completed.
        report: a progress line and a row of statistics.
        grid: a sample grid.
        checkpoint: a checkpoint.
        metrics: an evaluation.
        averages: a snapshot of the averages of `config.train.posthoc_ema`.
    """

    tick: int
    report: bool
    grid: bool
    checkpoint: bool
    metrics: bool
    averages: bool = False


def due(config: ExperimentConfig, steps_done: int) -> Due:
    """Return what is due after `steps_done` iterations; after the last, everything is."""
    log = config.log
    ticks = lambda steps: int(images_shown(config, steps) / (log.tick_kimg * 1000) + 1e-9)
    tick, last = ticks(steps_done), steps_done >= total_steps(config)
    before = ticks(steps_done - 1)
    passed = lambda every: tick // every > before // every  # one large batch may span several ticks
    when = lambda every: passed(every) or last
    metrics = bool(config.eval.metrics) and when(config.eval.ticks)
    averages = bool(config.train.posthoc_ema) and when(average_ticks(config))
    return Due(tick, when(1), when(log.grid_ticks), when(log.checkpoint_ticks), metrics, averages)


def count_snapshots(config: ExperimentConfig) -> int:
    """Return how many snapshots of averages a run stores."""
    ticks = int(images_shown(config, total_steps(config)) / (config.log.tick_kimg * 1000) + 1e-9)
    return -(-ticks // average_ticks(config))


def average_ticks(config: ExperimentConfig) -> int:
    """Return the ticks between snapshots of averages."""
    log = config.log
    return log.average_ticks or max(1, int(config.train.total_kimg / log.tick_kimg) // SNAPSHOTS)


def after_rollbacks(seed: int, count: int) -> int:
    """Return the seed of the random numbers and the data order after `count` rollbacks."""
    return zlib.crc32(f"{seed}/{count}".encode()) if count else seed
