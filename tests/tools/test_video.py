"""Videos: what the frames show, on a toy that is equivariant by construction and on a real model, and the files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import common
from stylegan_jax import models
from stylegan_jax.base import images
from stylegan_jax.config import model_from_dict
from stylegan_jax.models.gan import draw_z, make_spec
from stylegan_jax.sampling import model as trained, paths
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.tools import _inputs as inputs, _video_file as video_file, sample, video

H, W = 12, 16
ROOT = Path(__file__).resolve().parents[2]
CONFIG = common.get_config().model.to_dict()
traced: list[tuple[int, ...]] = []


def synthesize(variables, ws, inputs, *, noise="const", key=None):
    """Draw plane waves that the styles choose, where the transform says."""
    traced.append(ws.shape)
    x, y = (np.arange(W) + 0.5 - W / 2) / H, (np.arange(H) + 0.5 - H / 2) / H
    points = np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones((H, W))], axis=-1).astype(np.float32)
    transform = jnp.broadcast_to(variables["buffers"]["transform"], (len(ws), 3, 3))
    at = jnp.einsum("hwj,nij->nhwi", points, transform, precision="highest")[..., :2]
    freqs = ws[:, 0].reshape(-1, 3, 2)
    turns = jnp.einsum("nhwi,nci->nhwc", at, freqs, precision="highest") + ws[:, 1, None, None, :3]
    return {"image": 0.9 * jnp.sin(2 * jnp.pi * turns)}, {}


def with_transform(variables, transform):
    return models.merge(variables, {"buffers": {"transform": jnp.asarray(transform)}})


SPEC = make_spec((H, W, 3), 6, 2, 6)
NONE = lambda *_: {}
MAP = lambda variables, inputs, cond: jnp.stack([inputs["z"], 0.3 * inputs["z"]], axis=1)
GAN = models.Gan(SPEC, NONE, NONE, draw_z(SPEC), MAP, synthesize, NONE, with_transform=with_transform)
TOY = LoadedModel(
    model_from_dict(CONFIG), GAN, {"buffers": {"transform": np.eye(3)}}, np.zeros(6, np.float32), None, None, {}
)


def forget():
    """Let the next images be traced, whatever was drawn before."""
    trained._drawer.cache_clear()
    traced.clear()


def draw(*options: str, model: LoadedModel = TOY) -> np.ndarray:
    args = video.parser().parse_args(["--model=x", "--out=y", *options])
    return np.stack(list(video.frames(model, inputs.parse_seeds(args.seeds), args))).astype(int)


def test_translating_by_whole_pixels_moves_the_picture():
    (still,) = draw("--path=rotate", "--seeds=3", "--frames=1")
    right, down, left, up = draw("--path=translate", "--seeds=3", "--frames=4", f"--radius={2 / H}")
    assert still.std() > 30
    for moved, (dy, dx) in ((right, (0, 2)), (down, (2, 0)), (left, (0, -2)), (up, (-2, 0))):
        inside = slice(3, -3)
        want = np.roll(still, (dy, dx), axis=(0, 1))[inside, inside]
        assert np.abs(moved[inside, inside] - want).max() <= 1
        assert np.abs(moved - still).max() > 20


def test_rotating_turns_counter_clockwise_seed_after_seed():
    quarter = draw("--path=rotate", "--seeds=3,5", "--frames=4")
    assert quarter.shape == (8, H, W, 3)
    square = quarter[:, :, (W - H) // 2 : (W + H) // 2]
    for i in range(8):
        assert np.abs(square[i] - np.rot90(square[i // 4 * 4], i % 4)).max() <= 1
    assert np.abs(square[0] - square[4]).max() > 50


@pytest.mark.parametrize("space", ["w", "z"])
def test_latent_paths_pass_through_the_seeds_and_close(space):
    frames = draw("--seeds=1,7,4", "--frames=12", f"--space={space}")
    assert len(frames) == 36
    stills = draw("--path=rotate", "--seeds=1,7,4", "--frames=1")
    assert np.abs(frames[::12] - stills).max() <= 1
    steps = np.abs(np.roll(frames, -1, axis=0) - frames).mean(axis=(1, 2, 3))  # the last one closes the loop
    apart = np.abs(np.roll(stills, -1, axis=0) - stills).mean(axis=(1, 2, 3))
    assert steps.min() > 0 and steps.max() < apart.min() / 2
    np.testing.assert_array_equal(*draw("--seeds=1,7", "--frames=1", "--psi=0", f"--space={space}"))


def test_slerp_keeps_the_length_and_the_speed_and_stands_repeated_seeds():
    z = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]], np.float32)
    points = paths.slerp(z, np.array([0, 1 / 3, 1, 1.5]))
    want = [[1, 0, 0], [np.cos(np.pi / 6), np.sin(np.pi / 6), 0], [0, 1, 0], [0, 1, 0]]
    np.testing.assert_allclose(points, want, atol=1e-6)


def test_chunks_are_of_one_size_and_change_nothing():
    forget()
    whole = draw("--path=translate", "--seeds=2,9", "--frames=5", "--batch=16")
    assert traced == [(16, 2, 6)]
    forget()
    parts = draw("--path=translate", "--seeds=2,9", "--frames=5", "--batch=4")
    assert traced == [(4, 2, 6)]  # one program
    assert np.abs(whole - parts).max() <= 1


def test_a_grid_deals_the_seeds_to_its_cells():
    forget()
    frames = draw("--seeds=1-6", "--grid=1x3", "--frames=2", "--path=rotate")
    assert len(traced) == 1  # one program for all cells
    assert frames.shape == (4, 3 * H, W, 3)
    for i in range(3):
        alone = draw(f"--seeds={2 * i + 1},{2 * i + 2}", "--frames=2", "--path=rotate")
        np.testing.assert_array_equal(frames[:, i * H : (i + 1) * H], alone)


def test_labels_blend_along_the_path():
    labels = np.eye(3, dtype=np.float32)
    np.testing.assert_allclose(
        paths.blend(labels, np.array([0.0, 0.25, 2.5])), [[1, 0, 0], [0.75, 0.25, 0], [0.5, 0, 0.5]]
    )


def test_a_loop_in_python():
    frames = list(paths.loop(TOY, [1, 7], frames=3, path="rotate", chunk=4))
    np.testing.assert_array_equal(frames, draw("--seeds=1,7", "--frames=3", "--path=rotate", "--batch=4"))
    ws = TOY.map([1, 7])
    turned = TOY.synthesize(ws, transform=paths.transforms("rotate", np.array([0, 1 / 3]), 0, W / H))
    np.testing.assert_array_equal(images.to_pixels(turned)[0], frames[0])
    for options, text in (
        ({"path": "walk"}, "path is 'walk'; known: latent, translate, rotate"),
        ({"space": "x"}, "space is 'x'; known: w, z"),
        ({"frames": 0}, "frames=0 must be at least 1"),
    ):
        with pytest.raises(ValueError, match=text):
            paths.loop(TOY, [1, 7], **options)


def test_a_single_picture_moves_the_same_way():
    args = sample.parser().parse_args(["--model=x", "--out=y", "--translate=0.125,-0.25"])
    (still,) = TOY.sample([3]).astype(int)
    (moved,) = sample.move_canvas(TOY, args).sample([3]).astype(int)
    assert np.abs(moved[:-3, 2:] - still[3:, :-2]).max() <= 1  # two pixels right, three up
    args = sample.parser().parse_args(["--model=x", "--out=y", "--translate=0.0625,0", "--rotate=90"])
    (turned,) = sample.move_canvas(TOY, args).sample([3]).astype(int)
    want = np.rot90(still[:, (W - H) // 2 : (W + H) // 2])  # turned first, then moved
    assert np.abs(turned[:, (W - H) // 2 + 1 : (W + H) // 2 + 1] - want).max() <= 1
    assert sample.move_canvas(TOY, sample.parser().parse_args(["--model=x", "--out=y"])) is TOY


def test_the_command_on_a_real_model(real, tmp_path, capsys):
    out = tmp_path / "circle.webp"
    options = [f"--model={real}", "--path=translate", "--seeds=0", "--frames=4", "--radius=0.125", "--class=1"]
    assert video.main([*options, f"--out={out}", "--fps=10", "--batch=4"]) == 0
    assert "4 frames, 0.4 s" in capsys.readouterr().out
    right, _, left, _ = read(out)[:, 2:-2].astype(float)  # two pixels right and two left of the centre
    same = np.square(right[:, 6:-2] - left[:, 2:-6]).mean() / right.var()
    other = np.square(right[:, 2:-6] - left[:, 6:-2]).mean() / right.var()
    assert same < 0.1 < 0.5 < other, (same, other, right.std())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["circle.webp", "circle.webp.json"]
    assert json.loads((tmp_path / "circle.webp.json").read_text())["arguments"]["radius"] == 0.125


def read(path: Path) -> np.ndarray:
    if path.suffix == ".mp4":
        import av

        with av.open(str(path)) as container:
            return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    with Image.open(path) as image:
        return np.stack([np.asarray((image.seek(i), image.convert("RGB"))[1]) for i in range(image.n_frames)])


def moving(count: int, h: int, w: int, c: int) -> np.ndarray:
    """Return smooth frames uint8[count, h, w, c] that brighten."""
    y, x, t = np.mgrid[:h, :w, :count].transpose(0, 3, 1, 2) * np.array([3, 5, 20])[:, None, None, None]
    frames = np.stack([40 + y + t, 200 - x - t, 90 + x, np.full_like(x, 255)], axis=-1)
    return frames[..., :c].astype(np.uint8)


@pytest.mark.parametrize(("ending", "tolerance"), [(".mp4", 9), (".webp", 9), (".gif", 14)])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_hold_the_frames(tmp_path, ending, tolerance, channels):
    frames, path = moving(5, 20, 18, channels), tmp_path / f"a{ending}"
    assert video_file.write(path, iter(frames), 25) == 5
    got = read(path).astype(int)
    assert got.shape == (5, 20, 18, 3)
    want = np.broadcast_to(frames, got.shape)
    assert np.abs(got - want).mean() < tolerance / 3 and np.abs(got - want).max() <= 3 * tolerance
    assert np.argmin(np.abs(got[:, None] - want[None]).mean(axis=(2, 3, 4)), axis=1).tolist() == [0, 1, 2, 3, 4]


def test_h264_plays_everywhere(tmp_path):
    import av

    path = tmp_path / "odd.mp4"
    video_file.write(path, iter(moving(6, 15, 13, 3)), 29.97)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (14, 16)  # even, by repeating the last column and row
        assert float(stream.average_rate) == pytest.approx(29.97, abs=1e-3)


def test_transparency_becomes_white():
    frame = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    np.testing.assert_array_equal(video_file.to_rgb(frame), [[[10, 20, 30], [255, 255, 255]]])
    with pytest.raises(ValueError, match="draws 2 channels"):
        video_file.to_rgb(frame[..., :2])


def test_a_failure_leaves_no_file(tmp_path):
    def broken():
        yield from moving(2, 8, 8, 3)
        raise RuntimeError("out of memory")

    for ending in (".gif", ".mp4"):
        with pytest.raises(RuntimeError):
            video_file.write(tmp_path / f"a{ending}", broken(), 25)
    assert not list(tmp_path.iterdir())


def test_without_pyav_webp_is_written_and_mp4_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(video_file.importlib.util, "find_spec", lambda name: None)
    assert video_file.choose(tmp_path / "a", 30) == tmp_path / "a.webp"
    with pytest.raises(ValueError, match=r"a.mp4 needs PyAV: pip install 'stylegan_jax\[video\]'; or write .webp"):
        video_file.choose(tmp_path / "a.mp4", 30)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--frames=0"], "--frames=0 must be at least 1"),
        (["--class=0,1,1,0,1"], "--class=0,1,1,0,1: 5 classes for 4 seeds per cell"),
        (["--batch=0"], "--batch=0 must be at least 1"),
        (["--seeds=3"], "--seeds=3 is one seed per cell; --path=latent goes from seed to seed"),
        (["--seeds=3-1"], "the range '3-1' runs backwards; write 1-3"),
        (["--seeds=a"], "'a' is not a seed or a range"),
        (["--seeds=4294967296"], "too large"),
        (["--grid=3"], "--grid=3: write COLUMNSxROWS, such as 3x2"),
        (["--grid=3x2"], "--grid=3x2 has 6 cells; 4 seeds do not divide evenly"),
        (["--grid=4x1"], "--seeds=0-3 is one seed per cell"),
        (["--class=0,1,1,0,1"], "--class=0,1,1,0,1: 5 classes for 4 seeds per cell"),
        (["--batch=0"], "--batch=0 must be at least 1"),
        (["--styles=w.npz", "--class=1"], "--class=1 has no effect with --styles; leave it out"),
        (["--styles=w.npz", "--cutoff=1"], "--cutoff=1 has no effect with --styles"),
        (["--fps=0"], "--fps=0: .webp allows more than 0 and at most 240"),
        (["--fps=60", "--out=x.gif"], "--fps=60: .gif allows more than 0 and at most 50"),
        (["--radius=nan", "--path=translate"], "--radius=nan: write a number"),
        (["--out=x.avi"], "the ending '.avi' is not known; use one of .mp4, .webp, .gif"),
        (["--out=nowhere/x.webp"], "pass a file in a folder that exists"),
        (["--class=2"], "this model has the classes 0 to 1"),
        (["--model=nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_are_answered_by_one_line(real, tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    np.savez("w.npz", w=np.zeros((4, 4), np.float32))
    assert video.main([f"--model={real}", "--out=x.webp", *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and words in line


def test_what_cannot_move_says_so():
    fixed = TOY.replace(gan=GAN._replace(with_transform=None))
    assert len(draw("--seeds=1,2", "--frames=1", model=fixed)) == 2
    with pytest.raises(ValueError, match="--path=rotate: arch 'stylegan2' cannot translate or rotate its output"):
        draw("--path=rotate", "--seeds=1", model=fixed)
    for bad in ("1", "1,a", "inf,0", "1,2,3"):
        args = sample.parser().parse_args(["--model=x", "--out=y", f"--translate={bad}"])
        with pytest.raises(ValueError, match=f"--translate={bad}: write two numbers"):
            sample.move_canvas(TOY, args)


@pytest.mark.parametrize("tool", ["video", "sample", "project", "pti", "spectrum", "export", "edit"])
def test_help_imports_nothing_heavy(tool):
    command = [sys.executable, "-X", "importtime", "-m", f"stylegan_jax.tools.{tool}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "--out" in done.stdout
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "numpy" in imported and not imported & {"jax", "tensorflow", "av", "PIL", "scipy"}
