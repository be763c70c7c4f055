"""Files of other code bases: single networks, torch.save, state dicts, and what lies beside the networks."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import forge
import numpy as np
import official
import pytest
import test_stylegan3
from forge import Call, Name, New
from others import equal_trees, g_net, rosinality, tf_nets, write

from stylegan_jax import load_model
from stylegan_jax.convert import BadCheckpointError, convert_pickle, read_official_pickle


@pytest.fixture
def plain(tmp_path) -> tuple[dict, dict, dict]:
    """What the official file of `g_net()` converts to."""
    return convert_pickle(write(tmp_path, {"G_ema": g_net()}, "plain.pkl"))


def test_a_file_that_is_one_network(tmp_path, plain, caplog):
    for content in (g_net(), (g_net(),)):
        got = load_model(write(tmp_path, content))
        assert got.provenance["note"] == "the file is one network" and got.provenance["note"] in caplog.text
        equal_trees(got.g_ema, {k: v for k, v in plain[1]["g_ema"].items() if k != "w_avg"})
    want = convert_pickle(write(tmp_path, tf_nets()), ["G_ema"])[1]
    equal_trees(convert_pickle(write(tmp_path, tf_nets(1)))[1], want)
    d = forge.network("Discriminator", official.discriminator(16), official.d_kwargs(16))
    assert list(convert_pickle(write(tmp_path, d))[1]) == ["d"]


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("what", ["snapshot", "module", "state"])
def test_what_torch_save_writes(tmp_path, plain, form, what):
    container = forge.Container()
    content: Any = g_net(form=container)
    if what == "snapshot":
        content = {"G_ema": content, "args": New(Name("argparse", "Namespace"), state={"lr": 0.1})}
    elif what == "state":
        arrays = official.generator(16, seed=2).items()
        container = forge.Container()
        content = {"g_ema": OrderedDict((k, forge.tensor(v, form=container)) for k, v in arrays)}
    path = write(tmp_path, getattr(container, form)(content), "x.pt")
    config, nets, _ = convert_pickle(path)
    equal_trees(nets, plain[1])
    same = {k: v for k, v in config.items() if k not in ("conv_clamp", "num_lowp_res")}
    assert same == {k: plain[0][k] for k in same}


@pytest.mark.parametrize("where", ["g_ema", "encoder", "alone", "no mean"])
def test_generators_of_rosinality_and_decoders_of_encoders(tmp_path, where):
    arrays = official.generator(16, seed=2)
    want = convert_pickle(write(tmp_path, {"G_ema": g_net({"conv_clamp": None, "num_fp16_res": 0})}, "plain.pkl"))
    container = forge.Container()
    tensors = {name: forge.tensor(value, form=container) for name, value in rosinality(arrays).items()}
    mean = arrays["mapping.w_avg"]
    if where == "encoder":
        state = {f"decoder.{name}": value for name, value in tensors.items()}
        state["encoder.body.0.weight"] = forge.tensor(np.ones((2, 2), np.float32), form=container)
        content = {"state_dict": state, "latent_avg": forge.tensor(np.tile(mean, (6, 1)), form=container)}
        content["opts"] = {"n_styles": 6, "device": Name("a_module", "of_theirs")}
    elif where == "alone":
        content = tensors | {"latent_avg": forge.tensor(mean, form=container)}
    else:
        content = {"g_ema": tensors, "g_optim": {"state": {}}, "args": New(Name("argparse", "Namespace"), state={})}
        content |= {} if where == "no mean" else {"latent_avg": forge.tensor(mean, form=container)}
    config, nets, provenance = convert_pickle(write(tmp_path, container.zip(content), "x.pt"))
    assert config == want[0] and provenance["era"] == "state" and provenance["note"]
    if where == "no mean":
        x = np.random.RandomState(0).randn(10_000, 6)
        x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True))
        for i in range(2):
            weight = arrays[f"mapping.fc{i}.weight"].astype(np.float64)
            x = x @ weight.T * 0.01 / np.sqrt(weight.shape[1]) + 0.01 * arrays[f"mapping.fc{i}.bias"]
            x = np.where(x > 0, x, 0.2 * x) * 2**0.5
        np.testing.assert_allclose(nets["g_ema"].pop("w_avg"), x.mean(axis=0), rtol=1e-3, atol=1e-7)
        del want[1]["g_ema"]["w_avg"]
    equal_trees(nets, want[1])


def test_state_dicts_that_do_not_tell_how_their_network_is_built(tmp_path):
    good = rosinality(official.generator(16, seed=2))
    record = lambda arrays: {"g_ema": {name: forge.ndarray(value) for name, value in arrays.items()}}
    bad = {
        "arrays that StyleGAN2 of rosinality does not have: mystery": good | {"mystery": np.ones(3, np.float32)},
        "is not the filter": good | {"convs.0.conv.blur.kernel": np.ones((4, 4), np.float32)},
        "channels at": good | {"convs.1.conv.weight": np.ones((1, 7, 8, 3, 3), np.float32)},
        "missing: synthesis.b8.conv0.noise_const": {k: v for k, v in good.items() if k != "noises.noise_1"},
        "only for StyleGAN2": test_stylegan3.arrays("t"),
    }
    for words, arrays in bad.items():
        with pytest.raises(BadCheckpointError, match=words):
            convert_pickle(write(tmp_path, record(arrays)))
    rows = record(good) | {"latent_avg": forge.ndarray(np.arange(10, dtype=np.float32).reshape(2, 5))}
    with pytest.raises(BadCheckpointError, match="latent_avg has 2 rows that differ"):
        convert_pickle(write(tmp_path, rows))


BESIDE: dict[str, Any] = {
    "path": Call(Name("pathlib", "PosixPath"), "data", "x.zip"),
    "date": Call(Name("datetime", "datetime"), b"\x07\xe8\x01\x01\0\0\0\0\0\0"),
    "namespace": New(Name("argparse", "Namespace"), state={"lr": 0.1}),
    "counter": Call(Name("collections", "Counter"), {"a": 3}),
    "default": Call(Name("collections", "defaultdict"), Name("builtins", "list")),
    "generator": Call(Name("numpy.random._pickle", "__randomstate_ctor"), "MT19937", state={"pos": 1}),
    "objects": forge.ndarray(np.zeros(1), code="O8", raw=["x"]),
    "strings": forge.ndarray(np.zeros(1), code="U5", raw=b"x" * 20),
    "enum": Call(Name("mine", "Outer.Inner"), 3),
    "augment_pipe": "ada",
    "pipe": {"xflip": 1},
}


@pytest.mark.parametrize("name", BESIDE)
def test_unknown_things_beside_the_networks(tmp_path, plain, name):
    path = write(tmp_path, {"G_ema": g_net(), name: BESIDE[name], "last": 5})
    result = read_official_pickle(path)
    assert (name in result.extras) != (name in result.dropped) and result.extras["last"] == 5
    _, nets, provenance = convert_pickle(path)
    equal_trees(nets, plain[1])
    assert provenance.get("dropped", {}).keys() == result.dropped.keys()


def test_parameters_with_attributes_and_of_classes_of_their_own(tmp_path):
    value = np.arange(5, dtype=np.float32)
    rebuilt = forge.tensor(value)
    forms = {
        "with_state": Call(
            Name("torch._utils", "_rebuild_parameter_with_state"), rebuilt, True, OrderedDict(), {"a": 1}
        ),
        "of_type": Call(
            Name("torch._tensor", "_rebuild_from_type_v2"), rebuilt.function, Name("my", "T"), rebuilt.args, {}
        ),
        "built": Call(rebuilt.function, *rebuilt.args, state={"note": 1}),
    }
    state = {"_parameters": OrderedDict(forms), "_buffers": OrderedDict(), "_modules": OrderedDict()}
    got = read_official_pickle(write(tmp_path, {"G": forge.persistent("G", state)})).nets["G"].params
    for name in forms:
        np.testing.assert_array_equal(got[name], value)


def test_what_a_network_is_made_of_must_be_known(tmp_path):
    state = {"_parameters": {"x": Call(Name("os", "system"), "true")}, "_modules": {}}
    with pytest.raises(BadCheckpointError, match=r"'x' is a 'os\.system', not a tensor"):
        read_official_pickle(write(tmp_path, {"G": forge.persistent("G", state)}))
    with pytest.raises(BadCheckpointError, match=r"asks for 'os\.system', which no official network file needs"):
        read_official_pickle(write(tmp_path, {"G": Call(Name("os", "system"), "true")}))


def _state(prefix: str = "") -> OrderedDict:
    return OrderedDict((prefix + name, forge.tensor(x)) for name, x in official.generator(16, seed=2).items())


LAYOUTS = {
    "module under g_ema": lambda: {"g_ema": g_net()},
    "module under ema beside D": lambda: {"ema": g_net(), "D": g_net(), "step": 5},
    "module under a name of its own": lambda: {"my_net": g_net(), "cfg": {"lr": 1.0}},
    "snapshot below model": lambda: {"model": {"G_ema": g_net()}},
    "snapshot in a list": lambda: [{"G_ema": g_net()}],
    "list of G, D, G_ema": lambda: [g_net(), g_net(), g_net()],
    "arrays under params_ema": lambda: {"params_ema": _state()},
    "arrays below checkpoint, g_ema": lambda: {"checkpoint": {"g_ema": _state(), "step": 3}},
    "arrays of several devices": lambda: {"g_ema": _state("module.")},
    "arrays named by their network": lambda: {"state_dict": _state("G_ema.")},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_generator_is_found_whatever_its_key(tmp_path, layout):
    plain = convert_pickle(write(tmp_path, {"G_ema": g_net()}, "plain.pkl"))[1]["g_ema"]
    equal_trees(convert_pickle(write(tmp_path, LAYOUTS[layout]()), ("G_ema",))[1]["g_ema"], plain)


@pytest.mark.parametrize("content", [5, "text", None, [], {}, {"G_ema": 5}, {"D": None}])
def test_what_is_no_network_is_described(tmp_path, content):
    with pytest.raises(BadCheckpointError, match=r"it (is of the type|contains|is empty)"):
        convert_pickle(write(tmp_path, content))
