"""Arguments of official R3GAN networks, inferred from their arrays, in both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from stylegan_jax.convert.arguments.shared import finish
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet

LOW_PRECISION = ("torch.bfloat16", "torch.float16")


def generator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of an official generator.

    Args:
        net: the network; only names and shapes of its arrays and the dtypes of its stages are read.

    Returns:
        The keys that a generator determines, and no notes.

    Raises:
        BadCheckpointError: the arrays are those of another network.
    """
    basis = _shape(net, "Model.MainLayers.0.Layers.0.Basis", 3)
    inputs = _shape(net, "Model.MainLayers.0.Layers.0.LinearLayer.weight", 2)[1]
    embed, classes = _labels(net)
    out = _stages(net, first_block=1, base=basis[1:], embed_dim=embed or 64)
    out |= {
        "img_channels": _shape(net, "Model.AggregationLayer.Layer.weight", 4)[0],
        "label_dim": classes,
        "z_dim": inputs - embed,
    }
    return finish(out), {}


def discriminator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of an official discriminator; see `generator_arguments`."""
    bases = [name for name in net.tensors if re.fullmatch(r"Model\.MainLayers\.\d+\.Layers\.\d+\.Basis\.weight", name)]
    if len(bases) != 1:
        raise BadCheckpointError("", "it is not a discriminator of r3gan")
    embed, classes = _labels(net)
    out = _stages(net, first_block=0, base=_shape(net, bases[0], 4)[2:], embed_dim=64)
    out |= {
        "img_channels": _shape(net, "Model.ExtractionLayer.Layer.weight", 4)[1],
        "label_dim": classes,
        "cmap_dim": 0 if embed in (0, out["r3gan"]["widths"][0]) else embed,
    }
    return finish(out), {}


def official_kwargs(arguments: Mapping[str, Any], net: str, w_avg_beta: float = 0.998) -> dict[str, Any]:
    """Return the constructor arguments of the official network.

    Args:
        arguments: a full model configuration.
        net: 'g', 'g_ema' or 'd'.
        w_avg_beta: unused.
    """
    own, turn = arguments["r3gan"], -1 if net == "d" else 1
    out = {
        "WidthPerStage": list(own["widths"])[::turn],
        "CardinalityPerStage": list(own["groups"])[::turn],
        "BlocksPerStage": list(own["blocks"])[::turn],
        "ExpansionFactor": own["expansion"],
        "c_dim": arguments["label_dim"],
        "img_resolution": arguments["resolution"],
    }
    if net != "d":
        out["NoiseDimension"] = arguments["z_dim"]
    if arguments["label_dim"]:
        size = (arguments["cmap_dim"] or own["widths"][0]) if net == "d" else own["embed_dim"]
        out["ConditionEmbeddingDimension"] = size
    return out


def with_mean(net: OfficialNet) -> OfficialNet:
    """Add the mean input to a generator as 'w_avg': zeros followed by the embedding of each label.

    Raises:
        BadCheckpointError: the arrays are those of another network.
    """
    inputs = _shape(net, "Model.MainLayers.0.Layers.0.LinearLayer.weight", 2)[1]
    embed, classes = _labels(net)
    mean = np.zeros((classes, inputs) if classes else (inputs,), np.float32)
    if classes:
        mean[:, inputs - embed :] = net.tensors["Model.EmbeddingLayer.weight"].T
    net.buffers["w_avg"] = mean
    return net


def _labels(net: OfficialNet) -> tuple[int, int]:
    """Return (size of the embedding, classes), zeros without labels."""
    if "Model.EmbeddingLayer.weight" not in net.tensors:
        return 0, 0
    embed, classes = _shape(net, "Model.EmbeddingLayer.weight", 2)
    return embed, classes


def _stages(net: OfficialNet, first_block: int, base: tuple[int, ...], embed_dim: int) -> dict[str, Any]:
    """Return the keys inferred from the stages; a discriminator's are numbered starting at the image."""
    pattern = re.compile(r"Model\.MainLayers\.(\d+)\.Layers\.(\d+)\.LinearLayer1\.Layer\.weight")
    found = [match.groups() for name in net.tensors if (match := pattern.fullmatch(name))]
    blocks: dict[int, int] = {}
    for stage, _ in found:
        blocks[int(stage)] = blocks.get(int(stage), 0) + 1
    if sorted(blocks) != list(range(len(blocks))) or not 2 <= len(blocks) <= 12:
        raise BadCheckpointError("", f"its stages are numbered {sorted(blocks)}, not starting at 0")
    widths, groups, factors = [], [], set()
    for stage in range(len(blocks)):
        place = f"Model.MainLayers.{stage}.Layers.{first_block}"
        inner, width = _shape(net, f"{place}.LinearLayer1.Layer.weight", 4)[:2]
        inside = _shape(net, f"{place}.LinearLayer2.Layer.weight", 4)[1]
        if inner % width or inner % inside:
            raise BadCheckpointError(
                "",
                f"stage {stage} has widths {width}, {inner} and {inside}; the other two must divide the second",
            )
        widths.append(width)
        groups.append(inner // inside)
        factors.add(inner // width)
    if len(factors) != 1:
        raise BadCheckpointError("", f"its stages have expansions {sorted(factors)}; a configuration has only one")
    turn = 1 if first_block else -1
    types = [net.attributes.get(f"Model.MainLayers.{stage}", {}).get("DataType") for stage in range(len(blocks))]
    return {
        "arch": "r3gan",
        "resolution": base[0] * 2 ** (len(blocks) - 1),
        "base_size": list(base),
        "mbstd_channels": 0,
        "num_lowp_res": sum(kind in LOW_PRECISION for kind in types),
        "r3gan": {
            "widths": widths[::turn],
            "groups": groups[::turn],
            "blocks": [blocks[stage] for stage in range(len(blocks))][::turn],
            "expansion": factors.pop(),
            "embed_dim": embed_dim,
        },
    }


def _shape(net: OfficialNet, name: str, rank: int) -> tuple[int, ...]:
    """Return the shape of an array.

    Raises:
        BadCheckpointError: it is missing, of another rank, or empty.
    """
    if name not in net.tensors:
        raise BadCheckpointError("", f"{name} is missing")
    shape = net.tensors[name].shape
    if len(shape) != rank or not all(shape):
        raise BadCheckpointError("", f"{name} is {list(shape)}; it must have {rank} axes and be not empty")
    return shape
