"""What each architecture adds to the configuration: one file per architecture, and the dict that names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from stylegan_jax.config.arch import r3gan, stylegan1, stylegan2, stylegan3, stylegan_v, stylegan_xl
from stylegan_jax.config.clips import ClipRule

if TYPE_CHECKING:
    from stylegan_jax.config.fields import ExperimentConfig, ModelConfig


class ArchRules(NamedTuple):
    """What an architecture contributes to the configuration.

    Attributes:
        title: its name in prose.
        check: raise ConfigError for a model that it cannot build.
        describe: the lines that it adds to a dry run, or ''.
        check_run: raise ConfigError for keys outside `model` that do not fit it.
        same: keys of `model` that change no shape but must equal the source's to start from its weights.
        starts_stage: (ours, the source's model, its path) -> whether ours is a super-resolution stage on top of the
            source, whose layers it then loads; raise ConfigError if it is neither that nor the same model.
        clips: how clips are taken from videos; None: the model is trained on images.
    """

    title: str
    check: Callable[[ModelConfig], None]
    describe: Callable[[ModelConfig], str] = lambda model: ""
    check_run: Callable[[ExperimentConfig], None] = lambda config: None
    same: tuple[str, ...] = ()
    starts_stage: Callable[[ModelConfig, ModelConfig, str], bool] = lambda ours, theirs, path: False
    clips: Callable[[ModelConfig], ClipRule | None] = lambda model: None


ARCH_RULES: dict[str, ArchRules] = {
    "stylegan1": ArchRules("StyleGAN", stylegan1.check, check_run=stylegan1.check_run, same=("stylegan1",)),
    "stylegan2": ArchRules("StyleGAN2", stylegan2.check),
    "stylegan3": ArchRules("StyleGAN3", stylegan3.check, stylegan3.describe),
    "stylegan_xl": ArchRules(
        "StyleGAN-XL", stylegan_xl.check, stylegan_xl.describe, starts_stage=stylegan_xl.starts_stage
    ),
    "r3gan": ArchRules("R3GAN", r3gan.check, r3gan.describe, r3gan.check_run),
    "stylegan_v": ArchRules(
        "StyleGAN-V",
        stylegan_v.check,
        stylegan_v.describe,
        stylegan_v.check_run,
        same=("stylegan_v",),
        clips=stylegan_v.clip_rule,
    ),
}
"""`config.model.arch` -> its rules; `models.ARCHS` has the networks under the same names."""


def clips_of(model: ModelConfig) -> ClipRule | None:
    """Return how a model's clips are taken from videos; None: it is trained on images."""
    return ARCH_RULES[model.arch].clips(model) if model.arch in ARCH_RULES else None
