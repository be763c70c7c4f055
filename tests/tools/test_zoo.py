"""The tools on other models: grey, with transparency, StyleGAN, StyleGAN3; and styles handed from tool to tool."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from stylegan_jax import load_model
from stylegan_jax.tools import edit, project, sample, style_mix, truncation, video

MODES = {"grey": "L", "rgba": "RGBA", "stylegan1": "RGB", "stylegan3": "RGB", "r3gan": "RGB"}
LABEL = {"stylegan3": 1}


def options(zoo, name):
    return [f"--model={zoo[name]}", *([f"--class={LABEL[name]}"] if name in LABEL else [])]


@pytest.mark.parametrize("name", MODES)
def test_samples_and_truncation(zoo, tmp_path, name):
    model, size = load_model(zoo[name]), 16 if name == "stylegan3" else 8
    assert sample.main([*options(zoo, name), "--seeds=3,4", "--psi=0.5", f"--out={tmp_path / 's'}"]) == 0
    with Image.open(tmp_path / "s" / "seed0004.png") as picture:
        assert picture.mode == MODES[name] and picture.size == (size, size)
        shown = np.asarray(picture).reshape(size, size, -1).astype(int)
    want = model.sample([3, 4], psi=0.5, label=LABEL.get(name))
    assert np.abs(shown - want[1]).max() <= 1 and want[1].std() > 1
    assert truncation.main([*options(zoo, name), "--seeds=3,4", "--psis=0,0.5", f"--out={tmp_path / 't'}"]) == 0
    with Image.open(tmp_path / "t" / "grid.png") as picture:
        assert picture.mode == MODES[name] and picture.size == (2 * size, 2 * size)
        grid = np.asarray(picture).reshape(2, size, 2, size, -1).swapaxes(1, 2).astype(int)
    assert np.abs(grid[:, 1] - want).max() <= 1
    assert np.abs(grid[0, 0] - grid[1, 0]).max() <= 1 < np.abs(grid[0, 1] - grid[0, 0]).max()  # the average image


def test_a_model_with_one_style_slot_says_what_does_not_apply(zoo, tmp_path, capsys):
    run, out = f"--model={zoo['r3gan']}", f"--out={tmp_path / 'out'}"
    Image.new("RGB", (8, 8)).save(tmp_path / "target.png")
    for tool, given, text in (
        (style_mix, ["--rows=0", "--columns=1"], "style mixing needs several style slots, and arch 'r3gan' has one"),
        (edit, ["--method=sefa"], "has no affine layers that read styles, so SeFa cannot find directions"),
        (project, [f"--targets={tmp_path / 'target.png'}", "--plus"], r"(W+) needs several style slots"),
    ):
        assert tool.main([run, *given, out]) == 2, text
        error = capsys.readouterr().err
        assert text in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_truncation_of_a_model_without_mapping_shrinks_the_latent(zoo):
    model = load_model(zoo["r3gan"])
    mean, z = model.w_avg, np.random.default_rng(0).standard_normal((2, model.gan.spec.z_dim)).astype(np.float32)
    np.testing.assert_allclose(model.map(z)[:, 0], z, rtol=1e-5)
    np.testing.assert_allclose(model.map(z, psi=0.5)[:, 0], mean + 0.5 * (z - mean), rtol=1e-5)


def test_its_latents_are_edited_and_filmed(zoo, tmp_path):
    run = f"--model={zoo['r3gan']}"
    for name, seeds in {"smiling": "0-2", "not": "3-5"}.items():
        assert sample.main([run, f"--seeds={seeds}", "--save_w", f"--out={tmp_path / name}"]) == 0
    groups = [
        f"--{key}={tmp_path / name / 'styles.npz'}" for key, name in (("positive", "smiling"), ("negative", "not"))
    ]
    given = [run, "--method=difference", *groups, "--seeds=7", "--layers=all", "--strengths=0,2"]
    assert edit.main([*given, f"--out={tmp_path / 'e'}"]) == 0
    for space in ("w", "z"):
        path = tmp_path / f"{space}.gif"
        assert video.main([run, "--seeds=0,1", "--frames=2", f"--space={space}", f"--out={path}"]) == 0
        assert path.stat().st_size > 100


def test_styles_of_pictures_are_edited_and_filmed(classes_model, tmp_path, capsys):
    model, run = load_model(classes_model), f"--model={classes_model}"
    given = ["--seeds=5,6", "--class=0,big", "--psi=0.6", "--save_w"]
    assert sample.main([run, *given, f"--out={tmp_path / 's'}"]) == 0
    with np.load(tmp_path / "s" / "styles.npz") as file:
        np.testing.assert_array_equal(file["seeds"], [5, 5, 6, 6])
        np.testing.assert_array_equal(file["label"].argmax(axis=1), [0, 2, 0, 2])
        ws = file["w"]
    np.testing.assert_array_equal(ws, model.map([5, 5, 6, 6], [0, 2, 0, 2], psi=0.6))
    styles = f"--styles={tmp_path / 's' / 'styles.npz'}"
    assert edit.main([run, styles, "--count=1", "--strengths=0,2", f"--out={tmp_path / 'e'}"]) == 0
    names = ["seed0005_class000", "seed0005_class002", "seed0006_class000", "seed0006_class002"]
    pictures = [np.asarray(Image.open(tmp_path / "s" / f"{name}.png")).astype(int) for name in names]
    grid = np.asarray(Image.open(tmp_path / "e" / "direction00.png")).reshape(4, 8, 2, 8, 3).swapaxes(1, 2)
    assert np.abs(grid[:, 0].astype(int) - pictures).max() <= 1 and (grid[:, 1] != grid[:, 0]).any()
    args = video.parser().parse_args([run, styles, "--frames=2", "--out=x"])
    frames = list(video.frames(model, [0, 1, 2, 3], args))
    assert len(frames) == 8 and np.abs(np.stack(frames[::2]).astype(int) - pictures).max() <= 1
    assert video.main([run, styles, "--frames=1", f"--out={tmp_path / 'film.gif'}"]) == 0
    assert "4 frames" in capsys.readouterr().out


def test_styles_that_do_not_fit(classes_model, tmp_path, capsys):
    run, path = f"--model={classes_model}", tmp_path / "w.npz"
    np.savez(path, w=np.zeros((1, 16), np.float32))
    for tool, given, text in (
        (video, [f"--styles={path}", "--out=x.gif"], "has one style per cell"),
        (video, [f"--styles={path}", "--space=z", "--out=x.gif"], "--space=z needs latents"),
        (video, [f"--styles={path}x", "--out=x.gif"], "w.npzx: no such file"),
        (sample, ["--save_w", "--class=0", f"--out={tmp_path / 'x.zip'}"], "is a data set of pictures"),
    ):
        assert tool.main([run, *given]) == 2
        assert text in capsys.readouterr().err


def test_a_direction_between_two_folders_of_projections(classes_model, tmp_path, capsys):
    draw = np.random.default_rng(0)
    groups = {name: draw.standard_normal((3, 4, 16)).astype(np.float32) for name in ("smiling", "not")}
    for name, group in groups.items():
        for i, w in enumerate(group):
            (tmp_path / name / str(i)).mkdir(parents=True)
            np.savez(tmp_path / name / str(i) / "projected_w.npz", w=w[None])
    given = [f"--model={classes_model}", "--class=0", "--method=difference", f"--out={tmp_path / 'out'}"]
    assert edit.main([*given, f"--positive={tmp_path / 'smiling'}", f"--negative={tmp_path / 'not'}"]) == 0
    with np.load(tmp_path / "out" / "directions.npz") as file:
        want = groups["smiling"].mean(axis=(0, 1)) - groups["not"].mean(axis=(0, 1))
        np.testing.assert_allclose(file["vectors"][0], want / np.linalg.norm(want), rtol=1e-4, atol=1e-6)
    assert edit.main([*given, f"--positive={tmp_path / 'out'}", f"--negative={tmp_path / 'not'}"]) == 2
    assert "no projected_w.npz in it" in capsys.readouterr().err
