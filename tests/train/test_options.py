"""Options of the programs on a toy model: Freeze-D, warm-up, blur, and what a bad step does."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from stylegan_jax.config import ConfigError
from stylegan_jax.models import stylegan2
from stylegan_jax.train import guard, schedule, terms
from stylegan_jax.train.gan import views
from stylegan_jax.train.gan.phases import PHASES, reals_of
from stylegan_jax.train.gan.task import TERMS, check_frozen, check_labels
from stylegan_jax.train.task import Context


@functools.cache
def run(**changes) -> toy.Run:
    return toy.Run(toy.make_config(**changes))


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def moved(old, new) -> set[str]:
    flags = jax.tree.map(lambda a, b: bool(np.any(a != b)), old, new)
    return {"/".join(k.key for k in path) for path, flag in jax.tree.leaves_with_path(flags) if flag}


# Freeze-D and the mapping network


def test_frozen_layers_stay_bit_equal_and_have_no_moments():
    frozen, free = run(train__freeze_d=1, train__freeze_mapping="all"), run()
    start = frozen.start()
    after, whole = frozen.after(start, *PHASES), free.after(free.start(), *PHASES)
    params = lambda state, net: state.nets[net]["params"]
    assert moved(params(start, "d"), params(after, "d")) == {"b8/conv0/weight", "b4/out/bias"}
    assert moved(params(start, "g"), params(after, "g")) == {"synthesis/b8/weight"}
    assert "b8/fromrgb/weight" in moved(params(start, "d"), params(whole, "d"))
    sizes = lambda opt: sum(x.size for x in jax.tree.leaves(opt))
    assert sizes(whole.opt["d"]) - sizes(after.opt["d"]) == 2 * 192 * 4
    assert sizes(whole.opt["g"]) - sizes(after.opt["g"]) == 2 * 16 * 16


def test_what_is_not_frozen_moves_as_without_freezing():
    first, second = run(train__freeze_d=1), run()
    after, whole = (r.after(r.start(), "d_main") for r in (first, second))
    for path in (("b8", "conv0"), ("b4", "out")):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
            *(s.nets["d"]["params"][path[0]][path[1]] for s in (after, whole)),
        )


@pytest.mark.parametrize(
    ("arch", "names"),
    [
        ("resnet", ["b16/fromrgb", "b16/conv0", "b16/conv1", "b16/skip", "b8/conv0", "b8/conv1", "b8/skip"]),
        ("skip", ["b16/fromrgb", "b16/conv0", "b16/conv1", "b8/fromrgb", "b8/conv0", "b8/conv1"]),
        ("orig", ["b16/fromrgb", "b16/conv0", "b16/conv1", "b8/conv0", "b8/conv1"]),
    ],
)
def test_layers_are_counted_as_in_the_official_code(arch, names):
    model = toy.make_config(model__d_arch=arch, model__resolution=16, model__channel_base=64).model
    spec = stylegan2.build(model).spec
    assert list(spec.groups["freeze_d"]) == names
    params = jax.eval_shape(stylegan2.build(model).init_d, jax.random.key(0))["params"]
    assert all(layer in params[block] for block, layer in (name.split("/") for name in names))


def test_more_layers_than_there_are_is_an_error():
    with pytest.raises(ConfigError, match=r"freeze_d is 3, .* has 2 freezable layers; .*: b8/fromrgb, b8/conv0"):
        check_frozen(toy.make_config(train__freeze_d=3), toy.SPEC)
    with pytest.raises(ConfigError, match="'embed', but this model has no labels"):
        check_frozen(toy.make_config(train__freeze_mapping="embed"), toy.SPEC)
    check_frozen(toy.make_config(train__freeze_mapping="embed"), toy.SPEC._replace(label_dim=2))
    without = toy.SPEC._replace(groups={**toy.SPEC.groups, "mapping": ()})
    with pytest.raises(ConfigError, match="no mapping network; use"):
        check_frozen(toy.make_config(train__freeze_mapping="all"), without)


def test_labels_that_are_no_classes_do_not_fit_a_mean_style_per_class():
    per_class = toy.SPEC._replace(label_dim=3, w_avg=(3, toy.SPEC.w_dim))
    with pytest.raises(ConfigError, match="yields vectors, but this architecture has a mean style per class"):
        check_labels(per_class, "vectors")
    check_labels(per_class, "classes")
    check_labels(toy.SPEC._replace(label_dim=3), "vectors")


# learning rates and their warm-up


def flat(params) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)])


def test_each_network_has_its_own_learning_rate():
    other, equal = run(train__g_lr=0.006, train__d_lr=0.001), run()  # 0.002 each
    start = jax.device_get(equal.start())
    for phase, net, times in (("g_main", "g", 3), ("d_main", "d", 0.5)):
        before = flat(start.nets[net]["params"])
        fast, plain = (flat(r.after(start, phase).nets[net]["params"]) - before for r in (other, equal))
        np.testing.assert_allclose(fast, times * plain, rtol=1e-3, atol=1e-7)
        assert np.abs(plain).max() > 1e-4


@pytest.mark.parametrize("phase", PHASES)
def test_warm_up_scales_the_step_by_the_images_shown(phase):
    warm, cold = run(train__lr_warmup_kimg=0.04), run()  # 40 images, batch 8
    start, net = jax.device_get(cold.start()), phase[0]
    for shown, part in ((0, 0.2), (16, 0.6), (32, 1.0), (800, 1.0)):
        here = start.replace(nimg=np.int32(shown))  # as all phases of an iteration see it
        scaled, whole = (flat(r.after(here, phase).nets[net]["params"]) for r in (warm, cold))
        before = flat(start.nets[net]["params"])
        np.testing.assert_allclose(scaled - before, part * (whole - before), rtol=1e-3, atol=1e-7)


# blur


def official_blur(image, sigma):
    """The published definition: taps of size floor(3 sigma), zeros outside."""
    size = int(np.floor(sigma * 3))
    if size == 0:
        return image
    f = np.exp2(-((np.arange(-size, size + 1) / sigma) ** 2))
    f /= f.sum()
    for axis in (1, 2):
        image = np.apply_along_axis(lambda row: np.convolve(row, f)[size : size + len(row)], axis, image)
    return image


def test_blur_equals_the_published_one_at_every_sigma():
    x = np.random.default_rng(0).standard_normal((2, 9, 12, 3)).astype(np.float32)
    blur = jax.jit(lambda x, s: views.blur(x, s, 3.0))
    for sigma in (3.0, 2.34, 1.0, 0.5, 0.34):
        np.testing.assert_allclose(blur(x, np.float32(sigma)), official_blur(x, sigma), atol=2e-6)
    for sigma in (0.33, 0.1, 0.0):
        np.testing.assert_array_equal(blur(x, np.float32(sigma)), x)


def test_blur_fades_linearly():
    loss = toy.make_config(loss__blur_init_sigma=4.0, loss__blur_fade_kimg=2.0).loss
    sigmas = [float(views.blur_sigma(loss, jnp.int32(n))) for n in (0, 500, 1000, 2000, 9000)]
    np.testing.assert_allclose(sigmas, [4, 3, 2, 0, 0], rtol=1e-6)


def test_every_image_of_the_discriminator_is_blurred():
    changes = {"loss__blur_init_sigma": 2.0, "loss__blur_fade_kimg": 0.016}
    blurred, sharp = run(**changes), run()
    start = jax.device_get(sharp.start())
    for nimg, equal in ((0, False), (8, False), (16, True)):  # sigma 2, 1, 0
        here = start.replace(nimg=np.int32(nimg))
        for phases in (("g_main",), ("d_main",), ("d_main", "d_reg")):
            a, b = (r.means(r.after(here, *phases)) for r in (blurred, sharp))
            told = {k: pytest.approx(v, rel=1e-5) == b[k] for k, v in a.items()}
            assert all(v == equal for k, v in told.items() if k.startswith(("loss/", "scores/"))), (nimg, phases, told)


# bad steps


def broken(phase: str):
    """Return a state in which a program meets NaN: the network that it reads, not the one it trains, is broken."""
    state = jax.device_get(run().start())
    if phase.startswith("g"):
        bad = jax.tree.map(lambda x: np.full_like(x, np.nan), state.nets["d"])
        return toy.put(state, d=bad) if phase == "g_main" else toy.put(state, pl_mean=np.float32(np.inf))
    bad = jax.tree.map(lambda x: np.full_like(x, np.nan), state.nets["g"])
    return toy.put(state, g=bad)


@pytest.mark.parametrize("phase", ["g_main", "g_reg", "d_main"])
def test_a_bad_step_is_skipped_whole_and_counted(phase):
    start = broken(phase)
    r = run(train__on_nan="skip")
    after = r.after(start, phase)
    for field in ("nets", "opt", "ema", "moving"):
        assert np.array_equal(
            *[
                np.nan_to_num(np.concatenate([np.ravel(x) for x in jax.tree.leaves(getattr(s, field))]))
                for s in (start, after)
            ]
        ), field
    assert int(after.step) == int(after.nimg) == 0
    assert terms.first_bad(after.stats, TERMS) is None
    assert guard.bad_steps(after.stats, TERMS) == {phase: (1, 1)}
    assert all(np.isfinite(v) for v in r.means(after).values())


def test_a_bad_penalty_is_skipped():
    start = jax.device_get(run().start())
    large = lambda path, x: np.full_like(x, 1e25) if "conv0" in jax.tree_util.keystr(path) else x
    start = toy.put(start, d=jax.tree.map_with_path(large, start.nets["d"]))  # the penalty overflows
    after = run(train__on_nan="skip").after(start, "d_reg")
    assert same(after.nets["d"], start.nets["d"]) and same(after.opt["d"], start.opt["d"])
    assert guard.bad_steps(after.stats, TERMS) == {"d_reg": (1, 1)}


def test_good_steps_are_the_same_under_every_policy():
    start = run().start()
    want = run().after(start, *PHASES)
    for policy in ("skip", "scrub", "rollback"):
        got = run(train__on_nan=policy).after(start, *PHASES)
        assert guard.bad_steps(got.stats, TERMS) == {}
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            got.replace(stats=0),
            want.replace(stats=0),
        )


def test_scrubbing_takes_the_step_with_a_repaired_gradient():
    start, r = broken("g_main"), run(train__on_nan="scrub")
    after = r.after(start, "g_main")
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after.nets["g"], after.opt["g"])))
    count = lambda s: [int(x) for x in jax.tree.leaves(s.opt["g"]) if x.dtype == np.int32]
    assert max(count(after)) == 1  # Adam counted it
    assert guard.bad_steps(after.stats, TERMS) == {"g_main": (1, 1)}
    after = r.after(broken("g_reg"), "g_reg")
    assert np.isinf(after.moving["pl_mean"])  # as it was: a statistic does not take a bad value
    after = r.after(broken("d_main"), "d_main", "finish")
    assert np.isfinite(after.moving["w_avg"]).all() and int(after.step) == 1


def test_scrubbed_values_are_those_of_the_official_code():
    got = guard.scrub({"a": jnp.array([jnp.nan, jnp.inf, -jnp.inf, 2.0])})
    np.testing.assert_array_equal(got["a"], [0, 1e5, -1e5, 2])


def test_halting_lets_the_bad_value_through():
    after = run().after(broken("g_main"), "g_main")
    assert terms.first_bad(after.stats, TERMS) == ("loss/g_adversarial", 0)


def test_path_length_may_start_later():
    r = run(loss__pl_start_kimg=0.1)  # 12.5 iterations of 8
    ran = [step for step in range(32) if "g_reg" in schedule.due_phases(r.plan.phases, step, 8 * step)]
    assert ran == [16, 20, 24, 28]
    off = run(loss__pl_weight=0.0)
    assert [phase.name for phase in off.plan.phases] == ["g_main", "d_main", "d_reg"]


def phase_of(r, name):
    return next(p for p in r.plan.phases if p.name == name)


def rows_of(phase, **changes):
    """Return what a phase draws at its first step."""
    r = run(**changes)
    return phase_of(r, phase).draw(jax.device_get(r.start()), r.batch(), toy.KEY)


def gradient_of(phase, rows=None, **changes):
    """Return the gradient of a phase by the discriminator's parameters, from its first state, and what it reports."""
    r = run(**changes)
    state, chosen = jax.device_get(r.start()), phase_of(r, phase)
    rows = rows or chosen.draw(state, r.batch(), toy.KEY)

    def loss(params):
        context = Context(state.nets | {"d": {"params": params}}, state.moving, {}, r.plan.rates(state.nimg))
        value, aux = chosen.loss(context, rows)
        return value, aux.means

    return jax.jit(jax.grad(loss, has_aux=True))(state.nets["d"]["params"])


