"""The command `drag`: what it writes, what goes on from there, mistakes in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import stylegan_jax.sampling.load
from stylegan_jax import load_model
from stylegan_jax.base import arrays
from stylegan_jax.sampling import projector
from stylegan_jax.tools import drag, edit

POINTS = '[{"handle": [2, 3], "target": [5, 3]}, {"handle": [6, 6], "target": [6, 6]}]'


@pytest.fixture
def model(classes_model, monkeypatch):
    """Return a model that the commands of a test share with its compiled programs."""
    found = load_model(str(classes_model), None)
    monkeypatch.setattr(stylegan_jax.sampling.load, "load_model", lambda name, step: found)
    return found


def png(path, *shape):
    Image.fromarray(np.full(shape, 255, np.uint8)).save(path)


def test_a_drag_and_what_goes_on_from_it(model, classes_model, tmp_path, capsys):
    (tmp_path / "p.json").write_text(POINTS)
    out, size = tmp_path / "out", model.gan.spec.image_shape[:2]
    common = [f"--model={classes_model}", "--rate=0.01", "--stop=0.5", "--steps=6", "--every=4"]
    assert not drag.main(
        [*common, "--seed=7", "--class=1", f"--points={tmp_path / 'p.json'}", f"--out={out}", "--video=png"]
    )
    record = json.loads((out / "drag.json").read_text())
    steps, points = record["steps"], record["points"]
    said = capsys.readouterr().out
    assert (
        f"after {steps} steps, {points[0]['distance']:.1f}, {points[1]['distance']:.1f} pixels from the targets" in said
    )
    assert record["arrived"] == ("arrived" in said) and 1 <= steps <= 6
    assert points[0]["handle"] == points[0]["path"][0] == [2, 3] and len(points[0]["path"]) == steps + 1
    assert points[0]["distance"] == pytest.approx(np.linalg.norm(np.subtract(points[0]["path"][-1], (5, 3))))
    start = model.map([7], 1)
    found = arrays.load(out / "projected_w.npz")
    assert set(found) == {"w"} and found["w"].shape == start.shape
    assert np.abs(found["w"] - start)[:, :6].max() > 0.005 and (found["w"][:, 6:] == start[:, 6:]).all()
    frames = sorted(path.name for path in (out / "frames").iterdir())
    assert frames == [f"{i:04d}.png" for i in sorted({*range(0, steps, 4), steps})]
    with Image.open(out / "frames" / frames[0]) as frame, Image.open(out / "dragged.png") as last:
        assert frame.size == (256, 256) * (size == (8, 8)) or frame.size[0] >= 256
        pixels = np.asarray(last)
    drawn = model.synthesize(found["w"])[0]
    np.testing.assert_allclose(pixels / 127.5 - 1, np.clip(drawn, -1, 1), atol=0.01)

    noise = {path: np.asarray(x) * 2 for path, x in projector.noise_maps(model.g_ema).items()}  # as `project` writes
    arrays.write_npz(tmp_path / "w.npz", w=found["w"], **noise)
    again = tmp_path / "again"
    assert not drag.main([*common, f"--styles={tmp_path / 'w.npz'}", f"--points={POINTS}", f"--out={again}", "--plain"])
    kept = arrays.load(again / "projected_w.npz")
    assert set(kept) == {"w", *noise} and all((kept[path] == x).all() for path, x in noise.items())
    assert len([*again.glob("drag.*")]) == 2  # the record and a video
    drawn = projector.with_noise(model, noise).synthesize(kept["w"])[0]
    with Image.open(again / "dragged.png") as last:
        np.testing.assert_allclose(np.asarray(last) / 127.5 - 1, np.clip(drawn, -1, 1), atol=0.01)
    capsys.readouterr()
    held = [f"--model={classes_model}", "--seed=7", "--class=1", "--points=[[[2, 3], [3, 3]]]", "--steps=2", "--stop=4"]
    assert not drag.main([*held, "--settle=20", "--video=none", "--plain", f"--out={tmp_path / 'held'}"])
    assert "near, but not settled, after 2 steps" in capsys.readouterr().out
    call = [f"--model={classes_model}", f"--styles={out}", "--count=1", "--strengths=0,1", f"--out={tmp_path / 'edit'}"]
    assert not edit.main(call)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--points=none.json"], "--points=none.json is neither a file nor JSON"),
        (['--points=[{"handle": [1, 2]'], "is no JSON: Expecting"),
        (['--points={"a": 1}'], 'each point is {"handle": [x, y], "target": [x, y]} or [[x, y], [x, y]], in a list'),
        (["--points=[[[1, 2], [3, true]]]"], "each point is"),
        (["--points=" + "[" * 100_000], "is nested too deeply"),
        (["--points=[]"], "no handles; pass at least one (x, y)"),
        (["--points=[[[1, 2], [1, 2]]]"], "every target is where its handle is, as (1, 2)"),
        (["--points=[[[1, 99], [1, 2]]]"], "handle 0 is at (1, 99), outside the picture"),
        (["--mask=wide.png"], "--mask=wide.png: 9x8 pixels; the model's images are 8x8"),
        (["--mask=black.png"], "handle 0 at (2, 3) is where the mask is 0"),
        (["--mask=none.png"], "--mask=none.png is not a file"),
        (["--mask=text.png"], "--mask=text.png: not a "),
        (["--steps=0"], "--steps=0 must be at least 1"),
        (["--fps=0", "--video=gif"], "--fps=0: more than 0 and at most 50 for .gif"),
        (["--feature_layer=b9"], "layer='b9' is not known; this model has x4, x8"),
        (["--layers=9"], "--layers='9': 9 is too large; each style slot is below 4"),
        (["--index=1"], "--index=1 has no effect without --styles"),
        (["--styles=two.npy"], "--styles=two.npy holds 2; choose one by --index=0 to 1"),
        (["--styles=two.npy", "--index=0", "--seed=3"], "--seed=3 has no effect with --styles"),
    ],
)
def test_mistakes_are_one_line(model, classes_model, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    png("wide.png", 8, 9)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("black.png")
    (tmp_path / "text.png").write_text("no image")
    np.save("two.npy", np.zeros((2, model.gan.spec.w_dim), np.float32))
    label = [] if "--styles=two.npy" in arguments else ["--class=0"]
    call = [f"--model={classes_model}", f"--points={POINTS}", "--out=out", *label, *arguments]
    assert drag.main(call) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and said.startswith("error: ")
    assert not (tmp_path / "out").exists()
