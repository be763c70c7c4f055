"""A run that stores averages: against averages tracked directly, across stops, damage and a full disk."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
import toy
from helpers import same_bits

from stylegan_jax import models
from stylegan_jax.checkpoints import averages as files
from stylegan_jax.checkpoints.manifest import CheckpointError, NonFiniteError
from stylegan_jax.config import ConfigError
from stylegan_jax.runtime.signals import StopSignal
from stylegan_jax.sampling import averages
from stylegan_jax.train import loop

WIDTHS = (0.05, 0.1, 0.03, 0.07, 0.15)
"""The first two are what a run stores; the others are tracked beside them to compare with."""


@pytest.fixture(autouse=True)
def toy_model(monkeypatch):
    monkeypatch.setattr(models, "build", lambda config: toy.GAN)


def make_config(cache: str, **changes):
    return toy.make_loop_config(cache, train__posthoc_ema=WIDTHS, log__tick_kimg=0.032, **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / files.FOLDER).iterdir()}


@pytest.fixture(scope="module")
def straight(cache, tmp_path_factory):
    """One uninterrupted run: (folder, state)."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda config: toy.GAN)
        return folder, loop.train(make_config(cache), folder)


def test_two_stored_averages_make_up_those_tracked_directly(straight):
    folder, state = straight
    snapshots = averages.snapshots_of(folder)
    assert [s.step for s in snapshots] == list(range(4, 65, 4)) and snapshots[-1].nimg == 512
    last = files.read_snapshot(snapshots[-1])
    own = jax.device_get({name: state.ema[name] for name in map(files.average_name, range(len(WIDTHS)))})
    assert same_bits({name: last[name] for name in own}, own)
    is_stored = np.tile([width in (0.05, 0.1) for width in WIDTHS], len(snapshots))
    known = averages.profiles_of(snapshots)
    known = averages.Profiles(known.exponents[is_stored], known.times[is_stored])
    flat = lambda tree: np.concatenate([np.ravel(tree[key]) for key in ("params", "w_avg")], dtype=np.float64)
    ravel = lambda tree: {k: np.concatenate([np.ravel(x) for x in jax.tree.leaves(v)]) for k, v in tree.items()}
    for i, width in enumerate(WIDTHS):
        weights = np.zeros(len(is_stored))
        weights[is_stored] = averages.combine(known, width, 512).weights
        (found,) = averages.reconstruct(snapshots, [weights])
        direct, other = (flat(ravel(last[files.average_name(k)])) for k in (i, 0 if i else 1))
        error = np.linalg.norm(flat(ravel(found)) - direct)
        assert error < 0.01 * np.linalg.norm(direct)
        assert error < 0.05 * np.linalg.norm(other - direct)  # and little of what sets the averages apart


def test_stop_and_resume_leaves_the_same_files(straight, cache, tmp_path, monkeypatch):
    folder, state = straight
    calls = iter(range(1000))
    monkeypatch.setattr(StopSignal, "agreed", lambda self: next(calls) == 29)
    monkeypatch.setattr(StopSignal, "reason", lambda self: "test")
    assert int(loop.train(make_config(cache), tmp_path).step) == 30
    # What a kill between a snapshot and the next checkpoint leaves: a newer file, and one that is being written.
    (tmp_path / files.FOLDER / "000000256.safetensors").write_bytes(b"newer")
    (tmp_path / files.FOLDER / "000000264.safetensors.part").write_bytes(b"unfinished")
    before = contents(tmp_path)
    monkeypatch.setattr(loop.averages, "write_snapshot", lambda *args: None)
    monkeypatch.setattr(StopSignal, "agreed", lambda self: True)
    loop.train(make_config(cache), tmp_path)
    assert contents(tmp_path).keys() == {name for name in before if int(name[:9]) <= 240 and name.endswith("tensors")}
    monkeypatch.undo()
    monkeypatch.setattr(models, "build", lambda config: toy.GAN)
    assert same_bits(loop.train(make_config(cache), tmp_path), state)
    assert contents(tmp_path).keys() == contents(folder).keys()
    for first, second in zip(*map(averages.snapshots_of, (folder, tmp_path)), strict=True):
        assert same_bits(files.read_snapshot(first), files.read_snapshot(second)) and first.digest == second.digest


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_from_there(straight, cache, tmp_path, monkeypatch):
    folder, state = straight
    sync, calls = os.fsync, iter(range(1000))

    def full(number: int) -> None:
        if next(calls) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(number)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(
        CheckpointError, match=r"000000192.*No space left on device; [\d,]+ bytes are free.*same command"
    ):
        loop.train(make_config(cache), tmp_path)
    assert [int(name[:9]) for name in sorted(contents(tmp_path))] == [32, 64, 96, 128, 160]
    assert same_bits(loop.train(make_config(cache), tmp_path), state)
    assert contents(tmp_path).keys() == contents(folder).keys()


def test_a_run_without_the_key_stores_nothing(cache, tmp_path, straight):
    config = toy.make_loop_config(cache, train__total_kimg=0.064)
    state = loop.train(config, tmp_path)
    assert set(state.ema) == {"g"} and not (tmp_path / files.FOLDER).exists()
    with pytest.raises(ConfigError, match=r"train.posthoc_ema: \[\] -> \[0.05, 0.1"):
        loop.train(make_config(cache), tmp_path)
    with pytest.raises(averages.AverageError, match=r"only runs started with --config.train.posthoc_ema"):
        averages.average(tmp_path, [0.1])
    ready = json.loads((straight[0] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(ready))
    with pytest.raises(averages.AverageError, match="has stored no averages yet; let it train on"):
        averages.average(tmp_path, [0.1])


def test_every_kind_of_axis_moves_the_averages_alike():
    """Compiled alone: what ends an iteration, from parameters that are ahead of their averages."""
    config = toy.make_config(train__posthoc_ema=(0.05, 0.1), train__batch_size=16)
    found = []
    for devices, mesh in ((1, None), (8, (2, 2, 2))):
        run = toy.Run(config, devices=devices, mesh=mesh)
        state = jax.device_get(run.start())
        ahead = jax.tree.map(lambda x: x + np.float32(1), state.nets["g"])
        state = toy.put(state, g=ahead, w_avg=state.moving["w_avg"] + 2).replace(nimg=np.int32(160))
        found.append(run.after(state, "finish"))
    assert same_bits(found[0].ema, found[1].ema)
    moved = found[0].ema["power0"]["w_avg"]
    np.testing.assert_allclose(moved, 2 * (1 - (160 / 176) ** (averages.exponent_of(0.05) + 1)), rtol=1e-5)


def test_a_snapshot_is_finite(tmp_path):
    meta = {"nimg": 8, "config": {"train": {"posthoc_ema": [0.1]}}}
    with pytest.raises(NonFiniteError, match=r"no snapshot of step 1: 1 of 2 arrays .*'power0/w'"):
        files.write_snapshot(tmp_path, 1, {"power0": {"w": np.array([1.0, np.nan])}, "rest": {"b": np.ones(2)}}, meta)
    assert not list(tmp_path.iterdir())
