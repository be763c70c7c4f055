"""Official StyleGAN-V files: every conditioning in, every array accounted for, and out again; settings read inertly."""

from __future__ import annotations

import copy
import json
import sys
from typing import Any

import forge
import jax
import numpy as np
import official
import pytest
import sgv
from forge import Name, New
from others import equal_trees, write

from stylegan_jax import load_model
from stylegan_jax.convert import BadCheckpointError, convert_pickle
from stylegan_jax.convert.__main__ import main
from stylegan_jax.convert.importer import net_kwargs, official_state_dicts
from stylegan_jax.convert.pickles import read_plain_pickle
from tests.parity import sgv_adapters as golden

ONE = "sgv_training_step"
"""A case with all three networks."""


def parts(name: str, **changes: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a golden network's arguments with changes of its settings by 'branch__key', and its arrays."""
    config = copy.deepcopy(sgv.case(name).meta["config"])
    for path, value in changes.items():
        *branch, key = path.split("__")
        place = config["cfg"]
        for step in branch:
            place = place[step]
        place[key] = value
    return config, sgv.arrays_of(name)


def equal_states(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6 * name.endswith("_coefs"), err_msg=name)


def check_contains(have: Any, want: dict[str, Any], path: str = "") -> None:
    """Check that nested dicts have what official constructors were given; distances are cut to the longest video."""
    for key, value in want.items():
        if isinstance(value, dict):
            check_contains(have[key], value, f"{path}{key}.")
        elif key == "max_dist":
            assert have[key] == min(value, want["max_num_frames"] - 1)
        elif key != "phase_dropout_std":
            assert have[key] == value, (path, key)


@pytest.mark.parametrize("condition", sgv.GENERATORS)
def test_generators_of_every_conditioning_in_and_out_again(tmp_path, condition, monkeypatch):
    if condition == "sum_w":  # of code that does not lie below src.
        monkeypatch.setattr(sgv, "easy", forge.easy)
        monkeypatch.setattr(sgv, "persistent", forge.persistent)
    stored, state = parts(sgv.GENERATORS[condition])
    path = write(tmp_path, sgv.snapshot(sgv.generator(stored, state)))
    config, nets, provenance = convert_pickle(path, ("G_ema",))
    own = config["stylegan_v"]
    assert (config["arch"], own["cond_type"], config["label_dim"]) == ("stylegan_v", condition, stored["c_dim"])
    assert own["motion_distance"] == stored["cfg"]["motion"]["motion_z_distance"], "a key that it refers to says it"
    np.testing.assert_array_equal(nets["g_ema"].pop("w_avg"), state["mapping.w_avg"])
    equal_trees(nets["g_ema"], golden.to_ours(golden.generator_config(stored), "g", state))  # whose images are golden
    nets["g_ema"]["w_avg"] = state["mapping.w_avg"]
    equal_states(official_state_dicts(config, nets)["G_ema"], state)
    if stored["img_resolution"] == 8:  # too small for a discriminator that joins frames
        stored["cfg"]["sampling"]["num_frames_per_video"] = 1
    kwargs = net_kwargs(config, "g_ema", provenance["nets"]["G_ema"]["notes"]["w_avg_beta"])
    check_contains(kwargs, stored)
    assert kwargs["mapping_kwargs"]["w_avg_beta"] == 0.995
    assert provenance["dropped"].keys() == {"G_opt", "D_opt"} and "omegaconf" not in sys.modules


@pytest.mark.parametrize("name", sgv.DISCRIMINATORS)
def test_discriminators_in_and_out_again(tmp_path, name):
    stored, state = parts(name)
    config, nets, _ = convert_pickle(write(tmp_path, {"D": sgv.discriminator(stored, state)}), ("D",))
    own, cfg = config["stylegan_v"], stored["cfg"]
    assert (own["frames"], own["sampling"]) == (cfg["sampling"]["num_frames_per_video"], cfg["sampling"]["type"])
    equal_trees(nets["d"], golden.to_ours(golden.discriminator_config(stored), "d", state))
    equal_states(official_state_dicts(config, nets)["D"], state)
    check_contains(net_kwargs(config, "d"), stored)


def whole(suffix: str = "", g_cfg: Any = None, d_cfg: Any = None) -> tuple[dict[str, Any], dict[str, dict]]:
    """Return a forged training snapshot, and the arrays of its networks."""
    stored = sgv.case(ONE + suffix).meta["config"]
    states = {net: sgv.arrays_of(ONE + suffix, f"state/{net}/") for net in ("G", "D", "G_ema")}
    g, g_ema = (sgv.generator(stored["generator"], states[net], g_cfg) for net in ("G", "G_ema"))
    limited = copy.deepcopy(stored["discriminator"])
    limited["cfg"]["sampling"] |= stored["generator"]["cfg"]["sampling"]
    return sgv.snapshot(g, sgv.discriminator(limited, states["D"], d_cfg), g_ema), states


@pytest.mark.parametrize("suffix", ["", "_ada"])
def test_a_snapshot_becomes_a_model_folder_and_goes_out_again(tmp_path, suffix):
    content, states = whole(suffix)
    path = write(tmp_path, content, "network-snapshot-000480.pkl")
    assert main([f"--model={path}", f"--out={tmp_path / 'm'}"]) == 0
    assert main([f"--model={tmp_path / 'm'}", f"--out={tmp_path / 'o'}", "--to=official"]) == 0
    from safetensors.numpy import load_file

    for net, state in states.items():
        equal_states(load_file(tmp_path / "o" / f"{net}.safetensors"), state)
    kwargs = json.loads((tmp_path / "o" / "init_kwargs.json").read_text())
    stored = sgv.case(ONE + suffix).meta["config"]
    check_contains(kwargs["G_ema"], stored["generator"])
    check_contains(kwargs["D"], stored["discriminator"])
    model = json.loads((tmp_path / "m" / "model.json").read_text())
    assert model["arguments"]["label_dim"] == (2 if suffix else 0)
    assert model["arguments"]["stylegan_v"]["concat_res"] == 8  # of D, beside what G decides
    assert model["arguments"]["stylegan_v"]["motion_kernel"] == 3


def test_its_frames_are_those_of_the_official_code(tmp_path):
    stored, state = parts(sgv.GENERATORS["concat_const"])
    case = sgv.case(sgv.GENERATORS["concat_const"])
    given = {name: np.asarray(case.arrays[f"in/{name}"], np.float32) for name in ("z", "c", "t", "motion_z")}
    model = load_model(write(tmp_path, sgv.snapshot(sgv.generator(stored, state))))
    ws = model.map(given["z"], given["c"])
    np.testing.assert_allclose(ws, case.arrays["out/ws"], atol=1e-5)
    inputs = {"times": given["t"], "motion": given["motion_z"], "label": given["c"]}
    images = np.asarray(jax.jit(model.gan.synthesize)(model.g_ema, ws, inputs)[0]["image"])
    wanted = case.arrays["out/img"].transpose(0, 2, 3, 1).reshape(images.shape)
    np.testing.assert_allclose(images, wanted, atol=2e-4 * np.abs(wanted).max())


def test_an_ablation_that_hides_the_condition(tmp_path):
    stored, state = parts("sgv_discriminator_2f_cond", dummy_c=True)
    config, _, _ = convert_pickle(write(tmp_path, {"D": sgv.discriminator(stored, state)}), ("D",))
    assert config["stylegan_v"]["dummy_cond"] and net_kwargs(config, "d")["cfg"]["dummy_c"]


def test_an_image_gan_of_the_same_code(tmp_path):
    arrays = official.generator(16, noise=False, seed=2)
    arrays["synthesis.b4.input.input"] = arrays.pop("synthesis.b4.const")
    stored = sgv.case(ONE).meta["config"]["generator"] | {"w_dim": 5}
    stored["cfg"] = stored["cfg"] | {"z_dim": 6, "w_dim": 5, "input": {"type": "const"}, "motion": {"v_dim": 0}}
    config, nets, _ = convert_pickle(write(tmp_path, sgv.snapshot(sgv.generator(stored, arrays))), ("G_ema",))
    assert config["stylegan_v"]["motion_v_dim"] == 0 and config["z_dim"] == 6
    equal_states(official_state_dicts(config, nets)["G_ema"], arrays)
    cfg = net_kwargs(config, "g_ema")["cfg"]
    assert (cfg["motion"]["v_dim"], cfg["input"]["type"]) == (0, "const")


def test_what_settings_do_not_say_is_told_by_arrays(tmp_path):
    stored = sgv.case(ONE).meta["config"]
    less = stored["generator"]["cfg"] | {"sampling": "${sampling}", "time_enc": {}, "c_dim": "${dataset.c_dim}"}
    less["motion"] = {"motion_z_distance": "${model.generator.time_enc.min_period_len}"}
    joining = stored["discriminator"]["cfg"] | {"sampling": "${sampling}"}
    content, states = whole(g_cfg=sgv.node(less), d_cfg=sgv.node(joining))
    want = convert_pickle(write(tmp_path, whole()[0], "full.pkl"))
    got = convert_pickle(write(tmp_path, {"G_ema": content["G_ema"]}))
    assert got[0]["stylegan_v"] == want[0]["stylegan_v"] | {"concat_res": 8}
    equal_trees(got[1]["g_ema"], want[1]["g_ema"])
    own = convert_pickle(write(tmp_path, {"D": content["D"]}))[0]["stylegan_v"]
    assert (own["frames"], own["max_num_frames"], own["concat_res"]) == (3, 16, 8)
    equal_states(official_state_dicts(*got[:2])["G_ema"], states["G_ema"])


G_BASE = sgv.GENERATORS["concat_const"]
FREQS = "synthesis.motion_encoder.time_encoder.freqs"


@pytest.mark.parametrize(
    ("changes", "arrays", "words"),
    [
        ({}, {"synthesis.motion_encoder.conv.1.bias": None}, r"missing: synthesis\.motion_encoder\.conv\.1\.bias$"),
        ({}, {"synthesis.motion_encoder.conv.0.weight": None}, r"missing: synthesis\.motion_encoder\.conv\.0\.weight$"),
        (
            {},
            {"synthesis.b8.conv0.noise_const": np.ones((8, 8), np.float32)},
            r"not part of this network: .*noise_const",
        ),
        ({}, {"mapping.w_avg": np.ones(7, np.float32)}, r"mapping\.w_avg is \[7\], expected \[9\]"),
        ({}, {FREQS: np.ones(6, np.float32)}, r"time_encoder\.freqs is \[6\]; it must have 2 axes"),
        ({}, {FREQS: np.ones((1, 6), np.float32)}, "freqs does not fit the periods of its settings, 8 to 64 frames"),
        ({"time_enc__max_period_len": 128}, {}, "freqs does not fit the periods of its settings, 8 to 128 frames"),
        ({"motion__kernel_size": 3}, {}, r"conv\.0\.weight is \[6, 9, 5\], expected \[6, 9, 3\]"),
        ({"time_enc__dim": 8}, {}, "freqs is .*expected"),
        ({"time_enc__cond_type": "concat_w", "input__type": "const"}, {}, "not fit|missing: .*input"),
        ({"time_enc__cond_type": "sum_v"}, {}, "cond_type is 'sum_v'; known here: concat_const, concat_w, sum_w$"),
        ({"time_enc__min_period_len": 8.5}, {}, r"cfg\.time_enc\.min_period_len is 8\.5, not a count$"),
        ({"input__type": "const"}, {}, r"cfg\.input\.type is 'const'; .* draws motion with 'temporal' alone$"),
        ({"motion__gen_strategy": "autoregressive"}, {}, "gen_strategy is 'autoregressive'; known here: conv$"),
        ({"motion__fourier": False}, {}, r"cfg\.motion\.fourier is False; known here: True$"),
        ({"motion__jitter": 0.5}, {}, r"cfg\.motion has unknown settings: jitter$"),
        ({"use_noise": True}, {}, r"cfg\.use_noise is True; known here: False$"),
        ({"sampling__type": "first"}, {}, r"cfg\.sampling\.type is 'first'; known here: random, uniform$"),
        (
            {"sampling__total_dists": [1, "2"]},
            {},
            r"cfg\.sampling\.total_dists is \[1, '2'\], not a list of distances$",
        ),
        ({"sampling__num_frames_per_video": 1 << 20}, {}, r"stylegan_v\.frames is 1048576; at most 256"),
        ({"z_dim": 10}, {}, r"z_dim is 10|mapping\.fc0\.weight"),
    ],
)
def test_what_does_not_fit_a_generator_is_named(tmp_path, changes, arrays, words):
    stored, state = parts(G_BASE, **changes)
    state = {name: x for name, x in (state | arrays).items() if x is not None}
    with pytest.raises(BadCheckpointError, match=words) as error:
        convert_pickle(write(tmp_path, {"G_ema": sgv.generator(stored, state)}))
    assert "\n" not in str(error.value) and "G_ema ('Generator')" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "arrays", "more", "words"),
    [
        ({}, {"time_encoder.const_embed.weight": None}, {}, r"missing: time_encoder\.const_embed\.weight$"),
        ({}, {"video_discr.0.weight": np.ones((3, 3), np.float32)}, {}, r"not part of this network: video_discr\.0"),
        ({"num_frames_div_factor": 4}, {}, {}, r"b16\.conv1\.weight is \[4, 8, 3, 3\], expected \[2, 8, 3, 3\]"),
        ({"concat_res": 4}, {}, {}, r"concat_res is 4; it must be at least 8"),
        ({"concat_res": 16}, {}, {}, r"concat_res is 16; .* one of \[8\]"),
        ({"skip_small_t_freqs": 2}, {}, {}, r"cfg\.skip_small_t_freqs is 2; known here: 0$"),
        (
            {"sampling__num_frames_per_video": 2},
            {},
            {},
            r"b8\.conv0\.weight is \[8, 12, 3, 3\], expected \[8, 8, 3, 3\]",
        ),
        ({"sampling__max_num_frames": 20}, {}, {}, r"const_embed\.weight is \[16, 256\], expected \[20, 256\]"),
        ({"dummy_c": "no"}, {}, {}, r"cfg\.dummy_c is 'no', neither true nor false$"),
        ({}, {}, {"new_thing": 1}, "arguments that change the network and are not known: new_thing$"),
        ({}, {}, {"block_kwargs": [1]}, "block_kwargs is a list, not a dict$"),
        (
            {},
            {"time_encoder.time_encoder.fourier_coefs": np.ones((1, 4), np.float32)},
            {},
            "fourier_coefs is not the frequencies that max_num_frames sets$",
        ),
    ],
)
def test_what_does_not_fit_a_discriminator_is_named(tmp_path, changes, arrays, more, words):
    stored, state = parts("sgv_discriminator", **changes)
    state = {name: x for name, x in (state | arrays).items() if x is not None}
    with pytest.raises(BadCheckpointError, match=words) as error:
        convert_pickle(write(tmp_path, {"D": sgv.discriminator(stored, state, **more)}))
    assert "\n" not in str(error.value)


