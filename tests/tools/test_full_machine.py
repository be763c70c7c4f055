"""Tools on a machine without memory or room, and models whose images are not numbers: one line, exit code 2."""

from __future__ import annotations

import errno
import json

import jax
import numpy as np
import pytest
from PIL import Image

from stylegan_jax import load_model
from stylegan_jax.base import images
from stylegan_jax.convert import read_model_folder
from stylegan_jax.sampling import model as trained
from stylegan_jax.tools import edit, noise, sample, spectrum, style_mix, truncation, video

ALL = {
    sample: ["--seeds=0-1"],
    style_mix: ["--rows=0", "--columns=1"],
    noise: ["--seeds=0", "--count=2", "--show=1"],
    truncation: ["--seeds=0", "--psis=0.5,1"],
    edit: ["--seeds=0", "--count=1"],
    video: ["--seeds=0,1", "--frames=2"],
    spectrum: ["--num=2"],
}


def one_line(capsys) -> str:
    """Return the only line of the error output, without 'error: '."""
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.__name__.split(".")[-1])
@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 3221225472 bytes."),
        jax.errors.JaxRuntimeError("INTERNAL: Failed. Out of memory allocating 3221225472 bytes"),
        MemoryError("Unable to allocate 3.0 GiB for an array with shape (9,)"),
    ],
)
def test_too_little_memory_names_the_amount_and_what_helps(classes_model, tmp_path, monkeypatch, capsys, tool, error):
    def drawer(gan, kind):
        def run(*arrays):
            raise error

        return run

    monkeypatch.setattr(trained, "_drawer", drawer)
    out = tmp_path / "out.gif"
    assert tool.main([f"--model={classes_model}", "--class=0", *ALL[tool], f"--out={out}"]) == 2
    line = one_line(capsys)
    assert line.startswith("out of memory (3.0 GiB asked for); lower --batch=8, or request less at a time (--")
    assert not out.exists()  # so that a smaller --batch finds it free


def test_ctrl_c_leaves_one_line_and_the_folder_free(classes_model, tmp_path, monkeypatch, capsys):
    def drawer(gan, kind):
        def run(*arrays):
            raise KeyboardInterrupt

        return run

    monkeypatch.setattr(trained, "_drawer", drawer)
    assert sample.main([f"--model={classes_model}", "--class=0", "--seeds=0", f"--out={tmp_path / 'out'}"]) == 130
    assert capsys.readouterr().err.strip().splitlines()[-1] == "interrupted"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tool", "more"),
    [
        (sample, ["--seeds=0-4294967295"]),
        (video, ["--frames=1000000000000"]),
        (video, ["--frames=9223372036854775807"]),
        (style_mix, ["--rows=0-99999", "--columns=0-99999"]),
        (edit, ["--method=ganspace", "--samples=9223372036854775807"]),
        (noise, ["--count=1000000000000"]),
    ],
)
def test_numbers_that_no_machine_has_memory_for(classes_model, tmp_path, monkeypatch, capsys, tool, more):
    if tool is style_mix:
        monkeypatch.setattr(trained.LoadedModel, "map", lambda self, z, *a, **k: np.zeros((len(z), 4, 16), np.float32))
    assert tool.main([f"--model={classes_model}", "--class=0", *more, f"--out={tmp_path / 'x.gif'}"]) == 2
    assert more[-1].partition("=")[0] in one_line(capsys)


def test_a_grid_has_no_more_columns_than_images(classes_model, tmp_path):
    options = [f"--model={classes_model}", "--class=0", "--seeds=0,1", "--columns=99999999", "--files=grid"]
    assert sample.main([*options, f"--out={tmp_path / 'x'}"]) == 0
    with Image.open(tmp_path / "x" / "grid.png") as grid:
        assert grid.size == (16, 8)


def test_one_image_is_drawn_alone(classes_model, tmp_path, monkeypatch):
    """Not in a batch of eight, of which seven are thrown away."""
    drawn, stream = [], trained.LoadedModel.stream
    monkeypatch.setattr(trained.LoadedModel, "stream", lambda *a, **k: drawn.append(k["chunk"]) or stream(*a, **k))
    for seeds, batch in (("0", 8), ("0-2", 8), ("0-8", 4), ("0", 2**63 - 1)):
        options = [f"--model={classes_model}", "--class=0", f"--seeds={seeds}", f"--batch={batch}", "--overwrite"]
        assert sample.main([*options, f"--out={tmp_path / 'x'}"]) == 0
    assert drawn == [1, 3, 4, 4, 4, 1]


@pytest.mark.parametrize(
    ("code", "text"),
    [(errno.ENOSPC, "no room left on the disk of"), (errno.EDQUOT, "quota of"), (errno.EROFS, "read-only file system")],
)
@pytest.mark.parametrize("tool", [sample, edit, spectrum], ids=lambda tool: tool.__name__.split(".")[-1])
def test_a_full_disk_names_the_place_and_the_flag(classes_model, tmp_path, monkeypatch, capsys, tool, code, text):
    def save(path, pixels):
        raise OSError(code, "what the system says")

    monkeypatch.setattr(images, "save_png", save)
    out = tmp_path / "out"
    assert tool.main([f"--model={classes_model}", "--class=0", *ALL[tool], f"--out={out}"]) == 2
    line = one_line(capsys)
    assert text in line and str(out) in line and line.endswith("choose another --out")


