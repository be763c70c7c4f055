"""Other projects' encoders: the .pt files of encoder4editing, pixel2style2pixel and ReStyle (all MIT), read as data.

They contain {'state_dict': 'encoder.*' and 'decoder.*', 'latent_avg', 'opts'}. The decoder is rosinality's StyleGAN2,
which `convert_pickle` and `load_model` read from the same file (see `rosinality`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from stylegan_jax.base.spec import Variables
from stylegan_jax.base.trees import flatten, unflatten
from stylegan_jax.config.encoder import KINDS, EncoderConfig
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import listing, read_state_file
from stylegan_jax.encoders import resnet
from stylegan_jax.encoders.bodies import BODIES
from stylegan_jax.encoders.encoder import FINE, MIDDLE, Encoder, EncoderSpec, make_encoder
from stylegan_jax.features import irse

TYPES = {
    "Encoder4Editing": "e4e",
    "ProgressiveBackboneEncoder": "e4e",
    "ResNetProgressiveBackboneEncoder": "e4e",
    "GradualStyleEncoder": "psp",
    "BackboneEncoder": "psp",
    "ResNetBackboneEncoder": "psp",
    "ResNetGradualStyleEncoder": "psp",
    "SingleStyleCodeEncoder": "w",
    "BackboneEncoderUsingLastLayerIntoW": "w",
}
"""`opts.encoder_type` -> kind; the arrays determine the rest."""
ITERATIONS = 5
"""Iterations of published ReStyle encoders."""
CARS = (192, 256)
"""Height and width of images if `opts.dataset_type` names cars; otherwise both are 256."""


class ForeignEncoder(NamedTuple):
    """An encoder from a file.

    Attributes:
        encoder: its functions and spec.
        variables: its arrays; the average image of a residual encoder is zero, because only the generator can draw it.
        config: the keys that build it.
        notes: what was inferred, assumed or skipped, as lines.
    """

    encoder: Encoder
    variables: Variables
    config: EncoderConfig
    notes: tuple[str, ...]


def read_encoder(path: str | os.PathLike[str], kind: str | None = None) -> ForeignEncoder:
    """Read an encoder of e4e, pSp or ReStyle.

    Args:
        path: a .pt file.
        kind: 'e4e', 'psp' or 'w', for a file without `encoder_type`; None: that of the file.

    Raises:
        BadCheckpointError: the file is missing, damaged, hostile, not an encoder, or an encoder of another kind.
    """
    tensors, beside = read_state_file(path)
    own = {name.removeprefix("encoder."): x for name, x in tensors.items() if name.startswith("encoder.")}
    try:
        return _encoder(own or tensors, beside, kind)
    except BadCheckpointError as error:
        raise BadCheckpointError(path, error.reason) from None


def tensor_name(config: EncoderConfig, path: Sequence[str]) -> str:
    """Return the published name of an encoder's array by its path, such as ('params', 'styles', 'style3', …)."""
    _, part, *rest = path
    if part == "body":
        return resnet.tensor_name(rest) if config.body == "resnet34" else irse.tensor_name(rest)
    if part == "lateral":
        return f"latlayer{rest[0].removeprefix('map')}.{rest[1]}"
    slot, layer, leaf = rest
    block = "" if config.kind == "w" else f"styles.{slot.removeprefix('style')}."
    return f"{block}linear.{leaf}" if layer == "dense" else f"{block}convs.{2 * int(layer.removeprefix('conv'))}.{leaf}"


def _encoder(tensors: dict[str, np.ndarray], beside: Mapping[str, Any], kind: str | None) -> ForeignEncoder:
    tensors = {name: x for name, x in tensors.items() if not name.endswith("num_batches_tracked")}
    opts = beside.get("opts")
    told = opts if isinstance(opts, Mapping) else {}
    config, spec, notes = _described(tensors, told, beside.get("latent_avg"), kind)
    encoder = make_encoder(spec, BODIES[config.body](config))
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    out: dict[str, np.ndarray] = {}
    used = set()
    for name, leaf in flatten({part: shapes[part] for part in ("params", "batch_stats")}).items():
        theirs = tensor_name(config, name.split("/"))
        if theirs not in tensors:
            raise BadCheckpointError("", f"lacks the array encoder.{theirs} of {config.kind} with {spec.num_ws} styles")
        value = irse.rearranged(tensors[theirs], len(leaf.shape)).astype(np.float32)
        if value.shape != leaf.shape:
            shape = list(tensors[theirs].shape)
            raise BadCheckpointError("", f"encoder.{theirs} has the impossible shape {shape} in {config.kind}")
        if not np.isfinite(value).all():
            raise BadCheckpointError("", f"encoder.{theirs} holds NaN or infinity; the file is damaged")
        out[name] = value
        used.add(theirs)
    idle = {name for name in tensors if name.startswith("latlayer")} - used
    if left := set(tensors) - used - idle:
        raise BadCheckpointError("", f"has arrays that this encoder does not have: {listing(left)}")
    if idle:
        notes.append(f"{listing(idle)}: skipped, because {spec.num_ws} styles do not read these maps")
    variables = unflatten(out) | {"average": jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes["average"])}
    variables["average"]["w"] = _average(beside.get("latent_avg"), spec)
    return ForeignEncoder(encoder, variables, config, tuple(notes))


