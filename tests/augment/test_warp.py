"""The geometric resampling against NumPy and SciPy, its transpose, its derivatives, its blocks and its devices."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from stylegan_jax.augment import axis, spread, warp as warps
from stylegan_jax.augment.warp import warp
from stylegan_jax.base import backend

from . import references
from .references import affine

CASES = {  # (h, w), matrices: what each sample needs of the reflection, the zeros and the margins
    "turned": ((9, 12), [affine(0.4), affine(-2.0, 1.2, 0.8, 1.3, -0.7)]),
    "enlarged": ((16, 11), [affine(0.1, 0.3, 0.4), affine(0, 0.5, 0.5)]),  # no margin at all
    "far away": ((8, 10), [affine(0.3, 1, 1, 40.0, 0), affine(0, 1, 1, 0, -13.0)]),  # black beyond one reflection
    "shrunk": ((7, 7), [affine(0.7, 3.0, 2.0), affine(np.pi / 2)]),  # seen beyond the margins on all sides
    "tiny": ((2, 3), [affine(0.5), affine(0, 2.0, 1.0, 0.3, 0.2)]),
    "mirrored": ((10, 8), [affine(0, -1, 1), affine(np.pi)]),
}


def images_of(name, normal):
    (h, w), matrices = CASES[name]
    return normal((len(matrices), h, w, 2)), np.array(matrices)


@functools.cache
def compiled(lowering=None, transpose=False):
    run = functools.partial(warp, lowering=lowering)
    if transpose:
        return jax.jit(lambda x, g, y: jax.vjp(lambda v: run(v, g), x)[1](y)[0])
    return jax.jit(run)


@pytest.mark.parametrize("name", CASES)
def test_the_image_is_that_of_padding_filtering_and_interpolation(name, normal):
    x, g = images_of(name, normal)
    np.testing.assert_allclose(compiled()(x, g), references.warp(x, g), atol=1e-12)


@pytest.mark.parametrize("name", ["far away", "tiny"])
def test_lowerings_agree_forward_and_back(name, normal):
    x, g = images_of(name, normal)
    np.testing.assert_allclose(compiled("filter")(x, g), references.warp(x, g), atol=1e-12)
    back = [compiled(lowering, True)(x, g, x) for lowering in warps.LOWERINGS]
    np.testing.assert_allclose(back[0], back[1], atol=1e-12)


def transpose_for_tpu(x, g, lowering):
    """Return the gradient by an image as traced for TPU, and the program's text."""
    with backend.tracing_for("tpu"):
        run = jax.jit(lambda x, g, y: jax.vjp(lambda v: warp(v, g, lowering=lowering), x)[1](y)[0])
        return run(x, g, x), run.lower(x, g, x).as_text()


@pytest.mark.parametrize("lowering", warps.LOWERINGS)
def test_the_transpose_for_tpu_is_that_of_the_cpu(normal, monkeypatch, lowering):
    x, g = images_of("turned", normal)
    stored = axis.up_length(x.shape[1]) + axis.up_length(x.shape[2])
    monkeypatch.setitem(warps.SCRATCH, "other", 50 * 2 * stored * 8)  # pieces of 50 positions, and a rest
    back, text = transpose_for_tpu(x, g, lowering)
    np.testing.assert_allclose(back, compiled(lowering, True)(x, g, x), atol=1e-12)
    assert "scatter" not in text


