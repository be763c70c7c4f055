"""Colour, frequency bands and cutout on pixels, against their closed forms."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from stylegan_jax.augment import axis, color, cutout, spectrum
from stylegan_jax.augment.draws import Unit

GOLDEN = Path(__file__).parents[1] / "golden" / "augment_bgcfnc_32.npz"
ALWAYS = lambda op, value, neutral: value


def matrix(strength, **values):
    """Return the colour matrix of one sample whose unit draws are given."""
    units = {op: Unit(jnp.asarray([float(v)]), jnp.zeros([1])) for op, v in values.items()}
    return color.matrix(units, ALWAYS, strength)


def recolor(x, strength, **values):
    return np.asarray(color.transform(jnp.asarray(x), matrix(strength, **values)))


def luma(x):
    return x.sum(-1) / np.sqrt(3)


def across(x):
    return x - x.mean(-1, keepdims=True)


@pytest.fixture
def x(normal):
    return normal((1, 4, 5, 3))


def test_brightness_adds_and_contrast_multiplies(x, strength):
    np.testing.assert_allclose(recolor(x, strength, brightness=2.0), x + 0.4, atol=1e-14)
    np.testing.assert_allclose(recolor(x, strength, contrast=2.0), x * 2, atol=1e-14)
    both = recolor(x, strength, brightness=2.0, contrast=2.0)
    np.testing.assert_allclose(both, (x + 0.4) * 2, atol=1e-14)  # contrast after brightness


def test_hue_and_saturation_keep_the_luma(x, strength):
    for changes in ({"hue": 0.8}, {"saturation": 1.3}, {"hue": 0.1, "saturation": -2.0}):
        np.testing.assert_allclose(luma(recolor(x, strength, **changes)), luma(x), atol=1e-13)


def test_a_third_of_a_turn_of_hue_permutes_the_channels(x, strength):
    turned = recolor(x, strength, hue=0.5 + 1 / 3)  # (2 u - 1) pi = 120 degrees
    np.testing.assert_allclose(turned, np.roll(x, 1, -1), atol=1e-13)


def test_saturation_scales_what_lies_across_the_grey_axis(x, strength):
    np.testing.assert_allclose(across(recolor(x, strength, saturation=1.0)), 2 * across(x), atol=1e-13)


def test_luma_flip_mirrors_the_luma_alone(x, strength):
    flipped = recolor(x, strength, lumaflip=0.7)
    np.testing.assert_allclose(luma(flipped), -luma(x), atol=1e-13)
    np.testing.assert_allclose(across(flipped), across(x), atol=1e-13)
    np.testing.assert_allclose(recolor(x, strength, lumaflip=0.3), x, atol=1e-14)


def test_grey_images_are_the_mean_of_a_grey_rgb_image_and_further_channels_pass(x, strength):
    changes = {"brightness": 1.0, "contrast": -1.0, "lumaflip": 0.9}
    grey = x[..., :1]
    as_rgb = recolor(np.repeat(grey, 3, -1), strength, **changes).mean(-1, keepdims=True)
    np.testing.assert_allclose(recolor(grey, strength, **changes), as_rgb, atol=1e-14)
    rgba = np.concatenate([x, grey], -1)
    changed = recolor(rgba, strength, **changes, hue=0.6)
    np.testing.assert_array_equal(changed[..., 3], rgba[..., 3])
    np.testing.assert_allclose(changed[..., :3], recolor(x, strength, **changes, hue=0.6), atol=1e-14)


def test_filters_are_the_official_ones():
    with np.load(GOLDEN) as file:
        np.testing.assert_allclose(spectrum.filter_bank(), file["state/Hz_fbank"], atol=1e-7)
        np.testing.assert_allclose(axis.SYM6, file["state/Hz_geom"], atol=1e-7)


def test_the_bands_sum_to_the_identity_and_are_ordered():
    bank = spectrum.filter_bank().astype(np.float64)
    identity = np.zeros(43)
    identity[21] = 1
    np.testing.assert_allclose(bank.sum(0), identity, atol=1e-6)
    np.testing.assert_allclose(bank, bank[:, ::-1], atol=1e-7)  # no shift
    centre = [np.average(np.arange(129), weights=np.abs(np.fft.rfft(row, 256)) ** 2) for row in bank]
    assert np.all(np.diff(centre) > 0)


def test_amplification_is_a_mirrored_convolution_with_each_samples_filter(normal):
    x, gains = normal((2, 30, 9, 2)), np.abs(normal((2, 4)))
    got = jax.jit(spectrum.amplify)(x, gains)
    for image, taps, want in zip(x, gains @ spectrum.filter_bank(), got, strict=True):
        rows = ndimage.convolve1d(image, taps, axis=0, mode="mirror")
        np.testing.assert_allclose(want, ndimage.convolve1d(rows, taps, axis=1, mode="mirror"), atol=1e-12)


def test_gains_keep_the_expected_power(normal):
    amplified = np.exp2(normal((3, 4)))
    got = np.asarray(spectrum.band_gains(jnp.asarray(amplified)))
    power = np.array([10, 1, 1, 1]) / 13
    want = np.ones((3, 4))
    for band in range(4):
        step = np.where(np.arange(4) == band, amplified, 1.0)
        step /= np.sqrt(step**2 @ power)[:, None]
        np.testing.assert_allclose((step**2 @ power), 1.0)
        want *= step
    np.testing.assert_allclose(got, want, rtol=1e-14)
    np.testing.assert_allclose(spectrum.band_gains(jnp.ones((1, 4))), 1.0)


def test_cutout_blanks_the_pixels_whose_middle_is_inside(x):
    ones = jnp.ones((2, 4, 8, 1))
    center, size = jnp.asarray([[0.25, 0.5], [0.0, 1.0]]), jnp.asarray([[0.5, 0.5], [0.5, 0.0]])
    got = np.asarray(cutout.cut(ones, center, size))[..., 0]
    want = np.ones((2, 4, 8))
    want[0, 1:3, 0:4] = 0  # a quarter to three quarters down, the left half
    np.testing.assert_array_equal(got, want)
