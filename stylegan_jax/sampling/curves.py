"""Learning curves: values that a run reported, over the images shown, and figures of them.

They are read from the records of a workdir, or of a model folder that has them (`export --records`). Only figures need
matplotlib, the extra `figures`.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base.errors import ConfigError

STATS, METRICS = "stats.jsonl", "metrics.jsonl"
PANELS = {
    "losses": ("loss/g_adversarial", "loss/d_adversarial"),
    "scores": ("scores/real", "scores/fake"),
    "r_t, mean sign(D(real))": ("signs/real",),
    "p": ("augment/p",),
}
"""Default panels, after those of the metrics: {title: terms}, as far as a run reports them."""
KEPT = ("metric", "value", "interval", "counts", "psi")
"""Keys of a metric's record that are kept: the result, without facts about the machine."""
STYLES = ("-", "--", ":", "-.")
INSTALL = "figures of curves need matplotlib: pip install 'stylegan_jax[figures]'"


class Curve(NamedTuple):
    """Values of one name over the images shown.

    Attributes:
        kimg: float64[n], thousands of images shown.
        value: float64[n].
        interval: float64[n, 2], both ends; NaN if unknown.
    """

    kimg: np.ndarray
    value: np.ndarray
    interval: np.ndarray


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the complete rows of a JSON lines file; none if the file does not exist."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:  # this line is still being written
            break
    return [row for row in rows if isinstance(row, dict)]


def metric_rows(path: Path, workdir: Path | None = None) -> list[dict[str, Any]]:
    """Return the metrics in a file, in the order of their steps.

    Args:
        path: metrics.jsonl of a run, or a file that `python -m stylegan_jax.metrics --out` wrote.
        workdir: for the latter, return only metrics of this run's checkpoints.

    Returns:
        One {'step', 'nimg', 'metric', 'value', 'interval', 'counts', 'psi', 'detector' (its name)} each.
    """
    found = []
    for row in read_rows(path):
        origin = (row.get("model") or {}).get("provenance") or {}
        at = origin if "step" not in row else row
        theirs = origin.get("workdir")
        if "step" not in row and workdir is not None and (not theirs or Path(theirs).resolve() != workdir.resolve()):
            continue
        if row.get("value") is None or not {"step", "nimg"} <= at.keys():
            continue
        detector = row.get("detector")
        name = detector.get("name") if isinstance(detector, dict) else detector
        own = {key: row[key] for key in KEPT if key in row}
        found.append({"step": at["step"], "nimg": at["nimg"]} | own | {"detector": name})
    last = {(row["step"], row["metric"]): row for row in found}
    return sorted(last.values(), key=lambda row: row["step"])


def read(folder: Path, evaluated: Path | None = None) -> dict[str, Curve]:
    """Return the curves of a run by name: its metrics, then its terms.

    Args:
        folder: a workdir, or a model folder with the records of its run.
        evaluated: a file that `python -m stylegan_jax.metrics --out` wrote, with metrics of this run's checkpoints.

    Raises:
        ConfigError: there are no reports, or `evaluated` has no metrics of this run.
    """
    rows, points = read_rows(folder / STATS), dict[str, list[tuple[float, float, float, float]]]()
    measured = metric_rows(folder / METRICS)
    measured += metric_rows(evaluated, folder) if evaluated is not None else []
    if evaluated is not None and not metric_rows(evaluated, folder):
        raise ConfigError(
            f"{evaluated} has no metrics of checkpoints of {folder}; pass the file that `metrics --out` wrote"
        )
    for row in sorted(measured, key=lambda row: row["step"]):
        low, high = row.get("interval") or (math.nan, math.nan)
        points.setdefault(row["metric"], []).append((row["nimg"] / 1000, row["value"], low, high))
    for row in rows:
        for name, value in (row.get("mean") or {}).items():
            if isinstance(value, int | float):
                points.setdefault(name, []).append((row["nimg"] / 1000, value, math.nan, math.nan))
    if not points:
        raise ConfigError(f"{folder} has no {STATS} with reports; pass the workdir of a run")
    tables = {name: np.array(rows) for name, rows in points.items()}
    return {name: Curve(table[:, 0], table[:, 1], table[:, 2:]) for name, table in tables.items()}


def choose_panels(runs: Iterable[Mapping[str, Curve]], terms: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return the panels of a figure, {title: names of curves}: one per term, or by default the metrics and `PANELS`.

    Raises:
        ConfigError: no run has one of the terms.
    """
    known = list(dict.fromkeys(name for run in runs for name in run))
    for term in terms:
        if term not in known:
            raise ConfigError(f"no run reports {term!r}; they report {', '.join(known)}")
    if terms:
        return {term: (term,) for term in terms}
    panels = {name: (name,) for name in known if "/" not in name}
    for title, names in PANELS.items():
        if had := tuple(name for name in names if name in known):
            panels[title] = had
    return panels


def draw(runs: Mapping[str, Mapping[str, Curve]], terms: Sequence[str] = (), ending: str = "png") -> bytes:
    """Return a figure with a panel per term or group of terms, and a line per run and term.

    Args:
        runs: curves of each run, by the name to show.
        terms: names of curves, one panel each; (): the default of `choose_panels`.
        ending: of the file, a format that matplotlib writes: 'png', 'svg', 'pdf'.

    Returns:
        The file's content.

    Raises:
        ConfigError: matplotlib is missing or cannot write the format, or no run reports one of the terms.
    """
    panels = choose_panels(runs.values(), terms)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError(INSTALL) from None
    columns = min(len(panels), 3)
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.0 * lines), layout="constrained")
    if ending not in figure.canvas.get_supported_filetypes():
        raise ConfigError(f"figures cannot be written as {ending!r}; use .png, .svg or .pdf")
    for i, (title, names) in enumerate(panels.items()):
        axes = figure.add_subplot(lines, columns, i + 1, title=title, xlabel="thousand images shown")
        axes.grid(alpha=0.3)
        for color, (label, run) in enumerate(runs.items()):
            for style, name in enumerate(names):
                if name in run:
                    shown = [label] * (len(runs) > 1) + [name.rpartition("/")[2]] * (len(names) > 1)
                    _draw_curve(axes, run[name], f"C{color if len(runs) > 1 else style}", STYLES[style], shown)
        if len(runs) > 1 or len(names) > 1:
            axes.legend(fontsize="small")
    file = io.BytesIO()
    figure.savefig(file, format=ending, dpi=110)
    return file.getvalue()


def _draw_curve(axes: Any, curve: Curve, color: str, style: str, shown: Sequence[str]) -> None:
    """Draw a line, with dots if there are few values, and its intervals if they are known."""
    marker = "o" if len(curve.kimg) < 40 else ""
    axes.plot(curve.kimg, curve.value, style, color=color, marker=marker, markersize=3, label=", ".join(shown))
    if np.isfinite(curve.interval).any():
        axes.fill_between(curve.kimg, *curve.interval.T, color=color, alpha=0.2, linewidth=0)
