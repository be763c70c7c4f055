"""What a process reports while it runs: rows of stats.jsonl, truncated TensorBoard events, progress, durations."""

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

    On opening, rows past the restored step, a half-written last line and damaged lines are removed.
    """

    def __init__(self, path: Path, restored_step: int):
        rows = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        kept = [row for row in rows if _is_whole(row, restored_step)]
        if len(kept) < len(rows):
            write_whole(path, b"".join(kept))
        self._file = path.open("ab")

    def write(self, row: dict[str, Any]) -> None:
        """Append a row in one write and flush it; NaN and infinity become null."""
        self._file.write(json.dumps(_known(row), allow_nan=False).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _is_whole(row: bytes, last: int) -> bool:
    """Return whether a line of stats.jsonl is a complete row of step `last` or an earlier one."""
    try:
        return row.endswith(b"\n") and json.loads(row)["step"] <= last
    except (ValueError, KeyError, TypeError):
        return False


def cut_events(folder: Path, step: int) -> None:
    """Truncate TensorBoard's event files before their first event of a later step or half-written event.

    Otherwise a run that was killed and resumed would show the steps since its checkpoint twice.
    """
    for path in folder.glob("events.out.tfevents.*"):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            size, start = path.stat().st_size, 0
            while start < size:  # a record: its length uint64, a checksum uint32, an event, a checksum
                head = file.read(12)
                end = start + 16 + int.from_bytes(head[:8], "little")
                if len(head) < 12 or end > size or _step_of(file.read(20)) > step:
                    file.truncate(start)
                    break
                start = file.seek(end)


def _step_of(event: bytes) -> int:
    """Return the step of an event in protobuf's encoding, which begins: 1 (time) as 8 bytes, 2 (step) as varint."""
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
    """Return '1d 02h', '3h 04m', '5m 06s' or '7s'."""
    s = round(seconds)
    for big, small, size, unit in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if s >= size:
            return f"{s // size}{big} {s % size // unit:02d}{small}"
    return f"{s}s"


def progress(items: Iterable[T], total: int, unit: str) -> Iterable[T]:
    """Yield items, with a progress bar and the time left if the error output is a terminal."""
    from tqdm import tqdm

    return tqdm(items, total=total, unit=unit, dynamic_ncols=True, disable=None)
