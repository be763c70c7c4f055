"""Architectures: one file or folder each, and the dict that names them."""

from __future__ import annotations

import functools
from collections.abc import Callable

from stylegan_jax.config import ConfigError, ModelConfig, check_choice
from stylegan_jax.models import projected, r3gan, stylegan1, stylegan2, stylegan3, stylegan_v, stylegan_xl
from stylegan_jax.models.gan import Gan, GanSpec, merge, truncate

ARCHS: dict[str, Callable[[ModelConfig], Gan]] = {
    "stylegan1": stylegan1.build,
    "stylegan2": stylegan2.build,
    "stylegan3": stylegan3.build,
    "stylegan_xl": stylegan_xl.build,
    "r3gan": r3gan.build,
    "stylegan_v": stylegan_v.build,
}
"""`config.model.arch` -> its networks; `config.arch.ARCH_RULES` has its rules under the same name."""


@functools.lru_cache(maxsize=128)
def build(model: ModelConfig) -> Gan:
    """Return the `Gan` bundle of a model configuration; the same one for an equal configuration.

    Programs are cached by their bundle, so loading a model a second time compiles nothing.

    Raises:
        ConfigError: unknown architecture, or a label length that still depends on the data.
    """
    check_choice("model.arch", model.arch, ARCHS)
    if model.label_dim < 0:
        raise ConfigError(
            f"config.model.label_dim is {model.label_dim}, which leaves it to the data; networks need its length: set "
            "it, to 0 for no labels, before they are built"
        )
    gan = ARCHS[model.arch](model)
    return projected.compose(gan, model) if model.d_arch == "projected" else gan


__all__ = ["ARCHS", "Gan", "GanSpec", "build", "merge", "truncate"]
