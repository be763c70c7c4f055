"""The tools on a stage of StyleGAN-XL: a mean style per class, layer numbers that skip one, latents of another size."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import safetensors.numpy
from conftest import CLASSES
from PIL import Image
from test_pictures import cells
from test_project import NET

import stylegan_jax.features
import stylegan_jax.sampling.load
from stylegan_jax import load_model
from stylegan_jax.base import images
from stylegan_jax.convert import __main__ as convert
from stylegan_jax.sampling import directions, tuner
from stylegan_jax.tools import centroids, edit, project, pti, sample, style_mix, video

SIZE, SLOTS = 16, 7
load_once = functools.cache(load_model)  # so that the commands share the compiled programs


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(stylegan_jax.sampling.load, "load_model", load_once)
    monkeypatch.setattr(stylegan_jax.features, "load_features", lambda name, path: NET)


@pytest.fixture(scope="module")
def model(stage_model):
    return load_once(str(stage_model), None)


@pytest.fixture
def run(stage_model):
    return f"--model={stage_model}"


def picture(path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_classes_are_truncated_to_their_own_means(run, model, tmp_path):
    means = np.asarray(model.w_avg)
    assert means.shape == (CLASSES, 8) and model.gan.spec.num_ws == SLOTS
    options = [run, "--seeds=3,4", "--class=0,2", "--psi=0.5", "--save_w"]
    assert sample.main([*options, f"--out={tmp_path}"]) == 0
    with np.load(tmp_path / "styles.npz") as file:
        ws, classes = file["w"], file["label"].argmax(axis=1)
    np.testing.assert_array_equal(classes, [0, 2, 0, 2])
    whole = model.map([3, 3, 4, 4], [0, 2, 0, 2])
    np.testing.assert_allclose(ws, (whole + means[classes][:, None]) / 2, rtol=1e-5, atol=1e-6)
    pictures = [picture(tmp_path / f"seed{seed:04}_class{k:03}.png") for seed in (3, 4) for k in (0, 2)]
    assert np.abs(pictures - images.to_pixels(model.synthesize(ws)).astype(int)).max() <= 1
    assert all(np.abs(a - b).max() > 1 for a, b in ((pictures[0], pictures[1]), (pictures[0], pictures[2])))


def test_centroids_of_any_class_draw_styles_to_them(run, model, tmp_path):
    out = tmp_path / "c.npz"
    assert centroids.main([run, "--count=3", "--samples=24", "--batch=8", f"--out={out}"]) == 0
    found = np.load(out)["centroids"]
    options = [run, "--seeds=3,4", "--class=1", "--psi=0", "--save_w", f"--centroids={out}"]
    assert sample.main([*options, f"--out={tmp_path / 's'}"]) == 0
    with np.load(tmp_path / "s" / "styles.npz") as file:
        ws = file["w"]
    own = model.map([3, 4], 1)[:, 0]
    nearest = np.square(found[None] - own[:, None]).sum(axis=2).argmin(axis=1)
    np.testing.assert_allclose(ws, np.repeat(found[nearest][:, None], SLOTS, axis=1), rtol=1e-5)


def test_styles_are_mixed_across_stem_and_head(run, model, tmp_path):
    options = [run, "--class=1", "--rows=0", "--columns=5", "--layers=3-6"]
    assert style_mix.main([*options, f"--out={tmp_path}"]) == 0
    grid = cells(tmp_path / "grid.png", 2, SIZE)
    row, column = model.map([0, 5], 1)
    mixed = np.concatenate([row[:3], column[3:]])
    want = images.to_pixels(model.synthesize(mixed[None]))[0]
    assert np.abs(grid[1, 1] - want).max() <= 1
    assert np.abs(grid[1, 1] - grid[1, 0]).max() > 1 and np.abs(grid[1, 1] - grid[0, 1]).max() > 1


def test_an_affine_layer_of_the_head_is_edited_in_its_slot(run, model, tmp_path):
    """Slot 3 feeds layer L3, the first of the head: L2 is the number that is skipped."""
    options = [run, "--class=2", "--seeds=4", "--layers=3", "--count=1", "--strengths=0,5"]
    assert edit.main([*options, f"--out={tmp_path}"]) == 0
    found = directions.load(str(tmp_path / "directions.npz"), 8)
    weight = np.asarray(model.g_ema["params"]["synthesis"]["L3"]["affine"]["weight"])
    values, vectors = np.linalg.eigh(weight @ weight.T)
    assert abs(vectors[:, values.argmax()] @ found.vectors[0]) == pytest.approx(1, abs=1e-4)
    still, moved = cells(tmp_path / "direction00.png", 2, SIZE)[0]
    ws = model.map([4], 2)
    assert np.abs(still - images.to_pixels(model.synthesize(ws))[0]).max() <= 1
    ws[:, 3] += 5 * found.vectors[0]
    assert np.abs(moved - images.to_pixels(model.synthesize(ws))[0]).max() <= 1 < np.abs(moved - still).max()


def test_a_video_goes_from_class_to_class(run, model):
    options = [run, "--seeds=3,4,5", "--class=0,1,2", "--frames=2", "--psi=0.7", "--out=x"]
    frames = np.stack(list(video.frames(model, [3, 4, 5], video.parser().parse_args(options)))).astype(int)
    want = images.to_pixels(model.synthesize(model.map([3, 4, 5], [0, 1, 2], psi=0.7))).astype(int)
    assert frames.shape == (6, SIZE, SIZE, 3) and np.abs(frames[::2] - want).max() <= 1
    assert all((a != b).any() for a, b in zip(frames[1:], frames[:-1], strict=True))


def test_latents_of_several_classes_are_an_error_before_any_frame(run, tmp_path, capsys):
    options = [run, "--space=z", "--seeds=3,4", "--frames=2"]
    assert video.main([*options, "--class=0,2", f"--out={tmp_path / 'x.gif'}"]) == 2
    assert "space='z' blends the labels of its keyframes" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert video.main([*options, "--class=2", f"--out={tmp_path / 'x.gif'}"]) == 0


def test_a_picture_is_projected_and_tuned_with_locality(run, model, tmp_path):
    target = images.to_pixels(model.synthesize(model.map([11], 1)))[0]
    images.save_png(tmp_path / "t.png", target)
    options = [run, f"--targets={tmp_path / 't.png'}", "--class=1", "--steps=40", "--frames=0"]
    assert project.main([*options, f"--out={tmp_path / 'p'}"]) == 0
    with np.load(tmp_path / "p" / "t" / "projected_w.npz") as file:
        pivot = file["w"]
    assert pivot.shape == (1, SLOTS, 8) and (pivot == pivot[:, :1]).all()
    away = lambda m, ws: np.square(images.to_pixels(m.synthesize(ws))[0].astype(float) - target).mean()
    mean = np.repeat(np.asarray(model.w_avg)[1][None, None], SLOTS, axis=1)
    assert away(model, pivot) < 0.5 * away(model, mean)
    tuning = [run, f"--projected={tmp_path / 'p'}", "--steps=20", "--rate=1e-3", "--locality=10"]
    assert pti.main([*tuning, f"--out={tmp_path / 'tuned'}"]) == 0
    tuned = load_model(next(path.parent for path in (tmp_path / "tuned").rglob("model.json")))
    assert away(tuned, pivot) < away(model, pivot)
    beside = tuner.neighbours(model, pivot[0], 2)
    assert np.square(tuned.synthesize(beside) - model.synthesize(beside)).mean() > 0
    np.testing.assert_array_equal(tuned.map([3], 2), model.map([3], 2))  # the mapping network stays


def test_a_folder_leaves_with_official_names(run, model, tmp_path, capsys):
    out = tmp_path / "official"
    assert convert.main([run, f"--out={out}", "--to=official"]) == 0, capsys.readouterr().err
    file = safetensors.numpy.load_file(out / "G_ema.safetensors")
    layers = [name for name in file if name.endswith(".affine.bias") and ".L" in name]
    assert sorted(name.split(".")[1].split("_")[0] for name in layers) == ["L0", "L1", "L3", "L4", "L5", "L6"]
    np.testing.assert_array_equal(file["mapping.w_avg"], model.w_avg)
    embed = model.g_ema["params"]["mapping"]["embed"]
    np.testing.assert_array_equal(file["mapping.embed.weight"], embed["weight"])
    np.testing.assert_array_equal(file["mapping.embed_proj.weight"], np.asarray(embed["proj"]["weight"]).T)
