"""The data set tool on other people's formats: CIFAR, MNIST, LSUN, TFRecords, tfds; real layouts, written here."""

import contextlib
import gzip
import io
import os
import pickle
import struct
import sys
import tarfile
import time
import zipfile

import lmdb
import numpy as np
import pytest
from PIL import Image

from stylegan_jax.data import BadImage, DataError
from stylegan_jax.data.prepare import Options, prepare
from stylegan_jax.data.prepare.crc32c import crc32c
from stylegan_jax.data.prepare.sources import open_examples
from stylegan_jax.data.zip_source import ZipFiles


@pytest.fixture
def read(tmp_path):
    """Return a function that prepares a source and returns (report, pixels uint8[n, h, w, c])."""

    def read(source, **options):
        dest = str(tmp_path / "out.zip")
        report = prepare(Options(str(source), dest, overwrite=True, **options))
        with zipfile.ZipFile(dest) as archive:
            images = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name, _, _ in report.written]
        pixels = np.stack(images)
        return report, pixels[..., None] if pixels.ndim == 3 else pixels

    return read


def refused(source, text, tmp_path, **options):
    dest = tmp_path / "refused.zip"
    with pytest.raises(DataError, match=text):
        prepare(Options(str(source), str(dest), **options))
    assert not dest.exists()


