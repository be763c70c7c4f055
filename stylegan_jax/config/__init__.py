"""The configuration: a ConfigDict is converted once, at the start, into frozen dataclasses that have been checked.

`fields` defines every key with its type, default, unit, meaning and limits (`augmentation` and `encoder` those of their
groups), `arch` what each architecture adds, and `rules` the rules that involve several keys. An error names the value,
the rule and the fix, and is raised before anything is compiled.
"""

from stylegan_jax.base.errors import ConfigError, suggest
from stylegan_jax.config.arch import ARCH_RULES, clips_of
from stylegan_jax.config.augmentation import (
    ApaConfig,
    AugmentConfig,
    AugmentOps,
    AugmentStrength,
    DiffAugmentConfig,
)
from stylegan_jax.config.build import from_dict, model_from_dict
from stylegan_jax.config.clips import ClipRule
from stylegan_jax.config.documented import check_choice, check_names
from stylegan_jax.config.encoder import EncoderConfig, check_encoder
from stylegan_jax.config.fields import (
    DataConfig,
    DistributedConfig,
    EvalConfig,
    ExperimentConfig,
    GrowingConfig,
    LogConfig,
    LossConfig,
    MeshConfig,
    ModelConfig,
    ProjectedConfig,
    R3GANConfig,
    ScheduleConfig,
    StyleGAN1Config,
    StyleGAN3Config,
    TrainConfig,
)
from stylegan_jax.config.levels import Level, at_level, describe_levels, images_shown, is_grown, level_at, levels
from stylegan_jax.config.resume import RESUMABLE_KEYS, completed, resume_conflicts
from stylegan_jax.config.rules import check_devices, check_model, validate

__all__ = [
    "ARCH_RULES",
    "RESUMABLE_KEYS",
    "ApaConfig",
    "AugmentConfig",
    "AugmentOps",
    "AugmentStrength",
    "ClipRule",
    "ConfigError",
    "DataConfig",
    "DiffAugmentConfig",
    "DistributedConfig",
    "EncoderConfig",
    "EvalConfig",
    "ExperimentConfig",
    "GrowingConfig",
    "Level",
    "LogConfig",
    "LossConfig",
    "MeshConfig",
    "ModelConfig",
    "ProjectedConfig",
    "R3GANConfig",
    "ScheduleConfig",
    "StyleGAN1Config",
    "StyleGAN3Config",
    "TrainConfig",
    "at_level",
    "check_choice",
    "check_devices",
    "check_encoder",
    "check_model",
    "check_names",
    "clips_of",
    "completed",
    "describe_levels",
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
