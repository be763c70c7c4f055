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
from stylegan_jax.sampling import drawing

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
    ws = gan.map_latents(g, z, cond)
    np.testing.assert_array_equal(drawing.map_styles(gan, g, None, z, cond), ws)
    half = drawing.map_styles(gan, g, w_avg, z, cond, 0.5, 1)
    np.testing.assert_array_equal(half, models.truncate(ws, w_avg, 0.5, 1))
    per_slot = np.where(np.arange(gan.spec.num_ws) < 1, np.float32(0.5), np.float32(1))[None, :, None]
    np.testing.assert_allclose(drawing.map_styles(gan, g, w_avg, z, cond, per_slot), half, atol=1e-6)


def test_images_are_drawn_and_quantised(parts):
    _, gan, g, w_avg, z, cond = parts
    ws = drawing.map_styles(gan, g, w_avg, z, cond, 0.5)
    key = jax.random.key(0)
    image = drawing.draw(gan, g, ws, noise="random", key=key)
    np.testing.assert_array_equal(image, gan.synthesize(g, ws, noise="random", key=key))
    np.testing.assert_array_equal(drawing.draw(gan, g, ws, key=key), gan.synthesize(g, ws))  # the key is not read
    pixels = drawing.draw_pixels(gan, g, ws, noise="random", key=key)
    assert isinstance(pixels, jax.Array) and pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, images.to_pixels(np.asarray(image)))


def test_a_transform_reaches_the_variables(parts):
    _, gan, g, _, z, cond = parts
    moved = gan._replace(
        with_transform=lambda variables, transform: variables | {"by": transform},
        synthesize=lambda variables, ws, **noise: variables["by"],
    )
    ws = drawing.map_styles(moved, g, None, z, cond)
    assert drawing.draw(moved, g, ws, transform=jnp.float32(3)) == 3


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
    allowed = {"sampling/drawing.py", "train/gan/objective.py"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name = str(path.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not name.startswith("models/"):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                if f"{owner}.{node.func.attr}" in ("gan.map_latents", "models.truncate", "gan.synthesize"):
                    found.add(name)
    assert allowed <= found <= allowed | {"metrics/fakes.py"}
