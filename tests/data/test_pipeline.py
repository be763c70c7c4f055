"""The tf.data pipeline and tfds sources; the one file of these tests that imports TensorFlow."""

import itertools
import os
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from stylegan_jax.data import BadImage, DataError, open_batches, open_source, pipeline
from stylegan_jax.data.prepare import Options, convert, prepare

SHAPE = (16, 16, 3)


@pytest.fixture
def take(config):
    """Return a function that opens, takes `count` batches as NumPy arrays, and closes."""

    def take(count, shape=SHAPE, *, start=0, **changes):
        data = config(xflip=True, **changes)
        source = open_source(data, shape)
        with open_batches(source, data, shape, batch_size=8, seed=1, start=start, has_second=True) as batches:
            out = [jax.tree.map(np.array, next(batches)) for _ in range(count)]
        source.close()
        return out

    return take


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("formats", [("PNG",), ("JPEG",), ("PNG", "JPEG"), ("PNG", "WEBP"), ("BMP",)])
def test_the_pipeline_makes_the_same_pixels_as_the_caches(
    kind, formats, smooth, encode, write, take, tmp_path, monkeypatch
):
    members = {}
    for i, (pixels, f) in enumerate(zip(smooth(9), itertools.cycle(formats), strict=False)):
        members[f"{i}.{f.lower()}"] = encode(pixels, f, **({"quality": 60 + 4 * i} if f == "JPEG" else {}))
    path = write(tmp_path, kind, members, {"labels": [[n, i] for i, n in enumerate(members)]})
    files = {"source": kind, "path": path, "labels": "file"}
    straight = take(5, cache="off", **files)
    assert same(straight, take(5, cache="host", **files))
    assert same(straight, take(5, cache="device", **files))
    assert same(straight[2:], take(3, cache="off", start=16, **files))
    part = {"yflip": True, "subset": 5, "subset_seed": 2, **files}
    chosen = take(5, cache="off", **part)
    assert same(chosen, take(5, cache="host", **part)) and same(chosen, take(5, cache="device", **part))
    assert len(np.unique(np.concatenate([b.label for b in chosen]))) == 5
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert same(straight, take(5, cache="off", **files)) and same(chosen, take(5, cache="off", **part))


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("size", [16, 32])
def test_other_channels_and_resizing(channels, size, smooth, encode, write, take, tmp_path):
    pixels = smooth(5, size, channels)
    members = {f"{i}.png": encode(p[..., 0] if channels == 1 else p) for i, p in enumerate(pixels)}
    path = write(tmp_path, "zip", members)
    made = [
        take(3, (16, 16, channels), source="zip", path=path, cache=c, resize_filter="lanczos") for c in ("off", "host")
    ]
    assert made[0][0].pixels.shape == (8, 16, 16, channels) and same(*made)


def test_the_bundled_dataset_is_the_same_both_ways(take):
    path = str(Path(__file__).parents[2] / "datasets" / "emoji64.zip")
    files = {"source": "zip", "path": path, "labels": "file", "cache_limit_mb": 64}
    assert same(take(6, (64, 64, 3), cache="off", **files), take(6, (64, 64, 3), cache="host", **files))


