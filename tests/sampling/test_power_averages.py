"""Averages of any width from stored ones: widths, products of profiles, and trajectories known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from stylegan_jax.sampling import averages
from stylegan_jax.sampling.averages import AverageError, Profiles

STORED = (0.05, 0.1)
END = 4e6


def stored(count: int, widths=STORED) -> Profiles:
    exponents = [averages.exponent_of(w) for w in widths]
    times = np.arange(1, count + 1) * END / count
    return Profiles(np.tile(exponents, count), np.repeat(times, len(exponents)))


def values(profiles: Profiles, at: np.ndarray) -> np.ndarray:
    """Return the profiles at times, float64[n, m], by their definition."""
    g, t = profiles.exponents[:, None], profiles.times[:, None]
    return np.where(at <= t, (g + 1) * (at / t) ** g / t, 0)


@pytest.mark.parametrize(("width", "exponent"), [(0.05, 16.97), (0.1, 6.94), (12**-0.5, 0.0)])
def test_widths_have_the_published_exponents(width, exponent):
    assert averages.exponent_of(width) == pytest.approx(exponent, abs=5e-3)


def test_widths_and_exponents_lead_back_to_each_other():
    for width in np.geomspace(1e-4, 0.2885, 50):
        assert averages.width_of(averages.exponent_of(width)) == pytest.approx(width, rel=1e-12)


def test_the_width_is_the_deviation_of_the_profile():
    at = (np.arange(200_000) + 0.5) / 200_000
    for width in (0.03, 0.1, 0.25):
        p = values(Profiles(np.array([averages.exponent_of(width)]), np.ones(1)), at)[0] / len(at)
        assert p.sum() == pytest.approx(1, rel=1e-6)
        assert np.sqrt(p @ at**2 - (p @ at) ** 2) == pytest.approx(width, rel=1e-5)


@pytest.mark.parametrize("width", [0.0, -0.1, 0.289, 3.0, float("nan")])
def test_a_width_out_of_range_is_an_error(width):
    with pytest.raises(AverageError, match=r"out of range: .*at most 0\.2886"):
        averages.exponent_of(width)


def test_products_of_profiles_are_their_integrals():
    profiles = stored(3)
    at = (np.arange(300_000) + 0.5) * END / 300_000
    rows = values(profiles, at)
    np.testing.assert_allclose(averages.inner_products(profiles, profiles), rows @ rows.T * END / len(at), rtol=1e-5)


@pytest.mark.parametrize("count", [1, 8, 64])
@pytest.mark.parametrize("width", [0.02, 0.07, 0.1, 0.15, 0.25])
def test_trajectories_of_the_stored_profiles_are_averaged_exactly(count, width):
    """A constant, and sums of profiles with coefficients of sum 0: what is left out stands at right angles to them.

    Their average of any profile is a sum of products of profiles, in closed form.
    """
    profiles, draw = stored(count), np.random.default_rng(count)
    wanted = Profiles(np.array([averages.exponent_of(width)]), np.array([END]))
    coefficients = draw.standard_normal((20, 2 * count)) * END
    coefficients -= coefficients.mean(axis=1, keepdims=True)
    constant = draw.standard_normal((20, 1))
    tracked = coefficients @ averages.inner_products(profiles, profiles) + constant  # every stored average
    direct = coefficients @ averages.inner_products(profiles, wanted) + constant
    found = tracked @ averages.combine(profiles, width, END).weights
    np.testing.assert_allclose(found, direct[:, 0], rtol=1e-10, atol=1e-10)


def test_a_stored_width_is_the_stored_average():
    for i, width in enumerate(STORED):
        found = averages.combine(stored(16), width, END)
        np.testing.assert_allclose(found.weights, np.eye(32)[30 + i], atol=1e-9)
        assert found.error < 1e-7


def test_the_error_is_that_of_the_profile_and_falls_with_more_snapshots():
    at = (np.arange(400_000) + 0.5) * END / 400_000
    wanted = values(Profiles(np.array([averages.exponent_of(0.02)]), np.array([END])), at)[0]
    errors = []
    for count in (4, 16, 64):
        found = averages.combine(stored(count), 0.02, END)
        difference = found.weights @ values(stored(count), at) - wanted
        assert found.error == pytest.approx(np.linalg.norm(difference) / np.linalg.norm(wanted), rel=1e-3)
        assert found.weights.sum() == pytest.approx(1, abs=1e-12)
        errors.append(found.error)
    assert errors[0] > errors[1] > errors[2]


def test_more_snapshots_than_a_run_needs_do_no_harm():
    found = averages.combine(stored(200), 0.08, END)
    assert found.error < 1e-4 and np.abs(found.weights).sum() < 3
