"""What may be saved, and what a manifest says about it."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.checkpoints.checkpointer import Checkpointer, CheckpointError, NonFiniteError
from stylegan_jax.checkpoints.manifest import build_manifest, check_content, check_manifest

GOOD = {"w": np.ones(2)}


def test_a_manifest_holds_the_hash_of_the_content():
    tree = {"a": [jnp.asarray([[1, 2], [3, 4]], jnp.int16).T, jnp.asarray(1.5, jnp.bfloat16)]}
    manifest = build_manifest(7, {"state": tree}, {"nimg": 1}, {"fid": 2.0})
    assert manifest["items"]["state"] == {
        "a/0": {"dtype": "int16", "shape": [2, 2], "sha256": hashlib.sha256(b"\1\0\3\0\2\0\4\0").hexdigest()},
        "a/1": {"dtype": "bfloat16", "shape": [], "sha256": hashlib.sha256(b"\xc0\x3f").hexdigest()},
    }
    assert manifest["metrics"] == {"fid": 2.0}
    assert manifest["libraries"]["jax"] == jax.__version__
    check_manifest(json.loads(json.dumps(manifest)), 7, {"nimg": 1})


def test_content_is_compared_bit_by_bit():
    recorded = build_manifest(1, {"state": {"a": np.zeros(3), "b": np.ones(3)}}, {}, {})["items"]["state"]
    check_content(recorded, "state", {"a": np.zeros(3), "b": np.ones(3)})
    for wrong in (np.asarray([0, 0, -0.0]), np.zeros(3, np.int64), np.zeros((3, 1))):
        with pytest.raises(CheckpointError, match=r"1 of 2 leaves of 'state' fail .* \('a'\)"):
            check_content(recorded, "state", {"a": wrong, "b": np.ones(3)})
    with pytest.raises(CheckpointError, match="fail their SHA-256"):
        check_content(recorded, "state", {"a": np.zeros(3)})


def test_a_newer_format_is_named():
    manifest = build_manifest(1, {"state": GOOD}, {}, {}) | {"format": 99, "reader": "7.5"}
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    manifest["sha256"] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    with pytest.raises(
        CheckpointError, match=r"format 99 is newer than this version reads \(2\); install stylegan_jax 7.5 or newer"
    ):
        check_manifest(manifest, 1, {})


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        ("text", "leaf 'a/bad' of 'state' is a str"),
        (3, "is a int"),
        (np.zeros((0, 3)), "is empty"),
        (np.asarray("text"), "has dtype <U4"),
        (np.asarray([None]), "has dtype object"),
        (jax.random.key(0), "typed key"),
    ],
)
def test_unstorable_leaves_are_refused_at_once(tmp_path: Path, leaf: Any, message: str):
    state = {"a": {"bad": leaf, "good": np.ones(2)}}
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(CheckpointError, match=message):
            checkpointer.save(1, state, GOOD, {})
        checkpointer.save(1, GOOD, GOOD, {})


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_non_finite_state_is_never_written(tmp_path: Path, dtype: Any, value: float):
    state = {"opt": {"mu": jnp.ones(5, dtype).at[3].set(value)}, "n": jnp.asarray(1)}
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(NonFiniteError, match="'opt/mu'"):
            checkpointer.save(1, state, GOOD, {})
        assert checkpointer.steps() == []


def test_other_bad_arguments(tmp_path: Path):
    with Checkpointer(tmp_path) as checkpointer:
        for g_ema in ({"a": [np.ones(1)]}, {"a/b": np.ones(1)}, {1: np.ones(1)}, np.ones(1)):
            with pytest.raises(CheckpointError, match="nested dicts"):
                checkpointer.save(1, GOOD, g_ema, {})
        for meta in ({"x": math.nan}, {"x": np.ones(1)}):
            with pytest.raises(CheckpointError, match="plain JSON"):
                checkpointer.save(1, GOOD, GOOD, meta)
        with pytest.raises(CheckpointError, match="share a name"):
            checkpointer.save(1, {"a.b": np.ones(1), "a": {"b": np.ones(1)}}, GOOD, {})
        with pytest.raises(CheckpointError, match="no leaves"):
            checkpointer.save(1, {}, GOOD, {})
    with pytest.raises(CheckpointError, match="closed"):
        checkpointer.save(1, GOOD, GOOD, {})
    with pytest.raises(CheckpointError, match="keep_latest=0"):
        Checkpointer(tmp_path, keep_latest=0)
