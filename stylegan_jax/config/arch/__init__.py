"""What each architecture adds to the configuration: one file each, and the dict that names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from stylegan_jax.config.arch import r3gan, stylegan1, stylegan2, stylegan3

if TYPE_CHECKING:
    from stylegan_jax.config.fields import ExperimentConfig, ModelConfig


class ArchRules(NamedTuple):
    """What an architecture says of a configuration.

    Attributes:
        title: its name in prose.
        check: raise ConfigError for a model that it cannot build.
        describe: the lines that it adds to a dry run, or ''.
        check_run: raise ConfigError for keys outside `model` that do not fit it.
        same: keys of `model` that no shape tells of, and that must be equal to start from other weights.
    """

    title: str
    check: Callable[[ModelConfig], None]
    describe: Callable[[ModelConfig], str] = lambda model: ""
    check_run: Callable[[ExperimentConfig], None] = lambda config: None
    same: tuple[str, ...] = ()


ARCH_RULES: dict[str, ArchRules] = {
    "stylegan1": ArchRules("StyleGAN", stylegan1.check, check_run=stylegan1.check_run, same=("stylegan1",)),
    "stylegan2": ArchRules("StyleGAN2", stylegan2.check),
    "stylegan3": ArchRules("StyleGAN3", stylegan3.check, stylegan3.format_plan),
    "r3gan": ArchRules("R3GAN", r3gan.check, r3gan.describe, r3gan.check_run),
}
"""`config.model.arch` -> its rules; `models.ARCHS` has the networks under the same names."""
