"""The tools on a model of videos: its videos along time, its frames as pictures, and what does not apply."""

from __future__ import annotations

import json

import moving
import numpy as np
import pytest
from PIL import Image

import stylegan_jax.features
from stylegan_jax import load_model
from stylegan_jax.base import images
from stylegan_jax.base.trees import named_leaves
from stylegan_jax.features import FeatureNet
from stylegan_jax.sampling import directions
from stylegan_jax.tools import edit, export, noise, project, pti, sample, spectrum, style_mix, truncation, video

SIZE = moving.SIZE


@pytest.fixture(scope="module")
def model(clips_model):
    return load_model(clips_model)


@pytest.fixture
def run(clips_model, tmp_path, monkeypatch, capsys):
    """Return a function that runs a tool on the model, in a folder of its own, and returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(tool, *options, model=clips_model, code=0):
        assert tool.main([f"--model={model}", *options]) == code
        printed = capsys.readouterr()
        if code:
            assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
        return printed.err if code else printed.out

    return call


def cells(path, rows, columns):
    """Return int[rows, columns, h, w, c] of a grid."""
    with Image.open(path) as picture:
        assert picture.size == (columns * SIZE, rows * SIZE)
        return np.asarray(picture.convert("RGB")).reshape(rows, SIZE, columns, SIZE, 3).swapaxes(1, 2).astype(int)


def near(got, want):
    """Compare pixels up to the rounding of another program."""
    np.testing.assert_allclose(np.asarray(got, int), np.asarray(want, int), atol=1)


def drawn(model, *args, **options):
    return np.stack(list(model.video(*args, **options)), axis=1).astype(int)


def test_videos_along_time(model, run, tmp_path):
    told = run(video, "--path=time", "--seeds=0-3", "--frames=6", "--out=clips.mp4")
    assert "6 frames, 0.5 s, times 0 to 5 in steps of 1, in clips.mp4" in told  # 12 a second, as the data
    import av

    with av.open("clips.mp4") as container:
        assert container.streams.video[0].average_rate == moving.FPS
        shown = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    assert shown.shape == (6, 2 * SIZE, 2 * SIZE, 3)
    want = drawn(model, range(4), 6)
    grid = shown.reshape(6, 2, SIZE, 2, SIZE, 3).transpose(1, 3, 0, 2, 4, 5).reshape(4, 6, SIZE, SIZE, 3)
    assert np.abs(grid - want).mean() < 20
    apart = np.abs(grid[:, :, None] - want[:, None]).mean(axis=(3, 4, 5))  # video, shown frame, drawn frame
    np.testing.assert_array_equal(apart.argmin(axis=2), np.broadcast_to(np.arange(6), (4, 6)))
    assert json.loads((tmp_path / "clips.mp4.json").read_text())["arguments"]["path"] == "time"


def test_strips_hold_the_frames_of_the_library(model, run):
    told = run(video, "--path=time", "--seeds=3,4", "--frames=5", "--start=2.5", "--speed=0.5", "--out=strip.png")
    assert "5 frames, times 2.5 to 4.5 in steps of 0.5, in strip.png" in told
    near(cells("strip.png", 2, 5), drawn(model, [3, 4], 5, start=2.5, speed=0.5))
    told = run(video, "--path=time", "--seeds=3", "--frames=4", "--fps=48", "--psi=0.5", "--out=strip.png")
    assert "times 0 to 0.75 in steps of 0.25" in told
    near(cells("strip.png", 1, 4), drawn(model, [3], 4, speed=0.25, psi=0.5))


def test_a_grid_of_content_and_motion(model, run, tmp_path):
    run(video, "--path=time", "--seeds=3,4", "--motion_seeds=5-7", "--frames=4", "--out=strip.png")
    rows = cells("strip.png", 6, 4).reshape(3, 2, 4, SIZE, SIZE, 3)  # motion, content, time
    for i, motion in enumerate((5, 6, 7)):
        near(rows[i], drawn(model, [3, 4], 4, motion_seeds=motion))
    assert "4 frames, 0.3 s" in run(
        video, "--path=time", "--seeds=3,4", "--motion_seeds=5-7", "--frames=4", "--out=a.webp"
    )
    with Image.open("a.webp") as film:
        assert (film.n_frames, film.size) == (4, (2 * SIZE, 3 * SIZE))  # a row per motion, a column per seed
        film.seek(2)
        shown = np.asarray(film.convert("RGB")).reshape(3, SIZE, 2, SIZE, 3).swapaxes(1, 2).astype(int)
    assert np.abs(shown - rows[:, :, 2]).mean() < 12
    ws = model.map([3, 4])
    np.savez("w.npz", w=ws)
    run(video, "--path=time", "--styles=w.npz", "--motion_seeds=5", "--frames=4", "--out=styles.png")
    near(cells("styles.png", 2, 4), rows[0])
    run(video, "--path=time", "--seeds=0-2", "--grid=3x1", "--frames=2", "--out=b.gif")
    with Image.open("b.gif") as film:
        assert film.size == (3 * SIZE, SIZE)


def test_classes_take_turns_over_the_seeds(labelled_clips_model, run):
    run(video, "--path=time", "--seeds=3-5", "--class=0,1", "--frames=3", "--out=strip.png", model=labelled_clips_model)
    near(cells("strip.png", 3, 3), drawn(load_model(labelled_clips_model), [3, 4, 5], 3, label=[0, 1, 0]))
    told = run(video, "--path=time", "--seeds=3", "--class=0,1", "--out=x.webp", model=labelled_clips_model, code=2)
    assert "--class=0,1: 2 classes for 1 seeds; use more seeds" in told


def test_pictures_are_frames(model, run):
    want = drawn(model, [3, 4], 5)
    run(sample, "--seeds=3,4", "--time=4", "--columns=2", "--save_w", "--out=s")
    near(cells("s/grid.png", 1, 2)[0], want[:, 4])
    run(sample, "--styles=s/styles.npz", "--motion_seed=4", "--columns=2", "--out=again")
    of_four = drawn(model, [3, 4], 1, motion_seeds=4)[:, 0]
    near(cells("again/grid.png", 1, 2)[0], of_four)
    run(sample, "--seeds=3,4", "--motion_seed=4", "--columns=2", "--out=fixed")
    near(cells("fixed/grid.png", 1, 2)[0], of_four)
    run(truncation, "--seeds=3,4", "--psis=0,1", "--motion_seed=4", "--out=t")
    near(cells("t/grid.png", 2, 2)[:, 1], of_four)
    run(style_mix, "--rows=3", "--columns=4", "--layers=all", "--motion_seed=4", "--out=m")
    near(cells("m/grid.png", 2, 2)[1], of_four)
    assert (cells("m/grid.png", 2, 2)[1, 1] == cells("m/grid.png", 2, 2)[0, 1]).all()
    run(edit, "--seeds=3,4", "--strengths=0,2", "--count=1", "--motion_seed=4", "--out=e")
    shown = cells("e/direction00.png", 2, 2)
    near(shown[:, 0], of_four)
    assert np.abs(shown[:, 1] - of_four).max() > 3
    run(video, "--seeds=3,4", "--frames=2", "--start=4", "--motion_seeds=3", "--out=loop.webp")
    with Image.open("loop.webp") as film:
        assert film.n_frames == 4
        first = np.asarray(film.convert("RGB")).astype(int)
    assert np.abs(first - want[0, 4]).mean() < 12  # WebP of quality 90
    assert "spectra of model (3)" in run(spectrum, "--num=3", "--out=f")


def test_a_direction_of_sefa_reads_the_styles_alone(labelled_clips_model, tmp_path):
    moving.write(tmp_path / "wide", cond_type="concat_w")
    for folder in (labelled_clips_model, tmp_path / "wide"):
        model = load_model(folder)
        slots = directions.affine_slots(model)
        own = {name.rsplit("/", 1)[0] for name in named_leaves(model.g_ema["params"]["synthesis"]) if "affine" in name}
        assert {"/".join(path).removeprefix("synthesis/") for path in slots} == own
        assert sorted(set(slots.values())) == list(range(model.gan.spec.num_ws))
        assert directions.sefa(model, [0, 1], 2).vectors.shape == (2, model.gan.spec.w_dim)


def test_an_exported_folder_draws_the_same_videos(model, run, tmp_path):
    run(export, "--platforms=none", "--out=folder")
    again = load_model(tmp_path / "folder")
    assert again.fps == moving.FPS
    np.testing.assert_array_equal(drawn(again, [3], 3), drawn(model, [3], 3))
    card = (tmp_path / "folder" / "README.md").read_text()
    assert "model.video(range(4), 64))" in card and "model.sample" not in card


@pytest.mark.parametrize(
    ("tool", "options", "words"),
    [
        (video, ["--path=time", "--start=-1"], "--start=-1 must be a number of frames from 0"),
        (video, ["--path=time", "--start=nan"], "--start=nan must be a number of frames from 0"),
        (video, ["--path=time", "--speed=0"], "--speed=0 must be a number above 0"),
        (video, ["--path=time", "--frames=0"], "--frames=0 must be at least 1"),
        (video, ["--path=time", "--space=z"], "--space=z has no effect with --path=time; leave it out"),
        (video, ["--path=time", "--radius=0.5"], "--radius=0.5 has no effect with --path=time"),
        (video, ["--path=time", "--grid=3x1"], "--grid=3x1 has 3 cells; --path=time needs 4, one for each video"),
        (video, ["--path=time", "--grid=2x2", "--motion_seeds=1"], "--grid=2x2 has no effect with --motion_seeds"),
        (video, ["--path=time", "--motion_seeds=a"], "--motion_seeds='a': 'a' is not a seed or a range"),
        (video, ["--path=time", "--out=x.png", "--frames=5000"], "a strip has at most 4096 frames in all"),
        (video, ["--path=time", "--out=nowhere/x.png"], "pass a file in a folder that exists"),
        (video, ["--path=time", "--start=1e8"], "where float32 cannot represent steps of 1"),
        (video, ["--path=latent", "--speed=2"], "--speed=2.0 has no effect with --path=latent"),
        (video, ["--path=latent", "--motion_seeds=1,2"], "--motion_seeds=1,2: a loop has one motion; --path=time"),
        (video, ["--path=rotate"], "--path=rotate: arch 'stylegan_v' cannot translate or rotate its output"),
        (sample, ["--time=-2", "--out=o"], "--time=-2 must be a number of frames from 0"),
        (sample, ["--motion_seed=-2", "--out=o"], "--motion_seed=-2 must be from 0 to"),
        (sample, ["--translate=0,1", "--out=o"], "--translate, --rotate: arch 'stylegan_v' cannot translate"),
        (noise, ["--out=o"], "has no noise inputs, so there is nothing to compare"),
        (export, ["--out=o"], "besides z, which exported programs and pages do not take"),
        (export, ["--out=o"], "export a model folder alone (--platforms=none)"),
        (export, ["--out=o", "--to=web"], "besides z, and the page draws only z"),
    ],
)
def test_what_does_not_apply_is_said_in_one_line(run, tmp_path, tool, options, words):
    out = [] if any(option.startswith("--out") for option in options) else ["--out=x.webp"]
    assert words in run(tool, *options, *out, code=2)
    assert not list(tmp_path.iterdir())


def test_images_have_no_time(classes_model, run):
    told = run(video, "--path=time", "--class=1", "--out=x.webp", model=classes_model, code=2)
    assert "--path=time: arch 'stylegan2' draws images, which have no time; use a model that was trained on" in told
    told = run(video, "--class=1", "--start=2", "--out=x.webp", model=classes_model, code=2)
    assert "--start=2.0 has no effect on arch 'stylegan2', which draws images without time; leave it out" in told
    for tool in (sample, truncation, style_mix, edit):
        told = run(tool, "--class=1", "--time=0", "--out=o", model=classes_model, code=2)
        assert "--time=0.0: arch 'stylegan2' draws images, without time; leave it out" in told


def test_styles_of_a_model_with_classes_need_the_class_of_the_motion(labelled_clips_model, run):
    model = load_model(labelled_clips_model)
    np.savez("w.npz", w=model.map([3, 4], [0, 1]))
    run(sample, "--styles=w.npz", "--class=1", "--motion_seed=4", "--columns=2", "--out=s", model=labelled_clips_model)
    near(cells("s/grid.png", 1, 2)[0, 1], drawn(model, [4], 1, label=1)[0, 0])
    told = run(sample, "--styles=w.npz", "--out=o", model=labelled_clips_model, code=2)
    assert "this model is class-conditional; pass --class" in told
    told = run(truncation, "--class=0,1", "--out=o", model=labelled_clips_model, code=2)
    assert "--class=0,1: this tool draws one class at a time" in told


def test_projections_and_tuning_of_a_frame(model, run, monkeypatch, tmp_path):
    look = lambda params, image, outputs: {"lpips": image.reshape(len(image), -1) / 5000}
    net = FeatureNet("pixels", {"lpips": -1}, [], look, "", "pixels themselves")
    monkeypatch.setattr(stylegan_jax.features, "load_features", lambda name, path: net)
    target = model.still(4, motion_seed=4).sample([5])
    images.save_png("target.png", target[0])
    at = ("--time=4", "--motion_seed=4")
    run(project, "--targets=target.png", "--steps=20", *at, "--video=none", "--out=found")
    record = json.loads((tmp_path / "found" / "project.json").read_text())
    assert record["still"] == {"time": 4.0, "motion_seed": 4, "label": None}
    row = record["lpips"]["target"]
    assert row["end"] < 0.9 * row["start"]
    run(pti, "--projected=found", "--steps=3", "--out=tuned")
    assert json.loads((tmp_path / "tuned" / "pti.json").read_text())["lpips"]["target"]["start"] == pytest.approx(
        row["end"], rel=1e-3
    )
    shown = cells("tuned/target.png", 1, 3)[0]
    near(shown[0], target[0])
    tuned, ws = load_model("tuned/target"), np.load("found/target/projected_w.npz")["w"]
    near(drawn(tuned, styles=ws, frames=1, start=4, motion_seeds=4)[0, 0], shown[2])
    assert np.abs(np.diff(drawn(tuned, styles=ws, frames=3)[0], axis=0)).max() > 3
    for broken in (record | {"still": None}, record | {"still": {"time": -1, "motion_seed": 0, "label": None}}):
        (tmp_path / "found" / "project.json").write_text(json.dumps(broken))
        told = run(pti, "--projected=found", "--out=other", code=2)
        assert "says at which time and with which motion of this video" in told
