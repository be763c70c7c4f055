"""Convolution and its lowerings: values against NumPy, both orders of derivatives against the library's rules."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.ops import conv, fir, grouped, short

from . import references

SHAPES = {  # (kernel, padding, stride)
    "1x1": ((1, 1), ((0, 0), (0, 0)), 1),
    "1x1_padded": ((1, 1), ((2, 0), (1, 1)), 1),
    "1x1_strided": ((1, 1), ((0, 0), (0, 0)), 2),
    "3x3": ((3, 3), ((1, 1), (1, 1)), 1),
    "5x3_uneven": ((5, 3), ((0, 3), (2, 1)), 1),
    "2x4_cropped": ((2, 4), ((-1, 0), (3, -2)), 1),
    "3x3_strided": ((3, 3), ((0, 0), (0, 0)), 2),
    "2x3_strided_uneven": ((2, 3), ((1, 2), (0, 1)), 3),
    "4x3_strided_cropped": ((4, 3), ((-1, 1), (2, -1)), 2),
}


def padded(x, padding):
    (y0, y1), (x0, x1) = padding
    return references.stuff_and_pad(x, (1, 1), (x0, x1, y0, y1))


@pytest.mark.parametrize("lowering", conv.LOWERINGS)
@pytest.mark.parametrize("name", SHAPES)
def test_conv2d_correlates(name, lowering, draw):
    kernel, padding, stride = SHAPES[name]
    x, w = draw((2, 7, 6, 3)), draw((*kernel, 3, 4))
    got = jax.jit(functools.partial(conv.conv2d, padding=padding, stride=stride, lowering=lowering))(x, w)
    want = references.correlate(padded(x, padding), w)[:, ::stride, ::stride]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_groups_see_their_own_channels(groups, draw):
    x, w = draw((2, 5, 6, 4)), draw((3, 3, 4 // groups, 6))
    got = jax.jit(functools.partial(conv.conv2d, groups=groups))(x, w)
    parts = zip(np.split(x, groups, axis=3), np.split(w, groups, axis=3), strict=True)
    np.testing.assert_allclose(got, np.concatenate([references.correlate(a, b) for a, b in parts], axis=3), atol=1e-12)


@functools.partial(jax.jit, static_argnums=2)
def derivatives(x, w, op):
    """Return first derivatives of a nonlinear sum, and the gradient of their squared norms."""

    def norm(x, w):
        value = lambda x, w: jnp.sum(jnp.sin(op(x, w)))
        first = jax.grad(value, argnums=(0, 1))(x, w)
        return sum(jnp.sum(g**2) for g in first), first

    return jax.grad(norm, argnums=(0, 1), has_aux=True)(x, w)


@pytest.mark.parametrize("name", [n for n in SHAPES if n != "1x1"])  # which is one product in both
def test_lowerings_agree_in_first_and_second_derivatives(name, draw):
    kernel, padding, stride = SHAPES[name]
    x, w = draw((2, 7, 6, 3)), draw((*kernel, 3, 4))
    op = functools.partial(conv.conv2d, padding=padding, stride=stride)
    compare_lowerings(x, w, op)


@pytest.mark.parametrize("channels", [(8, 8), (4, 8), (8, 12), (64, 64)])  # 4 groups; of 64 channels joined by two
@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 3), (2, 1)), ((2, -1), (0, 0))])
def test_lowerings_agree_in_groups(channels, padding, draw):
    x, w = draw((2, 5, 6, channels[0])), draw((3, 3, channels[0] // 4, channels[1])) * channels[0] ** -0.5
    compare_lowerings(x, w, functools.partial(conv.conv2d, padding=padding, groups=4))


def test_groups_are_joined_into_few_wide_blocks():
    assert [grouped.join(16 * n, n) for n in (1, 2, 4, 8, 12, 48, 96)] == [1, 2, 2, 2, 2, 6, 12]
    assert [grouped.join(64 * n, n) for n in (2, 8, 96)] == [1, 1, 12]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 4)])
def test_lowerings_of_the_transposed_convolution_agree_in_both_derivatives(kernel, stride, draw):
    compare_lowerings(
        draw((2, 4, 3, 3)), draw((*kernel, 3, 4)), functools.partial(conv.conv2d_transposed, stride=stride)
    )


def compare_lowerings(x, w, op):
    library, products = (derivatives(x, w, functools.partial(op, lowering=name)) for name in ("library", "products"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), products, library)


SHORT = {  # (image, kernel, padding)
    "same": ((2, 7, 8, 3), (3, 3, 3, 4), ((1, 1), (1, 1))),
    "odd_columns": ((2, 5, 9, 3), (3, 3, 3, 2), ((1, 1), (1, 1))),
    "five_rows_uneven": ((1, 5, 10, 2), (5, 3, 2, 3), ((0, 3), (2, 1))),
    "one_row_cropped": ((2, 4, 9, 1), (1, 3, 1, 2), ((2, -1), (-1, 0))),
}


@pytest.mark.parametrize("name", SHORT)
def test_short_filters_agree_in_values_and_both_derivatives(name, draw, monkeypatch):
    image, kernel, padding = SHORT[name]
    x, w = draw(image), draw(kernel)
    op = functools.partial(conv.conv2d, padding=padding)
    monkeypatch.setattr(short, "pays", lambda columns, kernel, dtype: kernel[1] == short.TAPS)
    text = str(jax.make_jaxpr(lambda x, w: op(x, w, lowering="short"))(x, w))
    assert "name=correlate" in text  # not the library's
    np.testing.assert_allclose(op(x, w, lowering="short"), references.correlate(padded(x, padding), w), atol=1e-12)
    got, want = (derivatives(x, w, functools.partial(op, lowering=name)) for name in ("short", "library"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), got, want)


def test_short_filters_in_float32_where_they_pay(draw):
    """Errors relative to the largest value; those of the sum of products are 1e-6 here."""
    x, w = draw((2, 9, 11, 64)), draw((3, 3, 64, 64)) / 24
    op = functools.partial(conv.conv2d, padding=((1, 1), (1, 1)))
    got = derivatives(x.astype(np.float32), w.astype(np.float32), functools.partial(op, lowering="short"))
    want = derivatives(x, w, functools.partial(op, lowering="library"))
    errors = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / np.abs(b).max()), got, want)
    assert 0 < max(jax.tree.leaves(errors)) < 2e-5


def test_short_filters_are_used_only_where_they_pay():
    wide = (3, 3, 64, 64)
    assert short.pays(8, wide, jnp.dtype("float32"))
    assert not short.pays(7, wide, jnp.dtype("float32"))
    for dtype in ("float64", "bfloat16", "float16"):
        assert not short.pays(64, wide, jnp.dtype(dtype))
    for kernel in ((3, 3, 32, 64), (3, 3, 64, 3), (3, 1, 64, 64), (2, 2, 64, 64)):
        assert not short.pays(64, kernel, jnp.dtype("float32"))


def test_third_derivatives_of_the_products_lowering(draw):
    x, w, pads = draw((1, 4, 4, 2)), draw((3, 3, 2, 2)), ((1, 2), (1, 1))

    @functools.partial(jax.jit, static_argnums=0)
    def third(lowering):
        f = lambda w: jnp.sum(jnp.sin(conv.conv2d(x, w, padding=pads, stride=2, lowering=lowering)))
        second = lambda w: jnp.sum(jax.grad(lambda v: jnp.sum(jax.grad(f)(v) ** 2))(w) ** 2)
        return jax.grad(second)(w)

    np.testing.assert_allclose(third("products"), third("library"), rtol=1e-9, atol=1e-9)


def test_unknown_lowering_lists_the_known_ones():
    with pytest.raises(ValueError, match="'fast'; known: library, products, short"):
        conv.conv2d(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1)), lowering="fast")


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("lowering", conv.LOWERINGS)
def test_transposed_scatters_every_sample(lowering, kernel, stride, draw):
    w = draw((kernel, kernel, 2, 3))
    for shape in ((2, 3, 4, 2), (1, 5, 1, 2)):
        x = draw(shape)
        got = jax.jit(functools.partial(conv.conv2d_transposed, stride=stride, lowering=lowering))(x, w)
        np.testing.assert_allclose(got, references.scatter(x, w, stride), rtol=1e-12, atol=1e-12)


def test_strided_and_transposed_are_adjoint(draw):
    x, w = draw((1, 7, 9, 2)), draw((3, 3, 2, 4))
    y, pull = jax.vjp(jax.jit(lambda v: conv.conv2d(v, w, stride=2)), x)
    g = draw(y.shape)
    back = conv.conv2d_transposed(jnp.asarray(g), jnp.asarray(w.swapaxes(2, 3)), 2)
    np.testing.assert_allclose(pull(g)[0], back, rtol=1e-11, atol=1e-11)


RESAMPLE = {  # (kernel, filter taps, arguments)
    "plain": (3, None, {"padding": 1}),
    "true_convolution": (3, None, {"padding": 1, "flip_weight": False}),
    "up2": (3, [1, 3, 3, 1], {"up": 2, "padding": 1, "flip_weight": False}),
    "up3": (3, [1, 2, 4], {"up": 3, "padding": 1}),
    "up2_1x1": (1, [1, 3, 3, 1], {"up": 2}),
    "up3_small_kernel": (2, [1, 2, 1], {"up": 3}),
    "up2_groups": (3, [1, 2], {"up": 2, "padding": 1, "groups": 2}),
    "down2": (3, [1, 3, 3, 1], {"down": 2, "padding": 1}),
    "down3": (5, [1, 2, 4], {"down": 3, "padding": 2}),
    "down2_1x1": (1, [1, 3, 3, 1], {"down": 2}),
    "down2_groups": (3, [1, 3, 3, 1], {"down": 2, "padding": 1, "groups": 2}),
    "up3down2": (3, [1, 3, 2, 1], {"up": 3, "down": 2, "padding": 1}),
}


@pytest.mark.parametrize("name", RESAMPLE)
def test_conv2d_resample_equals_its_definition(name, draw):
    kernel, taps, kwargs = RESAMPLE[name]
    f = None if taps is None else fir.setup_filter(taps, separable=True).astype(np.float64)
    x, w = draw((2, 6, 9, 4)), draw((kernel, kernel, 4 // kwargs.get("groups", 1), 2))
    got = jax.jit(lambda x, w: conv.conv2d_resample(x, w, f, **kwargs))(x, w)
    np.testing.assert_allclose(got, references.conv2d_resample(x, w, f, **kwargs), rtol=1e-11, atol=1e-11)
