"""Every mesh computes the same; what crosses devices; what each device holds."""

from __future__ import annotations

import functools
import math
import re
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import toy

from configs import tiny
from stylegan_jax import models
from stylegan_jax.checkpoints.checkpointer import Checkpointer
from stylegan_jax.config import ConfigError, ExperimentConfig, from_dict, levels
from stylegan_jax.runtime import mesh as sharding
from stylegan_jax.train import programs, schedule
from stylegan_jax.train.gan.phases import PHASES
from stylegan_jax.train.task import Task

KEY = toy.KEY
N = 16
ONE, DATA, FSDP, ALL = (1, 1, 1), (8, 1, 1), (2, 4, 1), (2, 2, 2)  # data, fsdp, spatial


class Run(NamedTuple):
    """Compiled programs on a mesh."""

    config: ExperimentConfig
    task: Task
    layout: sharding.Layout
    frozen: Any
    programs: dict


@pytest.fixture(scope="module", autouse=True)
def split_everything():
    """Split the toy's small arrays too."""
    before, sharding.WHOLE_BELOW = sharding.WHOLE_BELOW, 16
    yield
    sharding.WHOLE_BELOW = before


@functools.cache
def setup(mesh: tuple[int, int, int], name: str) -> Run:
    tree = tiny.get_config()
    tree.train.batch_size = N
    tree.model.label_dim = 0
    tree.loss.g_reg_interval, tree.loss.d_reg_interval = 2, 3
    tree.mesh.fsdp, tree.mesh.spatial = mesh[1:]
    tree.train.num_devices = int(np.prod(mesh))
    config = from_dict(tree)
    layout = sharding.layout_of(config)
    task = toy.task_of(config, layout, models.build(config.model) if name == "tiny" else toy.TOYS[name])
    frozen = {key: layout.place(load().tree) for key, load in task.frozen.items()}
    jitted = programs.jit_programs(programs.make_programs(task, config, layout), layout)
    shapes = programs.state_shapes(task, layout, frozen), frozen, programs.batch_shapes(task, config, layout)
    key = jax.device_put(KEY, layout.replicated)
    return Run(config, task, layout, frozen, programs.compile_programs(jitted, *shapes, key))


@functools.cache
def initial_arrays(name: str):
    """Return the first state on the host, with noise strengths that count."""
    run = setup(ONE, name)
    state = jax.device_get(programs.create_state(run.task, run.layout, KEY, run.frozen))
    strong = lambda path, x: x + np.float32(0.1) if "noise_strength" in jax.tree_util.keystr(path) else x
    return toy.put(state, g=jax.tree.map_with_path(strong, state.nets["g"]))


@functools.cache
def train(mesh: tuple[int, int, int], name: str, steps: int):
    """Return (sums of the terms of each step, final state)."""
    run, rows = setup(mesh, name), []
    state, key = jax.tree.map(np.copy, initial_arrays(name)), jax.device_put(KEY, run.layout.replicated)
    state = jax.device_put(state, run.layout.state(state))
    plan = run.task.plan(levels(run.config)[-1])
    for i in range(steps):
        before = jax.device_get(state.stats)
        batch = jax.device_put(toy.random_batch(plan.batch, i), run.layout.batch_shardings())
        names = schedule.due_phases(plan.phases, i, i * N)
        state = programs.run_step(run.programs, names, state, run.frozen, batch, key)
        rows.append(np.asarray(jax.device_get(state.stats).total) - before.total)
    return np.array(rows), state


def check_equal(mesh: tuple[int, int, int], name: str, steps: int) -> None:
    (one, last_one), (many, last_many) = train(ONE, name, steps), jax.device_get(train(mesh, name, steps))
    losses = [i for i, term in enumerate(setup(ONE, name).task.terms) if term.startswith("loss/")]
    np.testing.assert_allclose(many[:, losses], one[:, losses], rtol=1e-5, atol=1e-7)
    assert int(last_many.nimg) == int(last_one.nimg) == steps * N
    np.testing.assert_allclose(last_many.moving["pl_mean"], last_one.moving["pl_mean"], rtol=1e-5)
    np.testing.assert_allclose(last_many.moving["w_avg"], last_one.moving["w_avg"], rtol=1e-3, atol=1e-6)
    stats = lambda state: state.nets["d"].get("batch_stats", {})
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    jax.tree.map(near, stats(last_many), stats(jax.device_get(last_one)))


@pytest.mark.parametrize("mesh", [DATA, FSDP, ALL])
def test_a_mesh_equals_one_device_over_ten_steps(mesh):
    check_equal(mesh, "tiny", 10)


@pytest.mark.parametrize("name", ["projected", "clips"])
def test_every_toy_is_the_same_on_all_kinds_of_axes(name):
    check_equal(ALL, name, 4)


