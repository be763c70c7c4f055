"""Encoders in use: styles of images in Python and by the command, whose results other tools go on from."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import stylegan_jax.features
import stylegan_jax.sampling.load
from configs import encoder_quickstart, tiny
from stylegan_jax import encoders, load_model
from stylegan_jax.base import images
from stylegan_jax.checkpoints.checkpointer import Checkpointer
from stylegan_jax.config import ConfigError, EncoderConfig
from stylegan_jax.convert import encoders as convert_encoders
from stylegan_jax.convert.encoders import ForeignEncoder
from stylegan_jax.encoders import restyle
from stylegan_jax.features import FeatureNet, weights
from stylegan_jax.metrics.consistency import editing_consistency
from stylegan_jax.sampling import directions, encoding, projections, projector, styles
from stylegan_jax.tools import compare, edit, encode

SMALL = {"image_size": (16, 16), "body_units": (1, 1, 1, 1), "body_widths": (4, 4, 4, 4), "body_squeeze": 2, "width": 4}


def look(params, image, outputs):
    """Return the pixels, whose squared distance is their mean squared difference."""
    x = image / 127.5 - 1
    return {"lpips": x.reshape(len(x), -1) / x[0].size ** 0.5}


PIXELS = FeatureNet("pixels", {"lpips": -1}, np.zeros(1, np.float32), look, "", "pixels")
load_once = functools.cache(load_model)


@pytest.fixture(scope="module")
def model(classes_model):
    return load_once(str(classes_model))


def encoder_of(model, **changes):
    config = EncoderConfig(**(SMALL | changes))
    spec = model.gan.spec
    made = encoders.build(config, num_ws=spec.num_ws, w_dim=spec.w_dim, channels=spec.image_shape[2])
    variables = jax.device_get(made.init(jax.random.key(0)))
    image = model.synthesize(np.broadcast_to(model.w_avg, (1, spec.num_ws, spec.w_dim)))[0]
    variables = jax.device_get(encoders.with_average(variables, model.w_avg, image if config.residual else None))
    return config, encoding.LoadedEncoder(made, variables, model, {"made": "up"})


@pytest.fixture(scope="module")
def encoder(model):
    return encoder_of(model)[1]


@pytest.fixture(scope="module")
def pixels(model):
    """Return two pictures of the generator, enlarged."""
    made = images.to_pixels(model.synthesize(model.map([11, 12], [1, 2], psi=0.7)))
    return made.repeat(2, axis=1).repeat(2, axis=2)


def test_images_become_styles_whatever_their_type_and_chunk(encoder, pixels):
    ws = encoder.encode(pixels)
    want, moved = encoder.encoder.encode(encoder.variables, images.from_pixels(pixels))
    np.testing.assert_allclose(ws, want, atol=1e-5)
    assert not moved and np.abs(ws[0] - ws[1]).max() > 1e-3
    np.testing.assert_allclose(encoder.encode(images.from_pixels(pixels)), ws, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(pixels, chunk=1), ws, atol=1e-5)
    assert encoder.model.synthesize(ws).shape == (2, *encoder.model.gan.spec.image_shape)


def test_a_residual_encoder_looks_at_its_own_reconstruction(model, pixels):
    _, loaded = encoder_of(model, residual=True, iterations=2, pyramid=False)
    ws = loaded.encode(pixels)
    draw = lambda ws: model.synthesize(np.asarray(ws))
    want, every = restyle.iterate(loaded.encoder, loaded.variables, draw, images.from_pixels(pixels))
    np.testing.assert_allclose(ws, want, atol=1e-4)
    np.testing.assert_allclose(loaded.encode(pixels, iterations=1), every[0], atol=1e-4)
    with pytest.raises(ValueError, match="iterations is 0; it must be at least 1"):
        loaded.encode(pixels, iterations=0)


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        (lambda x: x[:, :-1], {}, "and be aligned as in training: crop them first"),
        (lambda x: x[..., :1], {}, r"pass uint8\[n, h, w, 3\], or float in"),
        (lambda x: x[0], {}, "images are uint8"),
        (lambda x: x.astype(np.uint16), {}, "images are uint16; pixels are uint8"),
        (lambda x: x.astype(float), {}, r"numbers up to \d+; floats are in \[-1, 1\]"),
        (lambda x: x, {"iterations": 2}, "iterations is 2; it must be 1: only a residual encoder"),
    ],
)
def test_images_that_do_not_fit_are_answered(change, options, text, encoder, pixels):
    with pytest.raises(ValueError, match=text):
        encoder.encode(change(pixels), **options)


@pytest.fixture(scope="module")
def workdir(model, encoder, classes_model, tmp_path_factory):
    """Return the workdir of a run that saved an encoder, as far as loading reads it."""
    folder = tmp_path_factory.mktemp("runs") / "encoder"
    tree = encoder_quickstart.get_config().to_dict()
    tree["encoder"] = tree["encoder"] | SMALL | {"model": str(classes_model)}
    with Checkpointer(folder) as checkpointer:
        checkpointer.save(7, {"step": jnp.asarray(7)}, encoder.variables, {"nimg": 56, "config": tree})
    return folder


def test_a_run_is_loaded_with_the_generator_it_was_trained_for(workdir, encoder, pixels, classes_model, zoo, tmp_path):
    loaded = encoding.load_encoder(workdir)
    np.testing.assert_allclose(loaded.encode(pixels), encoder.encode(pixels), atol=1e-5)
    assert loaded.provenance == {"workdir": str(workdir), "step": 7, "nimg": 56, "model": str(classes_model)}
    assert encoding.load_encoder(workdir, encoder.model).model is encoder.model
    with pytest.raises(ConfigError, match="returns 4 styles of 16 numbers, and the generator takes 4 of 8"):
        encoding.load_encoder(workdir, zoo["stylegan1"])
    with pytest.raises(ConfigError, match="contains no encoder; pass the workdir of a run"):
        encoding.load_encoder(tmp_path)
    with Checkpointer(tmp_path) as checkpointer:
        meta = {"nimg": 0, "config": tiny.get_config().to_dict()}
        checkpointer.save(1, {"step": jnp.asarray(1)}, encoder.variables, meta)
    with pytest.raises(ConfigError, match="is the run of a generator; pass it as the model"):
        encoding.load_encoder(tmp_path)


def test_a_file_of_others_brings_its_generator_which_draws_the_average(model, tmp_path, monkeypatch):
    config, loaded = encoder_of(model, residual=True, iterations=2, pyramid=False)
    average = loaded.variables["average"]
    blank = loaded.variables | {"average": average | {"image": np.zeros_like(average["image"])}}
    made = ForeignEncoder(loaded.encoder, blank, config, ("told",))
    file = tmp_path / "encoder.pt"
    file.write_bytes(b"read by what is tested elsewhere")
    monkeypatch.setattr(convert_encoders, "read_encoder", lambda path: made)
    monkeypatch.setattr(encoding, "load_model", lambda path: model if path == file else None)
    found = encoding.load_encoder(file)
    assert found.model is model and found.provenance == {"file": str(file), "notes": ["told"], "model": str(file)}
    np.testing.assert_allclose(found.variables["average"]["image"], average["image"], atol=1e-5)
    with pytest.raises(ConfigError, match="only a run's workdir has steps"):
        encoding.load_encoder(file, step=3)


@pytest.fixture
def targets(pixels, tmp_path):
    (tmp_path / "in").mkdir()
    for name, x in zip("ab", pixels[:, ::2, ::2], strict=True):
        images.save_png(tmp_path / "in" / f"{name}.png", x)
    return tmp_path / "in"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Let the commands compare pixels, and share the model's programs."""
    monkeypatch.setattr(stylegan_jax.features, "load_features", lambda name, path=None: PIXELS)
    monkeypatch.setattr(weights, "absence", lambda name: "")
    monkeypatch.setattr(stylegan_jax.sampling.load, "load_model", lambda path, step=None: load_once(path))
    monkeypatch.setattr(encoding, "load_model", load_once)


