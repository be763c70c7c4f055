"""The rates of a GAN: what its schedules say at a number of images shown."""

from __future__ import annotations

from typing import Any

import optax

from stylegan_jax.config import ExperimentConfig, Level
from stylegan_jax.models import grown
from stylegan_jax.train import ema
from stylegan_jax.train.gan.views import blur_sigma
from stylegan_jax.train.task import Rates


def rates_at(config: ExperimentConfig, level: Level, nimg: Any) -> Rates:
    """Return the rates of an iteration of a level.

    Args:
        config: the experiment at this level (`config.at_level`).
        level: the part of the run.
        nimg: int32[], images shown before the iteration, traced or not.
    """
    t, loss = config.train, config.loss
    warm = 1.0
    if t.lr_warmup_kimg:
        warm = optax.linear_schedule(0.0, 1.0, max(1, round(t.lr_warmup_kimg * 1000)))(nimg + t.batch_size)
    return Rates(
        lr={"g": t.g_lr * warm, "d": t.d_lr * warm},
        beta2={"g": t.beta2, "d": t.beta2},
        gamma=loss.r1_gamma,
        ema_beta=ema.ema_beta(t.batch_size, nimg, t.ema_kimg, t.ema_rampup),
        blur_sigma=blur_sigma(loss, nimg) if loss.blur_init_sigma else 0.0,
        fade=grown.fade_at(level, nimg),
    )