def test_frozen_networks_are_whole_on_every_device_and_outlive_the_steps():
    run, _ = setup(ALL, "projected"), train(ALL, "projected", 4)
    for leaf in jax.tree.leaves(run.frozen):
        assert leaf.sharding == run.layout.replicated and not leaf.is_deleted()


BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "u8": 1, "bf16": 2}
COLLECTIVES = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast"


def collectives(run: Run, phase: str) -> list[tuple[str, tuple[int, ...], int]]:
    """Return (operation, shape, bytes) of every result of a collective in the compiled program."""
    found = []
    for line in run.programs[phase].as_text().splitlines():
        operation = re.search(rf" = (.+?) ({COLLECTIVES})(-start)?\(", line)
        for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", operation[1]) if operation else ():
            shape = tuple(map(int, filter(None, dims.split(","))))
            found.append((operation[2], shape, BYTES[dtype] * int(np.prod(shape))))
    return found


@pytest.mark.parametrize("phase", PHASES)
def test_data_parallel_reduces_each_part_of_the_gradient_once_and_moves_no_activation(phase):
    run = setup(DATA, "tiny")
    params = sum(x.nbytes for x in jax.tree.leaves(initial_arrays("tiny").nets[phase[0]]["params"]))
    found = collectives(run, phase)
    config = run.config.model
    groups = (2 if phase == "d_main" else 1) * N // config.mbstd_group  # fakes and reals have their own
    statistic = groups * math.prod(config.base_size) * config.channel_max * 4  # of the minibatch stddev, at most
    is_statistic = lambda entry: entry[1][1:3] == tuple(config.base_size)
    reduced = sum(entry[2] for entry in found if entry[0] == "all-reduce" and not is_statistic(entry))
    # Demodulation adds a ninth of a 3x3 kernel. A second-order gradient, and that of the discriminator's calls on fakes
    # and on reals, is a sum of two, each over the batch, which XLA on CPU adds after reducing them.
    most = 1.12 if phase == "g_main" else 2.12
    assert params <= reduced <= most * params, (params, reduced)
    assert sum(entry[2] for entry in found if is_statistic(entry)) <= 6 * statistic, found
    assert [entry for entry in found if entry[0] != "all-reduce" and not is_statistic(entry)] == [], found


def test_fsdp_splits_parameters_moments_and_averages():
    _, state = train(FSDP, "tiny", 10)
    whole = lambda tree: sum(x.nbytes for x in jax.tree.leaves(tree))
    held = lambda tree: sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree))
    for name, tree in {"nets": state.nets, "ema": state.ema, "opt": state.opt}.items():
        for net, part in tree.items():
            assert held(part) < whole(part) * 0.3, (name, net)


def test_a_checkpoint_of_one_mesh_restores_on_every_other(tmp_path):
    meshes = (ONE, DATA, FSDP, ALL)
    targets = {mesh: programs.state_shapes((run := setup(mesh, "tiny")).task, run.layout) for mesh in meshes}
    for mesh in meshes:
        _, state = train(mesh, "tiny", 10)
        with Checkpointer(tmp_path / "-".join(map(str, mesh))) as checkpoints:
            checkpoints.save(10, state, {"params": state.ema["g"]}, {})
            for target in targets.values():
                found = checkpoints.restore(target)
                assert found is not None
                jax.tree.map(lambda x, t: x.sharding == t.sharding or pytest.fail(str(t)), found[0], target)
                jax.tree.map(np.testing.assert_array_equal, *jax.device_get((found[0], state)))


def test_too_many_devices_is_an_error_with_the_fix():
    with pytest.raises(ConfigError, match="num_devices is 9; this machine has 8; use 0 for all"):
        sharding.make_layout(9)
    assert sharding.make_layout(0).mesh.size == 8
    assert sharding.make_layout(3).mesh.size == 3


def test_a_layout_among_chosen_devices():
    chosen = jax.devices()[2:4]
    assert list(sharding.make_layout(0, chosen).mesh.devices.flat) == chosen
    assert list(sharding.make_layout(1, chosen).mesh.devices.flat) == chosen[:1]
    with pytest.raises(ConfigError, match="num_devices is 3; chosen are 2; use 0 for all"):
        sharding.make_layout(3, chosen)


def test_a_mesh_that_does_not_fit_is_an_error_with_the_fix():
    with pytest.raises(ConfigError, match=r"fsdp=3 times config.mesh.spatial=1 is 3, which must divide the 8 devices"):
        sharding.make_layout(fsdp=3)
    tree = tiny.get_config()
    tree.mesh.spatial = 16
    with pytest.raises(ConfigError, match=r"config.mesh.spatial is 16; it must divide the image height 8"):
        sharding.layout_of(from_dict(tree))
