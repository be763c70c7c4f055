"""The published rules for the frames of a clip (Skorokhodov et al. 2022, §3.2), as functions of uniform numbers.

A choice among n items takes item floor(u n). Only the start of a clip may be fractional; gaps are whole numbers.
"""

from __future__ import annotations

import numpy as np

from stylegan_jax.config.clips import ClipRule, distances
from stylegan_jax.data import order


def clip_times(rule: ClipRule, length: int, u: np.ndarray, *, is_fractional: bool = False) -> np.ndarray:
    """Return the times of a clip's frames.

    Args:
        rule: how clips are taken.
        length: frames of the video, enough for a clip.
        u: float64[frames] or longer, in [0, 1): for the distance, the start, then the frames between.
        is_fractional: whether the start may lie between two frames.

    Returns:
        float64[frames], from 0 to length - 1.
    """
    known = distances(rule, length)
    distance = known[int(u[0] * len(known))]
    if rule.sampling == "uniform":
        offsets = np.arange(rule.frames) * distance
    else:
        left, between = list(range(1, distance)), []
        for x in u[2 : rule.frames]:
            between.append(left.pop(int(x * len(left))))
        offsets = np.array([0, *sorted(between), distance][: rule.frames])
    span = distance * (rule.frames - 1) if rule.sampling == "uniform" else distance
    room = length - 1 - span
    return (u[1] * room if is_fractional else int(u[1] * (room + 1))) + offsets.astype(np.float64)


def real_clip(rule: ClipRule, length: int, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (frame numbers int64[frames], times float64[frames]) of a clip of the data.

    In a video longer than max_num_frames, a window is chosen first; times are relative to it.

    Args:
        rule: how clips are taken.
        length: frames of the video.
        u: float64[1 + frames] in [0, 1): for the window's start, then as in `clip_times`.
    """
    window = min(length, rule.max_num_frames)
    first = int(u[0] * (length - window + 1))
    times = clip_times(rule, window, u[1:])
    return first + times.astype(np.int64), times


def consecutive(length: int, count: int, every: int, u: float) -> np.ndarray:
    """Return int64[count], the numbers of every `every`-th frame from a random start `u`, as metrics use them.

    A video needs (count - 1) * every + 1 frames.
    """
    return int(u * (length - count * every + every)) + np.arange(count) * every


def real_clips(rule: ClipRule, seed: int, positions: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (frame numbers int64[m, t], times float32[m, t]) of the data's clips at positions int64[m].

    They depend only on the seed, a clip's position and the length of its video.
    """
    u = order.numbers(seed, order.CLIP, positions, rule.frames + 1)
    made = [real_clip(rule, int(length), row) for length, row in zip(lengths, u, strict=True)]
    return np.stack([frames for frames, _ in made]), np.stack([times for _, times in made]).astype(np.float32)


def fake_times(rule: ClipRule, seed: int, draw: int, positions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return times float32[m, t] of generated clips in videos of these lengths; `draw` is the draw of their labels."""
    u = order.numbers(seed, order.FAKE_CLIP + draw, positions, rule.frames)
    times = [
        clip_times(rule, min(int(length), rule.max_num_frames), row, is_fractional=rule.fractional_starts)
        for length, row in zip(lengths, u, strict=True)
    ]
    return np.stack(times).astype(np.float32)
