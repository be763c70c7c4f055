"""Sets of videos to pass over as clips, one of each video."""

from __future__ import annotations

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base.errors import printable
from stylegan_jax.data import FittedSource, clips, order
from stylegan_jax.data.errors import SHOWN
from stylegan_jax.data.video_source import Videos, VideoSource
from stylegan_jax.metrics.definitions import Clip
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.metrics.images import THREADS, Images

log = logging.getLogger(__name__)


class Clips(NamedTuple):
    """One clip of each video in a set. Passes use it as they use `Images`.

    Attributes:
        source: of the frames, 1 or 3 channels.
        frames: int64[n, t], numbers of the images that make up each clip, in the order of the videos' names.
        identity: plain dict of everything that determines the pixels.
    """

    source: FittedSource
    frames: np.ndarray
    identity: dict[str, Any]

    @property
    def flips(self) -> tuple[bool, bool]:
        """No metric of videos counts mirrored copies."""
        return False, False

    def count(self, mirrored: bool = False) -> int:
        """Return how many clips there are."""
        return len(self.frames)

    def pixels(self, index: np.ndarray) -> np.ndarray:
        """Return uint8[m, t, h, w, 3] for int64[m]; grey is repeated."""
        numbers = self.frames[index]
        with ThreadPoolExecutor(THREADS) as pool:
            found = np.stack(list(pool.map(lambda i: self.source.pixels(int(i)), numbers.reshape(-1))))
        found = found.reshape(*numbers.shape, *found.shape[1:])
        return np.repeat(found, 3, axis=-1) if found.shape[-1] == 1 else found


def make_clips(images: Images, clip: Clip, metric: str, *, is_random: bool) -> Clips:
    """Return the clips of a metric: one of each video that is long enough, in the order of their names.

    Args:
        images: frames of videos.
        clip: the kind of clip.
        metric: its name, for errors.
        is_random: each clip begins at a random but fixed place, as for reals; if not, at the first frame.

    Raises:
        MetricError: the set has no videos, or none is long enough; the error names some.
    """
    source, name = images.source, images.source.info().name
    videos = videos_of(source)
    if videos is None:
        raise MetricError(
            f"{metric} compares videos, and {name} holds images; pass a folder or zip with a folder of frames for each "
            "video"
        )
    is_short = videos.lengths < clip.least
    if is_short.any():
        short = [f"{printable(videos.names[i]) or name} ({videos.lengths[i]})" for i in np.flatnonzero(is_short)]
        told = (
            f"{name}: {len(short)} of {len(is_short)} videos have fewer than the {clip.least} frames that {metric} "
            f"needs: {', '.join(short[:SHOWN])}{' …' * (len(short) > SHOWN)}"
        )
        if is_short.all():
            raise MetricError(f"{told}; pass longer ones, or choose a metric of shorter clips such as fvd2048_16f")
        log.warning("%s; they are skipped, as published", told)
    number = np.flatnonzero(~is_short)
    u = order.numbers(0, order.METRIC_CLIP, number, 1)[:, 0] if is_random else np.zeros(len(number))
    taken = [clips.consecutive(videos.lengths[i], *clip, x) for i, x in zip(number, u, strict=True)]
    frames = videos.images(number, np.stack(taken))
    decided = {"clip": list(clip), "frames": hashlib.sha256(frames.tobytes()).hexdigest()[:32]}
    return Clips(source, frames, images.identity | decided)


def videos_of(source: FittedSource) -> Videos | None:
    """Return the videos of a source; None for a source of images."""
    return source.inner.videos(source.keep) if isinstance(source.inner, VideoSource) else None
