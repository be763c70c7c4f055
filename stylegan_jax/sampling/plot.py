"""Simple figures with Pillow: line plots with ticks, and heat maps with a colour scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLORS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14), (90, 90, 90))
SCALE = ((255, 255, 255), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107))
"""Colours of a heat map, lowest first."""
INK, GRID = (40, 40, 40), (225, 225, 225)
TEXT, MARGIN = 14, (70, 30, 20, 45)
"""Height of text, and left, top, right and bottom margins of a plot, in pixels."""

Line = tuple[np.ndarray, np.ndarray]
"""x and y, float[n] each."""


class Axes(NamedTuple):
    """The ranges, ticks and names of a plot's axes.

    Attributes:
        x: left and right end.
        y: lower and upper end.
        x_ticks: numbers below the plot.
        y_ticks: numbers to the left of it.
        x_name: below the numbers.
        y_name: above the plot, on the left.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_ticks: Sequence[float] | np.ndarray
    y_ticks: Sequence[float] | np.ndarray
    x_name: str
    y_name: str


def ticks(low: float, high: float, count: int = 6) -> np.ndarray:
    """Return float64[n], about `count` multiples of 1, 2 or 5 times a power of ten that span `low` to `high`."""
    span = high - low if high > low else max(abs(low), 1.0)
    step = 10.0 ** np.floor(np.log10(span / count))
    step *= next(f for f in (1, 2, 5, 10) if f * step * count >= span)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return np.round(np.arange(first, max(last, first + 1) + 1) * step, 12)


def draw_lines(title: str, lines: Mapping[str, Line], axes: Axes, size: tuple[int, int] = (560, 400)) -> np.ndarray:
    """Return a line plot uint8[h, w, 3], with a legend at the upper right."""
    picture, to_place = _frame(title, axes, size)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(TEXT)
    for i, (name, (x, y)) in enumerate(lines.items()):
        color = COLORS[i % len(COLORS)]
        keep = (y >= axes.y[0]) & (y <= axes.y[1])
        for part in np.split(np.arange(len(x)), np.flatnonzero(np.diff(keep)) + 1):  # cut lines at the frame
            if keep[part[0]]:
                draw.line([to_place(a, b) for a, b in zip(x[part], y[part], strict=True)], fill=color, width=2)
        right, top = size[0] - MARGIN[2] - 8, MARGIN[1] + 14 + i * (TEXT + 6)
        width = draw.textlength(name, font=font)
        draw.text((right - width, top), name, fill=INK, font=font, anchor="lm")
        draw.line([(right - width - 32, top), (right - width - 6, top)], fill=color, width=3)
    return np.asarray(picture)


def draw_heatmap(title: str, values: np.ndarray, axes: Axes, ends: tuple[float, float], steps: int) -> np.ndarray:
    """Return a heat map uint8[h, w, 3] of float[rows, columns] between two ends, with the scale on the right.

    Row 0 is at the lower end of y.
    """
    side, bar = 360, 70
    size = (MARGIN[0] + side + MARGIN[2] + bar, MARGIN[1] + side + MARGIN[3])
    picture, _ = _frame(title, axes, (size[0] - bar, size[1]), extra=bar)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(TEXT)
    share = np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1)
    stepped = np.minimum(np.floor(share * steps), steps - 1) / (steps - 1)
    map_ = Image.fromarray(colors(stepped)[::-1]).resize((side - 1, side - 1), Image.Resampling.BOX)
    picture.paste(map_, (MARGIN[0] + 1, MARGIN[1] + 1))
    left, height = MARGIN[0] + side + 14, side / steps
    for i in range(steps):
        bottom = MARGIN[1] + side - i * height
        color = tuple(colors(np.array([i / (steps - 1)]))[0].tolist())
        draw.rectangle([left, bottom - height, left + 14, bottom], fill=color)
    for i in range(0, steps + 1, 2):
        at = (left + 20, MARGIN[1] + side - i * height)
        draw.text(at, f"{ends[0] + i * (ends[1] - ends[0]) / steps:g}", fill=INK, font=font, anchor="lm")
    return np.asarray(picture)


def colors(share: np.ndarray) -> np.ndarray:
    """Return uint8[..., 3] of float[...] in [0, 1] on `SCALE`."""
    at, table = np.linspace(0, 1, len(SCALE)), np.asarray(SCALE, float)
    return np.stack([np.interp(share, at, table[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)


def _frame(title: str, axes: Axes, size: tuple[int, int], extra: int = 0):
    """Return a white picture with frame, grid, numbers and names, and the function (x, y) -> pixel position."""
    left, top, right, bottom = MARGIN[0], MARGIN[1], size[0] - MARGIN[2], size[1] - MARGIN[3]
    picture = Image.new("RGB", (size[0] + extra, size[1]), (255, 255, 255))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(TEXT)

    def to_place(x: float, y: float) -> tuple[float, float]:
        across, up = (x - axes.x[0]) / (axes.x[1] - axes.x[0]), (y - axes.y[0]) / (axes.y[1] - axes.y[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    for x in axes.x_ticks:
        place, _ = to_place(x, axes.y[0])
        draw.line([(place, top), (place, bottom)], fill=GRID)
        draw.text((place, bottom + 6), f"{x:.3g}", fill=INK, font=font, anchor="mt")
    for y in axes.y_ticks:
        _, place = to_place(axes.x[0], y)
        draw.line([(left, place), (right, place)], fill=GRID)
        draw.text((left - 6, place), f"{y:g}", fill=INK, font=font, anchor="rm")
    draw.rectangle([left, top, right, bottom], outline=INK)
    draw.text(((left + right) / 2, top - 8), title, fill=INK, font=font, anchor="ms")
    draw.text((left - 6, top - 8), axes.y_name, fill=INK, font=font, anchor="rs")
    draw.text(((left + right) / 2, size[1] - 6), axes.x_name, fill=INK, font=font, anchor="ms")
    return picture, to_place
