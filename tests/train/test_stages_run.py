"""StyleGAN-XL through the real loop: a stem, then a stage on it, with embeddings that start from a table of classes."""

from __future__ import annotations

import re
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
import toy
from helpers import same_bits

from stylegan_jax import load_model, models
from stylegan_jax.base.trees import flatten
from stylegan_jax.checkpoints.restore import committed_steps, read_meta
from stylegan_jax.config import ConfigError
from stylegan_jax.features.backbones import BACKBONES
from stylegan_jax.runtime.mesh import make_layout
from stylegan_jax.train import loop
from stylegan_jax.train.gan import task as gan_task
from stylegan_jax.train.gan.task import make_task
from stylegan_jax.train.gan.transfer import Source
from stylegan_jax.train.startup import check_origin

TABLE = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
SHORT = {"train__total_kimg": 0.032, "log__tick_kimg": 0.016}


@pytest.fixture(scope="module", autouse=True)
def _backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", toy.TINY)
        patch.setattr(gan_task, "_load", lambda name: toy.LOADERS[name]())
        yield
    models.build.cache_clear()  # others ask whether 'tiny' is unknown


def make_config(**changes):
    return toy.make_loop_config("auto", **(toy.STEM_KEYS | SHORT | changes))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "classes.safetensors"
    safetensors.numpy.save_file({"embed": TABLE}, path)
    return str(path)


@pytest.fixture(scope="module")
def runs(table, tmp_path_factory):
    """The folder of a stem that has been trained on since a stage began on it, and of that stage."""
    stem, stage = (tmp_path_factory.mktemp("runs") / name for name in ("stem", "stage"))
    loop.train(make_config(train__class_table=table), stem)
    first, second = committed_steps(stem / "checkpoints")
    (stem / "checkpoints" / str(second)).rename(stem / "later")
    state = loop.train(stage_config(stem, table), stage)
    (stem / "later").rename(stem / "checkpoints" / str(second))
    return stem, first, stage, jax.device_get(state)


def stage_config(stem, table, **changes):
    return make_config(
        **(toy.STAGE_KEYS | {"train__init_from": str(stem), "train__class_table": table} | SHORT | changes)
    )


def stem_of(tree):
    """Return the arrays of the mapping network and of the layers kept from the stem, by name."""
    kept = ("mapping/", "synthesis/L0/", "synthesis/L1/")
    return {name: np.asarray(x) for name, x in flatten(tree).items() if name.startswith(kept)}


def test_embeddings_start_from_the_table_in_both_networks(runs):
    """Two of its three classes have examples: gradients move their rows, and no other."""
    stem, first, _, state = runs
    model = load_model(stem, first, whole=True)
    for params in (model.g["params"], model.d["params"], state.nets["d"]["params"]):
        tables = [np.asarray(x) for name, x in flatten(params).items() if name.endswith("embed/weight")]
        assert len(tables) == 1
        for rows in tables:
            np.testing.assert_array_equal(rows[2], TABLE[2])
            assert np.all(rows[:2] != TABLE[:2]) and np.abs(rows - TABLE).max() < 0.02


def test_a_stage_keeps_its_stem_to_the_bit_and_trains_the_rest(runs):
    stem, first, stage, state = runs
    before = load_model(stem, first).g_ema["params"]
    frozen = stem_of(before)
    assert {name.split("/")[1] for name in frozen} == {"embed", "fc0", "L0", "L1"}
    assert stem_of(state.ema["g"]).keys() == frozen.keys()
    for params in (state.nets["g"]["params"], state.ema["g"]):  # a stage starts from averages, in both
        assert same_bits(stem_of(params), frozen)
        assert np.all(np.asarray(params["synthesis"]["input"]["weight"] != before["synthesis"]["input"]["weight"]))
    then = load_model(stage, 2, whole=True).g["params"]["synthesis"]
    for layer in ("L3", "L4", "L5", "L6"):
        new, old = flatten(state.nets["g"]["params"]["synthesis"][layer]), flatten(then[layer])
        assert all(np.any(np.asarray(new[name]) != np.asarray(old[name])) for name in new), layer
    assert committed_steps(stage / "checkpoints") == [2, 4]