@pytest.fixture(scope="module")
def broken(classes_model):
    """Return a model of which one weight is NaN."""
    _, nets = read_model_folder(classes_model)
    g = jax.tree.map(np.array, nets["g_ema"])
    g["params"]["synthesis"]["b8"]["torgb"]["weight"][0] = np.nan
    return load_model(classes_model).replace(g_ema={k: v for k, v in g.items() if k != "w_avg"})


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.__name__.split(".")[-1])
def test_images_that_are_not_numbers_end_with_an_error(classes_model, broken, tmp_path, monkeypatch, capsys, tool):
    """They used to be black, with exit code 0."""
    monkeypatch.setattr("stylegan_jax.sampling.load.load_model", lambda *a, **k: broken)
    out = tmp_path / "out.gif"
    assert tool.main([f"--model={classes_model}", "--class=0", *ALL[tool], f"--out={out}"]) == 2
    line = one_line(capsys)
    assert "images are not finite (NaN or infinity): the model's weights are not finite" in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("tool", "more", "text"),
    [
        (sample, ["--psi=1e39"], "psi is 1e+39"),
        (sample, ["--psi=nan"], "psi is nan"),
        (truncation, ["--psis=0,1e39"], "--psis=0,1e39: write numbers"),
        (edit, ["--strengths=1e300"], "--strengths=1e300: write numbers"),
        (edit, ["--strengths=3.4e38", "--method=file", "--directions=long.npy"], "--strengths=3.4e38: "),
    ],
)
def test_numbers_without_end(classes_model, tmp_path, monkeypatch, capsys, tool, more, text):
    monkeypatch.chdir(tmp_path)
    np.save("long.npy", np.full(16, 1e3))
    assert tool.main([f"--model={classes_model}", "--class=0", "--seeds=0", *more, "--out=x"]) == 2
    assert text in one_line(capsys)


def test_a_call_that_failed_does_not_claim_the_folder(classes_model, tmp_path, capsys):
    options = [f"--model={classes_model}", "--class=0", "--seeds=0", f"--out={tmp_path / 'x'}"]
    assert sample.main([*options, "--psi=nan"]) == 2
    assert sample.main([*options, "--psi=0.5"]) == 0
    assert sample.main([*options, "--psi=0.7"]) == 2
    assert "holds results made with other arguments" in capsys.readouterr().err
    assert json.loads((tmp_path / "x" / "sample.json").read_text())["arguments"]["psi"] == 0.5


@pytest.mark.parametrize(
    ("tool", "flag"),
    [
        (sample, "--psi"),
        (sample, "--batch"),
        (sample, "--rotate"),
        (video, "--fps"),
        (video, "--frames"),
        (edit, "--count"),
    ],
)
@pytest.mark.parametrize("value", ["²", "٣", "1_0", "x", ""])
def test_numbers_of_other_alphabets_are_named_with_their_flag(capsys, tool, flag, value):
    with pytest.raises(SystemExit) as ended:
        tool.main(["--model=m", "--out=o", f"{flag}={value}"])
    assert ended.value.code == 2
    line = one_line(capsys)
    assert flag in line and "not a" in line and "invalid" not in line


@pytest.mark.parametrize(
    ("tool", "flag"),
    [
        (sample, "--seeds"),
        (sample, "--class"),
        (style_mix, "--rows"),
        (video, "--grid"),
        (edit, "--layers"),
        (edit, "--strengths"),
        (truncation, "--psis"),
    ],
)
@pytest.mark.parametrize("value", ["²", "٣", "9" * 5000])
def test_lists_of_numbers_too(classes_model, tmp_path, capsys, tool, flag, value):
    label = [] if flag == "--class" else ["--class=0"]
    value += "x1" if flag == "--grid" else ""
    assert tool.main([f"--model={classes_model}", *label, f"{flag}={value}", f"--out={tmp_path / 'o.gif'}"]) == 2
    line = one_line(capsys)
    assert line.startswith(flag) and "invalid literal" not in line and "Exceeds the limit" not in line


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--mean=1e300", "--std=1"], "--mean=1e+300 --std=1.0: float32 cannot represent them"),
        (["--mean=0", "--std=1e-320"], "float32 cannot represent them"),
        (["--beta=1e300"], "--beta=1e+300 must be at most 500"),
        (["--mean=1e30", "--std=1e-30"], "the spectrum of model is not finite with mean 1e+30"),
        (["--pad=1000000000000"], "out of memory"),
        (["--smooth=1e300"], "out of memory"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_spectrum_that_is_no_number_is_an_error(classes_model, tmp_path, capsys, more, text):
    options = [f"--model={classes_model}", "--class=0", "--num=1", *more, f"--out={tmp_path / 'x'}"]
    assert spectrum.main(options) == 2
    assert text in one_line(capsys)
