"""The label that a picture is drawn with: classes, numbers, and what does not fit the model."""

from __future__ import annotations

import numpy as np
import pytest

from stylegan_jax.tools import _inputs as inputs


@pytest.mark.parametrize(
    ("dim", "kind", "class_index", "numbers", "label"),
    [
        (0, "none", None, None, []),
        (3, "classes", 2, None, [0, 0, 1]),
        (3, "multi-hot", 0, None, [1, 0, 0]),
        (3, "", 1, None, [0, 1, 0]),  # an official file does not say
        (3, "multi-hot", None, "1,0,1", [1, 0, 1]),
        (2, "vectors", None, "-0.5, 1e1", [-0.5, 10]),
        (2, "classes", None, "0.5,0.5", [0.5, 0.5]),
    ],
)
def test_labels(dim, kind, class_index, numbers, label):
    got = inputs.make_label(dim, kind, class_index, numbers)
    np.testing.assert_array_equal(got, np.array(label, np.float32))
    assert got.dtype == np.float32


@pytest.mark.parametrize(
    ("dim", "kind", "class_index", "numbers", "text"),
    [
        (0, "none", 1, None, "--class=1: this model has no labels; leave it out"),
        (0, "", None, "1", "--label=1: this model has no labels"),
        (3, "classes", None, None, "draws by label; choose one with --class=0 … 2"),
        (3, "classes", 3, None, "--class=3: this model has the classes 0 to 2"),
        (3, "classes", -1, None, "--class=-1: this model has the classes 0 to 2"),
        (9, "vectors", None, None, "give all 9 numbers, as --label=0,0,0,0,…"),
        (2, "vectors", 1, None, "--class=1: the labels of this model are vectors, not classes; .* --label=0,0"),
        (2, "vectors", None, "1", "--label=1: the labels of this model have 2 entries"),
        (2, "vectors", None, "1,x", "--label=1,x: .*2 entries"),
        (2, "vectors", None, "1,nan", "--label=1,nan: .*2 entries"),
        (2, "multi-hot", 1, "0,1", "--class=1 --label=0,1: give one of them"),
    ],
)
def test_labels_that_do_not_fit(dim, kind, class_index, numbers, text):
    with pytest.raises(ValueError, match=text):
        inputs.make_label(dim, kind, class_index, numbers)
