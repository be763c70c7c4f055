"""The library for notebooks, tools and the studio: load a model, map, truncate, draw, project, tune, export.

    from stylegan_jax import sampling
    from stylegan_jax.base import images

    model = sampling.load_model("runs/quickstart")  # or 'demo', a model folder, 'hf://user/name', an official .pkl
    pixels = model.sample(range(4), psi=0.7)  # uint8 [4, h, w, c]
    ws = model.map([3, 4], psi=0.7)  # styles float32 [2, l, w]
    groups = sampling.styles.slot_groups(model)  # {'coarse': [0, 1, …], …}
    mixed = sampling.styles.mix(ws[:1], ws[1:], groups["coarse"])  # float32 [1, 1, l, w]
    found = sampling.directions.sefa(model, groups["all"], count=3)
    edited = model.synthesize(ws + 3 * found.vectors[0])  # float32 [2, h, w, c], about [-1, 1]
    frames = list(sampling.paths.loop(model, [3, 4], frames=2))  # a video: uint8 [h, w, c] each
    images.to_picture(images.to_pixels(edited), columns=2)

For video models, `model.video` returns frames along time, and `model.still` an image model of its frames. `project`
finds the styles of photographs, and an encoder (`load_encoder`) does so in one pass; `alignment.crop` cuts out faces by
their landmarks, `tune` trains the generator until it draws a picture exactly, `drag_points` moves points of a picture,
and `export_model` writes a model folder with a card and programs for other platforms. `map_styles`, `draw` and
`draw_pixels` are the pure functions underneath, which take `model.gan` and `model.on_device().g_ema`. Names are
imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stylegan_jax.sampling import alignment, averages, directions, drag, paths, plot, projections, spectra, styles
    from stylegan_jax.sampling.drag import drag_points
    from stylegan_jax.sampling.drawing import draw, draw_pixels, map_styles
    from stylegan_jax.sampling.encoding import LoadedEncoder, load_encoder
    from stylegan_jax.sampling.export import export_model
    from stylegan_jax.sampling.exported import load_exported
    from stylegan_jax.sampling.load import load_model
    from stylegan_jax.sampling.model import LoadedModel
    from stylegan_jax.sampling.projector import project, read_images, with_noise
    from stylegan_jax.sampling.tuner import tune

__all__ = [
    "LoadedEncoder",
    "LoadedModel",
    "alignment",
    "averages",
    "directions",
    "drag",
    "drag_points",
    "draw",
    "draw_pixels",
    "export_model",
    "load_encoder",
    "load_exported",
    "load_model",
    "map_styles",
    "paths",
    "plot",
    "project",
    "projections",
    "read_images",
    "spectra",
    "styles",
    "tune",
    "with_noise",
]
_HOMES = {
    "drag": ("drag_points",),
    "drawing": ("draw", "draw_pixels", "map_styles"),
    "encoding": ("LoadedEncoder", "load_encoder"),
    "export": ("export_model",),
    "exported": ("load_exported",),
    "load": ("load_model",),
    "model": ("LoadedModel",),
    "projector": ("project", "read_images", "with_noise"),
    "tuner": ("tune",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name on first use, so that importing the package is cheap."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOME.get(name, name)}")
    return getattr(module, name) if name in _HOME else module
