"""The rates of a GAN: its schedules as functions of the images shown."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax

from stylegan_jax.config import ExperimentConfig, Level, ScheduleConfig
from stylegan_jax.models import grown
from stylegan_jax.train import ema
from stylegan_jax.train.gan.views import blur_sigma
from stylegan_jax.train.task import Rates


def cosine(schedule: ScheduleConfig, nimg: Any, start: float, end: float) -> Any:
    """Return a rate that goes from `start` to `end` along half a cosine, after `nimg` images (Huang et al. 2024).

    Args:
        schedule: the rate changes between its `start_kimg` and `end_kimg` and is constant outside.
        nimg: int32[] or float[], images shown; may be traced.
        start: initial value.
        end: final value; STAYS: the rate is constant.

    Returns:
        float[], or `start` itself if the rate is constant.
    """
    if not schedule.end_kimg or end == schedule.STAYS:
        return start
    first, last = schedule.start_kimg * 1000, schedule.end_kimg * 1000
    share = jnp.clip((nimg - first) / (last - first), 0, 1)
    return start + (1 - (1 + jnp.cos(jnp.pi * share)) / 2) * (end - start)


def rates_at(config: ExperimentConfig, level: Level, nimg: Any) -> Rates:
    """Return the rates of an iteration of a level.

    Args:
        config: the experiment at this level (`config.at_level`).
        level: the part of the run.
        nimg: int32[], images shown before the iteration; may be traced.
    """
    t, loss, end = config.train, config.loss, config.schedule
    warm: Any = 1.0
    if t.lr_warmup_kimg:
        warm = optax.linear_schedule(0.0, 1.0, max(1, round(t.lr_warmup_kimg * 1000)))(nimg + t.batch_size)
    beta2 = cosine(end, nimg, t.beta2, end.beta2)
    half_life = cosine(end, nimg, t.ema_kimg, end.ema_kimg)
    has_p = end.end_kimg and end.augment_p != end.STAYS
    return Rates(
        lr={
            "g": cosine(end, nimg, t.g_lr, end.g_lr) * warm,
            "d": cosine(end, nimg, t.d_lr, end.d_lr) * warm,
        },
        beta2={"g": beta2, "d": beta2},
        gamma=cosine(end, nimg, loss.r1_gamma, end.r1_gamma),
        ema_beta=ema.ema_beta(t.batch_size, nimg, half_life, t.ema_rampup),
        blur_sigma=blur_sigma(loss, nimg) if loss.blur_init_sigma else 0.0,
        fade=grown.fade_at(level, nimg),
        augment_p=cosine(end, nimg, config.augment.p, end.augment_p) if has_p else None,
    )
