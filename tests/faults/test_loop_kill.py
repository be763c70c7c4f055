"""The training command killed at any instant continues bit for bit; stats.jsonl has no gap and no double row."""

from __future__ import annotations

import os
from pathlib import Path

import killing
import pytest
from helpers import stats_rows


def check(directory: Path, kills: int, seed: int) -> None:
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
    names = "train", "train_projected"
    found = killing.kill_and_compare(f"loop_run:{','.join(names)}", directory, kills, seed, 1.5, XLA_FLAGS=flags)
    for name, checks in zip(names, found, strict=True):
        killed, straight = (stats_rows(directory / name / place) for place in ("killed", "straight"))
        assert killed == straight and [row["step"] for row in killed] == list(range(8, 65, 8))
        for seen in checks:
            assert seen["rows"] * 8 - seen["committed"] <= 8 + 8  # a checkpoint per row: at most the one being written


def test_two_kills_change_nothing(tmp_path: Path):
    check(tmp_path, kills=2, seed=3)


@pytest.mark.nightly
def test_many_kills_change_nothing(tmp_path: Path):
    """Their number is the variable KILLS; docs/reliability.md has the figures of a long rehearsal."""
    check(tmp_path, kills=int(os.environ.get("KILLS", "20")), seed=1)
