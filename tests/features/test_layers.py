"""Pooling, resizing and the banded convolution against formulas and the library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.base.backend import tracing_for
from stylegan_jax.features import convolutions, layers
from stylegan_jax.ops.conv import conv2d


def random(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "band_bytes"),
    [
        ((9, 8), (3, 3), 1, ((1, 1), (1, 1)), 1),
        ((9, 8), (3, 3), 2, ((0, 0), (0, 0)), 4000),
        ((11, 7), (5, 1), 3, ((2, 1), (0, 0)), 1 << 20),
    ],
)
def test_bands_equal_the_library(size, kernel, stride, padding, band_bytes, monkeypatch):
    monkeypatch.setattr(convolutions, "BAND_BYTES", band_bytes)
    x, w = random(2, *size, 3), random(*kernel, 3, 4)

    def value_and_gradients(conv):
        value, back = jax.vjp(conv, x, w)
        return value, *back(value)

    library = lambda x, w: conv2d(x, w, stride=stride, padding=padding, lowering="library")
    banded = lambda x, w: convolutions.banded(x, w, stride, padding)
    for one, other in zip(*(jax.jit(value_and_gradients, static_argnums=0)(f) for f in (banded, library)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("size", [(2, 2), (1, 5), (4, 4)])
def test_one_product_equals_the_library(size):
    x, w, pads = random(2, *size, 3), random(3, 3, 3, 4), ((1, 1), (1, 1))
    assert convolutions.conv(x, w, 1, pads, 1).shape == (2, *size, 4)
    loss = lambda conv: jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.sin(conv(x)))))
    ours = loss(lambda x: convolutions.at_once(x, w, pads))(x)
    library = loss(lambda x: conv2d(x, w, padding=pads, lowering="library"))(x)
    for one, other in zip(ours, library, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 3), 1, ((1, 1), (1, 1))), ((5, 3), 2, ((1, 2), (0, 1))), ((2, 1), 3, ((0, 0), (0, 0)))],
)
def test_a_filter_per_channel_equals_the_library(kernel, stride, padding):
    x, w = random(2, 9, 8, 6), random(*kernel, 1, 6)

    def value_and_gradients(conv):
        value, back = jax.vjp(conv, x, w)
        return value, *back(jnp.sin(value))

    library = lambda x, w: conv2d(x, w, stride=stride, padding=padding, groups=6, lowering="library")
    ours = value_and_gradients(lambda x, w: convolutions.by_channel(x, w, stride, padding))
    for one, other in zip(ours, value_and_gradients(library), strict=True):
        np.testing.assert_allclose(one, other, atol=3e-5)


def test_average_pool_leaves_the_padding_out():
    x = random(1, 4, 5, 2)
    expected = np.zeros(x.shape)
    for i in range(4):
        for j in range(5):
            expected[0, i, j] = np.asarray(x)[0, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].mean((0, 1))
    np.testing.assert_allclose(layers.average_pool(x), expected, atol=1e-6)
    np.testing.assert_allclose(layers.average_pool(jnp.ones((1, 1, 3, 1))), np.ones((1, 1, 3, 1)), atol=1e-6)


@pytest.mark.parametrize("size", [(3, 10), (7, 4), (5, 6)])
def test_resize_takes_sample_i_at_i_times_the_ratio(size):
    x = np.asarray(random(1, 5, 6, 2))
    rows, columns = (np.arange(new) * old / new for old, new in zip((5, 6), size, strict=True))
    r0, c0 = rows.astype(int), columns.astype(int)
    r1, c1 = np.minimum(r0 + 1, 4), np.minimum(c0 + 1, 5)
    a, b = (rows - r0)[:, None, None], (columns - c0)[:, None]
    top = x[0][r0][:, c0] * (1 - b) + x[0][r0][:, c1] * b
    bottom = x[0][r1][:, c0] * (1 - b) + x[0][r1][:, c1] * b
    np.testing.assert_allclose(layers.resize(jnp.asarray(x), size)[0], top * (1 - a) + bottom * a, atol=1e-5)


def test_same_padding_is_tensorflows():
    assert layers.same((224, 7), 3, 2) == ((0, 1), (1, 1))
    assert layers.same((10, 10), 5, 1) == ((2, 2), (2, 2))
    assert layers.same((4, 4), 1, 2) == ((0, 0), (0, 0))


@pytest.mark.parametrize("size", [(4, 5), (9, 8), (3, 1)])
def test_half_the_products_equal_the_library(size):
    x, w, pads = random(2, *size, 6), random(3, 3, 6, 5), ((1, 1), (1, 1))

    def value_and_gradients(conv):
        value, back = jax.vjp(conv, x, w)
        return value, *back(jnp.sin(value))

    library = lambda x, w: conv2d(x, w, padding=pads, lowering="library")
    ours, theirs = (jax.jit(value_and_gradients, static_argnums=0)(f) for f in (convolutions.by_four_rows, library))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * float(jnp.abs(other).max()))


@pytest.mark.parametrize(
    ("shape", "padding", "less"),
    [
        ((2, 50, 50, 128), 1, True),
        ((1, 40, 40, 128), 1, False),
        ((1, 64, 64, 96), 1, False),
        ((4, 16, 16, 512), 1, False),
        ((5, 16, 16, 512), 1, True),
        ((2, 50, 50, 128), 0, False),
    ],
)
def test_large_filters_on_cpu_take_half_the_products(shape, padding, less):
    """Images and channels decide; what a compiler would do with it is counted in the traced program."""
    x, w = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct((3, 3, shape[-1], 128), jnp.float32)
    pads = ((padding, padding), (padding, padding))
    traced = lambda: str(jax.make_jaxpr(lambda x, w: convolutions.conv(x, w, 1, pads, 1))(x, w))
    with tracing_for("cpu"):
        assert traced().count("conv_general_dilated[") == (6 if less else 1)
    with tracing_for("tpu"):
        assert traced().count("conv_general_dilated[") == 1


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 1, 1)])
def test_pools_are_the_same_on_every_platform(size, stride, padding):
    x = random(2, 9, 8, 3)
    pool = lambda x: layers.max_pool(x, size, stride, ((padding, padding), (padding, padding)))
    with tracing_for("tpu"):
        theirs = jax.jit(pool).lower(x).as_text()
        expected = pool(x)
    with tracing_for("cpu"):
        ours = jax.jit(pool).lower(x).as_text()
        np.testing.assert_array_equal(pool(x), expected)
    assert "reduce_window" in theirs
    assert "reduce_window" not in ours
