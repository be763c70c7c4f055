"""Augmentation inside the programs, on a toy model: what it reaches, how p moves, accumulation."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from stylegan_jax.train import schedule
from stylegan_jax.train.gan import objective
from stylegan_jax.train.gan.task import augment_warnings
from stylegan_jax.train.task import Context

CHEAP = {"augment__pipe": "color", "augment__ops__hue": 0.0, "augment__ops__saturation": 0.0}


@functools.cache
def run(**changes) -> toy.Run:
    return toy.Run(toy.make_config(**(CHEAP | changes)))


def fixed(p: float, **changes) -> toy.Run:
    return run(augment__mode="fixed", augment__p=p, **changes)


def ada(**changes) -> toy.Run:
    return run(augment__mode="ada", augment__p=0.5, augment__kimg=0.128, **changes)  # 4 iterations of 8 move p by 0.25


def start(r: toy.Run, bias: float = 0.0):
    """Return a first state whose discriminator adds `bias` to every logit."""
    state = jax.device_get(r.start())
    add = lambda path, x: x + np.float32(bias) if "out" in jax.tree_util.keystr(path) else x
    return toy.put(state, d=jax.tree.map_with_path(add, state.nets["d"]))


@pytest.mark.parametrize(
    ("phases", "reached"),
    [
        (("g_main",), {"loss/g_adversarial"}),
        (("g_reg",), set()),
        (("d_main", "finish"), {"loss/d_adversarial", "scores/fake", "scores/real"}),
        (("d_reg",), {"loss/d_penalty"}),
    ],
)
def test_it_reaches_every_image_of_the_discriminator_and_nothing_else(phases, reached):
    off, on = run(), fixed(1.0)
    a, b = (r.means(r.after(start(r), *phases)) for r in (off, on))
    told = {k for k, v in a.items() if not k.startswith("signs/")}
    assert {k for k in told if abs(a[k] - b[k]) > 1e-4 * abs(a[k])} == reached
    assert "augment/p" not in a and ("augment/p" in b) == ("finish" in phases)


def test_terms_that_a_run_reports():
    reported = {
        name: set(schedule.reported_terms(r.config, r.plan)) for name, r in {"off": run(), "on": fixed(1.0)}.items()
    }
    assert reported["on"] - reported["off"] == {"augment/p", "augment/r_t"}


def test_the_penalty_is_by_the_image_before_the_view():
    r = run()
    state, image = start(r), jnp.asarray(np.random.default_rng(2).standard_normal((8, *toy.SHAPE)), jnp.float32)
    context = Context(state.nets, state.moving, {}, r.plan.rates(0))

    def penalty(image, view):
        setting = objective.Setting(lambda rates: r.gan, r.config.loss, view)
        rows = {"real": objective.Seen({"image": image}, jnp.zeros((8, 0)))}
        return objective.d_reg(setting, context, rows)[0]

    halved = jax.jit(lambda x: penalty(x, lambda rates, drawn, image: image / 2))(image)
    direct = jax.jit(lambda x: penalty(x, objective.identity))(image / 2)
    np.testing.assert_allclose(halved, direct / 4, rtol=1e-5)


@pytest.mark.parametrize(("bias", "p"), [(100.0, 0.75), (-100.0, 0.25)])
def test_p_follows_the_sign_of_the_discriminator_on_reals(bias, p):
    r = ada()
    state = start(r, bias)
    for i in range(4):
        control = state.moving["augment"]
        assert float(control.p) == 0.5 and float(control.count) == 8 * i
        state = r.after(toy.put(state, d=start(r, bias).nets["d"]), "d_main", "finish")
    assert float(state.moving["augment"].p) == p and float(state.moving["augment"].count) == 0
    means = r.means(state)
    assert means["augment/p"] == 0.5 and means["augment/r_t"] == np.sign(bias)


def test_p_stays_within_its_bounds():
    r = ada()
    for bias, p in ((100.0, 1.0), (-100.0, 0.0)):
        state = start(r, bias)
        state = toy.put(state, augment=state.moving["augment"]._replace(p=np.float32(p))).replace(step=np.int32(3))
        assert float(r.after(state, "d_main", "finish").moving["augment"].p) == p


def test_reals_of_the_penalty_count_too():
    control = ada().after(start(ada(), 100.0), "d_main", "d_reg").moving["augment"]
    assert float(control.count) == float(control.sign_sum) == 16


def test_a_fixed_p_stays():
    state = start(fixed(0.7), 100.0).replace(step=np.int32(3))
    assert float(fixed(0.7).after(state, "d_main", "finish").moving["augment"].p) == np.float32(0.7)


def test_a_skipped_step_does_not_steer():
    r = ada(train__on_nan="skip")
    bad = toy.put(start(r), g=jax.tree.map(lambda x: np.full_like(x, np.nan), start(r).nets["g"]))
    control = r.after(bad, "d_main", "finish").moving["augment"]
    assert float(control.p) == 0.5 and float(control.count) == 0


@pytest.mark.parametrize("name", ["projected", "clips"])
def test_every_kind_of_example_is_augmented(name):
    r = toy.Run(toy.make_config(**CHEAP, augment__mode="fixed", augment__p=1.0), toy.TOYS[name])
    off = toy.Run(toy.make_config(**CHEAP), toy.TOYS[name])
    first = jax.device_get(r.start())
    a, b = (x.means(x.after(first, "d_main")) for x in (off, r))
    assert abs(a["scores/real"] - b["scores/real"]) > 1e-4


@pytest.mark.parametrize("phase", ["g_main", "d_main", "d_reg"])
def test_micro_batches_see_what_the_whole_batch_sees(phase):
    whole, parts = (fixed(0.7, train__batch_size=16, train__grad_accum=k) for k in (1, 2))
    a, b = (r.means(r.after(start(whole), phase)) for r in (whole, parts))
    for name, value in a.items():
        assert b[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize(("p", "warned"), [(1.0, True), (0.98, False)])
def test_a_ceiling_is_told(p, warned):
    lines = augment_warnings(ada().config, {"augment/p": p, "augment/r_t": 0.83})
    assert bool(lines) == warned == bool(ada().task.warnings({"augment/p": p, "augment/r_t": 0.83}))
    if warned:
        assert "maximum augment.p_max=1" in lines[0] and "mean sign 0.83, target 0.6" in lines[0]


def test_a_ceiling_is_told_through_the_rounding_of_the_sums():
    config = toy.make_config(augment__mode="ada", augment__p_max=0.7)
    mean = float(np.float32(sum(np.float32(0.7) for _ in range(250))) / np.float32(250)) * (1 - 2e-6)
    assert len(augment_warnings(config, {"augment/p": mean, "augment/r_t": 0.83})) == 1


@pytest.mark.parametrize("interval", [0, 1])
def test_reals_steer_once_per_step_or_with_each_phase_that_sees_them(interval):
    r = ada(loss__d_reg_interval=interval)
    names = [phase.name for phase in r.plan.phases if phase.net == "d"]
    assert names == (["d_main", "d_reg"] if interval else ["d_main"])
    assert float(r.after(start(r), *names).moving["augment"].count) == 8 * len(names)
