"""Styles, directions and projections that other programs wrote, and files that are none: one reader for every tool."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from stylegan_jax import load_model
from stylegan_jax.sampling import directions, styles
from stylegan_jax.tools import edit, project, pti, sample, style_mix, video


@pytest.fixture(scope="module")
def model(classes_model):
    return load_model(classes_model)


@pytest.fixture(scope="module")
def ws(model):
    return model.map([3, 4], 1)


@pytest.fixture
def given(tmp_path, monkeypatch, ws):
    """Be in a folder with styles in the forms that projectors and encoders write: name -> styles float32[n, l, w]."""
    monkeypatch.chdir(tmp_path)
    np.savez("w.npz", w=ws)
    np.savez("dlatents.npz", dlatents=ws[:1])
    np.save("projected_w_final.npy", ws[:1])
    np.savez("positional.npz", ws.astype(np.float64))
    np.save("flat.npy", ws[:, 0])
    np.save("one.npy", ws[0, 0])
    np.savez("half, of it.npz", w=ws.astype(np.float16))
    for folder, name in (("ours", "projected_w.npz"), ("fork", "projected_w_final.npz"), ("tf", "dlatents.npz")):
        (tmp_path / folder / "deep").mkdir(parents=True)
        np.savez(tmp_path / folder / "deep" / name, **{"dlatents" if folder == "tf" else "w": ws[:1]})
    slots = lambda w: np.repeat(w[:, None], ws.shape[1], axis=1)
    return {
        "w.npz": ws,
        "dlatents.npz": ws[:1],
        "projected_w_final.npy": ws[:1],
        "positional.npz": ws,
        "flat.npy": slots(ws[:, 0]),
        "one.npy": slots(ws[:1, 0]),
        "half, of it.npz": ws.astype(np.float16).astype(np.float32),
        "ours": ws[:1],
        "fork": ws[:1],
        "tf": ws[:1],
        "w.npz,half, of it.npz,ours": np.concatenate([ws, ws.astype(np.float16), ws[:1]]),
    }


def test_styles_in_every_form_are_the_same_styles(given, model, ws):
    for path, want in given.items():
        np.testing.assert_array_equal(styles.read("--styles", path, model.gan.spec), want, path)
    np.testing.assert_array_equal(styles.read_means("--positive", "flat.npy", model.gan.spec), ws[:, 0])


def test_sample_draws_given_styles(given, classes_model, model, tmp_path):
    """A projection is drawn again without a trick, to a folder or into a data set."""
    options = [f"--model={classes_model}", "--styles=w.npz,dlatents.npz"]
    assert sample.main([*options, "--out=drawn"]) == 0
    want = model.synthesize(np.concatenate([given["w.npz"], given["dlatents.npz"]]))
    want = np.clip(want * 127.5 + 128, 0, 255).astype(int)
    for i in range(3):
        got = np.asarray(Image.open(f"drawn/style{i:04d}.png")).astype(int)
        assert np.abs(got - want[i]).max() <= 1
    assert sample.main([*options, "--out=drawn.zip"]) == 0
    with zipfile.ZipFile("drawn.zip") as file:
        assert len([name for name in file.namelist() if name.endswith(".png")]) == 3
        assert json.loads(file.read("dataset.json"))["labels"] is None


def test_styles_are_mixed_by_their_numbers(given, classes_model, model):
    options = [f"--model={classes_model}", "--styles=w.npz,dlatents.npz", "--layers=0,1", "--out=m"]
    assert style_mix.main([*options, "--rows=1", "--columns=2"]) == 0
    w = given["w.npz"][1:].copy()
    w[:, :2] = given["dlatents.npz"][:, :2]
    want = np.clip(model.synthesize(w)[0] * 127.5 + 128, 0, 255).astype(int)
    assert np.abs(np.asarray(Image.open("m/0001-0002.png")).astype(int) - want).max() <= 1


def test_a_video_goes_through_a_list_of_folders_and_files(given, classes_model, capsys):
    options = [f"--model={classes_model}", "--styles=ours,fork,one.npy", "--frames=1", "--out=film.gif"]
    assert video.main(options) == 0
    assert "3 frames" in capsys.readouterr().out


TOOLS = {
    "--styles": (sample.main, []),
    "--styles ": (edit.main, []),
    "--styles  ": (video.main, []),
    "--styles   ": (style_mix.main, []),
    "--directions": (edit.main, ["--method=file", "--seeds=0", "--class=0"]),
    "--positive": (edit.main, ["--method=difference", "--negative=w.npz", "--seeds=0", "--class=0"]),
    "--negative": (edit.main, ["--method=boundary", "--positive=w.npz", "--seeds=0", "--class=0"]),
}
"""Flag -> a tool that has it, and what else the tool needs."""


@pytest.mark.parametrize("flag", TOOLS)
def test_bad_files_are_one_line_that_names_the_flag_and_what_is_inside(given, classes_model, capsys, flag):
    run, more = TOOLS[flag]
    flag, name = flag.strip(), "vectors" if flag == "--directions" else "w"
    nan = np.full((2, 16), np.nan)
    bad = {
        "nan.npz": ({name: nan}, "32 of its 32 numbers are not finite"),
        "complex.npz": ({name: nan * 1j}, "is complex128[2, 16], not real numbers"),
        "large.npz": ({name: np.full((2, 16), 1e300)}, "32 of its 32 numbers are not finite"),
        "text.npz": ({name: np.array([["a"]])}, "is <U1[1, 1], not real numbers"),
        "other.npz": ({name: np.ones((1, 9))}, "[1, 9]; this model takes "),
        "none.npz": ({name: np.ones((0, 16))}, "[0, 16]; this model takes "),
        "latents.npz": (
            {"z": np.zeros((2, 16)), "seeds": np.arange(2)},
            "it holds 'z float64[2, 16]', 'seeds int64[2]'",
        ),
    }
    for file, (content, _) in bad.items():
        np.savez(file, **content)
    with zipfile.ZipFile("claims.npz", "w") as archive:
        text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}\n"
        archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    with zipfile.ZipFile("header.npz", "w") as archive:
        archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00\x0b\x00{'descr': (\n")
    wrong = {file: text for file, (_, text) in bad.items()}
    wrong |= {"claims.npz": "more than 1024 MiB", "header.npz": "is damaged", "nowhere.npz": "no such file"}
    for file, text in wrong.items():
        assert run([f"--model={classes_model}", *more, f"{flag}={file}", "--out=x.gif"]) == 2, file
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(f"error: {flag}={file}: ") and text in line
        assert not os.path.exists("x.gif")


def test_directions_of_others_move_as_far_as_they_are_long(given, model, tmp_path):
    """[w], [1, w], as InterFaceGAN's boundaries are, and [k, w]; strength 1 is the vector itself."""
    v = np.random.default_rng(0).standard_normal((3, 16))
    np.save("age.npy", v[:1])
    np.save("flat.npy", v[0])
    np.savez("many.npz", directions=v)
    for path, want in (("age.npy", v[:1]), ("flat.npy", v[:1]), ("many.npz", v)):
        found = directions.load(path, 16)
        np.testing.assert_allclose(found.vectors * found.unit[:, None], want, rtol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-5)
    directions.save(tmp_path / "ours.npz", found)
    again = directions.load("ours.npz", 16)
    np.testing.assert_array_equal(again.unit, found.unit)
    np.save("zero.npy", v[:1] * 0)
    with pytest.raises(ValueError, match=r"--directions=zero.npy: it has a direction of length 0"):
        directions.load("zero.npy", 16)


