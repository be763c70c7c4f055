"""Records of a running process: rows of stats.jsonl, truncation of TensorBoard's events, progress, durations."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from stylegan_jax.base.files import write_whole

T = TypeVar("T")


class StatsFile:
    """stats.jsonl: one JSON row per tick, without gaps or duplicates after a crash.

    Opening it removes rows after the restored step, an incomplete last line and damaged lines.
    """

    def __init__(self, path: Path, restored_step: int):
        rows = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        kept = [row for row in rows if _is_whole(row, restored_step)]
        if len(kept) < len(rows):
            write_whole(path, b"".join(kept))
        self._file = path.open("ab")

    def write(self, row: dict[str, Any]) -> None:
        """Append a row in one write, and flush it; NaN and infinity become null."""
        self._file.write(json.dumps(_known(row), allow_nan=False).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _is_whole(row: bytes, last: int) -> bool:
    """Return whether a line is a complete row whose step is at most `last`."""
    try:
        return row.endswith(b"\n") and json.loads(row)["step"] <= last
    except (ValueError, KeyError, TypeError):
        return False


def cut_events(folder: Path, step: int) -> None:
    """Truncate TensorBoard's event files before their first incomplete event or event of a later step.

    Without this, a run that was killed and resumed would show the steps after its checkpoint twice.
    """
    for path in folder.glob("events.out.tfevents.*"):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            size, start = path.stat().st_size, 0
            while start < size:  # a record is the event's length (uint64), a checksum (uint32), the event, a checksum
                head = file.read(12)
                end = start + 16 + int.from_bytes(head[:8], "little")
                if len(head) < 12 or end > size or _step_of(file.read(20)) > step:
                    file.truncate(start)
                    break
                start = file.seek(end)


def _step_of(event: bytes) -> int:
    """Return the step of a protobuf event: field 1, the time, has 8 bytes; field 2, the step, is a varint."""
    at = 9 if event[:1] == b"\x09" else 0
    if event[at : at + 1] != b"\x10":
        return 0
    step = 0
    for i, byte in enumerate(event[at + 1 : at + 11]):
        step |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            break
    return step


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(x) for key, x in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def duration(seconds: float) -> str:
    """Format a duration as '1d 02h', '3h 04m', '5m 06s' or '7s'."""
    s = round(seconds)
    for big, small, size, unit in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if s >= size:
            return f"{s // size}{big} {s % size // unit:02d}{small}"
    return f"{s}s"


def progress(items: Iterable[T], total: int, unit: str) -> Iterable[T]:
    """Yield items, with a progress bar on stderr if it is a terminal."""
    from tqdm import tqdm

    return tqdm(items, total=total, unit=unit, dynamic_ncols=True, disable=None)
