"""Architecture arguments: from the constructor arguments of official networks to model configuration keys.

Three sources must agree: the constructor arguments (which leave defaults out), the attributes stored on the modules
(which do not), and the array shapes (checked on import).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from stylegan_jax.config import ConfigError, ExperimentConfig, model_from_dict
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet
from stylegan_jax.convert.stylegan2 import DEFAULT_FIR, channels, resolutions

ARCHITECTURES = ("skip", "resnet", "orig")
# What official files can ask for; all are in ops.bias_act.ACTIVATIONS, which needs JAX.
ACTIVATIONS = ("lrelu", "relu", "linear", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")
WHOLE_BATCH = 1 << 20  # a minibatch-stddev group larger than any batch: the official None

DEFAULTS: dict[str, Any] = ExperimentConfig().to_dict()["model"] | {"resolution": 0, "label_dim": 0}
"""What a model configuration holds when the arguments say nothing else; a file names its resolution and its labels."""
SHARED = ("resolution", "img_channels", "label_dim", "activation", "conv_clamp", "resample_filter", "grows")
HARMLESS = ("class_name", "fp16_channels_last", "fused_modconv_default", "freeze_layers", "num_ws", "use_fp16")
_MISSING = object()


def generator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of an official StyleGAN2 generator.

    Args:
        net: PyTorch-era generator; constructor arguments flat, or nested in `synthesis_kwargs` and `mapping_kwargs`.

    Returns:
        The keys that a generator decides, and what does not change the network but is worth keeping.

    Raises:
        BadCheckpointError: an unknown argument, or sources that contradict each other.
    """
    names = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
    era_ada = "synthesis_kwargs" in net.init_kwargs
    kwargs = Arguments(net, names, nested=("synthesis_kwargs", "block_kwargs", "layer_kwargs"))
    mapping = kwargs.part("mapping_kwargs", "mapping")
    out = {
        "resolution": kwargs.whole("img_resolution", 0, ""),
        "img_channels": kwargs.whole("img_channels", 3, ""),
        "label_dim": kwargs.whole("c_dim", 0, ""),
        "z_dim": kwargs.whole("z_dim", 512, ""),
        "w_dim": kwargs.whole("w_dim", 512, ""),
        "channel_base": kwargs.whole("channel_base", 32768),
        "channel_max": kwargs.whole("channel_max", 512),
        "g_arch": kwargs.choice("architecture", "skip", "synthesis.b4", ARCHITECTURES),
        "use_noise": bool(kwargs.get("use_noise", True, "synthesis.b4.conv1")),
        "activation": kwargs.choice("activation", "lrelu", "synthesis.b4.conv1", ACTIVATIONS),
        "resample_filter": fir_taps(kwargs.get("resample_filter", DEFAULT_FIR)),
        "conv_clamp": clamp_bound(kwargs.get("conv_clamp", None if era_ada else 256, "synthesis.b4.conv1")),
        "num_lowp_res": kwargs.whole("num_fp16_res", 0 if era_ada else 4, "synthesis"),
        "mapping_layers": mapping.whole("num_layers", 8, "mapping"),
        "mapping_lr_mult": mapping.number("lr_multiplier", 0.01, "mapping.fc0", "bias_gain"),
    }
    kwargs.fixed("kernel_size", 3)
    mapping.choice("activation", "lrelu", "mapping.fc0", ("lrelu",))
    for name, key in {"embed_features": "mapping_embed_dim", "layer_features": "mapping_layer_dim"}.items():
        width = mapping.optional(name, None)
        out[key] = 0 if width in (None, out["w_dim"]) else width
    notes = {"w_avg_beta": mapping.get("w_avg_beta", 0.995 if era_ada else 0.998, "mapping")}
    return finish(out, kwargs, mapping), {**notes, **kwargs.harmless}


