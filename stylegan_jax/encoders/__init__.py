"""Encoders: networks from images to the styles of a generator."""

from __future__ import annotations

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config import check_choice
from stylegan_jax.config.encoder import EncoderConfig, check_encoder
from stylegan_jax.encoders.bodies import BODIES
from stylegan_jax.encoders.encoder import (
    Encoder,
    EncoderSpec,
    first_map,
    halvings_of,
    make_encoder,
    with_average,
)
from stylegan_jax.encoders.start import load_start


def make_spec(config: EncoderConfig, *, num_ws: int, w_dim: int, channels: int) -> EncoderSpec:
    """Return the spec of an encoder for a generator.

    Args:
        config: the encoder's keys.
        num_ws: style slots of the generator.
        w_dim: its style size.
        channels: of its images.

    Raises:
        ConfigError: a key breaks a rule, or the body cannot read the generator's images.
    """
    check_encoder(config)
    check_choice("encoder.body", config.body, BODIES)
    if channels not in (1, 3) and config.body == "efficientnet_lite0":
        raise ConfigError(
            f"config.encoder.body is {config.body!r}, whose stem reads 1 (grey) or 3 (RGB) channels, and the "
            f"generator's images have {channels}; use body 'ir_se50'"
        )
    size = config.image_size
    spec = EncoderSpec(
        image=(*size, channels),
        num_ws=num_ws,
        w_dim=w_dim,
        kind=config.kind,
        body=config.body,
        width=config.width or w_dim,
        pyramid=config.pyramid,
        residual=config.residual,
        iterations=config.iterations,
        start_from_average=config.start_from_average,
    )
    body = BODIES[config.body](config)
    strides = body.strides[first_map(spec, body) :]
    return spec._replace(halvings=tuple(halvings_of(size, stride) for stride in strides))


def build(config: EncoderConfig, *, num_ws: int, w_dim: int, channels: int) -> Encoder:
    """Return the encoder of a configuration; arguments and errors are those of `make_spec`."""
    spec = make_spec(config, num_ws=num_ws, w_dim=w_dim, channels=channels)
    return make_encoder(spec, BODIES[config.body](config))


__all__ = ["BODIES", "Encoder", "EncoderSpec", "build", "load_start", "make_spec", "with_average"]
