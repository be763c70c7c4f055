"""Convert videos to folders of frames, at a frame rate and in chunks, one frame at a time."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from stylegan_jax.data.errors import BadImage
from stylegan_jax.data.prepare import convert, write
from stylegan_jax.data.prepare.examples import Examples, Frame, Video
from stylegan_jax.data.prepare.options import Options, recipe_of
from stylegan_jax.data.prepare.parallel import run_in_order
from stylegan_jax.data.prepare.report import Report, width_x_height

_TOLERANCE = 0.25
"""Fraction of an interval of --fps by which a frame may be late, because times in files are rounded and jitter."""
_MOST_SECONDS = 3600.0
"""Longest interval between two frames; longer ones are treated as damage, because frames would be repeated to fill
them."""
_UNEVEN = 1.5
"""Ratio of the longest to the shortest interval above which a frame rate is variable; WebM rounds to milliseconds."""


Shot = tuple[Frame, int] | BadImage
"""A frame and how often to write it, or the reason why no more follow."""


def write_videos(
    options: Options,
    examples: Examples,
    report: Report,
    writer: write.Writer,
    progress: Callable[[Iterable[Any], int], Iterable[Any]],
) -> None:
    """Convert and write the videos of a source, and fill in the report; nothing of a bad video is written."""
    recipe = recipe_of(options, report.channels)
    first_of: dict[str, str] = {}

    def all_frames() -> Iterator[int]:
        for video in examples.videos or ():
            report.looked_at += 1
            mark, made = writer.mark(), _Made(options, report, writer, first_of)
            try:
                if examples.labelled and video.label is None:
                    raise BadImage("no label")
                yield from made.write(video, recipe)
            except BadImage as error:
                writer.rollback(mark)
                report.skipped.append((video.name, error.reason))
                continue
            made.report(video)
            if len(report.written) == options.max_images:
                return

    for _ in progress(all_frames(), 0):
        pass


class _Made:
    """The result of one video: one written video, or one for each of its chunks."""

    def __init__(self, options: Options, report: Report, writer: write.Writer, first_of: dict[str, str]):
        self._options, self._report, self._writer, self._first_of = options, report, writer, first_of
        self._is_written = not (options.strict and report.skipped)  # if not, it is only checked, to list all bad ones
        self._pace = Pace()
        self._size: tuple[int, int] | None = None
        self._done: list[tuple[str, str, str, int]] = []
        self._digests: dict[str, str] = {}
        self._duplicates: list[tuple[str, str]] = []
        self._changes: collections.Counter[str] = collections.Counter()
        self._rest = 0

    def write(self, video: Video, recipe: convert.Recipe) -> Iterator[int]:
        """Write the frames of a video, and yield after each.

        Raises:
            BadImage: it cannot be used; frames already written remain until the writer is rolled back.
        """
        options = self._options
        shown = at_rate(self._pace.watch(video.frames()), options.fps)
        shown = window(shown, options.skip_frames, options.max_frames)
        made = run_in_order(lambda shot: _make(shot, recipe), _with_error(shown), options.workers, 1)
        pngs = self._checked(made)
        count = 0
        with contextlib.closing(made), contextlib.closing(pngs):
            while length := (yield from self._write_one(video, pngs, options.skip_frames + count)):
                count += length
                if len(self._report.written) + len(self._done) == options.max_images or not options.chunk_frames:
                    break
        if not self._done and not self._duplicates:
            least = max(options.min_frames, options.chunk_frames)
            raise BadImage(f"{count} frames{' are left' * bool(options.skip_frames)}; at least {least} are needed")

    def _write_one(self, video: Video, pngs: Iterator[convert.Made], start: int) -> Iterator[int]:
        """Write frames until the chunk is full or there are no more; return their number."""
        options, writer, mark = self._options, self._writer, self._writer.mark()
        folder = write.folder_name(len(self._report.written) + len(self._done))
        digest, length = hashlib.sha256(), 0
        for made in pngs:
            if self._is_written:
                if not length:
                    writer.add_folder(self._report.root + folder)
                writer.add(f"{self._report.root}{folder}/{write.frame_name(length)}", made.png)
            digest.update(made.sha256.encode())
            length += 1
            yield length
            if length == options.chunk_frames:
                break
        sha256, name = digest.hexdigest(), video.name
        if options.chunk_frames:
            name += f"[{start}:{start + length}]"
        known = self._first_of.get(sha256, self._digests.get(sha256))
        if length < max(options.min_frames, options.chunk_frames):
            self._rest += length
            writer.rollback(mark)
            return length
        if known is not None:
            self._duplicates.append((name, known))
        if known is not None and options.duplicates == "drop":
            writer.rollback(mark)
        else:
            self._digests.setdefault(sha256, name)
            self._done.append((folder, name, sha256, length))
        return length

    def _checked(self, results: Iterable[tuple[Shot, convert.Made | BadImage]]) -> Generator[convert.Made]:
        """Yield finished frames, each as often as it is written, and check that all have the same size."""
        for shot, made in results:
            if isinstance(made, BadImage):
                raise made
            assert not isinstance(shot, BadImage), shot
            count = shot[1]
            if self._size is None:
                self._size = made.size
                if self._report.written and made.size != self._report.size:
                    raise BadImage(
                        f"{width_x_height(made.size)} pixels, not {width_x_height(self._report.size)} like the first"
                    )
            if made.size != self._size:
                raise BadImage(
                    f"its frames change from {width_x_height(self._size)} to {width_x_height(made.size)} pixels; set "
                    "--resolution"
                )
            for change in made.changes:
                self._changes[change] += count
            if count > 1:
                self._changes["shown again, to fill --fps"] += count - 1
            for _ in range(count):
                yield made

    def report(self, video: Video) -> None:
        """Add this video's results to the report."""
        report = self._report
        self._first_of.update(self._digests)
        report.duplicates += self._duplicates
        report.changes.update(self._changes)
        report.rest += self._rest if self._options.chunk_frames else 0
        if self._done and self._size is not None:
            report.size = self._size
        if rate := self._pace.rate:
            report.rates.append(rate)
        if self._pace.is_variable:
            report.variable.append(video.name)
        for folder, name, sha256, length in self._done:
            report.written.append((folder, name, sha256))
            report.frames.append(length)
            report.labels.append(video.label)


