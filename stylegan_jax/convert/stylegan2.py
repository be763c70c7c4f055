"""The names of StyleGAN2's official files in PyTorch: the names of our modules, joined by dots.

FIR filters exist only in official files, as buffers of blocks and of their layers.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from stylegan_jax.config import ModelConfig
from stylegan_jax.convert.pickles import OfficialNet
from stylegan_jax.convert.tables import Fixed, Names, Path, flat
from stylegan_jax.convert.tf_names import tf_discriminator, tf_generator

DEFAULT_FIR = (1, 3, 3, 1)


def fir(taps: tuple[float, ...]) -> np.ndarray:
    """Return the official FIR buffer of `taps`: float32, sum 1, an outer product below 8 taps."""
    f = np.asarray(taps, np.float32)
    if f.size < 8:
        f = np.outer(f, f)
    return f / f.sum()


def dotted(path: Path) -> str:
    """Return the PyTorch name of one of our arrays, without its collection."""
    return "mapping.w_avg" if path == ("w_avg",) else ".".join(path[1:])


def from_tensorflow(net: OfficialNet, name: str) -> OfficialNet:
    """Return a TensorFlow network, 'D' or a generator, as PyTorch would have written it."""
    return tf_discriminator(net) if name == "D" else tf_generator(net)


def generator(config: ModelConfig, paths: Iterable[Path]) -> Names:
    """Return the names of a generator with leaves at these paths."""
    return Names(dotted, fixed=_filters(config, paths, resampling=("conv0", "skip"), others=("conv1",)))


def discriminator(config: ModelConfig, paths: Iterable[Path]) -> Names:
    """Return the names of a discriminator; see `generator`."""
    fixed = _filters(config, paths, resampling=("conv1", "skip"), others=("conv0", "conv", "fromrgb"))
    fixed.pop("b4.resample_filter")
    return Names(dotted, exceptions={("params", "b4", "fc", "weight"): flat(*config.base_size)}, fixed=fixed)


def _filters(
    config: ModelConfig, paths: Iterable[Path], resampling: tuple[str, ...], others: tuple[str, ...]
) -> dict[str, Fixed]:
    """Return the filters of blocks and their layers; `others` do not resample, and have the default filter."""
    out = {}
    for path in paths:
        if path[-1] == "weight" and path[-2] in resampling + others:
            used = config.resample_filter if path[-2] in resampling else DEFAULT_FIR
            for name, taps in ((dotted(path[:-1]), used), (dotted(path[:-2]), config.resample_filter)):
                shown = [int(t) if float(t).is_integer() else t for t in taps]
                out[f"{name}.resample_filter"] = Fixed(fir(taps), f"the filter {shown} that the arguments name")
    return out
