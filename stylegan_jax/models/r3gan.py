"""R3GAN (Huang et al. 2024): residual networks of grouped convolutions, without styles, noise or normalisation.

Both networks are stages of residual blocks, one per resolution, and the discriminator mirrors the generator. They are
linear at the start: the last convolution of every block is zero and the others are scaled by the depth, as in fix-up
(Zhang et al. 2019), so no normalisation is needed (paper section 3). What the rest of the project calls the style is
the generator's input: the latent followed by the embedded label. There is one slot.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from stylegan_jax.config import ModelConfig
from stylegan_jax.layers.conv import resample_filter
from stylegan_jax.layers.dense import scaled_normal
from stylegan_jax.models.gan import (
    Gan,
    GanSpec,
    centre_per_class,
    check_noise,
    draw_z,
    make_spec,
    move_centre_per_class,
    move_one_centre,
    one_centre,
    shown,
)
from stylegan_jax.models.precision import cast, low_dtype
from stylegan_jax.ops import fir
from stylegan_jax.ops.bias_act import bias_act
from stylegan_jax.ops.conv import conv2d

SLOPE = 0.2


class Stage(nn.Module):
    """The residual blocks of one resolution.

    Attributes:
        config: the model.
        index: number of the stage, 0 at the base size.
    """

    config: ModelConfig
    index: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map float[n, h, w, c] to the same shape."""
        c = self.config.r3gan
        for i in range(c.blocks[self.index]):
            x = Block(c.expansion * c.widths[self.index], c.groups[self.index], sum(c.blocks), name=f"block{i}")(x)
        return x


