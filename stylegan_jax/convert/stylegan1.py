"""The names of StyleGAN's official files in TensorFlow.

There, the constant is [1, c, 4, 4], noise maps are [1, 1, h, w], and features are flattened as c·h·w; dense and
convolution layouts are ours. A style is stored as [scale, shift] with the scales minus 1, as here. If the upsampling
was part of the convolution ('fused', by default starting at 128x128), the kernel is stored flipped.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable

from stylegan_jax.config import ModelConfig
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet
from stylegan_jax.convert.tables import LAYOUTS, TENSORFLOW, Names, Path


def from_tensorflow(net: OfficialNet, name: str) -> OfficialNet:
    """Return a network without its level-of-detail variables, and with all kernels unflipped.

    Raises:
        BadCheckpointError: `fused_scale` has an unknown value.
    """
    fused = net.init_kwargs.get("fused_scale", "auto")
    if fused not in (True, False, "auto"):
        raise BadCheckpointError("", f"{net.class_name}: fused_scale is {fused!r:.80}; known are True, False, 'auto'")
    least = 128 if fused == "auto" else 0 if fused else math.inf
    params = {}
    for name, value in net.params.items():
        if name.rpartition("/")[2] == "lod":
            continue
        m = re.fullmatch(r"synthesis/(\d{1,5})x\1/Conv0_up/weight", name)
        params[name] = value[::-1, ::-1] if m and int(m[1]) >= least else value
    return dataclasses.replace(net, params=params)


def generator(config: ModelConfig, paths: Iterable[Path]) -> Names:
    """Return the names of a generator."""
    first = "Const" if config.stylegan1.const_input else "Dense"

    def official(path: Path) -> str:
        if path == ("w_avg",):
            return "dlatent_avg"
        _, part, module, *rest = path
        if part == "mapping":
            return f"mapping/{'LabelConcat' if module == 'embed' else module.replace('fc', 'Dense')}/{rest[0]}"
        res, layer, leaf = int(module[1:]), rest[0], "/".join(rest[1:])
        if layer == "torgb":
            return f"synthesis/ToRGB_lod{_lod(config, res)}/{leaf}"
        index = int(layer == "conv1")
        if leaf == "noise_const":
            return f"synthesis/noise{2 * int(math.log2(res // 4)) + index}"
        layers = (first, "Conv") if res == 4 else ("Conv0_up", "Conv1")
        leaf = "Noise/weight" if leaf == "noise_strength" else leaf.replace("affine", "StyleMod")
        return f"synthesis/{res}x{res}/{layers[index]}/{leaf}"

    unflat = {("params", "synthesis", "b4", "conv0", "weight"): LAYOUTS["tf_unflat"]}
    return Names(official, TENSORFLOW, {} if config.stylegan1.const_input else unflat)


def discriminator(config: ModelConfig, paths: Iterable[Path]) -> Names:
    """Return the names of a discriminator."""

    def official(path: Path) -> str:
        _, block, layer, leaf = path
        res = int(block[1:])
        if layer == "fromrgb":
            return f"FromRGB_lod{_lod(config, res)}/{leaf}"
        layers = {"conv0": "Conv0", "conv1": "Conv1_down", "conv": "Conv", "fc": "Dense0", "out": "Dense1"}
        return f"{res}x{res}/{layers[layer]}/{leaf}"

    return Names(official, TENSORFLOW, {("params", "b4", "fc", "weight"): LAYOUTS["tf_flat"]})


def _lod(config: ModelConfig, res: int) -> int:
    """Return the level of detail of a resolution: 0 for the last, and one more per halving."""
    return int(math.log2(config.resolution // res))
