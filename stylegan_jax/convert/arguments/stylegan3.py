"""Constructor arguments of official StyleGAN3 generators, in both directions; its discriminator is StyleGAN2's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stylegan_jax.convert.arguments import stylegan2
from stylegan_jax.convert.arguments.shared import Arguments, clamp_bound, finish, mapping_widths
from stylegan_jax.convert.pickles import OfficialNet

discriminator_arguments = stylegan2.discriminator_arguments
MAPPING_LAYERS = 2  # the default of this constructor


def generator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of an official StyleGAN3 generator.

    Args:
        net: PyTorch-era generator.

    Returns:
        The keys that a generator determines, and notes: facts worth keeping that do not change the network.

    Raises:
        BadCheckpointError: an argument is unknown, or sources contradict each other.
    """
    names = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
    kwargs = Arguments(net, names, nested=("synthesis_kwargs", "layer_kwargs"))
    mapping = kwargs.part("mapping_kwargs", "mapping")
    layer = next((name for name in net.attributes if name.startswith("synthesis.L0_")), "")
    kwargs.fixed("square", True)  # of StyleGAN-Human
    number = lambda name, default, module="": float(kwargs.number(name, default, module, name))
    out = {
        "arch": "stylegan3",
        "resolution": kwargs.whole("img_resolution", 0, ""),
        "img_channels": kwargs.whole("img_channels", 3, ""),
        "label_dim": kwargs.whole("c_dim", 0, ""),
        "z_dim": kwargs.whole("z_dim", 512, ""),
        "w_dim": kwargs.whole("w_dim", 512, ""),
        "conv_clamp": clamp_bound(kwargs.get("conv_clamp", 256, layer)),
        "num_lowp_res": kwargs.whole("num_fp16_res", 4, "synthesis"),
        "mapping_layers": mapping.whole("num_layers", MAPPING_LAYERS, "mapping"),
        "mapping_lr_mult": mapping.number("lr_multiplier", 0.01, "mapping.fc0", "bias_gain"),
        "stylegan3": {
            "num_layers": kwargs.whole("num_layers", 14, "synthesis"),
            "num_critical": kwargs.whole("num_critical", 2, "synthesis"),
            "first_cutoff": number("first_cutoff", 2),
            "first_stopband": number("first_stopband", 2**2.1),
            "last_stopband_rel": number("last_stopband_rel", 2**0.3),
            "margin_size": kwargs.whole("margin_size", 10, "synthesis"),
            "output_scale": number("output_scale", 0.25, "synthesis"),
            "conv_kernel": kwargs.whole("conv_kernel", 3, layer),
            "filter_size": kwargs.whole("filter_size", 6),
            "lrelu_upsampling": kwargs.whole("lrelu_upsampling", 2),
            "use_radial_filters": bool(kwargs.get("use_radial_filters", False)),
            "channel_base": kwargs.whole("channel_base", 32768),
            "channel_max": kwargs.whole("channel_max", 512),
            "magnitude_ema_kimg": 20.0,
        },
    }
    out |= mapping_widths(mapping, out["w_dim"])  # of forks with StyleGAN2's mapping network
    notes = {
        "w_avg_beta": mapping.get("w_avg_beta", 0.998, "mapping"),
        "magnitude_ema_beta": kwargs.get("magnitude_ema_beta", 0.999, layer),
    }
    return finish(out, kwargs, mapping), {**notes, **kwargs.harmless}


def official_kwargs(arguments: Mapping[str, Any], net: str, w_avg_beta: float = 0.998) -> dict[str, Any]:
    """Return the constructor arguments of the official network in PyTorch.

    Args:
        arguments: a full model configuration.
        net: 'g', 'g_ema' or 'd'.
        w_avg_beta: decay of the running mean of w.
    """
    if net == "d":
        return stylegan2.official_kwargs(arguments, net, w_avg_beta)
    a, own = arguments, dict(arguments["stylegan3"])
    del own["magnitude_ema_kimg"]
    return {
        "z_dim": a["z_dim"],
        "c_dim": a["label_dim"],
        "w_dim": a["w_dim"],
        "img_resolution": a["resolution"],
        "img_channels": a["img_channels"],
        "num_fp16_res": a["num_lowp_res"],
        "conv_clamp": a["conv_clamp"] or None,
        **own,
        "channel_base": own["channel_base"] or a["channel_base"],
        "channel_max": own["channel_max"] or a["channel_max"],
        "mapping_kwargs": {
            "num_layers": a["mapping_layers"],
            "lr_multiplier": a["mapping_lr_mult"],
            "w_avg_beta": w_avg_beta,
        },
    }
