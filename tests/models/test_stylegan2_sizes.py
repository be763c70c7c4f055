"""StyleGAN2: published parameter counts, style slots, channels, low-precision blocks; truncation."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import models
from stylegan_jax.models import stylegan2

from . import variants

FULL = {"z_dim": 512, "w_dim": 512, "mapping_layers": 8, "d_mapping_layers": 8, "channel_max": 512}


def full(resolution, base=32768, **changes):
    return variants.make_config("stylegan2", resolution=resolution, channel_base=base, **(FULL | changes))


def count(init):
    shapes = jax.eval_shape(init, jax.random.key(0))["params"]
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("resolution", "base", "generator", "discriminator"),
    [
        (1024, 32768, 30_370_060, 29_012_513),
        (512, 32768, 30_276_583, 28_982_849),
        (256, 32768, 30_034_338, 28_864_129),
        (256, 16384, 24_767_458, 24_001_089),
    ],
)
def test_published_parameter_counts(resolution, base, generator, discriminator):
    gan = models.build(full(resolution, base))
    assert (count(gan.init_g), count(gan.init_d)) == (generator, discriminator)


@pytest.mark.parametrize(("resolution", "slots"), [(1024, 18), (512, 16), (256, 14), (8, 4)])
def test_style_slots(resolution, slots):
    assert models.build(full(resolution)).spec.num_ws == slots


def test_channels_double_towards_the_base_up_to_the_maximum():
    config = full(1024)
    assert stylegan2.block_resolutions(config) == [4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert [stylegan2.channels(config, r) for r in (4, 64, 128, 1024)] == [512, 512, 256, 32]


def lowp_blocks(config):
    return [r for r in stylegan2.block_resolutions(config) if stylegan2.lowp_dtype(config, r) == jnp.bfloat16]


def test_low_precision_takes_the_highest_blocks_and_never_the_first():
    assert lowp_blocks(full(1024, compute_dtype="bfloat16", num_lowp_res=4)) == [128, 256, 512, 1024]
    assert lowp_blocks(full(16, compute_dtype="bfloat16", num_lowp_res=9)) == [8, 16]
    assert lowp_blocks(full(16, compute_dtype="bfloat16", num_lowp_res=0)) == []
    assert lowp_blocks(full(16, compute_dtype="float32", num_lowp_res=4)) == []
    assert lowp_blocks(full(16, compute_dtype="auto", num_lowp_res=4)) == []  # the tests run on CPU
    wide = variants.make_config("stylegan2", base_size=(5, 5), resolution=20, compute_dtype="bfloat16", num_lowp_res=1)
    assert lowp_blocks(wide) == [16]  # nominal resolution of the third block


def test_blocks_run_in_their_dtype():
    config = variants.make_config("stylegan2", resolution=16, compute_dtype="bfloat16", num_lowp_res=2)
    generator = stylegan2.Generator(config)

    def features(key):
        slots = stylegan2.num_ws(config)
        variables = generator.init(key, jnp.zeros((1, config.z_dim)), jnp.zeros((1, 0)), slots)
        ws = jnp.zeros((1, slots, config.w_dim))
        return generator.apply(variables, ws, method="synthesize", mutable=["intermediates"])

    image, seen = jax.eval_shape(features, jax.random.key(0))
    dtypes = {name: x[0].dtype.name for name, x in seen["intermediates"]["synthesis"].items()}
    assert dtypes == {"x4": "float32", "x8": "bfloat16", "x16": "bfloat16"}
    assert image.dtype == jnp.float32


WS = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)
AVERAGE = np.array([1.0, -2.0, 0.5, 3.0], np.float32)


def truncate(psi, cutoff=None, average=AVERAGE):
    centre = jnp.broadcast_to(jnp.asarray(average), (len(WS), AVERAGE.size))
    return np.asarray(models.truncate(jnp.asarray(WS), centre, psi, cutoff))


def test_truncation_psi_moves_between_the_average_and_the_styles():
    np.testing.assert_allclose(truncate(1.0), WS, atol=1e-6)
    np.testing.assert_array_equal(truncate(0.0), np.broadcast_to(AVERAGE, WS.shape))
    np.testing.assert_allclose(truncate(0.7), AVERAGE + 0.7 * (WS - AVERAGE), atol=1e-6)
    np.testing.assert_allclose(truncate(-1.0), 2 * AVERAGE - WS, atol=1e-6)


def test_truncation_cutoff_counts_slots_from_the_first():
    np.testing.assert_array_equal(truncate(0.0, 0), WS)
    np.testing.assert_array_equal(truncate(0.0, 2)[:, 2:], WS[:, 2:])
    np.testing.assert_array_equal(truncate(0.0, 2)[:, :2], np.broadcast_to(AVERAGE, (3, 2, 4)))
    for cutoff in (None, 5, 99):
        np.testing.assert_array_equal(truncate(0.3, cutoff), truncate(0.3))


def test_truncation_takes_an_average_per_label_and_a_traced_psi():
    averages = np.stack([AVERAGE, 2 * AVERAGE, -AVERAGE])
    np.testing.assert_array_equal(truncate(0.0, None, averages), np.repeat(averages[:, None], 5, axis=1))
    traced = jax.jit(lambda psi: models.truncate(jnp.asarray(WS), jnp.asarray(averages), psi, 3))(0.4)
    np.testing.assert_allclose(traced, truncate(0.4, 3, averages), atol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (5, 4), (1, 4)])
def test_truncation_of_anything_but_an_average_per_row_is_an_error(shape):
    with pytest.raises(ValueError, match=r"centre has shape .*needs one mean style per row of ws \(3, 5, 4\)"):
        models.truncate(jnp.asarray(WS), jnp.zeros(shape), 0.5)