@pytest.mark.parametrize("penalty", ["r1", "wgan_gp", "r1+r2"])
def test_with_interval_0_the_penalty_is_part_of_every_step(penalty):
    both, means = gradient_of("d_main", loss__d_reg=penalty, loss__d_reg_interval=0)
    main, _ = gradient_of("d_main", loss__d_reg="none")
    same = rows_of("d_main", loss__d_reg=penalty, loss__d_reg_interval=0)  # its fakes, reals and views
    alone, _ = gradient_of("d_reg", same, loss__d_reg=penalty, loss__d_reg_interval=1)
    for got, a, b in zip(*map(jax.tree.leaves, (both, main, alone)), strict=True):
        np.testing.assert_allclose(got, a + b, rtol=1e-4, atol=1e-6)
    assert np.abs(jax.tree.leaves(alone)[1]).max() > 1e-4 and means["loss/d_penalty"] > 0
    r = run(loss__d_reg=penalty, loss__d_reg_interval=0)
    assert "d_reg" not in [phase.name for phase in r.plan.phases]
    assert "loss/d_penalty" in schedule.reported_terms(r.config, r.plan)
    checked = run(loss__d_reg_interval=0, train__on_nan="skip")
    assert "nonfinite/d_reg" not in schedule.reported_terms(checked.config, checked.plan)


