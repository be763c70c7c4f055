"""How clips are taken from videos: a rule that the data, the networks and the configuration share."""

from __future__ import annotations

from typing import NamedTuple


class ClipRule(NamedTuple):
    """Which frames of a video make a clip (Skorokhodov et al. 2022, §3.2).

    Attributes:
        frames: frames of a clip.
        max_num_frames: longer videos are first cut to a window of this many frames.
        sampling: 'random': the distance between the first and last frame is drawn, and the others are any frames
            between them; 'uniform': one distance is drawn for all neighbours.
        max_dist: largest distance.
        total_dists: the distances that 'random' draws from; (): all except the largest, as published.
        fractional_starts: generated clips begin between two frames.
    """

    frames: int
    max_num_frames: int
    sampling: str
    max_dist: int
    total_dists: tuple[int, ...]
    fractional_starts: bool


def distances(rule: ClipRule, length: int) -> tuple[int, ...]:
    """Return the distances, ascending, to draw from for a video of `length` frames; () if it is too short."""
    if rule.sampling == "uniform":
        return tuple(range(1, min(rule.max_dist, length // rule.frames) + 1))
    most = min(rule.max_dist, length - 1)
    if rule.total_dists:
        return tuple(d for d in sorted(set(rule.total_dists)) if rule.frames - 1 <= d <= most)
    return tuple(range(max(rule.frames - 1, 0), most))


def least_frames(rule: ClipRule) -> int:
    """Return the minimum number of frames of a video; more than max_num_frames if nothing fits."""
    return next((n for n in range(1, rule.max_num_frames + 1) if distances(rule, n)), rule.max_num_frames + 1)
