"""From a source to an endless stream of global batches, in an order that depends on (seed, position) alone.

Three ways make the same batches bit for bit: a NumPy gather from decoded images in RAM, a jitted gather from decoded
images on the device, and a tf.data pipeline that decodes as it goes. Only the last imports TensorFlow.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from stylegan_jax.base.spec import Batch
from stylegan_jax.config import ConfigError, DataConfig
from stylegan_jax.data import order
from stylegan_jax.data.files import FileSource
from stylegan_jax.data.fitted import FittedSource, Source, fit_source

_AHEAD = 2  # batches made before they are asked for


class Schedule:
    """Which images, flips and labels make this host's part of batch b: pure functions of b.

    Args:
        source: for its size and labels.
        flips: (xflip, yflip); an epoch shows every image as stored and mirrored each way, see `order.order`.
        seed: the run's seed.
        start: images shown before batch 0.
        batch_size: images per batch, over all hosts.
        shard: (index, count) of hosts; the host's rows are contiguous.
        draws: numbers of the draws of labels for latents.
    """

    def __init__(
        self,
        source: FittedSource,
        flips: tuple[bool, bool],
        *,
        seed: int,
        start: int,
        batch_size: int,
        shard: tuple[int, int],
        draws: Sequence[int],
    ):
        self._draws = np.asarray(draws, np.int64)
        self._source, self._flips, self._seed, self._start = source, flips, seed, start
        self._num_images = source.info().num_images
        self.batch_size, self.rows = batch_size, batch_size // shard[1]
        self._first_row = shard[0] * self.rows
        self.images = functools.lru_cache(maxsize=8)(self._images)  # read for the pixels and again for the labels

    def positions(self, b: int) -> np.ndarray:
        """Return int64[rows], the positions of this host's images in batch b."""
        return self._start + int(b) * self.batch_size + self._first_row + np.arange(self.rows, dtype=np.int64)

    def _images(self, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (index int64[rows], flip bool[rows, 2])."""
        return order.order(self._seed, self.positions(b), self._num_images, *self._flips)

    def labels(self, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (label, gen_label) of `Batch`, this host's rows."""
        positions, (index, _) = self.positions(b), self.images(b)
        drawn = order.label_index(self._seed, positions, self._draws, self._num_images)
        return self._source.label_rows(index), self._source.label_rows(drawn)


class Batches(Iterator[Batch]):
    """An endless iterator of `Batch` with `close()`; also a context manager.

    Batches are made ahead in a thread and already on their way to the devices. An error while making one is raised by
    the `next` that would have returned it, and ends the iterator.
    """

    def __init__(self, made: Generator[Batch], ahead: int):
        self._made = made
        self._queue: queue.Queue[Batch | BaseException] = queue.Queue(max(1, ahead))
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if ahead:
            arguments = (made, self._queue, self._stop)
            self._thread = threading.Thread(target=_fill, args=arguments, name="batches", daemon=True)
            self._thread.start()
        self._finalizer = weakref.finalize(self, _shut, self._thread, self._stop)  # also runs at exit

    def __next__(self) -> Batch:
        if self._stop.is_set():
            raise StopIteration
        if self._thread is None:
            return next(self._made)
        item = self._queue.get()
        if isinstance(item, BaseException):
            self.close()
            raise item
        return item

    def close(self) -> None:
        """Stop the thread; the source stays open. Calling it twice is fine."""
        self._finalizer()

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _fill(made: Generator[Batch], out: queue.Queue[Batch | BaseException], stop: threading.Event) -> None:
    item: Batch | BaseException | None = None
    while not stop.is_set() and not isinstance(item, BaseException):
        try:
            item = next(made)
        except BaseException as error:
            item = error
        while not stop.is_set():
            try:
                out.put(item, timeout=0.1)
                break
            except queue.Full:
                continue
    made.close()


def _shut(thread: threading.Thread | None, stop: threading.Event) -> None:
    stop.set()
    if thread is not None and thread is not threading.current_thread():
        thread.join(timeout=10.0)


def open_batches(
    source: Source,
    data: DataConfig,
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    sharding: NamedSharding | None = None,
    shard_index: int = 0,
    shard_count: int = 1,
    draws: Sequence[int] = (0, 1, 2, 3),
    has_second: bool = False,
) -> Batches:
    """Return the batches that follow the first `start` images of a run.

    Args:
        source: from `open_source`, or any `Source` (a `MemorySource` in a notebook).
        data: the data group of the config: xflip, yflip, subset, cache, workers, resize_filter.
        image_shape: the model's (h, w, c).
        batch_size: images per batch, over all hosts.
        seed: decides the order and the drawn labels; any integer.
        start: position in images, batch_size * step to resume before that step.
        sharding: of the sample and `label`, such as NamedSharding(mesh, P('data')); arrays come out global with it.
            None: NumPy arrays of this shard's rows (with cache='device': on the default device).
        shard_index: this host's number, `jax.process_index()`.
        shard_count: number of hosts, `jax.process_count()`; each makes rows [i n/H, (i+1) n/H) of every batch.
        draws: numbers of the draws of labels in `Batch.gen_label`, one for each phase that draws latents; a draw
            depends on its own number and not on which others are asked for.
        has_second: batches bring a second set of reals, in an order of its own; `Batch.second`.

    Raises:
        ConfigError: a batch that does not divide, or cache='device' without an array.
        DataError: the source does not fit the model.
    """
    if batch_size < 1 or shard_count < 1 or batch_size % shard_count:
        raise ConfigError(f"config.train.batch_size is {batch_size}; the {shard_count} hosts must divide it")
    if not 0 <= shard_index < shard_count or start < 0:
        raise ConfigError(f"shard_index is {shard_index} of {shard_count} and start {start}; both count from 0")
    fitted = fit_source(source, data, image_shape)
    shard = (shard_index, shard_count)
    flips = (data.xflip, data.yflip)
    common: dict[str, Any] = {"start": start, "batch_size": batch_size, "shard": shard}
    made = _make(fitted, data, Schedule(fitted, flips, seed=seed, draws=draws, **common), sharding)
    if has_second:
        schedule = Schedule(fitted, flips, seed=order.second_seed(seed), draws=(), **common)
        made = _with_second(made, _make(fitted, data, schedule, sharding))
    # On the device they are made in the caller's thread: hosts must launch device programs in one order, and launching
    # costs no waiting.
    return Batches(made, ahead=0 if fitted.cache == "device" else _AHEAD)


def _make(
    fitted: FittedSource, data: DataConfig, schedule: Schedule, sharding: NamedSharding | None
) -> Generator[Batch]:
    if fitted.cache == "device":
        return _device_batches(fitted, schedule, sharding)
    if fitted.array is None and isinstance(fitted.inner, FileSource):
        from stylegan_jax.data import pipeline

        pixels = pipeline.pixel_batches(fitted, fitted.inner, schedule.images, schedule.rows, data.workers)
    else:
        pixels = _host_pixels(fitted, schedule)
    return _place_all(pixels, schedule, sharding)


def _with_second(first: Generator[Batch], other: Generator[Batch]) -> Generator[Batch]:
    """Join two streams; closing the result closes both."""
    with contextlib.closing(first), contextlib.closing(other):
        for a, b in zip(first, other, strict=True):
            yield a._replace(second=(b.sample, b.label))


def _host_pixels(source: FittedSource, schedule: Schedule) -> Iterator[np.ndarray]:
    for b in itertools.count():
        index, flip = schedule.images(b)
        pixels = source.gather(index)
        for axis, mirrored in ((2, flip[:, 0]), (1, flip[:, 1])):
            pixels[mirrored] = np.flip(pixels[mirrored], axis)
        yield pixels


def _place_all(pixels: Iterator[np.ndarray], schedule: Schedule, sharding: NamedSharding | None) -> Generator[Batch]:
    for b, rows in enumerate(pixels):
        label, gen_label = schedule.labels(b)
        yield Batch(
            {"image": _place(rows, schedule, sharding)},
            _place(label, schedule, sharding),
            _place(gen_label, schedule, sharding, 1),
        )


def _place(local: np.ndarray, schedule: Schedule, sharding: NamedSharding | None, axis: int = 0):
    """Return the global array whose rows on `axis` are split over hosts as `local`; NumPy without a sharding."""
    if sharding is None:
        return local
    if axis:
        sharding = NamedSharding(sharding.mesh, PartitionSpec(*[None] * axis, *sharding.spec))
    shape = (*local.shape[:axis], schedule.batch_size, *local.shape[axis + 1 :])
    return jax.make_array_from_process_local_data(sharding, local, shape)


def _device_batches(source: FittedSource, schedule: Schedule, sharding: NamedSharding | None) -> Generator[Batch]:
    """Gather from the decoded images on the device; only indices and labels cross per step."""
    assert source.array is not None
    if sharding is None:
        images = jax.device_put(source.array)
    else:
        everywhere = NamedSharding(sharding.mesh, PartitionSpec())
        images = jax.make_array_from_process_local_data(everywhere, np.asarray(source.array), source.array.shape)
    gather = jax.jit(_gather, out_shardings=sharding)
    for b in itertools.count():
        index, flip = schedule.images(b)
        label, gen_label = schedule.labels(b)
        place = (schedule, sharding)
        pixels = gather(images, _place(index.astype(np.int32), *place), _place(flip, *place))
        yield Batch({"image": pixels}, _place(label, *place), _place(gen_label, *place, 1))


def _gather(images: jax.Array, index: jax.Array, flip: jax.Array) -> jax.Array:
    """Return images[index] uint8[n, h, w, c], mirrored where flip[n, 2] says (left to right, top to bottom)."""
    picked = images.at[index].get(mode="promise_in_bounds")
    flip = flip[:, :, None, None, None]
    picked = jnp.where(flip[:, 0], picked[:, :, ::-1], picked)
    return jnp.where(flip[:, 1], picked[:, ::-1], picked)
