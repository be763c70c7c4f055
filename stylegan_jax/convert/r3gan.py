"""The names of R3GAN's official files: stages and layers are numbered in the order of execution.

In the generator, layer 0 of a stage is its transition, and the residual blocks follow; in the discriminator, the blocks
come first. Resampling kernels exist only in official files.
"""

from __future__ import annotations

from collections.abc import Iterable

from stylegan_jax.config import ModelConfig
from stylegan_jax.convert.stylegan2 import fir
from stylegan_jax.convert.tables import LAYOUTS, Fixed, Names, Path

INSIDE: dict[Path, str] = {
    ("conv0", "weight"): "LinearLayer1.Layer.weight",
    ("conv1", "weight"): "LinearLayer2.Layer.weight",
    ("conv2", "weight"): "LinearLayer3.Layer.weight",
    ("conv0", "bias"): "NonLinearity1.Bias",
    ("conv1", "bias"): "NonLinearity2.Bias",
}
"""Arrays of a residual block."""
ENDS: dict[Path, str] = {
    ("embed", "weight"): "EmbeddingLayer.weight",
    ("torgb", "weight"): "AggregationLayer.Layer.weight",
    ("fromrgb", "weight"): "ExtractionLayer.Layer.weight",
}
"""Arrays outside the stages."""
W_AVG = "w_avg"
"""Not an official array: the mean input is zeros followed by the embedding of each label."""


def generator(config: ModelConfig, paths: Iterable[Path]) -> Names:
    """Return the names of a generator."""

    def official(path: Path) -> str:
        if path == ("w_avg",):
            return W_AVG
        if path[-2:] in ENDS:
            return f"Model.{ENDS[path[-2:]]}"
        place = path[2:]
        if place[0] in ("basis", "scale"):
            return "Model.MainLayers.0.Layers.0." + {"basis": "Basis", "scale": "LinearLayer.weight"}[place[0]]
        stage, block = _stage(place[0]), _block(place)
        return f"Model.MainLayers.{stage}.Layers." + ("0" if block is None else f"{block + 1}") + _inside(place)

    fixed = {f"Model.MainLayers.{s}.Layers.0.Resampler.Kernel": _kernel(config) for s in range(1, config.num_blocks)}
    return Names(official, exceptions={("params", "synthesis", "basis"): LAYOUTS["const"]}, fixed=fixed)


def discriminator(config: ModelConfig, paths: Iterable[Path]) -> Names:
    """Return the names of a discriminator."""
    last, blocks = config.num_blocks - 1, config.r3gan.blocks

    def official(path: Path) -> str:
        if path[-2:] in ENDS:
            return f"Model.{ENDS[path[-2:]]}"
        place = path[1:]
        if place[0] in ("basis", "out"):
            name = {"basis": "Basis.weight", "out": "LinearLayer.weight"}[place[0]]
            return f"Model.MainLayers.{last}.Layers.{blocks[0]}.{name}"
        stage, block = _stage(place[0]), _block(place)
        layer = blocks[stage] if block is None else block
        return f"Model.MainLayers.{last - stage}.Layers.{layer}" + _inside(place)

    fixed = {
        f"Model.MainLayers.{last - s}.Layers.{blocks[s]}.Resampler.Kernel": _kernel(config)
        for s in range(1, config.num_blocks)
    }
    return Names(official, exceptions={("params", "basis"): LAYOUTS["depthwise"]}, fixed=fixed)


def _stage(name: str) -> int:
    """Return the number of the stage of 'b8' or 'b8_width', counted from the base size."""
    return int(name.removeprefix("b").removesuffix("_width")).bit_length() - 3


def _block(place: Path) -> int | None:
    """Return the number of the residual block; None for the layer that changes the width."""
    return int(place[1].removeprefix("block")) if place[1].startswith("block") else None


def _inside(place: Path) -> str:
    return f".{INSIDE[place[-2:]]}" if place[1].startswith("block") else ".LinearLayer.Layer.weight"


def _kernel(config: ModelConfig) -> Fixed:
    return Fixed(fir(config.resample_filter), "the resampling filter of published R3GAN")
