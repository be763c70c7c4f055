"""Which style slots are coarse, middle and fine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stylegan_jax.models.gan import make_spec
from stylegan_jax.sampling.styles import slot_groups


@pytest.mark.parametrize(
    ("slots", "num_ws", "sizes"),
    [
        ((4, 4, 8, 8, 16, 16, 32, 32, 64, 64), 10, (4, 4, 2)),
        ((4, 4, 8, 8), 4, (4, 0, 0)),
        ((4,), 1, (1, 0, 0)),
        ((), 16, (5, 5, 6)),
    ],
)
def test_slots_are_grouped_by_resolution_or_in_thirds(slots, num_ws, sizes):
    spec = make_spec((8, 8, 3), 4, num_ws, 4, slots=slots)
    groups = slot_groups(SimpleNamespace(gan=SimpleNamespace(spec=spec)))
    assert tuple(len(groups[name]) for name in ("coarse", "middle", "fine")) == sizes
    assert groups["coarse"] + groups["middle"] + groups["fine"] == groups["all"] == list(range(num_ws))