def write_tar(path, members: dict[str, bytes], mode: str = "w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def python_2_batch(pixels: np.ndarray, labels: list[int], key: bytes = b"labels") -> bytes:
    """Return a batch as Python 2 pickled it for the published archive: protocol 2, byte strings throughout."""

    def string(data: bytes) -> bytes:
        return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xff"
    dtype += b"J\xff\xff\xff\xffK\x00tb"
    shape = b"".join(b"J" + struct.pack("<i", s) for s in pixels.shape) + b"\x86"
    array += b"(K\x01" + shape + dtype + b"\x89" + string(pixels.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([n]) for n in labels) + b"e"
    names = b"](" + b"".join(string(b"image_%d.png" % i) for i in range(len(labels))) + b"e"
    items = string(b"batch_label") + string(b"training batch") + string(key) + numbers
    return b"\x80\x02}(" + items + string(b"data") + array + string(b"filenames") + names + b"u."


@pytest.fixture(scope="module")
def cifar():
    """Five batches of four images: (uint8[20, 32, 32, 3], labels, {batch number: (flat, labels)})."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    labels = [i % 10 for i in range(20)]
    flat = pixels.transpose(0, 3, 1, 2).reshape(20, 3072)
    return pixels, labels, {b + 1: (flat[4 * b : 4 * b + 4], labels[4 * b : 4 * b + 4]) for b in range(5)}


CLASSES = [f"class {i}" for i in range(10)]


@pytest.mark.parametrize("writer", ["python 2", "protocol 2", "protocol 4", "binary"])
def test_cifar_10(writer, cifar, read, tmp_path):
    pixels, labels, batches = cifar
    members = {"cifar-10-batches-py/readme.html": b"<html>"}
    for number, (flat, values) in reversed(batches.items()):  # the order in the tar does not matter
        if writer == "python 2":
            data = python_2_batch(flat, values)
        elif writer == "binary":
            data = b"".join(bytes([v]) + row.tobytes() for v, row in zip(values, flat, strict=True))
        else:
            data = pickle.dumps({b"data": flat, b"labels": values}, int(writer[-1]))
        members[f"cifar-10-batches-py/data_batch_{number}" + ".bin" * (writer == "binary")] = data
    if writer == "binary":
        members["cifar-10-batches-bin/batches.meta.txt"] = "\n".join(c.replace(" ", "_") for c in CLASSES).encode()
    else:
        members["cifar-10-batches-py/batches.meta"] = pickle.dumps({b"label_names": [c.encode() for c in CLASSES]}, 2)
    members["cifar-10-batches-py/test_batch" + ".bin" * (writer == "binary")] = data
    path = write_tar(tmp_path / "cifar-10.tar.gz", members)
    report, found = read(path)
    assert np.array_equal(found, pixels) and report.labels == labels
    assert [n.replace("_", " ") for n in report.label_names] == CLASSES
    report, found = read(path, split="test", labels="none")
    assert np.array_equal(found, pixels[:4]) and report.labels == [None] * 4 and report.label_names == ()
    assert not any("batches" in line for line in report.notes)


def test_a_cifar_archive_that_ends_between_two_files_is_named(cifar, read, tmp_path):
    batches = {f"c/data_batch_{n}": pickle.dumps({"data": x, "labels": y}) for n, (x, y) in cifar[2].items()}
    path = write_tar(tmp_path / "c.tar", batches, "w")
    size = 512 + -(-len(batches["c/data_batch_1"]) // 512) * 512
    path.write_bytes(path.read_bytes()[: 2 * size])
    report, _ = read(path)
    assert len(report.written) == 8 and "2 of the 5 batches of CIFAR-10 (data_batch_1, data_batch_2)" in report.notes[0]


@pytest.mark.parametrize("binary", [False, True])
def test_cifar_100_has_fine_labels(binary, cifar, read, tmp_path):
    pixels, _, _ = cifar
    flat, fine = pixels.transpose(0, 3, 1, 2).reshape(20, 3072), [3 * i for i in range(20)]
    if binary:
        data = b"".join(bytes([7, v]) + row.tobytes() for v, row in zip(fine, flat, strict=True))
    else:
        data = python_2_batch(flat, fine, b"fine_labels")
    report, found = read(write_tar(tmp_path / "c.tar", {f"x/train{'.bin' * binary}": data}, "w"))
    assert np.array_equal(found, pixels) and report.labels == fine


class Runs:
    """What an attacker pickles."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_hostile_and_damaged_cifar_archives(cifar, tmp_path):
    sentinel = tmp_path / "ran"
    flat, values = cifar[2][1]
    name = "cifar-10-batches-py/data_batch_1"
    good = write_tar(tmp_path / "good.tar.gz", {name: python_2_batch(flat, values)}).read_bytes()
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    cases = {
        "pickle": ({name: pickle.dumps({"data": Runs(sentinel), "labels": values})}, r"asks for '(posix|os)\.system'"),
        "no pickle": ({name: b"hello" * 99}, "damaged, or not a pickle"),
        "no dict": ({name: pickle.dumps([1])}, "not a dict"),
        "no labels": ({name: pickle.dumps({"data": flat})}, "fine_labels"),
        "shape": ({name: pickle.dumps({"data": flat[:, :100], "labels": values})}, r"\[4, 100\]"),
        "count": ({name: pickle.dumps({"data": flat, "labels": values[:3]})}, "for 4 images"),
        "dtype": ({name: pickle.dumps({"data": flat / 255, "labels": values})}, "float64"),
        "binary": ({name + ".bin": b"123"}, "not whole records"),
        "another tar": ({"photos/a.png": b""}, "no CIFAR batches.*unpack it and pass the folder"),
    }
    for case, (members, text) in cases.items():
        refused(write_tar(tmp_path / f"{case}.tar.gz", members), text, tmp_path)
    (tmp_path / "cut.tar.gz").write_bytes(good[: len(good) // 2])
    refused(tmp_path / "cut.tar.gz", "damaged or cut off|unknown kind", tmp_path)
    refused(tmp_path / "good.tar.gz", "--split=valid: CIFAR has train and test", tmp_path, split="valid")
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        archive.addfile(link)
    refused(tmp_path / "link.tar", "no CIFAR batches", tmp_path)
    huge = tarfile.TarInfo(name)
    huge.size = 1 << 40
    (tmp_path / "huge.tar").write_bytes(huge.tobuf() + bytes(1024))
    refused(tmp_path / "huge.tar", "larger than any CIFAR archive", tmp_path)
    assert not sentinel.exists()


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_padded_to_32(packed, read, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    values = np.array([3, 0, 9, 1, 3], np.uint8)
    pack, suffix = (gzip.compress, ".gz") if packed else (bytes, "")
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(pack(idx(pixels)))
    refused(path, "--labels=file needs the labels next to it", tmp_path, labels="file")
    assert read(path)[0].labels == [None] * 5
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(values)))
    report, found = read(path)
    assert found.shape == (5, 32, 32, 1) and np.array_equal(found[:, 2:-2, 2:-2, 0], pixels)
    assert found.sum() == pixels.sum() and report.labels == values.tolist()
    assert read(path, channels=3)[1].shape == (5, 32, 32, 3)
    other = tmp_path / "other-images"
    other.write_bytes(idx(pixels[:, :20, :24]))
    assert np.array_equal(read(other)[1][..., 0], pixels[:, :20, :24])


def test_damaged_mnist(read, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    whole = idx(pixels)
    cases = {
        "cut": (whole[:-1], "it holds less"),
        "long": (whole + b"x", "it holds more"),
        "huge": (bytes([0, 0, 8, 3]) + b"\xff" * 12, "claims"),
        "none": (idx(pixels[:0]), "claims"),
        "gzip": (gzip.compress(whole)[:2000], "damaged or cut off"),
        "text": (b"hello", "unknown kind of file"),
    }
    for case, (data, text) in cases.items():
        (tmp_path / f"{case}-images").write_bytes(data)
        refused(tmp_path / f"{case}-images", text, tmp_path)
    (tmp_path / "images").write_bytes(whole)
    (tmp_path / "labels").write_bytes(idx(np.zeros(4, np.uint8)))
    refused(tmp_path / "images", "4 labels for 5 images", tmp_path)


def test_crc32c_is_that_of_rfc_3720():
    known = {b"": 0, b"123456789": 0xE3069283, bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43}
    known[bytes(range(32))] = 0x46DD794E
    assert {data: crc32c(data) for data in known} == known

    def bitwise(data: bytes) -> int:
        state = 0xFFFFFFFF
        for value in data:
            state ^= value
            for _ in range(8):
                state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
        return state ^ 0xFFFFFFFF

    for size in (63, 64, 65, 127, 128, 1000, 4097, 12345):
        data = np.random.default_rng(size).bytes(size)
        assert crc32c(data) == bitwise(data)


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(pixels: np.ndarray, packed: bool = True) -> bytes:
    """Return a tf.train.Example as the TensorFlow-era tools write it: CHW bytes and their shape."""
    chw = pixels.transpose(2, 0, 1)
    shape = (
        field(1, b"".join(varint(s) for s in chw.shape)) if packed else b"".join(b"\x08" + varint(s) for s in chw.shape)
    )
    entries = {b"shape": field(3, shape), b"data": field(1, field(1, chw.tobytes()))}
    return field(1, b"".join(field(1, field(1, key) + field(2, value)) for key, value in entries.items()))


def record(data: bytes) -> bytes:
    def masked(part: bytes) -> bytes:
        crc = crc32c(part)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


@pytest.fixture
def tfrecords(tmp_path):
    """A set of three resolutions with one-hot labels: (folder, pixels at the highest)."""
    folder = tmp_path / "set"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    for level in (2, 3, 4):
        small = pixels[:, :: 2 ** (4 - level), :: 2 ** (4 - level)]
        content = b"".join(record(example(p, packed=i % 2 == 0)) for i, p in enumerate(small))
        (folder / f"set-r{level:02}.tfrecords").write_bytes(content)
    with open(folder / "set-rxx.labels", "wb") as file:
        np.save(file, np.eye(4, dtype=np.float32)[[0, 3, 1, 1, 2, 0]])
    return folder, pixels


def test_tfrecords(tfrecords, read, tmp_path):
    folder, pixels = tfrecords
    report, found = read(folder)
    assert np.array_equal(found, pixels) and report.labels == [0, 3, 1, 1, 2, 0] and report.kind == "tfrecords"
    report, found = read(folder / "set-r03.tfrecords", labels="none")
    assert np.array_equal(found, pixels[:, ::2, ::2]) and report.labels == [None] * 6
    vectors = np.random.default_rng(1).random((6, 3), np.float32)
    with open(folder / "set-rxx.labels", "wb") as file:
        np.save(file, vectors)
    assert np.array_equal(np.array(read(folder)[0].labels, np.float32), vectors)
    (folder / "set-rxx.labels").unlink()
    assert read(folder)[0].labels == [None] * 6
    refused(folder, "--labels=file needs", tmp_path, labels="file")
    grey = tmp_path / "grey.tfrecords"
    grey.write_bytes(record(example(pixels[0, ..., :1])))
    assert np.array_equal(read(grey)[1], pixels[:1, ..., :1])


def test_damaged_tfrecords(tfrecords, read, tmp_path):
    folder, pixels = tfrecords
    path = folder / "set-r04.tfrecords"
    whole = path.read_bytes()
    size = len(whole) // 6
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 4]) + whole[201:])
    report, found = read(folder)
    assert report.skipped == [("record 0", "damaged: the checksum of the record is wrong")]
    assert np.array_equal(found, pixels[1:]) and report.labels == [3, 1, 1, 2, 0]
    bad = {
        "cut off in a record": (whole[:-100], "record 5 claims .*more than there are"),
        "cut off in a header": (whole[: len(whole) - size + 6], "cut off|claims"),
        "a header": (whole[:3] + b"\1" + whole[4:], "record 0 does not begin like one"),
        "nothing": (b"", "no record"),
        "text": (b"hello world, this is text", "does not begin like one"),
    }
    for case, (data, text) in bad.items():
        path.write_bytes(data)
        refused(folder, text, tmp_path)
        assert case
    odd = {
        b"\xff" * 20: "not an example",
        example(pixels[0])[:-50]: "not an example",
        field(1, field(1, field(1, b"data") + field(2, b""))): "not an example",
        example(pixels[0]).replace(b"\x03\x10\x10", b"\x03\x10\x0f"): "bytes for the shape",
    }
    path.write_bytes(record(example(pixels[5])) + b"".join(map(record, odd)))
    report, found = read(folder, labels="none")
    assert len(found) == 1 and len(report.skipped) == len(odd)
    assert all(words in reason for words, (_, reason) in zip(odd.values(), report.skipped, strict=True))
    path.write_bytes(whole)
    np.save(folder / "x.npy", np.zeros((5, 2)))
    (folder / "x.npy").rename(folder / "set-rxx.labels")
    refused(folder, "5 labels for 6 images", tmp_path)
    (folder / "set-rxx.labels").write_bytes(pickle.dumps([Runs(tmp_path / "ran")]))
    refused(folder, "not a readable array", tmp_path)
    for values in ([0, 0.25, 1, 1, 2, 0], [0, np.nan, 1, 1, 2, 0]):  # which were cut to whole numbers
        with open(folder / "set-rxx.labels", "wb") as file:
            np.save(file, values)
        refused(folder, "but not whole numbers", tmp_path)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (6, 1 << 40)})
    (folder / "set-rxx.labels").write_bytes(head.getvalue())
    refused(folder, "more than 1024 MiB are not read", tmp_path)
    for name in ("set-r02", "set-r03", "set-r04"):
        (folder / f"{name}.tfrecords").rename(folder / f"{name[4:]}.tfrecords")
    refused(folder, "no file called like NAME-r08", tmp_path)


