"""Draw how the official code and ours learn, and print the table: `python docs/figures/official_learning.py JSON PNG`.

The JSON is what `tests/peers/official_learning.py measure` wrote. Lines are means over the seeds, bands their standard
errors, thin lines the seeds. Needs matplotlib (`pip install -e '.[figures]'`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = {"official": "C1", "ours": "C0"}
TERMS = ("loss/g_adversarial", "loss/d_adversarial", "scores/real", "scores/fake")
Values = dict[int, np.ndarray]
"""Images shown -> one value per seed, float64[seeds]."""


def collect(runs: list[dict[str, Any]], read: Callable[[dict[str, Any]], dict[int, float]]) -> Values:
    """Return what `read` finds of each run, where all of them have it."""
    found = [read(run) for run in runs]
    shared = sorted(set.intersection(*map(set, found))) if found else []
    return {nimg: np.array([one[nimg] for one in found]) for nimg in shared}


def distances(run: dict[str, Any]) -> dict[int, float]:
    """Return the Fréchet distances of a run by images shown."""
    return {point["nimg"]: point["value"] for point in run["points"]}


def metric_of(runs: list[dict[str, Any]]) -> str:
    """Return the name of the metric of all points.

    Raises:
        SystemExit: runs that are compared were measured with different metrics.
    """
    names = sorted({point["metric"] for run in runs for point in run["points"]})
    if len(names) != 1:
        raise SystemExit(f"runs to compare were measured with {', '.join(names)}; measure all of them in one way")
    return names[0]


def means(term: str) -> Callable[[dict[str, Any]], dict[int, float]]:
    """Return what reads a reported term of a run by images shown, in thousands, rounded."""
    return lambda run: {1000 * round(x["nimg"] / 1000): x["mean"][term] for x in run["rows"] if term in x["mean"]}


def error(values: np.ndarray) -> float:
    """Return the standard error of a mean; NaN for one value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def draw_sides(axes: Axes, sides: dict[str, Values], title: str) -> None:
    """Draw the mean, its standard error and every seed of each side."""
    axes.set(title=title, xlabel="thousand images shown")
    axes.grid(alpha=0.3)
    for side, values in sides.items():
        kimg, rows = np.array(list(values)) / 1000, np.array(list(values.values()))
        if not len(rows):
            continue
        mean, band = rows.mean(axis=1), np.nan_to_num([error(row) for row in rows])
        axes.plot(kimg, rows, color=COLORS[side], linewidth=0.5, alpha=0.4)
        axes.plot(kimg, mean, color=COLORS[side], label=f"{side}, {rows.shape[1]} seeds")
        axes.fill_between(kimg, mean - band, mean + band, color=COLORS[side], alpha=0.2, linewidth=0)
    axes.legend(fontsize="small")


def table(sides: dict[str, Values]) -> str:
    """Return the Markdown table of the means of both sides and of their difference in its standard error."""
    ours, official = sides["ours"], sides["official"]
    lines = ["| thousand images | ours | official | difference | in standard errors |", "|---|---|---|---|---|"]
    for nimg in [nimg for nimg in ours if nimg in official]:
        a, b = ours[nimg], official[nimg]
        gap, width = a.mean() - b.mean(), float(np.hypot(error(a), error(b)))
        cells = [f"{x.mean():.1f} ± {error(x):.1f}" for x in (a, b)]
        lines.append(f"| {nimg / 1000:g} | {' | '.join(cells)} | {gap:+.1f} | {gap / width:+.1f} |")
    return "\n".join(lines)


def main(source: str, target: str) -> None:
    """Draw the figure and print the tables."""
    result = json.loads(Path(source).read_text(encoding="utf-8"))
    kinds = [kind for kind in (True, False) if any(run["noise"] == kind for run in result["runs"])]
    figure = Figure(figsize=(4.2 * (1 + len(TERMS) // 2), 3.2 * len(kinds)), layout="constrained")
    panels = figure.subplots(len(kinds), 1 + len(TERMS) // 2, squeeze=False)
    for line, noise in zip(panels, kinds, strict=True):
        runs = {side: [r for r in result["runs"] if r["side"] == side and r["noise"] == noise] for side in COLORS}
        name = "with noise inputs" if noise else "without noise inputs"
        found = {side: collect(runs[side], distances) for side in COLORS}
        metric = metric_of([run for side in runs.values() for run in side])
        draw_sides(line[0], found, f"Fréchet distance, {name},\n{metric}")
        for axes, pair in zip(line[1:], (TERMS[:2], TERMS[2:]), strict=True):
            for term, style in zip(pair, ("-", "--"), strict=True):
                for side in COLORS:
                    values = collect(runs[side], means(term))
                    kimg, rows = np.array(list(values)) / 1000, np.array(list(values.values()))
                    label = f"{side}, {term.rpartition('/')[2]}"
                    axes.plot(kimg, rows.mean(axis=1) if len(rows) else [], style, color=COLORS[side], label=label)
            axes.set(title=pair[0].partition("/")[0], xlabel="thousand images shown")
            axes.grid(alpha=0.3)
            axes.legend(fontsize="x-small")
        seeds = " and ".join(f"{len(r)} {side}" for side, r in runs.items())
        print(f"\n{name}, {metric}, {result['num']:,} images, {seeds} seeds\n")
        print(table(found))
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