@pytest.mark.parametrize("lowering", warps.LOWERINGS)
@pytest.mark.parametrize("box", [16, 5])
@pytest.mark.parametrize("name", CASES)
def test_the_transpose_by_tiles_is_that_of_the_cpu(name, box, lowering, normal, monkeypatch):
    """Boxes of 16 positions contain a tile of 4 x 4 values; those of 5 only that of an enlarged image."""
    x, g = images_of(name, normal)
    for setting, value in {"TILED_SIZE": 1, "TILE": 4, "BOX": min(box, 6 * min(x.shape[1:3]) - 2)}.items():
        monkeypatch.setattr(spread, setting, value)
    fits = []
    tiles = spread.tiles
    monkeypatch.setattr(spread, "tiles", lambda *a: (out := tiles(*a), jax.debug.callback(fits.append, out[1]))[0])
    back, _ = transpose_for_tpu(x, g, lowering)
    np.testing.assert_allclose(back, compiled(lowering, True)(x, g, x), atol=1e-12)
    jax.effects_barrier()
    assert all(fits) == (box == 16 or name == "enlarged")


def random_maps(draw, n):
    """Return float32[n, 3, 3]: any maps, and blits by whole pixels and quarter turns, whose positions are whole."""
    turn, blit = draw.uniform(-np.pi, np.pi, n), np.arange(n) % 2 == 0
    turn = np.where(blit, np.round(turn / (np.pi / 2)) * (np.pi / 2), turn)
    scale = np.where(blit, 1, np.exp2(draw.normal(0, 0.5, (2, n))))
    shift = draw.normal(0, 6, (2, n))
    shift = np.where(blit, np.round(shift), shift)
    return np.stack([affine(*each) for each in zip(turn, *scale, *shift, strict=True)]).astype(np.float32)


def check_against_float64(sizes, count, options):
    """Compare images and gradients in float32 with float64; count maps of each size, in batches of 25."""
    draw = np.random.default_rng(0)

    def run(x, g, y):
        out, back = jax.vjp(lambda v: warp(v, g), x)
        return out, back(y)[0]

    for size in sizes:
        compiled = {}
        for start in range(0, count, 25):
            x, y = (draw.uniform(-1, 1, (25, *size, 1)).astype(np.float32) for _ in "xy")
            given = x, random_maps(draw, 25), y
            exact = tuple(np.float64(a) for a in given)
            if start == 0:
                in_float64 = jax.jit(run).lower(*exact).compile()
                with jax.enable_x64(False):  # as in training
                    lowered = jax.jit(run).lower(*given)
                    compiled = {str(o): lowered.compile(compiler_options=o) for o in options}
            for name, call in compiled.items():
                with jax.enable_x64(False):
                    found = call(*given)
                for got, want in zip(found, in_float64(*exact), strict=True):
                    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0, err_msg=f"{size} {name}")


def options_of(level, emitters):
    names = ("xla_backend_optimization_level", "xla_cpu_use_fusion_emitters", "xla_cpu_parallel_codegen_split_count")
    return dict(zip(names, (level, emitters, 32), strict=True))  # 32 is the default, which the tests' flags change


def test_no_sample_is_taken_from_the_pixel_beside_it():
    check_against_float64([(128, 128)], 50, [options_of(0, False), options_of(3, True)])


@pytest.mark.nightly
def test_no_sample_of_2000_maps_is_taken_from_the_pixel_beside_it():
    options = [options_of(level, emitters) for level in (0, 3) for emitters in (True, False)]
    check_against_float64([(16, 16), (33, 64), (32, 24), (128, 128)], 500, options)


def test_the_gradient_is_the_transpose(normal):
    x, g = images_of("turned", normal)
    y = normal(x.shape)
    left = np.vdot(compiled()(x, g), y)
    np.testing.assert_allclose(left, np.vdot(x, compiled(None, True)(x, g, y)), rtol=1e-12)


def test_first_and_second_derivatives_by_finite_differences(normal):
    g = jnp.asarray([affine(0.4, 1.1, 0.9, 0.5, 0.2)])
    check_grads(jax.jit(lambda x: jnp.sum(jnp.sin(warp(x, g)))), (normal((1, 3, 4, 1)),), order=2, modes=["rev"])


def test_the_matrices_get_no_gradient(normal):
    x, g = images_of("tiny", normal)
    assert not np.any(jax.jit(jax.grad(lambda g: jnp.sum(warp(x, g) ** 2)))(g))


