"""StyleGAN2 generators without their arguments: state dicts, mostly with the names of rosinality/stylegan2-pytorch.

Most editing projects use those names (pSp, e4e, ReStyle and HyperStyle below 'decoder.'). There, style.N is the mapping
network, convs.N the two layers of each resolution in turn, noises.noise_N the noise maps in the same order, to_rgbs.N
the RGB layers; weights of modulated convolutions have a leading axis of length 1. The mean style, latent_avg, is next
to the state dict, or missing. Written from public knowledge of the format.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet, listing

LR_MULT = 0.01
"""Learning-rate multiplier of the mapping network, which arrays do not show."""
CLAMP = 256
"""Clamp of official networks in PyTorch, which arrays do not show."""
SAMPLES = 10_000
"""Number of latents for the mean style of a file that lacks it."""
_FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64

_LEAVES = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
}
_RGB_LEAVES = {key: value for key, value in _LEAVES.items() if key.startswith("conv.")} | {"bias": "bias"}


def is_generator(names: Mapping[str, Any]) -> bool:
    """Return whether the names are those of rosinality's generator."""
    return {"style.1.weight", "input.input", "conv1.conv.weight", "to_rgb1.bias"} <= names.keys()


def generator(net: OfficialNet) -> OfficialNet:
    """Return rosinality's generator under the official names, with the arguments inferred from its shapes.

    Raises:
        BadCheckpointError: an array belongs to another network, or has an impossible shape.
    """
    tensors, out, left = net.tensors, {}, []
    mean = tensors.pop("latent_avg", None)
    for name, value in tensors.items():
        if name.endswith((".blur.kernel", ".upsample.kernel")):
            if value.shape != (4, 4) or not np.allclose(value, 4 * _FILTER, atol=1e-5):
                raise BadCheckpointError("", f"{name} is not the filter [1, 3, 3, 1], and others are not read")
            continue
        ours = _official_name(name)
        if ours is None:
            left.append(name)
        else:
            out[ours] = _rearranged(name, ours, value)
    if left:
        raise BadCheckpointError("", f"has arrays that StyleGAN2 of rosinality does not have: {listing(left)}")
    out["mapping.w_avg"] = _mean_style(out, mean)
    return dataclasses.replace(_described(net, out, clamp=None), has_filters=False)


def official_state(net: OfficialNet) -> OfficialNet:
    """Return a StyleGAN2 generator under the official names, with the arguments inferred from its shapes.

    Raises:
        BadCheckpointError: it is not a generator, or StyleGAN3's, whose shapes do not suffice.
    """
    tensors = net.tensors
    tensors.pop("latent_avg", None)
    if not any(name.startswith("synthesis.b4.") for name in tensors):
        raise BadCheckpointError(
            "", "a state dict determines its network only for StyleGAN2; pass the file that has the arguments"
        )
    return _described(net, tensors, clamp=CLAMP)


def _official_name(name: str) -> str | None:
    """Return the official name of one of rosinality's arrays; None if it is unknown."""
    if name == "input.input":
        return "synthesis.b4.const"
    if m := re.fullmatch(r"style\.(\d{1,3})\.(weight|bias)", name):
        return f"mapping.fc{int(m[1]) - 1}.{m[2]}"
    if m := re.fullmatch(r"noises\.noise_(\d{1,2})", name):
        return f"synthesis.{_layer(int(m[1]))}.noise_const"
    if m := re.fullmatch(r"(conv1|convs\.(\d{1,2}))\.(.+)", name):
        leaf = _LEAVES.get(m[3])
        return f"synthesis.{_layer(int(m[2]) + 1 if m[2] else 0)}.{leaf}" if leaf else None
    if m := re.fullmatch(r"(to_rgb1|to_rgbs\.(\d{1,2}))\.(.+)", name):
        leaf = _RGB_LEAVES.get(m[3])
        return f"synthesis.b{2 ** (int(m[2]) + 3) if m[2] else 4}.torgb.{leaf}" if leaf else None
    return None


def _layer(index: int) -> str:
    """Return block and name of convolution number `index`: one at 4x4, then two per resolution."""
    return f"b{2 ** ((index + 5) // 2)}.conv{(index + 1) % 2}" if index else "b4.conv1"


def _rearranged(name: str, ours: str, value: np.ndarray) -> np.ndarray:
    """Return an array without the axes of length 1 that only rosinality has."""
    leaf = ours.rpartition(".")[2]
    ranks = {"const": 3, "noise_const": 2, "noise_strength": 0}
    is_conv = leaf == "weight" and "affine" not in ours and ours.startswith("synthesis.")
    rank = ranks.get(leaf, 4 if is_conv else value.ndim if leaf == "weight" else 1)
    axes = [i for i, size in enumerate(value.shape) if size == 1]
    if leaf == "bias" and value.ndim == 4 and value.shape[0] == 1:
        return value.reshape(value.shape[1])
    drop = value.ndim - rank
    if drop < 0 or axes[:drop] != list(range(drop)):
        raise BadCheckpointError("", f"{name} has the impossible shape {list(value.shape)}")
    return value.reshape(value.shape[drop:])


