"""The arguments of official StyleGAN-XL networks, inferred from their layers, in both directions.

The constructor arguments do not suffice: in a super-resolution file they are still those of its stem. But each layer
stores its own numbers, and `synthesis.layer_names` is the order of execution.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.config.arch.stylegan3 import LayerPlan
from stylegan_jax.config.arch.stylegan_xl import make_plan
from stylegan_jax.convert.arguments import stylegan3
from stylegan_jax.convert.arguments.shared import check_arguments, clamp_bound, finish
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet

BASE_PER_CHANNEL = 64
"""Published channel_base / channel_max (65536 / 1024, 32768 / 512), used if no layer shows the base."""
DEFAULTS = {"first_stopband": 2**2.1, "last_stopband_rel": 2**0.3}
_NAME = re.compile(r"L(\d{1,4})_(\d{1,5})_(\d{1,6})")
_MAX_LAYERS = 500


class Layer(NamedTuple):
    """A layer of a file: its number, its official name, and its attributes."""

    index: int
    name: str
    numbers: Mapping[str, Any]

    def number(self, key: str) -> float:
        """Return a required positive number."""
        value = self.numbers.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1 << 31:
            raise BadCheckpointError(
                "",
                f"synthesis.{self.name} has {key}={value!r:.80}; in official files it is a positive number",
            )
        return value

    @property
    def is_critical(self) -> bool:
        """Whether the layer is critically sampled; a further stage would remove it."""
        return self.numbers.get("is_critically_sampled") is True


def generator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of an official generator: a stem, or any number of stages on one.

    Args:
        net: the whole network; only the shapes of arrays and the attributes of layers are read.

    Returns:
        The keys that a generator determines, and notes: facts worth keeping that do not change the network.

    Raises:
        BadCheckpointError: layers lack their numbers, or the numbers do not follow from any stages.
    """
    layers = _layers(net)
    shapes = {name: value.shape for name, value in net.tensors.items()}
    out = {"arch": "stylegan_xl", "img_channels": _shape(shapes, f"synthesis.{layers[-1].name}.weight", 4)[0]}
    out |= _mapping(net, shapes) | _synthesis(net, layers)
    rows, size = _shape(shapes, "mapping.embed.weight", 2)
    out["stylegan_xl"] |= {"embed_rows": rows, "embed_dim": size}
    finish(out)
    _check_layers(out, layers)
    mapping = net.attributes.get("mapping", {})
    notes = {
        "w_avg_beta": mapping.get("w_avg_beta", 0.998),
        "magnitude_ema_beta": layers[0].numbers.get("magnitude_ema_beta", 0.999),
    }
    return out, notes


def official_kwargs(arguments: Mapping[str, Any], net: str, w_avg_beta: float = 0.998) -> dict[str, Any]:
    """Return the official network's arguments: those of the stem, and the stages added to it in turn.

    Args:
        arguments: a full model configuration.
        net: 'g' or 'g_ema'.
        w_avg_beta: decay of the running means of w.
    """
    stages = arguments["stylegan_xl"]
    pairs = zip(stages["up_factors"], stages["head_layers"], strict=True)
    return stylegan3.official_kwargs(arguments, net, w_avg_beta) | {
        "img_resolution": arguments["resolution"] // math.prod(stages["up_factors"]),
        "stages": [{"up_factor": up, "head_layers": layers} for up, layers in pairs],
    }


def _layers(net: OfficialNet) -> list[Layer]:
    """Return the layers in the order of execution, which is not the alphabetical order of their names."""
    names = net.attributes.get("synthesis", {}).get("layer_names")
    if not isinstance(names, list | tuple) or not 3 <= len(names) <= _MAX_LAYERS:
        raise BadCheckpointError(
            "",
            "synthesis has no layer_names, the order of its layers; pass the whole network, as official files store "
            "it, not only its arrays",
        )
    layers = []
    for name in names:
        found = _NAME.fullmatch(name) if isinstance(name, str) else None
        if found is None or f"synthesis.{name}" not in net.attributes:
            raise BadCheckpointError("", f"synthesis.layer_names has {name!r:.80}, which is not one of its layers")
        layers.append(Layer(int(found[1]), name, net.attributes[f"synthesis.{name}"]))
    return layers


