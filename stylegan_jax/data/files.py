"""Encoded images with names: what the zip and folder sources have in common.

Bad images are found before the first step. `FileSource` checks every header and end mark. If the set will be cached,
`fitted.decode_all` decodes every image, and reports the faults that this quick check misses to `FileSource.drop`.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import BinaryIO, Protocol

import numpy as np

from stylegan_jax.base.spec import SourceInfo
from stylegan_jax.data import images
from stylegan_jax.data.contents import Contents
from stylegan_jax.data.errors import SHOWN, BadImage, DataError, bad_images_error, printable
from stylegan_jax.data.label_files import LabelTable, read_labels

log = logging.getLogger(__name__)

_CHUNK = 64  # images per task: with fewer, scheduling costs more than decoding small images
_PROGRESS_SECONDS = 10.0
_DEEP_LOOKED_AT = 64


class Files(Protocol):
    """A folder or a zip: names in a fixed order, and their bytes. All methods may be called from any thread."""

    where: str
    contents: Contents
    names: list[str]
    bad: list[tuple[str, str]]  # (name, reason) of files found unusable while listing
    has_checksums: bool  # whether `digest` reads no file

    def read(self, index: int) -> bytes:
        """Return the bytes of one file; raises BadImage or OSError."""
        ...

    def open(self, index: int) -> BinaryIO:
        """Return one file, seekable; raises BadImage or OSError."""
        ...

    def digest(self, index: int) -> bytes:
        """Return a digest that changes with the content of one file; raises BadImage or OSError."""
        ...

    def read_json(self, number: int) -> bytes:
        """Return the bytes of a dataset.json, by its position in `contents`; raises DataError."""
        ...

    def close(self) -> None:
        """Close all open files."""
        ...


def no_image_error(files: Files) -> DataError:
    """Return the error for a folder or zip without pictures, which says what was found instead."""
    lines = "".join(f"\n  {printable(name)}: {reason}" for name, reason in files.bad[:SHOWN])
    lines += "".join(f"\n  {line}" for line in files.contents.notes())
    if files.contents.videos:
        lines += "\n  python -m stylegan_jax.data.prepare makes folders of frames of video files"
    return DataError(f"{files.where}: no image in it that can be read; looked for {', '.join(images.SUFFIXES)}{lines}")


def run_parallel(work: Callable[[int], None], count: int, workers: int, what: str) -> None:
    """Call work(i) for i in range(count) in threads, in chunks; log progress if it takes long."""
    began = said = time.monotonic()

    def chunk(first: int) -> int:
        last = min(first + _CHUNK, count)
        for i in range(first, last):
            work(i)
        return last - first

    pool = ThreadPoolExecutor(max(1, workers))
    try:
        waiting = {pool.submit(chunk, first) for first in range(0, count, _CHUNK)}
        done = 0
        while waiting:
            ready, waiting = wait(waiting, timeout=_PROGRESS_SECONDS, return_when=FIRST_EXCEPTION)
            done += sum(f.result() for f in ready)
            if waiting and time.monotonic() - said > _PROGRESS_SECONDS / 2:
                said = time.monotonic()
                log.info("%s: %d of %d (%.0f per second)", what, done, count, done / (said - began))
    finally:
        pool.shutdown(cancel_futures=True)


class FileSource:
    """A `Source` over encoded images of one size; bad ones raise an error or are skipped.

    Args:
        name: short name for logs.
        files: the folder or zip.
        labels: 'none', 'file' or 'subfolders'.
        channels: 1, 3 or 4.
        on_bad_image: 'error' or 'skip'.
        workers: number of threads.
        find_labels: (files, labels) -> their table.

    Raises:
        DataError: there is no image, an image is bad with 'error', or labels are missing.
    """

    def __init__(
        self,
        name: str,
        files: Files,
        labels: str,
        *,
        channels: int,
        on_bad_image: str,
        workers: int,
        find_labels: Callable[[Files, str], LabelTable] = read_labels,
    ):
        self._name, self._files, self._channels, self._on_bad = name, files, channels, on_bad_image
        if not files.names and not files.bad:
            raise no_image_error(files)
        self._total = len(files.names) + len(files.bad)
        self._skipped: list[tuple[str, str]] = []
        self._keep = np.arange(len(files.names))
        headers, bad = self._scan(workers)
        self._refuse(files.bad + [(files.names[i], bad[i]) for i in sorted(bad)])
        table = find_labels(files, labels)
        missing = set(table.missing(files.names))
        if missing and on_bad_image == "error":
            raise table.missing_error(sorted(missing), len(files.names))
        self._refuse([(files.names[i], "no label") for i in sorted(headers) if files.names[i] in missing])
        known = [i for i, name in enumerate(files.names) if name not in missing]
        kept = [k for k, i in enumerate(known) if i in headers]
        headers = {known[k]: headers[known[k]] for k in kept}
        self._keep = np.array(sorted(headers), np.int64)
        self._labels = table.labels([files.names[i] for i in known]).take(np.array(kept, np.int64))
        self._size = headers[int(self._keep[0])].size
        self.formats = frozenset(h.format if h.is_plain else "" for h in headers.values())
        self._notes = (*files.contents.notes(), *table.notes, *self._dark(sorted(headers), headers, workers))

    def _scan(self, workers: int) -> tuple[dict[int, images.Header], dict[int, str]]:
        """Return the headers of the usable images and the faults of the others, by file number."""
        headers: dict[int, images.Header] = {}
        bad: dict[int, str] = {}

        def look(i: int) -> None:
            try:
                with self._files.open(i) as file:
                    headers[i] = images.inspect(file, self._channels)
            except BadImage as error:
                bad[i] = error.reason
            except OSError as error:
                bad[i] = f"cannot be read: {error.strerror or error}"

        run_parallel(look, len(self._files.names), workers, f"checking {self._files.where}")
        # The most common size is the set's; of equally common ones, that of the first image.
        sizes = collections.Counter(headers[i].size for i in sorted(headers))
        if len(sizes) > 1:
            height, width = sizes.most_common(1)[0][0]
            for i in [i for i in headers if headers[i].size != (height, width)]:
                h, w = headers.pop(i).size
                bad[i] = f"{w}x{h} pixels, not {width}x{height} like most"
        return headers, bad

    def _dark(self, order: list[int], headers: dict[int, images.Header], workers: int) -> list[str]:
        """Return a warning if a sample of the images with 16 bits per channel is nearly black."""
        deep = [i for i in order if headers[i].is_deep]
        some = deep[:: max(1, len(deep) // _DEEP_LOOKED_AT)]
        brightest = [0] * len(some)

        def look(k: int) -> None:
            with contextlib.suppress(BadImage, OSError):
                brightest[k] = images.read_image(self._files.read(some[k])).brightest or 0

        run_parallel(look, len(some), workers, f"values of {self._files.where}")
        return images.dark_warning(max(brightest)) if any(brightest) else []

    def _refuse(self, bad: list[tuple[str, str]]) -> None:
        """Raise an error, or record the bad images as skipped, by policy."""
        if not bad:
            return
        if self._on_bad == "error" or len(self._skipped) + len(bad) >= self._total:
            raise bad_images_error(self._files.where, self._skipped + bad, self._total)
        self._skipped = sorted(self._skipped + bad)
        name, why = bad[0]
        where = printable(self._files.where)
        log.warning("%s: %d bad images skipped, such as %s: %s", where, len(bad), printable(name), why)

    def drop(self, bad: Sequence[tuple[int, BadImage]]) -> np.ndarray:
        """Drop bad images by index, or raise an error, by policy; return the indices that stay, int64[m]."""
        self._refuse([(error.name, error.reason) for _, error in bad])
        stay = np.delete(np.arange(len(self._keep)), [i for i, _ in bad])
        self._keep, self._labels = self._keep[stay], self._labels.take(stay)
        return stay

    def add_note(self, line: str) -> None:
        """Add a line to the notes of `info`."""
        self._notes = (line, *self._notes)

    def info(self) -> SourceInfo:
        """Describe the set."""
        shape = (*self._size, self._channels)
        known = self._labels.info()
        known["notes"] = (*self._notes, *known["notes"])
        return SourceInfo(self._name, len(self._keep), shape, skipped=tuple(self._skipped), **known)

    def encoded(self, index: int) -> bytes:
        """Return the stored bytes of one image.

        Raises:
            BadImage: it cannot be read any more.
        """
        number = int(self._keep[index])
        try:
            return self._files.read(number)
        except BadImage as error:
            raise BadImage(error.reason, self._files.names[number]) from error
        except OSError as error:
            raise BadImage(f"cannot be read: {error.strerror or error}", self._files.names[number]) from error

    @property
    def has_checksums(self) -> bool:
        """Whether `digest` reads no file."""
        return self._files.has_checksums

    def digest(self, index: int) -> bytes:
        """Return a digest that changes with the stored bytes of one image."""
        return self._files.digest(int(self._keep[index]))

    def pixels(self, index: int) -> np.ndarray:
        """Decode one image: uint8[h, w, c].

        Raises:
            BadImage: it is damaged, or has changed since the check at start-up; the error names it.
        """
        name = self._files.names[int(self._keep[index])]
        try:
            pixels = images.decode(self.encoded(index), self._channels)
        except BadImage as error:
            raise BadImage(error.reason, name) from error
        if pixels.shape[:2] != self._size:
            raise BadImage(f"its size is now {pixels.shape[1]}x{pixels.shape[0]}; it changed since the start", name)
        return pixels

    def labels(self, index: np.ndarray) -> np.ndarray:
        """Return label vectors, float32[*index.shape, k]."""
        return self._labels.vectors(index)

    def label_rows(self, index: np.ndarray) -> np.ndarray:
        """Return labels as batches contain them: class numbers int32[*index.shape], or vectors like `labels`."""
        return self._labels.rows(index)

    def close(self) -> None:
        """Release the folder or zip."""
        self._files.close()
