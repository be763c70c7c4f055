"""FIR resampling against zero-stuffing and SciPy's convolution, and its adjoint."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.base import backend
from stylegan_jax.ops import fir

from . import references

ASYMMETRIC = np.array([1.0, -2.0, 3.5, 0.5, 2.0])
PLANE = np.arange(12.0).reshape(3, 4) - 4.0  # not separable
CASES = {
    "identity": (None, {}),
    "plain": (ASYMMETRIC, {}),
    "padded": (ASYMMETRIC, {"padding": (3, 1, 0, 2)}),
    "flipped": (ASYMMETRIC, {"padding": (2, 2, 2, 2), "flip_filter": True, "gain": 0.3}),
    "up2": (ASYMMETRIC, {"up": (2, 2), "padding": (2, 1, 3, 0), "gain": 4.0}),
    "up3x1": (ASYMMETRIC, {"up": (3, 1), "padding": (1, 1, 1, 1)}),
    "down2": (ASYMMETRIC, {"down": (2, 2), "padding": (1, 2, 1, 2)}),
    "down1x3": (ASYMMETRIC, {"down": (1, 3)}),
    "up3down2": (ASYMMETRIC, {"up": (3, 3), "down": (2, 2), "padding": (4, 3, 2, 5)}),
    "cropped": (ASYMMETRIC, {"up": (2, 2), "padding": (-2, 1, -1, -3)}),
    "plane": (PLANE, {"up": (2, 3), "down": (3, 2), "padding": (2, 1, 3, 4), "gain": 2.0}),
    "plane_flipped": (PLANE, {"padding": (-1, 2, 1, 1), "flip_filter": True}),
}


def run(x, f, lowering, **kwargs):
    return jax.jit(lambda v: fir.upfirdn2d(v, f, lowering=lowering, **kwargs))(x)


@pytest.mark.parametrize("lowering", fir.LOWERINGS)
@pytest.mark.parametrize("name", CASES)
def test_upfirdn2d_is_stuff_pad_filter_decimate(name, lowering, draw):
    f, kwargs = CASES[name]
    x = draw((2, 9, 7, 3))
    want = references.upfirdn2d(x, f, **kwargs)
    np.testing.assert_allclose(run(x, f, lowering, **kwargs), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lowering", fir.LOWERINGS)
@pytest.mark.parametrize("name", ["up2", "up3down2", "plane"])
def test_gradient_is_the_adjoint(name, lowering, draw):
    f, kwargs = CASES[name]
    x = draw((1, 9, 7, 2))
    y = references.upfirdn2d(x, f, **kwargs)
    g = draw(y.shape)
    back = jax.jit(jax.grad(lambda v: jnp.vdot(fir.upfirdn2d(v, f, lowering=lowering, **kwargs), g)))(x)
    other = draw(x.shape)  # <A u, g> = <u, A' g> for any u
    left = np.vdot(references.upfirdn2d(other, f, **kwargs), g)
    np.testing.assert_allclose(np.vdot(other, back), left, rtol=1e-11)


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (0.1, 0.7, 1.0, 0.3)])
@pytest.mark.parametrize("scale", [{"up": (2, 2)}, {"down": (2, 2)}, {}])
def test_banded_products_keep_bfloat16(taps, scale, draw):
    """Two roundings to 8 bits, and taps that bfloat16 does not have count in full."""
    scale |= {"padding": (2, 1, 2, 1)}
    f, x = fir.setup_filter(taps), jnp.asarray(draw((1, 8, 9, 2)), jnp.bfloat16)
    want = references.upfirdn2d(np.asarray(x, np.float64), np.asarray(f, np.float64), **scale)
    got = np.asarray(run(x, f, "banded", **scale), np.float64)
    largest = references.upfirdn2d(np.abs(np.asarray(x, np.float64)), np.abs(np.asarray(f, np.float64)), **scale)
    assert np.abs(got - want).max() <= 2.5 * 2**-8 * largest.max()
    assert np.sqrt(np.mean((got - want) ** 2)) < 1.5 * 2**-8 * np.sqrt(np.mean(want**2))


def test_a_separable_filter_is_two_products_and_another_a_convolution():
    def count(f, dtype=jnp.float32, up=2, operation="dot_general"):
        filtered = lambda x: fir.upfirdn2d(x, f, up=up, lowering="banded")
        return str(jax.make_jaxpr(filtered)(jnp.zeros((1, 8, 8, 1), dtype))).count(f"{operation}[")

    exact, others = fir.setup_filter([1, 3, 3, 1]), fir.setup_filter([1, 4, 2, 1], normalize=False)
    assert count(exact) == count(others) == count(exact, jnp.bfloat16) == 2
    inseparable = PLANE.astype(np.float32)
    assert count(inseparable) == 0 and count(inseparable, operation="conv_general_dilated") == 1
    assert count(others / np.float32(3), jnp.bfloat16) > 2  # of the taps in bfloat16, and of what they lack
    assert count(exact, up=1) == 1  # the rows are shifted


def test_the_lowering_of_each_platform():
    image, f = jnp.zeros((1, 8, 8, 2)), fir.setup_filter([1, 3, 3, 1])

    def traced():  # a new function: nothing is taken from a cache
        return str(jax.make_jaxpr(lambda x: fir.upsample2d(x, f))(image))

    assert "dot_general" not in traced() and "conv_general_dilated" not in traced()
    with backend.tracing_for("tpu"):
        assert traced().count("dot_general") == 2
        with backend.rows_are_split(True):
            assert "dot_general" not in traced()
    with backend.tracing_for("onnx"):
        assert "conv_general_dilated" in traced()


def test_a_traced_filter_gives_the_same(draw):
    x = draw((1, 6, 5, 1))
    traced = jax.jit(lambda v, f: fir.upfirdn2d(v, f, up=2, padding=2))(x, ASYMMETRIC)
    np.testing.assert_allclose(traced, references.upfirdn2d(x, ASYMMETRIC, (2, 2), padding=(2, 2, 2, 2)), atol=1e-12)


def test_integer_and_pair_arguments_mean_both_axes_and_x_then_y():
    assert fir.pair(2) == (2, 2)
    assert fir.pair((2, 3)) == (2, 3)
    assert fir.padding4(1) == (1, 1, 1, 1)
    assert fir.padding4((1, 2)) == (1, 1, 2, 2)
    assert fir.filter_size(PLANE) == (4, 3)
    assert fir.filter_size(None) == (1, 1)


def test_upsampling_with_1331_is_linear_interpolation(draw):
    x = draw((1, 5, 4, 2))
    f = fir.setup_filter([1, 3, 3, 1])
    y = jax.jit(lambda v: fir.upsample2d(v, f))(x)
    p = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = np.stack([0.25 * p[:, :-2] + 0.75 * p[:, 1:-1], 0.75 * p[:, 1:-1] + 0.25 * p[:, 2:]], axis=2)
    rows = rows.reshape(1, 10, 6, 2)
    want = np.stack(
        [0.25 * rows[:, :, :-2] + 0.75 * rows[:, :, 1:-1], 0.75 * rows[:, :, 1:-1] + 0.25 * rows[:, :, 2:]], axis=3
    )
    np.testing.assert_allclose(y, want.reshape(1, 10, 8, 2), atol=1e-12)


def test_downsampling_with_1331_weighs_the_four_nearest(draw):
    x = draw((1, 6, 8, 1))
    y = jax.jit(lambda v: fir.downsample2d(v, fir.setup_filter([1, 3, 3, 1])))(x)
    p = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = (p[:, 0:-3:2] + 3 * p[:, 1:-2:2] + 3 * p[:, 2:-1:2] + p[:, 3::2]) / 8
    want = (rows[:, :, 0:-3:2] + 3 * rows[:, :, 1:-2:2] + 3 * rows[:, :, 2:-1:2] + rows[:, :, 3::2]) / 8
    np.testing.assert_allclose(y, want, atol=1e-12)


def test_filter2d_keeps_the_size_and_the_level_inside():
    y = jax.jit(lambda v: fir.filter2d(v, fir.setup_filter([1, 2, 4, 2, 1])))(np.ones((1, 9, 8, 1)))
    assert y.shape == (1, 9, 8, 1)
    np.testing.assert_allclose(y[:, 2:-2, 2:-2], 1.0, atol=1e-6)  # the taps are float32
    assert float(y[0, 0, 0, 0]) < 0.7


def test_setup_filter():
    np.testing.assert_allclose(fir.setup_filter([1, 3]), np.outer([1, 3], [1, 3]) / 16)
    np.testing.assert_allclose(fir.setup_filter([1, 3], separable=True), [0.25, 0.75])
    np.testing.assert_allclose(fir.setup_filter([1, 3], separable=True, gain=9.0), [0.75, 2.25])
    np.testing.assert_allclose(fir.setup_filter([1, 3], normalize=False, flip_filter=True), [[9, 3], [3, 1]])
    assert fir.setup_filter(np.arange(8.0)).shape == (8,)
    assert fir.setup_filter(None).tolist() == [[1.0]]
    assert fir.setup_filter([1, 3]).dtype == np.float32


def test_errors_name_the_shapes():
    with pytest.raises(ValueError, match=r"axis 2 has 3 samples .*; the filter has 5"):
        fir.upfirdn2d(jnp.zeros((1, 8, 3, 1)), ASYMMETRIC)
    with pytest.raises(ValueError, match=r"shape \(1, 1, 1\)"):
        fir.setup_filter(np.ones((1, 1, 1)))
    with pytest.raises(ValueError, match="not empty"):
        fir.setup_filter([])
