"""Models that draw more than z, hold more than parameters and buffers, or have a mean style per class."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import toy

from stylegan_jax.base.trees import flatten
from stylegan_jax.config import ConfigError
from stylegan_jax.sampling import drawing, model as trained, programs
from stylegan_jax.sampling.model import LoadedModel

CLIP = (toy.FRAMES, *toy.SHAPE)


def load(name: str) -> LoadedModel:
    """Return a toy with random weights, and one more collection of variables."""
    gan = toy.TOYS[name]
    frozen = {key: toy.LOADERS[key]().tree for key in gan.spec.frozen}
    g = jax.device_get(jax.jit(gan.init_g)(toy.KEY, frozen)) | {"batch_stats": {"synthesis": {"mean": np.ones(3)}}}
    w_avg = np.random.default_rng(0).standard_normal(gan.spec.w_avg).astype(np.float32)
    model = toy.make_config().model
    return LoadedModel(model, gan, g, w_avg, None, None, {}, "classes" if gan.spec.label_dim else "")


@pytest.fixture(scope="module")
def clips():
    return load("clips")


@pytest.fixture(scope="module")
def projected():
    return load("projected")


def test_inputs_belong_to_their_seed(clips):
    inputs = clips.draw_inputs([3, 4, 5], chunk=2)
    assert {name: x.shape for name, x in inputs.items()} == {"z": (3, 16), "motion": (3, 4), "times": (3, toy.FRAMES)}
    np.testing.assert_array_equal(inputs["z"], trained.latents([3, 4, 5], 16))
    again = clips.draw_inputs([5, 3], chunk=8)
    for name, x in inputs.items():
        np.testing.assert_array_equal(x[[2, 0]], again[name])
    assert (np.diff(inputs["times"]) >= 0).all() and (inputs["motion"][0] != inputs["motion"][1]).all()
    assert list(load("plain").draw_inputs([1])) == ["z"]


def test_clips_are_sampled(clips):
    pixels = clips.sample([3, 4, 5], psi=0.5, chunk=2)
    assert pixels.shape == (3, *CLIP) and pixels.dtype == np.uint8
    inputs = clips.draw_inputs([3, 4, 5])
    np.testing.assert_array_equal(clips.sample(inputs, psi=0.5), pixels)
    ws = clips.map([3, 4, 5], psi=0.5)
    np.testing.assert_array_equal(ws, clips.map(inputs["z"], psi=0.5))
    image = drawing.draw(clips.gan, clips.g_ema, ws, inputs)
    np.testing.assert_allclose(clips.synthesize(ws, inputs, chunk=2), image, atol=1e-6)
    still = inputs | {"times": np.repeat(inputs["times"][:, :1], toy.FRAMES, axis=1)}
    frames = clips.synthesize(ws, still)
    np.testing.assert_array_equal(frames[:, 0], frames[:, 1])
    assert np.abs(np.diff(image, axis=1)).max() > 0.01


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: m.synthesize(m.map([1])), r"inputs lack motion, which 1 images need as \[1, 4\]; see LoadedModel"),
        (lambda m: m.synthesize(m.map([1, 2]), m.draw_inputs([1])), r"inputs have motion of shape \(1, 4\), which 2"),
        (lambda m: m.sample(np.zeros((2, 16))), "inputs lack motion"),
        (lambda m: m.map({"motion": np.zeros((1, 4))}), r"motion of shape \(1, 4\); this model takes z \[n, 16\], mot"),
        (lambda m: m.map({}), "inputs are empty; this model takes z"),
        (lambda m: m.map({"z": np.zeros((1, 16)), "zoom": np.zeros(1)}), r"inputs have zoom of shape \(1,\)"),
        (lambda m: m.draw_inputs(np.zeros((2, 16))), r"seeds of shape \(2, 16\) and type float64; pass integers"),
    ],
)
def test_inputs_that_do_not_fit(clips, call, text):
    with pytest.raises(ValueError, match=text):
        call(clips)


def test_programs_take_z_alone(clips):
    with pytest.raises(ConfigError, match="this model draws motion, times besides z"):
        programs.functions(clips.gan, "const")


def test_every_class_has_its_mean_style(projected):
    centre = np.repeat(projected.w_avg[[1, 0, 1]][:, None], 2, axis=1)
    np.testing.assert_allclose(projected.map([1, 2, 3], [1, 0, 1], psi=0.0, chunk=2), centre, rtol=1e-6)
    whole = projected.map([1, 2, 3], [1, 0, 1])
    half = projected.map([1, 2, 3], [1, 0, 1], psi=0.5)
    np.testing.assert_allclose(half, centre + 0.5 * (whole - centre), rtol=1e-5, atol=1e-6)
    pixels = projected.sample([1, 1], psi=0.5, label=[0, 1])
    assert pixels.shape == (2, *toy.SHAPE) and (pixels[0] != pixels[1]).any()


def test_programs_read_all_collections(projected):
    flat = flatten({"g_ema": {**projected.g_ema, "w_avg": projected.w_avg}})
    found = programs.functions(projected.gan, "const")
    own = {name: {key for key in flat if function.reads(key)} for name, function in found.items()}
    assert own["sample"] == flat.keys()
    assert flat.keys() - own["map"] == {"g_ema/params/synthesis/b8/weight", "g_ema/batch_stats/synthesis/mean"}
    assert flat.keys() - own["synthesize"] == {"g_ema/params/mapping/fc0/weight", "g_ema/w_avg"}
    weights = {key: np.asarray(x, np.float32) for key, x in flat.items()}
    z, cond = trained.latents([1, 2], 16), np.eye(2, dtype=np.float32)
    program = programs.export_function(found["sample"], weights, "cpu")
    pixels = program.call(weights, z, cond, np.full(2, 0.5, np.float32))
    np.testing.assert_allclose(np.asarray(pixels, int), projected.sample([1, 2], psi=0.5, label=[0, 1]), atol=1)
