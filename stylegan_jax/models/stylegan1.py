"""StyleGAN (Karras et al. 2019): the generator with AdaIN, and the discriminator of Progressive GAN.

`config.stylegan1` has the switches of its table 1, from Progressive GAN (A) to StyleGAN (F). The gain sqrt(2) of a
layer is part of its weights, not of its activation as in StyleGAN2 and later: it does not scale biases and noise.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from stylegan_jax.config import ModelConfig
from stylegan_jax.layers.conv import resample_filter, scaled_clamp
from stylegan_jax.layers.dense import Dense, scaled_normal
from stylegan_jax.models import growing
from stylegan_jax.models.gan import Gan
from stylegan_jax.models.precision import cast
from stylegan_jax.models.stylegan2 import (
    block_resolutions,
    block_spec,
    channels,
    layer_noise,
    lowp_dtype,
    recomputed,
)
from stylegan_jax.ops import conv, fir
from stylegan_jax.ops.bias_act import bias_act
from stylegan_jax.ops.norm import instance_norm, minibatch_std, second_moment_normalize

GAIN = math.sqrt(2)
BOX = (1.0, 1.0)


def scaled_weight(module: nn.Module, shape: tuple[int, ...], gain: float = GAIN) -> jax.Array:
    """Return the parameter 'weight' of a module, drawn from N(0, 1), times gain / sqrt(fan-in) (PG §4.1)."""
    return module.param("weight", scaled_normal(1), shape) * (gain / math.sqrt(math.prod(shape[:-1])))


def convolve(x: jax.Array, weight: jax.Array, blur: tuple[float, ...] = (1.0,), *, up: int = 1, down: int = 1):
    """Correlate, with every pixel repeated before it or 2x2 pixels averaged after it, and blurred at the larger size.

    Args:
        x: float[n, h, w, c_in].
        weight: float[kh, kw, c_in, c_out].
        blur: FIR taps of the filter that follows an enlargement or precedes a reduction (SG1 §2).
        up: 1, or 2 to double the size.
        down: 1, or 2 to halve it.

    Returns:
        float[n, h * up / down, w * up / down, c_out].
    """
    x = filtered(x, blur) if down > 1 else x
    box, pad = resample_filter(BOX), weight.shape[0] // 2
    x = conv.conv2d_resample(x, weight.astype(x.dtype), box, up=up, down=down, padding=pad)
    return filtered(x, blur) if up > 1 else x


def filtered(x: jax.Array, taps: tuple[float, ...]) -> jax.Array:
    """Blur images float[n, h, w, c], with zeros outside; one tap means no blur."""
    return x if len(taps) == 1 else fir.filter2d(x, resample_filter(taps))


def modulate(x: jax.Array, style: jax.Array) -> jax.Array:
    """Scale, then shift float[n, h, w, c] by a style float[n, 2c]: scales minus 1, and shifts (SG1 eq. 1)."""
    scale, shift = jnp.split(style[:, None, None], 2, axis=-1)
    return x * (scale + 1).astype(x.dtype) + shift.astype(x.dtype)


class StyledLayer(nn.Module):
    """One layer of the generator: noise, bias, leaky ReLU, normalisation and style of an input (SG1 fig. 1b).

    Attributes:
        config: the model.
        res: nominal resolution of the output.
        kind: the first operation: 'const', 'dense', 'conv', or 'up', a convolution that doubles the size.
    """

    config: ModelConfig
    res: int
    kind: str

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, noise: jax.Array | str) -> jax.Array:
        """Apply the layer.

        Args:
            x: float[n, h, w, c_in]; not used by the kinds 'const' and 'dense', which start from w.
            w: float[n, w], the style; without styles, only the input of 'dense'.
            noise: 'const' (the stored map), 'none', or noise float[n, h, w, 1].
        """
        s, out = self.config.stylegan1, channels(self.config, self.res)
        x = self._features(x, w, out)
        if self.config.use_noise:
            strength = self.param("noise_strength", nn.initializers.zeros, (out,))
            const = self.variable("buffers", "noise_const", self._draw_const, x.shape[1:3])
            if not isinstance(noise, str):
                x = x + (noise * strength[None, None, None]).astype(x.dtype)
            elif noise == "const":
                x = x + (const.value[:, :, None] * strength[None, None])[None].astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (out,))
        x = bias_act(x, bias, act=self.config.activation, gain=1.0, clamp=scaled_clamp(self.config.conv_clamp, 1.0))
        if s.use_pixel_norm:
            x = second_moment_normalize(x)
        if s.use_instance_norm:
            x = instance_norm(x)
        return modulate(x, Dense(2 * out, name="affine")(w)) if s.use_styles else x

    def _features(self, x: jax.Array, w: jax.Array, out: int) -> jax.Array:
        """Return the features to which the noise is added, float[n, h, w, c]."""
        config, dtype = self.config, lowp_dtype(self.config, self.res)
        size = config.base_size
        if self.kind == "const":
            const = self.param("const", nn.initializers.ones, (*size, out))
            return cast(jnp.broadcast_to(const, (w.shape[0], *const.shape)), dtype)
        if self.kind == "dense":  # a quarter of the gain, as in Progressive GAN
            weight = scaled_weight(self, (w.shape[-1], math.prod(size) * out), GAIN / 4)
            return cast((w @ weight).reshape(-1, *size, out), dtype)
        weight = scaled_weight(self, (3, 3, x.shape[-1], out))
        return convolve(cast(x, dtype), weight, config.stylegan1.blur_filter, up=2 if self.kind == "up" else 1)

    def _draw_const(self, shape: tuple[int, int]) -> jax.Array:
        return jax.random.normal(self.make_rng("params"), shape)


class SynthesisBlock(nn.Module):
    """One resolution of the generator: two layers, and ToRGB if it is used."""

    config: ModelConfig
    res: int
    has_rgb: bool

    @nn.compact
    def __call__(self, x: jax.Array, ws: list[jax.Array], noise: list) -> tuple[jax.Array, jax.Array | None]:
        """Map features, two styles and two noise inputs to (features, image or None)."""
        config = self.config
        first = "up" if self.res > 4 else "const" if config.stylegan1.const_input else "dense"
        for i, kind in enumerate((first, "conv")):
            layer: Any = StyledLayer
            if recomputed(config, self.res):
                layer = nn.remat(layer, static_argnums=(3,) if isinstance(noise[i], str) else ())
            x = layer(config, self.res, kind, name=f"conv{i}")(x, ws[i], noise[i])
        return x, ToRGB(config, name="torgb")(x) if self.has_rgb else None


class ToRGB(nn.Module):
    """1x1 convolution to image channels."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map float[n, h, w, c] to at least float32[n, h, w, img_channels]."""
        out = self.config.img_channels
        y = convolve(x, scaled_weight(self, (1, 1, x.shape[-1], out), 1.0))
        return cast(bias_act(y, self.param("bias", nn.initializers.zeros, (out,))), None)


