"""The order of images and the draws of labels: pure functions of (seed, position), in NumPy, without state.

A position counts examples shown since the start of the run, over all hosts. Each epoch is its own permutation of the
data set, computed point by point by a keyed generalised Feistel network with cycle walking (Black and Rogaway 2002,
"Ciphers with arbitrary finite domains"): every position costs the same time and no memory, so a run can start anywhere.
"""

from __future__ import annotations

import math

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF
_ROUNDS = 14  # with more, chi-square over all permutations of 3, 4 and 5 items does not improve
_ORDER, _LABEL, _UNIFORM, _SUBSET, _SECOND = 1, 2, 3, 4, 5  # streams: two purposes never share numbers
CLIP, METRIC_CLIP, FAKE_CLIP = 6, 7, 100  # streams of `numbers`; FAKE_CLIP + i is for draw i of labels
_FIXED_ORDER = 8  # of `shuffled`


def _mix(x: np.ndarray) -> np.ndarray:
    """Scramble uint64 numbers (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def counter_hash(*parts: int | np.integer | np.ndarray) -> np.ndarray:
    """Return uint64 hashes of integer tuples, broadcast over array parts; at least 1-D."""
    h = np.full(1, _GOLDEN, np.uint64)
    for part in parts:
        word = np.atleast_1d(np.asarray(part & _MASK if isinstance(part, int) else part).astype(np.uint64))
        h = _mix((h ^ word) + np.uint64(_GOLDEN))
    return h


def permute(index: np.ndarray, size: int, key: np.ndarray) -> np.ndarray:
    """Map each index by the permutation of range(size) that its key determines.

    Args:
        index: int64[m], in [0, size).
        size: length of the permuted range, at least 1.
        key: uint64[m], one key per index (equal keys: the same permutation).

    Returns:
        int64[m], in [0, size).
    """
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)  # rows * columns >= size, by less than `rows`
    round_keys = counter_hash(key[None, :], np.arange(_ROUNDS)[:, None])
    out = _feistel(index.astype(np.uint64), rows, columns, round_keys)
    outside = np.flatnonzero(out >= size)
    while outside.size:  # cycle walking: repeating until the result is inside permutes [0, size)
        out[outside] = _feistel(out[outside], rows, columns, round_keys[:, outside])
        outside = outside[out[outside] >= size]
    return out.astype(np.int64)


def _feistel(x: np.ndarray, rows: int, columns: int, round_keys: np.ndarray) -> np.ndarray:
    """Permute [0, rows * columns): x is uint64[m], round_keys uint64[rounds, m]."""
    a, b = np.uint64(rows), np.uint64(columns)
    high, low = x // b, x % b
    for r in range(0, len(round_keys), 2):
        high = (high + _mix(low + round_keys[r]) % a) % a
        low = (low + _mix(high + round_keys[r + 1]) % b) % b
    return high * b + low


def order(
    seed: int | np.integer, positions: np.ndarray, num_images: int, xflip: bool = False, yflip: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image shown at each position, and how it is mirrored.

    Args:
        seed: the run's seed, any integer.
        positions: int64[m], not negative: the number of images shown before each.
        num_images: size of the data set.
        xflip: an epoch shows every image as stored and mirrored left to right.
        yflip: an epoch shows every image as stored and mirrored top to bottom; with xflip, all four versions.

    Returns:
        (index int64[m] in [0, num_images), flip bool[m, 2]: left to right, top to bottom).
    """
    positions = np.asarray(positions, np.int64)
    size = num_images * (1 + xflip) * (1 + yflip)
    key = counter_hash(seed, _ORDER, positions // size)
    shuffled = permute(positions % size, size, key)
    copy = shuffled // num_images
    return shuffled % num_images, np.stack([xflip & (copy % 2 == 1), yflip & (copy // (1 + xflip) == 1)], axis=1)


def second_seed(seed: int) -> int:
    """Return a seed derived from `seed`, for a second, independent order."""
    return int(counter_hash(seed, _SECOND)[0])


def subset(seed: int, count: int, num_images: int) -> np.ndarray:
    """Return `count` numbers of range(num_images), drawn without replacement, int64[count], ascending.

    For one seed, larger subsets contain smaller ones.
    """
    key = np.repeat(counter_hash(seed, _SUBSET), count)
    return np.sort(permute(np.arange(count), num_images, key))


def shuffled(index: np.ndarray, num_images: int) -> np.ndarray:
    """Map each index by one fixed permutation of range(num_images), that of metrics and of the grids of reals.

    No seed enters: the same images of a set are compared in every evaluation, and shown by every run.

    Args:
        index: int64[m], in [0, num_images).
        num_images: length of the range, at least 1.

    Returns:
        int64[m], in [0, num_images).
    """
    return permute(index, num_images, np.repeat(counter_hash(0, _FIXED_ORDER), len(index)))


def label_index(seed: int, positions: np.ndarray, draws: np.ndarray, num_images: int) -> np.ndarray:
    """Return the image whose label each latent gets, i.i.d. uniform: int64[draws, m] for positions int64[m].

    A draw depends on its number in `draws`, int64[draws], and not on which others are requested.
    """
    drawn = counter_hash(seed, _LABEL, np.asarray(draws)[:, None], np.asarray(positions, np.int64)[None, :])
    return (drawn % np.uint64(num_images)).astype(np.int64)


def uniform(count: int, *parts: int) -> np.ndarray:
    """Return float64[count] in [0, 1), determined by the integers `parts` alone."""
    drawn = counter_hash(_UNIFORM, *parts, np.arange(count))
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53


def numbers(seed: int, stream: int, positions: np.ndarray, count: int) -> np.ndarray:
    """Return float64[m, count] in [0, 1) for positions int64[m]; a row depends on seed, stream and position only."""
    positions = np.asarray(positions, np.int64)[:, None]
    drawn = counter_hash(seed, stream, positions, np.arange(count)[None])
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53