@pytest.mark.parametrize("other", ["PNG", "BMP"])  # BMP: decoded by Pillow
@pytest.mark.parametrize("damage", ["missing", "flipped bit", "other size", "grey"])
@pytest.mark.parametrize("has_tensorflow", [True, False])
def test_an_image_that_breaks_during_the_run_is_named(
    damage, other, has_tensorflow, smooth, encode, write, config, tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr(pipeline, "has_tensorflow", lambda: has_tensorflow)
    members = {f"{i}.png": encode(p) for i, p in enumerate(smooth(7))} | {"7.png": encode(smooth(1)[0], other)}
    path = write(tmp_path, "folder", members)
    data = config(source="folder", path=path, cache="off")
    source = open_source(data, SHAPE)
    victim = Path(path) / "5.png"
    if damage == "missing":
        victim.unlink()
    elif damage == "flipped bit":
        content = bytearray(members["5.png"])
        content[content.index(b"IDAT") + 10] ^= 1
        victim.write_bytes(content)
    else:
        victim.write_bytes(encode(smooth(1, 8)[0] if damage == "other size" else smooth(1, channels=1)[0, ..., 0]))
    batches = open_batches(source, data, SHAPE, batch_size=8, seed=0)
    with pytest.raises(BadImage, match=r"5\.png"):
        next(batches)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("has_tensorflow", [True, False])
def test_closing_stops_the_reading_threads(has_tensorflow, smooth, encode, write, config, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(pipeline, "has_tensorflow", lambda: has_tensorflow)
    path = write(tmp_path, "zip", {f"{i}.png": encode(p) for i, p in enumerate(smooth(8))})
    data = config(source="zip", path=path, cache="off")
    before = threading.active_count()
    for _ in range(5):
        source = open_source(data, SHAPE)
        batches = open_batches(source, data, SHAPE, batch_size=8, seed=0)
        next(batches)
        batches.close()
        source.close()
    assert threading.active_count() <= before + 2  # TensorFlow's own callers show up as dummy threads
    assert "Bad file descriptor" not in capfd.readouterr().err


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Prepare a tiny data set without the network; {file format: data_dir}, and its pixels by class."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class StyleganJaxTiny(tfds.core.GeneratorBasedBuilder):
        """Ten flat images of two classes."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            image, label = tfds.features.Image(shape=(16, 16, 3)), tfds.features.ClassLabel(names=["even", "odd"])
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict({"image": image, "label": label})
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(10):
                yield i, {"image": np.full(SHAPE, i, np.uint8), "label": i % 2}

    out = {}
    for file_format in ("tfrecord", "array_record"):
        folder = tmp_path_factory.mktemp(file_format)
        StyleganJaxTiny(data_dir=folder, file_format=file_format).download_and_prepare()
        out[file_format] = str(folder)
    return out


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
@pytest.mark.parametrize("by", ["name", "folder"])
def test_tfds_sources(file_format, by, prepared, config, take, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", prepared[file_format])
    path = "stylegan_jax_tiny" if by == "name" else os.path.join(prepared[file_format], "stylegan_jax_tiny", "1.0.0")
    source = open_source(config(source="tfds", path=path, labels="file"), SHAPE)
    assert source.info()[:5] == ("stylegan_jax_tiny-train", 10, SHAPE, 2, ("even", "odd"))
    values = source.gather(np.arange(10))[:, 0, 0, 0]
    assert sorted(values) == list(range(10))
    assert np.array_equal(source.labels(np.arange(10)).argmax(1), values % 2)
    source.close()
    unlabelled = open_source(config(source="tfds", path=path), SHAPE)
    assert unlabelled.info().label_dim == 0 and np.array_equal(unlabelled.gather(np.arange(10))[:, 0, 0, 0], values)
    if file_format == "array_record":
        assert same(take(3, source="tfds", path=path, cache="off"), take(3, source="tfds", path=path, cache="host"))


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_the_data_set_tool_reads_tfds(file_format, prepared, config, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", prepared[file_format])
    dest = str(tmp_path / "x.zip")
    report = prepare(Options("tfds:stylegan_jax_tiny", dest))
    assert report.label_names == ("even", "odd") and len(report.written) == 10 and report.size == (16, 16)
    source = open_source(config(source="zip", path=dest, labels="file"), SHAPE)
    values = source.gather(np.arange(10))[:, 0, 0, 0]
    assert sorted(values) == list(range(10))
    assert np.array_equal(source.labels(np.arange(10)).argmax(1), values % 2)
    source.close()
    none = prepare(Options("tfds:stylegan_jax_tiny", dest, labels="none", channels=1, overwrite=True))
    assert none.labels == [None] * 10 and none.channels == 1
    with pytest.raises(DataError, match="did you mean 'train'"):
        prepare(Options("tfds:stylegan_jax_tiny", dest, split="trian", overwrite=True))
    with pytest.raises(DataError, match="tfds build cifar10"):
        prepare(Options("tfds:cifar10", dest, overwrite=True))


def test_the_data_set_tool_reads_what_tensorflow_writes(tmp_path, smooth):
    """TFRecord files as the TensorFlow-era StyleGAN tools make them, framed and packed by TensorFlow itself."""
    tf = pipeline.import_tensorflow()
    pixels, dest = smooth(5), str(tmp_path / "x.zip")
    with tf.io.TFRecordWriter(str(tmp_path / "set-r04.tfrecords")) as writer:
        for image in pixels:
            chw = image.transpose(2, 0, 1)
            shape = tf.train.Feature(int64_list=tf.train.Int64List(value=chw.shape))
            data = tf.train.Feature(bytes_list=tf.train.BytesList(value=[chw.tobytes()]))
            features = tf.train.Features(feature={"shape": shape, "data": data})
            writer.write(tf.train.Example(features=features).SerializeToString())
    report = prepare(Options(str(tmp_path / "set-r04.tfrecords"), dest))
    assert [made.sha256 for made in map(make_rgb, pixels)] == [digest for _, _, digest in report.written]


def make_rgb(pixels):
    return convert.make(pixels, convert.Recipe(3))


def test_tfds_errors_name_the_fix(prepared, config, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", prepared["tfrecord"])
    name = "stylegan_jax_tiny"
    cases = (
        ({"path": "cifr10"}, "did you mean 'cifar10'"),
        ({"path": "cifar10"}, "not prepared in .*run once: tfds build cifar10"),
        ({"path": str(tmp_path)}, "cannot open it.*dataset_info.json"),
        ({"path": "a b/../c"}, "cannot open it"),
        ({"path": name, "split": "trian"}, "did you mean 'train'"),
        ({"path": name, "cache": "off"}, "file_format=array_record"),
    )
    for changes, text in cases:
        with pytest.raises(DataError, match=text):
            open_source(config(source="tfds", **changes), SHAPE)
    with pytest.raises(DataError, match="img_channels=3"):
        open_source(config(source="tfds", path=name), (16, 16, 1))
