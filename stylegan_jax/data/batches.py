"""An endless stream of global batches, in an order that depends only on (seed, position).

Three ways produce the same batches bit for bit: a NumPy gather from decoded images in RAM, a jitted gather from decoded
images on the device, and decoding on the fly, by tf.data if TensorFlow is installed, else by a pool of threads.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import queue
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from stylegan_jax.base.spec import Batch
from stylegan_jax.config import ClipRule, ConfigError, DataConfig
from stylegan_jax.data import clips, order
from stylegan_jax.data.files import FileSource
from stylegan_jax.data.fitted import FittedSource, Source, fit_source
from stylegan_jax.data.tiles_source import TilesSource
from stylegan_jax.data.video_source import Videos, videos_of

_AHEAD = 2  # batches prepared in advance


class Schedule:
    """The images, flips and labels of this host's part of batch b, as pure functions of b.

    Args:
        source: the images.
        flips: (xflip, yflip), as in `order.order`: an epoch shows every image as stored and mirrored.
        seed: the run's seed.
        start: images shown before batch 0.
        batch_size: images per batch, over all hosts.
        shard: (index, count) of hosts; the host's rows are contiguous.
        draws: numbers of the draws of labels for latents.
        videos: the source's videos and the rule by which clips are taken from them; None: examples are images.
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
        videos: tuple[Videos, ClipRule] | None = None,
    ):
        self._videos = videos
        self._draws = np.asarray(draws, np.int64)
        self._source, self._flips, self._seed, self._start = source, flips, seed, start
        self._count = len(videos[0].names) if videos else source.info().num_images
        self.frames = videos[1].frames if videos else 1
        self.batch_size, self.rows = batch_size, batch_size // shard[1]
        self._first_row = shard[0] * self.rows
        self.examples = functools.lru_cache(maxsize=8)(self._examples)  # read for the pixels and again for the labels
        self.images = functools.lru_cache(maxsize=8)(self._images)

    @property
    def has_clips(self) -> bool:
        """Whether examples are clips."""
        return self._videos is not None

    def positions(self, b: int) -> np.ndarray:
        """Return int64[rows], the positions of this host's images in batch b."""
        return self._start + int(b) * self.batch_size + self._first_row + np.arange(self.rows, dtype=np.int64)

    def _examples(self, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (numbers int64[rows] of images or videos, flip bool[rows, 2])."""
        return order.order(self._seed, self.positions(b), self._count, *self._flips)

    def _images(self, b: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return (index int64[m], flip bool[m, 2], times float32[rows, t] of clips), where m = rows * frames."""
        index, flip = self.examples(b)
        if self._videos is None:
            return index, flip, None
        videos, rule = self._videos
        frames, times = clips.real_clips(rule, self._seed, self.positions(b), videos.lengths[index])
        return videos.images(index, frames).reshape(-1), np.repeat(flip, rule.frames, axis=0), times

    def _labels_of(self, index: np.ndarray) -> np.ndarray:
        """Return the labels of images, or of videos."""
        return self._source.label_rows(index if self._videos is None else self._videos[0].heads[index])

    def batch(self, b: int, pixels: Any, place: Callable[..., Any]) -> Batch:
        """Return batch b of images [m, h, w, c] or clips [rows, t, h, w, c]; `place` makes its arrays global."""
        positions, times, (shown, _) = self.positions(b), self.images(b)[2], self.examples(b)
        drawn = order.label_index(self._seed, positions, self._draws, self._count)
        label, gen_label = place(self._labels_of(shown)), place(self._labels_of(drawn), 1)
        if self._videos is None or times is None:
            return Batch({"image": pixels}, label, gen_label)
        videos, rule = self._videos
        fakes = [
            clips.fake_times(rule, self._seed, int(number), positions, videos.lengths[index])
            for number, index in zip(self._draws, drawn, strict=True)
        ]
        given = np.stack(fakes) if fakes else np.zeros((0, self.rows, rule.frames), np.float32)
        return Batch({"image": pixels, "times": place(times)}, label, gen_label, given={"times": place(given, 1)})


class Batches(Iterator[Batch]):
    """An endless iterator of `Batch` with `close()`; also a context manager.

    A thread prepares batches in advance and sends them to the devices. If making a batch fails, the `next` that would
    have returned it raises the error, which ends the iterator.
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
    rule: ClipRule | None = None,
) -> Batches:
    """Return the batches that follow the first `start` examples (images or clips) of a run.

    Args:
        source: from `open_source`, or any `Source` (a `MemorySource` in a notebook).
        data: `config.data`; xflip, yflip, subset, cache, workers and resize_filter are used.
        image_shape: the model's (h, w, c).
        batch_size: examples per batch, over all hosts.
        seed: determines the order and the drawn labels; any integer.
        start: position in examples; batch_size * step resumes before that step.
        sharding: sharding of the sample and `label`, such as NamedSharding(mesh, P('data')), for global arrays. None:
            NumPy arrays of this host's rows (with cache='device', arrays on the default device).
        shard_index: this host's number, `jax.process_index()`.
        shard_count: number of hosts, `jax.process_count()`; host i makes rows [i n/H, (i+1) n/H) of every batch.
        draws: numbers of the draws of labels in `Batch.gen_label`, one for each phase that draws latents; a draw
            depends only on its own number, not on which others are requested.
        has_second: whether batches have a second set of reals, `Batch.second`, in its own order.
        rule: how clips are taken from the source's videos; None: examples are images. An epoch shows one clip of
            every video; mirrored copies count as further videos.

    Raises:
        ConfigError: the hosts do not divide the batch, or an index is out of range.
        DataError: the source does not fit the model.
    """
    if batch_size < 1 or shard_count < 1 or batch_size % shard_count:
        raise ConfigError(f"config.train.batch_size is {batch_size}; the {shard_count} hosts must divide it")
    if not 0 <= shard_index < shard_count or start < 0:
        raise ConfigError(f"shard_index is {shard_index} of {shard_count} and start {start}; both count from 0")
    fitted = fit_source(source, data, image_shape)
    shard = (shard_index, shard_count)
    flips = (data.xflip, data.yflip)
    videos = (videos_of(fitted, rule, data.on_bad_image), rule) if rule else None
    common: dict[str, Any] = {"start": start, "batch_size": batch_size, "shard": shard, "videos": videos}
    made = _make(fitted, data, Schedule(fitted, flips, seed=seed, draws=draws, **common), sharding)
    if has_second:
        schedule = Schedule(fitted, flips, seed=order.second_seed(seed), draws=(), **common)
        made = _with_second(made, _make(fitted, data, schedule, sharding))
    # With cache='device', batches are made in the caller's thread, because all hosts must launch device programs in the
    # same order. Launching does not wait.
    return Batches(made, ahead=0 if fitted.cache == "device" else _AHEAD)


def _make(
    fitted: FittedSource, data: DataConfig, schedule: Schedule, sharding: NamedSharding | None
) -> Generator[Batch]:
    if fitted.cache == "device":
        return _device_batches(fitted, schedule, sharding)
    plan = lambda b: schedule.images(b)[:2]
    if fitted.array is None and isinstance(fitted.inner, TilesSource):
        pixels = _pooled_pixels(fitted, plan, data.workers)
    elif fitted.array is None and isinstance(fitted.inner, FileSource):
        from stylegan_jax.data import pipeline

        if pipeline.has_tensorflow():
            pixels = pipeline.pixel_batches(fitted, fitted.inner, plan, schedule.rows * schedule.frames, data.workers)
        else:
            pixels = _pooled_pixels(fitted, plan, data.workers)
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
        index, flip, _ = schedule.images(b)
        yield _mirror(source.gather(index), flip)


def _pooled_pixels(
    source: FittedSource, plan: Callable[[int], tuple[np.ndarray, np.ndarray]], workers: int
) -> Iterator[np.ndarray]:
    """Yield uint8[rows, h, w, c] like `pipeline.pixel_batches`; threads decode two batches in advance."""
    with contextlib.ExitStack() as stack:
        pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode")
        stack.callback(pool.shutdown, cancel_futures=True)
        pending: collections.deque[list[Future[np.ndarray]]] = collections.deque()
        for b in itertools.count():
            while len(pending) <= _AHEAD:
                pending.append([pool.submit(source.pixels, int(i)) for i in plan(b + len(pending))[0]])
            yield _mirror(np.stack([made.result() for made in pending.popleft()]), plan(b)[1])


def _mirror(pixels: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """Mirror images uint8[n, h, w, c] in place where flip bool[n, 2] (left to right, top to bottom) says so."""
    for axis, mirrored in ((2, flip[:, 0]), (1, flip[:, 1])):
        pixels[mirrored] = np.flip(pixels[mirrored], axis)
    return pixels


def _place_all(pixels: Iterator[np.ndarray], schedule: Schedule, sharding: NamedSharding | None) -> Generator[Batch]:
    place = lambda x, axis=0: _place(x, schedule, sharding, axis)
    for b, images in enumerate(pixels):
        if schedule.has_clips:
            images = images.reshape(schedule.rows, schedule.frames, *images.shape[1:])
        yield schedule.batch(b, place(images), place)


def _place(local: np.ndarray, schedule: Schedule, sharding: NamedSharding | None, axis: int = 0):
    """Return the global array of which this host has the rows `local` on `axis`; without a sharding, `local`."""
    if sharding is None:
        return local
    if axis:
        sharding = NamedSharding(sharding.mesh, PartitionSpec(*[None] * axis, *sharding.spec))
    shape = (*local.shape[:axis], schedule.batch_size, *local.shape[axis + 1 :])
    return jax.make_array_from_process_local_data(sharding, local, shape)


def _device_batches(source: FittedSource, schedule: Schedule, sharding: NamedSharding | None) -> Generator[Batch]:
    """Gather from the decoded images on the device; only indices and labels are transferred per step."""
    assert source.array is not None
    if sharding is None:
        images = jax.device_put(source.array)
    else:
        everywhere = NamedSharding(sharding.mesh, PartitionSpec())
        images = jax.make_array_from_process_local_data(everywhere, np.asarray(source.array), source.array.shape)
    frames = schedule.frames if schedule.has_clips else 0
    gather = jax.jit(functools.partial(_gather, frames=frames), out_shardings=sharding)
    place = lambda x, axis=0: _place(x, schedule, sharding, axis)
    for b in itertools.count():
        index, flip, _ = schedule.images(b)
        if frames:
            index, flip = index.reshape(schedule.rows, frames), flip.reshape(schedule.rows, frames, 2)
        yield schedule.batch(b, gather(images, place(index.astype(np.int32)), place(flip)), place)


def _gather(images: jax.Array, index: jax.Array, flip: jax.Array, frames: int = 0) -> jax.Array:
    """Return images[index] uint8[n, h, w, c], mirrored where flip bool[n, 2] (left to right, top to bottom) says so.

    With `frames`, index is [n, t], flip [n, t, 2] and the result clips [n, t, h, w, c].
    """
    if frames:
        return jax.vmap(lambda i, f: _gather(images, i, f), in_axes=(1, 1), out_axes=1)(index, flip)
    picked = images.at[index].get(mode="promise_in_bounds")
    flip = flip[:, :, None, None, None]
    picked = jnp.where(flip[:, 0], picked[:, :, ::-1], picked)
    return jnp.where(flip[:, 1], picked[:, ::-1], picked)