def test_one_style_without_its_axis_of_images_is_doubted(given, model, ws, caplog):
    """[slots, w] is taken as so many images, with a warning; [n, w] with another n is not doubted."""
    np.savez("unbatched.npz", w=ws[0])
    assert len(styles.read("--styles", "unbatched.npz", model.gan.spec)) == 4
    (line,) = caplog.messages
    assert "unbatched.npz holds 4 styles, as many as this model has style slots" in line
    assert "save it as [1, 4, 16]" in line
    caplog.clear()
    styles.read("--styles", "flat.npy", model.gan.spec)
    assert not caplog.messages


@pytest.mark.parametrize("tool", [sample, video, style_mix])
def test_arguments_of_seeds_have_no_effect_on_styles(given, classes_model, capsys, tool):
    assert tool.main([f"--model={classes_model}", "--styles=w.npz", "--psi=0.5", "--out=x.gif"]) == 2
    assert "--psi=0.5 has no effect with --styles; leave it out" in capsys.readouterr().err


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


BOMB = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 1, 0, 0, 0, 0)) + chunk(b"IEND", b"")
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("name", ["target.png", "mask.png"])
def test_a_projection_of_a_stranger_starts_no_program(given, classes_model, capsys, monkeypatch, tmp_path, name):
    """Pillow hands PostScript to Ghostscript, whatever the name of the file; pti reads PNG and nothing else."""
    log, gs = tmp_path / "log", tmp_path / "bin" / "gs"
    gs.parent.mkdir()
    gs.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gs.parent}:{os.environ['PATH']}")
    folder = tmp_path / "ours" / "deep"
    Image.new("RGB", (8, 8)).save(folder / "target.png")
    for content, text in ((EPS, "not a PNG image"), (BOMB, "decompression bomb"), (b"", "empty file")):
        (folder / name).write_bytes(content)
        assert pti.main([f"--model={classes_model}", f"--projected={folder}", "--steps=1", "--out=t"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"{name}: " in line and text in line
    assert not log.exists()
    (folder / name).unlink()
    Image.new("L" if name == "mask.png" else "RGB", (9, 7)).save(folder / name)
    assert pti.main([f"--model={classes_model}", f"--projected={folder}", "--steps=1", "--out=t"]) == 2
    assert f"{name}: 9x7 pixels; the model's images are 8x8" in capsys.readouterr().err


def test_a_record_of_a_stranger_leads_nowhere_else(tmp_path):
    from stylegan_jax.sampling import projections

    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "projected_w.npz").write_bytes(b"")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "project.json").write_text(
        json.dumps({"lpips": {"../secret": {}, str(tmp_path / "secret"): {}}})
    )
    assert projections.find_projections(tmp_path / "out") == []
    (tmp_path / "out" / "project.json").write_text("[" * 100_000)
    assert projections.find_projections(tmp_path / "out") == []


