"""Damaged files of every kind raise this project's errors and nothing else, quickly."""

import contextlib
import io
import json
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.config import ConfigError
from stylegan_jax.data import BadImage, DataError, images, labels, open_source

SHAPE = (16, 16, 3)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Return data with a few random damages: flipped bits, changed, cut, inserted, repeated or zeroed bytes."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, max(1, len(out))))
        span = int(rng.integers(1, 24))
        kind = int(rng.integers(0, 6))
        if kind == 0 and out:
            out[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            out[at : at + span] = rng.bytes(span)
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            out[at:at] = rng.bytes(span)
        elif kind == 4:
            out[at:at] = out[at : at + span]
        else:
            out[at : at + span] = b"\xff" * span if span % 2 else bytes(span)
    return bytes(out)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "BMP"])
def test_mutated_images(image_format, encode):
    rng = np.random.default_rng(len(image_format))
    exif = Image.Exif()
    exif[0x010E] = "text"
    options = {} if image_format == "BMP" else {"exif": exif}
    whole = encode(rng.integers(0, 256, SHAPE, dtype=np.uint8), image_format, **options)
    outcomes = {"fine": 0, "bad": 0}
    for _ in range(100):
        data = mutate(whole, rng)
        began = time.monotonic()
        for check in (lambda d: images.decode(d, 3), lambda d: images.inspect(io.BytesIO(d), 3)):
            try:
                check(data)
                outcomes["fine"] += 1
            except BadImage as error:
                assert error.reason
                outcomes["bad"] += 1
        assert time.monotonic() - began < 1.0
    assert outcomes["bad"] > 20


def test_mutated_pngs_never_change_pixels_unnoticed(encode):
    """Every chunk has a checksum that is compared: what still decodes is the image that was written."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, SHAPE, dtype=np.uint8)
    whole = encode(pixels)
    for _ in range(200):
        with contextlib.suppress(BadImage):
            assert np.array_equal(images.decode(mutate(whole, rng), 3), pixels)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_mutated_zips(method, smooth, encode, write, config, tmp_path):
    rng = np.random.default_rng(method)
    members = {f"{i}.png": encode(p) for i, p in enumerate(smooth(3))}
    path = write(tmp_path, "zip", members, {"labels": [[n, i] for i, n in enumerate(members)]}, method)
    whole = (tmp_path / "set.zip").read_bytes()
    directory = whole.index(b"PK\1\2")
    refused = 0
    for trial in range(150):
        where = directory if trial % 2 else 0  # the directory is small and holds most of what can go wrong
        (tmp_path / "set.zip").write_bytes(whole[:where] + mutate(whole[where:], rng))
        policy = ("error", "skip")[trial % 4 // 2]
        began = time.monotonic()
        try:
            source = open_source(config(source="zip", path=path, labels="file", on_bad_image=policy), SHAPE)
            source.gather(np.arange(source.info().num_images))
            source.close()
        except (DataError, ConfigError) as error:
            assert str(error)
            refused += 1
        assert time.monotonic() - began < 1.0
    assert 50 < refused < 150


def test_mutated_dataset_json():
    rng = np.random.default_rng(2)
    names = [f"{i}.png" for i in range(4)]
    trees = (
        {"labels": [[n, i] for i, n in enumerate(names)], "label_names": list("abcd")},
        {"labels": [[n, [i, 0.5]] for i, n in enumerate(names)]},
    )
    refused = 0
    for trial in range(300):
        data = mutate(json.dumps(trees[trial % 2]).encode(), rng)
        try:
            found = labels.parse_json(data, names, "dataset.json")
            assert found.vectors(np.arange(4)).shape == (4, found.dim)
        except DataError:
            refused += 1
    assert refused > 150


VALUES = (
    None,
    True,
    0,
    -1,
    2**70,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    [],
    [[]],
    [0],
    ["a", 0],
    {},
    {"labels": 0},
)


def test_dataset_json_of_random_structure():
    rng = np.random.default_rng(3)

    def build(depth: int):
        if depth == 0 or rng.random() < 0.3:
            return VALUES[int(rng.integers(len(VALUES)))]
        return [build(depth - 1) for _ in range(int(rng.integers(0, 4)))]

    read = 0
    for _ in range(300):
        a, b = build(2), build(2)
        if rng.random() < 0.5:  # or hardly any is valid
            a = int(rng.integers(-1, 9)) if rng.random() < 0.5 else [0.0, float(rng.integers(9))]
            b = a
        entries = [["a.png", a], ["b.png", b]] if rng.random() < 0.7 else build(3)
        tree = {"labels": entries} | ({"label_names": build(1)} if rng.random() < 0.5 else {})
        try:
            found = labels.parse_json(json.dumps(tree).encode(), ["a.png", "b.png"], "dataset.json")
        except DataError:
            continue
        assert len(found.values) == 2 and np.isfinite(found.values).all()
        read += 1
    assert 30 < read < 270


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_mutated_arrays(name, smooth, config, tmp_path):
    rng = np.random.default_rng(4)
    path = tmp_path / name
    np.save(path, smooth(2)) if name == "x.npy" else np.savez(path, images=smooth(2), labels=np.array([0, 1]))
    whole, outcomes = path.read_bytes(), []
    for trial in range(100):
        head = 128 if name == "x.npy" and trial % 2 else len(whole)
        path.write_bytes(mutate(whole[:head], rng) + whole[head:])
        labelled = "file" if name == "x.npz" else "none"
        try:
            source = open_source(config(path=str(path), labels=labelled), SHAPE)
            pixels = source.gather(np.arange(source.info().num_images))
        except (DataError, ConfigError):
            outcomes.append("refused")
        else:
            assert pixels.shape[1:] == SHAPE and pixels.dtype == np.uint8
            outcomes.append("read")
    assert set(outcomes) == ({"refused"} if name == "x.npz" else {"refused", "read"})  # a zip has checksums
