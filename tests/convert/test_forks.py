"""Networks of forks: arguments and sizes of their own, and discriminators that no picture needs."""

from __future__ import annotations

import logging
from typing import Any, cast

import forge
import numpy as np
import official
import pytest
import test_stylegan3
from others import equal_trees, g_net, tf_nets, write

from stylegan_jax import load_model
from stylegan_jax.config import model_from_dict
from stylegan_jax.convert import BadCheckpointError, convert_pickle
from stylegan_jax.convert.__main__ import main
from stylegan_jax.train.gan.transfer import transfer


@pytest.fixture
def plain(tmp_path) -> tuple[dict, dict, dict]:
    """What the official file of `g_net()` converts to."""
    return convert_pickle(write(tmp_path, {"G_ema": g_net()}, "plain.pkl"))


@pytest.mark.parametrize(
    ("extra", "mapping"),
    [
        ({}, {"freeze_layers": 0, "freeze_embed": False}),
        ({}, {"freeze_layers": 2, "freeze_embed": True}),
        ({"init_res": [4, 4]}, {}),
        ({"square": True}, {}),
    ],
)
def test_arguments_of_forks_that_change_nothing(tmp_path, plain, extra, mapping):
    config, nets, _ = convert_pickle(write(tmp_path, {"G_ema": g_net(extra, mapping)}))
    assert config == plain[0]
    equal_trees(nets, plain[1])


def test_a_stylegan3_of_stylegan3_fun_and_other_mapping_networks(tmp_path):
    arrays, make = test_stylegan3.arrays("t"), test_stylegan3.kwargs
    net = lambda **mapping: forge.network(
        "Generator",
        arrays,
        make("t") | {"mapping_kwargs": forge.easy({"num_layers": 2, **mapping})},
        buffers=test_stylegan3.BUFFERS,
    )
    want = convert_pickle(write(tmp_path, {"G_ema": net()}, "plain.pkl"))
    got = convert_pickle(write(tmp_path, {"G_ema": net(freeze_layers=0, freeze_embed=False)}))
    assert got[0] == want[0]
    equal_trees(got[1], want[1])
    other = convert_pickle(write(tmp_path, {"G_ema": net(lr_multiplier=0.5, layer_features=5)}))[0]
    assert other["mapping_lr_mult"] == 0.5 and other["mapping_layer_dim"] == 0
    with pytest.raises(BadCheckpointError, match="shapes do not fit"):
        convert_pickle(write(tmp_path, {"G_ema": net(layer_features=7)}))
    with pytest.raises(BadCheckpointError, match="not known: no_such_thing"):
        convert_pickle(write(tmp_path, {"G_ema": net(no_such_thing=1)}))


def test_a_discriminator_with_a_mapping_network_of_its_own_widths_is_named(tmp_path):
    kwargs = official.d_kwargs(8, 3, cmap_dim=8) | {"mapping_kwargs": forge.easy({"embed_features": 5})}
    content = {"D": forge.network("Discriminator", official.discriminator(8, c_dim=3), kwargs)}
    with pytest.raises(BadCheckpointError, match="mapping: embed_features differs from cmap_dim"):
        convert_pickle(write(tmp_path, content))