def test_targets_may_have_commas_in_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b, c.png", "d,e,f.png"):
        Image.new("RGB", (8, 8)).save(name)
    names = lambda text: [file.name for file in project.find_files("--targets", text)]
    assert names("b, c.png") == ["b, c.png"]
    assert names("a.png,b, c.png,d,e,f.png,a.png") == ["a.png", "b, c.png", "d,e,f.png", "a.png"]
    with pytest.raises(ValueError, match=r"--targets: g\.png is not a file"):
        project.find_files("--targets", "a.png,g.png,b, c.png")
    long = ",".join(["a.png"] * 3000)  # longer than a path may be
    assert len(names(long)) == 3000


def test_styles_in_files_of_tensors(given, model, ws):
    Path("w.safetensors").write_bytes(safetensors.numpy.save({"latent_code": ws}))
    Path("w.pt").write_bytes(pickle.dumps({"latent_code": ws, "step": 3}))
    for name in ("w.safetensors", "w.pt"):
        np.testing.assert_array_equal(styles.read("--styles", name, model.gan.spec), ws)
    np.save("slot.npy", ws[:, :1])
    np.testing.assert_array_equal(styles.read("--styles", "slot.npy", model.gan.spec)[:, -1], ws[:, 0])
    with pytest.raises(ValueError, match=r"--styles=w\.pt,: an empty path"):
        styles.read("--styles", "w.pt,", model.gan.spec)


@pytest.mark.parametrize(("out", "told"), [("", "--out is empty"), ("w.npz", "is a file"), ("m", "is a model folder")])
def test_pictures_do_not_go_into_a_model_or_over_a_file(given, classes_model, capsys, out, told):
    Path("m").mkdir()
    Path("m/model.json").write_text("{}")
    assert sample.main([f"--model={classes_model}", "--seeds=0", "--class=1", f"--out={out}"]) == 2
    assert told in capsys.readouterr().err


def test_shifts_are_ascii_digits():
    with pytest.raises(ValueError, match="write two numbers"):
        sample.parse_translation("1_0,٣")
