"""Every toy through the real loop: stopped and resumed it is the straight run; previews, averages, frozen networks."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
import toy
from helpers import same_bits, stats_rows
from PIL import Image

from stylegan_jax import data, load_model, models
from stylegan_jax.checkpoints.restore import committed_steps, read_meta, restore_g_ema
from stylegan_jax.config import ConfigError, ExperimentConfig, levels
from stylegan_jax.runtime.mesh import make_layout
from stylegan_jax.runtime.signals import StopSignal
from stylegan_jax.sampling import drawing
from stylegan_jax.train import loop, programs
from stylegan_jax.train.gan import task as gan_task
from stylegan_jax.train.state import TrainState
from stylegan_jax.train.task import Frozen

OWN = {
    "plain": {
        "loss__lecam_weight": 0.1,
        "augment__apa__mode": "apa",
        "augment__apa__p": 0.5,
        "augment__apa__kimg": 0.2,
    },
    "projected": {
        "loss__adversarial": "hinge",
        "model__label_dim": -1,
        "data__labels": "file",
        "data__synthetic_labels": toy.CLASSES,
    },
    "clips": {"loss__d_reg": "r1", "loss__d_reg_interval": 4},
}
UNREAD = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)
"""Weights of the frozen network that make it much larger than everything that is saved."""


class Finished(NamedTuple):
    """A run that was not interrupted."""

    config: ExperimentConfig
    folder: Path
    state: TrainState


def load_backbone(digest: str = "0123") -> Frozen:
    return Frozen(toy.load_backbone().tree | {"unread": UNREAD}, digest)


def install(patch: pytest.MonkeyPatch, name: str, config: ExperimentConfig) -> None:
    """Make the loop train a toy, with data of its own where no source has such examples."""
    patch.setattr(models, "build", lambda _: toy.TOYS[name])
    patch.setattr(gan_task, "_load", lambda _: load_backbone())

    def open_clips(*_, batch_size, start, **__):
        layout = make_layout(1)
        shapes = toy.task_of(config, layout, toy.CLIPS).plan(levels(config)[-1]).batch
        drawn = (toy.random_batch(shapes, index) for index in itertools.count(start // batch_size))
        return data.Batches((jax.device_put(batch, layout.batch_shardings()) for batch in drawn), ahead=0)

    if name == "clips":
        patch.setattr(loop, "open_batches", open_clips)


@pytest.fixture(scope="module")
def straight(cache, tmp_path_factory):
    """Return a function from a toy's name to its uninterrupted run of 32 steps."""
    runs = {}

    def run(name: str) -> Finished:
        if name not in runs:
            folder = tmp_path_factory.mktemp(name)
            config = toy.make_loop_config(cache, train__total_kimg=0.256, **OWN[name])
            with pytest.MonkeyPatch.context() as patch, jax.numpy_rank_promotion("raise"):
                install(patch, name, config)
                runs[name] = Finished(config, folder, loop.train(config, folder))
        return runs[name]

    return run


@pytest.mark.parametrize("name", toy.TOYS)
def test_stop_and_resume_is_the_straight_run(straight, tmp_path, monkeypatch, name):
    config, folder, state = straight(name)
    install(monkeypatch, name, config)
    done = itertools.count(1)
    with monkeypatch.context() as patch:
        patch.setattr(StopSignal, "agreed", lambda self: next(done) == 11)  # inside a tick
        patch.setattr(StopSignal, "reason", lambda self: "test")
        assert int(loop.train(config, tmp_path).step) == 11
    resumed = loop.train(config, tmp_path)
    assert int(resumed.step) == 32 and int(resumed.nimg) == 256
    assert same_bits(resumed, state)
    assert stats_rows(tmp_path) == stats_rows(folder) and [row["step"] for row in stats_rows(folder)] == [8, 16, 24, 32]
    assert np.isfinite(list(stats_rows(folder)[-1]["mean"].values())).all()


def test_every_part_of_a_toy_moves(straight):
    """What is compared above is not constant: collections of networks and the centres of all classes."""
    state = jax.device_get(straight("projected").state)
    for head in state.nets["d"]["batch_stats"].values():
        assert not np.allclose(head["mean"], 0) and not np.allclose(head["var"], 1) and not np.allclose(head["u"], 0.5)
    assert state.moving["w_avg"].shape == (toy.CLASSES, 16) and np.abs(state.moving["w_avg"]).max(axis=1).all()
    assert "loss/g_guidance" in stats_rows(straight("projected").folder)[-1]["mean"]


