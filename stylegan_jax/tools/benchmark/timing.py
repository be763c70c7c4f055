"""Repeated timings of compiled programs; a time ends when the result is ready."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

ENOUGH_SECONDS = 0.25
"""A repeat calls a program as often as fills this time, so that dispatch and jitter of single calls hardly matter."""


def spread(values: list[float]) -> dict[str, float]:
    """Return median, min and max."""
    return {"median": float(np.median(values)), "min": min(values), "max": max(values)}


def calls_for(seconds: float) -> int:
    """Return how many calls of this many seconds a repeat has."""
    return min(max(1, math.ceil(ENOUGH_SECONDS / max(seconds, 1e-6))), 1000)


def time_in_turn(
    calls: Mapping[str, Callable[[Any], Any]], state: Any, repeats: int, say: Callable[[str], None] = lambda text: None
) -> tuple[dict[str, tuple[list[float], int]], Any]:
    """Time calls state -> state, which may donate their argument.

    The repeats of all calls alternate, so that drift of the machine affects them equally.

    Returns:
        ({name: (seconds per call of each repeat, calls per repeat)}, the last state).
    """
    times: dict[str, tuple[list[float], int]] = {}
    for name, call in calls.items():
        state = jax.block_until_ready(call(state))  # the first call allocates
        start = time.perf_counter()
        state = jax.block_until_ready(call(state))
        seconds = time.perf_counter() - start
        times[name] = ([], calls_for(seconds))
        say(f"timing {name}: {repeats} x {times[name][1]} calls of about {1000 * seconds:.3g} ms")
    for _ in range(repeats):
        for name, call in calls.items():
            seconds, count = times[name]
            start = time.perf_counter()
            for _ in range(count):
                state = call(state)
            jax.block_until_ready(state)
            seconds.append((time.perf_counter() - start) / count)
    return times, state
