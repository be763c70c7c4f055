"""StyleGAN2 (Karras et al. 2020): generator and discriminator with the skip, resnet and plain layouts of its fig. 7.

With `config.grows` the plain layouts have RGB layers at every resolution, for progressive growing (its table 1 B to D).
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.base import rng
from stylegan_jax.config import ModelConfig
from stylegan_jax.layers.conv import Conv, ModulatedConv, ToRGB, resample_filter
from stylegan_jax.layers.dense import Dense
from stylegan_jax.layers.mapping import Mapping
from stylegan_jax.models import growing
from stylegan_jax.models.gan import Gan, GanSpec, make_spec
from stylegan_jax.models.precision import cast, low_dtype
from stylegan_jax.ops import fir
from stylegan_jax.ops.norm import minibatch_std

SQRT_HALF = math.sqrt(0.5)


def channels(config: ModelConfig, res: int) -> int:
    """Return the feature maps at a resolution: min(channel_base // res, channel_max)."""
    return min(config.channel_base // res, config.channel_max)


def block_resolutions(config: ModelConfig) -> list[int]:
    """Return the nominal resolutions 4, 8, … of the blocks; their heights are base_size[0] / 4 times these."""
    return [4 * 2**i for i in range(config.num_blocks)]


def lowp_dtype(config: ModelConfig, res: int) -> jnp.dtype | None:
    """Return the activation dtype of a block; None: at least float32."""
    first = 4 * 2 ** max(config.num_blocks - config.num_lowp_res, 1)
    return low_dtype(config) if res >= first else None


def synthesis_layer(config: ModelConfig, res: int, noise: jax.Array | str) -> Any:
    """Return `ModulatedConv`; starting at `remat_from`, one that keeps only its input and recomputes the rest."""
    static = (3, 4) if isinstance(noise, str) else (4,)
    return nn.remat(ModulatedConv, static_argnums=static) if recomputed(config, res) else ModulatedConv


def plain_layer(config: ModelConfig, res: int) -> Any:
    """Return `Conv`; starting at `remat_from`, one that keeps only its input and recomputes the rest."""
    return nn.remat(Conv, static_argnums=(2,)) if recomputed(config, res) else Conv


def recomputed(config: ModelConfig, res: int) -> bool:
    """Return whether the layers of a nominal resolution are recomputed for their gradient."""
    return 0 < config.remat_from <= config.base_size[0] * res // 4


class SynthesisBlock(nn.Module):
    """One resolution of the generator: convolutions, and ToRGB if the layout has one."""

    config: ModelConfig
    res: int
    has_rgb: bool

    @property
    def num_conv(self) -> int:
        return 1 if self.res == 4 else 2

    @nn.compact
    def __call__(self, x, image, ws, noise, alpha=None, appended=None):
        """Map (features or None, image or None, styles) to (features, image); with `alpha`, fade from image to image.

        Args:
            x: float[n, h/2, w/2, c] or None in the first block.
            image: float32[n, h/2, w/2, c_image] or None.
            ws: float[n, num_conv + has_rgb, w].
            noise: one entry per convolution: 'const', 'none' or float[n, h, w, 1].
            appended: float[n, d], further channels of the learned constant, equal at all pixels; None: none.
        """
        config, out = self.config, channels(self.config, self.res)
        dtype = lowp_dtype(config, self.res)
        common = {"activation": config.activation, "taps": config.resample_filter, "clamp": config.conv_clamp}
        common["use_noise"] = config.use_noise
        styles = list(jnp.moveaxis(ws, 1, 0))
        if x is None:
            const = self.param("const", nn.initializers.normal(1.0), (*config.base_size, out))
            x = jnp.broadcast_to(const, (ws.shape[0], *const.shape))
            if appended is not None:
                more = jnp.broadcast_to(appended[:, None, None], (*x.shape[:3], appended.shape[1]))
                x = jnp.concatenate([x, more], axis=-1)
            x = cast(x, dtype)
            layer = synthesis_layer(config, self.res, noise[0])
            x = layer(out, name="conv1", **common)(x, styles[0], noise[0], 1.0)
        else:
            x = cast(x, dtype)
            resnet = config.g_arch == "resnet"
            gain = SQRT_HALF if resnet else 1.0
            y = None
            if resnet:
                skip = plain_layer(config, self.res)
                y = skip(out, 1, use_bias=False, up=2, taps=config.resample_filter, name="skip")(x, SQRT_HALF)
            layer = synthesis_layer(config, self.res, noise[0])
            x = layer(out, up=2, name="conv0", **common)(x, styles[0], noise[0], 1.0)
            x = layer(out, name="conv1", **common)(x, styles[1], noise[1], gain)
            x = x if y is None else y + x
        rgb = None
        if self.has_rgb:
            rgb = ToRGB(config.img_channels, clamp=config.conv_clamp, name="torgb")(x, styles[self.num_conv])
        if config.grows:
            if image is None or rgb is None or alpha is None:
                return x, rgb
            return x, growing.fade(growing.double(image), rgb, alpha)
        if image is not None:
            image = fir.upsample2d(image, resample_filter(config.resample_filter))
            rgb = image if rgb is None else image + rgb
        return x, rgb


class Synthesis(nn.Module):
    """The synthesis network: styles to an image."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        ws: jax.Array,
        noise: str,
        key: jax.Array | None,
        blocks: int,
        alpha: jax.Array | float | None,
        appended: jax.Array | None = None,
    ) -> jax.Array:
        """Map ws float[n, l, w] to float32[n, h, w, c]; a block's ToRGB shares its slot with the next block.

        `appended` float[n, d] are further channels of the learned constant.
        """
        x = image = None
        slot, is_skip = 0, self.config.g_arch == "skip"
        resolutions = block_resolutions(self.config)[:blocks]
        with_rgb = growing.rgb_resolutions(self.config, blocks, alpha is not None, self.is_initializing())
        sizes = [res for res in resolutions for _ in range(1 if res == 4 else 2)]
        maps = layer_noise(self.config, ws.shape[0], noise, key, sizes)
        for res in resolutions:
            block = SynthesisBlock(self.config, res, has_rgb=is_skip or res in with_rgb, name=f"b{res}")
            used = ws[:, slot : slot + block.num_conv + block.has_rgb]
            fade = alpha if res == resolutions[-1] else None
            x, image = block(x, image, used, maps[slot : slot + block.num_conv], fade, appended)
            self.sow("intermediates", f"x{res}", x)  # "b…" names the block itself
            slot += block.num_conv
        assert image is not None  # the last block has a ToRGB in every layout
        return image


def layer_noise(config: ModelConfig, n: int, noise: str, key: jax.Array | None, sizes: list[int]) -> list:
    """Return the noise of layers of these nominal resolutions; fresh noise is one draw cut into the layers' maps."""
    if noise != "random" or not config.use_noise:
        return [noise] * len(sizes)
    base_h, base_w = config.base_size
    shapes = [(base_h * res // 4, base_w * res // 4) for res in sizes]
    ends = np.cumsum([h * w for h, w in shapes])
    flat = jnp.split(draw_noise(key, n, int(ends[-1])), ends[:-1], axis=1)
    return [x.reshape(n, *shape, 1) for x, shape in zip(flat, shapes, strict=True)]


def draw_noise(key: jax.Array | None, n: int, size: int) -> jax.Array:
    """Return float32[n, size] from one key, or from [n] keys so that an image's noise is its own."""
    if key is None:
        raise ValueError("noise='random' needs a key; pass one, or use noise='const'")
    return rng.normal(key, (n, size))


class Generator(growing.Generator):
    """Mapping and synthesis networks under one tree."""

    def setup(self) -> None:
        self.mapping = make_mapping(self.config)
        self.synthesis = Synthesis(self.config)


def make_mapping(config: ModelConfig) -> Mapping:
    """Return the generator's mapping network."""
    return Mapping(
        config.w_dim,
        config.mapping_layers,
        label_dim=config.label_dim,
        embed_dim=config.mapping_embed_dim,
        layer_dim=config.mapping_layer_dim,
        lr_mult=config.mapping_lr_mult,
    )


class DiscriminatorBlock(nn.Module):
    """One resolution of the discriminator, halving the size.

    Attributes:
        config: the model.
        res: nominal resolution of its input.
        features: output channels; 0: those of the resolution below.
    """

    config: ModelConfig
    res: int
    features: int = 0

    @nn.compact
    def __call__(self, x, image, alpha=None):
        """Map (features float[n, h, w, c] or None, image or None) to both at half the size; see `seen`."""
        config = self.config
        dtype = lowp_dtype(config, self.res)
        common = {"activation": config.activation, "taps": config.resample_filter, "clamp": config.conv_clamp}
        if x is not None:
            x = cast(x, dtype)
        if x is None or alpha is not None or config.d_arch == "skip":
            y = plain_layer(config, self.res)(channels(config, self.res), 1, name="fromrgb", **common)(
                cast(image, dtype), 1.0
            )
            x = seen(x, y, alpha)
            down = resample_filter(config.resample_filter)
            image = growing.halve(image) if config.grows else fir.downsample2d(image, down)
        inner, out = channels(config, self.res), self.features or channels(config, self.res // 2)
        layer = plain_layer(config, self.res)
        if config.d_arch == "resnet":
            skip = layer(out, 1, use_bias=False, down=2, taps=config.resample_filter, name="skip")
            y = skip(x, SQRT_HALF)
            x = layer(inner, 3, name="conv0", **common)(x, 1.0)
            return y + layer(out, 3, down=2, name="conv1", **common)(x, SQRT_HALF), image
        x = layer(inner, 3, name="conv0", **common)(x, 1.0)
        return layer(out, 3, down=2, name="conv1", **common)(x, 1.0), image


def seen(x: jax.Array | None, y: jax.Array, alpha: jax.Array | float | None) -> jax.Array:
    """Join the features x of larger images with y of an image: y alone, their sum, or with `alpha` a fade from y."""
    if x is None:
        return y
    return x + y if alpha is None else growing.fade(y, x, alpha)


class DiscriminatorEpilogue(nn.Module):
    """The last block, at the base size: minibatch stddev, one convolution, two dense layers."""

    config: ModelConfig
    out_dim: int

    @nn.compact
    def __call__(self, x, image, alpha=None) -> jax.Array:
        """Map features float[n, h, w, c], and the image where the layout has it, to float32[n, out_dim]."""
        config, size = self.config, channels(self.config, 4)
        x = None if x is None else cast(x, None)
        if x is None or alpha is not None or config.d_arch == "skip":
            y = Conv(size, 1, activation=config.activation, name="fromrgb")(cast(image, None))
            x = seen(x, y, alpha)
        if config.mbstd_channels:
            x = minibatch_std(x, config.mbstd_group, config.mbstd_channels)
        x = Conv(size, 3, activation=config.activation, clamp=config.conv_clamp, name="conv")(x)
        x = Dense(size, activation=config.activation, name="fc")(x.reshape(x.shape[0], -1))
        return Dense(self.out_dim, name="out")(x)


class Discriminator(nn.Module):
    """Image, and label by projection (Miyato & Koyama 2018), to one logit."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, image: jax.Array, cond: jax.Array, blocks: int = 0, alpha: jax.Array | float | None = None
    ) -> jax.Array:
        """Map images float[n, h, w, c] and labels float[n, k] to logits float32[n, 1], by this many last blocks (0:
        all)."""
        config, x = self.config, None
        conditional = config.label_dim > 0
        out_dim = (config.cmap_dim or channels(config, 4)) if conditional else 1
        blocks = blocks or config.num_blocks
        fades = growing.fades(config, blocks, alpha, self.is_initializing())
        for res in reversed(block_resolutions(config)[1:blocks]):
            x, image = DiscriminatorBlock(config, res, name=f"b{res}")(x, image, fades.get(res))
        x = DiscriminatorEpilogue(config, out_dim, name="b4")(x, image, fades.get(4))
        if not conditional:
            return x
        lr_mult = config.d_mapping_lr_mult
        mapping = Mapping(out_dim, config.d_mapping_layers, config.label_dim, lr_mult=lr_mult, name="mapping")
        return jnp.sum(x * mapping(None, cond), axis=1, keepdims=True) / math.sqrt(out_dim)


def num_ws(config: ModelConfig) -> int:
    """Return the number of style slots: one per convolution and one for the last ToRGB (18 at 1024)."""
    return 2 * config.num_blocks


def discriminator_layers(config: ModelConfig) -> tuple[str, ...]:
    """Return the paths of the discriminator's convolutions above the base size, starting at the image.

    The order is that of the official Freeze-D: in each block FromRGB (if it has one), conv0, conv1, skip.
    """
    resolutions, names = block_resolutions(config), []
    for res in reversed(resolutions[1:]):
        rgb = ["fromrgb"] if res == resolutions[-1] or config.d_arch == "skip" or config.grows else []
        skip = ["skip"] if config.d_arch == "resnet" else []
        names += [f"b{res}/{layer}" for layer in [*rgb, "conv0", "conv1", *skip]]
    return tuple(names)


def rgb_biases(config: ModelConfig, has_rgb_everywhere: bool) -> tuple[str, ...]:
    """Return the paths of the biases of the generator's ToRGB layers, on which path lengths do not depend."""
    resolutions = block_resolutions(config)
    used = resolutions if has_rgb_everywhere or config.grows else resolutions[-1:]
    return tuple(f"synthesis/b{res}/torgb/bias" for res in used)


def block_spec(config: ModelConfig, slots: int, freeze_d: tuple[str, ...], has_rgb_everywhere: bool) -> GanSpec:
    """Return the spec of two networks of blocks.

    Args:
        config: the model.
        slots: style slots.
        freeze_d: paths of the discriminator's layers that can be frozen, in order from the input.
        has_rgb_everywhere: every block of the generator has a ToRGB layer, not only the last.
    """
    groups = {
        "freeze_d": freeze_d,
        "mapping": ("mapping",),
        "embed": ("mapping/embed",),
        "no_path_length": rgb_biases(config, has_rgb_everywhere),
        "no_penalty": ("b4/out/bias",),
    }
    return make_spec(config.image_shape, config.z_dim, slots, config.w_dim, config.label_dim, groups=groups)


def build(config: ModelConfig) -> Gan:
    """Return the StyleGAN2 bundle of a model configuration."""
    spec = block_spec(config, num_ws(config), discriminator_layers(config), config.g_arch == "skip")
    return growing.make_gan(config, spec, Generator(config), Discriminator(config))
