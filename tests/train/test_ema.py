"""Moving averages: half-life, ramp, copy at the start, mean style; and back from a checkpoint."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.checkpoints.checkpointer import Checkpointer, restore_g_ema
from stylegan_jax.models.gan import centre_per_class, move_centre_per_class, move_one_centre, one_centre
from stylegan_jax.sampling import averages
from stylegan_jax.train import ema


def beta(batch, nimg, half_life, rampup=0.0):
    return float(ema.ema_beta(batch, jnp.int32(nimg), half_life, rampup))


@pytest.mark.parametrize(("batch", "half_life"), [(32, 10.0), (64, 0.5), (1000, 1.0)])
def test_after_its_half_life_an_image_weighs_half(batch, half_life):
    iterations = half_life * 1000 / batch
    assert beta(batch, 10**6, half_life) ** iterations == pytest.approx(0.5, rel=1e-4)


def test_the_ramp_shortens_the_half_life_only_at_the_start():
    assert beta(32, 1000, 10.0, 0.05) == pytest.approx(0.5 ** (32 / 50), rel=1e-5)
    assert beta(32, 10**6, 10.0, 0.05) == pytest.approx(0.5 ** (32 / 10_000), rel=1e-5)
    assert beta(32, 200_000, 10.0, 0.05) == pytest.approx(beta(32, 200_000, 10.0), rel=1e-6)


def test_before_the_first_image_a_ramp_copies_and_no_ramp_averages():
    assert beta(32, 0, 10.0, 0.05) == 0
    assert beta(32, 0, 10.0) == pytest.approx(0.5 ** (32 / 10_000), rel=1e-5)
    assert beta(32, 0, 0.0) == 0


def test_update_weighs_every_leaf():
    old, new = {"a": jnp.array([2.0]), "b": {"c": jnp.array(4.0)}}, {"a": jnp.array([10.0]), "b": {"c": jnp.array(0.0)}}
    got = ema.update(old, new, jnp.float32(0.75))
    assert float(got["a"][0]) == 4.0
    assert float(got["b"]["c"]) == 3.0


def test_copy_is_exact():
    new = {"a": jnp.array([0.1, 1e20])}
    got = ema.update({"a": jnp.array([1e9, 3.0])}, new, jnp.float32(0.0))
    np.testing.assert_array_equal(got["a"], new["a"])


def test_what_is_equal_stays_so_to_the_bit():
    still = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    for beta in (0.1, 0.9, 0.998):
        np.testing.assert_array_equal(ema.update(still, jnp.asarray(still), jnp.float32(beta)), still)


def test_a_power_average_weighs_images_by_their_number_whatever_the_batches():
    """After n of t images the newest parameters weigh t^(g + 1) - (t - n)^(g + 1), and all before them the rest."""
    batches, draw = [64] * 20 + [32] * 30 + [8] * 50, np.random.default_rng(0)
    shown, params = np.cumsum(batches), draw.standard_normal((100, 5)).astype(np.float32)
    for width in (0.05, 0.1, 0.28):
        found = {"w": jnp.full(5, 1e3)}
        for n, t, w in zip(batches, shown, params, strict=True):
            found = ema.move(found, {"w": jnp.asarray(w)}, ema.power_share(n, jnp.int32(t - n), width))
        power = averages.exponent_of(width) + 1
        weights = np.diff((shown / shown[-1]) ** power, prepend=0.0)
        np.testing.assert_allclose(found["w"], weights @ params, rtol=1e-4, atol=1e-5)


def test_late_in_a_run_shares_are_still_exact_and_what_stands_still_stays():
    nimg, power = 200_000_000, averages.exponent_of(0.1) + 1
    share = ema.power_share(32, jnp.int32(nimg), 0.1)
    assert float(share) == pytest.approx(-np.expm1(power * np.log1p(-32 / (nimg + 32))), rel=1e-6)
    still = {"w": jnp.array([0.1, 3.3e-5, -7.7e3])}
    np.testing.assert_array_equal(ema.move(still, still, share)["w"], still["w"])


def test_the_mean_style_moves_towards_the_batch_mean():
    w, cond = jnp.array([[1.0, 2.0], [3.0, 6.0]]), jnp.zeros((2, 0))
    np.testing.assert_allclose(move_one_centre(jnp.array([0.0, 8.0]), w, cond, 0.75), [0.5, 7.0], rtol=1e-6)
    assert one_centre(jnp.array([0.0, 8.0]), cond).shape == (2, 2)


def test_a_class_moves_towards_one_row_after_another_and_others_stay():
    table, w = jnp.array([[0.0, 8.0], [1.0, 1.0], [5.0, 5.0]]), jnp.array([[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]])
    cond = jnp.eye(3)[jnp.array([0, 0, 2])]
    got = move_centre_per_class(table, w, cond, 0.75)
    np.testing.assert_allclose(got, [[0.9375, 6.375], [1.0, 1.0], [6.0, 6.0]], rtol=1e-6)
    np.testing.assert_array_equal(centre_per_class(table, cond), table[jnp.array([0, 0, 2])])


def test_an_average_without_noise_maps_is_read_as_it_was_saved(tmp_path):
    """Of a model without noise inputs: an empty dict has no leaf to be named by."""
    average = {"params": {"w": np.arange(3.0)}, "buffers": {}, "w_avg": np.ones(2)}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, average, average, {})
    found, _, _ = restore_g_ema(tmp_path)
    np.testing.assert_array_equal(found["params"]["w"], average["params"]["w"])
    np.testing.assert_array_equal(found["w_avg"], average["w_avg"])
    assert not found.get("buffers") and set(found) <= set(average)
