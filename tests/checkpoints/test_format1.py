"""What version 0.1 wrote still works: its runs go on; its runs, model folders and exported programs draw the same.

`tests/fixtures/v0_1` holds one archive per run or folder that version 0.1 wrote by the command in its `expected.json`,
with the SHA-256 of every array and, in `uint8.npy`, the pictures that it drew. Of exported programs, those for CPU.
`v0_2` holds a run of the next version, written by the Orbax that is named in it: a newer one has to read it too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from stylegan_jax import load_model
from stylegan_jax.augment import controller
from stylegan_jax.base.trees import named_leaves
from stylegan_jax.checkpoints import format1, manifest as manifest_lib
from stylegan_jax.checkpoints.checkpointer import Checkpointer, CheckpointError
from stylegan_jax.checkpoints.restore import committed_steps, read_meta, restore_nets, restore_state
from stylegan_jax.config import ExperimentConfig, completed, from_dict
from stylegan_jax.runtime.mesh import make_layout
from stylegan_jax.runtime.signals import StopSignal
from stylegan_jax.sampling.exported import load_exported
from stylegan_jax.train import loop, programs
from stylegan_jax.train.gan import phases
from stylegan_jax.train.state import TrainState
from stylegan_jax.train.tasks import make_task

ARCHIVES = Path(__file__).parents[1] / "fixtures/v0_1"
RUNS = ("stylegan1_growing_run", "stylegan2_run", "stylegan3t_run")
MODELS = (*RUNS, "stylegan2_folder", "stylegan3t_folder", "stylegan2_converted", "stylegan3t_converted")


class Kept(NamedTuple):
    """One archive: the folder that version 0.1 wrote, what is expected of it, and the pictures that it drew."""

    path: Path
    about: dict[str, Any]
    pixels: np.ndarray


def unpack(name: str, folder: Path, archives: Path = ARCHIVES) -> Kept:
    with zipfile.ZipFile(archives / f"{name}.zip") as archive:
        archive.extractall(folder)
    about = json.loads((folder / "expected.json").read_text())
    return Kept(folder / about["path"], about, np.load(folder / "uint8.npy"))


def digests(tree: Any) -> dict[str, str]:
    return {name: hashlib.sha256(np.asarray(x).tobytes()).hexdigest() for name, x in named_leaves(tree).items()}


def config_of(run: Path, **log: Any) -> ExperimentConfig:
    """Return the configuration of a run, on one device."""
    config = from_dict(completed(read_meta(run)["config"]))
    train = dataclasses.replace(config.train, num_devices=1)
    return dataclasses.replace(config, train=train, log=dataclasses.replace(config.log, **log))


def target_of(config: ExperimentConfig) -> TrainState:
    layout = make_layout(1)
    return programs.state_shapes(make_task(config, layout), layout)


@pytest.mark.parametrize("name", RUNS)
def test_a_state_has_the_same_bits_under_new_names(tmp_path, name):
    run = unpack(name, tmp_path)
    target = target_of(config_of(run.path))
    state, meta, step = restore_state(run.path, target)
    expected = run.about["state"]
    assert (step, meta["nimg"], int(state.step), int(state.nimg)) == (expected["step"], expected["nimg"]) * 2
    assert digests(state) == {format1.renamed(k): digest for k, digest in expected["leaves"].items()}
    assert jax.tree.structure(state) == jax.tree.structure(target)
    parts, *_ = restore_nets(run.path, ("nets", "moving"))
    assert digests(parts) == {k: x for k, x in digests(state).items() if k.split("/")[0] in ("nets", "moving")}


def test_a_run_of_format_2_has_the_same_bits_and_draws_the_same(tmp_path):
    kept = unpack("stylegan2_run", tmp_path, ARCHIVES.parent / "v0_2")
    state, meta, step = restore_state(kept.path, target_of(config_of(kept.path)))
    expected = kept.about["state"]
    assert (step, meta["nimg"], int(state.step), int(state.nimg)) == (expected["step"], expected["nimg"]) * 2
    assert digests(state) == expected["leaves"]
    model, images = load_model(kept.path), kept.about["images"]
    found = digests(model.g_ema) | {"w_avg": hashlib.sha256(np.asarray(model.w_avg).tobytes()).hexdigest()}
    assert found == kept.about["leaves"]
    check(model.sample(images["seeds"], psi=images["psi"], label=images["label"]), kept.pixels)


@pytest.fixture
def drawn_as_then(monkeypatch):
    """Draw for the discriminator's penalties as version 0.1, which first counted the step and moved the controller."""
    draw = phases._draw_d_reg

    def counted_first(of, state, batch, root_key):
        step, own = state.step + 1, of.config
        control = controller.update(own.augment, state.moving["augment"], step, own.train.batch_size)
        return draw(of, state.replace(step=step, moving=state.moving | {"augment": control}), batch, root_key)

    monkeypatch.setattr(phases, "_draw_d_reg", counted_first)


