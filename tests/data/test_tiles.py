"""Tiles of large pictures: which they are, how they are ordered, what stays in memory, and what is an error."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import zipfile

import numpy as np
import pytest

from stylegan_jax.config import ConfigError, from_dict
from stylegan_jax.data import DataError, open_batches, open_source, sources
from stylegan_jax.data.fingerprint import fingerprint, quick_fingerprint
from stylegan_jax.data.tiles_source import Pictures, TilesSource, deviations
from stylegan_jax.metrics.images import make_images

SHAPE = (8, 8, 3)


def picture(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Return noise, of which no two tiles are the same."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, encode, write):
    """Two pictures: (path, their pixels by name)."""
    made = {"a.png": picture(20, 30, 1), "b/c.png": picture(12, 9, 2)}
    return write(tmp_path, "folder", {name: encode(x) for name, x in made.items()}), made


def tiles(config, path, shape=SHAPE, **changes):
    return open_source(config(source="tiles", path=str(path), **{"cache": "off"} | changes), shape)


def all_tiles(made, size, step):
    """Return every tile of some pictures as a set of bytes."""
    h, w = size
    found = set()
    for x in made:
        rows, columns = range(0, x.shape[0] - h + 1, step), range(0, x.shape[1] - w + 1, step)
        found |= {x[i : i + h, j : j + w].tobytes() for i, j in itertools.product(rows, columns)}
    return found


@pytest.mark.parametrize("step", [1, 3])
def test_every_place_of_every_picture_is_one_image(folder, config, step):
    path, made = folder
    with contextlib.closing(tiles(config, path, tile_step=step)) as source:
        info = source.info()
        places = sum(((x.shape[0] - 8) // step + 1) * ((x.shape[1] - 8) // step + 1) for x in made.values())
        assert (info.num_images, info.image_shape, info.label_dim) == (places, SHAPE, 0)
        found = source.gather(np.arange(places))
        assert {x.tobytes() for x in found} == all_tiles(made.values(), (8, 8), step)
        assert source.labels(np.arange(3)).shape == source.label_rows(np.arange(3)).shape == (3, 0)
        assert f"tiles of 8x8 from 2 pictures, {step} pixel" in info.notes[0]


def test_the_first_tiles_are_spread_over_all_pictures(tmp_path, encode, config):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(encode(picture(40, 60, i)))
    with contextlib.closing(tiles(config, tmp_path)) as source:
        inner = source.inner
        places = np.array([inner.place(i) for i in range(64)])
        assert np.abs(np.bincount(places[:, 0]) - 16).max() <= 1  # each has a quarter of the area
        for axis, size in ((1, 33), (2, 53)):
            counts, _ = np.histogram(places[:, axis], bins=4, range=(0, size))
            assert counts.min() >= 6, counts


@pytest.mark.parametrize("kind", ["folder", "zip", "picture"])
def test_folders_zips_and_single_pictures_have_the_same_tiles(kind, tmp_path, encode, write, config):
    pixels = picture(16, 24)
    path = tmp_path / "one.png"
    if kind == "picture":
        path.write_bytes(encode(pixels))
    else:
        path = write(tmp_path, kind, {"one.png": encode(pixels)})
    with contextlib.closing(tiles(config, path)) as source:
        number, top, left = source.inner.place(7)
        assert number == 0 and source.info().num_images == 9 * 17
        np.testing.assert_array_equal(source.pixels(7), pixels[top : top + 8, left : left + 8])


def test_tiles_are_resized_and_as_wide_as_the_model_says(tmp_path, encode, config):
    path, pixels = tmp_path / "x.png", picture(40, 40)
    path.write_bytes(encode(pixels))
    with contextlib.closing(tiles(config, path, (8, 4, 3), tile_size=16)) as source:
        assert source.info().image_shape == (16, 8, 3)
        _, top, left = source.inner.place(5)
        tile = pixels[top : top + 16, left : left + 8].astype(float)
        expected = tile.reshape(8, 2, 4, 2, 3).mean(axis=(1, 3))
        assert np.abs(source.pixels(5) - expected).max() <= 1
    with pytest.raises(ConfigError, match=r"tile_size is 9.*width must be whole too: use a multiple of 2"):
        tiles(config, path, (8, 4, 3), tile_size=9)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("step", [1, 3])
def test_deviations_are_those_of_numpy(channels, step):
    pixels = picture(19, 14, channels=channels)
    found = np.stack(list(deviations(pixels, (6, 5), step)))
    brightness = pixels[..., :3].astype(float).mean(axis=-1)
    for i, j in np.ndindex(found.shape):
        expected = brightness[i * step : i * step + 6, j * step : j * step + 5].std()
        assert found[i, j] == pytest.approx(expected, rel=1e-9)
    assert found.shape == ((19 - 6) // step + 1, (14 - 5) // step + 1)


def test_flat_tiles_are_left_out(tmp_path, encode, config):
    flat, busy = np.full((16, 20, 3), 90, np.uint8), picture(16, 20)
    (tmp_path / "1.png").write_bytes(encode(flat))
    (tmp_path / "2.png").write_bytes(encode(np.concatenate([flat, busy], axis=1)))
    with contextlib.closing(tiles(config, tmp_path, tile_contrast=20.0)) as source:
        found = source.gather(np.arange(source.info().num_images))
        both = np.concatenate([flat, busy], axis=1)
        wanted = {
            x for x in all_tiles([both], (8, 8), 1) if np.frombuffer(x, np.uint8).reshape(SHAPE).mean(-1).std() >= 20
        }
        assert {x.tobytes() for x in found} == wanted and 9 * 13 < len(found) < 9 * 33
        assert f"{len(found)} of {9 * 13 + 9 * 33}, those with contrast" in source.info().notes[0]
    with pytest.raises(DataError, match=r"no tile of 8x8 pixels.*tile_contrast=200 of 255; lower it"):
        tiles(config, tmp_path, tile_contrast=200.0)


def test_batches_are_the_same_from_any_start_on_any_number_of_hosts(folder, config):
    """The run goes on bit for bit: batch b is a function of (seed, position), whoever makes it and in whatever way."""
    path, _ = folder
    data = config(source="tiles", path=path, cache="off", xflip=True, workers=3)
    with contextlib.closing(open_source(data, SHAPE)) as source:

        def make(start=0, shard=(0, 1), count=6):
            options = {"batch_size": 8, "seed": 5, "start": start, "shard_index": shard[0], "shard_count": shard[1]}
            with open_batches(source, data, SHAPE, **options) as batches:
                return [next(batches).sample["image"] for _ in range(count)]

        straight = make()
        for a, b in zip(straight[3:], make(start=24, count=3), strict=True):
            np.testing.assert_array_equal(a, b)
        halves = [make(shard=(i, 2)) for i in range(2)]
        for whole, *parts in zip(straight, *halves, strict=True):
            np.testing.assert_array_equal(whole, np.concatenate(parts))
        places = source.info().num_images
        epoch = make(count=2 * places // 8)
        known = {x.tobytes() for x in np.concatenate(epoch)}
        own = {x.tobytes() for x in source.gather(np.arange(places))}
        mirrored = {source.pixels(i)[:, ::-1].tobytes() for i in range(places)}
        assert known <= own | mirrored and len(known) > 0.9 * 2 * places  # an epoch shows each once, and its copy
    for cache in ("host", "device"):
        data = config(source="tiles", path=path, cache=cache, xflip=True)
        with (
            contextlib.closing(open_source(data, SHAPE)) as source,
            open_batches(source, data, SHAPE, batch_size=8, seed=5) as batches,
        ):
            for a in straight:
                np.testing.assert_array_equal(next(batches).sample["image"], a)


def test_decoded_pictures_stay_within_the_limit_and_are_decoded_once(tmp_path, encode, config, monkeypatch):
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(encode(picture(300, 300, i)))  # 0.26 MiB each
    with contextlib.closing(tiles(config, tmp_path, cache_limit_mb=1)) as source:
        (line, warning) = source.info().notes[:2]
        assert "6 pictures" in line and "decode to 2 MiB, and config.data.cache_limit_mb=1 are kept" in warning
        pictures = source.inner._pictures
        for i in range(20):
            source.pixels(i)
            assert 0 < pictures.bytes <= 1 << 20
            assert pictures.bytes == sum(x.nbytes for x in pictures._kept.values())
    decoded: list[int] = []
    with contextlib.closing(tiles(config, tmp_path)) as source:  # all fit, and have been decoded
        assert len(source.info().notes) == 1
        monkeypatch.setattr("stylegan_jax.data.images.decode", lambda *args: decoded.append(1))
        for i in range(60):
            source.pixels(i)
    assert not decoded


def test_threads_decode_a_picture_once(tmp_path, encode):
    class Files:
        def __init__(self):
            self.reads = 0

        def read(self, number):
            self.reads += 1
            return encode(picture(64, 64))

    files = Files()
    pictures, gate, found = Pictures(files, 3, 1 << 20), threading.Barrier(8), []

    def get():
        gate.wait()
        found.append(pictures.get(0))

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files.reads == 1 and len(found) == 8 and all(x is found[0] for x in found)


def test_small_and_bad_pictures_are_named(folder, config, encode, tmp_path):
    path, _ = folder
    root = tmp_path / "set"
    (root / "small.png").write_bytes(encode(picture(7, 30)))
    (root / "grey.png").write_bytes(encode(picture(30, 30, channels=1)[..., 0]))
    damaged = bytearray(encode(picture(30, 30)))
    damaged[len(damaged) // 2] ^= 1
    (root / "torn.png").write_bytes(damaged)
    with pytest.raises(DataError) as raised:
        tiles(config, path)
    text = str(raised.value)
    assert "3 of 5 images cannot be used" in text
    assert "All pictures must have the size of a tile at least" in text
    assert "small.png: 30x7 pixels, smaller than a tile of 8x8" in text
    assert "grey.png: 8-bit grey, not RGB" in text and "torn.png: damaged PNG: a checksum is wrong" in text
    with contextlib.closing(tiles(config, path, on_bad_image="skip")) as source:
        assert [name for name, _ in source.info().skipped] == ["grey.png", "small.png", "torn.png"]
        assert source.info().num_images == 13 * 23 + 5 * 2
    with pytest.raises(DataError, match="1 of 1 images cannot be used"):
        tiles(config, root / "small.png", on_bad_image="skip")


def test_a_picture_that_changes_while_a_run_reads_it_is_named(folder, config, encode):
    path, _ = folder
    with contextlib.closing(tiles(config, path, cache_limit_mb=0)) as source:  # nothing is kept
        first = next(i for i in range(300) if source.inner.place(i)[0] == 0)
        bottom = next(i for i in range(300) if source.inner.place(i)[:2] == (0, 12))
        with open(f"{path}/a.png", "wb") as file:
            file.write(encode(picture(19, 30)))
        with pytest.raises(DataError, match=r"set/a\.png: its size is now 30x19; it changed since the start"):
            source.pixels(bottom)
        with open(f"{path}/a.png", "wb") as file:
            file.write(b"")
        with pytest.raises(DataError, match=r"set/a\.png: empty file"):
            source.pixels(first)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": "file"}, ["config.data.labels is 'file'", "has none"]),
        ({"path": "nowhere/x.jpg"}, ["config.data.path is 'nowhere/x.jpg'", "no such picture, folder or zip"]),
    ],
)
def test_what_does_not_fit_is_an_error(changes, words, config, folder):
    with pytest.raises(ConfigError if "labels" in changes else DataError) as raised:
        tiles(config, **{"path": folder[0]} | changes)
    assert all(word in str(raised.value) for word in words)


def test_too_many_places_to_list_name_a_step(folder, config, monkeypatch):
    monkeypatch.setattr("stylegan_jax.data.tiles_source.MAX_LISTED", 100)
    with pytest.raises(DataError, match=r"choose from 309 places.*such as --config.data.tile_step=2"):
        tiles(config, folder[0], tile_contrast=1.0)


def test_keys_are_checked():
    tree = {"data": {"source": "tiles"}, "model": {"resolution": 8, "channel_base": 64}}
    with pytest.raises(ConfigError, match=r"config.data.path is empty; data.source='tiles' needs it"):
        from_dict(tree)
    for key, value, rule in (
        ("tile_step", 0, "greater than 0"),
        ("tile_size", -1, "negative"),
        ("tile_contrast", -1.0, "negative"),
    ):
        with pytest.raises(ConfigError, match=f"config.data.{key} is {value}.*{rule}"):
            from_dict({**tree, "data": {"source": "tiles", "path": "x", key: value}})
    assert "tiles" in sources.SOURCES


def test_a_fingerprint_knows_the_pictures_and_the_places(folder, config, encode):
    path, _ = folder
    marks = lambda **changes: [f(tiles(config, path, **changes)) for f in (fingerprint, quick_fingerprint)]
    first = marks()
    assert first == marks(workers=1) and len(first[0]) == 32
    for changes in ({"tile_step": 2}, {"tile_size": 9}, {"tile_contrast": 42.0}):
        assert all(a != b for a, b in zip(first, marks(**changes), strict=True))
    with open(f"{path}/b/c.png", "wb") as file:
        file.write(encode(picture(12, 9, 3)))
    assert all(a != b for a, b in zip(first, marks(), strict=True))


def test_metrics_take_tiles_that_stand_for_all(folder, config, monkeypatch):
    path, _ = folder
    source = tiles(config, path)
    assert make_images(source).count(False) == source.info().num_images == 309
    monkeypatch.setattr(TilesSource, "representative", 50)
    images = make_images(source, (True, False))
    assert (images.count(False), images.count(True)) == (50, 100)
    np.testing.assert_array_equal(images.pixels(np.array([3, 53]))[1], source.pixels(3)[:, ::-1])
    assert make_images(tiles(config, path, subset=70)).count(False) == 70  # these have been chosen


def test_a_single_tile_is_a_set(tmp_path, encode, config):
    (tmp_path / "x.png").write_bytes(encode(pixels := picture(8, 8)))
    with contextlib.closing(tiles(config, tmp_path / "x.png")) as source:
        assert source.info().num_images == 1
        np.testing.assert_array_equal(source.pixels(0), pixels)


def test_the_bundled_earth_is_found_by_name_from_anywhere(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(tiles(config, "datasets/earth.jpg", (32, 32, 3), tile_size=64, tile_step=16)) as source:
        assert source.info().num_images == ((2700 - 64) // 16 + 1) * ((5400 - 64) // 16 + 1)
        assert source.pixels(0).shape == (32, 32, 3)


def test_json_and_zip_names_do_not_disturb(tmp_path, encode, config):
    with zipfile.ZipFile(tmp_path / "big.zip", "w") as archive:
        archive.writestr("x.png", encode(picture(16, 16)))
        archive.writestr("dataset.json", json.dumps({"labels": None}))
    with contextlib.closing(tiles(config, tmp_path / "big.zip")) as source:
        assert source.info().num_images == 81
    (tmp_path / "no.png").write_text("<html>")
    with pytest.raises(DataError, match="1 of 1 images cannot be used"):
        tiles(config, tmp_path / "no.png")
