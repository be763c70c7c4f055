"""The published distributions: how often each operation acts, how its parameter is spread, and in which order."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from scipy import stats

from stylegan_jax.augment import affine, draws, pipes

from .helpers import configure

N, SHAPE = 4000, (20, 40, 3)
ALL = {op: 1.0 for group in pipes.GROUPS.values() for op in group}
KEY = 3


@functools.cache
def units():
    """Return the unit draws of all operations as NumPy arrays; pixels are drawn apart, for fewer samples."""
    few = {op: 1.0 for op in ALL if op != "noise"}
    drawn, _ = jax.jit(lambda key: draws.draw_units(key, N, few, SHAPE))(jax.random.key(KEY))
    noisy, _ = jax.jit(lambda key: draws.draw_units(key, N, {"noise": 1.0}, (1, 1, 1)))(jax.random.key(KEY))
    return jax.device_get(drawn | noisy)


def params(ops, p, strength, shape=SHAPE):
    few = {op: units()[op] for op in ops}
    return draws.to_params(few, np.ones((N, 1, 1, 1)), p, ops, strength, shape)


def turned(m):
    return np.arctan2(m[:, 1, 0], m[:, 0, 0])


def across(m):
    """Return, of a colour matrix, the factor of what lies across the grey axis times the cosine of its turn."""
    return 1.5 * (m[:, 0, 0] - m[:, 0, :3].mean(1))


READ = {  # operation: its parameter read off the matrices, and the value that changes nothing
    "xflip": (lambda g: g[:, 0, 0], 1),
    "rotate90": (lambda g: np.round(turned(g) / (np.pi / 2)) % 4, 0),
    "xint": (lambda g: -g[:, :2, 2], 0),
    "scale": (lambda g: -np.log2(g[:, 0, 0]), 0),
    "rotate": (turned, 0),
    "aniso": (lambda g: -np.log2(g[:, 0, 0]), 0),
    "xfrac": (lambda g: -g[:, :2, 2] / np.array([40.0, 20.0]), 0),
    "brightness": (lambda c: c[:, 0, 3], 0),
    "contrast": (lambda c: np.log2(c[:, 1, 1]), 0),
    "lumaflip": (lambda c: np.round(c[:, 0, :3].sum(1), 9), 1),
    "hue": (lambda c: np.arctan2((c[:, 1, 0] - c[:, 0, 1]) * np.sqrt(3) / 2, across(c)), 0),
    "saturation": (lambda c: np.log2(across(c)), 0),
}


def value(op, p, strength, multiplier=1.0):
    """Return the parameter drawn for one operation per sample, and its neutral value."""
    out = params({op: multiplier}, p, strength)
    if op == "cutout":
        return np.asarray(out.cut_size)[:, 0], 0
    read, neutral = READ[op]
    return read(np.asarray(out.g_inv if op in pipes.GEOMETRY else out.color)), neutral


CONTINUOUS = {  # operation: distribution at p = 1
    "scale": stats.norm(0, 0.2),
    "rotate": stats.uniform(-np.pi, 2 * np.pi),
    "aniso": stats.norm(0, 0.2),
    "xfrac": stats.norm(0, 0.125),
    "brightness": stats.norm(0, 0.2),
    "contrast": stats.norm(0, 0.5),
    "hue": stats.uniform(-np.pi, 2 * np.pi),
    "saturation": stats.norm(0, 1.0),
}
EVERY_TIME = [*CONTINUOUS, "cutout"]
HALF = {"xflip": 0.5, "rotate90": 0.75, "lumaflip": 0.5}  # how often the value drawn is not the neutral one


@pytest.mark.parametrize("op", CONTINUOUS)
def test_parameters_have_the_published_distribution(op, strength):
    drawn, _ = value(op, 1.0, strength)
    assert stats.kstest(np.ravel(drawn), CONTINUOUS[op].cdf).pvalue > 1e-3


@pytest.mark.parametrize("op", [*EVERY_TIME, *HALF])
@pytest.mark.parametrize(("p", "multiplier"), [(0.0, 1.0), (0.5, 1.0), (0.5, 0.5), (1.0, 1.0), (1.7, 1.0)])
def test_an_operation_acts_with_its_multiplier_times_p(op, p, multiplier, strength):
    drawn, neutral = value(op, p, strength, multiplier)
    acted = np.abs(drawn.reshape(N, -1)[:, 0] - neutral) > 1e-12
    expected = min(p * multiplier, 1.0) * HALF.get(op, 1.0)
    assert (
        stats.binomtest(int(acted.sum()), N, expected).pvalue > 1e-4 if 0 < expected < 1 else acted.mean() == expected
    )


def test_whole_pixel_translations_are_whole_and_uniform(strength):
    drawn, _ = value("xint", 1.0, strength)
    np.testing.assert_array_equal(drawn, np.round(drawn))
    for axis, most in ((0, 5), (1, 2)):  # an eighth of 40, and of 20 with half a pixel to the even side
        counts = np.bincount((drawn[:, axis] + most).astype(int))
        assert counts.size == 2 * most + 1
        width = 2 * SHAPE[1 - axis] * 0.125
        inner = counts[1:-1]
        assert stats.binomtest(int(inner.sum()), N, inner.size / width).pvalue > 1e-3
        assert stats.chisquare(inner).pvalue > 1e-3
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.06  # x and y apart


def test_quarter_turns_flips_and_noise(strength):
    turns, _ = value("rotate90", 1.0, strength)
    assert stats.chisquare(np.bincount(turns.astype(int))).pvalue > 1e-3
    sigma = np.ravel(params({"noise": 1.0}, 1.0, strength, (1, 1, 1)).noise)
    assert stats.kstest(sigma, stats.halfnorm(scale=0.1).cdf).pvalue > 1e-3
    pixels = jax.jit(lambda key: draws.draw_units(key, 50, {"noise": 1.0}, SHAPE)[1])(jax.random.key(1))
    assert pixels.shape == (50, *SHAPE) and stats.kstest(np.ravel(pixels)[::7], "norm").pvalue > 1e-3


def test_cutout_is_half_the_image_around_a_uniform_centre(strength):
    out = params({"cutout": 1.0}, 1.0, strength)
    np.testing.assert_array_equal(out.cut_size, 0.5)
    assert stats.kstest(np.ravel(out.cut_center), "uniform").pvalue > 1e-3


def test_either_rotation_happens_with_p_in_all(strength):
    """The rotations around the anisotropic scaling have 1 - sqrt(1 - p) each."""
    for p, multiplier in ((0.3, 1.0), (0.8, 0.5)):
        angle, _ = value("rotate", p, strength, multiplier)
        assert stats.binomtest(int((angle != 0).sum()), N, p * multiplier).pvalue > 1e-4
    np.testing.assert_allclose(affine.rotate_probability(0.75, 1.0), 0.5)
    np.testing.assert_allclose(affine.rotate_probability(9.0, 1.0), 1.0)


def test_bands_act_each_with_its_own_multiplier(strength):
    gates = units()["imgfilter"].gate < np.array([1.0, 1.0, 1.0, 1.0]) * 0.4
    assert stats.chisquare(gates.sum(0), np.full(4, gates.sum() / 4)).pvalue > 1e-3
    off = configure(strength={"imgfilter_bands": (0.0, 0.0, 0.0, 0.0)}).strength
    np.testing.assert_allclose(params({"imgfilter": 1.0}, 1.0, off).gains, 1.0)
    assert (np.abs(params({"imgfilter": 1.0}, 1.0, strength).gains - 1).min(1) > 0).mean() > 0.9


def test_geometry_is_the_product_of_the_inverses_in_the_published_order(strength):
    p, some = 0.9, slice(0, 40)
    ops = dict.fromkeys(pipes.GEOMETRY, 1.0)
    few = {op: draws.Unit(units()[op].value[some], units()[op].gate[some]) for op in ops}
    got = draws.to_params(few, None, p, ops, strength, SHAPE).g_inv

    def on(op, i, which=()):
        limit = 1 - np.sqrt(1 - p) if op == "rotate" else p
        return few[op].gate[(i, *which)] < limit

    def turn(angle):
        return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])

    def move(x, y):
        return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])

    for i in range(40):
        v = {op: few[op].value[i] for op in ops}
        flip = np.floor(2 * v["xflip"]) * on("xflip", i)
        forward = np.diag([-1.0 if flip else 1.0, 1, 1])  # later operations from the left
        forward = turn(-np.pi / 2 * np.floor(4 * v["rotate90"]) * on("rotate90", i)) @ forward
        forward = move(*np.round((2 * v["xint"] - 1) * 0.125 * [40, 20] * on("xint", i))) @ forward
        s = 2 ** (0.2 * v["scale"] * on("scale", i))
        forward = np.diag([s, s, 1]) @ forward
        angles = -(2 * v["rotate"] - 1) * np.pi
        forward = turn(angles[0] * on("rotate", i, (0,))) @ forward
        s = 2 ** (0.2 * v["aniso"] * on("aniso", i))
        forward = np.diag([s, 1 / s, 1]) @ forward
        forward = turn(angles[1] * on("rotate", i, (1,))) @ forward
        forward = move(*(0.125 * v["xfrac"] * [40, 20] * on("xfrac", i))) @ forward
        np.testing.assert_allclose(got[i], np.linalg.inv(forward), atol=1e-12)


def test_draws_do_not_depend_on_the_other_operations():
    key = jax.random.key(0)
    alone, _ = draws.draw_units(key, 5, {"hue": 1.0}, SHAPE)
    among, _ = draws.draw_units(key, 5, {"xflip": 1.0, "hue": 0.3, "cutout": 1.0}, SHAPE)
    np.testing.assert_array_equal(alone["hue"].value, among["hue"].value)
    np.testing.assert_array_equal(alone["hue"].gate, among["hue"].gate)
    gates = np.stack([np.asarray(units()[op].gate).reshape(N, -1)[:, 0] for op in ALL])
    assert np.abs(np.corrcoef(gates) - np.eye(len(ALL))).max() < 0.08  # each has its own numbers