class Mapping(nn.Module):
    """Latents and labels to w (SG1 §2, fig. 1b): z joined with a row per class, normalised, fully connected layers."""

    config: ModelConfig

    @nn.compact
    def __call__(self, z: jax.Array, cond: jax.Array) -> jax.Array:
        """Map z float[n, z] and labels float[n, k] to w float[n, w]."""
        config, x = self.config, z
        if config.label_dim > 0:
            rows = Dense(config.z_dim, use_bias=False, name="embed")
            x = jnp.concatenate([z, rows(cond * math.sqrt(config.label_dim))], axis=1)  # undoes the layer's scale
        x = second_moment_normalize(x)
        for i in range(config.mapping_layers):
            size = config.w_dim if i == config.mapping_layers - 1 else config.mapping_layer_dim or config.w_dim
            x = Dense(size, lr_mult=config.mapping_lr_mult, name=f"fc{i}")(x * GAIN)
            x = bias_act(x, act="lrelu", gain=1.0)
        return x


class Synthesis(nn.Module):
    """The synthesis network: styles to an image."""

    config: ModelConfig

    @nn.compact
    def __call__(self, ws: jax.Array, noise: str, key: jax.Array | None, blocks: int, alpha: growing.Alpha):
        """Map ws float[n, l, w] to float32[n, h, w, c], after this many blocks; with `alpha` the last is faded in."""
        config, x, images = self.config, ws[:, 0], []
        resolutions = block_resolutions(config)[:blocks]
        with_rgb = growing.rgb_resolutions(config, blocks, alpha is not None, self.is_initializing())
        maps = layer_noise(config, ws.shape[0], noise, key, [res for res in resolutions for _ in range(2)])
        styles = [ws[:, i if config.stylegan1.use_styles else 0] for i in range(2 * blocks)]
        for i, res in enumerate(resolutions):
            block = SynthesisBlock(config, res, res in with_rgb, name=f"b{res}")
            x, image = block(x, styles[2 * i : 2 * i + 2], maps[2 * i : 2 * i + 2])
            self.sow("intermediates", f"x{res}", x)  # "b…" names the block itself
            images += [] if image is None else [image]
        return images[-1] if alpha is None else growing.fade(growing.double(images[-2]), images[-1], alpha)


