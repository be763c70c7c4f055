"""Starting from existing weights: what is loaded, what starts anew, what raises an error."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from helpers import same_bits

from configs import tiny
from stylegan_jax import load_model
from stylegan_jax.base import rng
from stylegan_jax.base.trees import flatten
from stylegan_jax.checkpoints.checkpointer import Checkpointer
from stylegan_jax.config import ConfigError, from_dict, levels
from stylegan_jax.convert import write_model_folder
from stylegan_jax.runtime.mesh import make_layout
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.train import programs
from stylegan_jax.train.gan import transfer as transfer_lib
from stylegan_jax.train.gan.transfer import Source, open_source, reload, transfer
from stylegan_jax.train.tasks import make_task


def make_config(**changes):
    c = tiny.get_config()
    c.model.label_dim = 0
    c.update_from_flattened_dict(changes)
    return from_dict(c)


def fresh_state(config, seed=1):
    layout = make_layout(1)
    return programs.create_state(make_task(config, layout), layout, rng.root(seed))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model folder with G, D and average of the tiny recipe, all different."""
    config = make_config(**{"model.label_dim": 3})
    folder = tmp_path_factory.mktemp("source") / "model"
    state = jax.device_get(fresh_state(config, seed=5))
    g = state.nets["g"] | {"w_avg": np.arange(16, dtype=np.float32)}
    g_ema = g | {"params": jax.tree.map(lambda x: x + 1, state.nets["g"]["params"])}
    write_model_folder(
        folder, dataclasses.asdict(config.model), {"g": g, "g_ema": g_ema, "d": state.nets["d"]}, {"from": "test"}
    )
    return folder, config, g, g_ema, state.nets["d"]


def copy_from(folder, state, config):
    return transfer(config, state, open_source(config, str(folder)))


def g_leaf(state, path):
    return leaf(state.nets["g"]["params"], path)


def leaf(tree, path):
    for key in path.split("/"):
        tree = tree[key]
    return np.asarray(tree)


def test_same_model_is_loaded_whole(source):
    folder, config, g, g_ema, d = source
    state, lines = copy_from(folder, fresh_state(config), config)
    for got, want in (
        (state.nets["g"]["params"], g["params"]),
        (state.ema["g"], g_ema["params"]),
        (state.nets["d"]["params"], d["params"]),
    ):
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(got), want)
    np.testing.assert_array_equal(state.moving["w_avg"], g["w_avg"])
    assert all("0 new, 0 dropped" in line for line in lines[1:])


def test_growing_keeps_the_blocks_that_exist(source):
    folder, _, g, _, d = source
    config = make_config(**{"model.resolution": 16, "model.label_dim": 3})
    before = fresh_state(config)
    state, lines = copy_from(folder, before, config)
    where = "synthesis/b8/conv0/weight"
    np.testing.assert_array_equal(g_leaf(state, where), leaf(g["params"], where))
    new = "synthesis/b16/conv0/weight"
    np.testing.assert_array_equal(g_leaf(state, new), g_leaf(before, new))
    np.testing.assert_array_equal(
        leaf(state.nets["d"]["params"], "b8/conv1/weight"), leaf(d["params"], "b8/conv1/weight")
    )
    text = "\n".join(lines)
    assert f"new: {new}" in text and "dropped: b8/fromrgb/weight" in text


def test_other_classes_start_the_embedding_anew(source):
    folder, _, g, _, _ = source
    config = make_config(**{"model.label_dim": 5})
    before = fresh_state(config)
    state, lines = copy_from(folder, before, config)
    where = "mapping/embed/weight"
    np.testing.assert_array_equal(g_leaf(state, where), g_leaf(before, where))
    np.testing.assert_array_equal(g_leaf(state, "mapping/fc0/bias"), leaf(g["params"], "mapping/fc0/bias"))
    assert any("mapping/embed/weight (other classes)" in line for line in lines)


def test_other_widths_raise_an_error_that_lists_them(source):
    config = make_config(**{"model.channel_max": 4, "model.label_dim": 3})
    with pytest.raises(
        ConfigError, match=r"(?s)synthesis/b4/const: \(4, 4, 8\).*\(4, 4, 4\).*channel_max=8 \(here 4\)"
    ):
        copy_from(source[0], fresh_state(config), config)


def test_a_source_without_discriminator_says_so(source, tmp_path):
    _, config, _, g_ema, _ = source
    folder = tmp_path / "model"
    write_model_folder(folder, dataclasses.asdict(config.model), {"g_ema": g_ema}, {"from": "test"})
    before = fresh_state(config)
    state, lines = copy_from(folder, before, config)
    assert "  D: not in the source; newly initialised" in lines
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.nets["d"]), jax.device_get(before.nets["d"]))
    where = "mapping/fc0/weight"
    np.testing.assert_array_equal(g_leaf(state, where), leaf(g_ema["params"], where))


