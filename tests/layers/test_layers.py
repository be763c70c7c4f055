"""Equalised layers: run-time scaling, initial values, gains and clamps, noise."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.layers.conv import Conv, ModulatedConv, ToRGB, resample_filter
from stylegan_jax.layers.dense import Dense
from stylegan_jax.layers.mapping import Mapping
from stylegan_jax.ops import fir

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def normal(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


def test_dense_stores_unit_weights_over_lr_mult_and_scales_them_back():
    layer, x = Dense(300, lr_mult=0.01, bias_init=2.0), normal(4, 200)
    params = layer.init(KEY, x)["params"]
    assert float(jnp.std(params["weight"])) == pytest.approx(100, rel=0.02)
    np.testing.assert_allclose(params["bias"], 200)
    want = np.asarray(x) @ np.asarray(params["weight"]) * 0.01 / math.sqrt(200) + 2
    np.testing.assert_allclose(layer.apply({"params": params}, x), want, rtol=1e-4, atol=1e-5)


def test_dense_activation_brings_its_gain_and_bias_can_be_left_out():
    layer, x = Dense(3, activation="lrelu", use_bias=False), normal(4, 5)
    params = layer.init(KEY, x)["params"]
    assert set(params) == {"weight"}
    y = np.asarray(x) @ np.asarray(params["weight"]) / math.sqrt(5)
    want = math.sqrt(2) * np.where(y > 0, y, 0.2 * y)
    np.testing.assert_allclose(layer.apply({"params": params}, x), want, rtol=1e-5, atol=1e-6)


def test_mapping_normalises_latents_so_their_scale_does_not_matter():
    layer, z = Mapping(6, 2), normal(3, 4)
    variables = layer.init(KEY, z, None)
    w = layer.apply(variables, z, None)
    assert w.shape == (3, 6)
    np.testing.assert_allclose(w, layer.apply(variables, 10 * z, None), rtol=1e-5)


def test_mapping_sizes_and_the_label_branch():
    layer = Mapping(6, 3, label_dim=2, embed_dim=5, layer_dim=7)
    z, cond = normal(3, 4), jnp.eye(2)[jnp.array([0, 1, 0])]
    variables = layer.init(KEY, z, cond)
    shapes = {k: v["weight"].shape for k, v in variables["params"].items()}
    assert shapes == {"embed": (2, 5), "fc0": (4 + 5, 7), "fc1": (7, 7), "fc2": (7, 6)}
    w = layer.apply(variables, z, cond)
    assert not np.allclose(w, layer.apply(variables, z, cond[::-1, ::-1]))
    only_labels = Mapping(6, 1, label_dim=2)
    assert only_labels.apply(only_labels.init(KEY, None, cond), None, cond).shape == (3, 6)


@pytest.mark.parametrize(("cond", "shape"), [(None, "None"), (jnp.zeros((1, 3)), r"\(1, 3\)")])
def test_mapping_says_which_label_it_needs(cond, shape):
    with pytest.raises(ValueError, match=rf"labels have shape {shape}; this network needs \[n, 2\]"):
        jax.eval_shape(Mapping(4, 1, label_dim=2).init, KEY, jnp.zeros((1, 4)), cond)


def test_conv_scales_by_fan_in_and_its_call_gain_scales_the_clamp_too():
    layer, x = Conv(3, 1, activation="relu", clamp=0.4), normal(2, 5, 4, 6)
    variables = layer.init(KEY, x)
    y = np.einsum("nhwi,io->nhwo", x, variables["params"]["weight"][0, 0]) / math.sqrt(6)
    for gain in (1.0, 0.5):
        want = np.clip(np.maximum(y, 0) * math.sqrt(2) * gain, None, 0.4 * gain)
        np.testing.assert_allclose(layer.apply(variables, x, gain=gain), want, rtol=1e-5, atol=1e-6)
    assert np.sum(want == 0.2) > 3


@pytest.mark.parametrize(("up", "down", "size"), [(2, 1, (10, 8)), (1, 2, (2, 2))])
def test_conv_resamples(up, down, size):
    layer = Conv(3, 3, up=up, down=down)
    y = jax.eval_shape(lambda x: layer.init_with_output(KEY, x)[0], jnp.zeros((2, 5, 4, 6)))
    assert y.shape == (2, *size, 3)


@functools.cache
def modulated(noise_strength):
    layer, x, w = ModulatedConv(2, activation="linear"), normal(2, 4, 6, 3), normal(2, 5)
    variables = layer.init(KEY, x, w)
    strength = jnp.asarray(noise_strength, jnp.float32)
    params = variables["params"] | {"noise_strength": strength}
    apply = lambda noise: np.asarray(layer.apply(variables | {"params": params}, x, w, noise))
    return variables, apply


def test_noise_starts_without_effect():
    variables, apply = modulated(0.0)
    assert float(variables["params"]["noise_strength"]) == 0
    np.testing.assert_array_equal(apply("const"), apply("none"))


def test_noise_is_scaled_by_its_strength_and_equal_over_channels():
    variables, apply = modulated(3.0)
    const = np.asarray(variables["buffers"]["noise_const"])
    assert const.shape == (4, 6)
    np.testing.assert_allclose(
        apply("const") - apply("none"), np.broadcast_to(3 * const[None, :, :, None], (2, 4, 6, 2)), atol=1e-5
    )
    own = normal(2, 4, 6, 1)
    np.testing.assert_allclose(apply(own) - apply("none"), np.broadcast_to(3 * own, (2, 4, 6, 2)), atol=1e-5)


def test_style_starts_near_one():
    variables, _ = modulated(0.0)
    np.testing.assert_array_equal(variables["params"]["affine"]["bias"], 1)


def test_to_rgb_returns_float32_clamped():
    layer, x, w = ToRGB(3, clamp=0.1), normal(2, 3, 3, 4).astype(jnp.bfloat16), normal(2, 5)
    y, _ = layer.init_with_output(KEY, x, w)
    assert y.dtype == jnp.float32
    assert float(jnp.max(jnp.abs(y))) == pytest.approx(0.1, rel=1e-2)


def test_to_rgb_divides_the_style_by_the_root_of_the_channels():
    layer, x, w = ToRGB(3), normal(2, 3, 3, 4), normal(2, 5)
    y, variables = layer.init_with_output(KEY, x, w)
    p = jax.tree.map(np.asarray, variables["params"])
    style = (np.asarray(w) @ p["affine"]["weight"] / math.sqrt(5) + p["affine"]["bias"]) / 2
    np.testing.assert_allclose(y, np.einsum("nhwi,ni,io->nhwo", x, style, p["weight"][0, 0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (1, 2, 1), (1, 1), (0.1, 0.7, 0.3)])
def test_resample_filter_is_one_dimensional_only_where_that_is_the_same(taps):
    f = resample_filter(taps)
    full = fir.setup_filter(taps)
    np.testing.assert_array_equal(np.outer(f, f) if f.ndim == 1 else f, full)
    assert resample_filter((1, 3, 3, 1)).ndim == 1
