"""How p moves: the published rule, its limits, and when."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.augment import controller

from .helpers import configure


def adjust(p, signs, count, **changes):
    settings = {"target": 0.6, "step": 0.01, "p_max": 1.0} | changes
    return float(controller.adjust(jnp.asarray(p), jnp.asarray(float(signs)), jnp.asarray(float(count)), **settings))


@pytest.mark.parametrize(
    ("p", "signs", "count", "want"),
    [
        (0.5, 70, 100, 0.51),  # sure of reals: more
        (0.5, 50, 100, 0.49),
        (0.5, 60, 100, 0.5),  # on target
        (0.5, 0, 0, 0.5),  # nothing seen
        (0.005, -100, 100, 0.0),  # floor
        (0.995, 100, 100, 1.0),  # ceiling
    ],
)
def test_p_moves_by_a_step_towards_the_target(p, signs, count, want):
    np.testing.assert_allclose(adjust(p, signs, count), want, atol=1e-15)


def test_the_ceiling_can_be_moved_or_left_out():
    np.testing.assert_allclose(adjust(0.3, 1, 1, p_max=0.3), 0.3)
    np.testing.assert_allclose(adjust(5.0, 1, 1, p_max=math.inf), 5.01)


def test_a_mean_just_above_a_target_that_float32_cannot_hold_counts_as_above():
    near = np.float32(0.6)  # 0.60000002
    p = controller.adjust(jnp.float32(0.5), near, jnp.float32(1), target=0.6, step=0.25, p_max=1.0)
    assert p.dtype == jnp.float32 and float(p) == 0.75


@functools.cache
def iteration(mode, **changes):
    config = configure(mode, p=0.5, p_max=2.0, **changes)

    def run(control, logits, step):
        return controller.update(config, controller.observe(control, logits), step, 32)

    return config, jax.jit(run)


def test_ada_moves_every_fourth_iteration_on_all_logits_since():
    config, run = iteration("ada")
    control = controller.init(config)
    logits = [np.full((32, 2), 1.0), np.full((32, 2), 9.0), np.full((32, 2), 0.1), -np.ones((32, 2))]  # mean sign 0.5
    for step in range(1, 4):
        control = run(control, logits[step - 1], step)
        assert float(control.p) == 0.5 and float(control.count) == 64 * step
    control = run(control, logits[3], 4)
    np.testing.assert_allclose(control.p, 0.5 - 32 * 4 / 500_000, atol=1e-7)
    assert float(control.count) == float(control.sign_sum) == 0
    assert {x.dtype for x in control} == {jnp.dtype("float32")}


def test_p_goes_from_0_to_1_in_kimg_thousand_images():
    config, run = iteration("ada", kimg=1.28)
    control, sure = controller.init(config)._replace(p=jnp.float32(0)), np.ones((32, 1))
    for step in range(1, 41):  # 40 iterations of 32 are 1,280 images
        control = run(control, sure, step)
    np.testing.assert_allclose(control.p, 1.0, atol=1e-6)


@pytest.mark.parametrize(("mode", "p"), [("fixed", 0.5), ("none", 0.0)])
def test_fixed_and_none_stay(mode, p):
    config, run = iteration(mode)
    control = controller.init(config)
    for step in range(1, 6):
        control = run(control, np.ones((8, 1)), step)
    assert float(control.p) == p and float(control.count) == 0


def test_logits_get_no_gradient_from_the_controller():
    control = controller.init(configure())
    assert not np.any(jax.grad(lambda x: controller.observe(control, x).sign_sum)(jnp.ones((2, 1))))