def discriminator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of an official StyleGAN2 discriminator; as `generator_arguments`."""
    kwargs = Arguments(net, ("c_dim", "img_resolution", "img_channels"), nested=("block_kwargs",))
    mapping = kwargs.part("mapping_kwargs", "mapping")
    epilogue = kwargs.part("epilogue_kwargs", "b4")
    resolution = kwargs.whole("img_resolution", 0, "")
    top = f"b{resolution}"
    out = {
        "resolution": resolution,
        "img_channels": kwargs.whole("img_channels", 3, ""),
        "label_dim": kwargs.whole("c_dim", 0, ""),
        "channel_base": kwargs.whole("channel_base", 32768),
        "channel_max": kwargs.whole("channel_max", 512),
        "d_arch": kwargs.choice("architecture", "resnet", top, ARCHITECTURES),
        "activation": kwargs.choice("activation", "lrelu", f"{top}.conv0", ACTIVATIONS),
        "resample_filter": fir_taps(kwargs.get("resample_filter", DEFAULT_FIR)),
        "conv_clamp": clamp_bound(kwargs.get("conv_clamp", 256, f"{top}.conv0")),
        "num_lowp_res": kwargs.whole("num_fp16_res", 4),
        "d_mapping_layers": mapping.whole("num_layers", 8, "mapping"),
        "d_mapping_lr_mult": mapping.number("lr_multiplier", 0.01, "mapping.fc0", "bias_gain"),
        "cmap_dim": kwargs.optional("cmap_dim", None),
        "mbstd_group": epilogue.optional("mbstd_group_size", 4, "b4.mbstd", "group_size") or WHOLE_BATCH,
        "mbstd_channels": epilogue.whole("mbstd_num_channels", 1, "b4.mbstd", "num_channels"),
    }
    epilogue.choice("activation", "lrelu", "b4.conv", (out["activation"],))
    mapping.choice("activation", "lrelu", "mapping.fc0", ("lrelu",))
    default = channels(out, 4)
    for name in ("embed_features", "layer_features"):
        if mapping.get(name, None) not in (None, out["cmap_dim"] or default):
            raise BadCheckpointError("", f"{mapping.label}: {name} differs from cmap_dim, which is not supported")
    if not out["label_dim"] or out["cmap_dim"] in (None, default):
        out["cmap_dim"] = 0
    return finish(out, kwargs, mapping, epilogue), kwargs.harmless


def merge_arguments(g: Mapping[str, Any] | None, d: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return one model configuration for both networks.

    Args:
        g: keys of the generator, or None.
        d: keys of the discriminator, or None.

    Returns:
        Every key of a model configuration, JSON-ready.

    Raises:
        BadCheckpointError: the two describe images or blocks that one configuration cannot hold.
    """
    if g and d:
        clash = [key for key in SHARED if key in g and g[key] != d.get(key, DEFAULTS[key])]
        clash += ["stylegan1"] * ("stylegan1" in g and _blur(g) != _blur(d))
        if "channel_base" in g and any(channels(g, r) != channels(d, r) for r in resolutions(g)):
            clash.append("channel_base")
        if clash:
            pairs = ", ".join(f"{key} ({g[key]} and {d.get(key, DEFAULTS[key])})" for key in clash)
            raise BadCheckpointError("", f"generator and discriminator differ in {pairs}; convert one with --nets")
    return {**DEFAULTS, **(d or {}), **(g or {})}


def _blur(arguments: Mapping[str, Any]) -> list[float]:
    return arguments["stylegan1"]["blur_filter"]