def _with_error(shown: Iterable[tuple[Frame, int]]) -> Iterator[Shot]:
    """Yield the items, then the error that ends them, if any, so that reading ahead does not raise it too early."""
    try:
        yield from shown
    except BadImage as error:
        yield error
    except OSError as error:
        yield BadImage(f"cannot be read: {error.strerror or error}")


def _make(shot: Shot, recipe: convert.Recipe) -> convert.Made | BadImage:
    if isinstance(shot, BadImage):
        return shot
    try:
        return convert.make(shot[0].load(), recipe)
    except BadImage as error:
        return error
    except OSError as error:
        return BadImage(f"cannot be read: {error.strerror or error}")


class Pace:
    """Measures the frame rate of a video from the times of its frames."""

    def __init__(self):
        self._count, self._last, self._least, self._most = 0, 0.0, math.inf, 0.0

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames, and record their times."""
        for frame in frames:
            if self._count:
                interval = frame.time - self._last
                self._least, self._most = min(self._least, interval), max(self._most, interval)
            self._count, self._last = self._count + 1, frame.time
            yield frame

    @property
    def rate(self) -> float | None:
        """Mean number of frames per second; None if frames have no times."""
        return (self._count - 1) / self._last if self._last else None

    @property
    def is_variable(self) -> bool:
        """Whether intervals differ by more than rounding."""
        return self._most > _UNEVEN * self._least


def at_rate(frames: Iterable[Frame], fps: float | None) -> Iterator[tuple[Frame, int]]:
    """Yield frames and how often to write each: output frame k is the one on display k / fps seconds after the first.

    A frame that is less than a quarter of an interval late counts as on time.

    Args:
        frames: the frames in order.
        fps: frames per second to write; None: each frame once.

    Raises:
        BadImage: the frames' times jump.
    """
    if fps is None:
        yield from ((frame, 1) for frame in frames)
        return
    until = lambda time: math.ceil(time * fps - _TOLERANCE)
    held, written = None, 0
    for frame in frames:
        if held is not None:
            if frame.time - held.time > _MOST_SECONDS:
                raise BadImage(f"damaged: its timestamps jump by {frame.time - held.time:.0f} s")
            count = max(0, until(frame.time) - written)
            if count:
                yield held, count
            written += count
        held = frame
    if held is not None:
        count = max(until(held.time + held.duration) - written, int(not written))
        if count > 0:
            yield held, count


def window(shown: Iterable[tuple[Frame, int]], skip: int, most: int) -> Iterator[tuple[Frame, int]]:
    """Yield frames and counts without the first `skip`, at most `most` in all; 0: no limit."""
    left = most or math.inf
    for frame, count in shown:
        dropped = min(skip, count)
        skip -= dropped
        taken = min(count - dropped, left)
        if taken:
            yield frame, int(taken)
        left -= taken
        if not left:
            return
