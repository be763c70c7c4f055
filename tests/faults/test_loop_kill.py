"""The training command killed at any instant continues bit for bit; its records have no gap and no double row."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import killing
import pytest
from helpers import json_rows, stats_rows

from stylegan_jax.checkpoints.averages import read_headers

GATE = ("train", "train_projected", "train_grown", "train_encoder")
ALL = ("train", "train_ada", "train_grown", "train_grown2", "train_stylegan3", "train_r3gan", "train_stage")
ALL += ("train_lite0",)


def records(place: Path) -> tuple:
    """Return what a run has told, without what depends on the clock: rows, metrics, pictures, averages."""
    metrics = place / "metrics.jsonl"
    values = [(r["step"], r["metric"], r["value"]) for r in json_rows(metrics)] if metrics.exists() else []
    averages = [(s.step, s.digest) for s in read_headers(place)]
    return stats_rows(place), values, {p.name: p.read_bytes() for p in (place / "grids").iterdir()}, averages


def check(directory: Path, names: tuple[str, ...], kills: int, seed: int) -> None:
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
    found = killing.kill_and_compare(f"loop_run:{','.join(names)}", directory, kills, seed, XLA_FLAGS=flags)
    assert len(read_headers(found["train"].straight)) == 8
    for run in found.values():
        steps = [row["step"] for row in stats_rows(run.straight)]
        assert all(a < b for a, b in itertools.pairwise(steps))
        for place, seen in zip(run.places, run.checks, strict=True):
            assert records(place) == records(run.straight)
            assert max((state["lost"] for state in seen), default=0) <= 1  # the checkpoint that was being written
            committed = [state["committed"] for state in seen]
            assert committed == sorted(committed)


def test_two_kills_change_nothing(tmp_path: Path):
    check(tmp_path, GATE, kills=2, seed=3)


@pytest.mark.nightly
def test_two_hundred_kills_change_nothing(tmp_path: Path):
    """KILLS is the number of them; docs/reliability.md has the figures of a rehearsal."""
    check(tmp_path, ALL, kills=int(os.environ.get("KILLS", "200")) // len(ALL), seed=1)
