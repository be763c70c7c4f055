"""Killed at any instant, a run continues bit for bit."""

from __future__ import annotations

from pathlib import Path

import killing
import pytest


def check(directory: Path, kills: int, longest: float, steps: int) -> None:
    found = killing.kill_and_compare("toy_run:train", directory, kills, 1, longest, XLA_FLAGS="", TOY_STEPS=str(steps))
    for checks in found["train"].checks:
        for state in checks:
            assert state["requested"] - state["committed"] <= 2  # the one being written, and the one just asked for
        committed = [state["committed"] for state in checks]
        assert committed == sorted(committed)


def test_two_kills_end_in_the_same_bits(tmp_path: Path):
    check(tmp_path, kills=2, longest=0.1, steps=10)


@pytest.mark.nightly
def test_fifteen_kills_end_in_the_same_bits(tmp_path: Path):
    check(tmp_path, kills=15, longest=0.5, steps=40)
