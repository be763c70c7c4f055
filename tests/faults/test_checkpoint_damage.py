"""Every byte range of a checkpoint, file by file, flipped, cut, wiped or stale: no wrong value, always an answer."""

from __future__ import annotations

import collections
import gc
import itertools
import json
import logging
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import same_bits

from stylegan_jax.checkpoints.checkpointer import Checkpointer
from stylegan_jax.checkpoints.restore import restore_g_ema, restore_state

# When one array cannot be read, Orbax leaves the other reads to finish on an event loop that is gone by then.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def state_of(step: int) -> dict[str, Any]:
    values = np.random.default_rng(step).normal(size=(2, 32, 32)).astype(np.float32)
    g = {"w": jnp.asarray(values[0]), "low": jnp.asarray(values[1], jnp.bfloat16)}
    return {"g": g, "step": jnp.asarray(step, jnp.int32), "flags": jnp.asarray([True, False])}


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    """A run with the checkpoints 1 and 2."""
    with Checkpointer(tmp_path) as checkpointer:
        for step in (1, 2):
            checkpointer.save(step, state_of(step), state_of(step)["g"], {"nimg": step})
    yield tmp_path
    gc.collect()  # what those reads leave, before the warning is no longer ignored


def flip(data: bytes, first: int, last: int, rng: random.Random) -> bytes:
    place = rng.randrange(first, last)
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, first: int, last: int, rng: random.Random) -> bytes:
    return data[: rng.randrange(first, last)]


def drop(data: bytes, first: int, last: int, rng: random.Random) -> bytes:
    return data[:first] + data[last:]


def wipe(data: bytes, first: int, last: int, rng: random.Random) -> bytes:
    return data[:first] + bytes(last - first) + data[last:]


def scramble(data: bytes, first: int, last: int, rng: random.Random) -> bytes:
    return data[:first] + rng.randbytes(last - first) + data[last:]


def repeat(data: bytes, first: int, last: int, rng: random.Random) -> bytes:
    return data[:last] + data[first:last] + data[last:]


KINDS = (flip, cut, drop, wipe, scramble, repeat)


def outcome(workdir: Path, read: Any, part: Any) -> str:
    """Read the newest good checkpoint; return what came of it, which must never be a wrong value or an error."""
    tree, meta, step = read(workdir)
    assert same_bits(tree, part(state_of(step))) and meta == {"nimg": step}
    return {2: "harmless", 1: "fell back"}[step]


def damage_all(workdir: Path, ranges: int, kinds: int, seed: int) -> collections.Counter[str]:
    """Damage each range of each file of the newest checkpoint in so many ways, one at a time; count what came of it."""
    rng, found = random.Random(seed), collections.Counter[str]()
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state_of(0))
    readers = {
        "state": (lambda folder: restore_state(folder, target), lambda state: state),
        "g_ema": (restore_g_ema, lambda state: state["g"]),
    }
    files = [p for p in sorted((workdir / "checkpoints/2").rglob("*")) if p.is_file() and p.stat().st_size]
    for path in files:
        good = path.read_bytes()
        places = np.linspace(0, len(good), min(ranges, len(good)) + 1).astype(int).tolist()
        bad = [kind(good, a, b, rng) for a, b in itertools.pairwise(places) for kind in rng.sample(KINDS, kinds)]
        for content in [content for content in bad if content != good] + [None]:
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            for name, reader in readers.items():
                try:
                    found[f"{name} {outcome(workdir, *reader)}"] += 1
                except Exception as error:
                    what = "deleted" if content is None else f"{len(good)} -> {len(content)} bytes"
                    raise AssertionError(f"{name}: {path.relative_to(workdir)}, {what}") from error
            path.write_bytes(good)
            found["damages"] += 1
    for name, reader in readers.items():
        assert outcome(workdir, *reader) == "harmless", name  # all is as it was
    return found


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("absl").disabled = True  # Orbax tells of each damage in pages
    yield
    logging.getLogger("absl").disabled = False


def test_damage_anywhere_in_a_checkpoint_never_gives_wrong_values(workdir: Path):
    found = damage_all(workdir, ranges=1, kinds=1, seed=0)
    assert found["damages"] > 50
    assert found["state fell back"] > 10 and found["g_ema fell back"] > 10  # the rest is not in what they read


@pytest.mark.nightly
def test_two_thousand_damages_never_give_wrong_values(workdir: Path):
    found = damage_all(workdir, ranges=int(os.environ.get("RANGES", "13")), kinds=6, seed=1)
    print(json.dumps(found))
    assert found["damages"] > 2000


@pytest.mark.parametrize("name", ["meta", "manifest", "g_ema", "state", "_CHECKPOINT_METADATA"])
def test_a_part_of_an_older_checkpoint_in_its_place_is_found(workdir: Path, name: str):
    """As a lost write, or a backup put together from two, leaves it."""
    old, new = (workdir / "checkpoints" / step / name for step in "12")
    if new.is_dir():
        shutil.rmtree(new)
        shutil.copytree(old, new)
    else:
        shutil.copy(old, new)
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state_of(0))
    wanted = {"state": "fell back", "g_ema": "harmless", "_CHECKPOINT_METADATA": "harmless"}.get(name, "fell back")
    assert outcome(workdir, lambda folder: restore_state(folder, target), lambda state: state) == wanted
