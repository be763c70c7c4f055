"""A run that grows from 8x8 to 32x32 on the bundled emoji: what it compiles, and that it goes on from anywhere."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import importlib
import itertools
import json
import threading
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

from stylegan_jax import load_model
from stylegan_jax.checkpoints.checkpointer import Checkpointer
from stylegan_jax.config import ConfigError, from_dict, level_at, levels
from stylegan_jax.data import open_source
from stylegan_jax.models.grown import alpha as alpha_of
from stylegan_jax.runtime import compiling
from stylegan_jax.runtime.mesh import layout_of
from stylegan_jax.runtime.signals import StopSignal
from stylegan_jax.sampling import averages
from stylegan_jax.tools import average
from stylegan_jax.train import loop, programs
from stylegan_jax.train.tasks import make_task

EMOJI = Path(__file__).parents[2] / "datasets/emoji64.zip"
CHANGES = {"channel_max": 8, "z_dim": 8, "w_dim": 8, "mapping_layers": 1}
CHANGES = {f"model.{k}": v for k, v in CHANGES.items()} | {"train.total_kimg": 0.32, "train.batch_size": 4}
CHANGES |= {"growing.train_kimg": 0.064, "growing.fade_kimg": 0.064, "growing.batch_sizes": (8, 8)}
CHANGES |= {"log.tick_kimg": 0.064, "log.grid_ticks": 1, "log.checkpoint_ticks": 1, "log.trackers": ()}
CHANGES |= {"log.grid_columns": 4, "log.grid_rows": 2, "log.progress_bar": False, "train.num_devices": 1}
CHANGES |= {"data.path": str(EMOJI), "data.subset": 64, "train.posthoc_ema": (0.1,)}


def quickstart(**changes):
    """Return the recipe of the growing quickstart, smaller and shorter."""
    tree = importlib.import_module("configs.progressive_quickstart").get_config()
    tree.update_from_flattened_dict(CHANGES | {k.replace("__", "."): v for k, v in changes.items()})
    return from_dict(tree)


def same_bits(a, b) -> bool:
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def rows(folder) -> list[dict]:
    found = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("timing", "memory")} for row in found]


@pytest.fixture(scope="module")
def grown(own_cache, tmp_path_factory):
    """One uninterrupted run: (config, folder, state, compiled programs by shape, compilations by name, later ones)."""
    folder, config = tmp_path_factory.mktemp("grown"), quickstart(train__compilation_cache=own_cache)
    made, compiled, later, on = {}, collections.Counter(), [], ["all"]

    def listen(event: str, _: float, *, fun_name: str = "", **__):
        if on and event.endswith("backend_compile_duration"):
            compiled[fun_name] += 1
            if len(on) == 2 and threading.current_thread() is threading.main_thread():
                later.append(fun_name)

    def hear(event: str, **__):
        if on and event.endswith("/cache_hits"):
            compiled["found in the cache"] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    jax.monitoring.register_event_listener(hear)
    compile_programs, report = compiling.compile_programs, loop.Run._report

    def kept(jitted, arguments):
        shape = image_shape(arguments)
        made[shape] = compile_programs(jitted, arguments)
        return made[shape]

    def reported(self, *args):
        out = report(self, *args)
        on[1:] = ["later"]  # from the first report on, steps wait for no compiler
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "compile_programs", kept)
        patch.setattr(loop.Run, "_report", reported)
        state = loop.train(config, folder)
    on.clear()
    return config, folder, state, made, compiled, later


def image_shape(arguments: dict[str, tuple]) -> tuple[int, ...]:
    """Return the shape of the images that the programs of a level take."""
    _, _, batch, _ = arguments["d_main"]
    return batch.pixels.shape


def test_every_program_is_compiled_once_per_height_and_before_it_is_needed(grown):
    *_, made, compiled, later = grown
    assert {shape: set(programs) for shape, programs in made.items()} == {
        shape: {"g_main", "d_main", "finish"} for shape in ((8, 8, 8, 3), (8, 16, 16, 3), (4, 32, 32, 3))
    }
    assert [compiled[f"jit({name})"] for name in ("g_main", "d_main", "finish", "draw")] == [3] * 4
    # Where a program lies when it has been compiled before: what ends an iteration is the same for equal batches.
    assert compiled["found in the cache"] <= 1
    assert len(later) == 1  # what starts the optimisers anew


def test_the_run_shows_the_images_that_were_asked_for_at_each_height(grown):
    config, folder, state, *_ = grown
    assert [(x.height, x.first, x.end, x.restarts) for x in levels(config)] == [
        (8, 0, 8, ()),
        (16, 8, 24, (8, 16)),
        (32, 24, 56, (24, 40)),
    ]
    assert int(state.step) == 56 and int(state.nimg) == 320
    assert [(row["step"], row["nimg"]) for row in rows(folder)] == [(8, 64), (16, 128), (24, 192), (40, 256), (56, 320)]
    assert {f"fakes_{nimg:09d}.png" for nimg in range(0, 321, 64)} < {p.name for p in (folder / "grids").iterdir()}
    counts = {int(x) for p, x in jax.tree.leaves_with_path(state.opt) if "count" in str(p[-1])}
    assert counts == {56 - 40}  # Adam started anew when the last fade was over


def test_a_run_goes_on_bit_for_bit_from_beside_a_new_height_and_from_inside_its_fade(
    grown, tmp_path, monkeypatch, capsys
):
    """Stopped before the last step of a height, after it, and inside two fades: one run, and the same programs."""
    config, folder, state, made, *_ = grown
    monkeypatch.setattr(compiling, "compile_programs", lambda _, arguments: made[image_shape(arguments)])
    layout = layout_of(config)
    unlabelled = dataclasses.replace(config, model=dataclasses.replace(config.model, label_dim=0))  # as the data says
    shapes = programs.state_shapes(make_task(unlabelled, layout), layout)
    monkeypatch.setattr(programs, "state_shapes", lambda *_: shapes)  # a second and more per part to work out
    done = itertools.count(1)  # steps of all parts together
    for step, height, alpha in ((7, 8, None), (8, 8, None), (12, 16, 0.5), (36, 32, 0.75)):
        with monkeypatch.context() as patch:
            patch.setattr(StopSignal, "agreed", lambda self, step=step: next(done) == step)
            patch.setattr(StopSignal, "reason", lambda self: "test")
            stopped = loop.train(config, tmp_path)
        assert int(stopped.step) == step == Checkpointer(tmp_path).steps()[-1]
        level = levels(config)[level_at(config, step - 1)]
        assert level.height == height and (alpha is None or alpha_of(level, level.nimg(step)) == alpha)
    model = load_model(tmp_path)  # of the last stop
    assert model.gan.spec.image_shape == (32, 32, 3) and not model.is_grown
    assert same_bits(loop.train(config, tmp_path), state)
    assert load_model(tmp_path).is_grown
    assert rows(tmp_path) == rows(folder)
    stored, again = averages.snapshots_of(folder), averages.snapshots_of(tmp_path)
    assert [(s.step, s.nimg) for s in stored] == [(8, 64), (16, 128), (24, 192), (40, 256), (56, 320)]
    assert [s.digest for s in again] == [s.digest for s in stored]
    assert [averages.average(tmp_path, [0.1], step)[0].is_grown for step in (16, 56)] == [False, True]
    assert average.main([f"--model={tmp_path}", "--width=0.1", "--step=24", f"--out={tmp_path / 'model'}"]) == 2
    assert "the model is still growing (height 16 of 32)" in capsys.readouterr().err


def test_another_schedule_is_refused_on_resume(grown):
    changed = quickstart(growing__fade_kimg=0.032, train__compilation_cache="off")
    with pytest.raises(ConfigError, match=r"growing.fade_kimg: 0.064 -> 0.032"):
        loop.train(changed, grown[1])


def test_bad_images_are_left_out_before_the_first_height(tmp_path, monkeypatch):
    """Of a set that is held in memory at no more than the first height."""
    with zipfile.ZipFile(EMOJI) as emoji, zipfile.ZipFile(tmp_path / "some.zip", "w") as some:
        names = [name for name in emoji.namelist() if name.endswith(".png")][:9]
        for name in names:
            some.writestr(name, emoji.read(name))
        damaged = bytearray(emoji.read(names[0]))
        damaged[damaged.index(b"IDAT") + 20] ^= 1
        some.writestr("damaged.png", bytes(damaged))
    config = quickstart(data__path=str(tmp_path / "some.zip"), data__subset=0, data__on_bad_image="skip")
    monkeypatch.setattr(loop.Run, "run", lambda self: self.source.info())
    with contextlib.closing(
        open_source(dataclasses.replace(config.data, cache="off"), config.model.image_shape)
    ) as source:
        assert source.info().num_images == 10
        info = loop.train(config, tmp_path, source)
    assert info.num_images == 9 and [name for name, _ in info.skipped] == ["damaged.png"]
