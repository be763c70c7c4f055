"""docs/scaling.md: its table follows from its formulas and from the recipe."""

from __future__ import annotations

import re

import pytest

from configs import common, ffhq
from launch.commands import ROOT
from launch.slices import gke_slice
from stylegan_jax.roofline import CHIPS

TEXT = (ROOT / "docs" / "scaling.md").read_text()
G, D, FLOP = 30_370_060, 29_012_513, 2037.46e9
CHIP = {name: (chip.flops, chip.memory, chip.link) for name, chip in CHIPS.items()}
CHIP["8xH100"] = (989.4e12, 80e9, 450e9)
GIB = 2**30
ROWS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if re.match(r"\| (v5\w-\d+|8xH100) \|", line)]


def outputs(resolution: int = 1024) -> int:
    """Elements of G's convolutions per image; D's are as many."""
    rs = [2**k for k in range(2, resolution.bit_length())]
    return sum((2 if r > 4 else 1) * r * r * min(32768 // r, 512) for r in rs)


def test_state():
    noise = 4 * (16 + 2 * sum(4**k for k in range(3, 11)))
    state = (4 * (G + D) + 8 * (G + D) + 4 * G + noise) / GIB
    assert f"{state:.3f}" == "0.787" and "**0.787 GiB**" in TEXT
    parts = [4 * (G + D), 8 * (G + D), 4 * G, noise]
    shown = re.findall(r"\| (0\.\d{3}) GiB \|", TEXT)
    assert shown[:4] == [f"{part / GIB:.3f}" for part in parts]
    assert f"{G:,}" in TEXT and f"{D:,}" in TEXT
    assert f"{G:,}; discriminator {D:,}" in (ffhq.__doc__ or "")


def test_the_recipe_is_the_one_computed_with():
    c = ffhq.get_config()
    assert (c.loss.g_reg_interval, c.loss.d_reg_interval, c.loss.pl_batch_shrink) == (4, 16, 2)
    assert c.train.batch_size == 32 and common.get_config().mesh.fsdp == 1


def test_there_are_four_rows():
    assert [row[0] for row in ROWS] == ["v5e-8", "v5e-64", "v5p-256", "8xH100"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_table(row):
    name, chips, b, batch, memory, c_ms, t_ms, share, speed = row
    n, b = int(chips), int(b)
    peak, room, link = CHIP[name if name in CHIP else name.split("-")[0]]
    if name != "8xH100":
        kind = gke_slice(name.replace("v5e", "v5litepod"))
        assert n == kind.hosts * kind.chips_per_host
    assert int(batch) == n * b and n * b % (2 * n) == 0
    gradients = 4 * G * (1 + 1 / 4) + 4 * D * (1 + 1 / 16)
    assert "275.2 MB" in TEXT and round(gradients / 1e6, 1) == 275.2
    c, t = b * FLOP / (0.1 * peak), 2 * (n - 1) / n * gradients / link
    assert [c_ms, t_ms, share] == [f"{c * 1e3:.1f}", f"{t * 1e3:.1f}", f"{100 * t / c:.1f} %"]
    assert int(speed) == round(n * b / (c + t))
    least, most = 0.787 + b * 2 * 2 * outputs() / GIB, 0.787 + b * 3.30
    assert memory == f"{least:.1f} to {most:.1f} GiB of {room / GIB:.1f}"
