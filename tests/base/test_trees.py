"""Names of leaves, and digests, which are stored in files and therefore keep their values."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from stylegan_jax.base import trees
from stylegan_jax.checkpoints import manifest
from stylegan_jax.data import fingerprint, labels
from stylegan_jax.features import network
from stylegan_jax.metrics import store

SLANTED = np.arange(6, dtype=np.float32).reshape(2, 3).T
TREE = {"b": {"w": SLANTED, "h": np.ones(3, ml_dtypes.bfloat16)}, "a": np.float32(2.5), "c": [np.arange(3)]}


def test_digests_of_trees_have_not_changed():
    assert trees.digest_of(TREE, {"z": 1, "a": [1, 2]}) == "9e337c79056474a6184014fea7df1a27"
    params = {"b": {"w": SLANTED}, "a": np.float32(2.5)}
    assert network.digest(params).startswith("55f9882b60a4db4f959d69d64971095724107a43")


def test_digests_of_files_have_not_changed():
    assert store.digest_of({"z": 1, "a": [1, 2.5]}) == "e748ce33dc2121228492709389ecfcd5"
    seal = store._seal({"z": 1}, {"x": np.arange(6.0).reshape(2, 3).T, "n": np.asarray(3)})
    assert seal.hex().startswith("83e60d8e9db384d902a4826c9557407fdbc7f8ff")
    assert manifest._hash_json({"b": 1, "a": [None]}).startswith("ba22878bdd35d8a55ab6eabae428dda7478f680a")
    entry = manifest._hash_array(np.ones((2, 3), ml_dtypes.bfloat16).T, finite=True)
    assert entry is not None and entry["dtype"] == "bfloat16" and entry["shape"] == [3, 2]
    assert entry["sha256"].startswith("86eac98e3c92b9a0db15bc6a47f854bc01917dbc")


def test_digests_of_data_have_not_changed():
    assert labels.Labels(np.arange(4, dtype=np.int32), 5).digest == "836157c3693f93d6"
    turned = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)[:, ::-1]
    assert fingerprint._of_pixels(turned).hex().startswith("50a77857b3d2f566ed5e5276155930fa8ddb311d")


def test_arrays_without_elements_have_bytes_too():
    assert bytes(trees.array_bytes(np.zeros((4, 0), np.float32))) == b""


def test_flatten_and_its_inverse():
    tree = {"a": {"b": {"c": 1}, "d": 2}, "e": 3, "f": {}}
    assert trees.flatten(tree) == {"a/b/c": 1, "a/d": 2, "e": 3}
    assert trees.flatten(tree, ".") == {"a.b.c": 1, "a.d": 2, "e": 3}
    assert trees.unflatten(trees.flatten(tree)) == {"a": {"b": {"c": 1}, "d": 2}, "e": 3}


def test_leaves_have_names():
    assert list(trees.named_leaves({"b": [1, (2,)], "a": {"x": 3}})) == ["a/x", "b/0", "b/1/0"]