def test_networks_of_other_clips_do_not_make_one_model(tmp_path):
    content, _ = whole()
    stored, state = parts("sgv_discriminator_2f_cond")
    content["D"] = sgv.discriminator(stored | {"c_dim": 0}, state)
    with pytest.raises(BadCheckpointError, match=r"D .*: .*; convert the others with --nets="):
        convert_pickle(write(tmp_path, content))
    one = sgv.case(ONE).meta["config"]["discriminator"]
    one["cfg"]["sampling"]["max_dist"] = 4
    content["D"] = sgv.discriminator(one, sgv.arrays_of(ONE, "state/D/"))
    with pytest.raises(
        BadCheckpointError, match=r"generator and discriminator differ in stylegan_v\.max_dist \(8 and 4\)"
    ):
        convert_pickle(write(tmp_path, content))


def test_arrays_alone_do_not_tell_how_motion_is_drawn(tmp_path):
    state = {name: forge.ndarray(value) for name, value in parts(G_BASE)[1].items()}
    with pytest.raises(BadCheckpointError, match="no cfg, the tree of settings; pass the whole network"):
        convert_pickle(write(tmp_path, {"G_ema": state}))


# ---- settings ----


def read(tmp_path, top: Any) -> Any:
    return read_plain_pickle(write(tmp_path, {"cfg": top}, "settings.pkl"))["cfg"]


