"""Resizing by area and with the corners in place."""

from __future__ import annotations

import numpy as np

from stylegan_jax.ops import resize


def test_sizes_that_are_no_multiple_take_all_pixels_they_touch():
    touched = {(5, 2): [(0, 3), (2, 5)], (300, 256): [(0, 2), (1, 3), (2, 4)]}  # 300 / 256 = 1.17
    for (old, new), spans in touched.items():
        matrix = resize.area_matrix(old, new)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)
        for row, (first, end) in zip(matrix, spans, strict=False):
            want = np.zeros(old)
            want[first:end] = 1 / (end - first)
            np.testing.assert_allclose(row, want, rtol=1e-6)


def test_both_ends_stay_in_place_and_so_does_every_straight_line():
    for old, new in ((7, 14), (4, 9), (1, 3), (5, 1)):
        line = np.linspace(2, 5, old)
        want = np.linspace(2, 5, new) if old > 1 else np.full(new, 2.0)
        np.testing.assert_allclose(resize.aligned_matrix(old, new) @ line, want)
