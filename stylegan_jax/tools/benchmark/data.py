"""Images, or clips, per second of the input pipeline, for every way in which it can serve the source."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from stylegan_jax.config import ExperimentConfig, clips_of
from stylegan_jax.data import DataError, FittedSource, open_batches, open_source
from stylegan_jax.data.files import FileSource
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.tools.benchmark.timing import spread

WAYS = {
    "files": "tf.data from files",
    "images": "image by image",
    "host": "gather in host memory",
    "device": "gather on the device",
}

LEAST_SECONDS, LEAST_BATCHES = 1.0, 16
"""Least length of a repeat; long compared with the few batches that are prefetched."""


def caches(config: ExperimentConfig) -> list[str]:
    """Return the values of config.data.cache that the source can serve."""
    return ["off", "host"] if config.data.source == "tfds" else ["off", "host", "device"]


def time_data(config: ExperimentConfig, layout: Layout, repeats: int, say: Callable[[str], None]) -> list[dict]:
    """Return one record per cache: seconds to open, to the first batch, and images per second on the devices.

    For videos, images are the frames of clips, as training counts them, and clips per second are added.
    A cache whose decoded images exceed config.data.cache_limit_mb is skipped, with the reason as 'skipped'.

    Raises:
        ConfigError, DataError: the source cannot be opened.
    """
    rows = []
    for cache in caches(config):
        if cache == "host" and rows[0]["way"] == WAYS["host"]:  # the source is already an array
            continue
        say(f"data: {config.data.source}, cache {cache}")
        rows.append({"cache": cache, "batch": config.train.batch_size, **_time_cache(config, cache, layout, repeats)})
        if rows[0]["megabytes"] > config.data.cache_limit_mb:
            why = f"{rows[0]['megabytes']:.0f} MB decoded, config.data.cache_limit_mb is {config.data.cache_limit_mb}"
            return rows + [{"cache": left, "skipped": why} for left in caches(config)[1:]]
    return rows


def _time_cache(config: ExperimentConfig, cache: str, layout: Layout, repeats: int) -> dict[str, Any]:
    data, rule = dataclasses.replace(config.data, cache=cache), clips_of(config.model)
    frames = rule.frames if rule else 1
    start = time.perf_counter()
    with contextlib.closing(open_source(data, config.model.image_shape)) as source:
        row: dict[str, Any] = {"way": way(source), "open_seconds": time.perf_counter() - start}
        count = source.info().num_images
        row |= {"num_images": count, "megabytes": count * int(np.prod(config.model.image_shape)) / 2**20}
        start = time.perf_counter()
        with open_batches(
            source,
            data,
            config.model.image_shape,
            batch_size=config.train.batch_size,
            seed=config.train.seed,
            sharding=layout.batch,
            rule=rule,
        ) as batches:
            try:
                jax.block_until_ready(next(batches))
            except DataError as error:  # for example, TensorFlow is not installed
                return row | {"skipped": str(error)}
            row["first_batch_seconds"] = time.perf_counter() - start
            speeds = [_speed(batches, config.train.batch_size) for _ in range(repeats)]
    if rule:
        row |= {"clip_per_sec": spread(speeds), "frames": frames}
    return row | {"img_per_sec": spread([speed * frames for speed in speeds]), "workers": data.workers}


def _speed(batches: Any, batch_size: int) -> float:
    start, shown = time.perf_counter(), 0
    while shown < LEAST_BATCHES or time.perf_counter() - start < LEAST_SECONDS:
        jax.block_until_ready(next(batches))
        shown += 1
    return shown * batch_size / (time.perf_counter() - start)


def way(source: FittedSource) -> str:
    """Return how batches are made from an opened source."""
    if source.cache == "device":
        return WAYS["device"]
    if source.array is not None:
        return WAYS["host"]
    return WAYS["files"] if isinstance(source.inner, FileSource) else WAYS["images"]