# The projected toy: collections besides parameters, and a mean style per class


@pytest.fixture(scope="module")
def projected():
    """A configuration, a fresh state of the projected toy, and a model in which everything is another number."""
    config = toy.make_config(model__label_dim=toy.CLASSES)
    layout = make_layout(1)
    frozen = {name: load().tree for name, load in toy.LOADERS.items()}
    task = toy.task_of(config, layout, toy.PROJECTED)
    state = jax.device_get(programs.create_state(task, layout, rng.root(1), frozen))
    g, d = ({name: moved(tree) for name, tree in state.nets[net].items()} for net in ("g", "d"))
    w_avg = np.arange(toy.CLASSES * 16, dtype=np.float32).reshape(toy.CLASSES, 16)
    average = g | {"params": moved(g["params"])}
    return config, state, LoadedModel(config.model, toy.PROJECTED, average, w_avg, g, d, {"from": "test"})


def moved(tree):
    return jax.tree.map(lambda x: x + np.float32(1), tree)


def test_all_collections_and_the_mean_style_of_every_class_are_copied(projected):
    config, before, model = projected
    state, lines = transfer(config, before, Source(model, "there"))
    assert same_bits(state.nets, {"g": model.g, "d": model.d})
    assert same_bits(state.ema["g"], model.g_ema["params"]) and same_bits(state.moving["w_avg"], model.w_avg)
    assert not same_bits(state.nets["d"]["batch_stats"], before.nets["d"]["batch_stats"])
    assert all("0 new, 0 dropped" in line for line in lines[1:])


@pytest.mark.parametrize("lacking", ["batch_stats", "buffers"])
def test_a_collection_that_the_source_lacks_keeps_its_initial_values(projected, lacking):
    config, before, model = projected
    d = {name: tree for name, tree in model.d.items() if name != lacking}
    state, lines = transfer(config, before, Source(model.replace(d=d), "there"))
    assert same_bits(state.nets["d"], model.d | {lacking: before.nets["d"][lacking]})
    assert any("D" in line and "not in the source" in line for line in lines)


def test_with_other_classes_every_class_starts_from_the_mean_of_the_mean_styles(projected):
    config, before, model = projected
    w_avg = np.arange(5 * 16, dtype=np.float32).reshape(5, 16)
    state, lines = transfer(config, before, Source(model.replace(w_avg=w_avg), "there"))
    got = np.asarray(state.moving["w_avg"])
    np.testing.assert_allclose(got, np.broadcast_to(w_avg.mean(axis=0), (toy.CLASSES, 16)), rtol=1e-6)
    assert any(line.strip().startswith("w_avg") and "mean" in line for line in lines)


def test_nothing_to_load_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.train\.init_from: .* does not exist"):
        open_source(toy.make_config(), str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="does not exist"):
        load_model(tmp_path / "absent")
    with pytest.raises(ConfigError, match="contains no model"):
        load_model(tmp_path)


XL = {
    "model.arch": "stylegan_xl",
    "model.label_dim": 3,
    "model.stylegan3.num_layers": 3,
    "model.stylegan3.num_critical": 1,
    "model.stylegan_xl.embed_rows": 4,
    "model.stylegan_xl.embed_dim": 5,
}
STAGE = {"model.stylegan_xl.up_factors": (2,), "model.stylegan_xl.head_layers": (3,), "train.freeze_g": "stem"}


def xl_config(**changes):
    return make_config(**XL | changes)


def drawn_state(config, seed):
    """A state of random numbers, without compiling anything."""
    draw = np.random.default_rng(seed)
    shapes = programs.state_shapes(make_task(config, make_layout(1)), make_layout(1))
    return jax.tree.map(lambda x: np.asarray(draw.standard_normal(x.shape), x.dtype), shapes)


def as_source(config, state):
    g_ema = state.nets["g"] | {"params": state.ema["g"]}
    model = LoadedModel(config.model, None, g_ema, state.moving["w_avg"], state.nets["g"], state.nets["d"], {})
    return Source(model, "before")


def differing(a, b):
    a, b = flatten(a), flatten(b)
    return {name for name in a if not np.array_equal(a[name], b[name])}