def test_a_stage_resumes_to_the_bit_and_takes_a_newer_stem_if_told_to(runs, table, tmp_path, capsys):
    stem, first, stage, state = runs
    again = tmp_path / "again"
    shutil.copytree(stage, again)
    shutil.rmtree(again / "checkpoints" / "4")
    assert same_bits(loop.train(stage_config(stem, table), again), state)  # the stem there is newer by now
    assert "resuming from step 2" in capsys.readouterr().out
    before = read_meta(again)
    assert before["origin"] == Source(load_model(stem, first), "").digest  # of what the stage began from
    moved = tmp_path / "moved"
    moved.symlink_to(stem)
    with pytest.raises(ConfigError, match=f"init_from is {moved} .* began from .{stem}.; a resumed run loads none"):
        loop.train(stage_config(moved, table), again)
    loop.train(stage_config(moved, table, train__init_step=first), again)  # another name of the same weights
    loop.train(stage_config("", table), again)  # none is asked for
    capsys.readouterr()
    older, newer = (load_model(stem, step).g_ema["params"] for step in (first, None))
    assert not same_bits(stem_of(older), stem_of(newer))
    longer = {"train__total_kimg": 0.048, "train__reload_stem": True}
    after = loop.train(stage_config(stem, table, **longer), again)
    assert f"stem loaded again from {stem} (config.train.reload_stem)" in capsys.readouterr().out
    for params in (after.nets["g"]["params"], after.ema["g"]):
        assert same_bits(stem_of(params), stem_of(newer))
        assert not same_bits(params["synthesis"]["input"], newer["synthesis"]["input"])


def test_a_stage_that_would_freeze_a_random_stem_is_refused(table, tmp_path):
    with pytest.raises(ConfigError, match="init_from is empty with freeze_g='stem', so the layers of earlier stages"):
        loop.train(stage_config("", table), tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_what_a_run_began_from_is_compared_only_where_it_is_known_and_asked_for(tmp_path):
    began = {"config": {"train": {"init_from": ""}}, "origin": ""}
    with pytest.raises(ConfigError, match=f"init_from is a .*{tmp_path} began from .random weights.; "):
        check_origin(tmp_path, began, make_config(train__init_from="a"), lambda path: "0123")
    unread = lambda path: pytest.fail(f"{path} was read")
    check_origin(tmp_path, began, make_config(), unread)
    older = {"config": {"train": {"init_from": "b"}}}  # of a version that kept no digest
    check_origin(tmp_path, older, make_config(train__init_from="a"), unread)
    check_origin(tmp_path, older | {"origin": "4567"}, make_config(train__init_from="b"), unread)


def test_a_table_that_does_not_fit_is_named(table, tmp_path):
    missing, wide = str(tmp_path / "none.pkl"), {"model__stylegan_xl__embed_dim": 6, "model__projected__embed_dim": 6}
    four = {"model__label_dim": 4, "model__stylegan_xl__embed_rows": 4, "model__projected__embed_rows": 4}
    plain = {"model__arch": "stylegan2", "model__d_arch": "resnet"}
    cases = (
        (missing, {}, rf"(?s){re.escape(missing)}.*tf_efficientnet_lite0\.pkl  from  the repository .*class_table=''"),
        (table, four, "a table of 3 classes, but the labels have 4"),
        (table, wide, r"float32\[3, 5\], but the network needs float\[3, 6\]; set embed_rows and embed_dim"),
        (table, {"model__projected__embed_dim": 6}, r"_xl has 3 rows of 5, config\.model\.projected has 3 rows of 6;"),
        (table, plain, "neither network has a table of class embeddings"),
    )  # fmt: skip
    for path, changes, words in cases:
        with pytest.raises(ConfigError, match=words):
            make_task(make_config(train__class_table=path, **changes), make_layout(1)).frozen["class_table"]()
