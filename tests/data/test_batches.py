"""Batches are functions of (seed, position): from any start, over any shards, from host and device memory alike."""

import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from stylegan_jax.config import ConfigError
from stylegan_jax.data import BadImage, DataError, MemorySource, describe_data, fit_source, open_batches, order

SHAPE = (16, 16, 3)


@pytest.fixture
def source(smooth):
    return MemorySource(smooth(21), np.arange(21) % 5)


@pytest.fixture
def take(config):
    """Return a function that takes `count` batches as NumPy arrays."""

    def take(source, count, *, xflip=True, cache="host", changes=None, **arguments):
        arguments = {"batch_size": 8, "seed": 3, **arguments}
        data = config(xflip=xflip, cache=cache, **changes or {})
        with open_batches(source, data, SHAPE, **arguments) as batches:
            return [jax.tree.map(np.asarray, next(batches)) for _ in range(count)]

    return take


def joined(batches):
    """Return pixels, label, gen_label joined along the image axis."""
    return (
        np.concatenate([b.pixels for b in batches]),
        np.concatenate([b.label for b in batches]),
        np.concatenate([b.gen_label for b in batches], axis=1),
    )


def same(a, b):
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(joined(a), joined(b), strict=True))


def test_a_batch_is_what_order_says(source, take):
    (batch,) = take(source, 1, start=40)
    index, flip = order.order(3, np.arange(40, 48), 21, True)
    assert flip[:, 0].any() and not flip[:, 0].all()
    for row, (i, f) in enumerate(zip(index, flip[:, 0], strict=True)):
        assert np.array_equal(batch.pixels[row], source.array[i][:, ::-1] if f else source.array[i])
        assert batch.label[row] == i % 5
    drawn = order.label_index(3, np.arange(40, 48), np.arange(4), 21)
    assert np.array_equal(batch.gen_label, drawn % 5)
    assert list(batch.sample) == ["image"] and batch.pixels is batch.sample["image"]
    assert batch.pixels.dtype == np.uint8 and batch.label.dtype == batch.gen_label.dtype == np.int32


@pytest.mark.parametrize("cache", ["host", "device"])
def test_classes_travel_as_numbers_and_vectors_as_they_are(smooth, take, cache):
    classes = take(MemorySource(smooth(21), np.arange(21) % 5), 1, cache=cache)[0]
    assert (classes.label.shape, classes.gen_label.shape) == ((8,), (4, 8))
    assert classes.label.dtype == classes.gen_label.dtype == np.int32
    vectors = np.random.default_rng(0).standard_normal((21, 3)).astype(np.float32)
    found = take(MemorySource(smooth(21), vectors), 1, cache=cache)[0]
    index, drawn = order.order(3, np.arange(8), 21, True)[0], order.label_index(3, np.arange(8), np.arange(4), 21)
    assert found.label.dtype == found.gen_label.dtype == np.float32
    assert np.array_equal(found.label, vectors[index]) and np.array_equal(found.gen_label, vectors[drawn])
    multi_hot = take(MemorySource(smooth(21), np.eye(3)[np.arange(21) % 3]), 1, cache=cache)[0]
    assert multi_hot.label.dtype == np.float32 and multi_hot.label.shape == (8, 3)


@pytest.mark.parametrize("cache", ["host", "device"])
def test_a_second_set_of_reals_is_an_order_of_its_own_with_its_own_labels(source, take, cache):
    made = take(source, 21, xflip=False, cache=cache, has_second=True)  # 8 epochs of 21 images
    assert same(made, take(source, 21, xflip=False, cache=cache))  # the first set is what it is without
    pixels = np.concatenate([b.second[0]["image"] for b in made])
    labels = np.concatenate([b.second[1] for b in made])
    index, _ = order.order(order.second_seed(3), np.arange(168), 21)
    assert np.array_equal(pixels, source.array[index]) and np.array_equal(labels, index % 5)
    assert sorted(index[:21]) == list(range(21))
    assert (index != order.order(3, np.arange(168), 21)[0]).mean() > 0.8
    parts = [take(source, 3, xflip=False, cache=cache, has_second=True, shard_index=i, shard_count=2) for i in (0, 1)]
    halves = [np.concatenate([a.second[1], b.second[1]]) for a, b in zip(*parts, strict=True)]
    assert np.array_equal(np.concatenate(halves), labels[:24])


class OwnSource(MemorySource):
    """A source of a user's, that knows label vectors alone."""

    label_rows = None


def test_a_source_of_a_users_own_travels_as_ours(smooth, take):
    for labels in (np.arange(21) % 5, np.random.default_rng(0).standard_normal((21, 3)), None):
        assert same(take(OwnSource(smooth(21), labels), 2), take(MemorySource(smooth(21), labels), 2))


@pytest.mark.parametrize("cache", ["off", "device"])
def test_a_draw_of_labels_depends_on_its_own_number_alone(source, take, cache):
    every = take(source, 2, cache=cache)
    for draws in ((2,), (3, 0), ()):
        some = take(source, 2, cache=cache, draws=draws)
        for batch, whole in zip(some, every, strict=True):
            assert np.array_equal(batch.gen_label, whole.gen_label[list(draws)])
            assert np.array_equal(batch.pixels, whole.pixels) and np.array_equal(batch.label, whole.label)


