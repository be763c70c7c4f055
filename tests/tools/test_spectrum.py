"""Power spectra of known images, the mean against NumPy's, and what the tool writes and refuses."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from PIL import Image

from stylegan_jax import load_model
from stylegan_jax.data import order
from stylegan_jax.sampling import plot, spectra
from stylegan_jax.tools import spectrum

DRAW = np.random.default_rng(0)


def by_numpy(pixels: np.ndarray, mean: float, std: float, beta: float, size: int) -> np.ndarray:
    """The definition, image by image in float64, padded to the whole size."""
    h, w = pixels.shape[1:3]
    rows, columns = np.kaiser(h, beta), np.kaiser(w, beta)
    window = np.outer(rows / np.sqrt((rows**2).sum()), columns / np.sqrt((columns**2).sum()))
    total = np.zeros((size, size))
    for picture in pixels.astype(np.float64):
        for c in range(picture.shape[-1]):
            x = (picture[:, :, c] - mean) / std * window
            total += np.abs(np.fft.fft2(x, (size, size))) ** 2
    return total / (len(pixels) * pixels.shape[-1])


@pytest.mark.parametrize(("shape", "pad"), [((16, 16, 3), 4), ((12, 20, 1), 3), ((9, 7, 4), 2)])
def test_the_average_is_numpys(shape, pad):
    pixels = DRAW.integers(0, 256, (5, *shape), dtype=np.uint8)
    mean, std = spectra.moments([pixels[:2], pixels[2:]])
    np.testing.assert_allclose([mean, std], [pixels.mean(), pixels.astype(float).std()], rtol=1e-12)
    found = spectra.average([pixels[:2], pixels[2:4], pixels[4:]], mean, std, beta=6.0, pad=pad)
    want = by_numpy(pixels, mean, std, 6.0, pad * max(shape[:2]))
    assert found.count == 5 and found.power.dtype == np.float64
    np.testing.assert_allclose(found.power, want, rtol=1e-4, atol=1e-5)


def test_white_noise_is_flat_at_0_db():
    pixels = DRAW.integers(0, 256, (600, 16, 16, 3), dtype=np.uint8)
    mean, std = spectra.moments([pixels])
    found = spectra.average([pixels], mean, std)
    # 1800 spectra, each exponentially distributed about 1: deviations of 2.4 %, at 64 x 64 frequencies, most dependent
    assert np.abs(found.power - 1).max() < 0.12 and abs(found.power.mean() - 1) < 0.01
    for _, level in spectra.slices(found).values():
        assert np.abs(level).max() < 0.6
    assert np.abs(spectra.heatmap(found, 1.25)).max() < 0.5


def test_a_wave_peaks_at_its_frequency():
    n, y, x = 32, np.arange(32)[:, None], np.arange(32)[None]
    across = 127.5 + 100 * np.cos(2 * np.pi * 5 / n * x + 0 * y)
    diagonal = 127.5 + 100 * np.cos(2 * np.pi * 7 / n * (x + y))
    for picture, angle, at in ((across, "0°", 5 / n), (diagonal, "45°", 7 / n * np.sqrt(2))):
        pixels = picture.round().astype(np.uint8)[None, :, :, None]
        found = spectra.average([pixels], 127.5, 70.0)
        frequency, level = spectra.slices(found)[angle]
        assert frequency[level.argmax()] == pytest.approx(at)
        far = np.abs(frequency - at) > 0.15
        assert level[far].max() < level.max() - 30
        shown = spectra.heatmap(found, 0.0)
        assert shown.shape == (129, 129)
        np.testing.assert_array_equal(shown[0], shown[-1])
        row, column = np.argwhere(shown == shown.max())[-1] / 128 - 0.5
        expected = (0, at) if angle == "0°" else (7 / n, 7 / n)
        np.testing.assert_allclose([row, column], expected, atol=1e-9)


def test_a_line_is_drawn_where_it_belongs():
    axes = plot.Axes((0, 1), (0, 10), [0, 1], [0, 10], "x", "y")
    x = np.linspace(0, 1, 50)
    picture = plot.draw_lines("", {"": (x, np.full(50, 2.5)), " ": (x, np.full(50, 11.0))}, axes, (300, 200))
    left, top, right, bottom = plot.MARGIN[0], plot.MARGIN[1], 300 - plot.MARGIN[2], 200 - plot.MARGIN[3]
    blue = (picture == plot.COLORS[0]).all(axis=-1)
    rows = np.flatnonzero(blue[:, left + 30])
    assert np.abs(rows - (bottom - 0.25 * (bottom - top))).max() <= 2 and len(rows)
    red = (picture == plot.COLORS[1]).all(axis=-1)
    assert not red[:, left + 1 : right - 60].any()  # above the frame, only its legend is there


def test_a_model_beside_its_data(classes_model, tmp_path, capsys):
    model = load_model(classes_model)
    data = tmp_path / "real.npy"
    np.save(data, DRAW.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8))
    out = tmp_path / "out"
    options = [f"--model={classes_model}", f"--model={classes_model}", f"--data={data}", "--num=5", f"--out={out}"]
    assert spectrum.main([*options, "--class=0,2", "--batch=4"]) == 0
    assert "spectra of real (5), model (5), model-2 (5)" in capsys.readouterr().out
    record = json.loads((out / "spectrum.json").read_text())
    drawn = model.sample(range(5), label=[0, 2, 0, 2, 0])
    with np.load(out / "model.npz") as file:
        want = by_numpy(drawn, record["mean"], record["std"], 8.0, 32)
        np.testing.assert_allclose(file["spectrum"], want, rtol=0.02, atol=1e-3)  # a pixel may round the other way
        assert file["image_size"] == 8 and file["count"] == 5
    for name, panels in (("heatmap.png", 3), ("slices.png", 2)):
        shown = np.asarray(Image.open(out / name))
        width = shown.shape[1] // panels
        assert all(
            len(np.unique(shown[:, i * width : (i + 1) * width].reshape(-1, 3), axis=0)) > 5 for i in range(panels)
        )
    assert spectrum.main([*options, "--class=1"]) == 2
    assert "made with other arguments" in capsys.readouterr().err


def test_more_than_there_is_takes_all_of_it(zoo, tmp_path, capsys):
    data = tmp_path / "real.npy"
    np.save(data, DRAW.integers(0, 256, (6, 8, 8, 1), dtype=np.uint8))
    options = [f"--model={zoo['grey']}", f"--data={data}", "--num=9", f"--out={tmp_path / 'out'}"]
    assert spectrum.main(options) == 0
    assert "spectra of real (6), grey (9)" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "spectrum.json").read_text())["images"] == {"real": 6, "grey": 9}


def test_the_data_of_a_run_are_the_images_that_it_saw(tmp_path):
    pixels = DRAW.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "real.npy", pixels)
    own = {"source": "memory", "path": str(tmp_path / "real.npy"), "subset": 5, "subset_seed": 3}
    (tmp_path / "config.json").write_text(json.dumps({"data": own}))
    for num, count in ((0, 5), (4, 4), (8, 5)):
        args = spectrum.parser().parse_args([f"--num={num}", "--batch=3", "--out=x"])
        with contextlib.ExitStack() as stack:
            found = spectrum.of_data("run", None, str(tmp_path), args, stack)
            chunks = list(found.chunks())
        assert found.count == count and [len(x) for x in chunks] == [3, count - 3]
        np.testing.assert_array_equal(np.concatenate(chunks), pixels[order.subset(3, count, 9)])


def test_channels_other_than_three(zoo, tmp_path):
    for name in ("grey", "rgba"):
        assert spectrum.main([f"--model={zoo[name]}", "--num=2", f"--out={tmp_path / name}"]) == 0
        with np.load(tmp_path / name / f"{name}.npz") as file:
            drawn = load_model(zoo[name]).sample([0, 1])
            assert float(file["mean"]) == pytest.approx(drawn.mean(), abs=0.5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "nothing to compare"),
        (["--data=run"], "--data=run means the data of --model"),
        (["--data=synthetic:4", "--mean=1"], "--mean and --std belong together"),
        (["--data=synthetic:4", "--mean=1", "--std=0"], "the second above 0"),
        (["--data=synthetic:4", "--pad=1"], "--pad=1 must be at least 2"),
        (["--data=synthetic:4", "--class=1"], "--class=1 has no effect without --model; leave it out"),
        (["--data=synthetic:4", "--psi=0.5"], "--psi=0.5 has no effect without --model"),
        (["--data=nowhere"], "--data=nowhere: neither a folder"),
    ],
)
def test_mistakes_are_answered_by_one_line(tmp_path, capsys, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    assert spectrum.main([*options, "--out=x"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert text in line and not list(tmp_path.iterdir())


def test_models_without_runs_and_of_other_sizes(zoo, tmp_path, capsys):
    out = f"--out={tmp_path / 'x'}"
    assert spectrum.main([f"--model={zoo['grey']}", "--data=run", out]) == 2
    assert "is not the workdir of a run, so its data are unknown" in capsys.readouterr().err
    assert spectrum.main([f"--model={zoo['grey']}", f"--model={zoo['stylegan3']}", "--class=0", out]) == 2
    assert "images of different sizes" in capsys.readouterr().err
    assert spectrum.main([f"--model={zoo['grey']}", "--label=1,0", out]) == 2
    assert "--label=1,0 has no effect on models without labels" in capsys.readouterr().err
