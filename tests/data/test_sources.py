"""Every source: the contract, labels, resizing, and the start-up errors that name the fix."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stylegan_jax.config import ConfigError
from stylegan_jax.data import SOURCES, DataError, MemorySource, open_source

SHAPE = (16, 16, 3)
NAMES = ["00000/b.png", "00000/a.png", "00001/c.png", "00001/d.png"]
CLASSES = {"labels": [[n, i % 3] for i, n in enumerate(NAMES)], "label_names": ["x", "y", "z"]}


@pytest.fixture
def four(smooth, encode):
    """Four encoded images by name, and their pixels in the sorted order of the names."""
    pixels = dict(zip(NAMES, smooth(4), strict=True))
    return {n: encode(p) for n, p in pixels.items()}, np.stack([pixels[n] for n in sorted(NAMES)])


def check_contract(source, pixels, label_dim):
    info = source.info()
    assert info.num_images == len(pixels) and info.label_dim == label_dim
    everything = np.arange(len(pixels))
    assert np.array_equal(source.gather(everything), pixels)
    one = source.pixels(1)
    assert one.dtype == np.uint8 and np.array_equal(one, pixels[1])
    labels = source.labels(np.stack([everything, everything]))
    assert labels.shape == (2, len(pixels), label_dim) and labels.dtype == np.float32
    source.close()


@pytest.mark.parametrize("cache", ["off", "host"])
@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_files_come_in_the_order_of_their_names(kind, cache, four, write, config, tmp_path):
    members, pixels = four
    members = {**members, "README.txt": b"not an image", "00000/.hidden.png": b"", "__MACOSX/a.png": b""}
    path = write(tmp_path, kind, members, CLASSES)
    source = open_source(config(source=kind, path=path, labels="file", cache=cache), SHAPE)
    assert source.info()[:5] == ("set", 4, SHAPE, 3, ("x", "y", "z"))
    assert source.labels(np.arange(4)).argmax(1).tolist() == [1, 0, 2, 0]
    check_contract(source, pixels, 3)


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "BMP"])
def test_deflated_zips_and_other_formats_are_read(image_format, smooth, encode, write, config, tmp_path):
    members = {f"{i}.{image_format.lower()}": encode(p, image_format) for i, p in enumerate(smooth(3))}
    path = write(tmp_path, "zip", members, method=zipfile.ZIP_DEFLATED)
    source = open_source(config(source="zip", path=path, cache="off"), SHAPE)
    assert source.gather(np.arange(3)).shape == (3, *SHAPE)
    source.close()
    with pytest.raises(DataError, match=r"0\.\w+: cannot be read"):
        source.pixels(0)


def test_float_vectors_are_labels(four, write, config, tmp_path):
    vectors = {"labels": [[n, [i, 0.5]] for i, n in enumerate(NAMES)]}
    path = write(tmp_path, "zip", four[0], vectors)
    source = open_source(config(source="zip", path=path, labels="file"), SHAPE)
    assert source.labels(np.arange(4)).tolist() == [[1, 0.5], [0, 0.5], [2, 0.5], [3, 0.5]]
    source.close()


KINDS = {
    "classes": ([2, 0, 1, 2], [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    "multi-hot": ([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], None),
    "vectors": ([[0.5, -3.0], [0.0, 1.0], [1e6, 0.0], [2.0, 2.0]], None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_label_kinds(kind, four, write, config, tmp_path):
    """Class numbers become one-hot vectors, lists are taken as they are; the kind is reported."""
    values, expected = KINDS[kind]
    names = sorted(NAMES)
    content = {"labels": [[n, v] for n, v in zip(names, values, strict=True)]}
    digests = []
    for where in ("zip", "folder"):
        source = open_source(config(source=where, path=write(tmp_path, where, four[0], content), labels="file"), SHAPE)
        info = source.info()
        assert info.label_kind == kind and info.label_dim == len((expected or values)[0])
        assert np.array_equal(source.labels(np.arange(4)), np.array(expected or values, np.float32))
        digests.append(info.label_digest)
        source.close()
    content["labels"][0][1] = values[1]  # one label changes
    source = open_source(config(source="zip", path=write(tmp_path, "zip", four[0], content), labels="file"), SHAPE)
    assert digests[0] == digests[1] != source.info().label_digest
    source.close()
    plain = open_source(config(source="zip", path=str(tmp_path / "set.zip")), SHAPE)
    assert plain.info().label_kind == "none" and plain.info().label_dim == 0
    plain.close()


def test_subfolders_are_classes(four, write, config, tmp_path):
    path = write(tmp_path, "folder", four[0])
    source = open_source(config(source="folder", path=path, labels="subfolders"), SHAPE)
    assert source.info().label_names == ("00000", "00001")
    assert source.labels(np.arange(4)).argmax(1).tolist() == [0, 0, 1, 1]
    (tmp_path / "set" / "loose.png").write_bytes(four[0][NAMES[0]])
    with pytest.raises(DataError, match=r"outside any subfolder: loose\.png"):
        open_source(config(source="folder", path=path, labels="subfolders"), SHAPE)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("cache", ["off", "host", "device"])
def test_arrays_from_files(name, cache, smooth, config, tmp_path):
    pixels, path = smooth(5), tmp_path / name
    np.save(path, pixels) if name == "x.npy" else np.savez(path, images=pixels, labels=np.array([0, 1, 2, 0, 1]))
    labels = "none" if name == "x.npy" else "file"
    source = open_source(config(path=str(path), labels=labels, cache=cache), SHAPE)
    assert source.info().name == "x"
    check_contract(source, pixels, 0 if name == "x.npy" else 3)


def test_grey_arrays_may_lack_the_channel_axis(smooth):
    grey = MemorySource(smooth(2, channels=1)[..., 0])
    assert grey.info().image_shape == (16, 16, 1)
    labelled = MemorySource(smooth(2), np.array([[0.0, 1.0], [1.0, 0.0]]), label_names=("a", "b"))
    assert labelled.labels(np.array([1])).tolist() == [[1, 0]]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("classes", [0, 7])
def test_synthetic_images_are_functions_of_their_number(channels, classes, config):
    shape = (16, 32, channels)
    made = [open_source(config(source="synthetic", synthetic_labels=classes, cache=c), shape) for c in ("host", "off")]
    pixels = made[1].gather(np.arange(20))
    assert pixels.shape == (20, *shape) and len(np.unique(pixels.reshape(20, -1), axis=0)) == 20
    for source in made:
        check_contract(source, pixels, classes)


@pytest.mark.parametrize("resize_filter", ["box", "lanczos"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_larger_images_are_reduced(resize_filter, channels, smooth, config, tmp_path):
    pixels = smooth(3, 32, channels)
    np.save(tmp_path / "x.npy", pixels)
    for cache in ("off", "host"):
        changes = {"path": str(tmp_path / "x.npy"), "cache": cache, "resize_filter": resize_filter}
        source = open_source(config(**changes), (16, 16, channels))
        assert source.info().image_shape == (32, 32, channels)
        reduced = source.gather(np.arange(3))
        assert reduced.shape == (3, 16, 16, channels)
        if resize_filter == "box" and channels != 4:  # Pillow weighs colours by alpha
            blocks = pixels.reshape(3, 16, 2, 16, 2, channels).mean((2, 4))
            assert np.abs(reduced - blocks).max() <= 0.5


def test_enlarging_is_logged(smooth, config, tmp_path, caplog):
    np.save(tmp_path / "x.npy", smooth(2, 8))
    source = open_source(config(path=str(tmp_path / "x.npy")), SHAPE)
    assert source.pixels(0).shape == SHAPE
    assert "enlarged from 8x8 to 16x16" in caplog.text and "resolution=8" in caplog.text


def test_auto_caches_what_fits(config):
    megabyte = 2**20 // (64 * 64 * 3)
    for images, expected in ((megabyte, "host"), (megabyte + 1, "off")):
        source = open_source(config(source="synthetic", synthetic_images=images, cache_limit_mb=1), (64, 64, 3))
        assert source.cache == expected and (source.array is None) == (expected == "off")


def test_unknown_source_suggests(config):
    with pytest.raises(ConfigError, match=r"'flder'; did you mean 'folder'"):
        open_source(config(source="flder"), SHAPE)
    assert set(SOURCES) == {"zip", "folder", "tfds", "memory", "synthetic", "video", "tiles"}


@pytest.mark.parametrize("source", ["zip", "folder", "memory"])
def test_missing_paths_suggest_a_neighbour(source, config, tmp_path):
    (tmp_path / "emoji64.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"no such \w+ .*did you mean .*emoji64\.zip"):
        open_source(config(source=source, path=str(tmp_path / "emoji46.zip")), SHAPE)


def _zip_cases(tmp_path):
    for name, content in (("empty.zip", b""), ("text.zip", b"hello" * 100), ("png.zip", b"\x89PNG\r\n\x1a\n")):
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    return {
        "empty.zip": r"0 bytes",
        "text.zip": r"not a zip",
        "png.zip": r"a picture .PNG., not a data set",
        "none.zip": r"no image in it",
        "": r"a folder; use --config.data.source=folder",
    }


def test_things_that_are_no_zip(config, tmp_path):
    for name, text in _zip_cases(tmp_path).items():
        with pytest.raises((DataError, ConfigError), match=text):
            open_source(config(source="zip", path=str(tmp_path / name)), SHAPE)
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError, match="no image in it"):
        open_source(config(source="folder", path=str(tmp_path / "sub")), SHAPE)
    with pytest.raises(ConfigError, match=r"a file; use --config\.data\.source=zip"):
        open_source(config(source="folder", path=str(tmp_path / "none.zip")), SHAPE)


def test_a_cut_off_zip_is_refused(four, write, config, tmp_path):
    path = write(tmp_path, "zip", four[0])
    content = (tmp_path / "set.zip").read_bytes()
    (tmp_path / "set.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cut off"):
        open_source(config(source="zip", path=path), SHAPE)


JSON_CASES = {
    "no JSON": (b"{", "not valid JSON"),
    "a table": (b"name,label\na.png,1", r'not valid JSON .*; write \{"labels": \[\["name\.png", 0\]'),
    "latin-1": (b'{"labels": [["\xe9.png", 0]]}', "not valid JSON .not UTF-8 text at byte 14"),
    "nested too deep": (b"[" * 100000, "not valid JSON .lists in too many lists"),
    "endless number": (b'{"labels": [["a.png", ' + b"9" * 5000 + b"]]}", "not valid JSON .a number of thousands"),
    "null and numbers": ({"labels": [[n, None if n.endswith("c.png") else 0] for n in NAMES]}, "c.png is None"),
    "full paths": ({"labels": [["/home/a/" + n, 0] for n in NAMES]}, "its names are such as /home/a/0000"),
    "a list": (b"[]", 'no list "labels"'),
    "null": ({"labels": None}, 'no list "labels"'),
    "entry": ({"labels": [["a.png"]]}, r"not \[name"),
    "missing": ({"labels": [["00000/a.png", 0]]}, r"no label for 3 of 4 images: 00000/b\.png, 00001/c\.png"),
    "negative": ({"labels": [[n, -1] for n in NAMES]}, "count from 0"),
    "huge": ({"labels": [[n, 10**30] for n in NAMES]}, "count from 0"),
    "bool": ({"labels": [[n, True] for n in NAMES]}, "must be a class number or a list"),
    "text": ({"labels": [[n, "cat"] for n in NAMES]}, "must be a class number or a list"),
    "a bare float": ({"labels": [[n, 0.5] for n in NAMES]}, "must be a class number or a list"),
    "mixed": ({"labels": [[n, [0, 1][: 1 + (n == NAMES[0])]] for n in NAMES]}, r"list of 1 numbers"),
    "ints and lists": ({"labels": [[n, 0 if n == NAMES[0] else [1]] for n in NAMES]}, r"list of 1 numbers"),
    "empty vector": ({"labels": [[n, []] for n in NAMES]}, "must be a class number or a list"),
    "nan": (b'{"labels": [["00000/a.png", [NaN]], ["00000/b.png", [1]], ["00001/c.png", [1]], ["00001/d.png", [1]]]}',
            "must be"),
    "beyond float32": ({"labels": [[n, [1e39]] for n in NAMES]}, "must be"),
    "two labels": ({"labels": [*CLASSES["labels"], [NAMES[0], 7]]}, "has two labels"),
    "few names": ({**CLASSES, "label_names": ["x"]}, "1 label names for 3 classes"),
    "odd names": ({**CLASSES, "label_names": [1, 2, 3]}, "list of strings"),
}  # fmt: skip


@pytest.mark.parametrize("case", JSON_CASES)
def test_bad_dataset_json_is_explained(case, four, write, config, tmp_path):
    content, text = JSON_CASES[case]
    members = {**four[0], "dataset.json": content if isinstance(content, bytes) else json.dumps(content).encode()}
    for kind in ("zip", "folder"):
        path = write(tmp_path, kind, members)
        with pytest.raises(DataError, match=text):
            open_source(config(source=kind, path=path, labels="file"), SHAPE)
        open_source(config(source=kind, path=path), SHAPE).close()  # without labels the file does not matter


def test_labels_that_are_not_there(four, write, config, tmp_path, smooth):
    for kind in ("zip", "folder"):
        path = write(tmp_path, kind, four[0])
        with pytest.raises(DataError, match=r"labels='file' needs .*dataset\.json"):
            open_source(config(source=kind, path=path, labels="file"), SHAPE)
    nested = write(tmp_path, "zip", {**four[0], "sub/dataset.json": b"{}"})
    with pytest.raises(DataError, match=r"there are no labels in sub/dataset\.json"):
        open_source(config(source="zip", path=nested, labels="file"), SHAPE)
    np.save(tmp_path / "x.npy", smooth(2))
    with pytest.raises(DataError, match="'labels'"):
        open_source(config(path=str(tmp_path / "x.npy"), labels="file"), SHAPE)
    with pytest.raises(ConfigError, match="synthetic_labels > 0"):
        open_source(config(source="synthetic", labels="file"), SHAPE)
    with pytest.raises(ConfigError, match=r"needs data\.source='folder'"):
        open_source(config(source="synthetic", labels="subfolders"), SHAPE)


def test_other_shapes_than_the_models_are_refused(config, tmp_path, smooth):
    np.save(tmp_path / "x.npy", smooth(2))
    with pytest.raises(DataError, match=r"3 channels, the model 1; set --config\.model\.img_channels=3"):
        open_source(config(path=str(tmp_path / "x.npy")), (16, 16, 1))
    with pytest.raises(DataError, match=r"another aspect ratio.*base_size"):
        open_source(config(path=str(tmp_path / "x.npy")), (16, 32, 3))
    with pytest.raises(ConfigError, match="1, 3 or 4"):
        open_source(config(source="synthetic"), (16, 16, 2))


def test_bad_arrays_are_refused(config, tmp_path, smooth):
    np.savez(tmp_path / "other.npz", pictures=smooth(2))
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "object.npz", images=np.array([{}], dtype=object))
    np.save(tmp_path / "float.npy", np.zeros((2, 16, 16, 3)))
    np.save(tmp_path / "none.npy", np.zeros((0, 16, 16, 3), np.uint8))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "float.npy").read_bytes()[:1000])
    (tmp_path / "header.npy").write_bytes(b"\x93NUMPY\1\0\x20\0" + b"{'descr':((((".ljust(32))
    (tmp_path / "folder").mkdir()
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (1 << 30, 16, 16, 3)})
    with zipfile.ZipFile(tmp_path / "claims.npz", "w") as archive:
        archive.writestr("images.npy", head.getvalue())
    np.savez(tmp_path / "labels.npz", images=smooth(2), labels=np.array([0, 1, 2]))
    cases = {
        "other.npz": r"no array 'images' in it; it contains 'pictures'",
        "object.npy": "not a readable",
        "object.npz": "not a readable",
        "float.npy": "float64.*must be uint8",
        "none.npy": "N, h, w > 0",
        "cut.npy": "not a readable",
        "header.npy": "the header of the array is damaged",
        "claims.npz": "more than 1024 MiB are not read",
        "nothing.npy": "there is no such file",
        "folder": "is '.*', a folder; use --config.data.source=folder",
        "labels.npz": "3 labels for 2 images",
    }
    for name, text in cases.items():
        with pytest.raises((DataError, ConfigError), match=text):
            labels = "file" if name == "labels.npz" else "none"
            open_source(config(path=str(tmp_path / name), labels=labels), SHAPE)
    with pytest.raises(ConfigError, match="path is empty"):
        open_source(config(), SHAPE)
    for values, text in ((np.array([0, -1]), "count from 0"), (np.array([0.5, 1]), "labels are float64")):
        with pytest.raises(DataError, match=text):
            MemorySource(smooth(2), values)
    with pytest.raises(DataError, match="must be"):
        MemorySource([1, 2])  # pyright: ignore[reportArgumentType]


def test_bundled_dataset(config):
    path = str(Path(__file__).parents[2] / "datasets" / "emoji64.zip")
    source = open_source(config(source="zip", path=path, labels="file", cache="off"), (64, 64, 3))
    info = source.info()
    assert (info.num_images, info.image_shape, info.label_dim) == (3781, (64, 64, 3), 9)
    counts = np.bincount(source.labels(np.arange(3781)).argmax(1))
    assert counts.tolist() == [169, 2261, 159, 131, 218, 85, 264, 224, 270]
    assert info.label_names[0] == "Smileys & Emotion" and not info.skipped
    source.close()
