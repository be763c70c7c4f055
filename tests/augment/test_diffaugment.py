"""DiffAugment against the published formulas in NumPy."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from stylegan_jax.augment import diffaugment, make_augment

from .helpers import configure

N, SHAPE = 3000, (16, 24, 3)


@functools.cache
def program(policy="color,translation,cutout"):
    config = configure("fixed", p=1.0, method="diffaugment", diff={"policy": policy})
    augment = make_augment(config, SHAPE)
    return jax.jit(augment.draw, static_argnums=1), jax.jit(augment.apply)


@functools.cache
def drawn(p=1.0):
    return jax.device_get(program()[0](jax.random.key(5), N, p))


def test_draws_have_the_published_ranges():
    params = drawn()
    for values, low, high in (
        (params.brightness, -0.5, 0.5),
        (params.saturation, 0, 2),
        (params.contrast, 0.5, 1.5),
    ):
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    for axis, most in ((0, 2), (1, 3)):  # an eighth of 16 and of 24
        counts = np.bincount(params.shift[:, axis] + most)
        assert counts.size == 2 * most + 1 and stats.chisquare(counts).pvalue > 1e-3
    for axis, side in ((0, 8), (1, 12)):  # half of 16 and of 24
        np.testing.assert_array_equal(params.extent[:, axis], side)
        centres = np.bincount(params.corner[:, axis] + side // 2)
        assert centres.size == SHAPE[axis] + 1 and stats.chisquare(centres).pvalue > 1e-3


def test_each_policy_acts_with_p():
    params = drawn(0.3)
    acted = (params.brightness != 0, params.contrast != 1, np.any(params.extent > 0, 1))
    for rows in acted:
        assert stats.binomtest(int(rows.sum()), N, 0.3).pvalue > 1e-4
    assert stats.binomtest(int(np.any(params.shift != 0, 1).sum()), N, 0.3 * 34 / 35).pvalue > 1e-4
    still = drawn(0.0)
    assert not np.any(still.brightness) and not np.any(still.shift) and not np.any(still.extent)
    assert np.all(still.saturation == 1) and np.all(still.contrast == 1)


def test_images_are_those_of_the_formulas(normal):
    x, some = normal((6, *SHAPE)), jax.tree.map(lambda a: a[:6], drawn())
    got = program()[1](some, x)
    for i in range(6):
        image = x[i] + some.brightness[i]
        grey = image.mean(-1, keepdims=True)
        image = (image - grey) * some.saturation[i] + grey
        image = (image - image.mean()) * some.contrast[i] + image.mean()
        (down, right), (h, w, _) = some.shift[i], SHAPE
        moved = np.zeros_like(image)
        moved[max(down, 0) : h + min(down, 0), max(right, 0) : w + min(right, 0)] = image[
            max(-down, 0) : h - max(down, 0), max(-right, 0) : w - max(right, 0)
        ]
        (top, left), (rows, columns) = some.corner[i], some.extent[i]
        moved[max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)] = 0
        np.testing.assert_allclose(got[i], moved, atol=1e-12)


def test_policies_are_chosen_and_ordered_by_name():
    config = configure("fixed", p=1.0, diff={"policy": "cutout, color"}).diffaugment
    assert diffaugment.policies(config) == ("color", "cutout")
    params = jax.eval_shape(lambda key: program("cutout, color")[0](key, 2, 1.0), jax.random.key(0))
    assert params.shift is None and params.corner is not None and params.contrast is not None


def test_the_gradient_passes(normal):
    x, some = normal((2, *SHAPE)), jax.tree.map(lambda a: a[:2], drawn())
    y = normal(x.shape)
    apply = program()[1]
    out, pull = jax.vjp(lambda v: apply(some, v), x)
    shift = apply(some, jnp.zeros_like(x))  # affine: what is left without an image
    np.testing.assert_allclose(np.vdot(out - shift, y), np.vdot(x, pull(y)[0]), rtol=1e-11)