@pytest.mark.parametrize(("extra", "base"), [({"init_res": [4, 6]}, (4, 6)), ({"square": False}, (4, 2))])
def test_generators_and_discriminators_that_are_not_square(tmp_path, extra, base):
    h, w = base
    arrays = official.generator(16, seed=2)
    rng = np.random.default_rng(0)
    for name, value in arrays.items():
        if name.endswith("noise_const"):
            arrays[name] = rng.standard_normal((len(value) * h // 4, len(value) * w // 4)).astype(np.float32)
    arrays["synthesis.b4.const"] = rng.standard_normal((8, h, w)).astype(np.float32)
    d = official.discriminator(16)
    d["b4.fc.weight"] = rng.standard_normal((8, 8 * h * w)).astype(np.float32)
    content = {"G_ema": g_net(extra, arrays=arrays), "D": forge.network("D", d, official.d_kwargs(16) | extra)}
    path = write(tmp_path, content)
    config, nets, _ = convert_pickle(path)
    assert model_from_dict(config).image_shape == (4 * h, 4 * w, 3)
    tree = nets["g_ema"]
    const = tree["params"]["synthesis"]["b4"]["const"]
    np.testing.assert_array_equal(const, arrays["synthesis.b4.const"].transpose(1, 2, 0))
    noise = tree["buffers"]["synthesis"]["b8"]["conv0"]["noise_const"]
    np.testing.assert_array_equal(noise, arrays["synthesis.b8.conv0.noise_const"])
    fc = nets["d"]["params"]["b4"]["fc"]["weight"].reshape(h, w, 8, 8)
    np.testing.assert_array_equal(fc[1, 0, 3], d["b4.fc.weight"].reshape(8, 8, h, w)[:, 3, 1, 0])
    assert main([f"--model={path}", f"--out={tmp_path / 'm'}"]) == 0
    assert load_model(tmp_path / "m").sample([0], chunk=1).shape == (1, 4 * h, 4 * w, 3)
    assert main([f"--model={tmp_path / 'm'}", f"--out={tmp_path / 'o'}", "--to=official"]) == 2


def test_tensorflow_files_with_a_width_and_a_height(tmp_path):
    want = convert_pickle(write(tmp_path, tf_nets()), ["G_ema"])
    more = {
        "resolution_w": 8,
        "resolution_h": 8,
        "mapping_func": "G_mapping",
        "synthesis_func": "G_synthesis_stylegan2",
    }
    got = convert_pickle(write(tmp_path, tf_nets(**more)), ["G_ema"])
    assert got[0] == want[0]
    equal_trees(got[1], want[1])
    for bad, words in (
        ({"resolution_w": 8, "resolution_h": 4}, "draws 8x4 pixels"),
        ({"resolution_h": [8]}, "square"),
        ({"synthesis_func": "G_synthesis_mine"}, "synthesis_func is 'G_synthesis_mine'"),
    ):
        with pytest.raises(BadCheckpointError, match=words):
            convert_pickle(write(tmp_path, tf_nets(**bad)), ["G_ema"])


def foreign(kind: str) -> Any:
    """A snapshot with a good generator and a discriminator of another kind."""
    d = forge.network("Discriminator", official.discriminator(16), official.d_kwargs(16))
    if kind == "class":
        d = forge.network("pg_modules.discriminator.Heads", {"main.0.weight": np.ones((3, 3), np.float32)}, {})
    elif kind == "argument":
        d = forge.network("Discriminator", official.discriminator(16), official.d_kwargs(16, new_thing=1))
    elif kind == "clamp":
        d = forge.network("Discriminator", official.discriminator(16), official.d_kwargs(16, conv_clamp=99))
    elif kind == "shape":
        d = forge.network("Discriminator", official.discriminator(8), official.d_kwargs(16))
    elif kind == "xl":
        d = forge.network("D", {"feature_networks.a.weight": np.ones((3, 3), np.float32)}, {})
    return {"G": g_net(), "D": d, "G_ema": g_net()}


@pytest.mark.parametrize("kind", ["class", "argument", "clamp", "shape", "xl", "tf"])
def test_pictures_need_no_discriminator(tmp_path, plain, capsys, kind):
    content = tf_nets(d={"new_thing": 1}) if kind == "tf" else foreign(kind)
    path = write(tmp_path, content)
    model = load_model(path)
    assert model.d is None and model.g is None and list(model.provenance["nets"]) == ["G_ema"]
    if kind != "tf":
        equal_trees(model.g_ema["params"], plain[1]["g_ema"]["params"])
    assert main([f"--model={path}", f"--out={tmp_path / 'm'}"]) == 2
    error = capsys.readouterr().err
    assert "D (" in error and "--nets=g_ema,g" in error and error.count("\n") == 1
    assert main([f"--model={path}", f"--out={tmp_path / 'm'}", "--nets=g_ema"]) == 0
    whole = load_model(path, whole=True)
    assert whole.d is None and whole.g is not None and whole.provenance["left_out"]["d"]


def test_training_from_a_file_says_why_its_discriminator_starts_anew(tmp_path):
    import jax

    from stylegan_jax.config import ExperimentConfig
    from stylegan_jax.train.gan.transfer import Source
    from stylegan_jax.train.state import TrainState

    model = load_model(write(tmp_path, foreign("class")), whole=True)
    zeros = lambda tree: jax.tree.map(np.zeros_like, tree)
    g, w_avg = zeros(model.g_ema), np.zeros_like(model.w_avg)
    config, empty = ExperimentConfig(model=model.config), cast("Any", {})
    state = TrainState(
        step=0,
        nimg=0,
        nets={"g": g, "d": {}},
        opt={},
        ema={"g": g["params"]},
        moving={"w_avg": w_avg},
        stats=empty,
    )
    _, lines = transfer(config, state, Source(model, "x.pkl"))
    assert any(
        "D: not in the source" in line and "pg_modules" in line and "newly initialised" in line for line in lines
    )


def test_a_generator_that_was_not_averaged_is_said_and_recorded(tmp_path, caplog):
    path = write(tmp_path, {"G": g_net(), "D": None, "G_ema": None})
    with caplog.at_level(logging.WARNING):
        model = load_model(path)
    assert "so G is used" in caplog.text and model.provenance["drawn"] == "G"
    assert main([f"--model={path}", f"--out={tmp_path / 'm'}"]) == 0
    caplog.clear()
    assert load_model(tmp_path / "m").provenance["drawn"] == "G" and "so G is used" in caplog.text


def test_nothing_else_of_a_model_folder_is_read_for_pictures(tmp_path):
    path = write(tmp_path, official.snapshot(8))
    assert main([f"--model={path}", f"--out={tmp_path / 'm'}"]) == 0
    model = load_model(tmp_path / "m")
    assert model.g is None and model.d is None
    whole = load_model(tmp_path / "m", whole=True)
    assert whole.g is not None and whole.d is not None
