"""StyleGAN: the switches of SG1 table 1 and their rules. `model.g_arch` and `d_arch` have no effect here."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config.documented import field

if TYPE_CHECKING:
    from stylegan_jax.config.fields import ExperimentConfig, ModelConfig


@dataclasses.dataclass(frozen=True)
class StyleGAN1Config:
    """Keys of arch 'stylegan1' only; the defaults are row F of SG1 table 1."""

    use_styles: bool = field(True, "AdaIN after every layer; False: w is the input of the first layer only")
    const_input: bool = field(True, "a learned constant instead of a dense layer on w")
    use_pixel_norm: bool = field(False, "normalise every pixel's feature vector (ProGAN)")
    use_instance_norm: bool = field(True, "normalise every feature map, the first half of AdaIN")
    blur_filter: tuple[float, ...] = field(
        (1.0, 2.0, 1.0), "FIR taps after upsampling and before downsampling; (1,): no blur, as in ProGAN"
    )


def check(model: ModelConfig) -> None:
    """Check the size of w without a mapping network, and the blur filter."""
    if model.mapping_layers == 0 and model.label_dim != -1:
        width = model.z_dim * (2 if model.label_dim else 1)
        if model.w_dim != width:
            raise ConfigError(
                f"config.model.w_dim is {model.w_dim}; with mapping_layers=0 w is z"
                f"{' and the embedded label' if model.label_dim else ''}, so set w_dim={width}"
            )
    blur = model.stylegan1.blur_filter
    if not blur or sum(blur) == 0:
        raise ConfigError(
            f"config.model.stylegan1.blur_filter is {blur}; its taps must not sum to zero; (1,) is no blur"
        )


def check_run(config: ExperimentConfig) -> None:
    """Check that styles are mixed only if there are any."""
    if config.loss.style_mixing_prob and not config.model.stylegan1.use_styles:
        raise ConfigError(
            f"config.loss.style_mixing_prob is {config.loss.style_mixing_prob} with model.stylegan1.use_styles=False, "
            "where there are no styles to mix; set it to 0"
        )
