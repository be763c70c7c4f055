"""Starting from existing weights: what is loaded, what starts anew, what is refused."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from configs import tiny
from stylegan_jax import load_model, models
from stylegan_jax.base import rng
from stylegan_jax.config import ConfigError, from_dict
from stylegan_jax.convert import write_model_folder
from stylegan_jax.train.gan import state as states
from stylegan_jax.train.gan.transfer import transfer


def make_config(**changes):
    c = tiny.get_config()
    c.model.label_dim = 0
    c.update_from_flattened_dict(changes)
    return from_dict(c)


def fresh_state(config, seed=1):
    return jax.jit(lambda key: states.create(models.build(config.model), config, key))(rng.root(seed))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model folder with G, D and average of the tiny recipe, all different."""
    config = make_config(**{"model.label_dim": 3})
    folder = tmp_path_factory.mktemp("source") / "model"
    state = jax.device_get(fresh_state(config, seed=5))
    g = state.g | {"w_avg": np.arange(16, dtype=np.float32)}
    g_ema = g | {"params": jax.tree.map(lambda x: x + 1, state.g["params"])}
    write_model_folder(
        folder, dataclasses.asdict(config.model), {"g": g, "g_ema": g_ema, "d": state.d}, {"from": "test"}
    )
    return folder, config, g, g_ema, state.d


def copy_from(folder, state, model):
    return transfer(state, model, load_model(folder, whole=True), str(folder))


def leaf(tree, path):
    for key in path.split("/"):
        tree = tree[key]
    return np.asarray(tree)


def test_same_model_is_loaded_whole(source):
    folder, config, g, g_ema, d = source
    state, lines = copy_from(folder, fresh_state(config), config.model)
    for got, want in (
        (state.g["params"], g["params"]),
        (state.g_ema, g_ema["params"]),
        (state.d["params"], d["params"]),
    ):
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(got), want)
    np.testing.assert_array_equal(state.w_avg, g["w_avg"])
    assert all("0 new, 0 dropped" in line for line in lines[1:])


def test_growing_keeps_the_blocks_that_exist(source):
    folder, _, g, _, d = source
    config = make_config(**{"model.resolution": 16, "model.label_dim": 3})
    before = fresh_state(config)
    state, lines = copy_from(folder, before, config.model)
    where = "synthesis/b8/conv0/weight"
    np.testing.assert_array_equal(leaf(state.g["params"], where), leaf(g["params"], where))
    new = "synthesis/b16/conv0/weight"
    np.testing.assert_array_equal(leaf(state.g["params"], new), leaf(before.g["params"], new))
    np.testing.assert_array_equal(leaf(state.d["params"], "b8/conv1/weight"), leaf(d["params"], "b8/conv1/weight"))
    text = "\n".join(lines)
    assert f"new: {new}" in text and "dropped: b8/fromrgb/weight" in text


def test_other_classes_start_the_embedding_anew(source):
    folder, _, g, _, _ = source
    config = make_config(**{"model.label_dim": 5})
    before = fresh_state(config)
    state, lines = copy_from(folder, before, config.model)
    where = "mapping/embed/weight"
    np.testing.assert_array_equal(leaf(state.g["params"], where), leaf(before.g["params"], where))
    np.testing.assert_array_equal(leaf(state.g["params"], "mapping/fc0/bias"), leaf(g["params"], "mapping/fc0/bias"))
    assert any("mapping/embed/weight (other classes)" in line for line in lines)


def test_other_widths_are_refused_with_the_list(source):
    config = make_config(**{"model.channel_max": 4, "model.label_dim": 3})
    with pytest.raises(
        ConfigError, match=r"(?s)synthesis/b4/const: \(4, 4, 8\).*\(4, 4, 4\).*channel_max=8 \(here 4\)"
    ):
        copy_from(source[0], fresh_state(config), config.model)


def test_a_source_without_discriminator_says_so(source, tmp_path):
    _, config, _, g_ema, _ = source
    folder = tmp_path / "model"
    write_model_folder(folder, dataclasses.asdict(config.model), {"g_ema": g_ema}, {"from": "test"})
    before = fresh_state(config)
    state, lines = copy_from(folder, before, config.model)
    assert "  D: not in the source; starts anew" in lines
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.d), jax.device_get(before.d))
    where = "mapping/fc0/weight"
    np.testing.assert_array_equal(leaf(state.g["params"], where), leaf(g_ema["params"], where))


def test_nothing_to_load_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_model(tmp_path / "absent")
    with pytest.raises(ConfigError, match="contains no model"):
        load_model(tmp_path)
