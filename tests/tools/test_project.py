"""Projection and pivotal tuning: closed forms, images that do not influence each other, pictures that come closer."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from stylegan_jax import images, load_model
from stylegan_jax.models.features import load_features
from stylegan_jax.tools import project, projector, pti

CLASS = 1


@pytest.fixture(scope="module")
def model(classes_model):
    return load_model(classes_model)


@pytest.fixture(scope="module")
def target(model, tmp_path_factory):
    """Return the file of a picture that the model can draw, and the styles it has."""
    path = tmp_path_factory.mktemp("target") / "face.png"
    ws = model.map([11], CLASS, psi=0.7)
    images.save_png(path, images.to_pixels(model.synthesize(ws, noise="none"))[0])
    return path, ws


def test_the_schedules_are_the_published_ones():
    for step in (0, 20, 400, 749, 900, 999):
        t = step / 1000
        ramp = 0.5 - 0.5 * np.cos(min(1, (1 - t) / 0.25) * np.pi)
        rate, moves = projector.schedule(jnp.asarray(step), 1000)
        assert float(rate) == pytest.approx(0.1 * ramp * min(1, t / 0.05), abs=1e-7)
        assert float(moves) == pytest.approx(0.05 * max(0, 1 - t / 0.75) ** 2, abs=1e-7)


def test_the_noise_penalty_sees_what_resembles_its_neighbours():
    rng = np.random.default_rng(0)
    white, smooth = rng.standard_normal((32, 32)), np.repeat(rng.standard_normal((32, 8)), 4, axis=1)

    def by_hand(x):
        total = 0.0
        while True:
            total += np.mean(x * np.roll(x, 1, 0)) ** 2 + np.mean(x * np.roll(x, 1, 1)) ** 2
            if len(x) <= 8:
                return total
            x = (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4

    for x in (white, smooth):
        assert float(projector.noise_penalty(jnp.asarray(x))) == pytest.approx(by_hand(x), rel=1e-4)
    assert by_hand(smooth) > 100 * by_hand(white)


def test_what_is_masked_does_not_count_and_large_images_are_averaged():
    rng = np.random.default_rng(1)
    image = rng.uniform(-1, 1, (1, 512, 512, 1)).astype(np.float32)
    mask = np.ones_like(image)
    mask[:, :256] = 0
    seen = np.asarray(projector.shown(jnp.asarray(image), jnp.asarray(mask)))
    assert seen.shape == (1, 256, 256, 3)
    np.testing.assert_allclose(seen[:, :128], 127.5, atol=1e-4)
    want = image[0, 256:258, :2].mean() * 127.5 + 127.5
    np.testing.assert_allclose(seen[0, 128, 0], want, rtol=1e-4)


def test_images_are_cropped_at_the_centre_and_resized(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    (pixels,) = project.read([tmp_path / "wide.png"], (10, 10, 3))
    assert (pixels[:, 1:-1] > 190).all()
    (grey,) = project.read([tmp_path / "wide.png"], (10, 20, 1))
    assert grey.shape == (10, 20, 1) and grey[5, 10] > 190 > 10 > grey[5, 0]


@pytest.fixture(scope="module")
def vgg():
    return load_features("vgg16_lpips")


def test_images_come_closer_and_do_not_influence_each_other(model, vgg):
    targets = model.sample([11, 12], psi=0.7, label=CLASS, noise="none")
    options = {"label": CLASS, "steps": 30, "seed": 1}
    both = [(fit, d) for fit, d in projector.project(model, vgg, targets, **options)]
    *_, (alone, distance) = projector.project(model, vgg, targets[:1], **options)
    np.testing.assert_allclose(alone.w[0], both[-1][0].w[0], atol=2e-2)
    assert distance[0] == pytest.approx(both[-1][1][0], rel=0.05)
    assert (both[-1][1] < 0.6 * both[0][1]).all()
    for noise in both[-1][0].noise.values():  # normalised
        np.testing.assert_allclose(noise.mean(axis=(1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(jnp.square(noise).mean(axis=(1, 2)), 1, rtol=1e-4)


def test_the_command_then_tuning_to_the_image(classes_model, model, target, vgg, tmp_path):
    path, _ = target
    out = tmp_path / "projected"
    options = [f"--run={classes_model}", f"--targets={path}", f"--class={CLASS}", "--steps=20", "--plus"]
    assert project.main([*options, "--video=webp", f"--out={out}"]) == 0
    folder = out / "face"
    names = ["proj.png", "proj.webp", "projected_w.npz", "target.png"]
    assert sorted(p.name for p in folder.iterdir()) == names
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "target.png")), np.asarray(Image.open(path)))
    with np.load(folder / "projected_w.npz") as file:
        w, noise = file["w"], {k: file[k] for k in file.files if k != "w"}
    assert w.shape == (1, model.gan.spec.num_ws, model.gan.spec.w_dim) and (w[0, 0] != w[0, 1]).any()
    own = model._replace(g_ema=projector.with_noise(model, model.g_ema, noise))
    shown = np.asarray(Image.open(folder / "proj.png")).astype(int)
    assert np.abs(images.to_pixels(own.synthesize(w))[0] - shown).max() <= 1
    assert json.loads((out / "project.json").read_text())["lpips"]["face"] > 0
    tuned = tmp_path / "tuned"
    options = [f"--run={classes_model}", f"--projected={folder}", "--steps=20", "--rate=0.002", "--enough=0.0001"]
    assert pti.main([*options, f"--out={tuned}"]) == 0
    wanted = np.asarray(Image.open(path)).astype(int)
    after = images.to_pixels(load_model(tuned).synthesize(w))[0]
    assert np.square(after - wanted).mean() < 0.7 * np.square(shown - wanted).mean()
    lpips = json.loads((tuned / "model.json").read_text())["provenance"]["lpips"]
    assert lpips[-1] < 0.7 * lpips[0]
    assert pti.main([*options, f"--out={tuned}"]) == 2  # it exists


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--targets=nowhere.png"], "nowhere.png does not exist"),
        (["--targets=."], "is a folder without images"),
        (["--targets=text.jpg"], "text.jpg:"),
        (["--targets=TARGET,TARGET"], "two files are called face"),
        (["--targets=TARGET", "--masks=TARGET,TARGET"], "2 masks for 1 targets"),
        (["--targets=TARGET", "--steps=0"], "--steps=0 must be at least 1"),
        (["--targets=TARGET", "--features=text.jpg"], "text.jpg"),
    ],
)
def test_mistakes_are_answered_by_one_line(classes_model, target, tmp_path, monkeypatch, capsys, options, text):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty" if "--targets=." in options else tmp_path)
    (tmp_path / "text.jpg").write_text("no image")
    options = [x.replace("TARGET", str(target[0])) for x in options]
    assert project.main([f"--run={classes_model}", f"--class={CLASS}", "--out=x", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and text in error
    assert not (tmp_path / "x").exists()


def test_tuning_needs_a_projection(classes_model, tmp_path, capsys):
    assert pti.main([f"--run={classes_model}", f"--projected={tmp_path}", f"--out={tmp_path / 'x'}"]) == 2
    assert "is no projection with this model" in capsys.readouterr().err
