"""Every configuration key with its default, as a ConfigDict. Not a recipe: recipes call `get_config()` and change it.

What the keys mean, their units, defaults and limits: `stylegan_jax/config/fields.py`, and `stylegan_jax/config/arch/`
for the keys of one architecture. Any key can be set on the command line, for example `--config.train.batch_size=16`.
"""

import dataclasses

import ml_collections

from stylegan_jax.config import ExperimentConfig


def get_config() -> ml_collections.ConfigDict:
    """Return StyleGAN2 config F at 256x256 with no data set chosen."""
    return ml_collections.ConfigDict(dataclasses.asdict(ExperimentConfig()))
