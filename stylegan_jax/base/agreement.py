"""What the processes of a run tell each other, so that all take the same branch. Every call is a collective."""

from __future__ import annotations

import jax
import numpy as np
from jax.experimental import multihost_utils


def failed_processes(failed: bool) -> list[int]:
    """Return the numbers of the processes that called this with True, ascending."""
    if jax.process_count() == 1:
        return [0] if failed else []
    return np.flatnonzero(multihost_utils.process_allgather(np.asarray(failed))).tolist()


def all_processes(ok: bool) -> bool:
    """Return whether `ok` holds on every process."""
    return not failed_processes(not ok)


def from_first(value: np.ndarray) -> np.ndarray:
    """Return the array of process 0, to the bit; arrays of one shape and dtype on all processes."""
    if jax.process_count() == 1:
        return value
    content = np.ascontiguousarray(value).reshape(-1).view(np.uint8)  # float64 itself would arrive as float32
    shared = multihost_utils.broadcast_one_to_all(content)
    return np.asarray(shared).view(value.dtype).reshape(value.shape)


def number_from_first(number: int) -> int:
    """Return the number of process 0, which fits 32 bits."""
    return int(from_first(np.array(number, np.int32)))


def bytes_from_first(content: bytes) -> bytes:
    """Return the bytes of process 0, of any length."""
    size = number_from_first(len(content))
    return from_first(np.frombuffer(content[:size].ljust(size, b"\0"), np.uint8)).tobytes()
