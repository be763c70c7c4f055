"""Files that dill wrote, such as StyleGAN-XL's: everything in them is data, and the code beside it is never run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import dilled
import forge
import numpy as np
import pytest
import safetensors.numpy
from forge import Call, Name, New

from stylegan_jax.convert import BadCheckpointError, read_official_pickle, read_plain_pickle
from stylegan_jax.features import FeatureError, weights
from stylegan_jax.features.class_table import place, read_class_table

G = {"mapping.embed.weight": np.arange(12, dtype=np.float32).reshape(4, 3), "mapping.w_avg": np.ones(4, np.float32)}
D = {"discriminators.lite.main.0.weight_orig": np.ones((2, 3, 4, 4), np.float32), "pretrained.x": np.ones(2)}
D |= {"discriminators.lite.main.0.weight_u": np.zeros(2, np.float32)}


def snapshot(**attributes: Any) -> dict[str, Any]:
    """A snapshot of whole modules: a persistent G, and a D of classes that are only named."""
    g = forge.network("Generator", G, {}, form=dilled.ON_GPU)
    d = forge.network(
        "pg_modules.discriminator.ProjectedDiscriminator",
        D,
        {},
        buffers=("weight_u",),
        attributes={"pretrained": attributes},
        module=forge.by_name,
        form=dilled.ON_GPU,
    )
    progress = {"cur_nimg": forge.tensor(np.array([7]), form=dilled.ON_GPU), "best_fid": 2.5}
    return {"G": g, "D": d, "G_ema": g, "augment_pipe": None, "training_set_kwargs": {}, "progress": progress}


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(forge.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4])
def test_all_networks_are_read_whatever_dill_put_beside_their_arrays(tmp_path, protocol):
    features = np.zeros((2, 197, 4), np.float32)
    content = snapshot(**dilled.additions(features))
    found = read_official_pickle(write(tmp_path / "best_model.pkl", content, protocol))
    for net, want in {"G": G, "G_ema": G, "D": D}.items():
        assert set(found.nets[net].tensors) == set(want)
        for name, value in want.items():
            np.testing.assert_array_equal(found.nets[net].tensors[name], value)
    assert found.extras["progress"]["best_fid"] == 2.5 and not found.dropped
    attributes = found.nets["D"].attributes["pretrained"]
    assert attributes["activations"] == {"1": "tensor"}  # not read
    assert attributes["resize"] == "dill._dill._create_function"
    assert "discriminators.lite.main.0.weight_u" in found.nets["D"].buffers


def hostile(sentinel: Path) -> dict[str, Any]:
    """Calls that would run a command, if what stands for dill's functions were called."""
    touch = f"touch {sentinel}"
    method = Call(dilled.kind("MethodType"), Name("os", "system"), touch)
    function = dilled.made("_create_function", dilled.made("_create_code", 0, b"|\0"), {}, "f", None, ())
    chain: Any = Call(Name("builtins", "getattr"), Name("os", "path"), "__class__")
    for name in ("mro", "__subclasses__"):
        chain = Call(Name("builtins", "getattr"), chain, name)
    return {
        "bound method": method,
        "bound method, called": Call(method, touch),
        "function, called": Call(function, touch),
        "import": Call(dilled.made("_import_module", "os.system"), touch),
        "attribute of a module": Call(dilled.made("_get_attr", dilled.made("_import_module", "os"), "system"), touch),
        "chain of attributes": Call(chain, touch),
        "attribute": Call(Name("builtins", "getattr"), Name("os", "path"), "system"),
        "attribute with a default": Call(Call(Name("builtins", "getattr"), Name("os", "x"), "y", Name("os", "system"))),
        "class, made": New(dilled.own_class("Own", Name("os", "system"), __new__=method)),
        "eval": Call(dilled.made("_eval_repr", f"__import__('os').system({touch!r})"), touch),
    }


@pytest.mark.parametrize("name", hostile(Path("sentinel")))
def test_nothing_is_called_and_the_arrays_beside_it_are_read(tmp_path, name):
    payload = hostile(tmp_path / "sentinel")[name]
    modules = set(sys.modules)
    path = write(tmp_path / "network.pkl", snapshot(extra=payload))
    assert set(read_official_pickle(path).nets["D"].tensors) == set(D)
    with pytest.raises(BadCheckpointError, match="nothing was executed"):
        read_plain_pickle(path)
    with pytest.raises(BadCheckpointError):
        read_official_pickle(write(tmp_path / "network.pkl", {"G_ema": payload}))
    with pytest.raises(BadCheckpointError, match=r"is a .*, not a tensor"):
        state = {"_parameters": {"x": payload}, "_modules": {}}
        read_official_pickle(write(tmp_path / "network.pkl", {"G_ema": forge.persistent("G", state)}))
    assert not (tmp_path / "sentinel").exists()
    assert not {m for m in set(sys.modules) - modules if m.startswith(("dill", "torch", "timm", "pg_modules"))}