def test_the_low_pass_filter_is_an_orthonormal_wavelet():
    f = references.TAPS * np.sqrt(2)
    for shift in range(0, 12, 2):
        np.testing.assert_allclose(np.dot(f[shift:], f[: 12 - shift]), float(shift == 0), atol=1e-6)
    np.testing.assert_allclose(np.sum(np.arange(12) ** 2 * (-1.0) ** np.arange(12) * f), 0, atol=1e-4)  # smooth


def test_margins_follow_the_whole_batch_and_stop_at_one_image():
    g = jnp.asarray([affine(), affine(0, 1, 1, 3.5, 0), affine(0, 1, 1, 0, -100.0)])
    assert [int(m) for m in warps.margins(g, 20, 30)] == [6, 19, 10, 6]
    assert [int(m) for m in warps.margins(g[:1] * 0.1, 20, 30)] == [0, 0, 0, 0]


def test_blocks_do_not_change_the_result(normal, monkeypatch):
    x, g = normal((4, 6, 5, 3)), np.array([affine(a) for a in range(4)])
    results = []
    for scratch in (0, 2**15, 2**20):
        monkeypatch.setattr(warps, "SCRATCH", {"cpu": scratch})
        results.append((warps.block_size(4, 6, 5, 3, 8), jax.jit(lambda x, g: warp(x, g))(x, g)))
    assert [size for size, _ in results] == [(1, 1), (1, 3), (4, 3)]
    np.testing.assert_allclose(results[1][1], results[0][1], atol=1e-14)
    np.testing.assert_allclose(results[2][1], results[0][1], atol=1e-14)


def test_a_block_divides_the_samples_and_is_no_larger_than_the_images():
    plane = axis.up_length(64) ** 2
    for n in (1, 6, 8, 100, 1024):
        b, k = warps.block_size(n, 64, 64, 3, 4)
        assert n % b == 0 and b * k * plane <= max(n * 64 * 64 * 3, plane)


@pytest.mark.parametrize(("platform", "tiled_size"), [("cpu", 1), ("tpu", 128), ("tpu", 1)])
def test_eight_devices_do_their_own_images_and_agree_with_one(platform, tiled_size, normal, monkeypatch):
    for setting, value in {"TILED_SIZE": tiled_size, "TILE": 4, "BOX": 16}.items():
        monkeypatch.setattr(spread, setting, value)
    x, g = normal((16, 6, 5, 3)), np.array([affine(a, 1, 1, a) for a in range(16)])
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    both = lambda x, g, **kw: jax.vjp(lambda v: warp(v, g, **kw), x)
    whole = jax.jit(lambda x, g: (lambda y, pull: (y, pull(y)[0]))(*both(x, g)))
    split = jax.jit(lambda x, g: (lambda y, pull: (y, pull(y)[0]))(*both(x, g, shards=8)), in_shardings=sharding)
    with backend.tracing_for(platform):
        program = split.lower(x, g).compile()
    text = program.as_text()
    assert "all-reduce" in text  # of the margins
    assert not any(word in text for word in ("all-gather", "all-to-all", "collective-permute"))
    for got, want in zip(program(*jax.device_put((x, g), sharding)), whole(x, g), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-13)


def test_errors_name_the_value():
    g = jnp.eye(3)[None]
    with pytest.raises(ValueError, match="images are 1x4; reflection needs at least 2 pixels"):
        warp(jnp.zeros((1, 1, 4, 3)), g)
    with pytest.raises(ValueError, match="3 images cannot be split over 2 shards"):
        warp(jnp.zeros((3, 4, 4, 3)), jnp.tile(g, (3, 1, 1)), shards=2)
    with pytest.raises(ValueError, match="lowering 'fft'; known: matrix, filter"):
        warp(jnp.zeros((1, 4, 4, 3)), g, lowering="fft")
