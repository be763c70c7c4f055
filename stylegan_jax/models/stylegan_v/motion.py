"""Motion of StyleGAN-V (Skorokhodov et al. 2022, §3.1): from noise and time to one code per frame.

Noise rows become codes, one every `motion_distance` frames, by two convolutions without padding; a code depends on the
rows starting at its own, and on no earlier ones. A frame between two codes gets an acyclic encoding of its time: waves
whose periods and phases follow from the code on its left, minus their values at both codes, plus values predicted by
both codes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import ModelConfig
from stylegan_jax.config.arch.stylegan_v import StyleGANVConfig
from stylegan_jax.layers.dense import Dense, scaled_normal
from stylegan_jax.ops.bias_act import bias_act

LR_MULT = 0.01
"""Of the convolutions over the noise."""


class Place(NamedTuple):
    """The position of times between codes.

    Attributes:
        index: int32[n, t], number of the code on the left; a time right at a code belongs to that code.
        left: float[n, t], time of that code.
        alpha: float[n, t] in [0, 1), the share of the way to the next code.
    """

    index: jax.Array
    left: jax.Array
    alpha: jax.Array


def locate(times: jax.Array, distance: int) -> Place:
    """Return where times float[n, t] >= 0, in frames, lie between codes that are `distance` frames apart."""
    rest = times % distance
    left = times - rest  # so that index and alpha agree, whichever way a division would be rounded
    return Place(jnp.round(left / distance).astype(jnp.int32), left, rest / distance)


def window_rows(own: StyleGANVConfig, index: jax.Array) -> jax.Array:
    """Return int32[n, t, 2 * motion_kernel]: the rows of noise that the codes int32[n, t] and their next depend on."""
    return index[..., None] + jnp.arange(2 * own.motion_kernel)[None, None]


class RowConv(nn.Module):
    """Convolution over rows without padding, then bias and leaky ReLU without gain.

    Attributes:
        features: output size.
        kernel: number of rows that it joins.
    """

    features: int
    kernel: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map float[..., rows, d] to float[..., rows - kernel + 1, features]."""
        shape = (self.kernel, x.shape[-1], self.features)
        weight = self.param("weight", scaled_normal(1 / LR_MULT), shape) * (LR_MULT / math.sqrt(shape[0] * shape[1]))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        count = x.shape[-2] - self.kernel + 1
        windows = jnp.stack([x[..., i : i + count, :] for i in range(self.kernel)], axis=-2)
        y = jnp.einsum("...rkd,kdf->...rf", windows, weight.astype(x.dtype))
        return bias_act(y, bias * LR_MULT, act="lrelu", gain=1.0)


class Trajectory(nn.Module):
    """Codes on the left and on the right of times."""

    config: ModelConfig

    @nn.compact
    def __call__(self, noise: jax.Array, label: jax.Array | None, index: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return two codes float[n, t, v].

        Args:
            noise: float[n, rows, z] (codes that need rows beyond its end are NaN), or the rows that each frame depends
                on, float[n, t, 2 * motion_kernel, z].
            label: float[n, k], appended to every row, or None.
            index: int32[n, t], numbers of the codes on the left.
        """
        own = self.config.stylegan_v
        rows = noise
        if noise.ndim == 3:
            rows = jax.vmap(lambda x, i: x.at[i].get(mode="fill", fill_value=jnp.nan))(noise, window_rows(own, index))
        if label is not None:
            spread = jnp.broadcast_to(label[:, None, None], (*rows.shape[:3], label.shape[-1]))
            rows = jnp.concatenate([rows, spread.astype(rows.dtype)], axis=-1)
        rows = RowConv(own.motion_z_dim, own.motion_kernel, name="conv0")(rows)
        codes = RowConv(own.motion_v_dim, own.motion_kernel, name="conv1")(rows)
        return codes[:, :, 0], codes[:, :, 1]


class TimeEncoder(nn.Module):
    """Acyclic encoding of times between two codes."""

    config: ModelConfig

    @nn.compact
    def __call__(self, times: jax.Array, place: Place, left: jax.Array, right: jax.Array) -> jax.Array:
        """Map times float[n, t] and the codes float[n, t, v] around them to float[n, t, 2 * time_dim]."""
        own = self.config.stylegan_v
        buffer = lambda name, value: self.variable("buffers", name, lambda: jnp.asarray(value)).value
        freqs, scales = (buffer(name, x) for name, x in zip(("freqs", "phase_scales"), waves(self.config), strict=True))
        dense = lambda features, name: Dense(features, use_bias=False, name=name)
        speed = jnp.tanh(dense(own.time_dim, "periods")(left)) + 1
        phase = dense(own.time_dim, "phases")(left) * scales[None, None]
        align = dense(2 * own.time_dim, "aligners")

        def encode(t: jax.Array) -> jax.Array:
            angle = freqs[None, None] * speed * t[..., None] + phase
            return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)

        alpha = place.alpha[..., None]
        between = lambda a, b: (1 - alpha) * a + alpha * b
        ends = between(encode(place.left), encode(place.left + own.motion_distance))
        return encode(times) - ends + between(align(left), align(right))


def waves(config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return (frequencies in radians per frame, factors of the phases), float32[time_dim] each, slowest wave first.

    Periods are evenly spaced in their logarithm, from max_period to min_period.
    """
    own = config.stylegan_v
    periods = 2 ** np.linspace(np.log2(own.max_period), np.log2(own.min_period), own.time_dim)
    return (2 * np.pi / periods).astype(np.float32), (own.max_period / periods).astype(np.float32)


class Motion(nn.Module):
    """Motion noise and times to one code per frame."""

    config: ModelConfig

    def setup(self) -> None:
        self.trajectory = Trajectory(self.config)
        self.time = TimeEncoder(self.config)

    def __call__(self, noise: jax.Array, label: jax.Array | None, times: jax.Array) -> jax.Array:
        """Map noise, labels float[n, k] or None and times float[n, t] to float[n, t, 2 * time_dim].

        The noise is float[n, rows, z] from the start of the video, or the rows of each frame, as in `Trajectory`.
        Times are in frames of the data, not negative, and may be fractional and beyond those of training. Angles reach
        hundreds of radians, so float32 has an error of about 1e-5 at frame 700.
        """
        place = locate(times, self.config.stylegan_v.motion_distance)
        left, right = self.trajectory(noise, label, place.index)
        return self.time(times, place, left, right)
