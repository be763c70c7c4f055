"""Trackers: what the loop tells them, Weights & Biases offline over a resume, and what is missing at the start."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import tiny
from stylegan_jax.config import ConfigError, from_dict, resume_conflicts
from stylegan_jax.train import loop, trackers


def make_config(**changes):
    c = tiny.get_config()
    c.train.num_devices, c.log.progress_bar = 1, False
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return from_dict(c)


class Recorder:
    """A tracker that keeps what it was told."""

    def __init__(self, folder, step, config):
        self.calls = [("open", folder.name, step, config.name)]

    def start(self):
        self.calls.append(("start",))

    def scalars(self, step, values):
        self.calls.append(("scalars", step, values))

    def images(self, step, values):
        self.calls.append(("images", step, {name: value.copy() for name, value in values.items()}))

    def close(self):
        self.calls.append(("close",))


def test_the_loop_tells_every_tracker_what_it_reports(tmp_path, monkeypatch):
    made = []

    def opener(*args):
        made.append(Recorder(*args))
        return made[-1]

    monkeypatch.setitem(trackers.TRACKERS, "first", opener)
    monkeypatch.setitem(trackers.TRACKERS, "second", opener)
    loop.train(make_config(log__trackers=("first", "second"), log__grid_ticks=1, train__total_kimg=0.064), tmp_path)
    assert len(made) == 2
    for recorder in made:
        kinds = [call[0] for call in recorder.calls]
        assert kinds == ["open", "images", "start", "scalars", "images", "close"]
        opened, first, _, scalars, last, _ = recorder.calls
        assert opened == ("open", tmp_path.name, 0, "tiny")
        assert (first[1], scalars[1], last[1]) == (0, 8, 8) and set(first[2]) == {"fakes", "reals"}
        (row,) = (json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines())
        assert {name: scalars[2][name] for name in row["mean"]} == row["mean"]
        assert scalars[2]["kimg"] == 0.064 and scalars[2]["timing/img_per_sec"] == row["timing"]["img_per_sec"]
        grid = np.asarray(Image.open(tmp_path / "grids" / "fakes_000000064.png"))
        np.testing.assert_array_equal(last[2]["fakes"], grid[None])


OFFLINE = """
import pathlib, sys
import numpy as np
from configs import tiny
from stylegan_jax.config import from_dict
from stylegan_jax.train import trackers
config = from_dict(tiny.get_config())
for first in (0, 3):  # a start, and a resume
    run = trackers.WeightsAndBiases(pathlib.Path(sys.argv[1]), config)
    if first:
        run.start()
    run.scalars(first + 1, {"loss/g": 0.5 + first, "bad": float("nan")})
    run.images(first + 2, {"fakes": np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3) + first})
    run.images(first + 2, {"grey": np.full((1, 2, 4, 1), first, np.uint8)})
    run.close()
print(sorted(name for name in sys.modules if name.split(".")[0] == "tensorflow"))
"""


def test_weights_and_biases_offline_has_the_scalars_and_grids_and_resumes_its_run(tmp_path):
    pytest.importorskip("wandb", reason="the extra 'wandb' is not installed")
    environment = os.environ | {"WANDB_MODE": "offline", "WANDB_PROJECT": "mine"}
    command = [sys.executable, "-c", OFFLINE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0 and done.stdout.endswith("[]\n"), done.stderr
    assert "Weights & Biases stopped" not in done.stderr
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    (identity,) = {path.stem.removeprefix("run-") for path in files}
    assert len(files) == 2 and (tmp_path / "wandb_id").read_text() == f"{identity}\n"
    for first, path in zip((0, 3), files, strict=True):
        runs, rows = read_run(path)
        assert runs == [(identity, "mine", "tiny")]
        assert [json.loads(row["step"]) for row in rows] == [first + 1, first + 2, first + 2]
        assert json.loads(rows[0]["loss/g"]) == 0.5 + first and np.isnan(json.loads(rows[0]["bad"]))
        fakes = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) + first
        for row, name, expected in ((rows[1], "fakes", fakes), (rows[2], "grey", np.full((2, 4), first))):
            with Image.open(path.parent / "files" / json.loads(row[f"{name}/path"])) as image:
                np.testing.assert_array_equal(np.asarray(image), expected)


def read_run(path: Path) -> tuple[list[tuple[str, str, str]], list[dict[str, str]]]:
    """Return ((id, project, name) of the runs, history rows) of a .wandb file, a log of LevelDB's form."""
    from wandb.proto import wandb_internal_pb2

    data, at, record, runs, rows = path.read_bytes(), 7, b"", [], []
    while at + 7 <= len(data):
        if at % 32768 > 32768 - 7:  # no header crosses the end of a block
            at = (at // 32768 + 1) * 32768
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]  # after a checksum
        record = (record if kind in (3, 4) else b"") + data[at + 7 : at + 7 + size]  # 1 whole, 2 to 4 parts
        at += 7 + size
        if kind not in (1, 4):
            continue
        found = wandb_internal_pb2.Record.FromString(record)
        if found.HasField("run"):
            runs.append((found.run.run_id, found.run.project, found.run.display_name))
        if found.HasField("history"):
            rows.append({"/".join(item.nested_key) or item.key: item.value_json for item in found.history.item})
    return runs, rows