def test_references_lead_through_the_whole_tree(tmp_path):
    root = sgv.node({"a": {"x": "${b.y}", "z": ["${a.x}", 2, None]}, "b": "${c}", "c": {"y": 7, "w": "${d}_${d}"}})
    branch = root.state["_content"]["a"]
    assert read(tmp_path, branch) == {"x": 7, "z": [7, 2, None]}
    assert read(tmp_path, root)["b"] == {"y": 7, "w": "${d}_${d}"}, "texts with references in them stay"


def test_references_that_lead_nowhere_or_in_a_circle_stay_texts(tmp_path):
    root = sgv.node({"a": "${b}", "b": "${a}", "c": "${d.e}", "f": "${f.g}", "h": "${i}" + "x" * 2000, "j": "${}"})
    assert read(tmp_path, root) == {key: node.state["_val"] for key, node in root.state["_content"].items()}
    alone = sgv.node({"x": 1})
    alone.state["_parent"] = alone
    assert read(tmp_path, alone) == {"x": 1}


def test_settings_inside_themselves_are_refused(tmp_path):
    root = sgv.node({"a": {"b": "${a}"}})
    with pytest.raises(BadCheckpointError, match="nested too deeply"):
        read(tmp_path, root)
    other = New(Name("omegaconf.base", "Metadata"), state={"x": 1})
    assert read(tmp_path, other) == {"class": "omegaconf.base.Metadata", "args": (), "state": {"x": 1}}
