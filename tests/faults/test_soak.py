"""What the soak harness watches, in a run of seconds; docs/reliability.md has the figures of hours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import soak

STEADY = {"rss_mib": 1000.0, "used_mib": 300.0, "files": 6.0, "threads": 30.0, "load": 1.0}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_soak_watches_the_training_and_stops_it(tmp_path: Path):
    short = {"log.tick_kimg": 0.064, "log.trackers": (), "loss.pl_weight": 0.0, "loss.d_reg": "none"}
    short |= {"eval.metrics": "", "log.keep_best": ""}  # fewer programs to compile
    code = soak.soak(tmp_path, 2.5, 0.1, [f"--config.{key}={value}" for key, value in short.items()])
    log = (tmp_path / "soak.log").read_text()
    assert code == 0 and "SIGTERM: saved step" in log, log
    rows = soak.read(tmp_path / "soak.csv")
    assert len(rows) > 10 and rows[0]["nimg"] < rows[-1]["nimg"]
    assert all(row["rss_mib"] > row["used_mib"] > 0 and row["files"] > 3 and row["threads"] > 1 for row in rows)
    assert soak.summarise(rows)["images"] == rows[-1]["nimg"]


def hours(count: int, **changes: float) -> list[soak.Row]:
    """Return rows of a run whose figures change by so much from beginning to end."""
    rows = []
    for i in range(count):
        row = STEADY | {"seconds": 10.0 * i, "cpu_seconds": 12.0 * i, "nimg": 8000.0 * i}
        rows.append(row | {name: row[name] + change * i / (count - 1) for name, change in changes.items()})
    return rows


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"rss_mib": 40.0}, ""),
        ({"rss_mib": 100.0}, "rss_mib grew from"),
        ({"used_mib": 30.0}, "used_mib grew from"),
        ({"files": 40.0}, "files grew from"),
        ({"threads": 40.0}, "threads grew from"),
        ({"load": 20.0}, ""),
    ],
)
def test_the_summary_of_a_soak_names_what_grew(changes: dict[str, float], problem: str):
    problems = soak.summarise(hours(200, **changes))["problems"]
    assert [p.startswith(problem) for p in problems] == ([True] if problem else [])


def test_the_summary_of_a_soak_names_a_loss_of_speed():
    rows = hours(200)
    for i, row in enumerate(rows):
        row["cpu_seconds"] *= 1 + 0.3 * i / len(rows)
    assert [p.split(" from")[0] for p in soak.summarise(rows)["problems"]] == ["images per CPU second fell"]
    assert soak.summarise(rows[:5])["problems"] == ["5 rows are too few"]