def test_lsun(smooth, encode, read, tmp_path):
    pixels = smooth(4, 32)
    path = tmp_path / "church_train_lmdb"
    with lmdb.open(str(path), map_size=1 << 22) as database, database.begin(write=True) as transaction:
        for i, image in enumerate(pixels):
            transaction.put(b"%040d" % i, encode(image, "WEBP", lossless=True))
        transaction.put(b"%040d" % 9, b"no image")
    report, found = read(path)
    assert np.array_equal(found, pixels) and report.kind == "lsun" and report.labels == [None] * 4
    assert [name for name, _ in report.skipped] == [f"{9:040}"]
    report, found = read(path, resolution=(16, 16), max_images=2)
    assert found.shape == (2, 16, 16, 3)
    assert np.array_equal(read(path / "data.mdb")[1], pixels)
    (path / "data.mdb").write_bytes(b"not a database" * 1000)
    refused(path, "not an LMDB", tmp_path)


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.02])
def test_a_lmdb_that_is_cut_off_is_an_error_and_no_crash(kept, encode, tmp_path):
    path = tmp_path / "church_train_lmdb"
    with lmdb.open(str(path), map_size=1 << 24) as database, database.begin(write=True) as transaction:
        for i in range(200):
            transaction.put(b"%08d" % i, np.random.default_rng(i).bytes(3000))
    whole = (path / "data.mdb").stat().st_size
    os.truncate(path / "data.mdb", int(whole * kept))
    for source in (path, path / "data.mdb"):
        refused(source, rf"data\.mdb: cut off: {int(whole * kept)} of {whole} bytes; copy it again", tmp_path)