@pytest.mark.parametrize("cache", ["off", "host", "device"])
@pytest.mark.parametrize("xflip", [False, True])
def test_both_mirrors_and_a_subset(source, take, xflip, cache):
    """An epoch of 7 of the 21 images, with every copy of each, is what a plain gather makes."""
    changes = {"yflip": True, "subset": 7, "subset_seed": 5}
    copies = 14 * (1 + xflip)
    made = joined(take(source, 2, xflip=xflip, cache=cache, changes=changes, batch_size=copies))
    keep = order.subset(5, 7, 21)
    index, flip = order.order(3, np.arange(2 * copies), 7, xflip, True)
    for pixels, label, i, (x, y) in zip(made[0], made[1], keep[index], flip, strict=True):
        assert np.array_equal(pixels, source.array[i][:: -1 if y else 1, :: -1 if x else 1])
        assert label == i % 5
    assert len(np.unique(made[0][:copies], axis=0)) == copies
    drawn = order.label_index(3, np.arange(2 * copies), np.arange(4), 7)
    assert np.array_equal(made[2], keep[drawn] % 5)


def test_a_subset_is_the_same_on_every_host_and_from_any_start(source, take):
    changes = {"yflip": True, "subset": 9}
    whole = take(source, 6, changes=changes)
    halves = [take(source, 6, changes=changes, shard_index=h, shard_count=2) for h in (0, 1)]
    assert all(same([w], list(parts)) for w, *parts in zip(whole, *halves, strict=True))
    assert same(take(source, 4, changes=changes, start=16), whole[2:])
    assert not same(take(source, 6, changes=changes | {"subset_seed": 1}), whole)


def test_a_subset_larger_than_the_set_is_refused(source, take, config):
    with pytest.raises(DataError, match=r"config\.data\.subset is 22; memory has 21 images"):
        take(source, 1, changes={"subset": 22})
    assert same(take(source, 3, changes={"subset": 21, "subset_seed": 8}), take(source, 3))
    info = fit_source(source, config(subset=8, subset_seed=3, yflip=True), SHAPE).info()
    assert (info.num_images, info.subset_of, info.label_dim) == (8, 21, 5)
    said = describe_data(config(subset=8, subset_seed=3, yflip=True), info)
    assert "8 images of 16x16x3 (random subset of 21, config.data.subset_seed=3)" in said
    assert "mirrored top to bottom (x2)" in said and "5 classes" in said
    everything = fit_source(source, config(), SHAPE).info()
    assert describe_data(config(xflip=True, yflip=True), everything) == (
        "memory, 21 images of 16x16x3, mirrored left to right and top to bottom (x4), 5 classes"
    )


def test_start_equals_straight_run(source, take):
    straight = take(source, 12)
    for step in (1, 7, 11):
        assert same(take(source, 12 - step, start=8 * step), straight[step:])
    odd = joined(take(source, 3, start=57))
    assert np.array_equal(odd[0], joined(straight)[0][57:81])


def test_batch_size_does_not_change_the_order(source, take):
    assert same(take(source, 8, batch_size=3), take(source, 3))


def test_seeds_differ(source, take):
    assert not same(take(source, 2), take(source, 2, seed=4))


@pytest.mark.parametrize("hosts", [2, 4, 8])
def test_shards_together_are_the_whole_batch(source, take, hosts):
    parts = [take(source, 5, shard_index=h, shard_count=hosts) for h in range(hosts)]
    for whole, *shards in zip(take(source, 5), *parts, strict=True):
        assert same([whole], shards)


def test_without_labels_the_arrays_have_no_width(smooth, take):
    (batch,) = take(MemorySource(smooth(3)), 1, xflip=False)
    assert batch.label.shape == (8, 0) and batch.gen_label.shape == (4, 8, 0)


@pytest.mark.parametrize("cache", ["host", "device"])
def test_sharded_batches_equal_plain_ones(source, take, config, cache):
    devices = jax.devices()[: 4 if len(jax.devices()) >= 4 else 1]
    mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    plain = take(source, 6)
    assert same(take(source, 6, cache=cache), plain)
    arguments = {"batch_size": 8, "seed": 3, "sharding": sharding}
    with open_batches(source, config(xflip=True, cache=cache), SHAPE, **arguments) as batches:
        made = [next(batches) for _ in range(6)]
    for batch in made:
        assert isinstance(batch.pixels, jax.Array)
        assert isinstance(batch.label, jax.Array)
        assert isinstance(batch.gen_label, jax.Array)
        assert batch.pixels.sharding.is_equivalent_to(sharding, 4)
        assert batch.label.sharding.is_equivalent_to(sharding, 1)
        assert batch.gen_label.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec(None, "data")), 2)
    assert same([jax.tree.map(np.asarray, b) for b in made], plain)


