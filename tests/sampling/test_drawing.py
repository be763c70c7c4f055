"""Map, truncate, draw, quantise: one place, on NumPy and JAX, and nothing is compiled a second time."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import tiny
from stylegan_jax import load_model, models
from stylegan_jax.base import images
from stylegan_jax.config import from_dict
from stylegan_jax.convert.folder import write_model_folder
from stylegan_jax.models.gan import centre_per_class, move_centre_per_class
from stylegan_jax.sampling import drawing
from stylegan_jax.sampling.model import LoadedModel

PACKAGE = Path(__file__).parents[2] / "stylegan_jax"


@pytest.fixture(scope="module")
def parts():
    """(config, gan, variables, w_avg, z, cond) of a small random generator with labels."""
    tree = tiny.get_config()
    tree.model.update({"label_dim": 3, "compute_dtype": "float32"})
    config, rng = from_dict(tree).model, np.random.default_rng(0)
    gan = models.build(config)
    g = jax.device_get(jax.jit(gan.init_g)(jax.random.key(1)))
    w_avg = rng.standard_normal(config.w_dim).astype(np.float32)
    z, cond = rng.standard_normal((2, gan.spec.z_dim)).astype(np.float32), np.eye(3, dtype=np.float32)[:2]
    return config, gan, g, w_avg, z, cond


def test_styles_are_mapped_and_truncated(parts):
    _, gan, g, w_avg, z, cond = parts
    ws = gan.map_latents(g, {"z": z}, cond)
    for inputs in (z, {"z": z}):
        np.testing.assert_array_equal(drawing.map_styles(gan, g, None, inputs, cond), ws)
    half = drawing.map_styles(gan, g, w_avg, z, cond, 0.5, 1)
    np.testing.assert_allclose(half[:, :1], w_avg + (ws[:, :1] - w_avg) * 0.5, atol=1e-6)
    np.testing.assert_array_equal(half[:, 1:], ws[:, 1:])
    per_slot = np.where(np.arange(gan.spec.num_ws) < 1, np.float32(0.5), np.float32(1))[None, :, None]
    np.testing.assert_allclose(drawing.map_styles(gan, g, w_avg, z, cond, per_slot), half, atol=1e-6)


@pytest.fixture(scope="module")
def per_class(parts):
    """(gan, variables, w_avg float[3, w], z float[7, z], cond float[7, 3], its styles) with a mean style per class."""
    gan, g, rng = parts[1], parts[2], np.random.default_rng(5)
    gan = gan._replace(
        spec=gan.spec._replace(w_avg=(3, gan.spec.w_dim)), centre=centre_per_class, move_centre=move_centre_per_class
    )
    w_avg = 10 * rng.standard_normal(gan.spec.w_avg).astype(np.float32)
    z, cond = rng.standard_normal((7, gan.spec.z_dim)), np.eye(3)[[2, 0, 0, 1, 2, 0, 1]]
    return gan, g, w_avg, z.astype(np.float32), cond.astype(np.float32), np.array([2, 0, 0, 1, 2, 0, 1])


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_every_row_is_truncated_to_the_mean_of_its_class(per_class, chunk):
    """In chunks of any size: of as many rows as classes, the table has the shape of one mean per row."""
    gan, g, w_avg, z, cond, classes = per_class
    for start in range(0, len(z), chunk):
        part = slice(start, start + chunk)
        own, ws = w_avg[classes[part]][:, None], gan.map_latents(g, {"z": z[part]}, cond[part])
        means = drawing.map_styles(gan, g, w_avg, z[part], cond[part], 0.0)
        np.testing.assert_allclose(means, np.repeat(own, gan.spec.num_ws, axis=1), rtol=1e-6)
        half = drawing.map_styles(gan, g, w_avg, z[part], cond[part], 0.5, 2)
        np.testing.assert_allclose(half[:, :2], own + (ws[:, :2] - own) * 0.5, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(half[:, 2:], ws[:, 2:])


def test_a_loaded_model_truncates_per_class_whatever_its_chunks(parts, per_class):
    config, (gan, g, w_avg, z, _, classes) = parts[0], per_class
    model = LoadedModel(config, gan, g, w_avg, None, None, {})
    want = np.repeat(w_avg[classes][:, None], gan.spec.num_ws, axis=1)
    for chunk in (2, 3, 8):
        np.testing.assert_allclose(model.map(z, classes, psi=0, chunk=chunk), want, rtol=1e-6)


def test_styles_are_truncated_to_the_nearest_centroid_and_float_labels_raise_an_error(parts, per_class):
    config, (gan, g, w_avg, z, _, classes) = parts[0], per_class
    model = LoadedModel(config, gan, g, w_avg, None, None, {})
    w = model.map(z, classes)[:, 0]
    table = np.concatenate([w[[4, 1]] + 0.01, w[[4]] + 1e3]).astype(np.float32)
    found = model.replace(centroids=table).map(z, classes, psi=0)[:, 0]
    want = np.square(w[:, None] - table).sum(axis=2).argmin(axis=1)
    np.testing.assert_allclose(found, table[want], rtol=1e-6)
    assert want[[4, 1]].tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"label=\[0.5, 0.0, 0.5\]: this architecture has a mean style per class"):
        model.map(z[:1], np.array([0.5, 0, 0.5]))


def test_only_the_means_of_classes_that_are_there_move(per_class):
    gan, _, w_avg, *_ = per_class
    w = np.random.default_rng(6).standard_normal((4, gan.spec.w_dim)).astype(np.float32)
    cond = np.eye(3, dtype=np.float32)[[2, 0, 2, 2]]
    moved = gan.move_centre(jnp.asarray(w_avg), jnp.asarray(w), jnp.asarray(cond), 0.75)
    np.testing.assert_allclose(moved[0], 0.75 * w_avg[0] + 0.25 * w[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(moved[1], w_avg[1])
    want = w_avg[2]
    for row in w[[0, 2, 3]]:
        want = 0.75 * want + 0.25 * row
    np.testing.assert_allclose(moved[2], want, rtol=1e-5, atol=1e-5)


def test_images_are_drawn_and_quantised(parts):
    _, gan, g, w_avg, z, cond = parts
    ws = drawing.map_styles(gan, g, w_avg, z, cond, 0.5)
    key = jax.random.key(0)
    image = drawing.draw(gan, g, ws, noise="random", key=key)
    of = lambda **options: gan.synthesize(g, ws, {}, **options)[0]["image"]
    np.testing.assert_array_equal(image, of(noise="random", key=key))
    np.testing.assert_array_equal(drawing.draw(gan, g, ws, key=key), of())  # the key is not read
    pixels = drawing.draw_pixels(gan, g, ws, noise="random", key=key)
    assert isinstance(pixels, jax.Array) and pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, images.to_pixels(np.asarray(image)))


def test_a_transform_reaches_the_variables(parts):
    _, gan, g, _, z, cond = parts
    moved = gan._replace(
        with_transform=lambda variables, transform: variables | {"by": transform},
        synthesize=lambda variables, ws, inputs, **noise: ({"image": (variables.get("by"), inputs)}, {}),
    )
    ws = drawing.map_styles(moved, g, None, z, cond)
    assert drawing.draw(moved, g, ws, transform=jnp.float32(3)) == (3, {})
    assert drawing.draw(moved, g, ws, {"times": 4}) == (None, {"times": 4})


@pytest.mark.parametrize("module", [np, jnp])
def test_pixels_to_images_and_back(module):
    pixels = module.arange(256, dtype=np.uint8)
    image = images.from_pixels(pixels)
    assert type(image) is type(pixels) and image.dtype == np.float32
    np.testing.assert_allclose(image, np.arange(256) / 127.5 - 1, atol=1e-7)
    np.testing.assert_array_equal(images.to_pixels(image), pixels)
    levels = images.to_levels(module.asarray([np.nan, -9, 9], dtype=np.float32))
    np.testing.assert_array_equal(levels, [np.nan, 0, 255])


@pytest.fixture
def compilations():
    """The names of the programs that are compiled while a test runs."""
    names, is_on = [], [True]

    def listen(event: str, _: float, *, fun_name: str = "", **__):
        if is_on and event.endswith("backend_compile_duration"):
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    is_on.clear()


def test_a_model_that_is_loaded_again_compiles_nothing(parts, compilations, tmp_path):
    config, _, g, w_avg, *_ = parts
    config = dataclasses.replace(config, mapping_lr_mult=0.02)  # a model that no other test has sampled from
    write_model_folder(tmp_path / "m", dataclasses.asdict(config), {"g_ema": g | {"w_avg": w_avg}}, {})
    first = load_model(tmp_path / "m").sample([1, 2], psi=0.7, label=1, noise="random")
    assert compilations, "the count does not work"
    compilations.clear()
    again = load_model(tmp_path / "m").sample([1, 2], psi=0.7, label=1, noise="random")
    assert compilations == []
    np.testing.assert_array_equal(first, again)


def test_an_equal_configuration_is_the_same_bundle(parts):
    config, gan, *_ = parts
    assert models.build(dataclasses.replace(config)) is gan
    assert models.build(dataclasses.replace(config, mapping_layers=3)) is not gan


def test_only_one_module_maps_truncates_and_synthesizes():
    """Training's losses mix and differentiate styles; `metrics.fakes` wraps a bundle for variables with 'w_avg'."""
    allowed = {"sampling/drawing.py", "train/gan/objective.py", "train/encoder/objective.py"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name = str(path.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not name.startswith("models/"):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                if f"{owner}.{node.func.attr}" in ("gan.map_latents", "models.truncate", "gan.synthesize"):
                    found.add(name)
    assert allowed <= found <= allowed | {"metrics/fakes.py"}
