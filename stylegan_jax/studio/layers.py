"""The page Layers: the channels of a layer, and the power spectrum of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stylegan_jax.sampling import layer_maps, plot, spectra
from stylegan_jax.studio import pictures, wishes
from stylegan_jax.studio.pictures import Picture
from stylegan_jax.studio.sessions import Session
from stylegan_jax.studio.sources import Styled, find_styles
from stylegan_jax.studio.worker import Check

if TYPE_CHECKING:
    from stylegan_jax.studio.studio import Studio

VIEWS = ("channels", "rgb")
MAX_CHANNELS = 36


def names(studio: Studio, session: Session, wish: Mapping[str, Any], check: Check) -> dict[str, Any]:
    """Return the layers of the model in the order of the network."""
    found = {**layer_maps.list_layers(studio.model.gan), layer_maps.PICTURE: studio.model.gan.spec.image_shape}
    return {"layers": [{"name": name, "height": h, "width": w, "channels": c} for name, (h, w, c) in found.items()]}


def maps(studio: Studio, session: Session, wish: Mapping[str, Any], check: Check) -> Picture:
    """Draw channels of a layer, each from its minimum (black) to its maximum (white), or three of them as RGB."""
    some = find_styles(studio.model, session, wishes.inner(wish, "source"))
    found = _maps_of(some)
    name = wishes.choice(wish, "layer", list(found))
    values = found[name]
    channels = values.shape[2]
    first = wishes.whole(wish, "first", 0, channels - 1, 0)
    view = wishes.choice(wish, "view", VIEWS, "channels")
    count = 3 if view == "rgb" else wishes.whole(wish, "count", 1, MAX_CHANNELS, 16)
    chosen = values[:, :, first : first + count]
    about = {
        "layer": name,
        "channels": channels,
        "first": first,
        "low": float(values.min()),
        "high": float(values.max()),
        "mean": float(values.mean()),
        "std": float(values.std()),
    }
    low, high = chosen.min(axis=(0, 1)), chosen.max(axis=(0, 1))
    levels = ((chosen - low) / np.maximum(high - low, 1e-12) * 255).round().astype(np.uint8)
    if view == "rgb":
        levels = np.concatenate([levels, np.zeros((*levels.shape[:2], 3 - levels.shape[2]), np.uint8)], axis=2)
        grid = levels[None, None]
    else:
        columns = int(np.ceil(np.sqrt(chosen.shape[2])))
        rows = -(-chosen.shape[2] // columns)
        cells = np.zeros((rows * columns, *levels.shape[:2], 1), np.uint8)
        cells[: levels.shape[2]] = np.moveaxis(levels, 2, 0)[..., None]
        grid = cells.reshape(rows, columns, *cells.shape[1:])
    return Picture(grid, some.ws[None], pictures.sample_command(studio, session, some, []), about)


def spectrum(studio: Studio, session: Session, wish: Mapping[str, Any], check: Check) -> Picture:
    """Draw the power spectrum of a picture as a heat map in dB (SG3 section 4)."""
    some = find_styles(studio.model, session, wishes.inner(wish, "source"))
    pixels = pictures.draw_one(some)[None]
    mean, std = spectra.moments([pixels])
    heat = spectra.heatmap(spectra.average([pixels], mean, std), smooth=0.5)
    low, high = np.percentile(heat, [1, 99.8])
    ends = (5 * np.floor(low / 5), 5 * np.ceil(high / 5))
    half = np.array([-0.5, -0.25, 0, 0.25, 0.5])
    axes = plot.Axes((-0.5, 0.5), (-0.5, 0.5), half, half, "cycles per pixel", "")
    steps = int(min(20, max(4, (ends[1] - ends[0]) / 5)))
    figure = plot.draw_heatmap("power spectrum, dB", heat, axes, ends, steps - steps % 2)
    return Picture(figure[None, None], some.ws[None], pictures.sample_command(studio, session, some, []), {})


_last: list[Any] = [None, None]
"""(styles and model, their feature maps) of the last call, so that browsing channels computes nothing."""


def _maps_of(some: Styled) -> dict[str, np.ndarray]:
    key = (some.ws.tobytes(), id(some.model), some.seed)
    if _last[0] != key:
        model, inputs = some.model, None
        if len(model.gan.spec.inputs) > 1:
            inputs = model.draw_inputs([some.seed], some.label if len(some.label) else None, chunk=1)
        _last[:] = [key, layer_maps.layer_maps(model, some.ws, inputs)]
    return _last[1]


KINDS = {"layers": names, "maps": maps, "spectrum": spectrum}
"""Wishes by name, in addition to `pictures.KINDS`."""