def test_penalties_add_up():
    r1, r2, both = (gradient_of("d_reg", loss__d_reg=kind)[1] for kind in ("r1", "r2", "r1+r2"))
    name = "loss/d_penalty"
    assert float(both[name]) == pytest.approx(float(r1[name] + r2[name]), rel=1e-5) and r2[name] > 0


def test_the_drift_penalty_pulls_the_logits_of_reals_to_zero():
    """A critic that is one number b: fakes and reals cancel, and of w b^2 the gradient is 2 w b."""
    critic = lambda d, frozen, sample, cond, **_: (jnp.full((sample["image"].shape[0], 1), d["params"]), {})
    gan = toy.PLAIN._replace(discriminate=critic)
    r = toy.Run(toy.make_config(loss__adversarial="wasserstein", loss__drift_weight=0.001), gan)
    state = r.start()
    phase = next(p for p in r.plan.phases if p.name == "d_main")
    rows = phase.draw(state, r.batch(), toy.KEY)

    def loss(b):
        context = Context(state.nets | {"d": {"params": b}}, state.moving, {}, r.plan.rates(0))
        return phase.loss(context, rows)[0]

    np.testing.assert_allclose(jax.grad(loss)(jnp.array(3.0)), 2 * 0.001 * 3.0, rtol=1e-4)