def official_kwargs(arguments: Mapping[str, Any], net: str, w_avg_beta: float = 0.998) -> dict[str, Any]:
    """Return the constructor arguments of the official StyleGAN2 network in PyTorch, flat form.

    Args:
        arguments: a full model configuration.
        net: 'g', 'g_ema' or 'd'.
        w_avg_beta: decay of the running mean of w.
    """
    a = arguments
    common = {
        "c_dim": a["label_dim"],
        "img_resolution": a["resolution"],
        "img_channels": a["img_channels"],
        "channel_base": a["channel_base"],
        "channel_max": a["channel_max"],
        "num_fp16_res": a["num_lowp_res"],
        "conv_clamp": a["conv_clamp"] or None,
        "architecture": a["d_arch" if net == "d" else "g_arch"],
    }
    if net == "d":
        group = a["mbstd_group"] if a["mbstd_group"] < WHOLE_BATCH else None
        return {
            **common,
            "cmap_dim": a["cmap_dim"] or None,
            "block_kwargs": {"activation": a["activation"], "resample_filter": list(a["resample_filter"])},
            "mapping_kwargs": {"num_layers": a["d_mapping_layers"], "lr_multiplier": a["d_mapping_lr_mult"]},
            "epilogue_kwargs": {
                "activation": a["activation"],
                "mbstd_group_size": group,
                "mbstd_num_channels": a["mbstd_channels"],
            },
        }
    mapping = {
        "num_layers": a["mapping_layers"],
        "embed_features": a["mapping_embed_dim"] or None,
        "layer_features": a["mapping_layer_dim"] or None,
        "lr_multiplier": a["mapping_lr_mult"],
        "w_avg_beta": w_avg_beta,
    }
    own = {key: a[key] for key in ("z_dim", "w_dim", "use_noise", "activation")}
    return {**common, **own, "resample_filter": list(a["resample_filter"]), "mapping_kwargs": mapping}


class Arguments:
    """Constructor arguments that remember which of them were used.

    Args:
        net: the official network.
        names: of its positional arguments.
        nested: arguments that are dicts of further arguments.
    """

    def __init__(self, net: OfficialNet, names: tuple[str, ...], nested: tuple[str, ...] = ()):
        self.attributes = net.attributes
        self.label = net.class_name
        self.left = dict(zip(names, net.init_args, strict=False))
        if len(net.init_args) > len(names):
            raise BadCheckpointError("", f"{self.label} was built with {len(net.init_args)} positional arguments")
        self._take(dict(net.init_kwargs))
        for key in nested:
            self._take(self._dict(key))
        self.harmless: dict[str, Any] = {key: self.left.pop(key) for key in HARMLESS if key in self.left}

    def _dict(self, key: str) -> dict[str, Any]:
        value = self.left.pop(key, None) or {}
        if not isinstance(value, dict):
            raise BadCheckpointError("", f"{self.label}: {key} is a {type(value).__name__}, not a dict")
        return value

    def _take(self, more: dict[str, Any]) -> None:
        twice = sorted(set(more) & set(self.left))
        if twice:
            raise BadCheckpointError("", f"{self.label} has the argument {twice[0]} twice")
        self.left.update(more)

    def part(self, key: str, label: str) -> Arguments:
        """Return the arguments of a sub-network that has a dict of its own."""
        return Arguments(OfficialNet(f"{self.label}.{label}", 0, (), self._dict(key), {}, {}, self.attributes), ())

    def get(self, name: str, default: Any, module: str | None = None, attribute: str = "") -> Any:
        """Return an argument; `module` names where the built network repeats it."""
        given = self.left.pop(name, _MISSING)
        stored = self.attributes.get(module, {}).get(attribute or name, _MISSING) if module is not None else _MISSING
        if given is not _MISSING and stored is not _MISSING and given != stored:
            raise BadCheckpointError("", f"{self.label}: {name} is {given!r} but the network was built with {stored!r}")
        return next((v for v in (given, stored) if v is not _MISSING), default)

    def whole(self, name: str, default: int, module: str | None = None, attribute: str = "") -> int:
        """Return an argument that counts something."""
        value = self.get(name, default, module, attribute)
        if type(value) is not int or not 0 <= value < 1 << 31:
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}, not a count")
        return value

    def optional(self, name: str, default: int | None, module: str | None = None, attribute: str = "") -> int | None:
        """Return an argument that is a count or None."""
        value = self.get(name, default, module, attribute)
        if value is not None and (type(value) is not int or not 0 <= value < 1 << 31):
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}, neither a count nor None")
        return value

    def number(self, name: str, default: float, module: str, attribute: str) -> float:
        """Return an argument that is a number."""
        value = self.get(name, default, module, attribute)
        if type(value) not in (int, float):
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}, not a number")
        return float(value)

    def choice(self, name: str, default: str, module: str, known: tuple[str, ...]) -> str:
        """Return an argument that must be one of `known`."""
        value = self.get(name, default, module)
        if value not in known:
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}; known are {', '.join(known)}")
        return value

    def fixed(self, name: str, value: Any) -> None:
        """Require `value`, which is also the default."""
        if self.get(name, value) != value:
            raise BadCheckpointError("", f"{self.label}: {name} differs from {value!r}, which is not supported")


