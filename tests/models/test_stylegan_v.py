"""StyleGAN-V: sizes of the published networks, times, motion at any time and in any chunks, wrong keys."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from stylegan_jax import models
from stylegan_jax.config import ConfigError, model_from_dict
from stylegan_jax.config.arch import ARCH_RULES
from stylegan_jax.config.arch.stylegan_v import clip_rule, motion_rows
from stylegan_jax.config.clips import distances, least_frames
from stylegan_jax.convert.tables import abstract
from stylegan_jax.models.stylegan_v import draw_motion
from stylegan_jax.models.stylegan_v.discriminator import join_frames
from stylegan_jax.models.stylegan_v.motion import Trajectory, locate
from stylegan_jax.models.stylegan_v.times import draw_times

from . import variants

PUBLISHED = {"arch": "stylegan_v", "use_noise": False, "label_dim": 0, "mapping_layers": 2, "d_mapping_layers": 2}
PUBLISHED |= {"channel_base": 16384}


def make(**changes):
    """Return a model with the published sizes; changes of keys of its own by 'v__name'."""
    tree = common.get_config().model.to_dict() | PUBLISHED
    own = {key.removeprefix("v__"): value for key, value in changes.items() if key.startswith("v__")}
    plain = {key: value for key, value in changes.items() if not key.startswith("v__")}
    return model_from_dict(tree | plain | {"stylegan_v": tree["stylegan_v"] | own})


@pytest.mark.parametrize(
    ("changes", "g", "d"),
    [
        ({"resolution": 64}, 31_158_031, 24_739_840),
        ({"resolution": 128}, 31_863_698, 25_214_848),
        ({"resolution": 256}, 32_105_941, 25_333_568),
        ({"resolution": 256, "label_dim": 101}, 32_989_141, 25_385_280),
        (
            {"resolution": 1024, "label_dim": 77, "channel_base": 32768, "v__frames": 2},
            38_444_283,
            28_932_384,
        ),
    ],
)
def test_parameter_counts_are_those_of_the_published_networks(changes, g, d):
    gan = models.build(make(**changes))
    count = lambda net: sum(math.prod(x.shape) for x in jax.tree.leaves(abstract(gan, net)["params"]))
    assert (count("g"), count("d")) == (g, d)
    if changes == {"resolution": 256}:
        params = abstract(gan, "g")["params"]
        sizes = {name: sum(math.prod(x.shape) for x in jax.tree.leaves(tree)) for name, tree in params.items()}
        assert (sizes["mapping"], sizes["motion"]) == (525_312, 6_292_480)


def test_times_agree_with_their_codes_at_boundaries_in_float32():
    times = np.arange(0, 40_000, dtype=np.float32)[None] / 13
    for distance in (3, 7, 16):
        place = jax.device_get(locate(jnp.asarray(times), distance))
        exact = times.astype(np.float64)
        np.testing.assert_array_equal(place.index, np.floor(exact / distance))
        np.testing.assert_array_equal(place.left, np.floor(exact / distance) * distance)
        assert place.alpha.min() == 0 and place.alpha.max() < 1


def test_drawn_times_follow_the_rule_of_the_data():
    config = make(v__max_num_frames=40, v__frames=4)
    times = np.asarray(jax.vmap(lambda k: draw_times(config, k))(jax.random.split(jax.random.key(0), 4000)))
    gaps, spans = np.diff(times, axis=1), times[:, -1] - times[:, 0]
    assert np.abs(gaps - np.round(gaps)).max() < 1e-5 and np.round(gaps).min() == 1
    assert times.min() >= 0 and times.max() < 39
    found, counts = np.unique(np.round(spans), return_counts=True)
    assert tuple(found) == (4, 8, 16, 32) == distances(clip_rule(config), 40)
    np.testing.assert_allclose(counts / 4000, 0.25, atol=0.03)
    first = np.round(gaps[np.round(spans) == 4, 0])  # of offsets 1, 2, 3 two are chosen: 1 in two of three cases
    np.testing.assert_allclose([np.mean(first == k) for k in (1, 2)], [2 / 3, 1 / 3], atol=0.06)
    whole = dataclasses.replace(config, stylegan_v=dataclasses.replace(config.stylegan_v, fractional_starts=False))
    starts = np.asarray(jax.vmap(lambda k: draw_times(whole, k))(jax.random.split(jax.random.key(1), 2000)))[:, 0]
    assert np.all(starts == np.round(starts)) and {0.0, 35.0} <= set(starts)


def test_frames_are_the_same_in_any_chunks_beyond_the_length_of_training():
    b = variants.build("stylegan_v", "appended")
    own, times = b.config.stylegan_v, np.arange(0, 60, 2.5, dtype=np.float32)
    rows = jnp.arange(motion_rows(own, float(times[-1])))
    motion = draw_motion(jax.random.key(1), rows, own.motion_z_dim)[None]

    @jax.jit
    def frames(motion, times):
        ws = jnp.full((1, b.gan.spec.num_ws, b.gan.spec.w_dim), 0.3)
        return b.gan.synthesize(b.g, ws, {"motion": motion, "times": times[None]})[0]["image"][0]

    whole = np.asarray(frames(motion, times))
    parts = np.concatenate([frames(motion, times[i : i + 12]) for i in (0, 12)])
    np.testing.assert_allclose(parts, whole, atol=2e-5 * np.abs(whole).max())
    longer = draw_motion(jax.random.key(1), jnp.arange(len(rows) + 9), own.motion_z_dim)
    np.testing.assert_array_equal(longer[: len(rows)], motion[0])
    assert np.isnan(frames(motion[:, :-1], times)[-1]).all(), "rows that are missing must not be made up"


def test_a_code_depends_on_its_window_of_rows_alone():
    b = variants.build("stylegan_v", "appended")
    own, params = b.config.stylegan_v, {"params": b.g["params"]["motion"]["trajectory"]}
    index = jnp.full((1, 1), 2)  # codes 2 and 3

    @jax.jit
    def by_noise(noise):
        return jax.grad(lambda x: jnp.sum(jnp.stack(Trajectory(b.config).apply(params, x, None, index))))(noise)

    moved = np.any(np.asarray(by_noise(b.inputs["motion"][:1])) != 0, axis=(0, 2))
    assert list(np.flatnonzero(moved)) == list(range(2, 2 + 2 * own.motion_kernel))


def test_frames_become_channels_in_their_order():
    x = jnp.arange(2 * 3 * 4).reshape(6, 1, 1, 4)
    np.testing.assert_array_equal(join_frames(x, 3).reshape(2, 12), np.arange(24).reshape(2, 12))


def test_the_ablation_without_gaps_ignores_times_and_a_model_without_motion_is_an_image_gan():
    off = make(resolution=16, channel_base=64, channel_max=4, v__dummy_cond=True, v__concat_res=8)
    gan = models.build(off)
    d = variants.draw(gan.init_d, np.random.default_rng(0))
    image = jax.random.normal(jax.random.key(0), (4, *gan.spec.sample["image"]))
    judge = jax.jit(lambda times: gan.discriminate(d, {}, {"image": image, "times": times}, jnp.zeros((4, 0)))[0])
    times = jnp.broadcast_to(jnp.arange(3.0), (4, 3))
    np.testing.assert_array_equal(judge(times), judge(times * 4))
    plain = models.build(make(resolution=16, v__frames=1, v__motion_v_dim=0))
    assert set(plain.spec.inputs) == {"z", "times"} and plain.spec.sample["image"] == (1, 16, 16, 3)
    params = jax.eval_shape(functools.partial(plain.init_g, jax.random.key(0)))["params"]
    assert set(params) == {"mapping", "synthesis"} and params["synthesis"]["b4"]["conv1"]["weight"].shape[2] == 512


def test_videos_that_are_too_short_have_no_clips():
    least = lambda frames, **more: least_frames(clip_rule(make(v__frames=frames, **more)))
    assert [least(n) for n in (2, 3, 4)] == [2, 3, 5]
    assert least(3, v__total_dists=()) == 4  # the longest distance is excluded, as published
    assert least(3, v__sampling="uniform") == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"v__cond_type": "sum_w", "w_dim": 128}, r"time_dim is 256; .* so set time_dim=64, or another cond_type"),
        ({"use_noise": True}, "use_noise is True; stylegan_v needs False"),
        ({"d_arch": "skip"}, "d_arch is 'skip'; stylegan_v needs 'resnet'"),
        ({"v__concat_res": 256}, r"concat_res is 256; it must lie .*: one of \[8, 16, 32, 64, 128\]"),
        ({"v__frames_divisor": 3}, "frames_divisor is 3; it must divide the 512 channels at resolution 16"),
        ({"v__max_num_frames": 32}, "must be less than max_num_frames=32"),
        ({"v__frames": 40}, "has room for that many frames: allow a distance of at least 39"),
        ({"v__min_period": 2048}, "min_period is 2048; it must not exceed max_period=1024"),
    ],
)
def test_keys_that_do_not_fit_raise_an_error(changes, words):
    with pytest.raises(ConfigError, match=words):
        ARCH_RULES["stylegan_v"].check(make(**{"resolution": 256} | changes))


def test_a_dry_run_says_what_a_clip_is():
    text = ARCH_RULES["stylegan_v"].describe(make(resolution=256))
    assert "clips of 3 frames, first and last frame apart by 2, 4, 8, 16, 32; a video needs at least 3" in text
    assert "from 85 rows of noise" in text and "over 352 frames" in text and "count frames, not clips" in text