def _mean_style(arrays: Mapping[str, np.ndarray], mean: np.ndarray | None) -> np.ndarray:
    """Return float32[w], the mean style of a file, from one row or equal rows, or the mean over many latents."""
    if mean is None:
        return _sampled_mean(arrays)
    rows = mean.reshape(-1, mean.shape[-1]) if mean.ndim else mean.reshape(1, 1)
    if not len(rows) or not np.allclose(rows, rows[:1], rtol=1e-4, atol=1e-5, equal_nan=True):
        raise BadCheckpointError("", f"latent_avg has {len(rows)} rows that differ; only one mean style is supported")
    return np.array(rows[0], np.float32)


def _sampled_mean(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the mean of the mapping network over `SAMPLES` fixed latents (SG2 App. B)."""
    count = sum(re.fullmatch(r"mapping\.fc\d+\.weight", name) is not None for name in arrays)
    none = np.zeros(0)
    layers = [tuple(arrays.get(f"mapping.fc{i}.{leaf}", none) for leaf in ("weight", "bias")) for i in range(count)]
    width = None
    for weight, bias in layers:
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or width not in (None, weight.shape[1]):
            raise BadCheckpointError("", "style.N are not the layers of a mapping network")
        if max(weight.shape) > 1 << 12:
            raise BadCheckpointError("", f"a mapping layer has shape {list(weight.shape)}; at most {1 << 12} on a side")
        width = weight.shape[0]
    x = np.random.RandomState(0).randn(SAMPLES, layers[0][0].shape[1]).astype(np.float32)
    x /= np.sqrt(np.mean(np.square(x), axis=1, keepdims=True) + 1e-8)
    with np.errstate(all="ignore"):  # values that are not finite raise an error later
        for weight, bias in layers:
            x = x @ np.asarray(weight, np.float32).T * (LR_MULT / np.sqrt(weight.shape[1])) + bias * LR_MULT
            x = np.maximum(x, 0.2 * x) * np.sqrt(2)
        return x.mean(axis=0, dtype=np.float64).astype(np.float32)


def _described(net: OfficialNet, arrays: dict[str, np.ndarray], clamp: float | None) -> OfficialNet:
    """Return a network with these arrays and the arguments inferred from their shapes."""
    shape = lambda name: _shape(arrays, name)
    found = [re.fullmatch(r"synthesis\.b(\d{1,5})\.conv1\.weight", name) for name in arrays]
    sizes = sorted(int(m[1]) for m in found if m)
    if len(sizes) < 2 or sizes != [4 * 2**i for i in range(len(sizes))]:
        raise BadCheckpointError("", f"has blocks of the sizes {sizes[:12]}, not 4, 8, 16, …")
    widths = {res: shape(f"synthesis.b{res}.conv1.weight")[0] for res in sizes}
    most = max(widths.values())
    narrow = [res for res in sizes if widths[res] < most]
    base = widths[narrow[-1]] * narrow[-1] if narrow else most * sizes[-1]
    if any(min(base // res, most) != width for res, width in widths.items()):
        raise BadCheckpointError(
            "",
            f"has {list(widths.values())} channels at {sizes}; they must follow from channel_base and channel_max",
        )
    layers = sum(re.fullmatch(r"mapping\.fc\d+\.weight", name) is not None for name in arrays)
    w_dim, inputs = shape(f"mapping.fc{layers - 1}.weight")[0], shape("mapping.fc0.weight")[-1]
    embed = arrays.get("mapping.embed.weight")
    c_dim, embedded = (embed.shape[-1], embed.shape[0]) if embed is not None and embed.ndim == 2 else (0, 0)
    is_skip, is_resnet = "synthesis.b4.torgb.weight" in arrays, "synthesis.b8.skip.weight" in arrays
    kwargs = {
        "z_dim": inputs - embedded,
        "c_dim": c_dim,
        "w_dim": w_dim,
        "img_resolution": sizes[-1],
        "img_channels": shape(f"synthesis.b{sizes[-1]}.torgb.bias")[0],
        "channel_base": base,
        "channel_max": most,
        "architecture": "skip" if is_skip else "resnet" if is_resnet else "orig",
        "use_noise": "synthesis.b4.conv1.noise_const" in arrays,
        "conv_clamp": clamp,
        "num_fp16_res": 0 if clamp is None else 4,
        "mapping_kwargs": {
            "num_layers": layers,
            "lr_multiplier": LR_MULT,
            "embed_features": embedded or None,
            "layer_features": shape("mapping.fc0.weight")[0] if layers > 1 else None,
        },
    }
    return OfficialNet(net.class_name, net.version, (), kwargs, arrays, {}, {})


def _shape(arrays: Mapping[str, np.ndarray], name: str) -> tuple[int, ...]:
    if name not in arrays or not arrays[name].ndim:
        raise BadCheckpointError("", f"has no array {name}, which determines a size")
    return arrays[name].shape
