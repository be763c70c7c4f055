"""Which programs run at which step, and when to report, draw and save: pure functions of the step number."""

from __future__ import annotations

from typing import NamedTuple

from stylegan_jax.base.spec import PHASES
from stylegan_jax.config import ExperimentConfig, images_shown, levels
from stylegan_jax.train import terms


def phases(config: ExperimentConfig, step: int) -> list[str]:
    """Return the programs of iteration `step` in order: g_main, (g_reg), d_main, (d_reg) (lazy, SG2 App. B)."""
    loss = config.loss
    due = {"g_main": True, "d_main": True}
    due["g_reg"] = step % max(loss.g_reg_interval, 1) == 0 and images_shown(config, step) >= loss.pl_start_kimg * 1000
    due["d_reg"] = step % max(loss.d_reg_interval, 1) == 0
    return [name for name in used_programs(config) if due[name]]


def used_programs(config: ExperimentConfig) -> list[str]:
    """Return every program that a run of this configuration ever uses, in their order."""
    loss = config.loss
    used = {"g_main": True, "g_reg": loss.pl_weight > 0, "d_main": True, "d_reg": d_reg_is_lazy(config)}
    return [name for name in PHASES if used[name]]


def d_reg_is_lazy(config: ExperimentConfig) -> bool:
    """Return whether the discriminator's regulariser has a program, rather than being none or part of d_main."""
    return config.loss.d_reg != "none" and config.loss.d_reg_interval > 0


def reported_terms(config: ExperimentConfig) -> list[str]:
    """Return the terms that a run of this configuration reports per tick."""
    used = used_programs(config)
    on = {"nonfinite": config.train.on_nan in ("skip", "scrub"), "augment": config.augment.mode != "none"}
    due = [term for term, program in terms.REPORTED_BY.items() if program in used and on.get(term.split("/")[0], True)]
    return due + ["loss/d_penalty"] * (config.loss.d_reg != "none" and "loss/d_penalty" not in due)


def cadence(config: ExperimentConfig) -> dict[str, float]:
    """Return how often each program runs per iteration, on average over the run."""
    late = min(config.loss.pl_start_kimg / config.train.total_kimg, 1)  # the share of the run without path length
    share = {
        "g_reg": (1 - late) / max(config.loss.g_reg_interval, 1),
        "d_reg": 1 / max(config.loss.d_reg_interval, 1),
    }
    return {name: share.get(name, 1.0) for name in used_programs(config)}


def total_steps(config: ExperimentConfig) -> int:
    """Return the iterations of the whole run."""
    return levels(config)[-1].end


class Due(NamedTuple):
    """What is due after a step.

    Attributes:
        tick: number of ticks completed.
        report: a progress line and a row of statistics.
        grid: an image grid.
        checkpoint: a checkpoint.
        metrics: an evaluation.
    """

    tick: int
    report: bool
    grid: bool
    checkpoint: bool
    metrics: bool


def due(config: ExperimentConfig, steps_done: int) -> Due:
    """Return what is due once `steps_done` iterations are done; the last step is due for everything."""
    log = config.log
    ticks = lambda steps: int(images_shown(config, steps) / (log.tick_kimg * 1000) + 1e-9)
    tick, last = ticks(steps_done), steps_done >= total_steps(config)
    before = ticks(steps_done - 1)
    passed = lambda every: tick // every > before // every  # a large batch may pass several ticks at once
    when = lambda every: passed(every) or last
    metrics = bool(config.eval.metrics) and when(config.eval.ticks)
    return Due(tick, when(1), when(log.grid_ticks), when(log.checkpoint_ticks), metrics)
