"""The label that a picture is drawn with: classes, numbers, and what does not fit the model."""

from __future__ import annotations

import argparse
import types

import numpy as np
import pytest

from stylegan_jax.tools import _inputs as inputs

PETS = ("cat", "cattle", "Dog", "7", "ox, wild", "0-1", "T-shirt")


def labels(dim: int, kind: str, classes: str | None, numbers: str | None, names=()) -> np.ndarray:
    """Return the labels of --class and --label for a model."""
    gan = types.SimpleNamespace(spec=types.SimpleNamespace(label_dim=dim))
    model = types.SimpleNamespace(gan=gan, label_kind=kind, label_names=names)
    return inputs.labels(model, argparse.Namespace(classes=classes, label=numbers))


@pytest.mark.parametrize(
    ("dim", "kind", "classes", "numbers", "label"),
    [
        (0, "none", None, None, []),
        (3, "classes", "2", None, [0, 0, 1]),
        (3, "multi-hot", "0", None, [1, 0, 0]),
        (3, "", "1", None, [0, 1, 0]),  # an official file does not say
        (3, "multi-hot", None, "1,0,1", [1, 0, 1]),
        (2, "vectors", None, "-0.5, 1e1", [-0.5, 10]),
        (2, "classes", None, "0.5,0.5", [0.5, 0.5]),
    ],
)
def test_labels(dim, kind, classes, numbers, label):
    got = labels(dim, kind, classes, numbers)
    np.testing.assert_array_equal(got, np.array([label], np.float32))
    assert got.dtype == np.float32


@pytest.mark.parametrize(
    ("dim", "kind", "classes", "numbers", "text"),
    [
        (0, "none", "1", None, "--class=1: this model has no labels; leave it out"),
        (0, "", None, "1", "--label=1: this model has no labels"),
        (3, "classes", None, None, r"this model is class-conditional; pass --class \(0 to 2\)"),
        (3, "classes", "1,3", None, "--class=1,3: this model has the classes 0 to 2"),
        (0, "none", "all", None, "--class=all: this model has no labels"),
        (9, "vectors", None, None, "pass all 9 numbers, as --label=0,0,0,0,…"),
        (2, "vectors", "1", None, "--class=1: the labels of this model are vectors, not classes; .* --label=0,0"),
        (2, "vectors", None, "1", "--label=1: the labels of this model have 2 finite entries"),
        (2, "vectors", None, "1,x", "--label=1,x: .*2 finite entries"),
        (2, "vectors", None, "1,nan", "--label=1,nan: .*2 finite entries"),
        (2, "multi-hot", "1", "0,1", "--class=1 --label=0,1: pass only one of them"),
    ],
)
def test_labels_that_do_not_fit(dim, kind, classes, numbers, text):
    with pytest.raises(ValueError, match=text):
        labels(dim, kind, classes, numbers)


@pytest.mark.parametrize(
    ("classes", "numbers"),
    [
        ("cat", [0]),  # the whole name, though another begins with it
        ("CAT", [0]),
        ("catt", [1]),
        ("d,T, ox,1", [2, 6, 4, 1]),
        ("7", None),  # a number, not the name
        ("3,dog", [3, 2]),
        ("0-1", [0, 1]),
        ("ox, wild", [4]),
        ("all", range(7)),
    ],
)
def test_classes_by_name(classes, numbers):
    if numbers is None:
        with pytest.raises(ValueError, match="--class=7: this model has the classes 0 to 6; choose one"):
            labels(7, "classes", classes, None, PETS)
    else:
        assert labels(7, "classes", classes, None, PETS).argmax(axis=1).tolist() == list(numbers)


@pytest.mark.parametrize(
    ("classes", "names", "text"),
    [
        ("ca", PETS, "--class=ca: 'ca' fits several classes; pass more of the name, or its number: 0 cat, 1 cattle$"),
        (
            "0,fish",
            PETS,
            "--class=0,fish: no class of this model is named 'fish'; it has 0 cat, 1 cattle, 2 Dog, 3 7, ",
        ),
        ("cat", ("cat", "cat", "\x1b[2J"), "'cat' fits several classes; .* 0 cat, 1 cat$"),
        ("x", ("cat", "cat", "\x1b[2J"), r"it has 0 cat, 1 cat, 2 '\\x1b\[2J'$"),
        ("c60", [f"c{i}" for i in range(60)], r"named 'c60'; it has 0 c0, .*, 39 c39 and 20 more$"),
        ("cat", (), "'cat' is not a number, and the classes of this model have numbers only, no names; pass 0 to "),
        ("5-1", PETS, "the range '5-1' runs backwards"),
        ("0,", PETS, "'' is not a class or a range"),
    ],
)
def test_classes_by_names_that_do_not_fit(classes, names, text):
    with pytest.raises(ValueError, match=text):
        labels(len(names) or 3, "classes", classes, None, names)


def test_names_go_with_classes_alone():
    with pytest.raises(ValueError, match="--class=cat: this model has no labels"):
        labels(0, "none", "cat", None)
    with pytest.raises(ValueError, match="--class=cat: the labels of this model are vectors, not classes"):
        labels(7, "vectors", "cat", None, PETS)
