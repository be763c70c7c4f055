"""The inert reader: what official files hold comes out as plain data."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import forge
import numpy as np
import official
import pytest
from forge import Call, Name, New

from stylegan_jax.convert import BadCheckpointError, OfficialPickle, read_official_pickle, read_plain_pickle


def read(tmp_path: Path, content: Any, protocol: int = 4, **kwargs: Any) -> OfficialPickle:
    path = tmp_path / "network.pkl"
    path.write_bytes(forge.dumps(content, protocol))
    return read_official_pickle(path, **kwargs)


def one_net(tmp_path: Path, parameters: dict[str, Any], protocol: int = 4) -> dict[str, np.ndarray]:
    """Read a network whose parameters are the given records."""
    state = {"_parameters": OrderedDict(parameters), "_buffers": OrderedDict(), "_modules": OrderedDict()}
    return read(tmp_path, {"G": forge.persistent("Generator", state)}, protocol).nets["G"].params


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_snapshot_reads_exactly(tmp_path, protocol):
    result = read(tmp_path, official.snapshot(c_dim=3), protocol)
    assert result.kind == "torch" and list(result.nets) == ["G", "D", "G_ema"]
    want = official.generator(c_dim=3, seed=2)
    got = result.nets["G_ema"].tensors
    assert set(got) == set(want)
    for name, value in want.items():
        assert got[name].dtype == np.float32 and got[name].flags.c_contiguous and got[name].flags.aligned
        np.testing.assert_array_equal(got[name], value)
    assert result.nets["G"].class_name == "Generator" and result.nets["G"].version == 6
    assert result.nets["G"].init_kwargs["mapping_kwargs"] == {"num_layers": 2}
    assert result.extras == {"augment_pipe": None, "training_set_kwargs": None}


@pytest.mark.parametrize("dtype", sorted(forge.KINDS))
@pytest.mark.parametrize("form", [forge.stream, forge.zip_stream])
def test_storage_types(tmp_path, dtype, form):
    want = (np.arange(24).reshape(2, 3, 4) % 5 - 1).astype(dtype)
    got = one_net(tmp_path, {"x": forge.parameter(want, form=form)})["x"]
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


def test_bfloat16_is_widened_exactly(tmp_path):
    want = np.array([1.0, -2.5, 0.15625, 3e38], np.float32).view(np.uint32) >> 16 << 16
    raw = (want >> 16).astype("<u2").tobytes()
    store = Call(Name("torch.storage", "_load_from_bytes"), forge.stream(raw, "BFloat16Storage", 4))
    got = one_net(tmp_path, {"x": forge.view(store, (4,), (1,))})["x"]
    np.testing.assert_array_equal(got.view(np.uint32), want)


def test_channels_last_and_large_tensors_become_contiguous(tmp_path):
    want = np.random.default_rng(0).standard_normal((16, 12, 3, 3)).astype(np.float32)
    got = one_net(tmp_path, {"x": forge.parameter(want, channels_last=True), "y": forge.parameter(want)}, 2)
    for name in ("x", "y"):
        assert got[name].flags.c_contiguous and not got[name].flags.writeable
        np.testing.assert_array_equal(got[name], want)


def test_shared_storage_and_offsets(tmp_path):
    store = forge.storage(np.arange(10, dtype=np.float32))
    views = {"a": forge.view(store, (2, 3), (3, 1), 4), "b": forge.view(store, (3,), (2,), 1)}
    views["empty"] = forge.view(store, (0, 5), (5, 1), 0)
    got = one_net(tmp_path, views)
    np.testing.assert_array_equal(got["a"], [[4, 5, 6], [7, 8, 9]])
    np.testing.assert_array_equal(got["b"], [1, 3, 5])
    assert got["empty"].shape == (0, 5)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((11,), (1,), 0), ((2,), (1,), 9), ((2, 5), (6, 1), 0), ((3,), (1,), -1), ((3,), (-1,), 5), ((1 << 39,), (0,), 0)],
)
def test_views_outside_the_storage_are_refused(tmp_path, size, stride, offset):
    store = forge.storage(np.arange(10, dtype=np.float32))
    with pytest.raises(BadCheckpointError):
        one_net(tmp_path, {"x": forge.view(store, size, stride, offset)})


def test_frozen_layers_missing_nets_and_selection(tmp_path):
    content = official.snapshot()
    arrays = official.discriminator()
    frozen = ("resample_filter", "b16.conv0.weight", "b16.conv0.bias")
    content["D"] = forge.network("Discriminator", arrays, official.d_kwargs(), buffers=frozen)
    del content["G_ema"]
    result = read(tmp_path, content)
    assert set(result.nets) == {"G", "D"}
    assert "b16.conv0.weight" in result.nets["D"].buffers and "b16.conv1.weight" in result.nets["D"].params
    assert set(result.nets["D"].tensors) == set(arrays)
    assert set(read(tmp_path, content, nets=["D", "G_ema"]).nets) == {"D"}


def test_extras_attributes_and_unknown_classes_are_data(tmp_path):
    scalar = Call(Name("numpy._core.multiarray", "scalar"), Call(Name("numpy", "dtype"), "f8", False, True), b"\0" * 8)
    block = New(Name("timm.models.efficientnet", "Block"), state={"_parameters": {}, "_modules": {}, "depth": 3})
    act = Call(Name("functools", "partial"), Name("torch.nn.modules.activation", "ReLU"))
    state = {
        "_parameters": OrderedDict(w=forge.parameter(np.ones(2, np.float32)), none=None),
        "_buffers": OrderedDict(hidden=forge.tensor(np.zeros(1, np.float32))),
        "_non_persistent_buffers_set": {"hidden"},
        "_modules": OrderedDict(block=block, gone=None),
        "gain": scalar,
        "size": forge.ndarray(np.array([3, 4])),
        "device": Call(Name("torch", "device"), "cpu"),
        "shape": Call(Name("torch", "Size"), [2, 3]),
        "act": act,
        "dtype": Name("torch", "float32"),
    }
    content = {"G_ema": forge.persistent("MyOwnGenerator", state), "augment_pipe": forge.persistent("AugmentPipe", {})}
    content |= {"progress": {"cur_nimg": forge.tensor(np.array([7])), "best_fid": 4.5}, "training_set_kwargs": None}
    result = read(tmp_path, content)
    net = result.nets["G_ema"]
    assert net.class_name == "MyOwnGenerator" and set(net.tensors) == {"w"}
    attributes = net.attributes[""]
    assert attributes["gain"] == 0.0 and list(attributes["size"]) == [3, 4] and attributes["shape"] == (2, 3)
    assert attributes["device"] == "cpu" and attributes["act"] == "functools.partial"
    assert attributes["dtype"] == "torch.float32" and net.attributes["block"] == {"depth": 3}
    assert result.extras["augment_pipe"].class_name == "AugmentPipe"
    assert result.extras["progress"]["cur_nimg"].tolist() == [7] and result.extras["progress"]["best_fid"] == 4.5


@pytest.mark.parametrize("version", [3, 4, 5])
def test_tf_networks(tmp_path, version):
    variables = {"dlatent_avg": np.arange(3, dtype=np.float32), "mapping/Dense0/weight": np.eye(2, dtype=np.float32)}
    variables["synthesis/4x4/Const/const"] = np.ones((1, 2, 4, 4), np.float32)
    nets = tuple(forge.tf_network(n, version, {"resolution": 8}, variables) for n in ("G", "D", "Gs"))
    result = read(tmp_path, nets)
    assert result.kind == "tf" and list(result.nets) == ["G", "D", "G_ema"]
    net = result.nets["G_ema"]
    assert net.version == version and net.class_name == "G_main" and net.init_kwargs == {"resolution": 8}
    assert set(net.params) == set(variables)
    np.testing.assert_array_equal(net.params["mapping/Dense0/weight"], np.eye(2))


def test_python2_strings_and_numpy_names(tmp_path):
    array = np.linspace(0, 1, 3000).astype(np.float32).reshape(3, 1000)
    path = tmp_path / "statistics.pkl"
    for core in ("numpy.core", "numpy._core"):
        records = {
            forge.Py2String("mü".encode("latin1")): 1,
            "a": forge.ndarray(array, core, raw=forge.Py2String(array.tobytes())),
            "b": forge.ndarray(array, core),
        }
        path.write_bytes(forge.dumps(records, 2))
        got = read_plain_pickle(path)
        assert got["mü"] == 1
        np.testing.assert_array_equal(got["a"], array)
        np.testing.assert_array_equal(got["b"], array)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_the_standard_pickler(tmp_path, protocol):
    data = {"x": [1, -2, 3.5, None, True, "ä\n'"], "big": 2**70, "t": (1, (2,)), "s": {1, 2}, "b": b"ab\0", "n": 300}
    data["array"] = np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3))
    data["od"] = OrderedDict(a=1)
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(data, protocol))
    got = read_plain_pickle(path)
    np.testing.assert_array_equal(got.pop("array"), data.pop("array"))
    assert got.pop("s") == [1, 2] and data.pop("s")
    assert got == data


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"not a pickle", b"PK\x03\x04" + b"\0" * 40, b"\x80\x04N."])
def test_other_files_say_what_is_wrong(tmp_path, content):
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(BadCheckpointError) as caught:
        read_official_pickle(path)
    assert str(path) in str(caught.value) and caught.value.reason


def test_missing_file(tmp_path):
    with pytest.raises(BadCheckpointError, match="cannot be read"):
        read_official_pickle(tmp_path / "none.pkl")