def _mapping(net: OfficialNet, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the mapping network's keys, except those of its table of embeddings, which exists even without labels."""
    w_avg = shapes.get("mapping.w_avg", ())
    label_dim = w_avg[0] if len(w_avg) == 2 else 0
    width, inputs = _shape(shapes, "mapping.fc0.weight", 2)
    count = sum(re.fullmatch(r"mapping\.fc\d+\.weight", name) is not None for name in shapes)
    embedded = _shape(shapes, "mapping.embed_proj.weight", 2)[0] if label_dim else 0
    w_dim = _shape(shapes, f"mapping.fc{count - 1}.weight", 2)[0]
    z_dim = inputs - embedded
    lr_mult = net.attributes.get("mapping.fc0", {}).get("bias_gain", 0.01)
    if not isinstance(lr_mult, int | float) or not 0 < lr_mult < 1e6:
        raise BadCheckpointError("", f"mapping.fc0 has bias_gain={lr_mult!r:.80}, not a positive number")
    return {
        "label_dim": label_dim,
        "z_dim": z_dim,
        "w_dim": w_dim,
        "mapping_layers": count,
        "mapping_layer_dim": 0 if width == w_dim else width,
        "mapping_embed_dim": 0 if embedded == z_dim else embedded,
        "mapping_lr_mult": float(lr_mult),
    }


def _synthesis(net: OfficialNet, layers: list[Layer]) -> dict[str, Any]:
    """Return the keys of the synthesis network."""
    attributes = net.attributes["synthesis"]
    first = layers[0]
    critical = sum(layer.is_critical for layer in layers) - 1
    if critical < 1 or not all(layer.is_critical for layer in layers[-critical - 1 :]):
        raise BadCheckpointError("", "its last layers are not critically sampled, unlike those of official networks")
    parts = _parts(layers)
    heights = [_height(part, critical, is_last=part is parts[-1]) for part in parts]
    last = layers[-2]
    cutoffs = {"first_cutoff": first.number("out_cutoff")}
    cutoffs["last_stopband_rel"] = 1 + last.number("out_half_width") / last.number("out_cutoff")
    rate = first.number("out_sampling_rate")
    stopband = first.number("out_half_width") + first.number("out_cutoff")
    if stopband > rate / 2 * (1 + 1e-9):
        cutoffs["first_stopband"] = stopband  # at half the rate, the layer does not show the stopband
    own = DEFAULTS | {key: _snapped(value, DEFAULTS.get(key, value)) for key, value in cutoffs.items()}
    wide = [layer for layer in layers[:-1] if not layer.numbers.get("is_torgb")]
    enlarging = next(layer for layer in wide if layer.number("up_factor") > 1)
    rates = max(first.number("in_sampling_rate"), rate)
    return {
        "resolution": heights[-1],
        "conv_clamp": clamp_bound(_common(layers, "conv_clamp", 256)),
        "num_lowp_res": attributes.get("num_fp16_res", 4),
        "stylegan_xl": {
            "up_factors": [b // a for a, b in itertools.pairwise(heights)],
            "head_layers": [len(part) + critical for part in parts[1:-1]] + [len(parts[-1]) - 1] * (len(parts) > 1),
        },
        "stylegan3": {
            **own,
            "num_layers": len(parts[0]) + (critical if len(parts) > 1 else -1),
            "num_critical": critical,
            "margin_size": attributes.get("margin_size", 10),
            "output_scale": float(attributes.get("output_scale", 0.25)),
            "conv_kernel": int(first.number("conv_kernel")),
            "filter_size": int(enlarging.number("up_taps") // enlarging.number("up_factor")),
            "lrelu_upsampling": int(first.number("tmp_sampling_rate") // rates),
            "use_radial_filters": any(layer.numbers.get("down_radial") is True for layer in layers),
            **_channels(net, wide),
            "magnitude_ema_kimg": 20.0,
        },
    }


def _parts(layers: list[Layer]) -> list[list[Layer]]:
    """Return the layers of the stem and of each stage; all but the last have lost those that the next stage replaced.

    A stage begins with a layer that keeps the cutoff; the critically sampled layers at the end keep it too.
    """
    starts = [0]
    for i, layer in enumerate(layers[1:], 1):
        keeps = math.isclose(layer.number("in_cutoff"), layer.number("out_cutoff"), rel_tol=1e-9)
        if keeps and not layer.is_critical:
            starts.append(i)
    parts = [layers[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    expected = list(range(len(layers) + (len(parts) > 1)))
    if len(parts) > 1:
        expected.remove(len(parts[0]))
    if [layer.index for layer in layers] != expected:
        raise BadCheckpointError(
            "", f"its layers are numbered {[layer.index for layer in layers]!s:.200}; the stages need {expected!s:.200}"
        )
    return parts


def _height(part: list[Layer], critical: int, *, is_last: bool) -> int:
    """Return the height of the images of a stem or a stage."""
    if is_last:
        size = part[-1].numbers.get("out_size")
        height = np.ravel(np.asarray(size if isinstance(size, np.ndarray | list | tuple | int) else 0))[-1]
    elif len(part) < 2:
        raise BadCheckpointError(
            "", f"the stage of synthesis.{part[0].name} kept only that layer, which does not determine its resolution"
        )
    else:
        start, step = part[0].number("out_cutoff"), part[1].number("out_cutoff")
        height = 2 * start * (step / start) ** len(part)
    if not 4 <= height <= 1 << 20 or abs(height - round(float(height))) > 1e-6 * height:
        raise BadCheckpointError(
            "", f"the layers up to synthesis.{part[-1].name} lead to images of height {height}, which is impossible"
        )
    return round(float(height))


def _channels(net: OfficialNet, wide: list[Layer]) -> dict[str, int]:
    """Return channel_base and channel_max from the layers, or the published base if no layer shows it."""
    most = max(int(layer.number("out_channels")) for layer in wide)
    low, high = 1.0, math.inf
    for layer in wide:
        count, cutoff = layer.number("out_channels"), layer.number("out_cutoff")
        low = max(low, 2 * cutoff * (count - 0.5))
        high = min(high, 2 * cutoff * (count + 0.5)) if count < most else high
    nested: Any = net.init_kwargs.get("synthesis_kwargs")
    given = net.init_kwargs.get("channel_base", nested.get("channel_base") if isinstance(nested, dict) else None)
    published = most * BASE_PER_CHANNEL
    for base in (given, published, 1 << math.ceil(math.log2(low)), math.ceil(low)):
        if isinstance(base, int) and low <= base <= high:
            return {"channel_base": base, "channel_max": most}
    raise BadCheckpointError("", "the channels of its layers do not follow from one channel_base and channel_max")


def _common(layers: list[Layer], key: str, default: Any) -> Any:
    """Return the value of an attribute that all layers share.

    Raises:
        BadCheckpointError: layers differ, as when a head is on a stem with an older configuration.
    """
    found = [layer.numbers.get(key, default) for layer in layers]
    other = next((i for i, value in enumerate(found) if value != found[0]), None)
    if other is not None:
        raise BadCheckpointError(
            "", f"{key} is {found[0]!r:.80} in {layers[0].name} but {found[other]!r:.80} in {layers[other].name}"
        )
    return found[0]


def _snapped(value: float, usual: float) -> float:
    """Return the usual number if the value equals it up to rounding, or the value."""
    return usual if math.isclose(value, usual, rel_tol=1e-6) else value


def _check_layers(arguments: Mapping[str, Any], layers: list[Layer]) -> None:
    """Check that a configuration's layer plan agrees with a file, number for number.

    Raises:
        BadCheckpointError: they differ; the message names the first difference.
    """
    planned = make_plan(check_arguments(arguments)).layers
    names = [p.official_name for p in planned]
    if names != [layer.name for layer in layers]:
        other = next((a for a, b in zip(layers, names, strict=False) if a.name != b), layers[-1])
        raise BadCheckpointError(
            "", f"its stages lead to the layers {', '.join(names):.300}; it has {other.name} instead"
        )
    for p, layer in zip(planned, layers, strict=True):
        for key, wanted in _carried(p).items():
            value = layer.numbers.get(key, wanted)
            value = np.asarray(value if isinstance(value, np.ndarray | list | tuple | int | float) else np.nan)
            if value.dtype.kind not in "biuf" or value.size > 8 or not _is_close(value, np.asarray(wanted)):
                raise BadCheckpointError(
                    "", f"synthesis.{p.official_name} has {key}={value!s:.80}; its stages need {wanted}"
                )


def _is_close(value: np.ndarray, wanted: np.ndarray) -> bool:
    """Return whether numbers are equal up to rounding; a square's size may be one number."""
    return value.shape in ((), wanted.shape) and bool(np.allclose(value, wanted, rtol=1e-6, atol=0))


def _carried(p: LayerPlan) -> dict[str, Any]:
    """Return a layer's attributes in official files."""
    sides = {"in": p.source, "out": p.out}
    numbers: dict[str, Any] = {}
    for side, signal in sides.items():
        numbers |= {
            f"{side}_channels": signal.channels,
            f"{side}_size": signal.size[::-1],
            f"{side}_sampling_rate": signal.rate,
            f"{side}_cutoff": signal.cutoff,
            f"{side}_half_width": signal.half_width,
        }
    return numbers | {
        "tmp_sampling_rate": p.tmp_rate,
        "up_factor": p.up,
        "down_factor": p.down,
        "up_taps": p.up_taps,
        "down_taps": p.down_taps,
        "down_radial": p.radial and p.down_taps > 1,
        "is_torgb": p.is_rgb,
        "is_critically_sampled": p.is_critical,
        "conv_kernel": p.kernel,
        "padding": p.padding,
        "use_fp16": p.is_lowp,
    }


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str, rank: int) -> tuple[int, ...]:
    """Return the shape of a required array.

    Raises:
        BadCheckpointError: it is missing, of another rank, or empty.
    """
    shape = shapes.get(name)
    if shape is None:
        raise BadCheckpointError("", f"{name} is missing")
    if len(shape) != rank or not all(shape):
        raise BadCheckpointError("", f"{name} is {list(shape)}; it must have {rank} axes and be not empty")
    return shape
