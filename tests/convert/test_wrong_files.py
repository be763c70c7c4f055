"""Files that are no networks, and numbers that cannot be drawn: each is named, and none steers the terminal."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import forge
import numpy as np
import official
import pytest
import safetensors.numpy
from forge import Call, Name
from others import equal_trees, g_net, tf_nets, write

from stylegan_jax import load_model
from stylegan_jax.base.trees import flatten
from stylegan_jax.config import ConfigError
from stylegan_jax.convert import BadCheckpointError, convert_pickle, write_model_folder
from stylegan_jax.convert.__main__ import main


@pytest.fixture
def plain(tmp_path) -> tuple[dict, dict, dict]:
    """What the official file of `g_net()` converts to."""
    return convert_pickle(write(tmp_path, {"G_ema": g_net()}, "plain.pkl"))


def spoilt(arrays: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    name = "synthesis.b8.conv0.weight"
    value = arrays[name].copy()
    if kind in ("nan", "inf"):
        value[0, 0, 0, 0] = float(kind)
    elif kind == "float64":
        value = value.astype(np.float64) * 1e300
    else:
        value = value.astype(kind)
    return arrays | {name: value}


@pytest.mark.parametrize("kind", ["nan", "inf", "float64", "int8", "bool"])
def test_weights_that_are_no_numbers_are_named(tmp_path, capsys, kind):
    path = write(tmp_path, {"G_ema": g_net(arrays=spoilt(official.generator(16, seed=2), kind)), "G": g_net()})
    assert main([f"--model={path}", f"--out={tmp_path / 'm'}"]) == 2
    with pytest.raises(BadCheckpointError, match=r"synthesis\.b8\.conv0\.weight"):
        load_model(path)
    assert "synthesis.b8.conv0.weight" in capsys.readouterr().err


def exchange(folder: Path, change: Any) -> None:
    """Rewrite the weights of a model folder, its checksum included."""

    weights, description = folder / "weights.safetensors", folder / "model.json"
    flat = change(safetensors.numpy.load_file(weights))
    safetensors.numpy.save_file(flat, weights)
    model = json.loads(description.read_text())
    model["weights"]["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    description.write_text(json.dumps(model))


def test_a_model_folder_in_half_precision_is_drawn_in_single(tmp_path, plain):
    half = {k: v.astype(np.float16) for k, v in official.generator(16, seed=2).items()}
    for path in (write(tmp_path, {"G_ema": g_net(arrays=half)}), write(tmp_path, {"G_ema": g_net()}, "b.pkl")):
        assert main([f"--model={path}", f"--out={tmp_path / path.stem}"]) == 0
    exchange(tmp_path / "b", lambda flat: {k: v.astype(np.float16) for k, v in flat.items()})
    a, b = load_model(tmp_path / "network"), load_model(tmp_path / "b")
    assert {x.dtype for x in flatten(b.g_ema).values()} == {np.dtype(np.float32)}
    equal_trees(a.g_ema, b.g_ema)


@pytest.mark.parametrize("kind", ["int8", "bool", "nan"])
def test_a_model_folder_of_no_numbers_is_named(tmp_path, kind):
    path = write(tmp_path, {"G_ema": g_net()})
    assert main([f"--model={path}", f"--out={tmp_path / 'm'}"]) == 0
    name = "g_ema/params/synthesis/b8/conv0/weight"
    spoil = lambda x: x.astype(kind) if kind != "nan" else x * np.float32("nan")
    exchange(tmp_path / "m", lambda flat: flat | {name: spoil(flat[name])})
    with pytest.raises(BadCheckpointError, match="params/synthesis/b8/conv0/weight"):
        load_model(tmp_path / "m")


def torch_zip() -> bytes:
    return forge.Container().zip({"G_ema": g_net()})


def test_ordinary_wrong_files_are_named(tmp_path, capsys):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("network.pkl", b"x")
    good = forge.dumps({"G_ema": g_net()})
    files = {
        "html.pkl": (b"\n<!DOCTYPE html><html><head>", "web page"),
        "page.pkl": (b"<html>", "web page"),
        "lfs.pkl": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        "x.pkl.gz": (gzip.compress(good), "gzip"),
        "x.tar": (b"\0" * 257 + b"ustar" + b"\0" * 300, "tar"),
        "empty.pkl": (b"", "empty"),
        "other.json": (b'{"a": 1}', "JSON"),
        "weights.st": (safetensors.numpy.save({"a": np.ones(3)}), "safetensors"),
        "face.pkl": (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "picture"),
        "packed.zip": (packed.getvalue(), "unpack it first"),
        "half.pt": (torch_zip()[:-40], "damaged"),
    }
    for name, (data, word) in files.items():
        path = write(tmp_path, data, name)
        for act in (lambda p: load_model(p), lambda p: convert_pickle(p)):
            with pytest.raises(BadCheckpointError, match=word):
                act(path)
    assert main([f"--model={write(tmp_path, good)}", f"--out={tmp_path / 'm'}"]) == 0
    for name in ("model.json", "weights.safetensors"):
        with pytest.raises(BadCheckpointError, match="pass the folder that it is in"):
            load_model(tmp_path / "m" / name)
    (tmp_path / "m" / "weights.safetensors").write_bytes(files["lfs.pkl"][0])
    with pytest.raises(BadCheckpointError, match="git lfs pull"):
        load_model(tmp_path / "m")
    (tmp_path / "m" / "model.json").write_bytes(files["html.pkl"][0])
    with pytest.raises(BadCheckpointError, match="web page"):
        load_model(tmp_path / "m")
    assert main(["--model=https://example.com/ffhq.pkl", f"--out={tmp_path / 'n'}"]) == 2
    assert "https://example.com/ffhq.pkl is a web address; download" in capsys.readouterr().err


def test_addresses_and_folders_are_named(tmp_path):
    for address, words in {
        "https://example.com/ffhq.pkl": r"https://example\.com/ffhq\.pkl is a web address; download the file",
        "https:/example.com/ffhq.pkl": r"https://example\.com/ffhq\.pkl is a web address",
        "https://huggingface.co/me/faces": "write hf://me/faces",
        "me/faces": "write hf://me/faces",
    }.items():
        with pytest.raises(ConfigError, match=words):
            load_model(address)
    run = tmp_path / "00003-stylegan2"
    run.mkdir()
    for number in ("000200", "001000", "000400"):
        (run / f"network-snapshot-{number}.pkl").write_bytes(b"x")
    for folder in (run, tmp_path):
        with pytest.raises(ConfigError, match=r"network-snapshot-001000\.pkl is the newest; pass .*001000\.pkl"):
            load_model(folder)
    with pytest.raises(BadCheckpointError, match=r"001000\.pkl"):
        from stylegan_jax.convert.__main__ import import_pickle

        import_pickle(str(run), str(tmp_path / "m"), ["g_ema"], overwrite=False)


def test_names_out_of_files_cannot_steer_the_terminal(tmp_path, capsys):
    evil = "\x1b]0;title\x07\x1b[2J\r\nerror: forged\u202e"
    state = {"_parameters": OrderedDict({evil: forge.parameter(np.ones(2, np.float32))}), "_modules": OrderedDict()}
    arrays = official.generator(16, seed=2)
    contents = [
        {"G_ema": g_net({evil: 1})},
        {"G_ema": g_net({"architecture": evil})},
        {"G_ema": forge.network(evil, arrays, {"img_resolution": 16})},
        {"G_ema": forge.persistent(evil, state | {"_init_kwargs": forge.easy({})})},
        {"G_ema": g_net(arrays=arrays | {f"synthesis.b4.{evil.replace('.', '')}": np.ones(2, np.float32)})},
        {"G_ema": Call(Name("os", evil.replace("\n", "")), 1)},
        {evil: 3},
        tf_nets(**{evil: 1}),
    ]
    for content in contents:
        assert main([f"--model={write(tmp_path, content)}", f"--out={tmp_path / 'm'}"]) == 2
    assert (
        main(
            [
                f"--model={write(tmp_path, {'G_ema': g_net(), evil: Call(Name('pathlib', 'Path'), 'x')})}",
                f"--out={tmp_path / 'm'}",
            ]
        )
        == 0
    )
    path = tmp_path / "m" / "model.json"
    good = json.loads(path.read_text())
    for change in ({"arguments": good["arguments"] | {evil: 1}}, {"nets": [evil]}, {"architecture": evil}, {evil: 1}):
        path.write_text(json.dumps(good | change))
        with pytest.raises(BadCheckpointError) as caught:
            load_model(tmp_path / "m")
        print(caught.value)
    printed = "".join(capsys.readouterr())
    assert sum(line.startswith("error: ") for line in printed.split("\n")) == len(contents)
    assert all(c.isprintable() or c == "\n" for c in printed)


def test_what_convert_accepts_load_model_opens(tmp_path):
    """Over all the kinds of files of this page and its neighbours."""
    contents = [
        {"G_ema": g_net({"z_dim": 0, "c_dim": 3}, arrays=official.generator(16, c_dim=3, z=0))},
        {"G_ema": g_net({"conv_clamp": None})},
        {"G_ema": forge.network("Generator", official.generator(16, c_dim=3), official.g_kwargs(16, 3))},
        {"G": g_net()},
        tf_nets(),
        official.snapshot(8),
    ]
    opened = 0
    for i, content in enumerate(contents):
        if main([f"--model={write(tmp_path, content)}", f"--out={tmp_path / str(i)}", "--nets=g_ema,g"]) == 0:
            load_model(tmp_path / str(i))
            opened += 1
    assert opened == len(contents) - 1  # the first draws from its label alone


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("network.zip", zipped("network.pkl"), "unpack it first, and pass that file"),
        ("folder.zip", zipped("m/model.json", "m/weights.safetensors"), "unpack it, and pass the folder"),
        ("styles.pkl", zipped("w.npy"), "NumPy arrays"),
        ("photos.pkl", zipped("a.png"), "zip archive without a network"),
        ("half.pkl", forge.dumps({"G_ema": g_net()})[:20_000], "cut off"),
        ("model.onnx", b"\x08\x07\x12\x07pytorch", "ONNX"),
        ("readme.pkl", b"see https://example.org\n", "is text"),
        ("script.pkl", b"<script>", "web page"),
    ],
)
def test_packed_cut_and_foreign_files_are_named(tmp_path, name, content, told):
    with pytest.raises(BadCheckpointError, match=told):
        load_model(write(tmp_path, content, name))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("saved_model.pb", "SavedModel"),
        ("model.ckpt-1.index", "TensorFlow checkpoint"),
        ("my.safetensors", "no model.json"),
    ],
)
def test_folders_of_other_libraries_are_named(tmp_path, name, told):
    write(tmp_path, b"x", name)
    with pytest.raises(ConfigError, match=told):
        load_model(tmp_path)


def test_an_empty_path_is_no_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is empty"):
        load_model("")
    write(tmp_path, {"G_ema": g_net()})
    assert main(["--model=network.pkl", "--out="]) == 2
    assert "--out is empty" in capsys.readouterr().err


def test_a_model_folder_is_not_replaced_by_its_own_export(tmp_path, capsys, plain):
    write_model_folder(tmp_path / "m", *plain)
    assert main([f"--model={tmp_path / 'm'}", f"--out={tmp_path / 'm'}", "--to=official", "--overwrite"]) == 2
    assert "is the model itself" in capsys.readouterr().err
    assert (tmp_path / "m" / "model.json").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("conv_clamp", 10**400),
        ("conv_clamp", 1e308),
        ("resample_filter", [10**400, 1]),
        ("resample_filter", [1e308] * 2),
    ],
)
def test_numbers_beyond_float32_in_a_folder_are_no_lack_of_memory(tmp_path, key, value, plain):
    write_model_folder(tmp_path / "m", *plain)
    path = tmp_path / "m" / "model.json"
    model = json.loads(path.read_text())
    model["arguments"][key] = value
    path.write_text(json.dumps(model))
    with pytest.raises(BadCheckpointError, match=key):
        load_model(tmp_path / "m")


def test_weights_in_eight_bits_and_cut_descriptions_are_named(tmp_path, plain):
    write_model_folder(tmp_path / "m", *plain)
    path, weights = tmp_path / "m" / "model.json", tmp_path / "m" / "weights.safetensors"
    text = path.read_text()
    head = json.dumps({"g_ema/params/x": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
    weights.write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))
    model = json.loads(text)
    model["weights"]["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    path.write_text(json.dumps(model))
    with pytest.raises(BadCheckpointError, match=r"weights\.safetensors"):
        load_model(tmp_path / "m")
    path.write_text(text[:200])
    with pytest.raises(BadCheckpointError, match="damaged, not JSON"):
        load_model(tmp_path / "m")
