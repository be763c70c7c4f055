"""Videos of any length: a frame depends on its seeds, label and time alone; content and motion apart; memory."""

from __future__ import annotations

import gc
import math
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import moving
import numpy as np
import pytest

from stylegan_jax import load_model
from stylegan_jax.base import images
from stylegan_jax.config.arch.stylegan_v import motion_rows
from stylegan_jax.models.stylegan_v import draw_motion
from stylegan_jax.sampling import drawing, model as trained, paths, projector, tuner
from stylegan_jax.sampling.model import LoadedModel


@pytest.fixture(scope="module")
def model(clips_model):
    return load_model(clips_model)


@pytest.fixture(scope="module")
def labelled(labelled_clips_model):
    return load_model(labelled_clips_model)


def draw(model: LoadedModel, *args, **options) -> np.ndarray:
    """Return int[n, t, h, w, c]."""
    return np.stack(list(model.video(*args, **options)), axis=1).astype(int)


@pytest.fixture(scope="module")
def whole(model):
    """Return 30 frames, beyond the 20 of training, of two seeds."""
    return draw(model, [3, 4], 30)


def test_a_frame_is_the_same_in_any_length_chunks_and_company(model, whole):
    assert whole.shape == (2, 30, moving.SIZE, moving.SIZE, 3)
    assert np.abs(np.diff(whole, axis=1)).max(axis=(2, 3, 4)).min() > 3, "something stands still"
    np.testing.assert_array_equal(draw(model, [4], 7), whole[1:, :7])
    np.testing.assert_array_equal(draw(model, [9, 3, 4], 5, start=20)[1:], whole[:, 20:25])
    for chunk in (1, 5):
        assert np.abs(draw(model, [3, 4], 30, chunk=chunk) - whole).max() <= 1


def test_frames_are_those_of_noise_that_is_laid_out_from_the_start(model, whole):
    own = model.config.stylegan_v
    motion_key = jax.random.fold_in(jax.random.split(trained.seed_key(4), 3)[1], 0)
    rows = draw_motion(motion_key, jnp.arange(motion_rows(own, 29)), own.motion_z_dim)
    inputs = {"motion": rows[None], "times": jnp.arange(30.0)[None]}
    image = jax.jit(lambda ws: drawing.draw(model.gan, model.g_ema, ws, inputs))(model.map([4]))
    assert np.abs(images.to_pixels(np.asarray(image[0])) - whole[1]).max() <= 1


def test_clips_and_stills_of_a_seed_are_frames_of_its_video(model, whole):
    inputs = model.draw_inputs([3, 4])
    clips = model.sample(inputs).astype(int)
    for clip, times, seed in zip(clips, inputs["times"], (3, 4), strict=True):
        assert np.any(times % 1 > 0)
        for picture, time in zip(clip, times, strict=True):
            assert np.abs(draw(model, [seed], 1, start=float(time))[0, 0] - picture).max() <= 1
    still = model.still(5)
    assert still.gan.spec.sample == {"image": (moving.SIZE, moving.SIZE, 3)}
    assert np.abs(still.sample([3, 4]) - whole[:, 5]).max() <= 1
    of_one = model.still(5, motion_seed=3)
    assert list(of_one.gan.spec.inputs) == ["z"]
    np.testing.assert_array_equal(of_one.synthesize(model.map([3, 4])), of_one.synthesize(of_one.map([3, 4])))
    shown = of_one.sample([3, 4])
    assert np.abs(shown[0] - whole[0, 5]).max() <= 1 < np.abs(shown[1] - whole[1, 5]).max()
    with pytest.raises(ValueError, match="the discriminator of a model of videos sees clips"):
        still.gan.discriminate({}, {}, {}, None)


def test_times_between_those_of_the_data(model, whole):
    slow = draw(model, [3, 4], 21, speed=0.5)
    np.testing.assert_array_equal(slow[:, ::2], whole[:, :11])
    between = slow[:, 1::2]
    assert min(np.abs(between - whole[:, i : i + 10]).max(axis=(2, 3, 4)).min() for i in (0, 1)) > 1
    halves, wholes = (np.abs(np.diff(x, axis=1)).mean(axis=(1, 2, 3, 4)) for x in (slow, whole[:, :11]))
    assert np.all(halves < 0.8 * wholes), "steps of half the time are no smaller"
    np.testing.assert_array_equal(draw(model, [3, 4], 21, fps=24), slow)
    np.testing.assert_array_equal(draw(model, [3, 4], 10, fps=6.0, speed=0.5, start=2), whole[:, 2:12])


def test_content_and_motion_are_apart(model, whole):
    np.testing.assert_array_equal(draw(model, [3, 4], 5, motion_seeds=[3, 4]), whole[:, :5])
    grid = draw(model, [3, 4, 3, 4], 5, motion_seeds=[7, 7, 8, 8])
    np.testing.assert_array_equal(draw(model, [4], 5, motion_seeds=8), grid[3:])
    differ = lambda a, b: np.abs(a - b).max() > 10
    assert differ(grid[0], grid[1]) and differ(grid[0], grid[2]) and differ(grid[1], whole[1, :5])
    ws = model.map([3, 4])
    np.testing.assert_array_equal(draw(model, styles=ws, frames=5, motion_seeds=7), grid[:2])
    np.testing.assert_array_equal(draw(model, trained.latents([3, 4], 6), 5), draw(model, [3, 4], 5, motion_seeds=0))