@pytest.mark.parametrize("name", toy.TOYS)
def test_previews_are_drawn(straight, name):
    folder = straight(name).folder / "grids"
    drawn = {f"fakes_000000{nimg}" for nimg in ("000", "256")}
    moving = {f"{made}.webp" for made in drawn} if name == "clips" else set()
    assert {p.name for p in folder.iterdir()} == {"reals.png", *(f"{made}.png" for made in drawn), *moving}
    first, last = (np.asarray(Image.open(folder / f"fakes_000000{nimg}.png")) for nimg in ("000", "256"))
    frames = 4 if name == "clips" else 1  # of the strip that a still picture shows of each clip
    assert first.shape == last.shape == (2 * 8, frames * 4 * 8, 3) and first.std() > 10 and (first != last).any()


@pytest.mark.parametrize("name", toy.TOYS)
def test_the_average_is_read_alone_and_drawn(straight, monkeypatch, name):
    config, folder, state = straight(name)
    install(monkeypatch, name, config)
    saved, _, step = restore_g_ema(folder)
    assert step == 32 and same_bits(saved.pop("w_avg"), state.moving["w_avg"])
    assert same_bits(saved["params"], state.ema["g"])
    gan, cond = toy.TOYS[name], np.eye(toy.CLASSES, dtype=np.float32)[:, : toy.TOYS[name].spec.label_dim]
    inputs = gan.draw_inputs(toy.KEY, len(cond), cond)
    ws = drawing.map_styles(gan, saved, state.moving["w_avg"], inputs, cond, 0.5)
    image = drawing.draw(gan, saved, ws, inputs)
    assert image.shape == (len(cond), *gan.spec.sample["image"]) and np.std(image) > 0.1
    model = load_model(folder)
    pixels = model.sample([0, 1], psi=0.5, label=[0, 1] if gan.spec.label_dim else None)
    assert pixels.shape == (2, *gan.spec.sample["image"]) and (pixels[0] != pixels[1]).any()


def test_frozen_networks_are_not_saved(straight):
    _, folder, state = straight("projected")
    manifest = json.loads((folder / "checkpoints/32/manifest/metadata").read_text())
    saved = manifest["items"]["state"] | manifest["items"]["g_ema"]
    assert not [name for name in saved if "backbone" in name or "frozen" in name]
    digests = {hashlib.sha256(x.tobytes()).hexdigest() for x in load_backbone().tree.values()}
    copied = [name for name, leaf in saved.items() if leaf["sha256"] in digests]
    assert copied == ["nets/g/buffers/embedding", "buffers/embedding"]  # what the generator made of it, as its own
    assert len(manifest["items"]["state"]) == len(jax.tree.leaves(state))
    size = sum(p.stat().st_size for p in (folder / "checkpoints/32").rglob("*") if p.is_file())
    assert size < UNREAD.nbytes / 4
    assert read_meta(folder)["frozen"] == {"backbone": "0123"}


def test_other_frozen_weights_do_not_resume(straight, monkeypatch):
    config, folder, _ = straight("projected")
    install(monkeypatch, "projected", config)
    monkeypatch.setattr(gan_task, "_load", lambda _: load_backbone("4567"))
    compiled = []
    monkeypatch.setattr(programs.compiling, "lower", lambda *args: compiled.append(args))
    with pytest.raises(ConfigError, match="backbone: SHA-256 0123 at the start, 4567 now"):
        loop.train(config, folder)
    assert not compiled and committed_steps(folder / "checkpoints")[-1] == 32
    # A network that a checkpoint does not know, and one that is gone, are differences too.
    monkeypatch.setattr(models, "build", lambda _: toy.PROJECTED._replace(spec=toy.PROJECTED_SPEC._replace(frozen=())))
    monkeypatch.setattr(programs, "state_shapes", lambda *_: jax.eval_shape(lambda: straight("projected").state))
    with pytest.raises(ConfigError, match=r"backbone: SHA-256 0123 at the start, \(none\) now"):
        loop.train(config, folder)


def test_frozen_networks_are_not_donated(cache):
    config = toy.make_loop_config(cache, model__label_dim=toy.CLASSES)
    run = toy.Run(config, toy.PROJECTED)
    state, before = run.start(), jax.device_get(run.frozen)
    first = state.step
    for index in range(2):
        names = [phase.name for phase in run.plan.phases]
        state = programs.run_step(run.programs, names, state, run.frozen, run.batch(index), toy.KEY)
    assert first.is_deleted() and int(state.step) == 2
    assert not any(x.is_deleted() for x in jax.tree.leaves(run.frozen)) and same_bits(run.frozen, before)
