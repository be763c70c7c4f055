"""Reports of a run: progress lines and bar, speed and memory, TensorBoard events, sample grids."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stylegan_jax import STARTED
from stylegan_jax.base import images
from stylegan_jax.data.prepare.crc32c import crc32c
from stylegan_jax.runtime import records

_log = logging.getLogger(__name__)


class EventFile:
    """A TensorBoard event file: protocol buffers of the tensorboard package, framed as TFRecords.

    We do not use the package's writer: if TensorFlow is installed, it imports it for its file system, which takes
    twenty seconds and 700 MB, and it computes checksums byte by byte in Python.
    """

    def __init__(self, folder: str):
        from tensorboard.compat.proto import event_pb2, summary_pb2

        # These classes are created at run time, so type checkers do not know them.
        self._event, self._summary = getattr(event_pb2, "Event"), getattr(summary_pb2, "Summary")  # noqa: B009
        Path(folder).mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._file = (Path(folder) / name).open("ab")
        self._write(file_version="brain.Event:2")

    def write_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write scalars at a step."""
        made = [self._summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()]
        self._write(step=int(step), summary=self._summary(value=made))

    def write_images(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Write images uint8[1, h, w, c] at a step."""
        made = []
        for tag, (pixels,) in values.items():
            height, width, channels = pixels.shape
            image = {"height": height, "width": width, "colorspace": channels}
            png = images.png_bytes(pixels)
            made.append(self._summary.Value(tag=tag, image=self._summary.Image(**image, encoded_image_string=png)))
        self._write(step=int(step), summary=self._summary(value=made))

    def _write(self, **fields: Any) -> None:
        data = self._event(wall_time=time.time(), **fields).SerializeToString()
        length = len(data).to_bytes(8, "little")
        self._file.write(length + _masked(length) + data + _masked(data))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _masked(data: bytes) -> bytes:
    """Return the masked CRC-32C that TFRecords use."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")


class TensorBoard:
    """Writes TensorBoard events; rows wait in memory while a thread imports the package.

    If the import or a write fails, one warning is logged and no more events are written.

    Args:
        folder: folder of the event files.
        restored: events after this step, from an earlier start, are removed; None: those starting at the first row.
    """

    def __init__(self, folder: Path, restored: int | None = None):
        self._waiting: list[tuple[str, int, dict]] = []
        self._make: Any = None
        self._writer: Any = None
        self._restored = restored
        self._failed = False
        self._folder = folder
        self._thread = threading.Thread(target=self._import, daemon=True)

    def start(self) -> None:
        """Begin the import; call it when nothing waits for this process any more."""
        self._thread.start()

    def _import(self) -> None:
        try:
            importlib.import_module("tensorboard.compat.proto.event_pb2")
            self._make = EventFile
        except Exception as error:  # training continues, whatever an import raises
            self._failed = True
            advice = "pip install tensorboard, or remove it from config.log.trackers"
            _log.warning("no TensorBoard events, because its package cannot be imported: %r; %s", error, advice)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write scalars at a step."""
        self._put("write_scalars", step, values)

    def images(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Write images uint8[1, h, w, c] at a step."""
        self._put("write_images", step, values)

    def _put(self, kind: str, step: int, values: dict) -> None:
        if self._failed:
            return
        self._waiting.append((kind, step, values))
        if self._make is not None:
            self._drain()

    def _drain(self) -> None:
        try:
            if self._writer is None:
                restored = self._waiting[0][1] - 1 if self._restored is None else self._restored
                records.cut_events(self._folder, restored)
                self._writer = self._make(str(self._folder))
            for kind, step, values in self._waiting:
                getattr(self._writer, kind)(step, values)
            self._writer.flush()
        except Exception as error:  # a full disk, for example: losing events must not end the run
            self._failed = True
            _log.warning("TensorBoard events stopped: %r", error)
        self._waiting.clear()

    def close(self) -> None:
        """Wait for the import, write the remaining rows and close the file."""
        if self._waiting and not self._thread.ident:
            self.start()
        if self._thread.ident:
            self._thread.join()
        if self._make is not None and self._waiting and not self._failed:
            self._drain()
        if self._writer is not None:
            with contextlib.suppress(Exception):
                self._writer.close()


