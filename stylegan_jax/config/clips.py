"""The rule by which clips are taken from videos, shared by data, networks and configuration."""

from __future__ import annotations

from typing import NamedTuple


class ClipRule(NamedTuple):
    """Which frames of a video make up a clip (Skorokhodov et al. 2022, §3.2).

    Attributes:
        frames: number of frames in a clip.
        max_num_frames: longer videos are first cut to a random window of this many frames.
        sampling: 'random': the distance between the first and last frame is drawn, then random frames between them;
            'uniform': a single distance between neighbouring frames is drawn.
        max_dist: largest distance, in frames.
        total_dists: the distances that 'random' draws from; (): all except the largest, as published.
        fractional_starts: whether generated clips may begin between two frames.
    """

    frames: int
    max_num_frames: int
    sampling: str
    max_dist: int
    total_dists: tuple[int, ...]
    fractional_starts: bool


def distances(rule: ClipRule, length: int) -> tuple[int, ...]:
    """Return the distances to draw from, ascending, for a video of `length` frames; () if it is too short."""
    if rule.sampling == "uniform":
        return tuple(range(1, min(rule.max_dist, length // rule.frames) + 1))
    most = min(rule.max_dist, length - 1)
    if rule.total_dists:
        return tuple(d for d in sorted(set(rule.total_dists)) if rule.frames - 1 <= d <= most)
    return tuple(range(max(rule.frames - 1, 0), most))


def least_frames(rule: ClipRule) -> int:
    """Return the least number of frames that a video must have; more than max_num_frames if no distance fits."""
    return next((n for n in range(1, rule.max_num_frames + 1) if distances(rule, n)), rule.max_num_frames + 1)
