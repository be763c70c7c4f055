"""Training an encoder: what its phases draw, minimise and move, on a toy, one step at a time."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import toy_encoder
from helpers import same_bits

from stylegan_jax.config import ConfigError, levels
from stylegan_jax.encoders import critic, make_spec
from stylegan_jax.encoders.bodies import BODIES
from stylegan_jax.encoders.encoder import make_encoder
from stylegan_jax.features import random_features
from stylegan_jax.losses import latents as losses
from stylegan_jax.runtime.mesh import make_layout
from stylegan_jax.train import programs, schedule, terms
from stylegan_jax.train.encoder import compare, generator, objective, pools, rates
from stylegan_jax.train.estimate import dry_run
from stylegan_jax.train.ranger import _rectification, ranger

N = 8


class Run:
    """Programs of the toy encoder, and a way to take steps."""

    def __init__(self, devices: int = 1, *, residual: bool = False, **changes):
        self.config = toy_encoder.make_config(**changes)
        self.layout = make_layout(devices)
        self.task = toy_encoder.task_of(self.config, self.layout, toy_encoder.make(residual=residual))
        self.plan = self.task.plan(levels(self.config)[-1])
        self.frozen = {name: self.layout.place(load().tree) for name, load in self.task.frozen.items()}
        self.programs = programs.jit_programs(programs.make_programs(self.task, self.config, self.layout), self.layout)

    def steps(self, count: int):
        """Return (states on the host after 0 to `count` iterations, reported sums)."""
        state, key = programs.create_state(self.task, self.layout, toy.KEY, self.frozen), toy.KEY
        states = [jax.device_get(state)]
        for i in range(count):
            batch = jax.device_put(toy.random_batch(self.plan.batch, i), self.layout.batch_shardings())
            names = schedule.due_phases(self.plan.phases, i, i * N)
            state = programs.run_step(self.programs, names, state, self.frozen, batch, key)
            states.append(jax.device_get(state))
        return states


@functools.cache
def run(devices: int = 1, *, residual: bool = False):
    """Return (run, states of 16 steps) on so many devices."""
    made = Run(devices, residual=residual)
    return made, made.steps(16)


def test_phases_follow_one_another():
    plan = run()[0].plan
    due = lambda step: schedule.due_phases(plan.phases, step, step * N)
    assert due(0) == due(5) == ["warmup"]
    assert due(6) == due(7) == ["latent_d", "encode"] and due(8) == ["latent_d", "latent_r1", "encode"]
    shares = schedule.cadence(plan.phases, 512)
    assert shares["warmup"] == pytest.approx(48 / 512) and shares["encode"] == pytest.approx(1 - 48 / 512)


def test_each_phase_trains_its_network_and_the_encoders_statistics_move_in_all():
    _, states = run()
    same = lambda a, b, net, part: same_bits(states[a].nets[net][part], states[b].nets[net][part])
    assert same(0, 6, "d", "params") and not same(6, 7, "d", "params")
    assert all(not same(i, i + 1, "e", "params") and not same(i, i + 1, "e", "batch_stats") for i in range(16))
    assert same(0, 16, "e", "average")


def test_a_slot_waits_for_its_stage_with_its_moments_and_count():
    _, states = run()
    style = lambda state: state.nets["e"]["params"]["styles"]["style1"]
    moments = lambda state: state.opt["e"]["styles"]["style1"]
    assert same_bits(style(states[0]), style(states[12])) and not same_bits(style(states[12]), style(states[13]))
    assert moments(states[12]).count == 0 and moments(states[16]).count == 4
    assert same_bits(moments(states[12]).slow, style(states[0]))
    assert states[16].opt["e"]["body"]["weight"].count == 16


def test_pools_fill_and_then_mix():
    _, states = run()
    counts = [int(state.moving["pools"]["real"].count) for state in states]
    assert counts[6] == 0 and counts[7] == 5 and counts[16] == 5
    before, after = states[7].moving["pools"]["fake"].styles, states[8].moving["pools"]["fake"].styles
    assert not same_bits(before, after)
    assert states[7].moving["shown"].shape == (N, 16) and np.abs(states[7].moving["shown"]).max(axis=1).all()


def test_what_is_learned_is_reported_and_falls():
    made, states = run()
    early, late = (terms.means(states[i].stats, made.task.terms) for i in (1, 16))
    assert set(early) == {"loss/l2", "loss/w", "loss/delta"} and set(late) > set(early) | {
        "loss/d_penalty",
        "scores/real",
    }
    w = lambda a, b: (states[b].stats.total - states[a].stats.total)[made.task.terms.index("loss/w")] / (b - a)
    assert w(3, 6) < 0.8 * early["loss/w"]


@pytest.mark.parametrize("residual", [False, True])
def test_eight_devices_do_what_one_does(residual):
    (_, a), (_, b) = run(residual=residual), run(8, residual=residual)
    near = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
    near(b[16].stats.total, a[16].stats.total)
    jax.tree.map(near, b[16].moving, a[16].moving)
    jax.tree.map(near, b[16].nets["e"]["batch_stats"], a[16].nets["e"]["batch_stats"])


def test_a_residual_encoder_goes_on_from_its_own_image_and_no_gradient_goes_between():
    made, states = run(residual=True)
    setting = objective.Setting(toy_encoder.make(residual=True), toy.PLAIN, made.config.encoder.training, {})
    e, rates_now = states[16].nets["e"], made.plan.rates(states[16].nimg)
    ws = jnp.broadcast_to(made.frozen["generator"]["w_avg"][None, None], (1, 2, 16))
    average = objective.image_of(toy.PLAIN, made.frozen, ws, None)[0]
    np.testing.assert_allclose(e["average"]["image"], average, atol=1e-6)
    context = objective.Context({"e": e}, {}, made.frozen, rates_now)
    rows = made.plan.phases[0].draw(states[16], toy.random_batch(made.plan.batch), toy.KEY)
    target, _ = objective.targets(setting, context, rows)
    found = list(objective.passes(setting, context, target, rows["noise_key"]))
    assert len(found) == 3 and len({float(jnp.abs(one.ws).sum()) for one in found}) == 3
    again = lambda scale: objective.styles_of(setting, e, target, (found[0].ws * scale, found[0].image * scale), None)
    assert float(jax.grad(lambda scale: again(scale)[0].sum())(1.0)) == 0


def test_a_latent_discriminator_without_pools_sees_the_first_slot():
    made = Run(encoder__training__pool=0, encoder__training__warmup_kimg=0.0, encoder__training__w_weight=0.0)
    state = programs.create_state(made.task, made.layout, toy.KEY, made.frozen)
    assert set(state.moving) == {"shown"}
    judge = next(phase for phase in made.plan.phases if phase.name == "latent_d")
    rows = judge.draw(state, toy.random_batch(made.plan.batch), toy.KEY)
    context = objective.Context(state.nets, state.moving, made.frozen, made.plan.rates(jnp.int32(1000)))
    _, aux = judge.loss(context, rows)
    ws, _ = toy_encoder.make().encode(state.nets["e"], rows["image"], stage=1, train=True)
    np.testing.assert_allclose(aux.rows["fake"], ws[:, 0], rtol=1e-5, atol=1e-6)
    moved = judge.after(state.moving, context, aux)
    np.testing.assert_array_equal(moved["shown"], aux.rows["real"])


# Parts


def test_ranger_leaves_alone_what_has_the_rate_0():
    optimizer, params = ranger(), {"a": jnp.ones((2, 3)), "b": {"c": jnp.ones(4)}}
    grads = jax.tree.map(lambda x: jnp.arange(x.size, dtype=x.dtype).reshape(x.shape), params)
    update = jax.jit(lambda state, rate: optimizer.update(grads, state, params, {"a": 0.1, "b": rate}, 0.0))
    updates, state = update(optimizer.init(params), 0.0)
    assert not np.any(updates["b"]["c"]) and state["b"]["c"].count == 0 and state["a"].count == 1
    np.testing.assert_allclose(updates["a"], np.repeat([[0.15], [-0.15]], 3, axis=1), rtol=1e-6)  # centred by column


def test_the_length_of_rangers_average_is_right_in_float32_at_any_step():
    for t in (1, 5, 6, 7, 30, 250, 251, 1000, 30000):
        b = 0.999
        exact = 2 / (1 - b) - 1 - 2 * t * np.longdouble(b) ** t / (1 - np.longdouble(b) ** t)
        _, length, _ = _rectification(jnp.float32(t), 0.95, b)
        assert float(length) == pytest.approx(float(exact), rel=2e-6, abs=1e-4), t


def test_style_losses_count_the_slots_of_a_stage():
    ws = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4, 5)), jnp.float32)
    judge = lambda w: w.sum(axis=1)
    values = np.log1p(np.exp(-np.asarray(ws).sum(axis=2)))
    np.testing.assert_allclose(losses.style_adversarial(judge, ws, 1), values[:, :2].mean(axis=1), rtol=1e-5)
    lengths = np.linalg.norm(np.asarray(ws[:, 1:] - ws[:, :1]), axis=2)
    np.testing.assert_allclose(losses.delta_norms(ws, 2), lengths[:, :2].sum(axis=1), rtol=1e-5)
    still = jnp.broadcast_to(ws[:, :1], ws.shape)
    assert not np.any(jax.grad(lambda x: losses.delta_norms(x, 3).sum())(still))
    np.testing.assert_allclose(losses.style_r1(judge, ws[:, 0]), np.full(3, 2.5), rtol=1e-6)


def test_pool_draws_do_not_depend_on_the_batch():
    few, many = pools.draw(toy.KEY, 3, 7), pools.draw(toy.KEY, 6, 7)
    np.testing.assert_array_equal(few.coin, many.coin[:3])
    np.testing.assert_array_equal(few.place, many.place[:3])
    assert int(many.place.min()) >= 0 and int(many.place.max()) < 7


@pytest.mark.parametrize(("body", "num_ws"), [("ir_se50", 10), ("efficientnet_lite0", 10), ("ir_se50", 2)])
def test_every_block_has_the_stage_that_first_uses_it(body, num_ws):
    """What a stage does not use has no gradient, and what it uses has one."""
    config = toy_encoder.make_config(encoder__body_widths=(4, 4, 8, 8), encoder__body_squeeze=2).encoder
    config = dataclasses.replace(config, body=body, width=8, image_size=(16, 16))
    spec = make_spec(config, num_ws=num_ws, w_dim=8, channels=3)
    encoder = make_encoder(spec, BODIES[body](config))
    first = rates.first_stages(encoder)
    assert first["styles/style1"] == 1 and first[f"styles/style{num_ws - 1}"] == num_ws - 1
    laterals = {"ir_se50": {"map1": 3, "map2": 7}, "efficientnet_lite0": {"map0": 0, "map1": 0, "map2": 3, "map3": 7}}
    wanted = laterals[body] if num_ws > 2 else {}
    assert {k.removeprefix("lateral/"): v for k, v in first.items() if k.startswith("lateral")} == wanted
    tree = rates.rates_at(encoder, config.training, jnp.int32(0)).lr["e"]
    jax.tree.map(
        lambda rate, some: None,
        tree,
        jax.eval_shape(encoder.init, toy.KEY)["params"],
        is_leaf=lambda x: not isinstance(x, dict),
    )


def test_stages_are_those_of_the_publication():
    t = toy_encoder.make_config(
        encoder__training__progressive_start_kimg=160.0, encoder__training__progressive_step_kimg=16.0
    ).encoder.training
    stages = [int(rates.stage_at(t, 18, iteration * 8)) for iteration in (0, 19999, 20000, 21999, 22000, 52000, 10**6)]
    assert stages == [0, 0, 1, 1, 2, 17, 17]


def test_comparisons_are_zero_for_the_same_image_and_are_named():
    t = toy_encoder.make_config(
        encoder__training__lpips_weight=0.8,
        encoder__training__similarity_weight=0.5,
        encoder__training__similarity="alexnet_lpips",
    ).encoder.training
    found = compare.comparisons(t)
    assert set(found) == {"loss/l2", "loss/alexnet_lpips", "loss/similarity_alexnet_lpips"}
    frozen = {"alexnet_lpips": random_features("alexnet_lpips", 0).params}
    x, y = (jnp.asarray(np.random.default_rng(i).uniform(-1, 1, (2, 32, 32, 1)), jnp.float32) for i in range(2))
    for name, one in found.items():
        np.testing.assert_allclose(one.compare(frozen, x, x), 0, atol=1e-5, err_msg=name)
        assert (one.compare(frozen, x, y) > 1e-3).all(), name


def test_the_latent_discriminator_has_four_layers():
    params = critic.init(toy.KEY, 6)["params"]
    assert [x["weight"].shape for x in params.values()] == [(6, 6)] * 3 + [(6, 1)]
    assert critic.judge(params, jnp.ones((5, 6))).shape == (5,)
    assert all(float(jnp.abs(x["weight"]).max()) <= 6**-0.5 for x in params.values())


# Bad input


def test_generators_that_no_encoder_fits_are_errors():
    model = toy_encoder.model()
    with pytest.raises(ConfigError, match="generates clips"):
        generator.check_generator(model.replace(gan=toy.CLIPS), "x", "e4e")
    one = toy.PLAIN._replace(spec=toy.SPEC._replace(num_ws=1))
    with pytest.raises(ConfigError, match="one style for all layers"):
        generator.check_generator(model.replace(gan=one), "x", "psp")
    generator.check_generator(model.replace(gan=one), "x", "w")
    r3gan = dataclasses.replace(model.config, arch="r3gan")
    with pytest.raises(ConfigError, match="no mapping network"):
        generator.check_generator(model.replace(gan=one, config=r3gan), "x", "w")
    with pytest.raises(ConfigError, match="vectors"):
        generator.check_generator(model.replace(label_kind="vectors"), "x", "e4e")
    with pytest.raises(ConfigError, match="still growing"):
        generator.check_generator(model.replace(is_grown=False), "x", "e4e")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder__model": ""}, "encoder.model is empty"),
        ({"encoder__kind": "psp"}, "only kind 'e4e' has stages"),
        ({"encoder__training__warmup_kimg": 0.0}, "only samples have known styles"),
        ({"encoder__training__warmup_kimg": 1.0}, "never train"),
        ({"train__grad_accum": 2}, "batch normalisation needs the whole batch"),
        ({"eval__metrics": "fid5k"}, "metrics during training are for generators"),
        ({"log__grid_rows": 3}, "4 rows"),
        ({"encoder__training__lpips": "lpips"}, "alexnet_lpips"),
        ({"encoder__training__images": "fakes"}, "samples"),
    ],
)
def test_keys_that_do_not_fit_are_errors(changes, words):
    with pytest.raises(ConfigError, match=words):
        toy_encoder.make_config(**changes)


def test_sizes_and_networks_that_do_not_fit_are_errors():
    layout = make_layout(1)
    with pytest.raises(ConfigError, match=r"same aspect ratio, such as \(16, 16\)"):
        spec = toy_encoder.make()
        wide = spec._replace(spec=spec.spec._replace(image=(16, 8, 3)))
        toy_encoder.task_of(toy_encoder.make_config(), layout, wide)
    with pytest.raises(ConfigError, match="known: ir_se50"):
        changes = {"encoder__training__similarity": "moco", "encoder__training__similarity_weight": 0.5}
        toy_encoder.task_of(toy_encoder.make_config(**changes), layout)


def test_a_dry_run_shows_both_networks(monkeypatch):
    toy_encoder.install(monkeypatch)
    text = dry_run(toy_encoder.make_config())
    assert "encoder parameters" in text and "latent discriminator parameters" in text and "warmup" in text