@pytest.mark.parametrize("name", RUNS)
def test_training_goes_on_as_it_did(tmp_path, monkeypatch, drawn_as_then, name):
    """To 2e-5 with the compiler's default options; with the tests', programs round otherwise, and Adam adds that up."""
    run = unpack(name, tmp_path)
    expected, done = run.about["resumed"], itertools.count(1)
    monkeypatch.setattr(StopSignal, "agreed", lambda self: next(done) == len(expected))
    monkeypatch.setattr(StopSignal, "reason", lambda self: "test")
    before = len((run.path / "stats.jsonl").read_text().splitlines())
    loop.train(config_of(run.path, tick_kimg=run.about["resume_tick_kimg"]), run.path)
    found = [json.loads(line) for line in (run.path / "stats.jsonl").read_text().splitlines()[before:]]
    assert [(row["step"], row["nimg"]) for row in found] == [(row["step"], row["nimg"]) for row in expected]
    for i, (row, old) in enumerate(zip(found, expected, strict=True)):
        assert row["mean"].keys() == old["mean"].keys()
        if "loss/d_penalty" in row["mean"]:  # what steers the augmentation is reported with the penalty's reals now
            row["mean"].pop("augment/r_t", None), old["mean"].pop("augment/r_t", None)
        assert row["mean"] == pytest.approx(old["mean"], rel=1e-3 if i else 1e-4, abs=1e-6)
    first, last = run.about["state"]["step"], expected[-1]["step"]
    assert committed_steps(run.path / "checkpoints") == [first, last]
    assert json.loads((run.path / f"checkpoints/{last}/manifest/metadata").read_text())["format"] == 2


@pytest.mark.parametrize("name", MODELS)
def test_models_draw_what_they_drew(tmp_path, name):
    kept = unpack(name, tmp_path)
    about, images = kept.about, kept.about["images"]
    model = load_model(kept.path, whole=True)
    assert (model.is_grown, model.label_kind) == (about["is_grown"], about["label_kind"])
    nets = {"g_ema": model.g_ema, "g": model.g, "d": model.d}
    found = {key: digests(net) for key, net in nets.items() if net is not None}
    assert found | {"w_avg": hashlib.sha256(np.asarray(model.w_avg).tobytes()).hexdigest()} == about["leaves"]
    check(model.sample(images["seeds"], psi=images["psi"], label=images["label"]), kept.pixels)


def test_exported_programs_draw_what_they_drew(tmp_path):
    kept = unpack("stylegan2_exported", tmp_path)
    images = kept.about["images"]
    program = load_exported(kept.path, "cpu")
    check(program.sample(images["seeds"], images["label"], psi=images["psi"]), kept.pixels)
    ws = program.map(images["seeds"], images["label"], psi=images["psi"])
    np.testing.assert_allclose(program.synthesize(ws), load_model(kept.path).synthesize(ws), atol=1e-5)


def check(pixels: np.ndarray, expected: np.ndarray) -> None:
    """Compare pictures, which another compilation may round another way."""
    assert pixels.shape == expected.shape and pixels.std() > 1
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_leaves_are_proved_under_their_old_names(tmp_path):
    run = unpack("stylegan3t_run", tmp_path)
    path = run.path / f"checkpoints/{run.about['state']['step']}/manifest/metadata"
    manifest = json.loads(path.read_text())
    manifest["items"]["state"]["pl_mean"]["sha256"] = "0" * 64
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    manifest["sha256"] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"1 of 185 leaves of 'state' fail their SHA-256 \('pl_mean'\)"):
        restore_state(run.path, target_of(config_of(run.path)))


def test_an_old_checkpoint_of_another_model_names_what_differs(tmp_path):
    run = unpack("stylegan2_run", tmp_path)
    config = config_of(run.path)
    deeper = dataclasses.replace(config, model=dataclasses.replace(config.model, mapping_layers=3))
    with pytest.raises(CheckpointError, match=r"'nets/g/params/mapping/fc2/\w+' is in this model but not in the check"):
        restore_state(run.path, target_of(deeper))


def test_a_newer_checkpoint_names_the_version_to_install(tmp_path, monkeypatch):
    leaf = {"w": np.ones(3)}
    monkeypatch.setattr(manifest_lib, "FORMAT", 3)
    monkeypatch.setattr(manifest_lib, "READER", "0.9")
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, leaf, leaf, {})
    monkeypatch.undo()
    text = r"format 3 is newer than this version reads \(2\); install stylegan_jax 0.9 or newer"
    for read in (lambda: Checkpointer(tmp_path).restore(leaf), lambda: load_model(tmp_path)):
        with pytest.raises(CheckpointError, match=text):
            read()