def test_an_attribute_of_what_is_no_name_is_refused(tmp_path):
    for owner in ({}, "os", 3, forge.tensor(np.ones(2))):
        path = write(tmp_path / "x.pkl", snapshot(extra=Call(Name("builtins", "getattr"), owner, "x")))
        with pytest.raises(BadCheckpointError, match="where a Global belongs"):
            read_official_pickle(path)


def test_calls_of_calls_end_soon(tmp_path):
    """Each costs one record, whatever was called; the arguments, shared, are not copied."""
    call = b"cdill._dill\n_load_type\nX\x01\0\0\0x\x85R"
    for inside in (b")R" * 150_000, b"\x85" + b"(h\0oh\0\x85R" * 50_000):
        path = tmp_path / "x.pkl"
        path.write_bytes(b"\x80\x02" + call + b"q\0" + inside + b".")
        start = time.process_time()
        with pytest.raises(BadCheckpointError):
            read_official_pickle(path)
        assert time.process_time() - start < 8


TABLE = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def table_files() -> dict[str, bytes]:
    """A class table as its repository holds it, and as others might write it."""
    state = {"training": True, "num_embeddings": 5, "_modules": {}, "_parameters": {"weight": forge.parameter(TABLE)}}
    own = dilled.own_class("Embedding", Name("torch.nn.modules.module", "Module"))
    return {
        "by name": forge.dumps({"embed": New(Name("torch.nn.modules.sparse", "Embedding"), state=state)}),
        "by value": forge.dumps({"embed": New(own, state=state)}),
        "array": forge.dumps({"embed": forge.ndarray(TABLE)}),
        "safetensors": safetensors.numpy.save({"embed": TABLE}),
    }


@pytest.mark.parametrize("form", table_files())
def test_class_table_is_read_as_an_array(tmp_path, form, monkeypatch):
    path = tmp_path / "tf_efficientnet_lite0.pkl"
    path.write_bytes(table_files()[form])
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    for where in (path, tmp_path, None):
        table, source = read_class_table(where, 5, 3)
        np.testing.assert_array_equal(table, TABLE)
        assert table.dtype == np.float32 and str(path) in source


def test_wrong_class_tables_say_what_to_do(tmp_path):
    path = tmp_path / "table.pkl"
    with pytest.raises(FeatureError, match=r"tf_efficientnet_lite0\.pkl  from  the repository"):
        read_class_table(path)
    cases = {
        r"float32\[5, 3\], but the network needs float\[1000, 320\]; set .*embed_rows": {"x": TABLE},
        "has 2 arrays": {"x": TABLE, "y": TABLE},
        "has 0 arrays": {"x": 1},
        "int32": {"x": np.ones((1000, 320), np.int32)},
        "NaN": {"x": np.full((1000, 320), np.nan, np.float32)},
    }
    for words, content in cases.items():
        write(path, {k: forge.ndarray(v) if isinstance(v, np.ndarray) else v for k, v in content.items()})
        with pytest.raises(FeatureError, match=words):
            read_class_table(path)


def test_class_table_goes_into_every_layer_that_embeds_classes():
    layer = lambda: {"weight": np.zeros((5, 3)), "proj": {"weight": np.ones((3, 2))}}
    tree = {"params": {"mapping": {"embed": layer(), "fc0": {"weight": np.ones((5, 3))}}, "head0": {"embed": layer()}}}
    placed = place(tree, TABLE)["params"]
    for part in ("mapping", "head0"):
        assert placed[part]["embed"]["weight"] is TABLE
        np.testing.assert_array_equal(placed[part]["embed"]["proj"]["weight"], 1)
    np.testing.assert_array_equal(placed["mapping"]["fc0"]["weight"], 1)
    assert not tree["params"]["mapping"]["embed"]["weight"].any()
    for bad, shapes in ((tree, r"\[5, 3\]"), ({"params": {}}, "none")):
        with pytest.raises(FeatureError, match=rf"is \[4, 3\]; the network's are {shapes}"):
            place(bad, TABLE[:4])
