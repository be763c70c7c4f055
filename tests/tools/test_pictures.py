"""sample, style_mix, noise and truncation: what their pictures show, what a set holds, what is refused."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from configs import common
from stylegan_jax import data, load_model
from stylegan_jax.config import from_dict
from stylegan_jax.tools import centroids, noise, sample, style_mix, truncation


@pytest.fixture(scope="module")
def model(classes_model):
    return load_model(classes_model)


def cells(path, columns: int, size: int) -> np.ndarray:
    """Return int[rows, columns, size, size, 3] of a grid."""
    grid = np.asarray(Image.open(path).convert("RGB")).astype(int)
    rows = len(grid) // size
    return grid.reshape(rows, size, columns, size, 3).transpose(0, 2, 1, 3, 4)


def size_of(model) -> int:
    return model.gan.spec.image_shape[0]


def test_a_zip_of_samples_is_a_data_set_with_labels(classes_model, model, tmp_path):
    out = tmp_path / "more.zip"
    options = [f"--model={classes_model}", "--seeds=3,9", "--class=all", "--psi=0.5", "--batch=2"]
    assert sample.main([*options, f"--out={out}"]) == 0
    tree = common.get_config()
    tree.model.update({"resolution": size_of(model), "label_dim": -1})
    tree.data.update({"source": "zip", "path": str(out), "labels": "file"})
    config = from_dict(tree)
    source = data.open_source(config.data, config.model.image_shape)
    assert source.info().num_images == 6 and source.info().label_kind == "classes"
    np.testing.assert_array_equal(source.labels(np.arange(6)).argmax(axis=1), [0, 1, 2, 0, 1, 2])
    want = model.sample([9], label=1, psi=0.5, chunk=2)
    assert np.abs(source.gather(np.array([4])).astype(int) - want).max() <= 1
    source.close()
    with zipfile.ZipFile(out) as file:
        assert json.loads(file.read("sample.json"))["arguments"]["classes"] == "all"
    assert sample.main([*options, f"--out={out}"]) == 2  # it exists
    assert sample.main([*options, f"--out={out}", "--overwrite"]) == 0


def test_samples_of_classes_have_their_names(classes_model, model, tmp_path):
    options = ["--seeds=4", "--class=0,2", "--files=images"]
    assert sample.main([f"--model={classes_model}", f"--out={tmp_path}", *options]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "sample.json",
        "seed0004_class000.png",
        "seed0004_class002.png",
    ]
    shown = np.asarray(Image.open(tmp_path / "seed0004_class002.png")).astype(int)
    assert np.abs(shown - model.sample([4], label=2)[0]).max() <= 1


def test_a_sheet_has_a_row_of_the_same_seeds_per_class(classes_model, model, tmp_path):
    options = ["--seeds=4,5,6", "--class=0,2", "--by_class", "--save_w"]
    assert sample.main([f"--model={classes_model}", f"--out={tmp_path}", *options]) == 0
    saved = np.load(tmp_path / "styles.npz")
    assert saved["seeds"].tolist() == [4, 5, 6, 4, 5, 6] and saved["label"].argmax(axis=1).tolist() == [0] * 3 + [2] * 3
    grid = np.asarray(Image.open(tmp_path / "grid.png")).astype(int)
    size = grid.shape[0] // 2
    assert grid.shape[:2] == (2 * size, 3 * size)
    assert np.abs(grid[size:, size : 2 * size] - model.sample([5], label=2)[0]).max() <= 1


def test_centroids_are_found_and_drawn_towards(classes_model, model, tmp_path):
    out = tmp_path / "c.npz"
    options = [f"--model={classes_model}", "--count=2", "--samples=24", "--batch=8"]
    assert centroids.main([*options, f"--out={out}"]) == 0
    found = np.load(out)["centroids"]
    assert found.shape == (2, model.gan.spec.w_dim) and found.dtype == np.float32
    pictures = [f"--model={classes_model}", "--seeds=3", "--class=1", "--psi=0", "--save_w", f"--out={tmp_path / 'a'}"]
    assert sample.main([*pictures, f"--centroids={out}"]) == 0
    w, own = np.load(tmp_path / "a" / "styles.npz")["w"][0, 0], model.map([3], 1)[0, 0]
    np.testing.assert_allclose(w, found[np.square(found - own).sum(axis=1).argmin()], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--count=9", "--samples=8"], "count=9 samples=8"),
        (["--class=7"], "--class=7: this model has the classes 0 to 2; choose one"),
        (["--count=0"], "count=0"),
        (["--out=c.txt"], "pass the name of a new .npz"),
    ],
)
def test_centroids_that_cannot_be_found(classes_model, tmp_path, monkeypatch, capsys, options, text):
    monkeypatch.chdir(tmp_path)
    assert centroids.main([f"--model={classes_model}", "--out=c.npz", *options]) == 2
    assert text in capsys.readouterr().err


def test_a_file_of_other_centroids_is_an_error(classes_model, tmp_path, capsys):
    np.save(tmp_path / "c.npy", np.zeros((4, 3), np.float32))
    options = [f"--model={classes_model}", "--class=1", f"--out={tmp_path / 'a'}", f"--centroids={tmp_path / 'c.npy'}"]
    assert sample.main(options) == 2
    assert "it must have centroids [m, 16], as tools.centroids writes" in capsys.readouterr().err


def test_another_call_into_the_same_folder_is_refused(classes_model, tmp_path, capsys):
    options = [f"--model={classes_model}", "--seeds=4", "--class=0", f"--out={tmp_path}"]
    assert sample.main(options) == 0
    assert sample.main([*options, "--batch=3"]) == 0  # the same pictures
    assert sample.main([*options, "--psi=0.5"]) == 2
    assert (
        "made with other arguments (psi: 1.0 -> 0.5); choose another --out, or add --overwrite"
        in capsys.readouterr().err
    )
    assert sample.main([*options, "--psi=0.5", "--overwrite"]) == 0


def test_the_record_of_version_0_1_holds_the_same_arguments(classes_model, tmp_path):
    options = ["--seeds=4", "--class=0", f"--out={tmp_path}"]
    assert sample.main([f"--model={classes_model}", *options]) == 0
    record = json.loads((tmp_path / "sample.json").read_text())
    record["arguments"]["run"] = record["arguments"].pop("model")
    (tmp_path / "sample.json").write_text(json.dumps(record))
    assert sample.main([f"--run={classes_model}", *options]) == 0


def test_mixtures_take_the_chosen_slots(classes_model, model, tmp_path):
    options = [f"--model={classes_model}", "--class=1", "--rows=0,1", "--columns=5-7", "--layers=1,3", "--psi=0.8"]
    assert style_mix.main([*options, f"--out={tmp_path}"]) == 0
    grid = cells(tmp_path / "grid.png", 4, size_of(model))
    assert grid.shape[:2] == (3, 4) and (grid[0, 0] == 255).all()
    rows, columns = model.map([0, 1], 1, psi=0.8), model.map([5, 6, 7], 1, psi=0.8)
    mixed = rows[1].copy()
    mixed[[1, 3]] = columns[2][[1, 3]]
    want = model.synthesize(np.stack([rows[1], columns[2], mixed]))
    want = np.clip(want * 127.5 + 128, 0, 255).astype(int)
    for found, picture in zip((grid[2, 0], grid[0, 3], grid[2, 3]), want, strict=True):
        assert np.abs(found - picture).max() <= 1
    assert (grid[2, 3] != grid[2, 0]).any() and (grid[2, 3] != grid[0, 3]).any()
    shown = np.asarray(Image.open(tmp_path / "0001-0007.png"))
    np.testing.assert_array_equal(shown, grid[2, 3])


def test_all_slots_give_the_column_and_none_is_no_choice(classes_model, model, tmp_path, capsys):
    options = [f"--model={classes_model}", "--class=1", "--rows=0", "--columns=5"]
    assert style_mix.main([*options, "--layers=all", f"--out={tmp_path}"]) == 0
    grid = cells(tmp_path / "grid.png", 2, size_of(model))
    assert np.abs(grid[1, 1] - grid[0, 1]).max() <= 1 < np.abs(grid[1, 1] - grid[1, 0]).max()
    for layers, text in (
        ("fine", "this model has no fine slots"),
        ("warm", "'warm' is not known"),
        ("99", "too large"),
    ):
        assert style_mix.main([*options, f"--layers={layers}", f"--out={tmp_path / 'x'}"]) == 2
        assert text in capsys.readouterr().err


def test_the_noise_map_is_the_deviation_of_the_draws(classes_model, model, tmp_path):
    options = [f"--model={classes_model}", "--class=0", "--seeds=2,6", "--count=16", "--show=2"]
    assert noise.main([*options, f"--out={tmp_path}"]) == 0
    grid = cells(tmp_path / "grid.png", 5, size_of(model))
    w = model.map([2], 0)
    draws = model.synthesize(np.repeat(w, 16, axis=0), noise="random", seeds=range(16))
    std = np.sqrt(draws.var(axis=0).mean(axis=-1))
    record = json.loads((tmp_path / "noise.json").read_text())
    assert record["deviation"]["2"]["max"] == pytest.approx(std.max(), rel=1e-4) and std.max() > 0.01
    largest = max(record["deviation"][seed]["max"] for seed in "26")
    assert np.abs(grid[0, 4] - (std / largest * 255)[..., None]).max() <= 2
    for kind, column in (("const", 0), ("none", 1)):
        want = np.clip(model.synthesize(w, noise=kind)[0] * 127.5 + 128, 0, 255).astype(int)
        assert np.abs(grid[0, column] - want).max() <= 1
    assert (grid[0, 2] != grid[0, 3]).any() and (grid[0, 0] != grid[0, 1]).any()


def test_truncation_goes_from_the_opposite_through_the_average(classes_model, model, tmp_path):
    assert (
        truncation.main([f"--model={classes_model}", "--class=0", "--seeds=1,2", "--psis=-1,0,1", f"--out={tmp_path}"])
        == 0
    )
    grid = cells(tmp_path / "grid.png", 3, size_of(model))
    assert np.abs(grid[0, 1] - grid[1, 1]).max() <= 1  # the average image
    for column, psi in enumerate((-1, 0, 1)):
        assert np.abs(grid[1, column] - model.sample([2], label=0, psi=psi)[0]).max() <= 1
    assert (grid[0, 2] != grid[1, 2]).any() and (grid[0, 0] != grid[0, 2]).any()


@pytest.mark.parametrize(
    ("tool", "options", "text"),
    [
        (truncation, ["--psis=1,x"], "--psis=1,x: write numbers with commas"),
        (truncation, ["--class=0,1"], "--class=0,1: this tool draws one class at a time"),
        (truncation, [], "this model is class-conditional; pass --class (0 cats, 1 dogs, 2 Big birds)"),
        (noise, ["--class=0", "--count=1"], "--count=1 --show=3: count is at least 2"),
        (noise, ["--class=0", "--cutoff=77"], "cutoff is 77"),
        (style_mix, ["--class=0", "--rows=3-1"], "--rows='3-1': the range '3-1' runs backwards; write 1-3"),
        (style_mix, ["--class=7"], "this model has the classes 0 to 2"),
        (
            style_mix,
            ["--class=fish"],
            "--class=fish: no class of this model is named 'fish'; it has 0 cats, 1 dogs, 2 Big",
        ),
        (sample, ["--class=0", "--batch=0"], "--batch=0 must be at least 1"),
        (sample, ["--class=0", "--out=x.ZIP", "--seeds=y"], "'y' is not a seed or a range"),
    ],
)
def test_mistakes_are_answered_by_one_line(classes_model, tmp_path, monkeypatch, capsys, tool, options, text):
    monkeypatch.chdir(tmp_path)
    assert tool.main([f"--model={classes_model}", "--out=x", *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and text in line
    assert not list(tmp_path.iterdir())
