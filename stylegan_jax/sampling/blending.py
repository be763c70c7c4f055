"""Blending two generators: layer swapping and interpolation of weights (Pinkney & Adler 2020, arXiv 2010.05334).

This is meaningful only if one model was fine-tuned from the other, or both from a third, so that corresponding layers
have the same function.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from stylegan_jax.base.errors import StyleganError
from stylegan_jax.base.trees import flatten, unflatten
from stylegan_jax.config import suggest
from stylegan_jax.sampling import card
from stylegan_jax.sampling.model import LoadedModel

NOT_COMPARED = ("compute_dtype", "num_lowp_res", "remat_from", "conv_clamp")
"""Keys of the model that do not affect the meaning of its weights."""


class BlendError(StyleganError, ValueError):
    """Two models cannot be blended as requested; the message says why."""


def parts(model: LoadedModel) -> list[str]:
    """Return the names of a generator's parts: 'mapping', then the synthesis layers in order."""
    params = model.g_ema["params"]
    number = lambda name: (int((re.findall(r"\d+", name) or ["-1" if name == "input" else str(10**9)])[0]), name)
    return [*(name for name in params if name != "synthesis"), *sorted(params["synthesis"], key=number)]


def blend(model: LoadedModel, other: LoadedModel, amounts: Mapping[str, float]) -> LoadedModel:
    """Return a model whose weights interpolate between those of two, part by part.

    Args:
        model: the first model; the result has its settings.
        other: a model of the same shape.
        amounts: {part, of `parts`: share of `other`, usually in [0, 1]}; parts without one are those of `model`. The
            mean style belongs to 'mapping', or to the first part if there is no mapping network.

    Raises:
        BlendError: the models differ in shape, a part is unknown, or a share is not a finite number.
    """
    known = parts(model)
    for name, share in amounts.items():
        if name not in known:
            raise BlendError(f"this model has no part {name!r}; {suggest(name, known)}")
        if not np.isfinite(share):
            raise BlendError(f"the share of {name!r} is {share}; pass a number: 0 is the first model, 1 the other")
    _check_equal(model, other)
    ours, theirs = flatten(model.g_ema), flatten(other.g_ema)
    mixed = {}
    for path, x in ours.items():
        _, first, *rest = path.split("/")
        share = amounts.get(rest[0] if first == "synthesis" and rest else first, 0.0)
        mixed[path] = mix(np.asarray(x), np.asarray(theirs[path]), share)
    w_avg = mix(model.w_avg, other.w_avg, amounts.get(known[0], 0.0))
    facts = {
        "blended": {"amounts": {name: float(amounts.get(name, 0)) for name in known}},
        "of": [card.provenance(model), card.provenance(other)],
    }
    return model.replace(g_ema=unflatten(mixed), w_avg=w_avg, g=None, d=None, provenance=facts)


def mix(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Return a + share (b - a), exactly a at 0 and b at 1; integer arrays are a's, except at 1."""
    if share == 0 or share == 1:
        return a if share == 0 else b
    if not np.issubdtype(a.dtype, np.floating):
        return a
    return ((1 - share) * a.astype(np.float64) + share * b.astype(np.float64)).astype(a.dtype)


def _check_equal(model: LoadedModel, other: LoadedModel) -> None:
    ours, theirs = (_shape(m) for m in (model, other))
    changed = [f"{key} {ours[key]!r} and {theirs[key]!r}" for key in ours if ours[key] != theirs[key]]
    if changed:
        raise BlendError(
            f"the models differ in {'; '.join(changed)}; blend models of the same shape, such as one fine-tuned with "
            "train.init_from"
        )
    arrays = [{path: np.shape(x) for path, x in flatten(m.g_ema).items()} for m in (model, other)]
    if arrays[0] != arrays[1]:
        path = next(p for p in sorted(arrays[0].keys() | arrays[1].keys()) if arrays[0].get(p) != arrays[1].get(p))
        raise BlendError(f"the models differ in {path}: {arrays[0].get(path)} and {arrays[1].get(path)}")


def _shape(model: LoadedModel) -> dict[str, Any]:
    return {
        k: v for k, v in dataclasses.asdict(model.config).items() if k not in NOT_COMPARED and not k.startswith("d_")
    }