class Generator(growing.Generator):
    """Mapping and synthesis networks under one tree."""

    def setup(self) -> None:
        self.mapping = Mapping(self.config)
        self.synthesis = Synthesis(self.config)


class PlainLayer(nn.Module):
    """A convolution or dense layer of the discriminator, with bias and leaky ReLU.

    Attributes:
        config: the model.
        features: output channels.
        kernel: size of the convolution; 0: dense.
        down: 2 halves the size.
    """

    config: ModelConfig
    features: int
    kernel: int = 3
    down: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map float[n, h, w, c] to float[n, h/down, w/down, features]; dense: float[n, d] to float[n, features]."""
        weight = scaled_weight(self, (*(self.kernel,) * 2 * (self.kernel > 0), x.shape[-1], self.features))
        blur = self.config.stylegan1.blur_filter
        x = convolve(x, weight, blur, down=self.down) if self.kernel else x @ weight
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return bias_act(x, bias, act=self.config.activation, gain=1.0, clamp=scaled_clamp(self.config.conv_clamp, 1.0))


class DiscriminatorBlock(nn.Module):
    """One resolution of the discriminator, halving the size; the last, at the base size, ends in logits."""

    config: ModelConfig
    res: int

    @nn.compact
    def __call__(self, x: jax.Array | None, image: jax.Array, alpha: growing.Alpha = None) -> jax.Array:
        """Map features float[n, h, w, c] of larger images, or None, to features, or to logits float32[n, k].

        `image` float[n, h, w, c] is used if there are no features, or with `alpha`, the share to which they are faded
        in.
        """
        config, dtype = self.config, lowp_dtype(self.config, self.res)
        size, out = channels(config, self.res), channels(config, max(self.res // 2, 4))
        layer: Any = nn.remat(PlainLayer) if recomputed(config, self.res) else PlainLayer
        y = x if x is None else cast(x, dtype)
        if y is None or alpha is not None:
            seen = layer(config, size, 1, name="fromrgb")(cast(image, dtype))
            y = seen if y is None or alpha is None else growing.fade(seen, y, alpha)
        if self.res > 4:
            y = layer(config, size, name="conv0")(y)
            return layer(config, out, down=2, name="conv1")(y)
        if config.mbstd_channels:
            y = minibatch_std(y, config.mbstd_group, config.mbstd_channels)
        y = layer(config, size, name="conv")(y).reshape(y.shape[0], -1)
        y = PlainLayer(config, size, 0, name="fc")(y)
        return Dense(max(config.label_dim, 1), name="out")(y)


class Discriminator(nn.Module):
    """Image, and label by the choice of its class's output, to one logit (PG table 2, with the blur of SG1 §2)."""

    config: ModelConfig

    @nn.compact
    def __call__(self, image: jax.Array, cond: jax.Array, blocks: int = 0, alpha: growing.Alpha = None) -> jax.Array:
        """Map images float[n, h, w, c] and labels float[n, k] to logits float32[n, 1], by this many last blocks (0:
        all)."""
        config, x = self.config, None
        blocks = blocks or config.num_blocks
        fades = growing.fades(config, blocks, alpha, self.is_initializing())
        for res in reversed(block_resolutions(config)[:blocks]):
            x = DiscriminatorBlock(config, res, name=f"b{res}")(x, image, fades.get(res))
            image = growing.halve(image) if res > 4 else image
        assert x is not None
        return jnp.sum(x * cond, axis=1, keepdims=True) if config.label_dim > 0 else x


def num_ws(config: ModelConfig) -> int:
    """Return the number of style slots: one per layer (18 at 1024); 1 if w is an input and not a style."""
    return 2 * config.num_blocks if config.stylegan1.use_styles else 1


def discriminator_layers(config: ModelConfig) -> tuple[str, ...]:
    """Return the paths of the discriminator's convolutions above the base size, starting at the image."""
    names = []
    for res in reversed(block_resolutions(config)[1:]):
        rgb = [f"b{res}/fromrgb"] if config.grows or res == 4 * 2 ** (config.num_blocks - 1) else []
        names += [*rgb, f"b{res}/conv0", f"b{res}/conv1"]
    return tuple(names)


def build(config: ModelConfig) -> Gan:
    """Return the StyleGAN bundle of a model configuration."""
    spec = block_spec(config, num_ws(config), discriminator_layers(config), has_rgb_everywhere=False)
    return growing.make_gan(config, spec, Generator(config), Discriminator(config))