def test_other_tools_go_on_from_what_the_command_writes(
    workdir, targets, classes_model, encoder, pixels, tmp_path, capsys
):
    out = tmp_path / "out"
    assert encode.main([f"--encoder={workdir}", f"--targets={targets}", f"--out={out}"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("2 images encoded in ") and ", LPIPS a " in told
    small = pixels[:, ::2, ::2]
    ws = encoder.encode(small)
    found = projections.find_projections(out)
    assert [file.parent.name for file in found] == ["a", "b"]
    spec = encoder.model.gan.spec
    for i, file in enumerate(found):
        one = projections.read(file.parent, spec)
        np.testing.assert_allclose(one.ws, ws[i], atol=1e-4)
        assert np.array_equal(one.target, small[i]) and one.noise == {}
        shown = np.asarray(Image.open(file.parent / "proj.png"))
        assert np.abs(shown.astype(int) - images.to_pixels(encoder.model.synthesize(one.ws[None]))[0]).max() <= 1
    about = json.loads((out / "project.json").read_text())
    assert about["weights"] == projector.digest(encoder.model) and about["encoder"]["step"] == 7
    assert about["lpips"].keys() == {"a", "b"} and about["lpips"]["a"]["start"] > 0
    np.testing.assert_array_equal(
        styles.read("--styles", str(out), spec)[0], projections.read(found[0].parent, spec).ws
    )
    arguments = ["--method=sefa", "--count=1", f"--styles={out}", f"--out={tmp_path / 'edited'}"]
    assert edit.main([f"--model={classes_model}", *arguments]) == 0
    assert compare.main([f"--projected={out}", "--metrics=l2", f"--out={tmp_path / 'compared'}"]) == 0
    assert (tmp_path / "edited" / "direction00.png").is_file() and (tmp_path / "compared" / "pairs.csv").is_file()


def test_refining_goes_on_from_the_styles(workdir, targets, encoder, tmp_path, capsys):
    start = [f"--encoder={workdir}", f"--targets={targets}"]
    assert encode.main([*start, f"--out={tmp_path / 'plain'}"]) == 0
    refined = [*start, "--refine=project", "--steps=15", f"--out={tmp_path / 'refined'}"]
    assert encode.main(refined) == 0
    read = lambda name: json.loads((tmp_path / name / "project.json").read_text())["lpips"]
    for name in "ab":
        assert read("refined")[name]["start"] == pytest.approx(read("plain")[name]["end"], rel=1e-3)
        assert read("refined")[name]["end"] < read("refined")[name]["start"]
    assert encode.main([*start, "--refine=pti", "--steps=3", f"--out={tmp_path / 'tuned'}"]) == 0
    assert "images encoded" in (told := capsys.readouterr().out) and f"in {tmp_path / 'tuned' / 'tuned'}" in told
    for name in "ab":
        folder = tmp_path / "tuned" / "tuned" / name
        assert (folder / "model.json").is_file() and folder.with_suffix(".png").is_file()


def test_editing_consistency_is_that_of_the_first_direction(workdir, targets, encoder, tmp_path):
    found = directions.sefa(encoder.model, [0, 1], 2)
    directions.save(tmp_path / "edits.npz", found)
    arguments = [f"--encoder={workdir}", f"--targets={targets}", f"--lec={tmp_path / 'edits.npz'}", "--strength=2"]
    assert encode.main([*arguments, f"--out={tmp_path / 'out'}"]) == 0
    table = json.loads((tmp_path / "out" / "project.json").read_text())["lec"]
    pixels = projector.read_images([targets / "a.png", targets / "b.png"], encoder.model.gan.spec.image_shape)
    draw = lambda ws: np.clip(encoder.model.synthesize(ws), -1, 1)
    want, _ = editing_consistency(encoder.encode, draw, pixels, 2 * found.unit[0] * found.vectors[0])
    np.testing.assert_allclose([table["a"], table["b"]], want, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--targets=wide.png"],
            "wide.png is 20x10 and the generator draws 8x8. An encoder needs images that are aligned",
        ),
        (["--targets=none.png"], "none.png is not a file"),
        (["--steps=5"], "--steps=5 needs --refine=project"),
        (["--refine=pti", "--steps=0"], "--steps=0 needs --refine=project"),
        (["--strength=5"], "--strength=5.0 has no effect without --lec"),
        (["--step=3"], "--step=3 has no effect without --model"),
        (["--iterations=3"], "iterations is 3; it must be 1"),
        (["--encoder=in"], "contains no encoder"),
        (["--encoder_step=9"], "step 9"),
    ],
)
def test_mistakes_are_answered(arguments, text, workdir, targets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save("wide.png")
    given = {a.split("=")[0] for a in arguments}
    base = [f"--encoder={workdir}", f"--targets={targets}", "--out=out"]
    assert encode.main([*arguments, *(a for a in base if a.split("=")[0] not in given)]) == 2
    assert text in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_targets_of_another_aspect_ratio_are_cropped_when_told(workdir, tmp_path):
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(tmp_path / "wide.png")
    arguments = [f"--encoder={workdir}", f"--targets={tmp_path / 'wide.png'}", "--crop", f"--out={tmp_path / 'out'}"]
    assert encode.main(arguments) == 0
    assert np.asarray(Image.open(tmp_path / "out" / "wide" / "target.png")).shape == (8, 8, 3)
