"""Which programs run when, and what is due after a step."""

from __future__ import annotations

import copy

import pytest

from configs import common
from stylegan_jax import config as config_lib
from stylegan_jax.runtime.mesh import make_layout
from stylegan_jax.train import schedule
from stylegan_jax.train.tasks import make_task


def make(**changes):
    tree = copy.deepcopy(common.get_config().to_dict())
    tree["data"]["source"], tree["model"]["label_dim"] = "synthetic", 0
    for key, value in changes.items():
        group, leaf = key.split("__")
        tree[group][leaf] = value
    return config_lib.from_dict(tree)


def phases_of(config):
    task = make_task(config, make_layout(1))
    return task.plan(config_lib.levels(config)[-1]).phases


def due(config, phases, step):
    return schedule.due_phases(phases, step, config_lib.images_shown(config, step))


def test_regularisers_are_lazy_and_in_order():
    config = make(loss__g_reg_interval=4, loss__d_reg_interval=16)
    phases = phases_of(config)
    assert due(config, phases, 0) == ["g_main", "g_reg", "d_main", "d_reg"]
    assert due(config, phases, 4) == ["g_main", "g_reg", "d_main"]
    assert due(config, phases, 5) == ["g_main", "d_main"]
    runs = [name for step in range(32) for name in due(config, phases, step)]
    assert {name: runs.count(name) for name in set(runs)} == {"g_main": 32, "g_reg": 8, "d_main": 32, "d_reg": 2}
    share = schedule.cadence(phases, config.train.total_kimg * 1000)
    assert share == {name: runs.count(name) / 32 for name in set(runs)} | {"finish": 1}


@pytest.mark.parametrize(
    ("changes", "absent"),
    [({"loss__pl_weight": 0.0, "loss__g_reg_interval": 0}, "g_reg"), ({"loss__d_reg": "none"}, "d_reg")],
)
def test_a_regulariser_that_is_off_never_runs_nor_is_compiled(changes, absent):
    config = make(**changes)
    phases = phases_of(config)
    used = [phase.name for phase in phases]
    assert absent not in used and list(schedule.cadence(phases, 1e6)) == [*used, "finish"]
    assert set(used) == {name for step in range(20) for name in due(config, phases, step)}


def test_the_last_batch_may_go_over_the_total():
    assert schedule.total_steps(make(train__total_kimg=1.0, train__batch_size=32)) == 32  # 1000 / 32 = 31.25
    assert schedule.total_steps(make(train__total_kimg=0.96, train__batch_size=32)) == 30


def test_ticks_grids_and_checkpoints():
    config = make(
        train__batch_size=32, train__total_kimg=1.28, log__tick_kimg=0.064, log__grid_ticks=2, log__checkpoint_ticks=5
    )
    done = {step: schedule.due(config, step) for step in range(1, 41)}
    assert [s for s, d in done.items() if d.report] == list(range(2, 41, 2))
    assert [s for s, d in done.items() if d.grid] == list(range(4, 41, 4))
    assert [s for s, d in done.items() if d.checkpoint] == [10, 20, 30, 40]
    assert done[10].tick == 5


def test_snapshots_of_averages_about_64_in_a_run_or_as_asked():
    run = {"train__batch_size": 32, "train__total_kimg": 20.8, "log__tick_kimg": 0.064, "train__posthoc_ema": (0.1,)}
    for asked, every in ((0, 5), (7, 7)):  # of 325 ticks
        config = make(**run, log__average_ticks=asked)
        found = [s for s in range(1, 651) if schedule.due(config, s).averages]
        assert found[:2] == [2 * every, 4 * every] and found[-1] == 650
        assert len(found) == schedule.count_snapshots(config)
    assert not schedule.due(make(**run | {"train__posthoc_ema": ()}), 650).averages


def test_a_tick_that_is_no_multiple_of_the_batch_still_comes_once():
    config = make(train__batch_size=32, train__total_kimg=3.2, log__tick_kimg=0.1)
    reports = [s for s in range(1, 101) if schedule.due(config, s).report]
    assert len(reports) == 32
    assert reports[:3] == [4, 7, 10]  # the first steps beyond 100, 200 and 300 images


def test_a_step_longer_than_a_tick_reports_once():
    config = make(train__batch_size=32, train__total_kimg=0.32, log__tick_kimg=0.01)
    assert all(schedule.due(config, s).report for s in range(1, 11))
    assert schedule.due(config, 1).tick == 3


def test_the_last_step_is_due_for_everything():
    config = make(
        train__batch_size=32, train__total_kimg=1.0, log__tick_kimg=0.3, log__grid_ticks=99, log__checkpoint_ticks=99
    )
    last = schedule.due(config, 32)
    assert (last.report, last.grid, last.checkpoint) == (True, True, True)
    before = schedule.due(config, 31)
    assert (before.report, before.grid, before.checkpoint) == (False, False, False)
