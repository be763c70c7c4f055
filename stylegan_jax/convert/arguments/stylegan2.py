"""Constructor arguments of official StyleGAN2 networks in PyTorch, in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stylegan_jax.convert.arguments.shared import (
    ACTIVATIONS,
    ARCHITECTURES,
    WHOLE_BATCH,
    Arguments,
    canvas,
    channels,
    clamp_bound,
    finish,
    fir_taps,
    mapping_widths,
)
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet
from stylegan_jax.convert.stylegan2 import DEFAULT_FIR


def generator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of an official StyleGAN2 generator.

    Args:
        net: PyTorch-era generator; constructor arguments flat, or nested in `synthesis_kwargs` and `mapping_kwargs`.

    Returns:
        The keys that a generator determines, and notes: facts worth keeping that do not change the network.

    Raises:
        BadCheckpointError: an argument is unknown, or sources contradict each other.
    """
    names = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
    era_ada = "synthesis_kwargs" in net.init_kwargs
    kwargs = Arguments(net, names, nested=("synthesis_kwargs", "block_kwargs", "layer_kwargs"))
    mapping = kwargs.part("mapping_kwargs", "mapping")
    out = canvas(kwargs) | {
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
    out |= mapping_widths(mapping, out["w_dim"])
    notes = {"w_avg_beta": mapping.get("w_avg_beta", 0.995 if era_ada else 0.998, "mapping")}
    return finish(out, kwargs, mapping), {**notes, **kwargs.harmless}


def discriminator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of an official StyleGAN2 discriminator; see `generator_arguments`."""
    kwargs = Arguments(net, ("c_dim", "img_resolution", "img_channels"), nested=("block_kwargs",))
    mapping = kwargs.part("mapping_kwargs", "mapping")
    epilogue = kwargs.part("epilogue_kwargs", "b4")
    size = canvas(kwargs)
    top = f"b{size['resolution'] * 4 // size['base_size'][0]}"
    out = size | {
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
