"""The projected discriminator (Sauer et al. 2021; 2022), which works with every image generator: keys and rules."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config.documented import field

if TYPE_CHECKING:
    from stylegan_jax.config.fields import ModelConfig

NAME = "projected"
"""Its value of `model.d_arch`."""
TRAINED_AT = 224
"""Height and width at which the frozen networks were trained."""
STRIDE, LEAST = 32, 128
"""Feature maps shrink to 1/32; for inputs below 128 pixels, the last convolution (4x4, no padding) has no output."""


@dataclasses.dataclass(frozen=True)
class ProjectedConfig:
    """Keys of d_arch 'projected' only; StyleGAN-XL's values except for the frozen networks."""

    backbones: tuple[str, ...] = field(
        ("efficientnet_lite0",),
        "frozen networks whose features D sees: names in features.BACKBONES; published: ('deit_base', "
        "'efficientnet_lite0'), the first of which needs a file",
    )
    input_size: int = field(
        0,
        "height and width of their input, a multiple of 32: at least 128, which costs a third of 224; 0: as "
        "published, 224 for images below 224 and for transformers, else the images' own",
        least=0,
    )
    projections: int = field(
        2,
        "random projections of the features: 0 none, 1 across channels, 2 across channels and scales",
        least=0,
        most=2,
    )
    channels: int = field(64, "channels of the finest projected map", least=1)
    expand: bool = field(True, "coarser projected maps have 2, 4 and 8 times the channels")
    heads: int = field(4, "small discriminators per frozen network, on its finest maps first", least=1, most=4)
    widths: tuple[int, ...] = field(
        (512, 512, 256, 128, 64, 64, 32, 16, 8),
        "channels of the heads' blocks at nominal sizes 4, 8, 16, … 1024",
        least=1,
    )
    stats_group: int = field(
        8,
        "images that share batch-normalisation statistics; must divide the batch; published: a device's micro-batch",
        least=1,
    )
    embed_rows: int = field(1000, "rows of the table of class embeddings; labels use the first", least=1)
    embed_dim: int = field(320, "size of a class embedding", least=1)
    augment: str = field(
        "color,translation,cutout",
        "DiffAugment policies for reals and fakes, drawn separately for each frozen network; '': none",
    )
    translation: float = field(0.125, "largest shift of the translation policy, in image sizes", least=0, most=1)
    cutout: float = field(0.2, "sides of the cutout policy's rectangle, in image sizes", least=0, most=1)
    lowp: bool = field(False, "the frozen networks compute in model.compute_dtype; published: float32")


def check(model: ModelConfig) -> None:
    """Check that the keys and the model suit the projected discriminator; raises ConfigError if not."""
    own, (h, w, c) = model.projected, model.image_shape
    if not own.backbones or len(set(own.backbones)) < len(own.backbones):
        raise ConfigError(
            f"config.model.projected.backbones is {own.backbones}; name at least one frozen network, each once, such "
            "as ('efficientnet_lite0',)"
        )
    if model.grows:
        raise ConfigError(
            "config.model.grows is True with d_arch='projected', which cannot grow; set it to False (small images are "
            "enlarged for the frozen networks anyway)"
        )
    if c not in (1, 3):
        raise ConfigError(
            f"config.model.img_channels is {c}; the frozen networks of d_arch='projected' see 1 (grey) or 3 (RGB): "
            "prepare the data without transparency, or use d_arch='resnet'"
        )
    if model.label_dim > own.embed_rows:
        raise ConfigError(
            f"config.model.label_dim is {model.label_dim}, but config.model.projected.embed_rows={own.embed_rows} "
            f"limits the number of classes; set it to {model.label_dim} or more"
        )
    if len(own.widths) < 9:
        raise ConfigError(
            f"config.model.projected.widths has {len(own.widths)} entries, {own.widths}; it must have 9, for sizes 4, "
            "8, 16, … 1024"
        )
    if own.input_size > 0 and (own.input_size % STRIDE or own.input_size < LEAST):
        near = max(LEAST, round(own.input_size / STRIDE) * STRIDE)
        raise ConfigError(
            f"config.model.projected.input_size is {own.input_size}; feature maps shrink to 1/{STRIDE}, so it must be "
            f"a multiple of {STRIDE}, at least {LEAST}, such as {near}, or 0 for the published rule"
        )
    if not own.input_size and h >= TRAINED_AT and (h % STRIDE or w % STRIDE or w < LEAST):
        raise ConfigError(
            f"config.model.projected.input_size is 0, so the frozen networks see images at their size, {h}x{w}, whose "
            f"sides must be multiples of {STRIDE} and at least {LEAST}; set it to {TRAINED_AT}"
        )


def seen_size(model: ModelConfig, is_transformer: bool) -> int | None:
    """Return the height and width to which images are resized for a frozen network; None: they keep their size."""
    if size := model.projected.input_size:
        return size
    return TRAINED_AT if is_transformer or model.resolution < TRAINED_AT else None
