"""Filtered leaky ReLU: values against the formula, the two lowerings against each other, and what lean saves."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.ops import filtered_lrelu as op
from stylegan_jax.ops.lowpass import design_lowpass

from . import references

LINE = np.array([0.1, 0.4, -0.3, 0.7, 0.2, -0.1])
PLANE = np.arange(16.0).reshape(4, 4) / 50 - 0.1
CASES = {
    "separable": (LINE, LINE[::-1], {"up": 2, "down": 2, "padding": (3, 2, 4, 5)}),
    "plane": (LINE, PLANE, {"up": 4, "down": 2, "padding": (-1, 2, 3, 0), "clamp": 0.7, "slope": 0.3, "gain": 1.3}),
}
C = 37  # not a whole number of parts


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def run(x, b, name, lowering):
    fu, fd, kwargs = CASES[name]
    return op.filtered_lrelu(x, b, fu, fd, lowering=lowering, **kwargs)


@functools.cache
def derivatives(name, lowering):
    """Return the output, its first derivatives, and second derivatives of a function that has mixed ones."""
    x, b = draw(2, 6, 5, C), draw(C)

    def value(x, b, scale):
        return jnp.sum(jnp.sin(scale * run(x * scale, b, name, lowering)))

    def second(x, b):
        by_x, by_b, by_scale = jax.grad(value, argnums=(0, 1, 2))(x, b, 1.2)
        return jnp.sum(jnp.square(by_x)) + jnp.sum(jnp.cos(by_b)) + by_scale**2

    def all_of(x, b):
        return run(x, b, name, lowering), jax.grad(value, argnums=(0, 1))(x, b, 1.2), jax.grad(second, (0, 1))(x, b)

    return jax.device_get(jax.jit(all_of)(x, b))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(op, "MIN_CHANNELS", 4)


@pytest.mark.parametrize("name", CASES)
def test_it_is_bias_up_lrelu_clamp_down(name):
    fu, fd, kwargs = CASES[name]
    x, b = draw(2, 6, 5, C), draw(C)
    up, down, pads = kwargs["up"], kwargs["down"], kwargs["padding"]
    y = references.upfirdn2d(x + b, fu, (up, up), padding=pads, gain=up**2)
    y = np.where(y > 0, y, y * kwargs.get("slope", 0.2)) * kwargs.get("gain", math.sqrt(2))
    y = np.clip(y, -kwargs.get("clamp", np.inf), kwargs.get("clamp", np.inf))
    want = references.upfirdn2d(y, fd, down=(down, down))
    for lowering in op.LOWERINGS:
        np.testing.assert_allclose(derivatives(name, lowering)[0], want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_lowerings_agree_in_first_and_second_derivatives(name):
    lean, plain = (derivatives(name, lowering) for lowering in ("lean", "plain"))
    for got, want in zip(jax.tree.leaves(lean), jax.tree.leaves(plain), strict=True):
        assert np.any(want != 0)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * np.max(np.abs(want)))


def test_lean_needs_at_most_half_the_memory_of_plain():
    """The leaky ReLU of layer 12 of T at 256x256, forward and backward, one image; everything counted."""
    f = design_lowpass(12, 128.0, 59.173, 512.0)
    x = jax.ShapeDtypeStruct((1, 278, 278, 128), jnp.float32)
    y = jax.ShapeDtypeStruct((1, 276, 276, 128), jnp.float32)

    def both(x, g, lowering):
        layer = lambda x: op.filtered_lrelu(x, None, f, f, up=2, down=2, padding=(9, 8, 9, 8), lowering=lowering)
        out, pull = jax.vjp(layer, x)
        return out, pull(g)[0]

    def peak(lowering):
        used = jax.jit(functools.partial(both, lowering=lowering)).lower(x, y).compile().memory_analysis()
        return used.temp_size_in_bytes + used.argument_size_in_bytes + used.output_size_in_bytes

    lean, plain = peak("lean"), peak("plain")
    print(f"lean {lean / 2**20:.0f} MiB, plain {plain / 2**20:.0f} MiB")
    assert lean <= plain / 2


def test_large_images_are_lean_by_default_and_others_plain():
    f = LINE.astype(np.float32)

    def loops(size, f=f):
        x = jax.ShapeDtypeStruct((1, size, size, 64), jnp.float32)
        layer = lambda x, f: op.filtered_lrelu(x, None, f, f, up=2, down=2)
        closed = (lambda x: layer(x, f)) if isinstance(f, np.ndarray) else layer
        arguments = (x,) if isinstance(f, np.ndarray) else (x, f)
        return "while" in str(jax.make_jaxpr(closed)(*arguments)) or "scan" in str(jax.make_jaxpr(closed)(*arguments))

    assert loops(260) and not loops(250)
    assert not loops(260, jax.ShapeDtypeStruct((6,), jnp.float32))


def test_errors_name_what_is_possible():
    x = jnp.zeros((1, 8, 8, 1))
    with pytest.raises(ValueError, match="'fast'; known: lean, plain"):
        op.filtered_lrelu(x, lowering="fast")
    with pytest.raises(ValueError, match="NumPy arrays; use 'plain'"):
        op.filtered_lrelu(x, None, jnp.ones(2), up=2, lowering="lean")
