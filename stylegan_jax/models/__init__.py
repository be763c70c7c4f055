"""Architectures: one file each, and the dict that names them."""

from __future__ import annotations

from collections.abc import Callable

from stylegan_jax.config import ConfigError, ModelConfig, suggest
from stylegan_jax.models import stylegan2
from stylegan_jax.models.gan import Gan, GanSpec, truncate

ARCHS: dict[str, Callable[[ModelConfig], Gan]] = {
    "stylegan2": stylegan2.build,
}


def build(model: ModelConfig) -> Gan:
    """Return the `Gan` bundle of a model configuration.

    Raises:
        ConfigError: unknown architecture.
    """
    if model.arch not in ARCHS:
        raise ConfigError(f"config.model.arch is {model.arch!r}; {suggest(model.arch, ARCHS)}")
    return ARCHS[model.arch](model)


__all__ = ["ARCHS", "Gan", "GanSpec", "build", "truncate"]