@pytest.mark.parametrize("phase", ["g_main", "d_main"])
def test_a_relativistic_loss_sees_reals_in_both_phases(phase):
    r = run(loss__adversarial="relativistic")
    term = f"loss/{phase[0]}_adversarial"
    start = jax.device_get(r.start())
    first, second = (r.means(r.after(start, phase, index=i))[term] for i in (0, 1))
    assert first != second  # other reals
    reals = [reals_of(r.batch(), name)[0]["image"] for name in ("g_main", "g_reg", "d_main", "d_reg")]
    same = [[bool((a == b).all()) for b in reals] for a in reals]
    assert same == [[True, True, False, False]] * 2 + [[False, False, True, True]] * 2  # each network has its own
    plain = run()
    a, b = (plain.means(plain.after(start, "g_main", index=i))["loss/g_adversarial"] for i in (0, 1))
    assert a == b


def test_guidance_and_statistics_of_a_projected_discriminator():
    """The frozen classifier is a term of the generator's loss; every call of the discriminator moves its statistics."""
    r = toy.Run(toy.make_config(loss__adversarial="hinge"), toy.PROJECTED)
    start = jax.device_get(r.start())
    after = r.after(start, "g_main")
    means = r.means(after)
    assert means["loss/g_guidance"] > 0 and r.gan.guide is not None
    moved_by_g = moved(start.nets["d"]["batch_stats"], after.nets["d"]["batch_stats"])
    assert moved_by_g == {f"head{i}/{leaf}" for i in range(toy.HEADS) for leaf in ("mean", "var", "u")}
    assert moved(start.nets["d"]["buffers"], after.nets["d"]["buffers"]) == set()
    trained = r.after(start, "d_main")
    assert np.abs(trained.moving["w_avg"]).max() > 0 and trained.moving["w_avg"].shape == (toy.CLASSES, 16)
    assert "g_guidance" not in str(r.means(trained))


