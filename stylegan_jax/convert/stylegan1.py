"""TensorFlow-era StyleGAN networks: their arguments, and one table of names, shapes and layouts per network.

Theirs: dense [in, out], convolution HWIO, constant [1, c, 4, 4], noise maps [1, 1, h, w], features flattened as c·h·w.
A style is stored as [scale, shift] with the scales less their 1, as here. Where the enlargement was part of the
convolution ('fused', from 128x128 on by default), the kernel is stored the other way round.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from stylegan_jax.convert.arguments import check_arguments, clamp_bound, fir_taps
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet
from stylegan_jax.convert.stylegan2 import Slot, channels, resolutions

# Arguments that change nothing once a network is trained, or only its use; `prepared` has seen to fused_scale.
_USAGE = ("truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val", "style_mixing_prob")
_USAGE += ("dlatent_avg_beta", "structure", "randomize_noise", "func_name", "fused_scale", "dlatent_broadcast")
_NEUTRAL = {"fmap_decay": 1.0, "dtype": "float32", "normalize_latents": True, "use_wscale": True}
_NEUTRAL |= {"mapping_nonlinearity": "lrelu"}
_COUNTS = {"latent_size": 512, "label_size": 0, "dlatent_size": 512, "mapping_layers": 8, "mapping_fmaps": 512}
_COUNTS |= {"num_channels": 3, "resolution": 1024, "fmap_base": 8192, "fmap_max": 512}
_COUNTS |= {"mbstd_group_size": 4, "mbstd_num_features": 1}
_SWITCHES = {"use_styles": True, "const_input_layer": True, "use_pixel_norm": False, "use_instance_norm": True}


def prepared(net: OfficialNet) -> OfficialNet:
    """Return a network without the counter of its level of detail, and with every kernel the same way round.

    Raises:
        BadCheckpointError: an argument for fusing that has no meaning.
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


class _Arguments:
    """The static arguments of a network, each used once; `rgb` names the layers that tell whether it grows."""

    def __init__(self, net: OfficialNet, rgb: str):
        self.label, self.left = net.class_name, {k: v for k, v in net.init_kwargs.items() if k not in _USAGE}
        for key, neutral in _NEUTRAL.items():
            if self.left.pop(key, neutral) != neutral:
                raise BadCheckpointError("", f"{self.label}: {key} differs from {neutral!r}, which is not supported")
        self.grows = sum(f"{rgb}_lod" in name and name.endswith("/weight") for name in net.params) > 1

    def count(self, name: str) -> int:
        value = self.left.pop(name, _COUNTS[name])
        if type(value) is not int or not 0 <= value < 1 << 30:
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}, not a count")
        return value

    def switch(self, name: str, default: bool) -> bool:
        value = self.left.pop(name, default)
        if value not in (True, False):
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}, neither True nor False")
        return bool(value)

    def shared(self) -> dict[str, Any]:
        """Return what both networks have, and check that no argument is left."""
        blur = self.left.pop("blur_filter", [1, 2, 1])
        out: dict[str, Any] = {
            "arch": "stylegan1",
            "resolution": self.count("resolution"),
            "img_channels": self.count("num_channels"),
            "label_dim": self.count("label_size"),
            "channel_base": 2 * self.count("fmap_base"),
            "channel_max": self.count("fmap_max"),
            "grows": self.grows,
            "activation": self.left.pop("nonlinearity", "lrelu"),
            "conv_clamp": clamp_bound(None),
            "num_lowp_res": 0,
        }
        out["stylegan1"] = {"blur_filter": [float(t) for t in fir_taps(blur or [1])]}
        if self.left:
            unknown = ", ".join(sorted(map(str, self.left)))
            raise BadCheckpointError("", f"{self.label} has unknown arguments: {unknown}")
        return out


def generator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of a generator.

    Raises:
        BadCheckpointError: an unknown argument, or one of another type.
    """
    kw = _Arguments(net, "ToRGB")
    switches = {key.removesuffix("_layer"): kw.switch(key, default) for key, default in _SWITCHES.items()}
    out = {key: kw.count(name) for key, name in {"z_dim": "latent_size", "w_dim": "dlatent_size"}.items()}
    width, out["mapping_layers"] = kw.count("mapping_fmaps"), kw.count("mapping_layers")
    out["mapping_layer_dim"] = 0 if width == out["w_dim"] else width
    rate = kw.left.pop("mapping_lrmul", 0.01)
    if type(rate) not in (int, float):
        raise BadCheckpointError("", f"{kw.label}: mapping_lrmul is {rate!r:.80}, not a number")
    noise = kw.switch("use_noise", True)
    shared = kw.shared()
    switches |= shared.pop("stylegan1")
    if out["mapping_layers"] == 0:  # then w is z, and the embedded label
        out["w_dim"] = out["z_dim"] * (2 if shared["label_dim"] else 1)
    notes = {"w_avg_beta": net.init_kwargs.get("dlatent_avg_beta", 0.995)}
    out |= shared | {"mapping_lr_mult": float(rate), "use_noise": noise, "stylegan1": switches}
    check_arguments(out)
    return out, notes


def discriminator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of a discriminator; as `generator_arguments`."""
    kw = _Arguments(net, "FromRGB")
    group, statistics = kw.count("mbstd_group_size"), kw.count("mbstd_num_features")
    out = {"mbstd_group": max(group, 1), "mbstd_channels": statistics if group > 1 else 0}
    shared = kw.shared()
    defaults = {key.removesuffix("_layer"): value for key, value in _SWITCHES.items()}
    out |= shared | {"stylegan1": defaults | shared["stylegan1"]}
    check_arguments(out)
    return out, {}