class Block(nn.Module):
    """x + conv1x1(act(conv3x3(act(conv1x1(x))))), with the middle convolution wider and grouped.

    Attributes:
        width: channels inside.
        groups: groups of the middle convolution.
        depth: blocks of the whole network, which scale the initial weights (fix-up: depth ** (-1 / 4)).
    """

    width: int
    groups: int
    depth: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map float[n, h, w, c] to the same shape."""
        gain = math.sqrt(2 / (1 + SLOPE**2)) * self.depth**-0.25
        y = Conv(self.width, gain=gain, is_active=True, name="conv0")(x)
        y = Conv(self.width, 3, self.groups, gain, is_active=True, name="conv1")(y)
        return x + Conv(x.shape[-1], gain=0.0, name="conv2")(y)


class Conv(nn.Module):
    """Convolution with the stored weights, then bias and leaky ReLU without gain if it `is_active`.

    Attributes:
        features: output channels.
        kernel: kernel height and width.
        groups: channel groups.
        gain: initial weights are N(0, gain^2 / fan_in).
        is_active: whether there are a bias and an activation.
    """

    features: int
    kernel: int = 1
    groups: int = 1
    gain: float = 1.0
    is_active: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map float[n, h, w, c] to float[n, h, w, features], in the dtype of `x`."""
        shape = (self.kernel, self.kernel, x.shape[-1] // self.groups, self.features)
        std, pad = self.gain / math.sqrt(math.prod(shape[:3])), self.kernel // 2
        weight = self.param("weight", scaled_normal(std), shape).astype(x.dtype)
        x = conv2d(x, weight, padding=((pad, pad), (pad, pad)), groups=self.groups)
        if not self.is_active:
            return x
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return bias_act(x, bias, act="lrelu", alpha=SLOPE, gain=1.0)


class Linear(nn.Module):
    """x @ weight, without bias.

    Attributes:
        features: output size.
        gain: initial weights are N(0, gain^2 / fan_in).
    """

    features: int
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map float[n, d] to float[n, features]."""
        std = self.gain / math.sqrt(x.shape[-1])
        return x @ self.param("weight", scaled_normal(std), (x.shape[-1], self.features)).astype(x.dtype)


class Mapping(nn.Module):
    """Map latent and label to the generator's input; without labels it has no parameters."""

    config: ModelConfig

    @nn.compact
    def __call__(self, z: jax.Array, cond: jax.Array) -> jax.Array:
        """Map z float[n, z] and cond float[n, k] to float[n, w]: z itself, followed by the embedded label."""
        if not self.config.label_dim:
            return z
        return jnp.concatenate([z, Linear(self.config.r3gan.embed_dim, name="embed")(cond)], axis=1)


class Synthesis(nn.Module):
    """The generator's stages, starting at the base size."""

    config: ModelConfig

    @nn.compact
    def __call__(self, w: jax.Array) -> jax.Array:
        """Map float[n, w] to images float32[n, h, w, c]."""
        config, widths = self.config, self.config.r3gan.widths
        taps = resample_filter(config.resample_filter)
        basis = self.param("basis", scaled_normal(1.0), (*config.base_size, widths[0]))
        x = basis[None] * Linear(widths[0], name="scale")(w)[:, None, None]
        for i, (res, width) in enumerate(zip(resolutions(config), widths, strict=True)):
            if i:
                x = cast(x, stage_dtype(config, i))
                if x.shape[-1] != width:
                    x = Conv(width, name=f"b{res}_width")(x)
                x = fir.upsample2d(x, taps)
            x = stage(config, i)(config, i, name=f"b{res}")(x)
            self.sow("intermediates", f"x{res}", x)
        return cast(Conv(config.img_channels, name="torgb")(x), None)


class Generator(nn.Module):
    """Mapping and synthesis networks under one tree."""

    config: ModelConfig

    def setup(self) -> None:
        self.mapping = Mapping(self.config)
        self.synthesis = Synthesis(self.config)

    def map_latents(self, z: jax.Array, cond: jax.Array) -> jax.Array:
        """Map z float[n, z] and cond float[n, k] to float[n, 1, w]."""
        return self.mapping(z, cond)[:, None]

    def synthesize(self, ws: jax.Array) -> jax.Array:
        """Map float[n, 1, w] to images float32[n, h, w, c]."""
        return self.synthesis(ws[:, 0])

    def __call__(self, z: jax.Array, cond: jax.Array) -> jax.Array:
        """Map latents to images, for initialisation."""
        return self.synthesize(self.map_latents(z, cond))


class Discriminator(nn.Module):
    """The generator's stages from the image down, then one filter per channel over the base size and a dense layer."""

    config: ModelConfig

    @nn.compact
    def __call__(self, image: jax.Array, cond: jax.Array) -> jax.Array:
        """Map images float[n, h, w, c] and labels float[n, k] to logits float32[n, 1]; label by projection."""
        config, widths = self.config, self.config.r3gan.widths
        taps = resample_filter(config.resample_filter)
        x = Conv(widths[-1], name="fromrgb")(cast(image, stage_dtype(config, len(widths) - 1)))
        for i, res in reversed(list(enumerate(resolutions(config)))):
            x = stage(config, i)(config, i, name=f"b{res}")(cast(x, stage_dtype(config, i)))
            if i:
                x = fir.downsample2d(x, taps)
                if x.shape[-1] != widths[i - 1]:
                    x = Conv(widths[i - 1], name=f"b{res}_width")(x)
        std = 1 / math.sqrt(math.prod(config.base_size))
        basis = self.param("basis", scaled_normal(std), (*config.base_size, widths[0]))
        x = jnp.einsum("nhwc,hwc->nc", x, basis.astype(x.dtype))
        if not config.label_dim:
            return Linear(1, name="out")(x)
        size = config.cmap_dim or widths[0]
        mapped = Linear(size, gain=1 / math.sqrt(size), name="embed")(cond)
        return jnp.sum(Linear(size, name="out")(x) * mapped, axis=1, keepdims=True)


def resolutions(config: ModelConfig) -> list[int]:
    """Return the nominal resolutions 4, 8, … of the stages."""
    return [4 * 2**i for i in range(config.num_blocks)]


def stage_dtype(config: ModelConfig, index: int) -> jnp.dtype | None:
    """Return the activation dtype of a stage; None: at least float32, as always at the base size."""
    return low_dtype(config) if index >= max(config.num_blocks - config.num_lowp_res, 1) else None


def stage(config: ModelConfig, index: int) -> Any:
    """Return `Stage`; starting at `remat_from`, one that keeps only its input and recomputes the rest."""
    height = config.base_size[0] * 2**index
    return nn.remat(Stage) if 0 < config.remat_from <= height else Stage


def discriminator_layers(config: ModelConfig) -> tuple[str, ...]:
    """Return the paths of the discriminator's layers above the base size, starting at the image."""
    names, widths = ["fromrgb"], config.r3gan.widths
    for i, res in reversed(list(enumerate(resolutions(config)))[1:]):
        names += [f"b{res}/block{k}" for k in range(config.r3gan.blocks[i])]
        names += [f"b{res}_width"] if widths[i] != widths[i - 1] else []
    return tuple(names)


def spec_of(config: ModelConfig) -> GanSpec:
    """Return the facts of the model."""
    k = config.label_dim
    w_dim = config.z_dim + (config.r3gan.embed_dim if k else 0)
    groups = {
        "freeze_d": discriminator_layers(config),
        "mapping": ("mapping",) if k else (),
        "embed": ("mapping/embed",),
        "no_path_length": (),
        "no_penalty": (),
    }
    w_avg = (k, w_dim) if k else (w_dim,)
    return make_spec(config.image_shape, config.z_dim, 1, w_dim, k, groups=groups, w_avg=w_avg)


def build(config: ModelConfig) -> Gan:
    """Return the R3GAN bundle of a model configuration."""
    spec, generator, discriminator = spec_of(config), Generator(config), Discriminator(config)

    def init_g(key, frozen=()):
        return dict(generator.init(key, jnp.zeros((1, spec.z_dim)), jnp.zeros((1, spec.label_dim))))

    def init_d(key, frozen=()):
        return dict(discriminator.init(key, jnp.zeros((1, *spec.image_shape)), jnp.zeros((1, spec.label_dim))))

    def map_latents(g, inputs, cond, *, train=False) -> Any:
        return generator.apply(g, inputs["z"], cond, method="map_latents")

    def synthesize(g, ws, inputs, *, noise="const", key=None, train=False, batch=None) -> Any:
        check_noise(noise)
        return {"image": generator.apply(g, ws, method="synthesize")}, {}

    def discriminate(d, frozen, sample, cond, *, key=None, train=False) -> Any:
        return discriminator.apply(d, sample["image"], cond), {}

    def features(g, ws, inputs, *, noise="const") -> Any:
        check_noise(noise)
        image, seen = generator.apply(g, ws, method="synthesize", mutable=["intermediates"])
        return {"image": image}, shown(seen)

    centre, move = (centre_per_class, move_centre_per_class) if spec.label_dim else (one_centre, move_one_centre)
    return Gan(
        spec, init_g, init_d, draw_z(spec), map_latents, synthesize, discriminate, centre, move, features=features
    )