def fake_wandb(monkeypatch, **members):
    module = types.ModuleType("wandb")
    module.__spec__ = types.SimpleNamespace(name="wandb")
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, "wandb", module)


def test_a_missing_extra_is_one_line_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError) as raised:
        loop.train(make_config(log__trackers=("wandb",)), tmp_path / "run")
    assert "'wandb', whose package is not installed: pip install 'stylegan-jax[wandb]'" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.lock"]


@pytest.mark.parametrize("has_key", [False, True])
def test_a_missing_key_is_an_error_at_the_start_and_not_a_prompt(monkeypatch, has_key):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    asked = []
    settings = types.SimpleNamespace(settings=types.SimpleNamespace(mode="online"))
    fake_wandb(monkeypatch, setup=lambda: settings, login=lambda prompt: asked.append(prompt) or has_key)
    config = make_config(log__trackers=("wandb",))
    if has_key:
        trackers.check_trackers(config)
    else:
        with pytest.raises(ConfigError, match=r"no API key here: run `wandb login`.*WANDB_MODE=offline"):
            trackers.check_trackers(config)
    assert asked == [False]
    monkeypatch.setenv("WANDB_MODE", "offline")
    trackers.check_trackers(config)
    assert asked == [False]


def test_a_failure_is_one_warning_and_the_run_goes_on(tmp_path, monkeypatch, caplog):
    def init(**options):
        raise OSError("no network")

    fake_wandb(monkeypatch, init=init, Settings=dict)
    with caplog.at_level(logging.WARNING):
        run = trackers.WeightsAndBiases(tmp_path, make_config())
        run.scalars(1, {"a": 1.0})
        run.start()
        run._thread.join()
        run.scalars(2, {"a": 1.0})
        assert run._waiting.qsize() == 1  # what came later is not kept
        run.close()
    (warning,) = [r.getMessage() for r in caplog.records if r.name == trackers.__name__]
    assert "Weights & Biases stopped: OSError('no network')" in warning and "stats.jsonl" in warning


def test_an_upload_that_hangs_does_not_hold_the_end_of_a_run(tmp_path, monkeypatch, caplog):
    import threading

    release = threading.Event()
    run_of = types.SimpleNamespace(define_metric=lambda *a, **k: None, log=lambda row: None, finish=release.wait)
    fake_wandb(monkeypatch, init=lambda **options: run_of, Settings=dict)
    monkeypatch.setattr(trackers.WeightsAndBiases, "PATIENCE_S", 0.05)
    run = trackers.WeightsAndBiases(tmp_path, make_config())
    run.scalars(1, {"a": 1.0})
    with caplog.at_level(logging.WARNING):
        run.close()
    release.set()
    run._thread.join()
    assert "did not finish" in caplog.text and "wandb sync" in caplog.text


def test_a_key_of_older_recipes_and_runs_still_says_what_it_said():
    tree = make_config().to_dict()
    own = {**tree["log"], "trackers": ["tensorboard", "wandb"], "tensorboard": False}
    assert from_dict({**tree, "log": own}).log.trackers == ("wandb",)
    assert from_dict({**tree, "log": own | {"tensorboard": True}}).log.trackers == ("tensorboard", "wandb")
    stored = {**tree, "log": {k: v for k, v in tree["log"].items() if k != "trackers"} | {"tensorboard": True}}
    assert from_dict(stored).log.trackers == ("tensorboard",)
    assert resume_conflicts(stored, {**tree, "log": {**tree["log"], "trackers": ["tensorboard"]}}) == ([], [])
