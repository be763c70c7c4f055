"""StyleGAN: parameter counts of table 1, the order of a layer, and what its switches take away."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import models
from stylegan_jax.models import stylegan1
from stylegan_jax.ops.modconv import modulated_conv2d
from stylegan_jax.ops.norm import instance_norm

from . import variants

FULL = {"z_dim": 512, "w_dim": 512, "mapping_layers": 8, "channel_base": 16384, "channel_max": 512, "grows": True}
TRADITIONAL = {"use_styles": False, "use_pixel_norm": True, "use_instance_norm": False, "const_input": False}
TABLE1 = {  # switches, mapping layers, noise
    "B": (TRADITIONAL, 0, False),
    "C": ({"const_input": False}, 8, False),
    "D": ({}, 8, False),
    "E": ({}, 8, True),
    "F": ({}, 8, True),
}


def full(row, resolution=1024):
    switches, mapping, noise = TABLE1[row]
    changes = FULL | {"mapping_layers": mapping, "use_noise": noise, "stylegan1": switches}
    return variants.make_config("stylegan1", resolution=resolution, **changes)


def count(init):
    shapes = jax.eval_shape(init, jax.random.key(0))["params"]
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def counted_by_hand(row, resolution):
    """Add up the layers as the paper has them."""
    switches, mapping, noise = TABLE1[row]
    total, before = mapping * (512 * 512 + 512), 512
    for res in (2**i for i in range(2, int(math.log2(resolution)) + 1)):
        width = min(16384 // res, 512)
        first = width * 16 * (512 if not switches.get("const_input", True) else 1) if res == 4 else 9 * before * width
        styles = 2 * (513 * 2 * width) if switches.get("use_styles", True) else 0
        total += first + 9 * width**2 + 2 * width * (2 if noise else 1) + styles + 3 * width + 3
        before = width
    return total


@pytest.mark.parametrize("row", TABLE1)
def test_parameters_of_table_1(row):
    assert count(models.build(full(row)).init_g) == counted_by_hand(row, 1024)


def test_the_official_printout_of_the_generator_at_1024():
    gan = models.build(full("F"))
    assert count(gan.init_g) == counted_by_hand("F", 1024) == 26_219_627
    assert count(gan.init_d) == 23_087_249  # FromRGB at every resolution included
    assert gan.spec.num_ws == 18
    assert models.build(full("B")).spec.num_ws == 1


def test_without_growing_only_the_last_resolution_has_rgb_layers():
    gan = models.build(variants.make_config("stylegan1", resolution=16))
    shapes = [jax.eval_shape(init, jax.random.key(0))["params"] for init in (gan.init_g, gan.init_d)]
    rgb = [
        name for tree in (shapes[0]["synthesis"], shapes[1]) for name in tree if {"torgb", "fromrgb"} & {*tree[name]}
    ]
    assert rgb == ["b16", "b16"] and gan.grown is None
    assert list(gan.spec.groups["freeze_d"]) == ["b16/fromrgb", "b16/conv0", "b16/conv1", "b8/conv0", "b8/conv1"]


def layer(x, changes, **params):
    config = variants.make_config("stylegan1", use_noise=False, **changes)
    eye = jnp.zeros((3, 3, 8, 8)).at[1, 1].set(jnp.eye(8) * 6)  # the gain and fan-in of 72 make it the identity
    affine = {"weight": jnp.zeros((10, 16)), "bias": jnp.arange(16.0)}
    params = {"weight": eye, "bias": jnp.zeros(8), "affine": affine} | params
    out = stylegan1.StyledLayer(config, 8, "conv").apply({"params": params}, x, jnp.ones((2, 10)), "none")
    return np.asarray(out)


X = np.random.default_rng(0).standard_normal((2, 8, 8, 8)).astype(np.float32)


def test_a_style_decides_mean_and_deviation_of_every_map():
    """AdaIN: whatever the input's statistics, the output's are those of the style."""
    out = layer(jnp.asarray(X * np.arange(1, 9) + 5), {})
    np.testing.assert_allclose(out.mean(axis=(1, 2)), np.tile(np.arange(8, 16), (2, 1)), rtol=1e-4)
    np.testing.assert_allclose(out.std(axis=(1, 2)), np.tile(np.arange(1, 9), (2, 1)), rtol=1e-4)


def test_the_traditional_layer_normalises_pixels_and_has_no_gain_after_the_activation():
    switches = {"use_styles": False, "use_pixel_norm": True, "use_instance_norm": False}
    params = {"bias": jnp.full(8, 0.5)}
    out = layer(jnp.asarray(X), {"stylegan1": switches}, **params)
    y = X + 0.5
    y = np.where(y > 0, y, 0.2 * y)
    np.testing.assert_allclose(out, y / np.sqrt((y**2).mean(axis=-1, keepdims=True) + 1e-8), rtol=1e-4, atol=1e-5)


def test_a_label_chooses_its_row_in_both_networks():
    b = variants.build("stylegan1", "labels_wide")
    config = b.config
    w = stylegan1.Mapping(config).apply({"params": b.g["params"]["mapping"]}, b.inputs["z"], b.cond)
    joined = np.concatenate([b.inputs["z"], np.asarray(b.cond) @ b.g["params"]["mapping"]["embed"]["weight"]], axis=1)
    joined /= np.sqrt((joined**2).mean(axis=1, keepdims=True) + 1e-8)
    fc = b.g["params"]["mapping"]["fc0"]
    want = joined @ np.asarray(fc["weight"]) * (0.01 * math.sqrt(2 / joined.shape[1])) + np.asarray(fc["bias"]) * 0.01
    np.testing.assert_allclose(w, np.where(want > 0, want, 0.2 * want), rtol=1e-4, atol=1e-5)
    image = jnp.asarray(np.random.default_rng(1).standard_normal((8, *b.gan.spec.image_shape)), jnp.float32)
    logits = jax.jit(lambda cond: variants.logits(b.gan, b.d, image, cond))
    every = sum(logits(jnp.tile(jnp.eye(3)[k], (8, 1))) for k in range(3))
    np.testing.assert_allclose(every, logits(jnp.ones((8, 3))), rtol=1e-4, atol=1e-5)


def test_scaling_a_map_is_undone_by_adain_and_passed_on_by_demodulation():
    """What a spike is drawn for: AdaIN measures a map's deviation, demodulation takes it to be 1 (SG2 §2.2)."""
    x, scale = jnp.asarray(X), jnp.asarray([[[[1.0, 0.1, 10.0, 1.0, 3.0, 0.3, 30.0, 1.0]]]])
    adain = lambda x: stylegan1.modulate(instance_norm(x), jnp.ones((2, 16)))
    np.testing.assert_allclose(adain(x * scale), adain(x), rtol=1e-3, atol=1e-4)
    weight = jax.random.normal(jax.random.key(0), (3, 3, 8, 4))
    demodulated = lambda x: modulated_conv2d(x, weight, jnp.ones((2, 8)), padding=1)
    np.testing.assert_allclose(demodulated(x * 30), 30 * demodulated(x), rtol=1e-4, atol=1e-4)


def rest_after_spike(layer, height):
    """Return the deviation of a layer's output for 64x64 unit normal maps, far from a spike in one of them."""
    x = np.random.default_rng(0).standard_normal((1, 64, 64, 4)).astype(np.float32)
    x[0, 8, 8, 0] += height
    return float(np.asarray(layer(jnp.asarray(x)))[0, 16:, 16:, 0].std())


def test_a_spike_scales_the_rest_of_its_map_under_adain_and_not_under_demodulation():
    """SG2 §2: AdaIN divides by what is in the map, demodulation by what is expected of it."""
    adain = lambda x: stylegan1.modulate(instance_norm(x), jnp.zeros((1, 8)))
    weight = jax.random.normal(jax.random.key(0), (3, 3, 4, 4))
    demodulated = lambda x: modulated_conv2d(x, weight, jnp.ones((1, 4)), padding=1)
    for height in (10.0, 100.0, 1000.0):
        fall = rest_after_spike(adain, height) / rest_after_spike(adain, 0.0)
        assert fall == pytest.approx(1 / math.sqrt(1 + height**2 / 64**2), rel=0.02)
        assert rest_after_spike(demodulated, height) == pytest.approx(rest_after_spike(demodulated, 0.0), rel=1e-5)
