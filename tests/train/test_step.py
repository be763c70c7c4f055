"""The four programs on the tiny recipe: what each changes, counters, averages, bad values."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import tiny
from stylegan_jax import models
from stylegan_jax.base import images, rng
from stylegan_jax.base.spec import PHASES, Batch
from stylegan_jax.config import ExperimentConfig, from_dict
from stylegan_jax.runtime import mesh as sharding
from stylegan_jax.train import ema, terms
from stylegan_jax.train.gan import step

KEY = rng.root(11)
N = 16


class Run(NamedTuple):
    """Compiled programs of a layout, shared by all tests of a process."""

    config: ExperimentConfig
    gan: models.Gan
    layout: sharding.Layout
    programs: dict


@functools.cache
def setup(num_devices: int) -> Run:
    tree = tiny.get_config()
    tree.train.batch_size = N
    tree.model.label_dim, tree.model.d_mapping_layers = 2, 1
    tree.loss.g_reg_interval, tree.loss.d_reg_interval = 2, 3
    config = from_dict(tree)
    gan, layout = models.build(config.model), sharding.make_layout(num_devices)
    return Run(config, gan, layout, step.jit_programs(step.make_programs(gan, config, layout), layout))


@functools.cache
def initial_arrays():
    """Return the first state on the host, with noise strengths that count."""
    run = setup(1)
    state = jax.device_get(step.create_state(run.gan, run.config, run.layout, KEY))
    strong = lambda path, x: x + np.float32(0.1) if "noise_strength" in jax.tree_util.keystr(path) else x
    return state.replace(g=jax.tree.map_with_path(strong, state.g))


def initial(run: Run):
    """Return a fresh state; programs consume the one they are given."""
    return jax.device_put(jax.tree.map(np.copy, initial_arrays()), run.layout.replicated)


def batch(run: Run, index: int = 0) -> Batch:
    draw = np.random.default_rng(index)
    labels = lambda *shape: np.eye(2, dtype=np.float32)[draw.integers(0, 2, shape)]
    pixels = draw.integers(0, 256, (N, *run.gan.spec.image_shape), dtype=np.uint8)
    return jax.device_put(Batch(pixels, labels(N), labels(len(PHASES), N)), run.layout.batch_shardings())


@functools.cache
def after(phase: str, num_devices: int = 1):
    """Return the host state after one program from the initial state."""
    run = setup(num_devices)
    return jax.device_get(run.programs[phase](initial(run), batch(run), KEY))


def changed(old, new) -> set[str]:
    """Return the names of the fields that moved; for variables, of the collections."""
    moved = set()
    for field, value in vars(new).items():
        groups = value.items() if field in ("g", "d") else [("", value)]
        for name, part in groups:
            before = getattr(old, field)[name] if name else getattr(old, field)
            if any(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.any(a != b)), before, part))):
                moved.add(f"{field}/{name}" if name else field)
    return moved


CHANGES = {
    "g_main": {"g/params", "g_opt", "stats"},
    "g_reg": {"g/params", "g_opt", "stats", "pl_mean"},
    "d_main": {"d/params", "d_opt", "stats", "step", "nimg", "w_avg", "g_ema"},
    "d_reg": {"d/params", "d_opt", "stats"},
}
REPORTS = {
    "g_main": {"loss/g_adversarial"},
    "g_reg": {"loss/g_path_length", "path_length/mean"},
    "d_main": {"loss/d_adversarial", "scores/fake", "scores/real", "signs/fake", "signs/real"},
    "d_reg": {"loss/d_penalty"},
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_program_changes_only_what_is_its_own(phase):
    # The first average copies weights equal to it, so the weights move first.
    run, old = setup(1), initial_arrays()
    if phase == "d_main":
        old = after("g_main")
        new = jax.device_get(run.programs[phase](jax.device_put(old, run.layout.replicated), batch(run), KEY))
    else:
        new = after(phase)
    assert changed(old, new) == CHANGES[phase]


@pytest.mark.parametrize("phase", PHASES)
def test_a_program_reports_its_terms(phase):
    stats = after(phase).stats
    assert set(terms.means(stats)) == REPORTS[phase]
    assert terms.first_bad(stats) is None
    assert max(stats.count) == 1


def test_every_term_is_reported_by_the_program_it_names():
    optional = ("nonfinite/", "augment/")  # reported with options that are off here
    told = {term: phase for term, phase in terms.REPORTED_BY.items() if not term.startswith(optional)}
    assert told == {term: phase for phase, names in REPORTS.items() for term in names}


def test_nearly_every_parameter_moves():
    for phase, network in (("g_main", "g"), ("d_main", "d")):
        old, new = getattr(initial_arrays(), network)["params"], getattr(after(phase), network)["params"]
        still = [
            jax.tree_util.keystr(path)
            for path, same in jax.tree.leaves_with_path(jax.tree.map(lambda a, b: np.array_equal(a, b), old, new))
            if same
        ]
        assert still == []


def test_counters_and_averages():
    run = setup(1)
    moved = after("g_main")
    new = jax.device_get(run.programs["d_main"](jax.device_put(moved, run.layout.replicated), batch(run), KEY))
    assert (int(new.step), int(new.nimg)) == (1, N)
    beta = float(ema.ema_beta(N, moved.nimg, run.config.train.ema_kimg, run.config.train.ema_rampup))
    assert 0.5 < beta < 1
    formula = lambda old, g: beta * old + (1 - beta) * g
    jax.tree.map(
        lambda old, g, got: np.testing.assert_allclose(got, formula(old, g), rtol=1e-5, atol=1e-6),
        moved.g_ema, moved.g["params"], new.g_ema,
    )  # fmt: skip
    z = jax.random.normal(jax.random.split(rng.stream(KEY, "d_main", 0), 3)[0], (2, N, run.gan.spec.z_dim))[0]
    w = run.gan.map_latents(moved.g, z, batch(run).gen_label[PHASES.index("d_main")])[:, 0]
    np.testing.assert_allclose(new.w_avg, 0.005 * np.mean(w, axis=0), rtol=1e-3, atol=1e-7)


def test_path_length_mean_moves_by_its_decay():
    run, new = setup(1), after("g_reg")
    mean = terms.means(new.stats)["path_length/mean"]
    assert float(new.pl_mean) == pytest.approx(mean, rel=1e-6)
    lengths = mean / run.config.loss.pl_decay  # from 0
    assert terms.means(new.stats)["loss/g_path_length"] >= 0.9 * run.config.loss.pl_weight * (lengths - mean) ** 2


def test_same_state_and_batch_give_the_same_bits():
    run = setup(1)
    for phase in PHASES:
        again = jax.device_get(run.programs[phase](initial(run), batch(run), KEY))
        jax.tree.map(np.testing.assert_array_equal, after(phase), again)


def test_another_step_draws_other_latents():
    run = setup(1)
    later = jax.tree.map(np.copy, initial_arrays()).replace(step=np.int32(1))
    new = jax.device_get(run.programs["g_main"](jax.device_put(later, run.layout.replicated), batch(run), KEY))
    assert terms.means(new.stats)["loss/g_adversarial"] != terms.means(after("g_main").stats)["loss/g_adversarial"]


@pytest.mark.parametrize(
    ("network", "phase", "term", "step"),
    [
        ("g", "g_main", "loss/g_adversarial", 7),
        ("d", "d_reg", "loss/d_penalty", 6),
    ],  # d_reg follows the count of d_main
)
def test_a_bad_parameter_is_named_with_its_term_and_step(network, phase, term, step):
    run = setup(1)
    state = jax.tree.map(np.copy, initial_arrays()).replace(step=np.int32(7))
    leaf = next(x for x in jax.tree.leaves(getattr(state, network)["params"]) if x.ndim > 1)
    leaf.flat[0] = np.nan
    new = run.programs[phase](jax.device_put(state, run.layout.replicated), batch(run), KEY)
    assert terms.first_bad(jax.device_get(new.stats)) == (term, step)


def test_shapes_promise_what_create_and_the_programs_return():
    run = setup(1)
    state, shapes = initial_arrays(), step.state_shapes(run.gan, run.config, run.layout)
    jax.tree.map(lambda x, s: (x.shape, x.dtype) == (s.shape, s.dtype) or pytest.fail(str(s)), state, shapes)
    after_all = {phase: jax.tree.map(lambda x: (x.shape, x.dtype), after(phase)) for phase in PHASES}
    assert all(tree == jax.tree.map(lambda x: (x.shape, x.dtype), state) for tree in after_all.values())
    given = jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), batch(run))
    assert given == jax.tree.map(
        lambda x: (x.shape, x.dtype, x.sharding), step.batch_shapes(run.gan, run.config, run.layout)
    )


def test_pixels_become_images_in_minus_one_to_one():
    np.testing.assert_allclose(images.from_pixels(jnp.array([0, 51, 255], jnp.uint8)), [-1, -0.6, 1], atol=1e-6)