class Bar:
    """A progress bar on a terminal, plain lines elsewhere; silent on all processes but the first."""

    def __init__(self, enabled: bool, is_chief: bool, total_kimg: float, done_kimg: float):
        self._bar, self._is_chief = None, is_chief
        if enabled and is_chief and sys.stderr.isatty():
            from tqdm import tqdm

            form = "{l_bar}{bar}| {n:.2f}/{total:.0f} kimg [{elapsed}<{remaining}]"
            self._bar = tqdm(total=total_kimg, initial=done_kimg, bar_format=form, leave=False)

    def update(self, kimg: float) -> None:
        if self._bar is not None:
            self._bar.update(kimg)

    def line(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if not self._is_chief:
            return
        if self._bar is None:
            print(text, flush=True)
        else:
            self._bar.write(text, file=sys.stdout)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class Clock:
    """Measures speed per tick and the time left, counted from the start of this process."""

    def __init__(self, nimg: int, total_nimg: int):
        self._start = self._last = time.monotonic()
        self._first_nimg = self._last_nimg = nimg
        self._total = total_nimg
        self._waited = 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time in this context as waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Exclude the time in this context from the tick's speed, but not from the estimate of the time left."""
        start = time.monotonic()
        yield
        self._last += time.monotonic() - start

    def tick(self, nimg: int) -> dict[str, float]:
        """End a tick and return its figures.

        Returns:
            img_per_sec, sec_per_kimg, data_wait (fraction of the time, in [0, 1], spent waiting for batches),
            elapsed_sec, and eta_sec (from the mean speed since the start).
        """
        now = time.monotonic()
        shown, seconds = nimg - self._last_nimg, max(now - self._last, 1e-9)
        mean = max(nimg - self._first_nimg, 1) / max(now - self._start, 1e-9)
        self._last, self._last_nimg = now, nimg
        waited, self._waited = self._waited, 0.0
        return {
            "img_per_sec": shown / seconds,
            "sec_per_kimg": seconds / max(shown, 1) * 1000,
            "data_wait": waited / seconds,
            "elapsed_sec": now - self._start,
            "eta_sec": max(self._total - nimg, 0) / mean,
        }


def memory_gib() -> dict[str, float]:
    """Return the peak memory of this process and, if reported, of its first device, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    out = {"host_peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30}
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        out["device_peak_gib"] = stats["peak_bytes_in_use"] / 2**30
    return out


def progress_line(
    tick: int,
    nimg: int,
    timing: dict[str, float],
    memory: dict[str, float],
    terms: dict[str, float],
    short: Mapping[str, str],
) -> str:
    """Return the progress line of a tick; it shows the terms in `short`, by their short names."""
    losses = " ".join(f"{short[k]} {v:.3f}" for k, v in terms.items() if k in short)
    peak = memory.get("device_peak_gib", memory["host_peak_gib"])
    return (
        f"tick {tick:<4d} kimg {nimg / 1000:<9.2f} img/s {timing['img_per_sec']:<7.1f} "
        f"s/kimg {timing['sec_per_kimg']:<7.1f} eta {records.duration(timing['eta_sec']):<8s} mem {peak:.2f}G  {losses}"
    )


def save_grid(folder: Path, name: str, pixels: np.ndarray, columns: int, fps: float = 25.0) -> np.ndarray:
    """Write images uint8[n, h, w, c] as one PNG grid; return the grid, uint8[1, h, w, c], for the trackers.

    Of clips uint8[n, t, h, w, c], an animated WebP shows the grid, and the PNG shows the first clips as rows of frames.
    """
    if pixels.ndim == 5:
        folder.mkdir(exist_ok=True)
        grids = [images.make_grid(frame, columns) for frame in np.moveaxis(pixels, 1, 0)]
        images.save_webp(folder / f"{name}.webp", grids, fps)
        shown, frames = pixels[: max(len(pixels) // columns, 1)], pixels.shape[1]
        pixels, columns = shown.reshape(-1, *shown.shape[2:]), frames
    grid = images.make_grid(pixels, columns)
    folder.mkdir(exist_ok=True)
    images.save_png(folder / f"{name}.png", grid)
    return grid[None]


def seconds_since_start() -> float:
    """Return the seconds since this package was first imported.

    The age of the process would be misleading: in `sh -c 'pip install … && stylegan-jax train …'` the shell replaces
    itself by its last command, whose process is then as old as the shell.
    """
    return time.monotonic() - STARTED
