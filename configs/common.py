"""Every configuration key with its default, as a ConfigDict. Not a recipe: recipes call `get_config()` and change it.

The meaning, unit, default and limits of each key are in `stylegan_jax/config/fields.py`, those of one architecture's
keys in `stylegan_jax/config/arch/`. Any key can be set on the command line, such as `--config.train.batch_size=16`.
"""

import dataclasses

import ml_collections

from stylegan_jax.config import ExperimentConfig


def get_config() -> ml_collections.ConfigDict:
    """Return StyleGAN2 config F at 256x256, without a data set."""
    return ml_collections.ConfigDict(dataclasses.asdict(ExperimentConfig()))


def get_small_config() -> ml_collections.ConfigDict:
    """Return a small StyleGAN2 at 32x32 on the bundled emoji, for a CPU: the basis of the quickstarts."""
    c = get_config()
    c.model.resolution = 32
    c.model.z_dim = c.model.w_dim = 128
    c.model.mapping_layers = 2
    c.model.channel_base = 1024
    c.model.channel_max = 64
    c.data.source = "zip"
    c.data.path = "datasets/emoji64.zip"
    c.loss.r1_gamma = 0.5
    c.train.batch_size = 16
    c.train.total_kimg = 12.0
    c.train.g_lr = c.train.d_lr = 0.0025
    c.train.ema_kimg = 1.0
    c.train.ema_rampup = 0.05
    c.log.tick_kimg = 0.5
    c.log.grid_ticks = 4
    c.log.checkpoint_ticks = 4
    return c
