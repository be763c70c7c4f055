"""Averages whose width is chosen afterwards: the model folder, the sweep, and mistakes in one line."""

from __future__ import annotations

import functools
import json

import jax
import numpy as np
import pytest
from metrics import toys
from PIL import Image

from configs import tiny
from stylegan_jax import load_model, models
from stylegan_jax.base.trees import flatten
from stylegan_jax.checkpoints import averages as files
from stylegan_jax.config import from_dict
from stylegan_jax.metrics import __main__ as metrics, detectors
from stylegan_jax.sampling import averages
from stylegan_jax.tools import average, sample

STEPS = range(4, 65, 4)
WIDTHS = (0.05, 0.1)


@functools.cache
def generator():
    """Return the configuration of a run, and a generator that moves with the images shown: (time in [0, 1]) -> tree."""
    tree = tiny.get_config()
    tree.model.label_dim, tree.train.posthoc_ema = 0, WIDTHS
    config = from_dict(tree)
    start = jax.device_get(jax.jit(models.build(config.model).init_g)(jax.random.key(0)))
    draw = np.random.default_rng(0)
    ahead = jax.tree.map(lambda x: 0.2 * draw.standard_normal(x.shape, np.float32), start["params"])
    return config, start, ahead


def averaged(width: float, time: float):
    """Return {'params', 'w_avg'} of the average after a part of the run, of parameters that move evenly."""
    _, start, ahead = generator()
    power = averages.exponent_of(width) + 1
    mean = np.float32(time * power / (power + 1))  # of the moments that it averages
    params = jax.tree.map(lambda a, b: np.asarray(a + mean * b), start["params"], ahead)
    return {"params": params, "w_avg": mean * np.ones(16, "f")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the workdir of a run with 16 snapshots and no checkpoint."""
    folder, (config, start, _) = tmp_path_factory.mktemp("run"), generator()
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    for step in STEPS:
        meta = {"nimg": 8 * step, "config": config.to_dict(), "num_images": 64, "label_kind": "none", "versions": {}}
        tree = {files.average_name(i): averaged(width, step / 64) for i, width in enumerate(WIDTHS)}
        files.write_snapshot(folder, step, tree | {files.REST: {"buffers": start["buffers"]}}, meta)
    (folder / "stats.jsonl").write_text(json.dumps({"step": 8, "nimg": 64, "metrics": {"metric/fid5k": 3.0}}) + "\n")
    return folder


def test_a_width_is_an_ordinary_model_folder(run, tmp_path, capsys):
    out = tmp_path / "model"
    assert average.main([f"--model={run}", "--width=0.08", f"--out={out}"]) == 0
    text = capsys.readouterr().out
    assert "average of width 0.08 after 0.512 kimg from 16 snapshots (error of its profile 0.00" in text
    model, want = load_model(out), averaged(0.08, 1.0)
    for name, x in flatten(want["params"]).items():
        np.testing.assert_allclose(flatten(model.g_ema["params"])[name], x, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(model.w_avg, want["w_avg"], rtol=1e-3)
    assert model.w_avg.dtype == np.float32 and model.label_kind == "none"
    made = model.provenance["average"]
    assert made["width"] == 0.08 and made["stored_widths"] == [0.05, 0.1] and made["snapshots"] == 16
    assert 0 < made["profile_error"] < 0.01 and model.provenance["metrics"] == []
    assert "relative width 0.08, from 16 snapshots" in (out / "README.md").read_text()
    assert str(run.parent) not in (out / "model.json").read_text()
    assert sample.main([f"--model={out}", "--seeds=0", f"--out={tmp_path / 'drawn'}"]) == 0
    capsys.readouterr()
    assert average.main([f"--model={run}", "--width=0.09", f"--out={out}"]) == 2
    assert "exists already; pass --overwrite" in capsys.readouterr().err
    assert average.main([f"--model={run}", "--width=0.09", "--step=32", f"--out={out}", "--overwrite"]) == 0
    np.testing.assert_allclose(load_model(out).w_avg, averaged(0.09, 0.5)["w_avg"], rtol=1e-3)
    assert load_model(out).provenance["step"] == 32


def test_from_python(run):
    first, second = averages.average(run, [0.06, 0.2])
    assert first.sample([0]).shape == (1, 8, 8, 3) and first.w_avg[0] > second.w_avg[0]


def test_a_sweep_measures_every_width_and_draws_the_curve(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(detectors, "load", lambda names, paths: {n: toys.net(n) for n in names})
    out = tmp_path / "sweep"
    options = [f"--model={run}", f"--out={out}", "--num_images=24", "--cache=off", "--num_devices=1", "--batch=8"]
    assert average.main([*options, "--widths=0.2,0.05,0.1", "--metric=fid5k"]) == 0
    text = capsys.readouterr().out
    rows = [json.loads(line) for line in (out / "sweep.jsonl").read_text().splitlines()]
    assert [row["width"] for row in rows] == [0.05, 0.1, 0.2] and {row["metric"] for row in rows} == {"fid24"}
    best = min(rows, key=lambda row: row["value"])
    assert f"fid24 is best at width {best['width']:g}, {best['value']:.4g}: " in text
    assert len({row["model"]["digest"] for row in rows}) == 3
    with Image.open(out / "fid24.png") as curve:
        assert curve.size == (560, 400) and len(curve.getcolors(1000)) > 5
    assert json.loads((out / "sweep.json").read_text())["arguments"]["widths"] == "0.2,0.05,0.1"
    # The same number as the metrics command has for the model folder of that width.
    assert average.main([f"--model={run}", "--width=0.1", f"--out={tmp_path / 'model'}"]) == 0
    capsys.readouterr()
    same = [f"--model={tmp_path / 'model'}", "--data=synthetic:64", "--metrics=fid5k", *options[2:]]
    assert metrics.main(same) == 0
    assert json.loads(capsys.readouterr().out)["value"] == rows[1]["value"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "pass exactly one of --width, such as --width=0.08, and --widths"),
        (["--width=0.1", "--widths=0.1"], "pass exactly one of --width"),
        (["--width=0.4"], "the width 0.4 is out of range: "),
        (["--width=nan"], "the width nan is out of range: "),
        (["--width=0.006"], "0.006 is too far from what 16 snapshots of widths 0.05, 0.1 can approximate"),
        (["--width=0.1", "--step=5"], "has no snapshot of step 5; the nearest of its 16 is of step 4, and the last of"),
        (["--width=0.1", "--psi=0.7"], "--psi=0.7 has no effect without --widths"),
        (["--width=0.1", "--metric=fid5k"], "--metric=fid5k has no effect without --widths"),
        (["--widths=0.1"], "--widths needs exactly one metric"),
        (["--widths=0.1", "--metric=fid5k,kid1k"], "--widths needs exactly one metric"),
        (["--widths=0.1", "--metric=fid5"], "fid5"),
        (["--widths=0.1,x", "--metric=fid5k"], "write numbers with commas"),
        (["--widths=0.1,0.5", "--metric=fid5k"], "the width 0.5 is out of range"),
    ],
)
def test_mistakes_are_answered_by_one_line(run, tmp_path, capsys, options, text):
    assert average.main([f"--model={run}", f"--out={tmp_path / 'x'}", *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert text in line and not (tmp_path / "x").exists()


def test_what_has_no_averages_says_so(run, classes_model, tmp_path, capsys):
    for path, text in (
        (tmp_path / "nowhere", "does not exist; pass the workdir of a run with config.train.posthoc_ema"),
        (classes_model, "has no snapshots of averages: only runs started with --config.train.posthoc_ema"),
    ):
        assert average.main([f"--model={path}", "--width=0.1", f"--out={tmp_path / 'x'}"]) == 2
        assert text in capsys.readouterr().err


def test_a_damaged_snapshot_is_named(run, tmp_path, capsys):
    folder = tmp_path / files.FOLDER
    folder.mkdir()
    for path in (run / files.FOLDER).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    last = folder / "000000512.safetensors"
    content = bytearray(last.read_bytes())
    for damage, text in ((slice(-1, None), "does not match its SHA-256"), (slice(0, 9), "SafetensorError")):
        broken = bytearray(content)
        broken[damage] = bytes(x ^ 1 for x in broken[damage])
        last.write_bytes(broken)
        assert average.main([f"--model={tmp_path}", "--width=0.1", f"--out={tmp_path / 'x'}"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"{last} is damaged" in line and text in line and "move it away" in line
    last.unlink()
    assert average.main([f"--model={tmp_path}", "--width=0.1", f"--out={tmp_path / 'x'}"]) == 0
    assert load_model(tmp_path / "x").provenance["average"]["snapshots"] == 15
