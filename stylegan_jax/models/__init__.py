"""Architectures: one file each, and the dict that names them."""

from __future__ import annotations

import functools
from collections.abc import Callable

from stylegan_jax.config import ConfigError, ModelConfig, suggest
from stylegan_jax.config.arch.stylegan3 import format_plan
from stylegan_jax.models import stylegan1, stylegan2, stylegan3
from stylegan_jax.models.gan import Gan, GanSpec, merge, truncate

ARCHS: dict[str, Callable[[ModelConfig], Gan]] = {
    "stylegan1": stylegan1.build,
    "stylegan2": stylegan2.build,
    "stylegan3": stylegan3.build,
}
DESCRIPTIONS: dict[str, Callable[[ModelConfig], str]] = {"stylegan3": format_plan}
"""What an architecture has to say of a configuration beside its parameters."""


@functools.lru_cache(maxsize=128)
def build(model: ModelConfig) -> Gan:
    """Return the `Gan` bundle of a model configuration; the same one for an equal configuration.

    Programs are cached by the bundle that they are compiled for, so a model that is loaded twice compiles nothing.

    Raises:
        ConfigError: unknown architecture.
    """
    if model.arch not in ARCHS:
        raise ConfigError(f"config.model.arch is {model.arch!r}; {suggest(model.arch, ARCHS)}")
    return ARCHS[model.arch](model)


def describe(model: ModelConfig) -> str:
    """Return the lines that an architecture adds to a dry run, or ''."""
    return DESCRIPTIONS[model.arch](model) if model.arch in DESCRIPTIONS else ""


__all__ = ["ARCHS", "Gan", "GanSpec", "build", "describe", "merge", "truncate"]
