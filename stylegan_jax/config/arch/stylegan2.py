"""StyleGAN2: the rules of its networks. All of its keys are in `ModelConfig`, because others share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stylegan_jax.base.errors import ConfigError

if TYPE_CHECKING:
    from stylegan_jax.config.fields import ModelConfig


def check(model: ModelConfig) -> None:
    """Check that there is a mapping network, and that networks that grow have layout 'orig'."""
    check_mapping(model)
    if model.grows and (model.g_arch, model.d_arch) != ("orig", "orig"):
        raise ConfigError(
            f"config.model.grows is True with g_arch={model.g_arch!r} and d_arch={model.d_arch!r}; stylegan2 grows "
            "with g_arch='orig' and d_arch='orig'"
        )


def check_mapping(model: ModelConfig) -> None:
    """Raise ConfigError for a mapping network without layers."""
    if model.mapping_layers < 1:
        raise ConfigError(f"config.model.mapping_layers is {model.mapping_layers}; it must be at least 1")
