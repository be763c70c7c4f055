"""Equalised convolution, modulated convolution with noise, and the RGB output layer (SG2 §2, fig. 2d)."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.layers.dense import Dense, scaled_normal
from stylegan_jax.ops import conv, fir
from stylegan_jax.ops.bias_act import ACTIVATIONS, bias_act
from stylegan_jax.ops.modconv import modulated_conv2d


def resample_filter(taps: tuple[float, ...]) -> fir.Filter:
    """Return the FIR filter of a block from its taps, normalised; 1-D if that is exactly the same filter."""
    full, line = fir.setup_filter(taps), fir.setup_filter(taps, separable=True)
    return line if full.ndim == 2 and np.array_equal(np.outer(line, line), full) else full


def scaled_clamp(clamp: float, gain: float) -> float | None:
    """Return the clamp of a layer called with an extra gain; 0 means none."""
    return clamp * gain if clamp else None


class Conv(nn.Module):
    """Convolution scaled by 1/sqrt(fan_in) at run time, with optional resampling, bias and activation.

    Attributes:
        features: output channels.
        kernel: kernel height and width.
        activation: name in `ops.bias_act.ACTIVATIONS`.
        use_bias: whether there is a bias.
        up: integer enlargement before the convolution (then a true convolution).
        down: integer reduction after it.
        taps: FIR taps of the resampling.
        clamp: bound after the activation; 0: none.
    """

    features: int
    kernel: int
    activation: str = "linear"
    use_bias: bool = True
    up: int = 1
    down: int = 1
    taps: tuple[float, ...] = (1, 3, 3, 1)
    clamp: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, gain: float = 1.0) -> jax.Array:
        """Map float[n, h, w, c_in] to float[n, h*up/down, w*up/down, features]; `gain` also scales the clamp."""
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        weight = self.param("weight", scaled_normal(1), shape)
        weight = (weight / math.sqrt(math.prod(shape[:3]))).astype(x.dtype)
        x = conv.conv2d_resample(
            x,
            weight,
            resample_filter(self.taps),
            up=self.up,
            down=self.down,
            padding=self.kernel // 2,
            flip_weight=self.up == 1,
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        total = ACTIVATIONS[self.activation].gain * gain
        return bias_act(x, bias, act=self.activation, gain=total, clamp=scaled_clamp(self.clamp, gain))


class ModulatedConv(nn.Module):
    """One synthesis layer: modulated 3x3 convolution, noise, bias, leaky ReLU.

    Attributes:
        features: output channels.
        up: 1, or 2 to double the size first.
        use_noise: add noise scaled by a learned strength (starts at 0).
        activation: name in `ops.bias_act.ACTIVATIONS`.
        taps: FIR taps of the upsampling.
        clamp: bound after the activation; 0: none.
    """

    features: int
    up: int = 1
    use_noise: bool = True
    activation: str = "lrelu"
    taps: tuple[float, ...] = (1, 3, 3, 1)
    clamp: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, noise: jax.Array | str = "const", gain: float = 1.0) -> jax.Array:
        """Apply the layer.

        Args:
            x: float[n, h, w, c_in].
            w: float[n, w], the style of this layer.
            noise: 'const' (the stored map), 'none', or noise float[n, h*up, w*up, 1].
            gain: extra gain; also scales the clamp.

        Returns:
            float[n, h*up, w*up, features].
        """
        style = Dense(x.shape[-1], bias_init=1.0, name="affine")(w)
        weight = self.param("weight", scaled_normal(1), (3, 3, x.shape[-1], self.features))
        f = resample_filter(self.taps)
        x = modulated_conv2d(x, weight, style, f, up=self.up, padding=1, flip_weight=self.up == 1)
        if self.use_noise:
            strength = self.param("noise_strength", nn.initializers.zeros, ())
            const = self.variable("buffers", "noise_const", self._draw_const, x.shape[1:3])
            if not isinstance(noise, str):
                x = x + (noise * strength).astype(x.dtype)
            elif noise == "const":
                x = x + (const.value[None, :, :, None] * strength).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        total = ACTIVATIONS[self.activation].gain * gain
        return bias_act(x, bias, act=self.activation, gain=total, clamp=scaled_clamp(self.clamp, gain))

    def _draw_const(self, shape: tuple[int, int]) -> jax.Array:
        return jax.random.normal(self.make_rng("params"), shape)


class ToRGB(nn.Module):
    """1x1 modulated convolution to image channels, without demodulation or noise.

    Attributes:
        features: image channels.
        clamp: bound after the bias; 0: none.
    """

    features: int
    clamp: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Map features float[n, h, w, c] and style float[n, w] to float32[n, h, w, features]."""
        style = Dense(x.shape[-1], bias_init=1.0, name="affine")(w) / math.sqrt(x.shape[-1])
        weight = self.param("weight", scaled_normal(1), (1, 1, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = modulated_conv2d(x, weight, style, demodulate=False)
        x = bias_act(x, bias, clamp=scaled_clamp(self.clamp, 1.0))
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))
