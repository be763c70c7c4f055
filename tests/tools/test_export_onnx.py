"""ONNX files of every kind of generator draw what the model draws."""

from __future__ import annotations

import dataclasses
import json
import sys

import jax
import numpy as np
import onnxruntime
import pytest

from stylegan_jax import load_model
from stylegan_jax.config import ConfigError
from stylegan_jax.sampling import onnx_files
from stylegan_jax.sampling.model import latents
from stylegan_jax.tools import export

LABELS = {"classes": 2, "stylegan3": 1, "stylegan_xl": 1}
NAMES = ("classes", "stylegan3", "stylegan_xl", "grey", "stylegan1", "r3gan")


@pytest.fixture(scope="module")
def folders(classes_model, staged, zoo, tmp_path_factory):
    """Return {name: (source folder, folder of ONNX files)}."""
    root, found = tmp_path_factory.mktemp("onnx"), {}
    for name in NAMES:
        source = (zoo | {"classes": classes_model, "stylegan_xl": staged})[name]
        assert export.main([f"--model={source}", f"--out={root / name}", "--to=onnx"]) == 0
        found[name] = source, root / name
    return found


def run(folder, name, **inputs):
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_files_draw_what_the_model_draws(folders, name):
    source, folder = folders[name]
    model, label = load_model(source), LABELS.get(name)
    spec = model.gan.spec
    for count in (1, 3):
        z = latents(np.arange(count), spec.z_dim)
        given = {"z": z, "psi": np.full(spec.num_ws, 0.7, np.float32)}
        if label is not None:
            given["label"] = np.eye(spec.label_dim, dtype=np.float32)[[label] * count]
        ws = model.map(z, label, psi=0.7)
        np.testing.assert_allclose(run(folder, "map", **given), ws, rtol=1e-4, atol=1e-5)
        image = model.synthesize(ws)
        got = run(folder, "synthesize", ws=ws)
        assert image.std() > 0.01
        assert np.abs(got - image).max() < 1e-4 * max(np.abs(image).max(), 1)
        pixels = run(folder, "sample", **given)
        assert pixels.dtype == np.uint8 and pixels.shape == (count, *spec.image_shape)
        assert np.abs(pixels.astype(int) - model.sample(z, label=label, psi=0.7)).max() <= 1


def test_frames_of_clips_take_their_time_and_motion(clips, tmp_path, capsys):
    assert export.main([f"--model={clips}", f"--out={tmp_path / 'onnx'}", "--to=onnx"]) == 0
    model, spec = load_model(clips), load_model(clips).gan.spec
    draw, run_jax = np.random.default_rng(0), jax.jit(model.gan.synthesize)
    for count in (1, 3):
        z, label = latents(np.arange(count), spec.z_dim), np.eye(2, dtype=np.float32)[[1] * count]
        motion = draw.standard_normal((count, *spec.inputs["motion"]), np.float32)
        times = np.asarray([[8.0], [4.5], [18.75]], np.float32)[:count]  # at a code, and between codes
        ws = model.map(z, 1, psi=0.7)
        given = {"motion": motion, "times": times, "label": label}
        image = np.asarray(run_jax(model.g_ema, ws, given)[0]["image"])[:, 0]
        got = run(tmp_path / "onnx", "synthesize", ws=ws, **given)
        assert got.shape == image.shape == (count, 16, 16, 3) and image.std() > 0.01
        assert np.abs(got - image).max() < 1e-4 * max(np.abs(image).max(), 1)
        psi = np.full(spec.num_ws, 0.7, np.float32)
        np.testing.assert_allclose(run(tmp_path / "onnx", "map", z=z, label=label, psi=psi), ws, rtol=1e-4, atol=1e-5)
        pixels = run(tmp_path / "onnx", "sample", z=z, psi=psi, **given)
        assert np.abs(pixels.astype(int) - np.clip(np.round(image * 127.5 + 127.5), 0, 255)).max() <= 1
    about = json.loads((tmp_path / "onnx" / "onnx.json").read_text())
    inputs = {x["name"]: x["shape"] for x in about["functions"]["synthesize"]["inputs"]}
    assert inputs["times"] == ["b", 1] and inputs["motion"] == ["b", *spec.inputs["motion"]]
    assert about["functions"]["sample"]["output"]["shape"] == ["b", 16, 16, 3]
    assert export.main([f"--model={clips}", f"--out={tmp_path / 'page'}", "--to=web"]) == 2
    assert "draws times, motion, label besides z, and the page draws only z" in capsys.readouterr().err


def test_the_description_says_what_a_caller_needs(folders):
    source, folder = folders["classes"]
    about = json.loads((folder / "onnx.json").read_text())
    spec = load_model(source).gan.spec
    assert (about["z_dim"], about["num_ws"], about["label_dim"]) == (spec.z_dim, spec.num_ws, spec.label_dim)
    assert about["functions"]["sample"]["inputs"][0] == {"name": "z", "dtype": "float32", "shape": ["b", spec.z_dim]}
    for function in about["functions"].values():
        assert (folder / function["file"]).stat().st_size == function["bytes"]


def test_weights_in_float16(folders, tmp_path):
    source, folder = folders["grey"]
    assert export.main([f"--model={source}", f"--out={tmp_path / 'half'}", "--to=onnx", "--half"]) == 0
    ws = load_model(source).map([1, 2])
    a, b = run(folder, "synthesize", ws=ws), run(tmp_path / "half", "synthesize", ws=ws)
    assert 0 < np.abs(a - b).max() < 0.02 * np.abs(a).max()


def test_bad_input_is_named(folders, tmp_path, capsys, monkeypatch):
    source, _ = folders["grey"]
    for more, text in {
        ("--to=onnx", "--platforms=cpu"): "--platforms is for --to=stablehlo",
        ("--to=onnx", "--whole"): "--whole is for --to=stablehlo",
        ("--half",): "--half is for --to=onnx",
    }.items():
        assert export.main([f"--model={source}", f"--out={tmp_path / 'x'}", *more]) == 2
        assert text in capsys.readouterr().err
        assert not (tmp_path / "x").exists()
    model = load_model(source)
    with pytest.raises(ValueError, match="still growing"):
        onnx_files.write_onnx(dataclasses.replace(model, is_grown=False), tmp_path / "x")
    monkeypatch.setattr(onnx_files, "LARGEST", 1000)
    with pytest.raises(ConfigError, match=r"and the format allows 2; store the weights in float16 \(--half\)"):
        onnx_files.write_onnx(model, tmp_path / "x")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"pip install 'stylegan_jax\[onnx\]'"):
        onnx_files.write_onnx(model, tmp_path / "x")
    assert not (tmp_path / "x").exists()
