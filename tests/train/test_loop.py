"""The real loop on the tiny recipe: files, resume, signals, and what it refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from configs import tiny
from stylegan_jax import data, load_model
from stylegan_jax.config import ConfigError, from_dict
from stylegan_jax.runtime.lock import WorkdirBusyError, WorkdirLock
from stylegan_jax.tools import sample
from stylegan_jax.train import loop, startup


def make_config(cache: str, **changes):
    c = tiny.get_config()
    c.train.compilation_cache = cache
    c.train.num_devices = 1
    c.log.progress_bar = False
    c.update_from_flattened_dict(changes)
    return from_dict(c)


def same_bits(a, b) -> bool:
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def stats_rows(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("timing", "memory")} for row in rows]


@pytest.fixture(scope="module")
def straight(cache, tmp_path_factory):
    """One uninterrupted run: (folder, final state, host reads outside reports, compilations after the first step)."""
    folder = tmp_path_factory.mktemp("straight")
    compiled: list[float] = []
    listening = {"on": False}

    def listen(event: str, duration: float, **_):
        if listening["on"] and event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    compile_all = loop.Run._compile

    def then_listen(self, number):
        programs = compile_all(self, number)
        listening["programs"] = len(programs)
        return programs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Run, "_compile", then_listen)
        report = loop.Run._report

        def first_report(self, *args):
            out = report(self, *args)
            listening["on"] = True  # from the first report on, nothing may compile
            return out

        patch.setattr(loop.Run, "_report", first_report)
        state = loop.train(make_config(cache), folder)
    listening["on"] = False
    return folder, state, listening["programs"], compiled


def test_a_run_writes_what_it_promises(straight):
    folder, state, programs, _ = straight
    assert int(state.step) == 64 and int(state.nimg) == 512 and programs == 5
    assert [row["step"] for row in stats_rows(folder)] == list(range(8, 65, 8))
    row = stats_rows(folder)[-1]
    assert row["nimg"] == 512 and np.isfinite(list(row["mean"].values())).all()
    names = {p.name for p in (folder / "grids").iterdir()}
    assert names == {"reals.png", "fakes_000000000.png", "fakes_000000256.png", "fakes_000000512.png"}
    with Image.open(folder / "grids/fakes_000000512.png") as grid:
        assert grid.size == (4 * 8, 2 * 8)
    saved = json.loads((folder / "config.json").read_text())
    assert saved["model"]["label_dim"] == 0 and saved["train"]["batch_size"] == 8


def test_nothing_compiles_after_the_first_tick(straight):
    assert straight[3] == []


def test_stop_and_resume_is_the_straight_run(straight, cache, tmp_path):
    folder, state, _, _ = straight
    config = make_config(cache)
    signalled = threading.Thread(target=send_when, args=(tmp_path / "stats.jsonl", 2, signal.SIGTERM))
    signalled.start()
    stopped = loop.train(config, tmp_path)
    signalled.join()
    assert 16 <= int(stopped.step) < 64
    resumed = loop.train(config, tmp_path)
    assert same_bits(resumed, state)
    assert stats_rows(tmp_path) == stats_rows(folder)


def send_when(stats: Path, rows: int, number: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if stats.exists() and stats.read_text().count("\n") >= rows:
            os.kill(os.getpid(), number)
            return
        time.sleep(0.002)


def test_finished_run_is_left_alone(straight, cache, capsys):
    folder, state, _, _ = straight
    again = loop.train(make_config(cache), folder)
    assert same_bits(again, state)
    assert "nothing to do" in capsys.readouterr().out


def test_incompatible_config_is_refused_with_the_difference(straight, cache):
    folder = straight[0]
    with pytest.raises(ConfigError, match=r"train.g_lr: 0.002 -> 0.5"):
        loop.train(make_config(cache, **{"train.g_lr": 0.5}), folder)
    assert json.loads((folder / "config.json").read_text())["train"]["g_lr"] == 0.002


def test_other_labels_are_refused(straight, cache):
    config = make_config(cache)

    class Relabelled(data.FittedSource):
        def info(self):
            return super().info()._replace(label_digest="another")

    source = data.open_source(config.data, config.model.image_shape)
    source = Relabelled(source.inner, source.size, source.resize_filter, source.array, source.cache)
    with pytest.raises(ConfigError, match=r"labels of the images: \w+ -> another"):
        loop.train(config, straight[0], source)


def test_other_pictures_under_the_same_name_are_noticed(straight, cache, tmp_path, capsys):
    """A resume says so and draws reals.png anew; the same pictures in another place are the same."""
    folder, config = tmp_path / "run", make_config(cache)
    shutil.copytree(straight[0], folder)
    shown = (folder / "grids" / "reals.png").read_bytes()
    with contextlib.closing(data.open_source(config.data, config.model.image_shape)) as source:
        index = np.arange(source.info().num_images)
        pixels, rows, labelled = source.gather(index), source.label_rows(index), source.info().label_dim > 0
    for images, is_other in ((pixels, False), (255 - pixels, True)):
        moved = data.fit_source(
            data.MemorySource(images, rows if labelled else None), config.data, config.model.image_shape
        )
        loop.train(config, folder, moved)
        assert ("the images of memory have changed since the last start" in capsys.readouterr().out) == is_other
        assert ((folder / "grids" / "reals.png").read_bytes() != shown) == is_other


def test_a_refused_start_leaves_every_record_as_it_was(straight, cache, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(straight[0], folder)
    (folder / "metrics.jsonl").write_text('{"step": 8}\n{"step": 64}\n')
    files = lambda: {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
    config = make_config(cache, **{"train.total_kimg": 9.0, "log.grid_columns": 3})
    source = data.open_source(config.data, config.model.image_shape)
    changed = lambda **facts: type("Changed", (data.FittedSource,), {"info": lambda self: info()._replace(**facts)})
    info = source.info
    remade = lambda kind: kind(source.inner, source.size, source.resize_filter, source.array, source.cache)
    no_network = lambda *args: (_ for _ in ()).throw(ConfigError("no weights of inception"))
    with_metrics = dataclasses.replace(config, eval=dataclasses.replace(config.eval, metrics="fid5k"))
    full = lambda path: type("Usage", (), {"free": 1000})()
    # The newest checkpoint is damaged, and would be moved aside.
    victim = folder / "checkpoints/64/meta/metadata"
    victim.write_bytes(victim.read_bytes().replace(b"nimg", b"mign"))
    before = files()
    with pytest.raises(ConfigError, match="labels of the images"):
        loop.train(config, folder, remade(changed(label_digest="another")))
    with pytest.raises(ConfigError, match="images in the data set: 64 -> 63"):
        loop.train(config, folder, remade(changed(num_images=63)))
    with pytest.raises(ConfigError, match="no weights of inception"):
        loop.train(with_metrics, folder, make_evaluator=no_network)
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match=r"0\.0 MiB free.*need 0\.\d MiB"):
        patch.setattr(startup.shutil, "disk_usage", full)
        loop.train(config, folder)
    assert files() == before


def test_live_workdir_is_refused(cache, tmp_path):
    with WorkdirLock(tmp_path), pytest.raises(WorkdirBusyError, match=str(os.getpid())):
        loop.train(make_config(cache), tmp_path)


def test_nan_stops_the_run_and_names_term_and_step(cache, tmp_path):
    config = make_config(cache, **{"train.d_lr": 1e30, "log.checkpoint_ticks": 100})
    with pytest.raises(loop.DivergedError, match=r"(loss|scores|path_length)/\S+ is not finite at step \d+.*none yet"):
        loop.train(config, tmp_path)


def test_no_room_for_checkpoints(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(startup.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(ConfigError, match=r"MiB free.*keep_latest"):
        loop.train(make_config(cache), tmp_path)


def test_batch_must_fit_the_devices(tmp_path):
    with pytest.raises(ConfigError, match=r"batch_size is 12.*8 devices"):
        loop.train(make_config("off", **{"train.num_devices": 8, "train.batch_size": 12}), tmp_path)


def test_labels_of_another_length_are_refused(cache, tmp_path):
    config = make_config(cache, **{"model.label_dim": 3})
    with pytest.raises(ConfigError, match=r"label_dim is 3.*length 0"):
        loop.train(config, tmp_path)


def test_sampling_a_run(straight, tmp_path, capsys):
    folder = straight[0]
    run = ["--run", str(folder), "--psi", "0.7"]
    assert sample.main([*run, "--seeds", "0-4", "--out", str(tmp_path / "a")]) == 0
    assert sample.main([*run, "--seeds", "9,3", "--out", str(tmp_path / "b"), "--batch", "3"]) == 0
    pixels = [np.asarray(Image.open(tmp_path / f"{where}/seed0003.png")) for where in "ab"]
    assert np.abs(pixels[0].astype(int) - pixels[1]).max() <= 1  # another batch size may round another way
    assert np.asarray(Image.open(tmp_path / "a/grid.png")).shape == (16, 24, 3)
    assert json.loads((tmp_path / "a/sample.json").read_text())["model"]["step"] == 64
    assert sample.main([*run, "--seeds", "0", "--out", str(tmp_path / "c"), "--class", "1"]) == 2
    assert "no labels" in capsys.readouterr().err


def test_an_image_depends_only_on_its_seed(straight, tmp_path):
    model = load_model(straight[0])
    assert model.label_kind == "none"
    alone = model.sample([5], noise="random")
    among = model.sample(range(12), noise="random")
    np.testing.assert_array_equal(alone[0], among[5])


def test_training_on_an_array_needs_no_files(cache, tmp_path):
    config = make_config(cache, **{"train.total_kimg": 0.064})
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    source = data.fit_source(data.MemorySource(pixels), config.data, config.model.image_shape)
    state = loop.train(config, tmp_path, source)
    assert int(state.nimg) == 64


def test_config_round_trips_through_json(cache):
    config = make_config(cache)
    assert from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert dataclasses.asdict(config)["model"]["base_size"] == (4, 4)
