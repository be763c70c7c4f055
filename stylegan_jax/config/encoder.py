"""The keys of `config.encoder`: networks that invert a generator by mapping images to styles."""

from __future__ import annotations

import dataclasses

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config.documented import check_choice, check_fields, field
from stylegan_jax.config.encoder_training import EncoderTrainingConfig

KINDS = ("e4e", "psp", "w")
PUBLISHED = "published"


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """An encoder; values of encoder4editing (Tov et al. 2021) unless said otherwise."""

    model: str = field("", "the generator that it inverts: a run's folder, a model folder or a .pkl", is_path=True)
    kind: str = field(
        "e4e",
        "e4e: a base style and an offset for each slot; psp: a style for each slot; w: one style for all",
        choices=KINDS,
    )
    body: str = field(
        "ir_se50",
        "backbone: ir_se50, resnet34, efficientnet_lite0, …: a name in encoders.BODIES",
    )
    weights: str = field(
        "",
        "initial weights of the body: '': random; 'published': its published file, where features.weights finds it; or "
        "a path",
        is_path=True,
    )
    body_units: tuple[int, ...] = field(
        (), "residual units of its four groups, not of efficientnet_lite0; (): as published", above=0
    )
    body_widths: tuple[int, ...] = field(
        (), "channels of its four groups, not of efficientnet_lite0; (): as published, 64, 128, 256, 512", above=0
    )
    body_squeeze: int = field(16, "IR-SE: squeeze ratio of the excitation; 0: none", least=0)
    image_size: tuple[int, int] = field(
        (256, 256), "(h, w) of the body's input, to which images are resized by area averaging", above=0
    )
    width: int = field(
        0, "channels of the style blocks, which have most of the parameters; 0: the generator's w_dim", least=0
    )
    pyramid: bool = field(True, "finer slots read finer feature maps; False: all read the coarsest, as in ReStyle")
    residual: bool = field(
        False, "ReStyle: the encoder sees the image and its current reconstruction, and predicts a change of styles"
    )
    iterations: int = field(1, "passes of a residual encoder, in training and in use; published: 5", least=1)
    start_from_average: bool = field(True, "the average style is added to the network's output")
    training: EncoderTrainingConfig = field(EncoderTrainingConfig(), "losses, optimisers and stages of training")


def check_encoder(config: EncoderConfig) -> None:
    """Check the keys of an encoder's networks.

    Raises:
        ConfigError: a rule is broken.
    """
    check_fields(config, "encoder.")
    check_choice("encoder.kind", config.kind, KINDS)
    for key in ("body_units", "body_widths"):
        entries = getattr(config, key)
        if entries and len(entries) != 4:
            raise ConfigError(f"config.encoder.{key} is {entries}; it must have 4 entries, or none: ()")
    squeeze = config.body_squeeze
    if squeeze and config.body.startswith("ir_se") and any(width % squeeze for width in config.body_widths):
        raise ConfigError(
            f"config.encoder.body_squeeze is {squeeze} with body_widths={config.body_widths}; it must divide every "
            "width; 0 turns excitation off"
        )
    if config.iterations > 1 and not config.residual:
        raise ConfigError(
            f"config.encoder.iterations is {config.iterations}; only a residual encoder makes several passes: set "
            "config.encoder.residual=True, or iterations=1"
        )