def generator_slots(arguments: Mapping[str, Any]) -> dict[str, Slot]:
    """Return TensorFlow name -> Slot of a generator with these model configuration keys."""
    a, s = arguments, arguments["stylegan1"]
    w_dim, out = a["w_dim"], {"dlatent_avg": Slot(("w_avg",), (a["w_dim"],), "same")}
    fan_in = a["z_dim"]
    if a["label_dim"]:
        out["mapping/LabelConcat/weight"] = _slot("mapping/embed/weight", a["label_dim"], fan_in)
        fan_in *= 2
    for i in range(a["mapping_layers"]):
        width = w_dim if i == a["mapping_layers"] - 1 else a["mapping_layer_dim"] or w_dim
        out |= _layer(f"mapping/Dense{i}", f"mapping/fc{i}", fan_in, width)
        fan_in = width
    last, before = a["resolution"], 0
    for k, r in enumerate(resolutions(a)):
        c, block, size = channels(a, r), f"synthesis/b{r}", f"synthesis/{r}x{r}"
        if r > 4:
            first, shape, layout = "Conv0_up", (3, 3, before, c), "same"
        elif s["const_input"]:
            first, shape, layout = "Const", (1, c, 4, 4), "tf_const"
        else:
            first, shape, layout = "Dense", (w_dim, 16 * c), "tf_unflat"
        leaf = "const" if first == "Const" else "weight"
        out[f"{size}/{first}/{leaf}"] = _slot(f"{block}/conv0/{leaf}", *shape, layout=layout)
        second = "Conv1" if r > 4 else "Conv"
        out[f"{size}/{second}/weight"] = _slot(f"{block}/conv1/weight", 3, 3, c, c)
        for j, name in enumerate((first, second)):
            theirs, ours = f"{size}/{name}", f"{block}/conv{j}"
            out[f"{theirs}/bias"] = _slot(f"{ours}/bias", c)
            if a["use_noise"]:
                out[f"{theirs}/Noise/weight"] = _slot(f"{ours}/noise_strength", c)
                where = ("buffers", *f"{ours}/noise_const".split("/"))
                out[f"synthesis/noise{2 * k + j}"] = Slot(where, (1, 1, r, r), "tf_map")
            if s["use_styles"]:
                out |= _layer(f"{theirs}/StyleMod", f"{ours}/affine", w_dim, 2 * c)
        if a["grows"] or r == last:
            out |= _layer(f"synthesis/ToRGB_lod{_lod(last, r)}", f"{block}/torgb", 1, 1, c, a["img_channels"])
        before = c
    return out


def discriminator_slots(arguments: Mapping[str, Any]) -> dict[str, Slot]:
    """Return TensorFlow name -> Slot of a discriminator with these model configuration keys."""
    a, out, last = arguments, {}, arguments["resolution"]
    for r in reversed(resolutions(a)):
        c = channels(a, r)
        if a["grows"] or r == last:
            out |= _layer(f"FromRGB_lod{_lod(last, r)}", f"b{r}/fromrgb", 1, 1, a["img_channels"], c)
        if r > 4:
            out |= _layer(f"{r}x{r}/Conv0", f"b{r}/conv0", 3, 3, c, c)
            out |= _layer(f"{r}x{r}/Conv1_down", f"b{r}/conv1", 3, 3, c, channels(a, r // 2))
    c = channels(a, 4)
    out |= _layer("4x4/Conv", "b4/conv", 3, 3, c + a["mbstd_channels"], c)
    out |= _layer("4x4/Dense0", "b4/fc", 16 * c, c, layout="tf_flat")
    return out | _layer("4x4/Dense1", "b4/out", c, max(a["label_dim"], 1))


def _slot(where: str, *shape: int, layout: str = "same") -> Slot:
    return Slot(("params", *where.split("/")), shape, layout)


def _layer(theirs: str, ours: str, *shape: int, layout: str = "same") -> dict[str, Slot]:
    """Return the slots of a weight and its bias."""
    weight = _slot(f"{ours}/weight", *shape, layout=layout)
    return {f"{theirs}/weight": weight, f"{theirs}/bias": _slot(f"{ours}/bias", shape[-1])}


def _lod(last: int, resolution: int) -> int:
    """Return the level of detail of a resolution: 0 for the last, one more per halving."""
    return int(math.log2(last // resolution))
