"""Random crops of large pictures, cut when they are needed: every position in every picture is an image of the set.

Nothing is written to disk. The position of image i follows by arithmetic, so the order is a pure function of (seed,
position) as for every source. Images with neighbouring numbers are far apart, and the first n images, for any n, are
spread evenly over all pictures (a Kronecker sequence), as grids and metrics need.
"""

from __future__ import annotations

import collections
import hashlib
import math
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from stylegan_jax.base import bundled
from stylegan_jax.base.spec import SourceInfo
from stylegan_jax.config import ConfigError, DataConfig
from stylegan_jax.data import images
from stylegan_jax.data.contents import Contents
from stylegan_jax.data.errors import BadImage, DataError, bad_images_error, missing_path_error, printable
from stylegan_jax.data.files import Files, no_image_error, run_parallel
from stylegan_jax.data.folder_source import FolderFiles
from stylegan_jax.data.labels import no_labels
from stylegan_jax.data.zip_source import ZipFiles

MAX_LISTED = 1 << 27
"""Largest number of positions from which `data.tile_contrast` may choose; each one kept takes 8 bytes."""
_SPREAD = math.sqrt(2) - 1
"""Not the golden ratio, which puts images whose numbers differ by 8, as in grids of 8 columns, close together."""


class OnePicture:
    """`files.Files` of a single picture.

    Raises:
        DataError: it is not a regular file.
    """

    has_checksums = False

    def __init__(self, path: str):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"{path}: not a regular file")
        self.where, self.names, self.bad = path, [os.path.basename(path)], []
        self.contents = Contents(names=self.names, numbers=[0])

    def read(self, index: int) -> bytes:
        """Return the bytes of the picture."""
        with self.open(index) as file:
            return file.read(images.MAX_BYTES)

    def open(self, index: int) -> BinaryIO:
        """Open the picture."""
        return open(self.where, "rb")

    def digest(self, index: int) -> bytes:
        """Return a digest of its bytes."""
        return hashlib.sha256(self.read(index)).digest()

    def read_json(self, number: int) -> bytes:
        """Raise DataError: a single picture has no dataset.json."""
        raise DataError(f"{self.where}: a picture has no labels")

    def close(self) -> None:
        """Do nothing: no file stays open."""


class Pictures:
    """A thread-safe cache of the most recently used decoded pictures.

    Args:
        files: the pictures.
        channels: 1, 3 or 4.
        limit: bytes to keep; in addition, each decoding thread holds one picture.
    """

    def __init__(self, files: Files, channels: int, limit: int):
        self._files, self._channels, self._limit = files, channels, limit
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()
        self._gates: collections.defaultdict[int, threading.Lock] = collections.defaultdict(threading.Lock)
        self.bytes = 0

    def get(self, number: int) -> np.ndarray:
        """Return a picture, uint8[h, w, c].

        Raises:
            BadImage, OSError: it cannot be decoded or read.
        """
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            gate = self._gates[number]
        with gate:  # so that two threads do not decode the same picture
            with self._lock:
                if number in self._kept:
                    return self._kept[number]
            pixels = images.decode(self._files.read(number), self._channels)
            with self._lock:
                if pixels.nbytes <= self._limit:
                    self._kept[number] = pixels
                    self.bytes += pixels.nbytes
                while self.bytes > self._limit:
                    self.bytes -= self._kept.popitem(last=False)[1].nbytes
            return pixels


