"""An encoder through the real loop: stopped and resumed it is the straight run; its grid; starting from another."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
import toy_encoder
from helpers import same_bits, stats_rows
from PIL import Image

from stylegan_jax import load_model
from stylegan_jax.checkpoints.restore import read_meta, restore_g_ema
from stylegan_jax.config import ConfigError
from stylegan_jax.runtime.signals import StopSignal
from stylegan_jax.train import loop
from stylegan_jax.train.encoder import task as encoder_task
from stylegan_jax.train.encoder.generator import frozen_generator

OWN = {"train__compilation_cache": "auto", "train__num_devices": 1, "log__progress_bar": False}
OWN |= {"train__total_kimg": 0.256, "log__grid_ticks": 4}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return (config, folder, state) of an uninterrupted run of 32 steps."""
    config, folder = toy_encoder.make_config(**OWN), tmp_path_factory.mktemp("encoder")
    with pytest.MonkeyPatch.context() as patch, jax.numpy_rank_promotion("raise"):
        toy_encoder.install(patch)
        return config, folder, loop.train(config, folder)


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    toy_encoder.install(monkeypatch)


def test_stop_and_resume_is_the_straight_run(straight, tmp_path, monkeypatch):
    """Pools, moments, counts of blocks, the stage: all of it is in the state."""
    config, folder, state = straight
    done = itertools.count(1)
    with monkeypatch.context() as patch:
        patch.setattr(StopSignal, "agreed", lambda self: next(done) == 11)  # the pools are full, slot 1 waits
        patch.setattr(StopSignal, "reason", lambda self: "test")
        assert int(loop.train(config, tmp_path).step) == 11
    resumed = loop.train(config, tmp_path)
    assert int(resumed.step) == 32 and same_bits(resumed, state)
    assert stats_rows(tmp_path) == stats_rows(folder)
    assert np.isfinite(list(stats_rows(folder)[-1]["mean"].values())).all()


def test_the_grid_has_targets_reconstructions_and_edits(straight):
    _, folder, _ = straight
    reals = np.asarray(Image.open(folder / "grids/reals.png"))
    first, last = (np.asarray(Image.open(folder / f"grids/fakes_{nimg:09d}.png")) for nimg in (0, 256))
    assert first.shape == last.shape == (4 * 8, 4 * 8, 3)
    np.testing.assert_array_equal(last[:8], reals[:8])
    np.testing.assert_array_equal(first[:8], reals[:8])
    rows, before = (grid.reshape(4, 8, 32, 3).astype(float) for grid in (last, first))
    assert all(np.abs(rows[a] - rows[b]).mean() > 1 for a, b in itertools.combinations(range(4), 2))
    assert all(np.abs(rows[a] - before[a]).mean() > 1 for a in range(1, 4))


def test_what_is_saved_is_the_encoder_and_nothing_of_the_generator(straight):
    _, folder, state = straight
    saved, meta, step = restore_g_ema(folder)
    assert step == 32 and same_bits(saved, state.nets["e"]) and set(saved) == {"params", "batch_stats", "average"}
    assert meta["config"]["task"] == "encoder" and meta["config"]["model"]["resolution"] == 8
    assert read_meta(folder)["frozen"] == {"generator": frozen_generator(toy_encoder.model()).digest}
    with pytest.raises(ConfigError, match="is a run of an encoder"):
        load_model(folder)


def test_another_generator_does_not_resume(straight, monkeypatch):
    config, folder, _ = straight
    other = toy_encoder.model()
    other.g_ema["params"]["mapping"]["fc0"]["weight"] = other.g_ema["params"]["mapping"]["fc0"]["weight"] + 1
    monkeypatch.setattr(encoder_task.frozen_one, "load_model", lambda path: other)
    with pytest.raises(ConfigError, match="generator: SHA-256"):
        loop.train(config, folder)


def test_a_run_starts_from_another_encoder(straight, tmp_path):
    _, folder, state = straight
    own = {"train__init_from": str(folder), "train__total_kimg": 0.008, "encoder__training__adversarial_weight": 0.0}
    config = toy_encoder.make_config(**OWN | own)
    begun = jax.device_get(loop.train(config, tmp_path))
    far = lambda a, b: max(float(np.abs(x - y).max()) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))
    assert 0 < far(begun.nets["e"]["params"], state.nets["e"]["params"]) < 0.3
    assert same_bits(begun.opt["e"]["body"]["weight"].slow, state.nets["e"]["params"]["body"]["weight"])
    assert int(begun.opt["e"]["body"]["weight"].count) == 1


def test_what_is_no_encoder_is_an_error_before_anything_compiles(straight, tmp_path):
    config = toy_encoder.make_config(**OWN | {"train__init_from": str(tmp_path)})
    with pytest.raises(ConfigError, match="is not the folder of an encoder"):
        loop.train(config, tmp_path / "run")
    _, folder, _ = straight
    residual = toy_encoder.make_config(**OWN | {"train__init_from": str(folder), "encoder__residual": True})
    with pytest.raises(ConfigError, match="body/weight: 192x16 there, 384x16 here"):
        loop.train(residual, tmp_path / "other")