def fir_taps(value: Any) -> list[float]:
    """Return the taps of a resampling filter, checked."""
    if not isinstance(value, list | tuple) or not value or not all(isinstance(t, int | float) for t in value):
        raise BadCheckpointError("", f"resample_filter is {value!r:.80}; only a list of taps is supported")
    return [int(t) if float(t).is_integer() else float(t) for t in value]


def clamp_bound(value: Any) -> float:
    """Return the clamp, checked; 0 for None."""
    if value is not None and (not isinstance(value, int | float) or not value > 0):
        raise BadCheckpointError("", f"conv_clamp is {value!r:.80}; it must be a positive number or None")
    return float(value or 0)


def finish(out: dict[str, Any], *parts: Arguments) -> dict[str, Any]:
    """Check the numbers that the tables rely on, and that no argument was ignored."""
    for part in parts:
        if part.left:
            unknown = ", ".join(sorted(map(str, part.left)))
            raise BadCheckpointError(
                "", f"{part.label} has arguments that change the network and are not known: {unknown}"
            )
    check_arguments(out)
    return out


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Check the model configuration keys that the tables read; others pass.

    Raises:
        BadCheckpointError: naming the key.
    """
    _check_types(arguments, DEFAULTS, "")
    full = {**DEFAULTS, **arguments}
    resolution = full["resolution"]
    if not 8 <= resolution <= 1 << 14 or resolution & (resolution - 1):
        raise BadCheckpointError("", f"resolution {resolution} is not a power of two between 8 and 16384")
    if channels(full, resolution) < 1:
        raise BadCheckpointError("", f"channel_base {full['channel_base']} leaves no channels at {resolution}")
    if max(full["mapping_layers"], full["d_mapping_layers"]) > 1000:
        raise BadCheckpointError("", "more than 1000 mapping layers")
    for key, known in {"g_arch": ARCHITECTURES, "d_arch": ARCHITECTURES, "activation": ACTIVATIONS}.items():
        if full[key] not in known:
            raise BadCheckpointError("", f"{key} is {full[key]!r:.80}; known are {', '.join(known)}")
    fir_taps(full["resample_filter"])
    if full["arch"] == "stylegan3":
        check_stylegan3(full)
    if full["arch"] == "stylegan1":
        _check_model(full)


def _check_types(arguments: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str) -> None:
    for key, default in defaults.items():
        value: Any = arguments.get(key, default)
        want = type(default)
        value = list(value) if isinstance(value, tuple) else value
        if type(value) is not want and not (want is float and type(value) is int):
            raise BadCheckpointError("", f"argument {prefix}{key} is {value!r:.80}, not of the type {want.__name__}")
        if (want is int and not 0 <= value < 1 << 31) or (want is float and not math.isfinite(value)):
            raise BadCheckpointError("", f"argument {prefix}{key} is {value}")
        if isinstance(value, dict):
            _check_types(value, default, f"{prefix}{key}.")


LIMITS = {"num_layers": 100, "filter_size": 32, "lrelu_upsampling": 8, "margin_size": 1000, "conv_kernel": 31}
"""Largest values of model.stylegan3 that a file may ask for."""


def check_stylegan3(arguments: Mapping[str, Any]) -> None:
    """Check that the keys of model.stylegan3 permit a layer plan of a sane size.

    Raises:
        BadCheckpointError: naming the key.
    """
    own = arguments["stylegan3"]
    for key, limit in LIMITS.items():
        if own[key] > limit:
            raise BadCheckpointError("", f"argument stylegan3.{key} is {own[key]}; at most {limit}")
    _check_model(arguments)


def _check_model(arguments: Mapping[str, Any]) -> None:
    try:
        model_from_dict(arguments)
    except ConfigError as error:
        raise BadCheckpointError("", str(error)) from None