def _described(
    tensors: Mapping[str, np.ndarray], opts: Mapping[str, Any], mean: Any, kind: str | None
) -> tuple[EncoderConfig, EncoderSpec, list[str]]:
    """Return (keys, spec, notes) inferred from arrays and settings."""
    notes: list[str] = []
    says = opts.get("encoder_type")
    kind = kind or TYPES.get(says if isinstance(says, str) else "") or ("w" if "linear.weight" in tensors else None)
    if kind not in KINDS:
        told = f"has encoder_type={says!r:.60}" if says else "has no encoder_type"
        raise BadCheckpointError(
            "", f"{told}; known are {', '.join(TYPES)}: pass kind='e4e' or 'psp', which have the same arrays"
        )
    body, units, widths, squeeze, channels = _body(tensors)
    slots = sum(re.fullmatch(r"styles\.\d+\.linear\.weight", name) is not None for name in tensors)
    num_ws = _slots(opts, mean) if kind == "w" else slots
    dense = tensors.get("linear.weight" if kind == "w" else "styles.0.linear.weight")
    if not num_ws or dense is None or dense.ndim != 2:
        raise BadCheckpointError("", "has no style blocks encoder.styles.N, so it is not an encoder of e4e or pSp")
    pyramid = "latlayer1.weight" in tensors
    residual = channels == 6 and not opts.get("label_nc")
    starts = bool(opts.get("start_from_latent_avg", mean is not None)) or residual
    cars = "cars" in str(opts.get("dataset_type", ""))
    if cars:
        notes.append(f"its images are {CARS[0]}x{CARS[1]}, because dataset_type is {opts['dataset_type']!r:.60}")
    config = EncoderConfig(
        kind=kind,
        body=body,
        body_units=units,
        body_widths=widths,
        body_squeeze=squeeze,
        image_size=CARS if cars else (256, 256),
        width=dense.shape[1],
        pyramid=pyramid or kind == "w",
        residual=residual,
        iterations=ITERATIONS if residual else 1,
        start_from_average=starts,
    )
    read = [slot for slot in (0, MIDDLE, FINE) if slot < slots and (pyramid or not slot)]
    halvings = tuple(_convolutions(tensors, slot) for slot in read) or (0,)
    spec = EncoderSpec(
        (*config.image_size, channels // (2 if residual else 1)),
        num_ws,
        dense.shape[0],
        kind,
        body,
        config.width,
        halvings,
        config.pyramid,
        residual,
        config.iterations,
        starts,
    )
    return config, spec, notes


def _body(tensors: Mapping[str, np.ndarray]) -> tuple[str, tuple[int, ...], tuple[int, ...], int, int]:
    """Return (name, units of each group, their widths, squeeze ratio, input channels) of a body."""
    first, name = ("conv1.weight", "resnet34") if "conv1.weight" in tensors else ("input_layer.0.weight", "ir_se50")
    last = "body.{}.conv2.weight" if name == "resnet34" else "body.{}.res_layer.3.weight"
    outputs = []
    while (kernel := tensors.get(last.format(len(outputs)))) is not None and kernel.ndim == 4:
        outputs.append(kernel.shape[0])
    stem = tensors.get(first)
    if stem is None or stem.ndim != 4 or not outputs:
        raise BadCheckpointError("", "has neither the arrays of IR-SE nor of ResNet34 below 'encoder.'")
    counts = (
        resnet.BLOCKS if name == "resnet34" else next((c for c in irse.UNITS.values() if sum(c) == len(outputs)), ())
    )
    if sum(counts) != len(outputs):
        raise BadCheckpointError("", f"has a body of {len(outputs)} units; known are 24, 49 and 50, and 16 of ResNet34")
    if name != "resnet34":
        name = f"ir_se{next(depth for depth, c in irse.UNITS.items() if c == counts)}"
    ends = [sum(counts[: k + 1]) - 1 for k in range(4)]
    narrow = tensors.get("body.0.res_layer.5.fc1.weight")
    squeeze = outputs[0] // narrow.shape[0] if narrow is not None and narrow.ndim == 4 else 0
    return name, tuple(counts), tuple(outputs[end] for end in ends), squeeze, stem.shape[1]


def _convolutions(tensors: Mapping[str, np.ndarray], slot: int) -> int:
    return sum(re.fullmatch(rf"styles\.{slot}\.convs\.\d+\.weight", name) is not None for name in tensors)


def _slots(opts: Mapping[str, Any], mean: Any) -> int:
    """Return the style slots of a one-style encoder, from the generator's size or the average's rows; 0 if unknown."""
    size = opts.get("stylegan_size", opts.get("output_size"))
    if isinstance(size, int) and size >= 4:
        return 2 * size.bit_length() - 4
    return len(mean) if isinstance(mean, np.ndarray) and mean.ndim == 2 else 0


def _average(mean: Any, spec: EncoderSpec) -> np.ndarray:
    """Return `latent_avg`, which has l rows or one, as float32[l, w]; zeros if the encoder does not start from it."""
    if mean is None:
        if spec.start_from_average:
            raise BadCheckpointError("", "has no latent_avg, which this encoder starts from")
        return np.zeros((spec.num_ws, spec.w_dim), np.float32)
    rows = np.asarray(mean)
    if rows.shape not in ((spec.w_dim,), (1, spec.w_dim), (spec.num_ws, spec.w_dim)) or not np.isfinite(rows).all():
        raise BadCheckpointError(
            "", f"latent_avg has shape {list(rows.shape)}, which does not fit {spec.num_ws} styles"
        )
    return np.array(np.broadcast_to(rows, (spec.num_ws, spec.w_dim)), np.float32)
