"""TensorFlow-era StyleGAN2 and StyleGAN2-ADA networks, converted to the PyTorch names and layouts.

Some differences are not only in names: style biases are stored minus 1, kernels of upsampling convolutions are stored
flipped, and the width argument is half of PyTorch's (`fmap_base`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet, listing
from stylegan_jax.inert.stream import show

# Arguments of the TensorFlow functions that do not change a trained network, or only its use.
_USAGE = ("truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val", "style_mixing_prob")
_USAGE += ("structure", "conditioning", "fused_modconv", "func_name", "randomize_noise", "freeze_layers")
_UNUSED_VARIABLES = ("lod",)
_BUILD_FUNCTIONS = {
    "mapping_func": ("G_mapping",),
    "synthesis_func": ("G_synthesis", "G_synthesis_stylegan2", "G_synthesis_stylegan_revised"),
}
"""Functions that may have built the parts of a generator; the arrays determine the parts."""
_NEUTRAL = {"fmap_decay": 1.0, "fmap_min": 1, "dtype": "float32", "normalize_latents": True}

_Change = Callable[[np.ndarray], np.ndarray]


def _dense(x: np.ndarray) -> np.ndarray:
    return x.T


def _conv(x: np.ndarray) -> np.ndarray:
    return x.transpose(3, 2, 0, 1)


def _conv_flipped(x: np.ndarray) -> np.ndarray:
    return x[::-1, ::-1].transpose(3, 2, 0, 1)


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _plus_one(x: np.ndarray) -> np.ndarray:
    return x + np.float32(1)


def _noise_owner(index: int) -> str:
    """Return the layer of noise map number `index`: one at 4x4, then two per resolution."""
    return f"b{2 ** ((index + 5) // 2)}.conv{(index + 1) % 2}" if index else "b4.conv1"


_CONV_NAMES = {"Conv0_up": "conv0", "Conv1": "conv1", "Conv": "conv1", "ToRGB": "torgb", "Skip": "skip"}
_PARTS: dict[str, tuple[str, _Change]] = {
    "weight": ("weight", _conv),
    "bias": ("bias", _same),
    "noise_strength": ("noise_strength", _same),
    "mod_weight": ("affine.weight", _dense),
    "mod_bias": ("affine.bias", _plus_one),
}


def _generator_name(name: str) -> tuple[str, _Change] | None:
    """Return the PyTorch name and layout change of a generator variable."""
    if name == "dlatent_avg":
        return "mapping.w_avg", _same
    if m := re.fullmatch(r"mapping/(Dense(\d{1,4})|LabelEmbed)/(weight|bias)", name):
        layer = f"fc{m[2]}" if m[2] else "embed"
        return f"mapping.{layer}.{m[3]}", _dense if m[3] == "weight" else _same
    if name == "synthesis/4x4/Const/const":
        return "synthesis.b4.const", lambda x: x[0]
    if m := re.fullmatch(r"synthesis/noise(\d{1,3})", name):
        return f"synthesis.{_noise_owner(int(m[1]))}.noise_const", lambda x: x[0, 0]
    m = re.fullmatch(r"synthesis/(\d{1,5})x\1/(\w+)/(\w+)", name)
    if m and m[2] in _CONV_NAMES and m[3] in _PARTS:
        part, change = _PARTS[m[3]]
        flipped = m[3] == "weight" and m[2] in ("Conv0_up", "Skip")
        return f"synthesis.b{m[1]}.{_CONV_NAMES[m[2]]}.{part}", _conv_flipped if flipped else change
    return None


def _discriminator_name(name: str) -> tuple[str, _Change] | None:
    """Return the PyTorch name and layout change of a discriminator variable."""
    if m := re.fullmatch(r"(Output|LabelEmbed|Mapping(\d{1,4})|4x4/Dense0)/(weight|bias)", name):
        fixed = {"Output": "b4.out", "LabelEmbed": "mapping.embed", "4x4/Dense0": "b4.fc"}
        return f"{fixed.get(m[1], f'mapping.fc{m[2]}')}.{m[3]}", _dense if m[3] == "weight" else _same
    if m := re.fullmatch(r"(\d{1,5})x\1/(FromRGB|Conv0|Conv1_down|Skip|Conv)/(weight|bias)", name):
        layers = {"FromRGB": "fromrgb", "Conv0": "conv0", "Conv1_down": "conv1", "Skip": "skip", "Conv": "conv"}
        return f"b{m[1]}.{layers[m[2]]}.{m[3]}", _conv if m[3] == "weight" else _same
    return None


def _rename(
    net: OfficialNet, resolution: int, table: Callable[[str], tuple[str, _Change] | None]
) -> tuple[dict[str, np.ndarray], bool]:
    """Return the arrays under PyTorch names, and whether names were those of a single RGB layer ('orig')."""
    out: dict[str, np.ndarray] = {}
    left, single_rgb = [], False
    for name, value in net.params.items():
        if name.rpartition("/")[2] in _UNUSED_VARIABLES:
            continue
        if m := re.fullmatch(r"(synthesis/)?(ToRGB|FromRGB)_lod(\d{1,2})/(\w+)", name):
            r, single_rgb = resolution >> int(m[3]), True
            prefix = "synthesis/" if m[2] == "ToRGB" else ""
            name = f"{prefix}{r}x{r}/{m[2]}/{m[4]}"
        entry = table(name)
        if entry is None or entry[0] in out:
            left.append(name)
            continue
        try:
            out[entry[0]] = entry[1](value)
        except (ValueError, IndexError):
            raise BadCheckpointError("", f"{name} has the impossible shape {list(value.shape)}") from None
    if left:
        raise BadCheckpointError("", f"{net.class_name} has variables of another architecture: {', '.join(left[:8])}")
    return out, single_rgb


def settle(left: dict[str, Any], label: str) -> None:
    """Remove static arguments of forks that repeat others.

    Raises:
        BadCheckpointError: they contradict the others.
    """
    sizes = {key: left.pop(key) for key in ("resolution_w", "resolution_h") if key in left}
    if sizes:
        resolution = left.setdefault("resolution", next(iter(sizes.values())))
        if any(type(size) is not int or size != resolution for size in sizes.values()):
            w, h = (sizes.get(key, resolution) for key in ("resolution_w", "resolution_h"))
            raise BadCheckpointError(
                "", f"{label} draws {show(w)}x{show(h)} pixels; TensorFlow's files are read only for square images"
            )
    for key, known in _BUILD_FUNCTIONS.items():
        name = left.pop(key, known[0])
        if type(name) is not str or name.rpartition(".")[2] not in known:
            raise BadCheckpointError("", f"{label}: {key} is {show(name)}; known are {', '.join(known)}")


class _Kwargs:
    """The static arguments of a TensorFlow network, each used once."""

    def __init__(self, net: OfficialNet):
        self.label = net.class_name
        self.left = {k: v for k, v in net.init_kwargs.items() if k not in _USAGE}
        settle(self.left, self.label)
        for key, neutral in _NEUTRAL.items():
            if self.left.pop(key, neutral) != neutral:
                raise BadCheckpointError("", f"{self.label}: {key} differs from {neutral!r}, which is not supported")

    def __call__(self, name: str, default: Any) -> Any:
        return self.left.pop(name, default)

    def done(self) -> None:
        if self.left:
            raise BadCheckpointError("", f"{self.label} has unknown arguments: {listing(self.left)}")

    def base(self) -> int:
        value = self("fmap_base", 16384)
        if type(value) is not int:
            raise BadCheckpointError("", f"{self.label}: fmap_base is {value!r:.80}, not a count")
        return 2 * value

    def resolution(self) -> int:
        value = self("resolution", 1024)
        if type(value) is not int:
            raise BadCheckpointError("", f"{self.label}: resolution is {value!r:.80}, not a count")
        return value


def tf_generator(net: OfficialNet) -> OfficialNet:
    """Return a TensorFlow generator (formats 4 and 5) as PyTorch would have written it.

    Args:
        net: variables under slashed names.

    Returns:
        PyTorch names, layouts and constructor arguments; no FIR buffers.

    Raises:
        BadCheckpointError: an argument or variable is unknown.
    """
    kw = _Kwargs(net)
    kwargs: dict[str, Any] = {
        "z_dim": kw("latent_size", 512),
        "c_dim": kw("label_size", 0),
        "w_dim": kw("dlatent_size", 512),
        "img_resolution": kw.resolution(),
        "img_channels": kw("num_channels", 3),
        "channel_base": kw.base(),
        "channel_max": kw("fmap_max", 512),
        "num_fp16_res": kw("num_fp16_res", 0),
        "conv_clamp": kw("conv_clamp", None),
        "architecture": kw("architecture", "skip"),
        "resample_filter": kw("resample_kernel", [1, 3, 3, 1]),
        "use_noise": kw("use_noise", True),
        "activation": kw("nonlinearity", "lrelu"),
        "mapping_kwargs": {
            "num_layers": kw("mapping_layers", 8),
            "embed_features": kw("label_fmaps", None),
            "layer_features": kw("mapping_fmaps", None),
            "activation": kw("mapping_nonlinearity", "lrelu"),
            "lr_multiplier": kw("mapping_lrmul", 0.01),
            "w_avg_beta": kw("w_avg_beta", kw("dlatent_avg_beta", 0.995)),
        },
    }
    kw.done()
    _refuse_old_labels(net, kwargs["c_dim"])
    params, single_rgb = _rename(net, kwargs["img_resolution"], _generator_name)
    if single_rgb:
        kwargs["architecture"] = "orig"
    return OfficialNet("Generator", net.version, (), kwargs, params, {}, {}, has_filters=False)


def tf_discriminator(net: OfficialNet) -> OfficialNet:
    """Return a TensorFlow discriminator (formats 4 and 5) as PyTorch would have written it; see `tf_generator`."""
    kw = _Kwargs(net)
    act, cmap = kw("nonlinearity", "lrelu"), kw("mapping_fmaps", None)
    kwargs: dict[str, Any] = {
        "c_dim": kw("label_size", 0),
        "img_resolution": kw.resolution(),
        "img_channels": kw("num_channels", 3),
        "architecture": kw("architecture", "resnet"),
        "channel_base": kw.base(),
        "channel_max": kw("fmap_max", 512),
        "num_fp16_res": kw("num_fp16_res", 0),
        "conv_clamp": kw("conv_clamp", None),
        "cmap_dim": cmap,
        "block_kwargs": {"activation": act, "resample_filter": kw("resample_kernel", [1, 3, 3, 1])},
        "mapping_kwargs": {
            "num_layers": kw("mapping_layers", 0),
            "activation": act,
            "lr_multiplier": kw("mapping_lrmul", 0.1),
        },
        "epilogue_kwargs": {
            "mbstd_group_size": kw("mbstd_group_size", 4 if net.version == 4 else None),
            "mbstd_num_channels": kw("mbstd_num_features", 1),
            "activation": act,
        },
    }
    kw.done()
    _refuse_old_labels(net, kwargs["c_dim"])
    params, single_rgb = _rename(net, kwargs["img_resolution"], _discriminator_name)
    if single_rgb:
        kwargs["architecture"] = "orig"
    return OfficialNet("Discriminator", net.version, (), kwargs, params, {}, {}, has_filters=False)


def _refuse_old_labels(net: OfficialNet, label_dim: Any) -> None:
    if label_dim and not any("LabelEmbed" in name for name in net.params):
        raise BadCheckpointError(
            "", "its labels are in the form of the first StyleGAN2 release, which is not supported"
        )