def test_sharded_batches_without_labels(smooth, config):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    with open_batches(MemorySource(smooth(3)), config(), SHAPE, batch_size=4, seed=0, sharding=sharding) as batches:
        batch = next(batches)
    assert batch.label.shape == (4, 0) and batch.gen_label.shape == (4, 4, 0)


def test_resized_and_synthetic_sources_agree_with_and_without_cache(smooth, take, config):
    from stylegan_jax.data import open_source

    large = MemorySource(smooth(5, 32))
    assert same(take(large, 3, cache="off"), take(large, 3, cache="host"))
    shapes = [open_source(config(source="synthetic", cache=c, synthetic_labels=2), SHAPE) for c in ("off", "host")]
    assert same(take(shapes[0], 3), take(shapes[1], 3))


class Failing(MemorySource):
    """A source whose image 3 breaks."""

    def pixels(self, index):
        if index == 3:
            raise BadImage("broken", "three.png")
        return super().pixels(index)


def test_an_error_reaches_the_caller_and_ends_the_iterator(smooth, config):
    batches = open_batches(Failing(smooth(8, 32)), config(cache="off"), SHAPE, batch_size=8, seed=0)
    with pytest.raises(BadImage, match=r"three\.png: broken"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


def test_closing_ends_the_thread(source, config):
    before = threading.active_count()
    batches = open_batches(source, config(), SHAPE, batch_size=4, seed=0)
    next(batches)
    assert threading.active_count() == before + 1
    batches.close()
    batches.close()
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(batches)
    dropped = open_batches(source, config(), SHAPE, batch_size=4, seed=0)
    del dropped
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"batch_size": 6, "shard_count": 4}, "batch_size is 6; the 4 hosts must divide it"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"shard_index": 2, "shard_count": 2}, "shard_index is 2 of 2"),
        ({"start": -1}, "start -1"),
    ],
)
def test_impossible_splits_are_refused(source, take, arguments, text):
    with pytest.raises(ConfigError, match=text):
        take(source, 1, **arguments)


def test_a_source_opened_for_another_model_is_refused(config):
    from stylegan_jax.data import open_source

    source = open_source(config(source="synthetic"), (32, 32, 3))
    with pytest.raises(DataError, match="opened for images of"):
        open_batches(source, config(), SHAPE, batch_size=4, seed=0)


NO_TENSORFLOW = """
import sys
import numpy as np
from stylegan_jax import data
from stylegan_jax.config import DataConfig
assert data.SOURCES
common = dict(split="train", labels="none", xflip=True, yflip=True, subset=3, subset_seed=1, on_bad_image="error",
              resize_filter="box", cache_limit_mb=64, workers=1, synthetic_images=8, synthetic_labels=0)
folder = sys.argv[1]
for source, path, cache in (("zip", folder + "/set.zip", "host"), ("zip", folder + "/set.zip", "device"),
                            ("memory", folder + "/x.npy", "off"), ("synthetic", "", "off")):
    config = DataConfig(source=source, path=path, cache=cache, **common)
    opened = data.open_source(config, (16, 16, 3))
    with data.open_batches(opened, config, (16, 16, 3), batch_size=4, seed=0) as batches:
        assert next(batches).pixels.shape == (4, 16, 16, 3)
    opened.close()
heavy = [m for m in ("tensorflow", "tensorflow_datasets", "clu", "orbax") if m in sys.modules]
assert not heavy, heavy
"""


def test_batches_from_memory_need_no_tensorflow(smooth, encode, write, tmp_path):
    write(tmp_path, "zip", {f"{i}.png": encode(p) for i, p in enumerate(smooth(4))})
    np.save(tmp_path / "x.npy", smooth(4))
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", NO_TENSORFLOW, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr


@pytest.mark.parametrize("cache", ["off", "host"])
def test_an_open_source_shows_the_same_images_at_another_size(smooth, config, cache):
    """For the levels of a run that grows: from what is stored, chosen and ordered alike, kept in memory or not."""
    stored, data, shape = smooth(21), config(cache=cache, subset=10), (4, 4, 3)
    whole = fit_source(MemorySource(stored), data, SHAPE)
    small = whole.at(shape, data)
    assert small.info() == whole.info() and small.cache == cache and (small.array is None) == (cache == "off")
    assert whole.at(SHAPE, data) is whole
    want = stored.astype(np.float64).reshape(21, 4, 4, 4, 4, 3).mean(axis=(2, 4))[small.stored(np.arange(10))]
    assert np.abs(small.gather(np.arange(10)) - want).max() <= 1  # rounded once per axis
    with (
        open_batches(small, data, shape, batch_size=4, seed=3, start=6) as got,
        open_batches(
            fit_source(MemorySource(stored), data, shape), data, shape, batch_size=4, seed=3, start=6
        ) as fresh,
    ):
        assert same([next(got)], [next(fresh)])


def test_an_image_that_breaks_before_a_level_needs_it_is_named(smooth, config):
    data = config(cache="host")
    whole = fit_source(Failing(smooth(8)), data, SHAPE)
    with pytest.raises(DataError, match=r"(?s)three\.png.*broken"):
        whole.at((8, 8, 3), data)
