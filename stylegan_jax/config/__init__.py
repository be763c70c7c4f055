"""ConfigDict in, frozen dataclasses out: once, at start-up, with every cross-field check.

`configs/common.py` holds every key with its default, unit and meaning; `keys` the types, `rules` the rules. An error
names the value, the rule and the fix, before anything is compiled.
"""

from stylegan_jax.base.errors import ConfigError, suggest
from stylegan_jax.config.build import from_dict, model_from_dict
from stylegan_jax.config.keys import (
    CHOICES,
    AugmentConfig,
    AugmentOps,
    AugmentStrength,
    DataConfig,
    DiffAugmentConfig,
    DistributedConfig,
    EvalConfig,
    ExperimentConfig,
    GrowingConfig,
    LogConfig,
    LossConfig,
    MeshConfig,
    ModelConfig,
    StyleGAN1Config,
    StyleGAN3Config,
    TrainConfig,
)
from stylegan_jax.config.levels import Level, at_level, describe_levels, images_shown, is_grown, level_at, levels
from stylegan_jax.config.resume import ADDED, RESUMABLE_KEYS, completed, flatten, resume_conflicts
from stylegan_jax.config.rules import check_devices, check_model, validate

__all__ = [
    "ADDED",
    "CHOICES",
    "RESUMABLE_KEYS",
    "AugmentConfig",
    "AugmentOps",
    "AugmentStrength",
    "ConfigError",
    "DataConfig",
    "DiffAugmentConfig",
    "DistributedConfig",
    "EvalConfig",
    "ExperimentConfig",
    "GrowingConfig",
    "Level",
    "LogConfig",
    "LossConfig",
    "MeshConfig",
    "ModelConfig",
    "StyleGAN1Config",
    "StyleGAN3Config",
    "TrainConfig",
    "at_level",
    "check_devices",
    "check_model",
    "completed",
    "describe_levels",
    "flatten",
    "from_dict",
    "images_shown",
    "is_grown",
    "level_at",
    "levels",
    "model_from_dict",
    "resume_conflicts",
    "suggest",
    "validate",
]