def test_endless_numbers_in_a_record_are_refused_at_once(read, tmp_path):
    """A packed list of 4 MB that never ends a number, and one of millions of numbers."""
    good = np.zeros((4, 4, 3), np.uint8)
    for numbers, words in ((b"\xff" * (1 << 22), "more than ten bytes"), (b"\1" * (1 << 22), "more than 3 numbers")):
        entries = {b"shape": field(3, field(1, numbers)), b"data": field(1, field(1, b"x"))}
        bad = field(1, b"".join(field(1, field(1, key) + field(2, value)) for key, value in entries.items()))
        (tmp_path / "x.tfrecords").write_bytes(record(bad) + record(example(good)))
        began = time.monotonic()
        report, _ = read(tmp_path / "x.tfrecords")
        assert time.monotonic() - began < 5 and words in report.skipped[0][1]


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_dataset_json_is_limited_in_size(kind, smooth, encode, tmp_path, monkeypatch):
    monkeypatch.setattr("stylegan_jax.data.zip_source.MAX_JSON_BYTES", 1 << 20)
    monkeypatch.setattr("stylegan_jax.data.folder_source.MAX_JSON_BYTES", 1 << 20)
    monkeypatch.setattr("stylegan_jax.data.labels.MAX_JSON_BYTES", 1 << 20)
    content = b'{"labels": [["a.png", 0]' + b', ["b", 0]' * 110_000 + b"]}"
    path = tmp_path / "set"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", encode(smooth(1)[0]))
            archive.writestr("dataset.json", content)
    else:
        path.mkdir()
        (path / "a.png").write_bytes(encode(smooth(1)[0]))
        (path / "dataset.json").write_bytes(content)
    refused(path, r"dataset\.json.* bytes; the limit is 1048576; use an \.npz of images and labels", tmp_path)


