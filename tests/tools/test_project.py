"""Projection and pivotal tuning: closed forms, images that do not influence each other, pictures that come closer.

Most run on features of a few random convolutions; one test has the real weights.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import stylegan_jax.checkpoints.restore
import stylegan_jax.features
import stylegan_jax.sampling.load
from stylegan_jax import load_model, models
from stylegan_jax.base import images
from stylegan_jax.base.rng import root
from stylegan_jax.features import FeatureNet, load_features
from stylegan_jax.ops.conv import conv2d
from stylegan_jax.sampling import projector, styles, tuner
from stylegan_jax.tools import export, project, pti

CLASS = 1
traced: list[tuple[int, ...]] = []


def look(params, image, outputs):
    """Return what two random convolutions see, at two scales."""
    traced.append(image.shape)
    x, parts = image / 127.5 - 1, []
    for kernel in params:
        x = jax.nn.leaky_relu(conv2d(x, kernel, stride=2))
        parts.append(x.reshape(len(x), -1) / x[0].size ** 0.5)
    return {"lpips": jnp.concatenate(parts, axis=1)}


rng = np.random.default_rng(0)
KERNELS = [rng.standard_normal(s).astype(np.float32) * g for s, g in (((4, 4, 3, 8), 0.2), ((4, 4, 8, 8), 0.1))]
NET = FeatureNet("random", {"lpips": -1}, KERNELS, look, "", "random convolutions")
load_once = functools.cache(load_model)  # so that the commands share the compiled programs


@pytest.fixture
def quick(monkeypatch):
    """Let the commands use the random features."""
    monkeypatch.setattr(stylegan_jax.sampling.load, "load_model", load_once)
    monkeypatch.setattr(stylegan_jax.features, "load_features", lambda name, path: NET)


@pytest.fixture
def no_pyav(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "av" else find(name, *more))


@pytest.fixture(scope="module")
def model(classes_model):
    return load_once(str(classes_model), None)


@pytest.fixture(scope="module")
def targets(model):
    """Return pictures that the model can draw, one per class."""
    return images.to_pixels(model.synthesize(model.map([11, 12], [CLASS, 2], psi=0.7)))


@pytest.fixture(scope="module")
def both(model, targets):
    """Return a projection of two images."""
    return projector.project(model, targets, label=[CLASS, 2], steps=40, net=NET, frames=5)


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
    image = np.random.default_rng(1).uniform(-1, 1, (1, 600, 512, 1)).astype(np.float32)
    mask = np.ones((1, 600, 512), np.float32)
    mask[:, :300] = 0
    seen = np.asarray(projector.shown(jnp.asarray(image), jnp.asarray(mask)))
    assert seen.shape == (1, 300, 256, 3)
    np.testing.assert_allclose(seen[:, :150], 127.5, atol=1e-4)
    want = image[0, 300:302, :2].mean() * 127.5 + 127.5
    np.testing.assert_allclose(seen[0, 150, 0], want, rtol=1e-4)
    small = np.asarray(projector.shown(jnp.asarray(image[:, 590:, :12]), jnp.ones((1, 10, 12))))
    np.testing.assert_allclose(small[0, ::4, ::4, 0], image[0, 590:, :12, 0] * 127.5 + 127.5, rtol=1e-5)
    assert small.shape == (1, 40, 48, 3) and (small[:, :4, :4] == small[:, :1, :1]).all()


def test_images_are_cropped_at_the_centre_and_resized(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    (pixels,) = projector.read_images([tmp_path / "wide.png"], (10, 10, 3))
    assert (pixels[:, 1:-1] > 190).all()
    (grey,) = projector.read_images([tmp_path / "wide.png"], (10, 20, 1))
    assert grey.shape == (10, 20, 1) and grey[5, 10] > 190 > 10 > grey[5, 0]


def test_images_come_closer(model, targets, both):
    assert both.ws.shape == (2, model.gan.spec.num_ws, model.gan.spec.w_dim)
    assert (both.ws == both.ws[:, :1]).all()
    assert both.losses.shape == (40, 2)
    assert (both.lpips < 0.4 * both.start_lpips).all()
    away = lambda image: np.square(images.to_pixels(image).astype(float) - targets).mean(axis=(1, 2, 3))
    assert (away(both.images) < 0.7 * away(both.frames[0] / 127.5 - 1)).all()
    for i in range(2):  # the noise that was found is the model's own in the pictures
        own = projector.with_noise(model, {path: maps[i] for path, maps in both.noise.items()})
        np.testing.assert_allclose(own.synthesize(both.ws[i : i + 1])[0], both.images[i], atol=1e-4)
    for maps in both.noise.values():
        np.testing.assert_allclose(maps.mean(axis=(1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(np.square(maps).mean(axis=(1, 2)), 1, rtol=1e-4)


def test_frames_go_from_the_mean_of_the_class_to_the_result(model, both):
    assert both.frames.shape == (5, 2, *model.gan.spec.image_shape) and both.frames.dtype == np.uint8
    np.testing.assert_array_equal(both.frames[-1], images.to_pixels(both.images))
    noise = projector.first_noise(model, root(303), np.arange(2))
    for i, label in enumerate((CLASS, 2)):
        own = projector.with_noise(model, {path: maps[i] for path, maps in noise.items()})
        first = images.to_pixels(own.synthesize(projector.spread(model, label).mean[None]))[0]
        assert np.abs(first.astype(int) - both.frames[0, i]).max() <= 1


def test_images_do_not_influence_each_other_and_a_second_call_compiles_nothing(model, targets, both):
    traced.clear()
    options = {"label": [CLASS, 2], "steps": 40, "net": NET}
    again = projector.project(model, targets, **options)
    assert not traced
    np.testing.assert_array_equal(again.ws, both.ws)
    alone = projector.project(model, targets, batch=1, **options)  # one after the other
    np.testing.assert_allclose(alone.ws, both.ws, atol=0.02)
    np.testing.assert_allclose(alone.lpips, both.lpips, rtol=0.1)


def test_a_style_per_slot_and_the_models_own_noise(model, targets):
    found = projector.project(model, targets[:1], label=CLASS, steps=40, net=NET, plus=True, noise="const")
    assert found.noise == {} and (found.ws[0, 0] != found.ws[0, 1]).any()
    np.testing.assert_allclose(model.synthesize(found.ws), found.images, atol=1e-4)
    assert found.lpips[0] < 0.1 * found.start_lpips[0]


def test_a_masked_part_is_free(model, targets):
    mask = np.ones(targets[:1].shape[:3], np.float32)
    mask[:, :, 4:] = 0
    changed = targets[:1].copy()
    changed[:, :, 4:] = 255 - changed[:, :, 4:]
    options = {"label": CLASS, "steps": 5, "net": NET, "masks": mask}
    first, other = (projector.project(model, x, **options) for x in (targets[:1], changed))
    np.testing.assert_array_equal(first.ws, other.ws)


def test_tuning_draws_the_target_from_the_pivot(model, targets, both):
    noise = {path: maps[0] for path, maps in both.noise.items()}
    tuned = tuner.tune(model, targets[0], both.ws[0], noise=noise, steps=40, rate=3e-3, net=NET)
    assert tuned.lpips < 0.7 * both.lpips[0] and tuned.losses[0] == pytest.approx(both.lpips[0], rel=1e-2)
    away = lambda image: np.square(images.to_pixels(image).astype(float) - targets[0]).mean()
    assert away(tuned.image) < 0.7 * away(both.images[0])
    np.testing.assert_array_equal(tuned.model.map([3], 0), model.map([3], 0))
    early = tuner.tune(model, targets[0], both.ws[0], steps=30, enough=1e6, net=NET)
    assert len(early.losses) == 1  # and nothing changed, as published
    np.testing.assert_allclose(early.image, model.synthesize(both.ws[:1])[0], atol=1e-5)


def test_r3gan_is_projected_to_its_one_slot_and_tuned(zoo):
    model = load_model(zoo["r3gan"])
    target = images.to_pixels(model.synthesize(model.map([3], psi=0.7)))
    found = projector.project(model, target, steps=20, net=NET)
    assert found.ws.shape == (1, 1, model.gan.spec.w_dim) and found.noise == {}
    assert found.losses[-1, 0] < found.losses[0, 0]
    tuned = tuner.tune(model, target[0], found.ws[0], steps=5, net=NET)
    assert tuned.losses[-1] < tuned.losses[0]


def test_stylegan3(real):
    model = load_model(real)
    target = images.to_pixels(model.synthesize(model.map([5], 0)))
    found = projector.project(model, target, label=0, steps=30, net=NET)
    assert found.noise == {} and found.lpips[0] < 0.5 * found.start_lpips[0]
    tuned = tuner.tune(model, target[0], found.ws[0], steps=20, net=NET)
    assert tuned.lpips < found.lpips[0]


def test_with_the_published_features(model):
    """At 8x8 the pixels are repeated to 32x32, where VGG16 ends at 2x2."""
    vgg = load_features("vgg16_lpips")
    target = images.to_pixels(model.synthesize(model.map([11], CLASS, psi=0.3)))
    found = projector.project(model, target, label=CLASS, steps=60, noise="const", net=vgg)
    seen = [
        vgg.apply(vgg.params, np.repeat(np.repeat(x, 4, 1), 4, 2), ("lpips",))["lpips"]
        for x in (target.astype(np.float32), found.images * 127.5 + 127.5)
    ]
    assert float(np.square(seen[0] - seen[1]).sum()) == pytest.approx(found.lpips[0], rel=1e-3)
    assert found.start_lpips[0] > 0.1 and found.lpips[0] < 0.5 * found.start_lpips[0]
    away = lambda image: np.square(images.to_pixels(image).astype(float) - target).mean()
    start = model.synthesize(projector.spread(model, CLASS).mean[None])
    assert away(found.images) < 0.5 * away(start), (away(found.images), away(start), found.lpips, found.start_lpips)


@pytest.fixture(scope="module")
def files(targets, tmp_path_factory):
    """Return a folder with the targets as PNG files."""
    folder = tmp_path_factory.mktemp("targets")
    for name, pixels in zip(("a", "b"), targets, strict=True):
        images.save_png(folder / f"{name}.png", pixels)
    return folder


def test_the_commands(classes_model, model, targets, files, tmp_path, quick, no_pyav):
    out, tuned = tmp_path / "projected", tmp_path / "tuned"
    options = [f"--model={classes_model}", f"--targets={files}", f"--class={CLASS},2", "--steps=40", "--frames=5"]
    assert project.main([*options, f"--out={out}"]) == 0
    record = json.loads((out / "project.json").read_text())
    for i, name in enumerate("ab"):
        folder = out / name
        assert sorted(p.name for p in folder.iterdir()) == ["proj.png", "proj.webp", "projected_w.npz", "target.png"]
        np.testing.assert_array_equal(np.asarray(Image.open(folder / "target.png")), targets[i])
        with np.load(folder / "projected_w.npz") as file:
            w, noise = file["w"], {k: file[k] for k in file.files if k != "w"}
        own = images.to_pixels(projector.with_noise(model, noise).synthesize(w))[0].astype(int)
        shown = np.asarray(Image.open(folder / "proj.png")).astype(int)
        assert np.abs(own - shown).max() <= 1 < np.abs(own - images.to_pixels(model.synthesize(w))[0]).max()
        assert 0 < record["lpips"][name]["end"] < 0.4 * record["lpips"][name]["start"]
        with Image.open(folder / "proj.webp") as video:
            assert (video.n_frames, video.size) == (5, (16, 8))
    options = [f"--model={classes_model}", f"--projected={out}", "--steps=40", "--rate=3e-3"]
    assert pti.main([*options, f"--out={tuned}"]) == 0
    for i, name in enumerate("ab"):
        shown = np.asarray(Image.open(tuned / f"{name}.png")).astype(int)
        before, after = shown[:, 8:16], shown[:, 16:]
        np.testing.assert_array_equal(shown[:, :8], targets[i])
        assert np.square(after - targets[i]).mean() < 0.7 * np.square(before - targets[i]).mean()
        with np.load(out / name / "projected_w.npz") as file:
            drawn = images.to_pixels(load_model(tuned / name).synthesize(file["w"]))[0]
        assert np.abs(drawn.astype(int) - after).max() <= 1
    found = json.loads((tuned / "pti.json").read_text())["lpips"]["a"]
    assert found["start"] == pytest.approx(record["lpips"]["a"]["end"], rel=1e-2)
    assert found["end"] < 0.7 * found["start"]


def test_other_arguments_need_another_folder(classes_model, files, tmp_path, quick, capsys):
    """A tuned folder is replaced where the arguments are the same, and only there."""
    run, out = f"--model={classes_model}", tmp_path / "p"
    options = [run, f"--targets={files / 'a.png'}", f"--class={CLASS}", "--video=none", f"--out={out}"]
    images.save_png(tmp_path / "mask.png", np.full((30, 8, 1), 255, np.uint8))
    assert project.main([*options, "--steps=1", f"--masks={tmp_path / 'mask.png'}"]) == 0
    assert (np.asarray(Image.open(out / "a" / "mask.png")) == 255).all()
    assert project.main([*options, "--steps=2"]) == 2
    assert "steps: 1 -> 2" in capsys.readouterr().err
    assert project.main([*options, "--steps=1", "--overwrite"]) == 0
    assert not (out / "a" / "mask.png").exists()  # it would count in the tuning
    again = [run, f"--projected={out / 'a'}", f"--out={tmp_path / 't'}"]
    for steps, code in (("1", 0), ("1", 0), ("2", 2)):
        assert pti.main([*again, f"--steps={steps}"]) == code
    assert pti.main([*again, "--steps=2", "--overwrite"]) == 0
    assert load_model(tmp_path / "t" / "a").gan.spec.label_dim == 3


@pytest.fixture
def projected(classes_model, files, tmp_path, quick):
    """Return the folder of one call for both targets."""
    options = [f"--model={classes_model}", f"--targets={files}", f"--class={CLASS},2", "--steps=1", "--frames=2"]
    assert project.main([*options, "--video=webp", f"--out={tmp_path / 'p'}"]) == 0
    return tmp_path / "p"


def test_what_an_earlier_call_left_is_not_taken(classes_model, model, files, projected):
    options = [f"--model={classes_model}", f"--targets={files / 'b.png'}", "--class=2", "--steps=1", "--video=none"]
    assert project.main([*options, f"--out={projected}", "--overwrite"]) == 0
    assert not (projected / "b" / "proj.webp").exists()
    assert (projected / "a" / "projected_w.npz").exists()
    assert pti.find_folders(str(projected)) == [projected / "b"]
    assert len(styles.read_means("--positive", str(projected), model.gan.spec)) == 1


def test_each_part_is_written_when_it_is_done(classes_model, files, tmp_path, quick, monkeypatch):
    """With one image at a time, an interruption of the second keeps the first, and the arguments of both."""
    write = project.write

    def interrupted(folder, *more):
        if folder.name == "b":
            raise KeyboardInterrupt
        write(folder, *more)

    monkeypatch.setattr(project, "write", interrupted)
    options = [f"--model={classes_model}", f"--targets={files}", f"--class={CLASS},2", "--steps=1", "--video=none"]
    assert project.main([*options, "--batch=1", f"--out={tmp_path / 'p'}"]) == 130
    record = json.loads((tmp_path / "p" / "project.json").read_text())
    assert list(record["lpips"]) == ["a"] and record["arguments"]["steps"] == 1
    assert pti.find_folders(str(tmp_path / "p")) == [tmp_path / "p" / "a"]
    assert project.main([*options, "--seed=1", f"--out={tmp_path / 'p'}"]) == 2


def test_parts_have_the_random_streams_of_the_whole(model, targets, both):
    options = {"masks": None, "label": [CLASS, 2], "steps": 40, "plus": False, "noise": "fit", "seed": 303}
    found = list(projector.parts(model, targets, **options, net=NET, frames=5, batch=1))
    assert [len(part.ws) for part in found] == [1, 1]
    np.testing.assert_allclose(np.concatenate([part.ws for part in found]), both.ws, atol=0.02)


@pytest.mark.parametrize("taken", ["a", "b.png"])
def test_tuning_replaces_nothing_of_others(classes_model, projected, tmp_path, capsys, taken, monkeypatch):
    monkeypatch.setattr(tuner, "tune", None)  # not reached
    out = tmp_path / "models"
    out.mkdir()
    (shutil.copytree if taken == "a" else shutil.copyfile)(classes_model if taken == "a" else __file__, out / taken)
    assert pti.main([f"--model={classes_model}", f"--projected={projected}", "--steps=1", f"--out={out}"]) == 2
    assert "exists already; " in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == [taken]


def test_a_tuned_folder_names_no_paths_and_keeps_the_kind_of_labels(
    classes_model, model, projected, tmp_path, monkeypatch
):
    """From a run, whose paths and metrics are not those of the tuned model; exported, it says the same."""
    data = {"source": "zip", "path": str(tmp_path / "x.zip"), "labels": "file", "xflip": True, "yflip": False}
    config = {"name": "mine", "data": data, "augment": {"mode": "ada"}, "train": {"init_from": ""}}
    meta = {"config": config, "nimg": 80, "num_images": 9}
    meta |= {"versions": {"jax": "1"}, "label_kind": "vectors"}
    monkeypatch.setattr(stylegan_jax.checkpoints.restore, "read_meta", lambda run, step: meta)
    run = model._replace(provenance={"workdir": str(tmp_path), "step": 8, "nimg": 80}, label_kind="vectors")
    monkeypatch.setattr(stylegan_jax.sampling.load, "load_model", lambda path, step: run)
    (tmp_path / "metrics.jsonl").write_text(
        json.dumps({"step": 8, "nimg": 80, "metric": "fid5k", "value": 70.5}) + "\n"
    )
    tuned, exported = tmp_path / "t", tmp_path / "e"
    options = [f"--model={tmp_path}", f"--projected={projected / 'a'}", "--steps=1"]
    assert pti.main([*options, f"--out={tuned}"]) == 0
    monkeypatch.setattr(stylegan_jax.sampling.load, "load_model", load_model)
    assert export.main([f"--model={tuned / 'a'}", f"--out={exported}", "--platforms=none"]) == 0
    for folder in (tuned / "a", exported):
        text = (folder / "model.json").read_text()
        facts = json.loads(text)["provenance"]
        assert str(tmp_path) not in text and "metrics" not in facts
        assert (facts["run"], facts["step"], facts["data"]["name"]) == (tmp_path.name, 8, "x.zip")
        assert facts["tuned"].keys() == {"steps", "rate", "enough", "net", "taken", "lpips"}
        assert load_model(folder).label_kind == "vectors"


def test_masks_of_a_folder_go_by_name(tmp_path):
    for name in ("c.png", "b.jpg", "a.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    assert [p.name for p in project.find_masks(str(tmp_path), ["c", "b"])] == ["c.png", "b.jpg"]
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"the target b needs exactly one mask of its name, and has b.jpg, b.png"):
        project.find_masks(str(tmp_path), ["c", "b"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--targets=nowhere.png"], "--targets: nowhere.png is not a file"),
        (["--targets=empty"], "--targets=empty is a folder without images"),
        (["--targets=text.jpg"], "text.jpg: "),
        (["--targets=deep.tif"], "deep.tif: floating-point"),
        (["--targets=a.png,a.png"], "two files are called a"),
        (["--masks=a.png,a.png"], "2 masks for 1 targets"),
        (["--masks=masks"], "--masks=masks: the target a needs exactly one mask of its name, and has none"),
        (["--masks=black.png"], "mask 0 is 0 everywhere"),
        (["--steps=0"], "--steps=0 must be at least 1"),
        (["--frames=-1"], "--frames=-1 must be at least 0"),
        (["--class=0,1"], "--class=0,1: 2 classes for 1 targets"),
        (["--class=3"], "this model has the classes 0 to 2"),
        (["--video=mp4"], "--video=mp4 needs PyAV: pip install 'stylegan_jax[video]'; or write .webp or .gif"),
        (["--features=text.jpg"], "text.jpg"),
    ],
)
def test_mistakes_are_answered_by_one_line(classes_model, files, tmp_path, monkeypatch, no_pyav, capsys, options, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "masks").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "masks" / "b.png")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "a.png").write_bytes((files / "a.png").read_bytes())
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    Image.new("F", (8, 8)).save(tmp_path / "deep.tif")
    assert project.main([f"--model={classes_model}", "--targets=a.png", f"--class={CLASS}", "--out=x", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and text in error
    assert not list(tmp_path.glob("x/*"))


def test_a_class_where_there_is_one(model, targets, classes_model, files, capsys):
    assert project.main([f"--model={classes_model}", f"--targets={files}", "--out=nowhere"]) == 2
    assert "this model is class-conditional; pass --class (0 cats, 1 dogs, 2 Big birds)" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"pass label \(0 cats, "):
        projector.project(model, targets, net=NET)
    free = model._replace(gan=model.gan._replace(spec=model.gan.spec._replace(label_dim=0)))
    with pytest.raises(ValueError, match="this model has no labels"):
        projector.project(free, targets, label=1, net=NET)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--projected=."], "--projected=. contains no projected_w.npz"),
        (["--projected=other"], "other was not projected with this model: styles of shape (1, 9, 9)"),
        (
            ["--projected=noise"],
            "noise was not projected with this model: noise map synthesis/b4/conv1/noise_const is (3, 3)",
        ),
        (["--projected=cut"], "cut was not projected with this model: it is empty"),
        (["--projected=npy"], "npy was not projected with this model: "),
        (["--projected=without"], "without was not projected with this model: projected_w.npz holds"),
        (["--projected=made/strange"], "strange was projected with another model"),
        (["--projected=other", "--rate=0"], "--rate=0.0: both must be greater than 0"),
        (["--projected=other", "--enough=-1"], "--enough=-1.0 must be a number from 0"),
    ],
)
def test_tuning_needs_a_projection(classes_model, model, files, tmp_path, monkeypatch, capsys, options, text):
    monkeypatch.chdir(tmp_path)
    maps = dict.fromkeys(projector.noise_maps(model.g_ema), np.zeros((3, 3)))
    w = model.map([0], 0)
    given = {"other": {"w": np.zeros((1, 9, 9))}, "noise": {"w": w, **maps}, "without": maps, "made/strange": {"w": w}}
    for name, arrays in (given | {"cut": {}, "npy": {}}).items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "target.png").write_bytes((files / "a.png").read_bytes())
        np.savez(tmp_path / name / "projected_w.npz", **arrays)
    (tmp_path / "cut" / "projected_w.npz").write_bytes(b"")
    with (tmp_path / "npy" / "projected_w.npz").open("wb") as file:
        np.save(file, w)
    (tmp_path / "made" / "project.json").write_text('{"weights": "0"}')
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty" if "--projected=." in options else tmp_path)
    assert pti.main([f"--model={classes_model}", *options, "--out=x"]) == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.glob("**/x"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"images": np.zeros((1, 9, 8, 3), np.uint8)}, r"expected uint8\[n, 8, 8, 3\], got uint8\[1, 9, 8, 3\]"),
        ({"images": np.zeros((1, 8, 8, 3))}, r"expected uint8.n, 8, 8, 3., got float64\[1, 8, 8, 3\]"),
        ({"masks": np.full((1, 8, 8), 2)}, "pass numbers from 0 to 1"),
        ({"masks": np.ones((2, 8, 8))}, r"masks of shape \[2, 8, 8\]"),
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"noise": "random"}, "noise is 'random'; known: fit, const"),
    ],
)
def test_arguments_that_do_not_fit(model, targets, change, text):
    given = {"images": targets[:1], "label": CLASS, "net": NET} | change
    with pytest.raises(ValueError, match=text):
        projector.project(model, **given)


def test_a_model_that_draws_no_numbers_is_an_error(model, targets):
    """It ended with an LPIPS of NaN, a black proj.png and exit code 0."""
    bias = model.g_ema["params"]["synthesis"]["b8"]["torgb"]["bias"] * np.nan
    broken = model.replace(
        g_ema=models.merge(model.g_ema, {"params": {"synthesis": {"b8": {"torgb": {"bias": bias}}}}})
    )
    with pytest.raises(ValueError, match="1 of 1 average images are not finite"):
        projector.project(broken, targets[:1], label=CLASS, steps=1, net=NET)


def test_no_more_frames_than_there_are_steps():
    assert projector.keep_frames(2, 2**63 - 1) == [0, 1, 2]