def test_truncation_moves_the_content_and_leaves_the_motion(model, whole):
    none = draw(model, [3, 4], 5, psi=0.0, motion_seeds=7)
    np.testing.assert_array_equal(none[0], none[1])
    np.testing.assert_array_equal(none[0], draw(model, styles=model.w_avg[None], frames=5, motion_seeds=7)[0])
    assert np.abs(np.diff(none[0], axis=0)).max() > 3
    own = draw(model, [3, 4], 5, psi=0.0)
    assert np.abs(own[0] - own[1]).max() > 3


def test_labels_reach_content_and_motion(labelled):
    each = draw(labelled, [3, 3], 5, label=[0, 1])
    np.testing.assert_array_equal(draw(labelled, [3], 5, label=1), each[1:])
    assert np.abs(each[0] - each[1]).max() > 10
    ws = labelled.map([3], 0)
    moves = draw(labelled, styles=np.repeat(ws, 2, axis=0), frames=5, label=[0, 1])
    assert np.abs(moves[0] - moves[1]).max() > 3
    shown = labelled.still(2, motion_seed=3).sample([3, 3], label=[0, 1])
    assert np.abs(shown - each[:, 2]).max() <= 1
    shown = labelled.still(2, motion_seed=3, label=1).synthesize(labelled.map([3], 1))
    assert np.abs(images.to_pixels(shown)[0] - each[1, 2]).max() <= 1
    with pytest.raises(ValueError, match="this model is class-conditional; pass label"):
        labelled.video([3], 2)
    with pytest.raises(ValueError, match="inputs lack label"):
        labelled.still(2, motion_seed=3).synthesize(ws)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"start": -1}, "start=-1 must be a number from 0, the time of a video's first frame"),
        ({"start": math.nan}, "start=nan must be a number from 0"),
        ({"frames": 0}, "frames=0 must be a whole number from 1"),
        ({"frames": 2.5}, "frames=2.5 must be a whole number from 1"),
        ({"speed": 0}, "speed=0 must be a number above 0"),
        ({"speed": -1}, "speed=-1 must be a number above 0"),
        ({"fps": math.inf}, "fps=inf must be a number above 0"),
        ({"motion_seeds": -1}, "motion_seeds=-1: pass an integer from 0 to 4294967295 for all 2 videos, or one each"),
        ({"motion_seeds": [1, 2, 3]}, r"motion_seeds=\[1, 2, 3\]: pass an integer"),
        ({"start": None}, "start=None must be a number from 0"),
        ({"frames": "2"}, "frames=2 must be a whole number from 1"),
        ({"motion_seeds": 0.5}, "motion_seeds=0.5: pass an integer"),
        ({"chunk": 0}, "0 images per call; it must be at least 1"),
        ({"start": 1e8}, "at time 1e\\+08, where float32 cannot represent steps of 1"),
        ({"start": 1e6, "speed": 1e-3}, "cannot represent steps of 0.001; lower start or frames, or raise the speed"),
        ({"label": 1}, "this model has no labels"),
        ({"psi": math.nan}, "psi is nan"),
        ({"seeds": [-1]}, "latents of shape"),
        ({"styles": np.zeros((1, 3))}, "styles of shape"),
    ],
)
def test_values_that_do_not_fit_raise_before_anything_is_drawn(model, options, text):
    with pytest.raises(ValueError, match=text):
        model.video(**{"seeds": [3, 4], "frames": 5} | options)


def test_other_models_and_negative_times(model, folder):
    still = load_model(folder)
    for call in (lambda: still.video([1]), lambda: still.still(0)):
        with pytest.raises(ValueError, match="arch 'stylegan2' draws images, which have no time; use a model that was"):
            call()
    with pytest.raises(ValueError, match=r"draws the frames of one time.*use the model that still\(\) was called on"):
        model.still(1).video([1])
    inputs = model.draw_inputs([3])
    with pytest.raises(ValueError, match="inputs have the time -3; times are frames, starting at 0"):
        model.synthesize(model.map([3]), inputs | {"times": np.array([[0, 1, -3]])})
    with pytest.raises(ValueError, match="time=-1 must be a number from 0"):
        model.still(-1)
    for call in (
        lambda: paths.loop(model, [1, 2]),
        lambda: projector.project(model, np.zeros((1, 16, 16, 3), np.uint8)),
        lambda: tuner.tune(model, np.zeros((16, 16, 3), np.uint8), model.map([1])[0]),
    ):
        with pytest.raises(ValueError, match=r"besides styles; for a video model pass model.still\(time, motion_se"):
            call()
    unknown = model.replace(provenance={})
    assert (model.fps, unknown.fps) == (moving.FPS, None)
    with pytest.raises(ValueError, match="the frame rate of this model's data is unknown; leave it out"):
        unknown.video([1], fps=24)


def resident() -> float:
    """Return the memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def grown(model: LoadedModel, first: int, last: int) -> float:
    """Return by how many MB memory grows from frame `first` of a video to frame `last`."""
    before = 0.0
    for i, _ in enumerate(model.video([3], last, chunk=8)):
        if i == first:
            gc.collect()
            before = resident()
    gc.collect()
    return resident() - before


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory where Linux says it")
def test_a_long_video_takes_no_more_memory(model):
    assert grown(model, 400, 2000) < 15


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory where Linux says it")
def test_ten_thousand_frames_take_the_memory_of_a_thousand(tmp_path):
    moving.write(tmp_path / "model", resolution=32)
    model = load_model(tmp_path / "model")
    assert model.gan.spec.image_shape == (32, 32, 3)
    assert grown(model, 1000, 10_000) < 100
