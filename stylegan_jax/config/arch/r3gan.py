"""R3GAN (Huang et al. 2024): its keys and rules."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config.documented import field

if TYPE_CHECKING:
    from stylegan_jax.config.fields import ExperimentConfig, ModelConfig


@dataclasses.dataclass(frozen=True)
class R3GANConfig:
    """Keys of arch 'r3gan' only, for both networks; tuples have one entry per resolution, starting at the base size.

    Defaults are those of FFHQ at 256x256.
    """

    widths: tuple[int, ...] = field((768, 768, 768, 768, 384, 192, 96), "channels of each stage", least=1)
    groups: tuple[int, ...] = field(
        (96, 96, 96, 96, 48, 24, 12), "groups of its 3x3 convolutions (the paper's cardinality)", least=1
    )
    blocks: tuple[int, ...] = field((2, 2, 2, 2, 2, 2, 2), "its residual blocks", least=1)
    expansion: int = field(2, "factor by which the 3x3 convolutions widen the channels", least=1)
    embed_dim: int = field(64, "size of the label embedding appended to the generator's latent", least=1)


def check(model: ModelConfig) -> None:
    """Check that tuples have one entry per resolution, that groups divide, and that unsupported features are off."""
    own, stages = model.r3gan, model.num_blocks
    for key in ("widths", "groups", "blocks"):
        values = getattr(own, key)
        if len(values) != stages:
            base = model.base_size[0]
            heights = ", ".join(str(base * 2**i) for i in range(stages))
            raise ConfigError(
                f"config.model.r3gan.{key} has {len(values)} entries, {values}; resolution {model.resolution} has "
                f"{stages} stages, of heights {heights}: set one entry for each"
            )
    for width, groups in zip(own.widths, own.groups, strict=True):
        if (inner := own.expansion * width) % groups:
            near = max(k for k in range(1, min(groups, inner) + 1) if inner % k == 0)
            raise ConfigError(
                f"config.model.r3gan.groups is {own.groups}; {groups} must divide expansion x width = "
                f"{own.expansion} x {width} = {inner}, as {near} does (the published models have 16 or 32 channels per "
                "group)"
            )
    if model.grows:
        raise ConfigError("config.model.grows is True; r3gan cannot grow: set it to False")
    if model.mbstd_channels:
        raise ConfigError(
            f"config.model.mbstd_channels is {model.mbstd_channels}; r3gan has no minibatch stddev: set it to 0"
        )


def check_run(config: ExperimentConfig) -> None:
    """Check that styles are not mixed."""
    if config.loss.style_mixing_prob:
        raise ConfigError(
            f"config.loss.style_mixing_prob is {config.loss.style_mixing_prob}; r3gan has one style slot, so there is "
            "nothing to mix: set it to 0"
        )


def describe(model: ModelConfig) -> str:
    """Return the table of stages for a dry run."""
    own = model.r3gan
    rows = [f"{'height':>8} {'width':>6} {'inside':>6} {'groups':>6} {'each':>5} {'blocks':>6}"]
    for i, (width, groups, blocks) in enumerate(zip(own.widths, own.groups, own.blocks, strict=True)):
        inner = own.expansion * width
        rows.append(
            f"{model.base_size[0] * 2**i:>8} {width:>6} {inner:>6} {groups:>6} {inner // groups:>5} {blocks:>6}"
        )
    return "\n".join(rows)
