"""LeCam and adaptive pseudo augmentation inside the programs, on toy models, against NumPy."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from stylegan_jax.base import images
from stylegan_jax.train import schedule
from stylegan_jax.train.gan import objective
from stylegan_jax.train.task import Context

APA = {"augment__apa__mode": "fixed", "augment__apa__p": 0.5}
STEERED = {
    "augment__apa__mode": "apa",
    "augment__apa__p": 0.5,
    "augment__apa__kimg": 0.128,
}  # 4 iterations move p by 0.25
LECAM = {"loss__lecam_weight": 0.3, "loss__lecam_decay": 0.8}


@functools.cache
def run(name: str = "plain", **changes) -> toy.Run:
    return toy.Run(toy.make_config(**changes), toy.TOYS[name])


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, np.asarray(x, np.float64))


def evaluate(r: toy.Run, state, name: str = "d_main"):
    """Return (loss, Aux, rows) of a phase at a state, on the host."""
    phase = next(phase for phase in r.plan.phases if phase.name == name)

    @jax.jit
    def both(state, batch):
        rows = phase.draw(state, batch, toy.KEY)
        return *phase.loss(Context(state.nets, state.moving, r.frozen, r.plan.rates(state.nimg)), rows), rows

    return jax.device_get(both(state, r.batch()))


def test_the_loss_with_lecam_is_the_papers():
    r = run(**LECAM)
    first = jax.device_get(r.start())
    loss, aux, _ = evaluate(r, first)
    fake, real = aux.rows["fake"], aux.rows["real"]
    assert aux.means["loss/d_lecam"] == 0
    np.testing.assert_allclose(loss, (softplus(fake) + softplus(-real)).mean(), rtol=1e-5)
    second = toy.put(
        r.after(first, "d_main"), d=first.nets["d"]
    )  # the anchors have moved and the networks are as before
    loss, again, _ = evaluate(r, second)
    np.testing.assert_allclose(again.rows["real"], real, rtol=1e-6)
    penalty = ((real - fake.mean()) ** 2 + (fake - real.mean()) ** 2).mean()
    np.testing.assert_allclose(again.means["loss/d_lecam"], 0.3 * penalty, rtol=1e-4)
    np.testing.assert_allclose(loss, (softplus(fake) + softplus(-real)).mean() + 0.3 * penalty, rtol=1e-5)
    means = r.means(r.after(second, "d_main"))  # of both steps
    np.testing.assert_allclose(means["loss/d_lecam"], 0.15 * penalty, rtol=1e-4)


@pytest.mark.parametrize("name", ["plain", "projected", "clips"])
def test_anchors_follow_the_logits_of_every_head(name):
    r = run(name, **LECAM, loss__adversarial="hinge")
    state = jax.device_get(r.start())
    _, aux, _ = evaluate(r, state)
    anchors = r.after(state, "d_main").moving["lecam"]
    heads = toy.TOYS[name].spec.heads
    assert anchors.real.shape == anchors.fake.shape == (heads,)
    np.testing.assert_allclose(anchors.weight, 0.2, rtol=1e-6)
    np.testing.assert_allclose(anchors.real, 0.2 * aux.rows["real"].mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(anchors.fake, 0.2 * aux.rows["fake"].mean(axis=0), rtol=1e-4, atol=1e-6)


def test_fakes_stand_among_the_reals_and_the_loss_says_real_to_them():
    r = run(**APA)
    state = jax.device_get(r.start())
    loss, aux, rows = evaluate(r, state)
    pseudo = aux.rows["pseudo"]
    assert 0 < pseudo.sum() < len(pseudo)
    setting = objective.Setting(lambda rates: r.gan, r.config.loss)
    context = Context(state.nets, state.moving, {}, r.plan.rates(0))
    fake = np.asarray(objective.generate(setting, context, rows["latents"], train=True)[0]["image"])
    real = np.asarray(images.from_pixels(r.batch().sample["image"]))
    mixed = np.where(pseudo[:, None, None, None], fake, real)
    score = lambda image: np.asarray(r.gan.discriminate(state.nets["d"], {}, {"image": jnp.asarray(image)}, None)[0])
    np.testing.assert_allclose(aux.rows["real"], score(mixed), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(aux.rows["fake"], score(fake), rtol=1e-4, atol=1e-6)
    assert np.abs(score(mixed) - score(real)).max() > 1e-2
    np.testing.assert_allclose(loss, (softplus(-score(mixed)) + softplus(score(fake))).mean(), rtol=1e-5)


def test_a_pseudo_real_brings_everything_with_it():
    """Its image, its times and its label; the view stays that of the row."""
    make = lambda value: {"image": jnp.full((2, 3, 1, 1, 1), value), "times": jnp.full((2, 3), value)}
    cond = lambda *classes: jax.nn.one_hot(jnp.asarray(classes), 4)
    places = {"real": ("real's", make(1.0), cond(0, 1)), "fake": ("fake's", make(-1.0), cond(2, 3))}
    seen, sample, label = objective.deceived(places, jnp.asarray([False, True]))
    assert seen == "real's"
    assert sample["image"].ravel().tolist() == sample["times"].ravel().tolist() == [1.0] * 3 + [-1.0] * 3
    assert label.argmax(axis=1).tolist() == [0, 3]


def test_the_penalty_is_taken_where_the_discriminator_is_told_real():
    r = run(**APA)
    state = jax.device_get(r.start())
    _, aux, rows = evaluate(r, state, "d_reg")
    setting = objective.Setting(lambda rates: r.gan, r.config.loss)
    context = Context(state.nets, state.moving, {}, r.plan.rates(0))
    fake = objective.generate(setting, context, rows["latents"])[0]["image"]
    image = jnp.where(aux.rows["pseudo"][:, None, None, None], fake, images.from_pixels(r.batch().sample["image"]))
    total = lambda x: r.gan.discriminate(state.nets["d"], {}, {"image": x}, None)[0].sum()
    squared = np.square(jax.grad(total)(image)).sum(axis=(1, 2, 3))
    assert 0 < aux.rows["pseudo"].sum() < len(squared)
    np.testing.assert_allclose(aux.rows["penalty/real"], squared, rtol=1e-4)


@pytest.mark.parametrize("name", ["plain", "projected", "clips"])
def test_at_p_0_it_is_as_if_it_were_not_there(name):
    off, on = run(name, loss__adversarial="hinge"), run(name, loss__adversarial="hinge", **STEERED)
    first = jax.device_get(on.start())
    first = toy.put(first, apa=first.moving["apa"]._replace(p=np.float32(0)))
    a, b = off.means(off.after(off.start(), "d_main")), on.means(on.after(first, "d_main"))
    assert {term: b[term] for term in a} == pytest.approx(a, rel=1e-5)


@pytest.mark.parametrize(("bias", "p"), [(100.0, 0.75), (-100.0, 0.25)])
def test_p_follows_the_sign_of_true_reals_alone(bias, p):
    r = run(**STEERED)
    state = jax.device_get(r.start())
    add = lambda path, x: x + np.float32(bias) if "out" in jax.tree_util.keystr(path) else x
    d = jax.tree.map_with_path(add, state.nets["d"])
    count = 0.0
    for _ in range(4):
        state = toy.put(state, d=d)
        control = state.moving["apa"]
        assert float(control.p) == 0.5
        assert (float(control.count), float(control.sign_sum)) == (count, np.sign(bias) * count)
        count += sum((~evaluate(r, state, name)[1].rows["pseudo"]).sum() for name in ("d_main", "d_reg"))
        state = toy.put(r.after(state, "d_main"), d=d)
        state = r.after(state, "d_reg", "finish")
    assert 8 < count < 56  # of 64 rows about half
    assert float(state.moving["apa"].p) == p and float(state.moving["apa"].count) == 0
    means = r.means(state)
    assert means["apa/p"] == 0.5 and means["apa/r_t"] == np.sign(bias)


def test_steered_augmentation_beside_it_counts_true_reals_too():
    cheap = {"augment__pipe": "color", "augment__ops__hue": 0.0, "augment__ops__saturation": 0.0}
    r = run(**STEERED, **cheap, augment__mode="ada", augment__p=0.5)
    state = jax.device_get(r.start())
    true_reals = (~evaluate(r, state)[1].rows["pseudo"]).sum()
    moving = r.after(state, "d_main").moving
    assert float(moving["augment"].count) == float(moving["apa"].count) == true_reals < 8


def test_what_a_run_reports_and_keeps():
    reported = lambda r: set(schedule.reported_terms(r.config, r.plan))
    assert reported(run(**LECAM, **STEERED)) - reported(run()) == {"loss/d_lecam", "apa/p", "apa/r_t"}
    assert run().task.terms == run(**LECAM, **STEERED).task.terms[:-3]
    assert {"lecam", "apa"} & set(run().start().moving) == set()  # older checkpoints are read as they are
