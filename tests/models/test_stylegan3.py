"""StyleGAN3: published sizes, the plan of other shapes, statistics, transforms, low precision, initial values."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import models
from stylegan_jax.config import ARCH_RULES, ConfigError
from stylegan_jax.config.arch.stylegan3 import InputPlan, format_plan, make_plan
from stylegan_jax.models import stylegan3

from . import variants

PUBLISHED = {"num_layers": 14, "num_critical": 2, "margin_size": 10, "filter_size": 6}
R = {"conv_kernel": 1, "use_radial_filters": True}
FULL = {"z_dim": 512, "w_dim": 512, "mapping_layers": 2, "d_mapping_layers": 8, "channel_max": 512}


def full(resolution, base=32768, radial=False, **changes):
    own = R | {"channel_base": 2 * base, "channel_max": 1024} if radial else {}
    return variants.make_config(
        "stylegan3", resolution=resolution, channel_base=base, stylegan3=PUBLISHED | own, **(FULL | changes)
    )


def sizes_only(x, b, fu, fd, *, up, down, padding, **_):
    size = lambda n, pad: (n * up + sum(pad) - len(fu) + 1 - len(fd)) // down + 1
    if fu is None:
        return x
    return jnp.zeros((len(x), size(x.shape[1], padding[2:]), size(x.shape[2], padding[:2]), len(b)))


@pytest.mark.parametrize(
    ("resolution", "base", "radial", "size"),
    [
        (1024, 32768, False, 22_313_167),
        (512, 32768, False, 24_873_519),
        (256, 32768, False, 28_472_133),
        (256, 16384, False, 23_320_443),
        (1024, 32768, True, 15_093_151),
        (512, 32768, True, 16_665_594),
        (256, 32768, True, 18_816_387),
        (256, 16384, True, 15_779_565),
    ],
)
def test_published_parameter_counts(resolution, base, radial, size, monkeypatch):
    monkeypatch.setattr(stylegan3, "filtered_lrelu", sizes_only)  # parameters do not depend on what it computes
    shapes = jax.eval_shape(models.build(full(resolution, base, radial)).init_g, jax.random.key(0))["params"]
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) == size


def test_the_plan_of_t_at_1024_is_the_published_one():
    layers = make_plan(full(1024)).layers
    assert " ".join(p.official_name for p in layers) == (
        "L0_36_512 L1_36_512 L2_52_512 L3_52_512 L4_84_512 L5_148_512 L6_148_512 L7_276_323 L8_276_203 L9_532_128 "
        "L10_1044_81 L11_1044_51 L12_1044_32 L13_1024_32 L14_1024_3"
    )
    assert [p.is_lowp for p in layers] == [False] * 5 + [True] * 10
    assert [p.up for p in layers] == [2, 2, 4, 2, 4, 4, 2, 4, 2, 4, 4, 2, 2, 2, 1]
    assert round(layers[9].out.cutoff, 3) == 128 and round(layers[9].out.half_width, 3) == 128


@pytest.mark.parametrize(
    ("resolution", "base_size", "shape", "rates"),
    [
        (48, (6, 5), (48, 40), {12, 24, 48}),  # as coarse as the first stopband allows
        (24, (3, 4), (24, 32), {12, 24}),
        (40, (5, 4), (40, 32), {10, 20, 40}),
        (50, (25, 20), (50, 40), {25, 50}),  # 25 cannot be halved
        (60, (15, 10), (60, 40), {15, 30, 60}),
        (32, (4, 3), (32, 24), {16, 32}),
    ],
)
def test_other_shapes_have_whole_sizes_and_enough_room(resolution, base_size, shape, rates):
    own = {"num_layers": 6, "num_critical": 2}
    config = variants.make_config("stylegan3", resolution=resolution, base_size=base_size, stylegan3=own)
    assert config.image_shape[:2] == shape
    plan = make_plan(config)
    assert plan.layers[-1].out.size == shape and {p.out.rate for p in plan.layers} == rates
    for p in plan.layers:
        height, width = p.out.size
        margin = 0 if p.index >= 5 else 2 * 2
        assert (height - margin, width - margin) == (p.out.rate, p.out.rate * shape[1] // shape[0])
        assert p.out.rate >= 2 * p.out.cutoff - 1e-9 and p.out.half_width > 0
        for size, out, before, after in zip(p.source.size, p.out.size, p.padding[2::-2], p.padding[3::-2], strict=True):
            enlarged = (size + p.kernel - 1) * p.up + before + after - (p.up_taps - 1)
            assert (enlarged - p.down_taps) // p.down + 1 == out


@pytest.mark.parametrize(
    ("changes", "own", "words"),
    [
        ({}, {"num_critical": 0}, "num_critical is 0; it must be at least 1"),
        ({}, {"num_critical": 3}, "num_critical is 3; it must be less than num_layers=3"),
        ({}, {"conv_kernel": 2}, "conv_kernel is 2; it must be odd"),
        ({}, {"first_stopband": 1.5}, "first_stopband is 1.5; it must be greater than first_cutoff=2.0"),
        ({}, {"last_stopband_rel": 1.0}, "last_stopband_rel is 1.0; it must be greater than 1"),
        ({}, {"output_scale": 0.0}, "output_scale is 0.0; it must be greater than 0"),
        ({}, {"margin_size": -1}, "margin_size is -1; it must not be negative"),
        ({}, {"channel_base": 3}, "channel_base is 3; at cutoff 4 that leaves no channel; use at least"),
        ({"resolution": 8}, {"first_cutoff": 4.0, "first_stopband": 5.0}, "resolution is 8; .*first_cutoff=4.0"),
    ],
)
def test_values_without_a_plan_are_refused_with_the_rule(changes, own, words):
    with pytest.raises(ConfigError, match=words):
        variants.make_config("stylegan3", stylegan3=own, **changes)


def test_the_table_of_a_plan_has_a_row_per_layer():
    rows = format_plan(make_plan(full(256, radial=True))).splitlines()
    assert len(rows) == 2 + 1 + 15
    assert rows[1].split()[:4] == ["layer", "channels", "size", "rate"]
    assert rows[3].split()[:7] == ["L0", "1024", "->", "1024", "36x36", "16", "2"] and "radial" in rows[3]
    assert "critical" in rows[-2] and rows[-1].split()[0] == "rgb"
    assert ARCH_RULES["stylegan3"].describe(full(256)) == format_plan(make_plan(full(256)))
    assert ARCH_RULES["stylegan2"].describe(variants.make_config("stylegan2")) == ""


@functools.cache
def tracked():
    b = variants.build("stylegan3", "t")
    ws = jnp.asarray(np.random.default_rng(1).standard_normal((variants.N, b.gan.spec.num_ws, 10)), jnp.float32)
    track = lambda ws, batch: b.gan.synthesize(b.g, ws, {}, train=True, batch=batch)
    (sample, moved), (_, far) = jax.device_get(jax.jit(lambda ws: (track(ws, None), track(ws, 99)))(ws))
    return b, ws, (sample["image"], models.merge(b.g, moved)["buffers"], far["buffers"])


def test_tracking_moves_the_magnitudes_by_their_half_life_and_nothing_else():
    b, ws, (image, buffers, far) = tracked()
    before, after = b.g["buffers"]["synthesis"], buffers["synthesis"]
    generator = stylegan3.Generator(b.config)
    with_new, seen = jax.jit(
        lambda buffers: generator.apply(b.g | {"buffers": buffers}, ws, method="synthesize", mutable=["intermediates"])
    )(buffers)
    kept = 0.5 ** (variants.N / 20_000)
    features = seen["intermediates"]["synthesis"]
    for i, name in enumerate(["features", "x0", "x1", "x2"]):
        power = np.mean(np.square(features[name][0]))
        want = before[f"L{i}"]["magnitude_ema"] * kept + power * (1 - kept)
        np.testing.assert_allclose(after[f"L{i}"]["magnitude_ema"], want, rtol=1e-6)
        steps = far["synthesis"][f"L{i}"]["magnitude_ema"] - before[f"L{i}"]["magnitude_ema"]
        np.testing.assert_allclose(steps, (want - before[f"L{i}"]["magnitude_ema"]) * 99 / variants.N, rtol=0.02)
        assert abs(after[f"L{i}"]["magnitude_ema"] - before[f"L{i}"]["magnitude_ema"]) > 1e-5
    jax.tree.map(np.testing.assert_array_equal, after["input"], before["input"])
    np.testing.assert_allclose(image, with_new, atol=1e-5)  # the new averages count at once


def test_the_users_transform_moves_the_picture_by_its_inverse():
    b, ws, _ = tracked()
    draw = jax.jit(lambda ws, transforms: variants.image(b.gan, b.gan.with_transform(b.g, transforms), ws))
    transforms = np.tile(
        np.eye(3), (2 * len(ws), 1, 1)
    )  # one per image; two pixels right and one down for half of them
    transforms[len(ws) :, :2, 2] = (-2 / 8, -1 / 8)  # in units of the height; the inverse of how the picture moves
    plain, shifted = np.split(np.asarray(draw(jnp.concatenate([ws, ws]), transforms)), 2)
    inside = np.square(shifted[:, 1:, 2:] - plain[:, :-1, :-2]).mean() / plain.var()
    wrong = np.square(shifted[:, :-1, :-2] - plain[:, 1:, 2:]).mean() / plain.var()
    assert inside < 0.05 < 0.2 < wrong, (inside, wrong)


def test_initial_frequencies_fill_the_disc_and_w_starts_without_effect_on_the_transform():
    features = stylegan3.FourierFeatures(InputPlan(2000, (4, 3), 16, 2.0))
    g = jax.jit(features.init)(jax.random.key(0), jnp.ones((1, 5)))
    freqs, phases = (np.asarray(g["buffers"][k]) for k in ("freqs", "phases"))
    share = np.square(np.linalg.norm(freqs, axis=1) / 2)  # uniform in [0, 1] when the disc is
    assert share.max() <= 1
    np.testing.assert_allclose(np.quantile(share, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.04)
    assert abs(freqs.mean()) < 0.05 and -0.5 <= phases.min() < -0.45 < 0.45 < phases.max() <= 0.5
    affine = g["params"]["affine"]
    assert not np.any(affine["weight"]) and affine["bias"].tolist() == [1, 0, 0, 0]
    np.testing.assert_array_equal(g["buffers"]["transform"], np.eye(3))


def test_layers_run_in_their_dtype():
    own = {"num_layers": 4, "num_critical": 1}
    config = variants.make_config(
        "stylegan3", resolution=32, compute_dtype="bfloat16", num_lowp_res=1, stylegan3=own, channel_base=128
    )
    generator = stylegan3.Generator(config)

    def features(key):
        variables = generator.init(key, jnp.zeros((1, config.z_dim)), jnp.zeros((1, 0)))
        ws = jnp.zeros((1, stylegan3.num_ws(make_plan(config)), config.w_dim))
        return generator.apply(variables, ws, method="synthesize", mutable=["intermediates"])

    image, seen = jax.eval_shape(features, jax.random.key(0))
    want = {f"x{p.index}": jnp.bfloat16 if p.out.rate == 32 else jnp.float32 for p in make_plan(config).layers}
    assert len(set(want.values())) == 2
    assert {k: x[0].dtype for k, x in seen["intermediates"]["synthesis"].items()} == want | {"features": jnp.float32}
    assert image.dtype == jnp.float32
