"""What processes tell each other, with the collectives replaced; tests/faults runs real processes."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from stylegan_jax.base import agreement


@pytest.fixture
def two(monkeypatch):
    """Two processes, of which the other one is fine and the first one sends what it is given."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(agreement.multihost_utils, "process_allgather", lambda x: np.array([False, x]))
    monkeypatch.setattr(agreement.multihost_utils, "broadcast_one_to_all", lambda x: x)


def test_failures_are_known_by_number(two):
    assert agreement.failed_processes(True) == [1] and agreement.failed_processes(False) == []
    assert agreement.all_processes(True) and not agreement.all_processes(False)


def test_one_process_agrees_with_itself():
    assert agreement.failed_processes(True) == [0] and agreement.all_processes(True)
    assert agreement.bytes_from_first(b"abc") == b"abc" and agreement.number_from_first(-7) == -7


@pytest.mark.parametrize("value", [np.array([0.1, np.nan, 1e300]), np.array(3, np.int32), np.zeros((2, 0))])
def test_values_arrive_to_the_bit(two, value):
    got = agreement.from_first(value)
    assert (got.dtype, got.shape, got.tobytes()) == (value.dtype, value.shape, value.tobytes())


def test_content_takes_the_length_of_the_first(two, monkeypatch):
    assert agreement.bytes_from_first(b"longer") == b"longer"
    monkeypatch.setattr(agreement, "number_from_first", lambda number: 4)
    assert agreement.bytes_from_first(b"ab") == b"ab\0\0" and agreement.bytes_from_first(b"longer") == b"long"