def test_without_the_lmdb_package_the_error_names_it(tmp_path, monkeypatch):
    (tmp_path / "x_lmdb").mkdir()
    (tmp_path / "x_lmdb" / "data.mdb").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    refused(tmp_path / "x_lmdb", r"pip install 'stylegan_jax\[lsun\]'", tmp_path)


def test_a_zip_that_unpacks_itself_is_one(smooth, encode, read, tmp_path):
    (tmp_path / "set.exe").write_bytes(b"MZ" + bytes(500))
    with zipfile.ZipFile(tmp_path / "set.exe", "a") as archive:
        archive.writestr("a.png", encode(smooth(1)[0]))
    assert np.array_equal(read(tmp_path / "set.exe")[1], smooth(1))


def test_what_is_no_source(tmp_path):
    (tmp_path / "photos").mkdir()
    refused(tmp_path / "fotos", r"--source is .*no such file or folder.*did you mean .*photos", tmp_path)
    refused("", r"--source is empty; pass the file or folder", tmp_path)
    refused(tmp_path / "photos", r"no image in it that can be read", tmp_path)
    refused("https://example.org/a.zip", "a web address; download the data", tmp_path)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    kinds = {
        pointer: "is a Git LFS pointer",
        b"<!DOCTYPE html><html>": "is a web page, not a data set",
        b"Rar!\x1a\7\0": "is packed with rar; unpack it first",
        b'{"a": 1}': "is JSON, not a data set",
    }
    for content, text in kinds.items():
        (tmp_path / "set.zip").write_bytes(content)
        refused(tmp_path / "set.zip", text, tmp_path)
        with pytest.raises(DataError, match=text):
            ZipFiles(str(tmp_path / "set.zip"))
    (tmp_path / "pointers").mkdir()
    (tmp_path / "pointers" / "a.png").write_bytes(pointer)
    refused(tmp_path / "pointers", "a Git LFS pointer, not the image itself", tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    refused(tmp_path / "empty", "is empty; download it again", tmp_path)
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4 but no zip")
    refused(tmp_path / "bad.zip", "not a zip", tmp_path)
    with zipfile.ZipFile(tmp_path / "lsun.zip", "w") as archive:
        archive.writestr("church_train_lmdb/data.mdb", b"")
    refused(tmp_path / "lsun.zip", "an LSUN database in a folder or zip; unpack it", tmp_path)
    write_tar(tmp_path / "x.tar", {"data_batch_1.bin": bytes(3073)}, "w")
    refused(tmp_path / "x.tar", "--labels=subfolders needs a folder or zip", tmp_path, labels="subfolders")


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return data with a few changed bytes, sometimes cut off; mostly near the start, where the structure is."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        out[int(rng.integers(0, min(len(out), 600) if rng.random() < 0.7 else len(out)))] = int(rng.integers(256))
    return bytes(out[: rng.integers(1, len(out))] if rng.random() < 0.2 else out)


@pytest.mark.parametrize("kind", ["x.tar", "x.tar.gz", "x.tfrecords", "x-images"])
def test_mutated_sources_raise_one_kind_of_error(kind, cifar, tmp_path):
    rng = np.random.default_rng(len(kind))
    path = tmp_path / kind
    if ".tar" in kind:
        flat, labels = cifar[2][1]
        write_tar(path, {"a/data_batch_1": python_2_batch(flat, labels)}, "w:gz" if kind.endswith("gz") else "w")
    elif kind == "x-images":
        path.write_bytes(idx(cifar[0][:3, ..., 0]))
    else:
        path.write_bytes(record(example(cifar[0][0])) + record(example(cifar[0][1])))
    whole = path.read_bytes()
    refusals = 0
    for _ in range(120):
        path.write_bytes(mutated(whole, rng))
        try:
            examples = open_examples(Options(str(path), "x.zip"))
            for one in examples.examples:
                with contextlib.suppress(BadImage):
                    assert isinstance(one.load(), np.ndarray)
            examples.close()
        except DataError as error:
            assert str(error)
            refusals += 1
    assert refusals > 10
