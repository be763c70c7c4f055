"""The scripts of docs/figures draw from stored numbers."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"


def script(name: str) -> dict:
    return runpy.run_path(str(FIGURES / f"{name}.py"))


def learning(side: str, noise: bool, seed: int, values: dict[int, float], metric: str = "fd") -> dict:
    rows = [{"nimg": nimg + 8, "mean": {"loss/g_adversarial": 1.0 + seed, "scores/real": 0.5}} for nimg in values]
    points = [{"nimg": n, "metric": metric, "value": x, "interval": [x - 1, x + 1]} for n, x in values.items()]
    return {"side": side, "noise": noise, "seed": seed, "points": points, "rows": rows}


def test_both_sides_are_compared_where_all_seeds_were_measured(tmp_path, capsys):
    ours = [learning("ours", True, seed, {5000: 200.0 + 4 * seed, 10000: 100.0}) for seed in (0, 1)]
    official = [learning("official", True, 0, {5000: 190.0}), learning("official", True, 1, {5000: 198.0, 10000: 90.0})]
    plain = [learning(side, False, 0, {5000: 50.0}) for side in ("ours", "official")]
    (tmp_path / "a.json").write_text(json.dumps({"num": 2000, "runs": [*ours, *official, *plain]}))
    script("official_learning")["main"](str(tmp_path / "a.json"), str(tmp_path / "a.png"))
    lines = capsys.readouterr().out.splitlines()
    assert "| 5 | 202.0 ± 2.0 | 194.0 ± 4.0 | +8.0 | +1.8 |" in lines  # 8 / sqrt(4 + 16)
    assert not any(line.startswith("| 10 |") for line in lines)
    assert "with noise inputs, fd, 2,000 images, 2 official and 2 ours seeds" in lines
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 1000 and picture.height > 600


def test_runs_measured_in_two_ways_are_not_compared(tmp_path):
    runs = [
        learning(side, True, 0, {5000: 50.0}, metric) for side, metric in (("ours", "fd2k"), ("official", "fd2k_full"))
    ]
    (tmp_path / "a.json").write_text(json.dumps({"num": 2000, "runs": runs}))
    with pytest.raises(SystemExit, match="measured with fd2k, fd2k_full"):
        script("official_learning")["main"](str(tmp_path / "a.json"), str(tmp_path / "a.png"))


@pytest.mark.parametrize("size", [32, 64])
def test_the_quickstarts_picture_is_made_of_the_grids_of_a_run(tmp_path, size):
    (tmp_path / "grids").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"model": {"resolution": 32}}))
    for name, color in (("fakes_000000000", 0), ("fakes_000004000", 9), ("fakes_000012000", 100), ("reals", 200)):
        Image.fromarray(np.full((6 * 32, 8 * 32, 3), color, np.uint8)).save(tmp_path / "grids" / f"{name}.png")
    figure = script("quickstart")
    figure["main"](str(tmp_path), str(tmp_path / "a.png"), str(size))
    with Image.open(tmp_path / "a.png") as picture:
        shown = np.asarray(picture.convert("L")).astype(int)
    width = figure["COLUMNS"] * size
    assert shown.shape == (figure["ROWS"] * size, 3 * width + 2 * figure["GAP"])
    at = [i * (width + figure["GAP"]) + width // 2 for i in range(3)]
    assert np.abs(shown[:, at] - [0, 100, 200]).max() <= 2 and (shown[:, width + 1] > 250).all()