def test_a_stage_takes_the_average_of_the_stage_before_and_a_reload_takes_less():
    stem = xl_config()
    stage = xl_config(**STAGE, **{"model.resolution": 16, "train.init_from": "before", "train.reload_stem": True})
    before, fresh = drawn_state(stem, 1), drawn_state(stage, 2)
    state, lines = transfer(stage, fresh, as_source(stem, before))
    for got, initial in ((state.nets["g"]["params"], fresh.nets["g"]["params"]), (state.ema["g"], fresh.ema["g"])):
        taken = differing(got, initial)
        assert {name.split("/")[1] for name in taken} == {"embed", "fc0", "input", "L0", "L1"}  # L3 there was RGB
        assert not taken & differing({name: flatten(got)[name] for name in taken}, before.ema["g"])
    assert differing(state.nets["g"]["buffers"], fresh.nets["g"]["buffers"]) >= {
        "synthesis/input/freqs",
        "synthesis/L0/magnitude_ema",
    }
    jax.tree.map(np.testing.assert_array_equal, state.nets["d"], fresh.nets["d"])
    np.testing.assert_array_equal(state.moving["w_avg"], before.moving["w_avg"])
    report = "\n".join(lines)
    assert "  stem: 13 arrays loaded (" in report and "numbers), frozen (config.train.freeze_g)\n" in report
    assert "  input: 3 arrays loaded (" in report and "  head: 16 arrays new (" in report
    assert "    dropped: synthesis/L2/weight\n" in report and report.endswith("  D: newly initialised")

    later = drawn_state(stage, 3)
    again, lines = reload(stage, later, as_source(stem, before))
    moved = differing(again.nets["g"]["params"], later.nets["g"]["params"])
    assert moved == differing(again.ema["g"], later.ema["g"]) == {n for n in moved if "synthesis/input" not in n}
    assert {n.split("/")[1] for n in moved} == {"embed", "fc0", "L0", "L1"} and "reload_stem" in lines[0]
    np.testing.assert_array_equal(again.moving["w_avg"], before.moving["w_avg"])


@pytest.mark.parametrize(("freeze", "trained"), [("none", "all"), ("stem", "input L3"), ("stem_input", "L3")])
def test_a_stage_trains_its_head_and_the_fourier_input_unless_told_otherwise(freeze, trained):
    stage = xl_config(**STAGE | {"model.resolution": 16, "train.freeze_g": freeze})
    optimizer = make_task(stage, make_layout(1)).plan(levels(stage)[-1]).optimizers["g"]
    tree = {"mapping": {"fc0": jnp.ones(2)}, "synthesis": {name: jnp.ones(2) for name in ("input", "L1", "L3")}}
    gradients = jax.grad(lambda p: sum(x.sum() for x in jax.tree.leaves(optimizer.hold(p))))(tree)
    moving = {name.split("/")[1] for name, x in flatten(gradients).items() if x.any()}
    assert moving == ({"fc0", "input", "L1", "L3"} if trained == "all" else set(trained.split()))


def test_what_no_stage_can_start_from_is_an_error():
    stage = xl_config(**STAGE, **{"model.resolution": 16})
    fresh, other = drawn_state(stage, 2), make_config()
    for source, words in (
        (other, "before has arch 'stylegan2'; a super-resolution stage starts from the previous stage"),
        (xl_config(**{"model.stylegan3.num_layers": 4}), r"before has another layer plan: L1_28_\d+ "),
        (
            xl_config(**STAGE | {"model.resolution": 16, "model.stylegan_xl.head_layers": (4,)}),
            r"has up_factors=\(2,\), head_layers=\(4,\); start from the previous stage, with \(\) and \(\)",
        ),
    ):
        with pytest.raises(ConfigError, match=words):
            transfer(stage, fresh, Source(LoadedModel(source.model, None, {}, None, None, None, {}), "before"))
    with pytest.raises(ConfigError, match="freeze_g is 'stem', but this model has no earlier stage"):
        make_task(make_config(**{"train.freeze_g": "stem"}), make_layout(1))
    with pytest.raises(ConfigError, match="reload_stem is True with init_from=''; it needs a super-resolution stage"):
        make_task(xl_config(**STAGE, **{"model.resolution": 16, "train.reload_stem": True}), make_layout(1))


def test_a_run_is_taken_from_its_best_checkpoint(tmp_path, monkeypatch):
    """Two saved checkpoints, of which the first has the better metric; what is loaded is seen by its step."""
    tree = {"w": np.ones(3, np.float32)}
    log = {"keep_best": "metric/fid5k", "best_mode": "min"}
    with Checkpointer(tmp_path / "run", keep_best="metric/fid5k") as checkpointer:
        for step, value in ((1, 5.0), (2, 9.0)):
            checkpointer.save(step, tree, tree, {"config": {"log": log}}, metrics={"metric/fid5k": value})
    with Checkpointer(tmp_path / "other") as checkpointer:
        checkpointer.save(4, tree, tree, {"config": {"log": {"keep_best": ""}}}, metrics={"metric/fid5k": 1.0})
    taken = []
    monkeypatch.setattr(transfer_lib, "load_model", lambda path, step, whole: taken.append((path, step)))
    which = []
    for folder, step in (("run", 0), ("run", 2), ("other", 0)):
        config = tiny.get_config()
        config.train.init_step = step
        which.append(open_source(from_dict(config), str(tmp_path / folder)).which)
    assert [step for _, step in taken] == [1, 2, None]
    assert which == [", checkpoint 1, the best by metric/fid5k", ", checkpoint 2", ""]