def test_statistics_move_once_for_loss_and_penalty_of_the_same_step():
    """With the penalty in d_main, one call of the discriminator on reals serves both."""
    changes = {"loss__adversarial": "hinge", "train__d_lr": 1e-12}  # so that weights stay where they are
    both, apart = (
        toy.Run(toy.make_config(**changes, loss__d_reg_interval=interval), toy.PROJECTED) for interval in (0, 1)
    )
    first = jax.device_get(both.start())
    a, b = both.after(first, "d_main"), apart.after(first, "d_main")
    near = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5)
    for head in ("head0", "head1"):
        moved_by_all = jax.tree.map(near, *(s.nets["d"]["batch_stats"][head] for s in (a, b)))
        assert moved_by_all is not None


def test_pairs_of_a_relativistic_loss_share_their_label():
    config = toy.make_config(loss__adversarial="relativistic", loss__d_reg="r1+r2", loss__d_reg_interval=0)
    r = toy.Run(config, toy.PROJECTED)
    state = jax.device_get(r.start())
    for name in ("g_main", "d_main"):
        rows = phase_of(r, name).draw(state, r.batch(), toy.KEY)
        np.testing.assert_array_equal(rows["latents"].cond, rows["real"].cond)
    assert r.plan.draws == (PHASES.index("g_reg"),)  # path length alone draws labels of its own
    other = phase_of(r, "g_main").draw(state, r.batch(), toy.KEY)["real"].cond
    assert (np.asarray(other) != np.asarray(rows["real"].cond)).any()


def test_reports_of_a_relativistic_loss_are_differences():
    """Adding a number to all logits changes nothing that is reported."""

    def shifted(by):
        critic = lambda *args, **more: (lambda out: (out[0] + by, out[1]))(toy.PLAIN.discriminate(*args, **more))
        r = toy.Run(toy.make_config(loss__adversarial="relativistic"), toy.PLAIN._replace(discriminate=critic))
        return r.means(r.after(jax.device_get(r.start()), "d_main"))

    a, b = shifted(0.0), shifted(64.0)
    for name in ("scores/fake", "scores/real", "signs/fake", "signs/real", "loss/d_adversarial"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-4)
    assert a["scores/fake"] == -a["scores/real"] != 0


def test_the_discriminator_can_come_first():
    r = run(loss__d_first=True)
    assert [phase.name for phase in r.plan.phases] == ["d_main", "d_reg", "g_main", "g_reg"]
    assert r.plan.draws == run().plan.draws  # a phase draws the same labels in either order


ENDS = {
    "schedule__end_kimg": 0.032,
    "schedule__g_lr": 1e-4,
    "schedule__d_lr": 2e-4,
    "schedule__beta2": 0.5,
    "schedule__r1_gamma": 1.0,
    "schedule__ema_kimg": 0.0,
}


def test_a_schedule_moves_rates_along_half_a_cosine_and_then_stays():
    r = run(**ENDS, schedule__start_kimg=0.016)
    first, t, loss = r.plan.rates(0), r.config.train, r.config.loss
    assert (first.lr["g"], first.lr["d"], first.beta2["g"], first.gamma) == pytest.approx(
        (t.g_lr, t.d_lr, t.beta2, loss.r1_gamma)
    )
    middle, last, later = (r.plan.rates(jnp.int32(nimg)) for nimg in (24, 32, 4000))
    assert float(middle.lr["d"]) == pytest.approx((t.d_lr + 2e-4) / 2)
    for rates in (last, later):
        assert (rates.lr["g"], rates.lr["d"], rates.beta2["d"], rates.gamma) == pytest.approx((1e-4, 2e-4, 0.5, 1.0))
        assert float(rates.ema_beta) == 0.0
    quarter = r.plan.rates(jnp.int32(20)).gamma
    assert float(quarter) == pytest.approx(1.0 + (loss.r1_gamma - 1.0) * (1 + np.cos(np.pi / 4)) / 2)


def test_a_scheduled_strength_decides_how_much_is_augmented():
    r = run(augment__mode="fixed", schedule__end_kimg=0.016, schedule__augment_p=1.0)
    start = jax.device_get(r.start())
    means = r.means(r.after(start, "d_main", "finish"))
    assert means["augment/p"] == 0.0
    late = r.after(start.replace(nimg=np.int32(16)), "d_main", "finish")
    assert r.means(late)["augment/p"] == 1.0
    plain = run()
    untouched = plain.means(plain.after(start, "d_main"))["scores/real"]
    assert means["scores/real"] == pytest.approx(untouched, rel=1e-5)
    assert r.means(late)["scores/real"] != pytest.approx(untouched, rel=1e-3)
