"""Official R3GAN files: plain modules by the names of their classes, read by their arrays, and written again."""

from __future__ import annotations

from collections import OrderedDict

import forge
import numpy as np
import pytest

from stylegan_jax.convert import convert_pickle
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.importer import net_kwargs, official_state_dicts
from stylegan_jax.sampling.load import load_model
from tests.parity import cases

FOLDER = cases.DEFAULT_DIR


def plain(arrays, cls="training.networks.Generator", types=None):
    """A module tree from dotted names, as `pickle` writes objects whose classes have importable names."""
    root: dict = {}
    for name, array in arrays.items():
        node = root
        *path, leaf = name.split(".")
        for key in path:
            node = node.setdefault(key, {})
        node[leaf] = array

    def make(path, node, name):
        state = {"training": False, "_parameters": OrderedDict(), "_buffers": OrderedDict(), "_modules": OrderedDict()}
        for key, value in node.items():
            if isinstance(value, dict):
                state["_modules"][key] = make(f"{path}.{key}".strip("."), value, "R3GAN.Networks.Part")
            elif key == "Kernel":
                state["_buffers"][key] = forge.tensor(value)
            else:
                state["_parameters"][key] = forge.parameter(value)
        if types and path in types:
            state["DataType"] = forge.Name("torch", types[path])
        module, _, short = name.rpartition(".")
        return forge.New(forge.Name(module, short), state=state)

    return make("", root, cls)


def arrays_of(name):
    return cases.load(FOLDER, name).part("state/")


def snapshot(tmp_path, suffix="", **changes):
    g, d = arrays_of(f"r3gan_generator_16{suffix}"), arrays_of(f"r3gan_discriminator_16{suffix}")
    low = {"Model.MainLayers.2": "bfloat16", "Model.MainLayers.0": "float32"}
    nets = {"G": plain(g, types=low), "D": plain(d, "training.networks.Discriminator"), "G_ema": plain(g, types=low)}
    nets |= {"cur_nimg": 1234, "D_opt_state": {"state": {}}, "training_set_kwargs": forge.easy({"path": "x.zip"})}
    path = tmp_path / "network-snapshot.pkl"
    path.write_bytes(forge.dumps(nets | changes))
    return path, g, d


@pytest.mark.parametrize("suffix", ["", "_cond"])
def test_an_official_snapshot_becomes_our_networks_and_goes_out_again(tmp_path, suffix):
    path, g, d = snapshot(tmp_path, suffix)
    config, nets, provenance = convert_pickle(path)
    assert (config["arch"], config["resolution"], config["r3gan"]["widths"]) == ("r3gan", 16, [12, 8, 8])
    assert config["label_dim"] == (5 if suffix else 0)
    w_avg = nets["g_ema"]["w_avg"]
    assert w_avg.shape == ((5, 12) if suffix else (6,)) and not w_avg[..., :6].any()
    if suffix:
        np.testing.assert_array_equal(w_avg[:, 6:], g["Model.EmbeddingLayer.weight"].T)
    out = official_state_dicts(config, nets)
    for name, want in {"G": g, "G_ema": g, "D": d}.items():
        assert set(out[name]) == set(want)
        for key, value in want.items():
            np.testing.assert_allclose(out[name][key], value, rtol=1e-6)
    for net, name in {"g": "r3gan_generator_16", "d": "r3gan_discriminator_16"}.items():
        stored = cases.load(FOLDER, name + suffix).meta["config"]
        assert {k: v for k, v in net_kwargs(config, net).items() if k in stored} == stored
    assert provenance["nets"]["G_ema"]["class"] == "training.networks.Generator"


def test_its_pictures_are_those_of_the_official_code(tmp_path):
    path, _, _ = snapshot(tmp_path)
    case, model = cases.load(FOLDER, "r3gan_generator_16"), load_model(path)
    assert model.config.r3gan.widths == tuple(case.meta["config"]["WidthPerStage"])
    ws = np.asarray(case.arrays["in/z"], np.float32)[:, None]
    np.testing.assert_array_equal(model.map(case.arrays["in/z"].astype(np.float32)), ws)
    got = model.synthesize(ws).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(got, case.arrays["out/img"], rtol=1e-3, atol=1e-3)


def test_stages_in_low_precision_are_counted(tmp_path):
    path, _, _ = snapshot(tmp_path)
    config, _, _ = convert_pickle(path, ("G_ema",))
    assert config["num_lowp_res"] == 1


def test_a_filter_of_other_taps_and_missing_arrays_are_named(tmp_path):
    g = arrays_of("r3gan_generator_16")
    other = g | {"Model.MainLayers.1.Layers.0.Resampler.Kernel": np.full((4, 4), 1 / 16, np.float32)}
    path, _, _ = snapshot(tmp_path, G_ema=plain(other))
    with pytest.raises(BadCheckpointError, match=r"Resampler\.Kernel is not the resampling filter"):
        convert_pickle(path, ("G_ema",))
    less = {k: v for k, v in g.items() if "Aggregation" not in k}
    path, _, _ = snapshot(tmp_path, G_ema=plain(less))
    with pytest.raises(BadCheckpointError, match=r"AggregationLayer\.Layer\.weight is missing"):
        convert_pickle(path, ("G_ema",))
