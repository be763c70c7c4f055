"""The four programs on the tiny recipe: what each changes, counters, averages, bad values."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from configs import tiny
from stylegan_jax import models
from stylegan_jax.base import rng
from stylegan_jax.config import from_dict, levels
from stylegan_jax.train import ema, programs, terms
from stylegan_jax.train.gan.phases import PHASES, as_cond
from stylegan_jax.train.gan.task import TERMS, make_task

KEY = toy.KEY
N = 16


@functools.cache
def setup() -> toy.Run:
    tree = tiny.get_config()
    tree.train.batch_size = N
    tree.model.label_dim, tree.model.d_mapping_layers = 2, 1
    tree.loss.g_reg_interval, tree.loss.d_reg_interval = 2, 3
    config = from_dict(tree)
    return toy.Run(config, models.build(config.model))


@functools.cache
def initial():
    """Return the first state on the host, with noise strengths that count."""
    state = jax.device_get(setup().start())
    strong = lambda path, x: x + np.float32(0.1) if "noise_strength" in jax.tree_util.keystr(path) else x
    return toy.put(state, g=jax.tree.map_with_path(strong, state.nets["g"]))


@functools.cache
def after(*names: str):
    """Return the host state after programs from the initial state."""
    return setup().after(initial(), *names)


def changed(old, new) -> set[str]:
    """Return what moved, by the first two or three names of its leaves; of networks, the collections."""
    moved = set()
    for path, same in jax.tree.leaves_with_path(jax.tree.map(lambda a, b: bool(np.all(a == b)), old, new)):
        names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        if not same:
            moved.add("/".join(names[: {"nets": 3, "stats": 1}.get(names[0], 2)]))
    return moved


CHANGES = {
    "g_main": {"nets/g/params", "opt/g", "stats"},
    "g_reg": {"nets/g/params", "opt/g", "stats", "moving/pl_mean"},
    "d_main": {"nets/d/params", "opt/d", "stats", "moving/w_avg"},
    "d_reg": {"nets/d/params", "opt/d", "stats"},
}
REPORTS = {
    "g_main": {"loss/g_adversarial"},
    "g_reg": {"loss/g_path_length", "path_length/mean"},
    "d_main": {"loss/d_adversarial", "scores/fake", "scores/real", "signs/fake", "signs/real"},
    "d_reg": {"loss/d_penalty"},
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_program_changes_only_what_is_its_own(phase):
    assert changed(initial(), after(phase)) == CHANGES[phase]


def test_the_end_of_an_iteration_moves_the_average_and_counts():
    # The first average copies weights equal to it, so the weights move first.
    assert changed(after("g_main"), after("g_main", "finish")) == {"ema/g", "step", "nimg"}


@pytest.mark.parametrize("phase", PHASES)
def test_a_program_reports_its_terms(phase):
    stats = after(phase).stats
    assert set(setup().means(after(phase))) == REPORTS[phase]
    assert terms.first_bad(stats, TERMS) is None
    assert max(stats.count) == 1


def test_every_term_is_reported_by_one_phase():
    optional = ("nonfinite/", "augment/")  # reported with options that are off here
    told = [name for phase in setup().plan.phases for name in phase.reports]
    assert sorted(told) == sorted(name for name in TERMS if not name.startswith(optional))
    assert {phase.name: set(phase.reports) for phase in setup().plan.phases} == REPORTS


def test_nearly_every_parameter_moves():
    for phase, network in (("g_main", "g"), ("d_main", "d")):
        old, new = initial().nets[network]["params"], after(phase).nets[network]["params"]
        still = [
            jax.tree_util.keystr(path)
            for path, same in jax.tree.leaves_with_path(jax.tree.map(lambda a, b: np.array_equal(a, b), old, new))
            if same
        ]
        assert still == []


def test_counters_and_averages():
    r, moved = setup(), after("g_main")
    new = r.after(moved, "d_main", "finish")
    assert (int(new.step), int(new.nimg)) == (1, N)
    beta = float(ema.ema_beta(N, moved.nimg, r.config.train.ema_kimg, r.config.train.ema_rampup))
    assert 0.5 < beta < 1
    formula = lambda old, g: beta * old + (1 - beta) * g
    jax.tree.map(
        lambda old, g, got: np.testing.assert_allclose(got, formula(old, g), rtol=1e-5, atol=1e-6),
        moved.ema["g"], moved.nets["g"]["params"], new.ema["g"],
    )  # fmt: skip
    z = jax.random.normal(jax.random.split(rng.stream(KEY, "d_main", 0), 3)[0], (2, N, r.gan.spec.z_dim))[0]
    cond = as_cond(r.batch().gen_label[r.plan.draws.index(PHASES.index("d_main"))], 2)
    w = r.gan.map_latents(moved.nets["g"], {"z": z}, cond)[:, 0]
    np.testing.assert_allclose(new.moving["w_avg"], 0.005 * np.mean(w, axis=0), rtol=1e-3, atol=1e-7)


def test_path_length_mean_moves_by_its_decay():
    r, new = setup(), after("g_reg")
    mean = r.means(new)["path_length/mean"]
    assert float(new.moving["pl_mean"]) == pytest.approx(mean, rel=1e-6)
    lengths = mean / r.config.loss.pl_decay  # from 0
    assert r.means(new)["loss/g_path_length"] >= 0.9 * r.config.loss.pl_weight * (lengths - mean) ** 2


def test_same_state_and_batch_give_the_same_bits():
    for phase in PHASES:
        jax.tree.map(np.testing.assert_array_equal, after(phase), setup().after(initial(), phase))


def test_another_step_draws_other_latents():
    r, name = setup(), "loss/g_adversarial"
    later = r.after(initial().replace(step=np.int32(1)), "g_main")
    assert r.means(later)[name] != r.means(after("g_main"))[name]


@pytest.mark.parametrize(
    ("network", "phase", "term"), [("g", "g_main", "loss/g_adversarial"), ("d", "d_reg", "loss/d_penalty")]
)
def test_a_bad_parameter_is_named_with_its_term_and_step(network, phase, term):
    state = jax.tree.map(np.copy, initial()).replace(step=np.int32(7))
    leaf = next(x for x in jax.tree.leaves(state.nets[network]["params"]) if x.ndim > 1)
    leaf.flat[0] = np.nan
    assert terms.first_bad(setup().after(state, phase).stats, TERMS) == (term, 7)


def test_shapes_promise_what_create_and_the_programs_return():
    r = setup()
    state, shapes = initial(), programs.state_shapes(r.task, r.layout)
    jax.tree.map(lambda x, s: (x.shape, x.dtype) == (s.shape, s.dtype) or pytest.fail(str(s)), state, shapes)
    describe = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert all(describe(after(name)) == describe(state) for name in (*PHASES, "finish"))
    placed = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), tree)
    assert placed(r.batch()) == placed(programs.batch_shapes(r.task, r.config, r.layout))


def test_class_numbers_and_one_hot_labels_are_the_same():
    """Numbers are what travels to the device, vectors what the networks read."""
    numbers = np.array([1, 0, 2], np.int32)
    vectors = np.eye(3, dtype=np.float32)[numbers]
    np.testing.assert_array_equal(as_cond(jnp.asarray(numbers), 3), vectors)
    np.testing.assert_array_equal(as_cond(jnp.asarray(vectors), 3), vectors)
    r = setup()
    task = make_task(r.config, r.layout, label_kind="vectors")
    plan = task.plan(levels(r.config)[-1])
    assert plan.batch.label.shape == (N, 2) and plan.batch.label.dtype == jnp.float32
    assert r.plan.batch.label.shape == (N,) and r.plan.batch.label.dtype == jnp.int32
