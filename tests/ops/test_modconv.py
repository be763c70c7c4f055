"""Modulating activations against convolving every image with its own kernel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.ops import fir
from stylegan_jax.ops.modconv import demodulation, modulated_conv2d

from . import references

F = fir.setup_filter([1, 3, 3, 1], separable=True).astype(np.float64)
CASES = {
    "plain": (3, {"padding": 1}),
    "no_demodulation": (1, {"demodulate": False}),
    "up": (3, {"up": 2, "padding": 1, "flip_weight": False}),
    "down": (3, {"down": 2, "padding": 1}),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_per_image_kernels(name, draw):
    kernel, kwargs = CASES[name]
    x, w, s = draw((3, 4, 6, 5)), draw((kernel, kernel, 5, 4)), draw((3, 5))
    got = jax.jit(lambda *a: modulated_conv2d(*a, F, **kwargs))(x, w, s)
    np.testing.assert_allclose(got, references.modulated_conv2d(x, w, s, F, **kwargs), rtol=1e-11, atol=1e-11)


def per_image(x, w, s):
    """The definition as one library convolution per image, for derivatives."""

    def one(x, s):
        own = w * s[None, None, :, None]
        own = own / jnp.sqrt(jnp.sum(own**2, axis=(0, 1, 2), keepdims=True) + 1e-8)
        return jax.lax.conv_general_dilated(x[None], own, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))[0]

    return jax.vmap(one)(x, s)


def test_first_and_second_derivatives_equal_those_of_per_image_kernels(draw):
    args = draw((2, 4, 5, 3)), draw((3, 3, 3, 4)), draw((2, 3))

    def derivatives(fn):
        def norm(*args):
            first = jax.grad(lambda *a: jnp.sum(jnp.sin(fn(*a))), argnums=(0, 1, 2))(*args)
            return sum(jnp.sum(g**2) for g in first), first

        return jax.jit(jax.grad(norm, argnums=(0, 1, 2), has_aux=True))(*args)

    got, want = derivatives(lambda *a: modulated_conv2d(*a, padding=1)), derivatives(per_image)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), got, want)


def test_demodulation_gives_unit_variance_maps(draw):
    w, s = draw((3, 3, 5, 4)), draw((2, 5))
    d = np.asarray(jax.jit(demodulation)(w, s))
    own = w[None] * s[:, None, None, :, None] * d[:, None, None, None, :]
    np.testing.assert_allclose(np.sum(own**2, axis=(1, 2, 3)), 1.0, rtol=1e-6)


def test_the_scale_of_a_style_does_not_matter_when_demodulated(draw):
    x, w, s = draw((2, 4, 4, 3)), draw((3, 3, 3, 2)), draw((2, 3))
    run = jax.jit(lambda s: modulated_conv2d(jnp.asarray(x), jnp.asarray(w), s, padding=1))
    np.testing.assert_allclose(run(s), run(7 * s), rtol=1e-6, atol=1e-7)


def test_noise_is_added_after_demodulation(draw):
    x, w, s, noise = draw((2, 4, 4, 3)), draw((3, 3, 3, 2)), draw((2, 3)), draw((2, 4, 4, 1))
    run = jax.jit(
        lambda noise: modulated_conv2d(jnp.asarray(x), jnp.asarray(w), jnp.asarray(s), padding=1, noise=noise)
    )
    np.testing.assert_allclose(run(noise), run(np.zeros_like(noise)) + noise, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 3e3])
def test_float16_neither_overflows_nor_strays(draw, scale):
    x, w, s = (jnp.asarray(v, jnp.float32) for v in (draw((2, 6, 6, 64)), draw((3, 3, 64, 8)), draw((2, 64))))
    x, w, s = 30 * x, w * scale, s * scale  # with 3e3 neither x * s nor the sums of the convolution fit float16

    def run(x):
        return jax.value_and_grad(
            lambda s: jnp.sum(jnp.sin(modulated_conv2d(x, w, s, padding=1).astype(jnp.float32) / 30))
        )(s)

    half = modulated_conv2d(x.astype(jnp.float16), w, s, padding=1)
    full = modulated_conv2d(x, w, s, padding=1)
    assert half.dtype == jnp.float16
    np.testing.assert_allclose(half, full, atol=5e-3 * float(jnp.max(jnp.abs(full))))
    for got, want in zip(run(x.astype(jnp.float16)), run(x), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-2 * float(jnp.max(jnp.abs(want))))


def test_bfloat16_is_within_two_percent_of_the_largest_value(draw):
    x, w, s = (jnp.asarray(v, jnp.float32) for v in (draw((2, 6, 6, 16)), draw((3, 3, 16, 8)), 1 + 0.3 * draw((2, 16))))
    full = modulated_conv2d(x, w, s, padding=1)
    half = modulated_conv2d(x.astype(jnp.bfloat16), w, s, padding=1)
    assert half.dtype == jnp.bfloat16
    error = jnp.max(jnp.abs(half.astype(jnp.float32) - full))
    assert 0 < float(error) < 0.02 * float(jnp.max(jnp.abs(full)))
