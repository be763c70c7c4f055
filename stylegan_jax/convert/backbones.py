"""The frozen networks inside official discriminators: their names in timm, and a comparison with the weights here.

Ours are read from files of their own and never written. A discriminator is meaningful only on the features that it was
trained with, so a file with another frozen network raises an error; rounding differences are noted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet, listing
from stylegan_jax.convert.projected import BACKBONES

TOLERANCE = 1e-3
"""Largest difference of a frozen network from the weights here, as a share of an array's largest value."""
STAGES = {
    "layer0.3": 1,
    "layer0.4": 2,
    "layer1.0": 2,
    "layer2.0": 3,
    "layer2.1": 3,
    "layer3.0": 4,
    "layer3.1": 1,
}
"""EfficientNet-Lite0: {place of a stage: its number of blocks}."""
FIRST = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
OTHERS = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"}
OTHERS |= {"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
"""Layers of a block: {timm's name: name in the file that we read}; the first block does not expand."""
NORM = ("weight", "bias", "running_mean", "running_var")


def split(net: OfficialNet) -> OfficialNet:
    """Remove the frozen networks from a discriminator; the attribute 'pretrained' of each records the comparison.

    Args:
        net: a projected discriminator, as `projected.renamed` returns it.

    Raises:
        BadCheckpointError: a frozen network has missing or extra arrays or other shapes, or differs from the one here.
    """
    kept, attributes = net.tensors, dict(net.attributes)
    for official, ours in BACKBONES.items():
        prefix = f"feature_networks.{official}.pretrained."
        names = official_names(ours)
        if not any(name.startswith(prefix) for name in kept):
            continue
        arrays = {}
        for name in [name for name in kept if name.startswith(prefix)]:
            inside = name.removeprefix(prefix)
            if not (ours == "deit_base" and inside.startswith("layer")):  # read-outs are random, so they belong to D
                arrays[inside] = kept.pop(name)
        _check(official, arrays, names, ours)
        named = {names[name]: x for name, x in arrays.items() if names[name]}
        attributes[f"feature_networks.{official}"] = {"pretrained": _compared(official, named, ours)}
    return dataclasses.replace(net, params=kept, buffers={}, attributes=attributes)


def official_names(backbone: str) -> dict[str, str]:
    """Return official name below 'pretrained' -> name in the file that we read; '' for counters."""
    if backbone == "deit_base":
        return {f"model.{name}": name for name in _shapes(backbone)}
    layers = {"layer0.0": "_conv_stem", "layer0.1": "_bn0"}
    number = 0
    for place, count in STAGES.items():
        for block in range(count):
            inside = OTHERS if number else FIRST
            layers |= {f"{place}.{block}.{theirs}": f"_blocks.{number}.{ours}" for theirs, ours in inside.items()}
            number += 1
    out = {}
    for theirs, ours in layers.items():
        is_norm = "bn" in ours
        out |= {f"{theirs}.{part}": f"{ours}.{part}" for part in (NORM if is_norm else NORM[:1])}
        out |= {f"{theirs}.num_batches_tracked": ""} if is_norm else {}
    return out


def _shapes(backbone: str) -> Mapping[str, tuple[int, ...]]:
    from stylegan_jax.features import FEATURES  # imported late: damaged or hostile files raise errors without JAX

    return FEATURES[backbone].shapes()


def _check(official: str, arrays: Mapping[str, np.ndarray], names: Mapping[str, str], backbone: str) -> None:
    missing, more = set(names) - set(arrays), set(arrays) - set(names)
    if missing or more:
        parts = [f"missing: {listing(missing)}"] * bool(missing) + [f"not part of it: {listing(more)}"] * bool(more)
        raise BadCheckpointError("", f"its frozen network {official}: {'; '.join(parts)}")
    shapes = _shapes(backbone)
    for theirs, ours in names.items():
        wanted = shapes[ours] if ours else ()
        if arrays[theirs].shape != wanted:
            raise BadCheckpointError(
                "", f"its frozen network {official}: {theirs} is {list(arrays[theirs].shape)}, expected {list(wanted)}"
            )


def _compared(official: str, arrays: Mapping[str, np.ndarray], backbone: str) -> str:
    """Compare arrays, under the names of a weights file, with the weights available here; return the result as text.

    Raises:
        BadCheckpointError: the arrays are those of another network.
    """
    from stylegan_jax.features import FEATURES, FeatureError
    from stylegan_jax.features.weights import read_weights

    try:
        found, _ = read_weights(backbone)
        tensors: Any = FEATURES[backbone].canonical(found)
    except FeatureError:
        return "ignored, not compared: no weights are installed"
    worst = 0.0
    for name, value in arrays.items():
        if name not in tensors or tensors[name].shape != value.shape:
            raise BadCheckpointError("", f"its frozen network {official}: the installed weights have no such {name}")
        want = np.asarray(tensors[name], np.float64)
        error = float(np.abs(np.asarray(value, np.float64) - want).max() / max(np.abs(want).max(), 1e-30))
        if not error <= TOLERANCE:
            raise BadCheckpointError(
                "",
                f"its frozen network {official} is not the installed one: {name} differs by {error:.2g} of its largest "
                f"value, more than {TOLERANCE:g}; the discriminator was trained with other features",
            )
        worst = max(worst, error)
    return f"ignored, the installed weights are used: equal within {worst:.2g} of the largest values"