class TilesSource:
    """A `Source` whose images are all tiles of some pictures at positions a step apart; see the module.

    Attributes:
        representative: metrics use at most this many of the first tiles, which are spread evenly.

    Args:
        name: short name for logs.
        files: the pictures.
        tile: (height, width) of a tile in the pictures' pixels.
        step: pixels between neighbouring positions, in both directions.
        contrast: least standard deviation of a tile's brightness, which is in [0, 255]; 0: any.
        channels: 1, 3 or 4.
        limit: bytes of decoded pictures to keep.
        on_bad_image: 'error' or 'skip'.
        workers: number of threads that check the pictures.

    Raises:
        DataError: there is no picture, one is bad or too small with 'error', no tile has that contrast, or there are
            too many to choose from.
    """

    representative = 50_000

    def __init__(
        self,
        name: str,
        files: Files,
        *,
        tile: tuple[int, int],
        step: int,
        contrast: float,
        channels: int,
        limit: int,
        on_bad_image: str,
        workers: int,
    ):
        self._name, self._files, self._tile, self._step, self._channels = name, files, tile, step, channels
        if not files.names and not files.bad:
            raise no_image_error(files)
        self._pictures = Pictures(files, channels, limit)
        sizes, bad = _look(files, channels, tile, workers)
        grids = {i: _grid(size, tile, step) for i, size in sizes.items()}
        decoded = sum(h * w for h, w in sizes.values()) * channels
        busy: dict[int, np.ndarray] = {}
        if contrast:
            _check_listed(files.where, sum(map(math.prod, grids.values())), step)
        if contrast or decoded <= limit:  # if not, a picture with damaged pixels ends the run when it is shown
            busy, more = _decode(self._pictures, files, sorted(sizes), tile, step, contrast, workers)
            bad += more
        bad = sorted(bad + files.bad)
        if bad and (on_bad_image == "error" or len(bad) >= len(files.names) + len(files.bad)):
            rule = "All pictures must have the size of a tile at least, and the model's channels"
            raise bad_images_error(files.where, bad, len(files.names) + len(files.bad), rule)
        self._skipped, refused = tuple(bad), {name for name, _ in bad}
        self._numbers = [i for i in sorted(sizes) if files.names[i] not in refused]
        self._columns = np.array([grids[i][1] for i in self._numbers], np.int64)
        counts = np.array([math.prod(grids[i]) for i in self._numbers], np.int64)
        self._ends = np.cumsum(counts)
        self._places: np.ndarray | None = None  # the positions that are in the set; None: all
        if contrast:
            self._places = np.concatenate(
                [start + busy[i] for start, i in zip(self._ends - counts, self._numbers, strict=True)]
            )
        self._count = int(self._ends[-1]) if self._places is None else len(self._places)
        if not self._count:
            raise DataError(
                f"{files.where}: no tile of {tile[1]}x{tile[0]} pixels has a standard deviation of brightness of "
                f"config.data.tile_contrast={contrast:g} of 255; lower it"
            )
        self._stride, self._labels = _coprime(self._count), no_labels(self._count)
        self._notes = self._describe(decoded, limit)

    def _describe(self, decoded: int, limit: int) -> list[str]:
        number, total, (h, w) = len(self._numbers), int(self._ends[-1]), self._tile
        chosen = f"{total}" if self._count == total else f"{self._count} of {total}, those with contrast"
        apart = f"{self._step} pixel{'s' * (self._step > 1)} apart"
        line = f"tiles of {w}x{h} from {number} picture{'s' * (number > 1)}, {apart}: {chosen}"
        if decoded <= limit:
            return [line]
        warning = (
            f"warning: the pictures decode to {decoded / 2**20:.0f} MiB, and config.data.cache_limit_mb={limit >> 20} "
            "are kept, so many tiles decode a whole picture: raise it, or use fewer or smaller pictures"
        )
        return [line, warning]

    def info(self) -> SourceInfo:
        """Describe the set."""
        known = self._labels.info()
        known["notes"] = (*self._notes, *self._files.contents.notes(), *known["notes"])
        return SourceInfo(self._name, self._count, (*self._tile, self._channels), skipped=self._skipped, **known)

    def place(self, index: int) -> tuple[int, int, int]:
        """Return (number of the picture, top, left) of a tile."""
        place = int(index) * self._stride % self._count
        place = place if self._places is None else int(self._places[place])
        k = int(np.searchsorted(self._ends, place, side="right"))
        row, column = divmod(place - (int(self._ends[k - 1]) if k else 0), int(self._columns[k]))
        return self._numbers[k], row * self._step, column * self._step

    def pixels(self, index: int) -> np.ndarray:
        """Cut one tile: uint8[h, w, c].

        Raises:
            DataError: its picture can no longer be read, or has changed; the error names it.
        """
        number, top, left = self.place(index)
        where = f"{self._files.where}/{printable(self._files.names[number])}"
        try:
            picture = self._pictures.get(number)
        except BadImage as error:
            raise DataError(f"{where}: {error.reason}") from error
        except OSError as error:
            raise DataError(f"{where}: cannot be read: {error.strerror or error}") from error
        tile = picture[top : top + self._tile[0], left : left + self._tile[1]]
        if tile.shape[:2] != self._tile:
            raise DataError(
                f"{where}: its size is now {picture.shape[1]}x{picture.shape[0]}; it changed since the start"
            )
        return tile.copy()

    def fingerprint(self, most: int = 0) -> bytes:
        """Return a digest that changes with the tiles; with `most`, of about that many evenly spaced pictures."""
        digest = hashlib.sha256(repr((self._tile, self._step, self._count, self._columns.tolist())).encode())
        if self._places is not None:
            digest.update(self._places.tobytes())
        for number in self._numbers[:: max(1, len(self._numbers) // most) if most else 1]:
            digest.update(self._files.digest(number))
        return digest.digest()

    def labels(self, index: np.ndarray) -> np.ndarray:
        """Return labels of length 0, float32[*index.shape, 0]."""
        return self._labels.vectors(index)

    def label_rows(self, index: np.ndarray) -> np.ndarray:
        """Return the same as `labels`, because there are no classes."""
        return self._labels.rows(index)

    def close(self) -> None:
        """Release the folder or zip."""
        self._files.close()


def _look(
    files: Files, channels: int, tile: tuple[int, int], workers: int
) -> tuple[dict[int, tuple[int, int]], list[tuple[str, str]]]:
    """Return the sizes of the usable pictures by number, and (name, reason) of the others."""
    sizes: dict[int, tuple[int, int]] = {}
    bad: list[tuple[str, str]] = []

    def look(i: int) -> None:
        try:
            with files.open(i) as file:
                height, width = images.inspect(file, channels).size
            if height < tile[0] or width < tile[1]:
                raise BadImage(f"{width}x{height} pixels, smaller than a tile of {tile[1]}x{tile[0]}")
            sizes[i] = height, width
        except BadImage as error:
            bad.append((files.names[i], error.reason))
        except OSError as error:
            bad.append((files.names[i], f"cannot be read: {error.strerror or error}"))

    run_parallel(look, len(files.names), workers, f"checking {files.where}")
    return sizes, bad


def _grid(size: tuple[int, int], tile: tuple[int, int], step: int) -> tuple[int, int]:
    """Return (rows, columns) of the positions in a picture of (height, width) `size`."""
    return (size[0] - tile[0]) // step + 1, (size[1] - tile[1]) // step + 1


def _check_listed(where: str, total: int, step: int) -> None:
    """Check that positions can be listed.

    Raises:
        DataError: there are too many.
    """
    if total > MAX_LISTED:
        enough = step * math.ceil(math.sqrt(total / MAX_LISTED))
        raise DataError(
            f"{where}: config.data.tile_contrast would choose from {total} places, and at most {MAX_LISTED} can be "
            f"listed; use a larger step, such as --config.data.tile_step={enough}"
        )


def _decode(
    pictures: Pictures,
    files: Files,
    numbers: Sequence[int],
    tile: tuple[int, int],
    step: int,
    contrast: float,
    workers: int,
) -> tuple[dict[int, np.ndarray], list[tuple[str, str]]]:
    """Decode pictures; return (positions with enough contrast by picture, (name, reason) of bad pictures)."""
    busy: dict[int, np.ndarray] = {}
    bad: list[tuple[str, str]] = []

    def look(k: int) -> None:
        number = numbers[k]
        try:
            pixels = pictures.get(number)
            if contrast:
                found = [np.flatnonzero(row >= contrast) for row in deviations(pixels, tile, step)]
                columns = _grid((pixels.shape[0], pixels.shape[1]), tile, step)[1]
                busy[number] = np.concatenate([k * columns + row for k, row in enumerate(found)])
        except BadImage as error:
            bad.append((files.names[number], error.reason))
        except OSError as error:
            bad.append((files.names[number], f"cannot be read: {error.strerror or error}"))

    run_parallel(look, len(numbers), workers, f"decoding {files.where}")
    return busy, bad


def deviations(pixels: np.ndarray, tile: tuple[int, int], step: int) -> Iterator[np.ndarray]:
    """Yield the standard deviations of the brightness, in [0, 255], of a picture's tiles, row by row.

    Sums over the rows of a tile slide down the picture, so only two numbers per column are stored. They are integers,
    so rounding errors cannot accumulate.

    Args:
        pixels: uint8[h, w, c]; brightness is the mean of the colours without alpha.
        tile: (height, width).
        step: pixels between neighbouring tiles, in both directions.

    Yields:
        float64[columns].
    """
    (height, width), colours = tile, min(pixels.shape[2], 3)
    value = lambda y: pixels[y, :, :colours].sum(axis=1, dtype=np.int64)
    first = [value(y) for y in range(height)]
    sums, squares = np.sum(first, axis=0), np.sum(np.square(first), axis=0)
    for top in range(pixels.shape[0] - height + 1):
        if top:
            new, old = value(top + height - 1), value(top - 1)
            sums, squares = sums + new - old, squares + np.square(new) - np.square(old)
        if top % step == 0:
            mean, square = (_windows(x, width)[::step] / (height * width) for x in (sums, squares))
            yield np.sqrt(np.maximum(square - mean**2, 0)) / colours


def _windows(x: np.ndarray, width: int) -> np.ndarray:
    """Return int64[w - width + 1], the sums over every `width` neighbours of int64[w]."""
    sums = np.concatenate([[0], np.cumsum(x)])
    return sums[width:] - sums[:-width]


def _coprime(count: int) -> int:
    """Return the step of the Kronecker sequence: close to `_SPREAD` times `count`, and coprime to it."""
    near = max(1, round(count * _SPREAD))
    return next(n for d in range(count + 1) for n in (near + d, near - d) if n > 0 and math.gcd(n, count) == 1)


def open_tiles(data: DataConfig, image_shape: tuple[int, int, int]) -> TilesSource:
    """Open `data.path`, a picture, a folder or a zip, as tiles with `image_shape[2]` channels.

    Raises:
        ConfigError: labels are requested, or the tile's width would not be a whole number.
        DataError: there is no picture, one is bad, or no tile has enough contrast.
    """
    height, width, channels = image_shape
    if data.labels != "none":
        raise ConfigError(f"config.data.labels is {data.labels!r} with data.source='tiles', which has none; use 'none'")
    size = data.tile_size or height
    if size * width % height:
        raise ConfigError(
            f"config.data.tile_size is {size}; images are {width}x{height}, and a tile's width must be whole too: "
            f"use a multiple of {height // math.gcd(height, width)}"
        )
    path = bundled.find_data(data.path)
    if not os.path.exists(path):
        raise missing_path_error(data.path, "picture, folder or zip")
    files: Files = FolderFiles(path) if os.path.isdir(path) else ZipFiles(path) if _is_zip(path) else OnePicture(path)
    try:
        return TilesSource(
            os.path.splitext(os.path.basename(os.path.abspath(path)))[0],
            files,
            tile=(size, size * width // height),
            step=data.tile_step,
            contrast=data.tile_contrast,
            channels=channels,
            limit=data.cache_limit_mb << 20,
            on_bad_image=data.on_bad_image,
            workers=data.workers,
        )
    except BaseException:
        files.close()
        raise


def _is_zip(path: str) -> bool:
    """Return whether a file is a zip by its name or its first bytes."""
    if path.lower().endswith(".zip"):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"PK\3\4"
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
