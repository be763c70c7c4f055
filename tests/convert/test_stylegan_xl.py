"""Official StyleGAN-XL networks of every stage: forged files in, every array accounted for, and out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dilled
import forge
import numpy as np
import pytest
import xl

from stylegan_jax.config import model_from_dict
from stylegan_jax.config.arch.stylegan_xl import make_plan
from stylegan_jax.convert import BadCheckpointError, convert_pickle
from stylegan_jax.convert.importer import net_kwargs, official_state_dicts


def convert(tmp_path: Path, content: Any, nets: tuple[str, ...] = ("G_ema",)) -> tuple[dict, dict, dict]:
    path = tmp_path / "network.pkl"
    path.write_bytes(forge.dumps(content))
    return convert_pickle(path, nets)


STAGES = {
    xl.STEM: ((), ()),
    xl.TWICE: ((2,), (7,)),
    xl.SIX: ((2,) * 6, (7,) * 6),
    xl.LARGE: ((16,), (4,)),
    xl.RADIAL: ((2,), (7,)),
}


@pytest.mark.parametrize("table", STAGES)
def test_every_stage_in_and_out_again(tmp_path, table):
    c_dim = 0 if table in (xl.LARGE, xl.RADIAL) else 3
    forged = xl.Forged(table, c_dim)
    config, nets, provenance = convert(tmp_path, xl.snapshot(forged.network()))
    own = config["stylegan_xl"]
    assert (tuple(own["up_factors"]), tuple(own["head_layers"])) == STAGES[table]
    assert config["resolution"] == xl.design(table)[0]["img_resolution"]
    assert (own["embed_rows"], own["embed_dim"], config["label_dim"]) == (xl.ROWS, xl.DIM, c_dim)
    assert config["stylegan3"]["num_layers"] == xl.design(table)[0]["config"]["num_layers"]
    assert [p.official_name for p in make_plan(model_from_dict(config)).layers] == forged.names
    assert nets["g_ema"]["w_avg"].shape == ((c_dim, xl.W) if c_dim else (xl.W,))
    state = official_state_dicts(config, nets)["G_ema"]
    assert set(state) == set(forged.arrays)
    for name, value in forged.arrays.items():
        np.testing.assert_allclose(state[name], value, atol=1e-7 * ("filter" in name), rtol=0, err_msg=name)
    assert provenance["nets"]["G_ema"]["notes"]["w_avg_beta"] == 0.998


def test_g_of_a_file_with_dill_beside_it(tmp_path):
    forged = xl.Forged(xl.TWICE)
    d = forge.by_name("pg_modules.discriminator.ProjectedDiscriminator", dilled.additions(np.zeros((2, 5, 4))))
    g = forged.network(**{"mapping.w_avg": np.full((3, xl.W), 7, np.float32)})
    config, nets, _ = convert(tmp_path, xl.snapshot(forged.network(), d) | {"G": g}, ("G", "G_ema"))
    assert set(nets) == {"g", "g_ema"} and nets["g"]["w_avg"][0, 0] == 7 != nets["g_ema"]["w_avg"][0, 0]
    kwargs = net_kwargs(config, "g_ema")
    assert kwargs["img_resolution"] == 16 and kwargs["stages"] == [{"up_factor": 2, "head_layers": 7}]
    assert {key: kwargs[key] for key in forged.kwargs} == forged.kwargs


def test_layouts_mean_the_same(tmp_path):
    forged = xl.Forged(xl.TWICE)
    _, nets, _ = convert(tmp_path, xl.snapshot(forged.network()))
    params, theirs = nets["g_ema"]["params"], forged.arrays
    np.testing.assert_array_equal(params["mapping"]["embed"]["weight"], theirs["mapping.embed.weight"])
    row = theirs["mapping.embed.weight"][2]
    np.testing.assert_allclose(
        row @ params["mapping"]["embed"]["proj"]["weight"], theirs["mapping.embed_proj.weight"] @ row, rtol=1e-5
    )
    patch = np.random.default_rng(5).standard_normal((3, 3, 8))
    got = np.einsum("hwi,hwio->o", patch, params["synthesis"]["L10"]["weight"])
    np.testing.assert_allclose(got, np.einsum("hwi,oihw->o", patch, theirs["synthesis.L10_52_8.weight"]), rtol=1e-5)


HEAD = "synthesis.L10_52_8"


@pytest.mark.parametrize(
    ("changes", "attributes", "words"),
    [
        ({f"{HEAD}.bias": None}, {}, r"missing: synthesis\.L10_52_8\.bias"),
        ({"mapping.embed.weight": None}, {}, r"mapping\.embed\.weight is missing"),
        ({"mapping.embed_proj.bias": None}, {}, r"missing: mapping\.embed_proj\.bias"),
        ({f"{HEAD}.extra": np.ones(2, np.float32)}, {}, "not part of this network: .*L10_52_8.extra"),
        ({f"{HEAD}.up_filter": np.ones(24, np.float32)}, {}, "L10_52_8.up_filter is not the low-pass"),
        ({"mapping.w_avg": np.ones((9, xl.W), np.float32)}, {}, "label_dim is 9; the table of embeddings has 7 rows"),
        ({"mapping.w_avg": np.ones(xl.W, np.float32)}, {}, "not part of this network: mapping.embed_proj"),
        ({}, {"synthesis": {"layer_names": None}}, "has no layer_names.*pass the whole network"),
        ({}, {"synthesis": {"layer_names": ["L0_36_8", "L9", "x"]}}, "has 'L9', which is not one of its layers"),
        ({}, {"synthesis": {"num_fp16_res": 1}}, r"has use_fp16=.*; its stages need"),
        ({}, {"synthesis": {"margin_size": 9}}, "lead to the layers L0_34_8, .*it has L0_36_8 instead"),
        ({}, {"synthesis": {"output_scale": "x"}}, "damaged, or hostile"),
        (
            {},
            {HEAD: {"padding": [0, 0, 0, 0]}},
            r"L10_52_8 has padding=\[0 0 0 0\]; its stages need \(-6, -9, -6, -9\)",
        ),
        ({}, {HEAD: {"conv_clamp": 128}}, "conv_clamp is 256 in L0_36_8 but 128 in L10_52_8"),
        ({}, {HEAD: {"out_cutoff": 7.5}}, r"L10_52_8 has out_cutoff=7\.5; its stages need 7\.99"),
        (
            {},
            {HEAD: {"out_cutoff": 6.727171322029716}},
            "L9_36_8 kept only that layer, which does not determine its resolution",
        ),
        ({}, {HEAD: {"out_cutoff": None}}, "has out_cutoff=None; in official files it is a positive number"),
        ({}, {HEAD: {"out_cutoff": float("nan")}}, "has out_cutoff=nan"),
        ({}, {HEAD: {"is_critically_sampled": True}}, "last layers are not critically sampled"),
        ({}, {"synthesis.L5_36_8": {"out_channels": 7}}, "do not follow from one channel_base"),
        ({}, {"synthesis.L1_36_8": {"out_cutoff": 2.5}}, "lead to images of height"),
        ({}, {"synthesis.L1_36_8": {"out_cutoff": 1e9}}, "lead to images of height|damaged"),
        ({}, {"synthesis.L16_32_3": {"out_size": "32"}}, "lead to images of height 0"),
        ({}, {"synthesis.L16_32_3": {"is_critically_sampled": False}}, "last layers are not critically sampled"),
        ({}, {"mapping.fc0": {"bias_gain": "x"}}, "bias_gain='x', not a positive number"),
        ({}, {"synthesis.L0_36_8": {"lrelu": 1, "tmp_sampling_rate": 1e6}}, "lrelu_upsampling is 62500; at most 8"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, attributes, words):
    forged = xl.Forged(xl.TWICE)
    for path, values in attributes.items():
        forged.attributes[path].update(values)
    with pytest.raises(BadCheckpointError, match=words):
        convert(tmp_path, xl.snapshot(forged.network(**changes)))


def test_names_are_not_sorted(tmp_path):
    forged = xl.Forged(xl.TWICE)
    forged.attributes["synthesis"]["layer_names"] = sorted(forged.names)
    with pytest.raises(BadCheckpointError, match="last layers are not critically sampled"):
        convert(tmp_path, xl.snapshot(forged.network()))


def test_arrays_alone_do_not_tell_the_stages(tmp_path):
    state = {name: forge.ndarray(value) for name, value in xl.Forged(xl.TWICE).arrays.items()}
    with pytest.raises(BadCheckpointError, match="pass the file that has the arguments"):
        convert(tmp_path, {"G_ema": state})
