"""Directions by every method against their closed forms, and what the grids show."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from stylegan_jax import load_model
from stylegan_jax.sampling import directions
from stylegan_jax.tools import edit

CLASSES = 3


@pytest.fixture(scope="module")
def model(classes_model):
    return load_model(classes_model)


def test_affine_layers_read_the_slots_of_their_place(model):
    slots = directions.affine_slots(model)
    assert {"/".join(path[-3:-1]): slot for path, slot in slots.items()} == {
        "b4/conv1": 0,
        "b4/torgb": 1,
        "b8/conv0": 1,
        "b8/conv1": 2,
        "b8/torgb": 3,
    }


def test_sefa_is_the_eigenvectors_of_the_stacked_weights(model):
    net = model.g_ema["params"]["synthesis"]
    names = (("b4", "torgb"), ("b8", "conv0"), ("b8", "torgb"))  # slots 1 and 3
    a = np.concatenate([np.asarray(net[b][layer]["affine"]["weight"], np.float64).T for b, layer in names])
    values, vectors = np.linalg.eigh(a.T @ a)
    found = directions.sefa(model, [1, 3], 4)
    np.testing.assert_allclose(found.values, values[::-1][:4], rtol=1e-6)
    for got, want in zip(found.vectors, vectors.T[::-1], strict=False):
        np.testing.assert_allclose(got * np.sign(got @ want), want, atol=1e-6)
    np.testing.assert_array_equal(found.unit, 1)


def test_ganspace_is_the_principal_components_of_w(model):
    found = directions.ganspace(model, 1, 3, samples=400, chunk=100)
    z = np.random.RandomState(0).randn(400, model.gan.spec.z_dim).astype(np.float32)
    w = model.map(z, 1, chunk=100)[:, 0]
    _, s, vt = np.linalg.svd(w - w.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(found.unit, (s / np.sqrt(399))[:3], rtol=1e-4)
    for got, want in zip(found.vectors, vt, strict=False):
        assert abs(got @ want) == pytest.approx(1, abs=1e-4)


def groups(tmp_path, w_dim: int) -> tuple[np.ndarray, list[str]]:
    """Return a normal, and the flags of two groups of styles that lie on its two sides."""
    rng = np.random.default_rng(3)
    normal = rng.standard_normal(w_dim)
    normal /= np.linalg.norm(normal)
    w = rng.standard_normal((400, w_dim))
    side = w @ normal
    w += np.sign(side)[:, None] * normal
    for name, chosen in (("positive", side > 0), ("negative", side < 0)):
        np.savez(tmp_path / f"{name}.npz", w=w[chosen].astype(np.float32))
    return normal, [f"--{name}={tmp_path / name}.npz" for name in ("positive", "negative")]


@pytest.mark.parametrize(("method", "least"), [("boundary", 0.98), ("difference", 0.95)])
def test_a_direction_between_two_groups(classes_model, model, tmp_path, method, least):
    normal, flags = groups(tmp_path, model.gan.spec.w_dim)
    options = [f"--model={classes_model}", f"--method={method}", "--class=0", "--seeds=1", "--strengths=0,1", *flags]
    assert edit.main([*options, f"--out={tmp_path / 'out'}"]) == 0
    found = directions.load(str(tmp_path / "out" / "directions.npz"), model.gan.spec.w_dim)
    assert found.vectors[0] @ normal > least
    assert np.linalg.norm(found.vectors[0]) == pytest.approx(1, abs=1e-5)
    assert 1.5 < found.unit[0] < 2.5  # groups at a distance of about two from zero


def test_the_grid_shows_each_seed_moved_by_each_strength(classes_model, model, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    options = [f"--model={classes_model}", "--layers=2", "--strengths=-2,0,4"]
    assert edit.main([*options, "--class=2", "--seeds=4,5", "--method=sefa", "--count=2", f"--out={first}"]) == 0
    assert json.loads((first / "edit.json").read_text())["layers"] == [2]
    found = directions.load(str(first / "directions.npz"), model.gan.spec.w_dim)
    ws = model.map([5], 2)
    ws[:, 2] += 4 * found.vectors[1]
    size = model.gan.spec.image_shape[0]
    grid = np.asarray(Image.open(first / "direction01.png")).astype(int)
    assert grid.shape == (2 * size, 3 * size, 3)
    want = np.clip(model.synthesize(ws)[0] * 127.5 + 128, 0, 255).astype(int)
    assert np.abs(grid[size:, 2 * size :] - want).max() <= 1
    still = grid[size:, size : 2 * size]
    assert np.abs(still - model.sample([5], label=2)[0]).max() <= 1 < np.abs(still - want).max()
    np.savez(tmp_path / "w.npz", w=model.map([4, 5], 2))
    taken = ["--method=file", f"--directions={first / 'directions.npz'}", f"--styles={tmp_path / 'w.npz'}"]
    assert edit.main([*options, *taken, f"--out={again}"]) == 0
    assert np.abs(np.asarray(Image.open(again / "direction01.png")).astype(int) - grid).max() <= 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--method=boundary"], "--method=boundary needs --positive=FILE"),
        (["--positive=x.npz"], "--method=sefa does not use --positive=FILE"),
        (
            ["--method=file", "--directions=nowhere.npz"],
            "--directions=nowhere.npz: no such file",
        ),
        (
            ["--method=difference", "--positive=a.npz", "--negative=a.npz"],
            "--positive=a.npz: no such file",
        ),
        (["--styles=a.npz", "--psi=0.7"], "--psi=0.7 has no effect with --styles; leave it out"),
        (["--styles=a.npz", "--class=0"], "--class=0 has no effect with --styles"),
        (["--styles=a.npz", "--class=0", "--method=ganspace"], "--styles=a.npz: no such file"),
        (["--styles=array.npy"], "--styles=array.npy: styles of shape [1, 3]; this model takes [n, 4, 16] or [n, 16]"),
        (["--method=file", "--directions=half.npz"], "--directions=half.npz: a damaged zip archive"),
        (["--styles=a.npz"], "--styles=a.npz: no such file"),
        (["--count=0"], "--count=0: choose 1 to"),
        (["--method=ganspace", "--samples=1"], "1 samples have no principal components"),
        (["--strengths=a"], "--strengths=a: write numbers"),
        (["--layers=9"], "9 is too large; each style slot is below 4"),
    ],
)
def test_mistakes_are_answered_by_one_line(classes_model, tmp_path, monkeypatch, capsys, options, text):
    monkeypatch.chdir(tmp_path)
    np.save("array.npy", np.zeros(3))
    np.savez("half.npz", vectors=np.zeros((9, 99)))
    whole = (tmp_path / "half.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    of_seeds = [] if options[0].startswith("--styles") else ["--class=0", "--seeds=0"]
    assert edit.main([f"--model={classes_model}", "--out=x", *of_seeds, *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and text in line
    assert not (tmp_path / "x").exists()


def test_given_styles_need_no_label(classes_model, model, tmp_path):
    np.savez(tmp_path / "w.npz", w=model.map([4], 2))
    options = [f"--model={classes_model}", f"--styles={tmp_path / 'w.npz'}", "--strengths=0", "--count=1"]
    assert edit.main([*options, f"--out={tmp_path / 'out'}"]) == 0
    shown = np.asarray(Image.open(tmp_path / "out" / "direction00.png")).astype(int)
    assert np.abs(shown - model.sample([4], label=2)[0]).max() <= 1


def test_groups_with_one_mean_have_no_direction():
    with pytest.raises(ValueError, match="have no difference"):
        directions.difference(np.ones((2, 3)), np.ones((4, 3)))
