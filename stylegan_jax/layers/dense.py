"""Equalised dense layer (PG §4.1): weights start as N(0, 1) and are scaled at run time."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import numpy as np

from stylegan_jax.ops.bias_act import bias_act


def scaled_normal(stddev: float) -> nn.initializers.Initializer:
    """Return an initializer that draws N(0, stddev^2)."""
    return lambda key, shape, dtype=None: jax.random.normal(key, shape, dtype or "float32") * stddev


class Dense(nn.Module):
    """x @ (weight * lr_mult / sqrt(d_in)) + bias * lr_mult, then an activation.

    Attributes:
        features: output size.
        activation: name in `ops.bias_act.ACTIVATIONS`; its default gain applies.
        lr_mult: learning-rate multiplier; the stored weight is N(0, weight_std^2) / lr_mult.
        weight_std: 1, or 0 for a layer that starts as its bias.
        bias_init: initial value of the bias as added to the output, for all features or one each.
        use_bias: whether there is a bias.
    """

    features: int
    activation: str = "linear"
    lr_mult: float = 1.0
    weight_std: float = 1.0
    bias_init: float | tuple[float, ...] = 0.0
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map float[..., d_in] to float[..., features], in the dtype of `x`."""
        weight = self.param("weight", scaled_normal(self.weight_std / self.lr_mult), (x.shape[-1], self.features))
        y = x @ (weight * (self.lr_mult / math.sqrt(x.shape[-1]))).astype(x.dtype)
        if not self.use_bias:
            return bias_act(y, act=self.activation)
        start = nn.initializers.constant(np.asarray(self.bias_init) / self.lr_mult)
        bias = self.param("bias", start, (self.features,))
        return bias_act(y, bias * self.lr_mult, act=self.activation)
