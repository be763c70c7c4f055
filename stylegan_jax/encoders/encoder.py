"""The `Encoder` bundle: networks from images to the styles of a generator.

e4e (Tov et al. 2021, arXiv:2102.02766), pSp (Richardson et al. 2021, arXiv:2008.00951) and ReStyle (Alaluf et al. 2021,
arXiv:2104.02699), written from their papers and their MIT-licensed code. A body computes feature maps; a style block
    per
slot turns one of them into a style, for coarse slots the coarsest map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from stylegan_jax.base.spec import Variables
from stylegan_jax.encoders.bodies import Body
from stylegan_jax.layers.initial import Initial, draw, layer
from stylegan_jax.ops.conv import conv2d
from stylegan_jax.ops.norm import batch_norm
from stylegan_jax.ops.resize import resize_aligned, resize_area

SLOPE = 0.01
"""Slope of the leaky ReLU in style blocks, PyTorch's default."""
MIDDLE, FINE, LEVELS = 3, 7, 3
"""First slots that read the second and the third map of a pyramid, and its number of maps."""

Stage = int | jax.Array | None


class EncoderSpec(NamedTuple):
    """Static facts of an encoder.

    Attributes:
        image: (h, w, c) of the image that the body sees.
        num_ws: style slots l.
        w_dim: style size.
        kind: 'e4e', 'psp' or 'w'.
        body: name in `BODIES`.
        width: channels of the style blocks.
        halvings: numbers of strided convolutions of the style blocks that read the pyramid's first, second and third
            map.
        pyramid: whether finer slots read finer maps.
        residual: whether it sees image and reconstruction, 2c channels, and returns a change of the styles.
        iterations: how often to apply it.
        start_from_average: whether `encode` adds the average style; a residual encoder starts from it instead.
    """

    image: tuple[int, int, int]
    num_ws: int
    w_dim: int
    kind: str = "e4e"
    body: str = "ir_se50"
    width: int = 512
    halvings: tuple[int, ...] = (4, 5, 6)
    pyramid: bool = True
    residual: bool = False
    iterations: int = 1
    start_from_average: bool = True

    @property
    def channels(self) -> int:
        """Channels that the body sees."""
        return self.image[2] * (2 if self.residual else 1)

    def level(self, slot: int) -> int:
        """Return which map of the pyramid a slot reads, 0 being the coarsest."""
        return int(slot >= MIDDLE) + int(slot >= FINE) if self.pyramid and self.kind != "w" else 0


class Init(Protocol):
    """Draw an encoder's variables from a key."""

    def __call__(self, key: jax.Array, start: Variables | None = None) -> Variables: ...


class Encode(Protocol):
    """Map images to styles."""

    def __call__(
        self, variables: Variables, images: jax.Array, *, stage: Stage = None, train: bool = False
    ) -> tuple[jax.Array, Variables]: ...


class Encoder(NamedTuple):
    """Pure functions and a static spec, like `models.gan.Gan`.

    Attributes:
        spec: static facts.
        init: (key, start) -> variables {'params': {'body', 'styles', with a pyramid 'lateral'}, 'batch_stats':
            {'body'}, 'average': {'w': float[l, w], for a residual encoder 'image': float[h, w, c]}}. The average is
            zero; set it with `with_average`. Arrays in `start`, such as those of `load_start`, replace drawn ones.
        encode: (variables, images float[n, h, w, c] in [-1, 1] of any size, *, stage, train) -> (ws float[n, l, w],
            moved). Images are resized by area to `spec.image`. `stage` is the last slot whose change e4e applies
            (progressive training); None: all; an integer skips the work of the others, an array is traced. With
            `train`, batch normalisation uses the batch's statistics and `moved` is {'batch_stats': …}, without it {}.
            A residual encoder reads images float[n, h, w, 2c], the second half the reconstruction, and returns a
            change of the styles (`restyle.iterate`); for others, `ws` includes the average if the spec says so.
    """

    spec: EncoderSpec
    init: Init
    encode: Encode


def first_map(spec: EncoderSpec, body: Body) -> int:
    """Return which map of a body level 0 reads: the last three form the pyramid, a coarser one only feeds into it."""
    return max(0, len(body.channels) - LEVELS) if spec.pyramid and spec.kind != "w" else 0


def halvings_of(size: tuple[int, int], stride: int) -> int:
    """Return how many halvings reduce the map of an image (h, w) to one pixel; at least one."""
    return max(1, math.ceil(math.log2(max(-(-side // stride) for side in size))))


def make_encoder(spec: EncoderSpec, body: Body) -> Encoder:
    """Return the encoder of a spec with a body."""
    first = first_map(spec, body)
    used = body.channels[: first + 1 + spec.level(spec.num_ws - 1)]
    mixed = [k for k, count in enumerate(used) if k or count != spec.width]

    def init(key: jax.Array, start: Variables | None = None) -> Variables:
        params, stats = body.init(spec.channels)
        lateral = {f"map{k}": layer((1, 1, body.channels[k], spec.width), body.channels[k]) for k in mixed}
        blocks = range(1 if spec.kind == "w" else spec.num_ws)
        styles = {f"style{i}": _init_style(spec, i) for i in blocks}
        average = {"w": jnp.zeros((spec.num_ws, spec.w_dim))}
        if spec.residual:
            average["image"] = jnp.zeros(spec.image)
        trained = {"body": params, "styles": styles} | ({"lateral": lateral} if lateral else {})
        out = {"params": trained, "batch_stats": {"body": stats}}
        return replaced(draw(key, out) | {"average": average}, start or {})

    def encode(variables, images, *, stage=None, train=False):
        params, moved = variables["params"], {}
        norm = _normaliser(params["body"], variables["batch_stats"]["body"], body.eps, train, moved)
        maps = body.maps(params["body"], resize_area(images, spec.image[:2]), norm)
        ws = HEADS[spec.kind](spec, params["styles"], _Pyramid(params.get("lateral", {}), maps, first), stage)
        if spec.start_from_average and not spec.residual:
            ws = ws + variables["average"]["w"]
        return ws, {"batch_stats": {"body": moved}} if train else {}

    return Encoder(spec, init, encode)


def replaced(tree: Variables, changes: Mapping[str, Any]) -> Variables:
    """Return nested dicts in which leaves of `changes` replace the tree's own.

    A kernel float[h, w, i, o] with fewer input channels replaces the first ones.
    """

    def inner(old, new):
        if isinstance(new, Mapping):
            return replaced(old, new)
        if new.ndim == 4 and new.shape[2] < old.shape[2]:
            return jnp.concatenate([jnp.asarray(new, old.dtype), old[:, :, new.shape[2] :]], axis=2)
        return jnp.asarray(new, old.dtype)

    return tree | {key: inner(tree[key], new) for key, new in changes.items()}


def with_average(variables: Variables, w: jax.Array, image: jax.Array | None = None) -> Variables:
    """Return variables with an average style float[w] or float[l, w], and its image float[h, w, c]."""
    own = dict(variables["average"])
    own["w"] = jnp.broadcast_to(w, own["w"].shape).astype(own["w"].dtype)
    if "image" in own and image is not None:
        own["image"] = resize_area(image[None], own["image"].shape[:2])[0].astype(own["image"].dtype)
    return variables | {"average": own}


def _normaliser(params: Any, stats: Any, eps: float, train: bool, moved: dict[str, Any]):
    """Return the batch normalisation of a body by path, which adds its updated statistics to `moved`."""

    def norm(x: jax.Array, name: str, part: str) -> jax.Array:
        x, after = batch_norm(x, params[name][part], stats[name][part], x.shape[0], train, eps)
        moved.setdefault(name, {})[part] = after
        return x

    return norm


class _Pyramid:
    """Feature maps with `width` channels, each its own plus the coarser one enlarged; computed when first read."""

    def __init__(self, lateral: Any, maps: list[jax.Array], first: int):
        self.lateral, self.maps, self.first = lateral, maps, first
        self.made: list[jax.Array] = []

    def __getitem__(self, level: int) -> jax.Array:
        while len(self.made) <= self.first + level:
            k, x = len(self.made), self.maps[len(self.made)]
            if (own := self.lateral.get(f"map{k}")) is not None:
                x = conv2d(x, own["weight"]) + own["bias"][None, None, None]
            self.made.append(resize_aligned(self.made[-1], (x.shape[1], x.shape[2])) + x if k else x)
        return self.made[self.first + level]


def _init_style(spec: EncoderSpec, slot: int) -> dict[str, Any]:
    """Return a style block for `draw`: 3x3 convolutions, then a dense layer with scaling at run time."""
    count = 0 if spec.kind == "w" else spec.halvings[spec.level(slot)]
    own: dict[str, Any] = {f"conv{k}": layer((3, 3, spec.width, spec.width), 9 * spec.width) for k in range(count)}
    return own | {"dense": {"weight": Initial((spec.width, spec.w_dim)), "bias": jnp.zeros(spec.w_dim)}}


def style_block(params: Any, x: jax.Array) -> jax.Array:
    """Turn a map float[n, h, w, c] into a style float[n, w]: halve it down to one pixel, and apply a dense layer."""
    for k in range(len(params) - 1):
        own = params[f"conv{k}"]
        x = conv2d(x, own["weight"], padding=((1, 1), (1, 1)), stride=2) + own["bias"][None, None, None]
        x = jax.nn.leaky_relu(x, SLOPE)
    return dense(params["dense"], x[:, 0, 0])


def dense(params: Any, x: jax.Array) -> jax.Array:
    """Return float[n, w] of float[n, c], with weights scaled at run time (PG §4.1)."""
    return x @ (params["weight"] / math.sqrt(x.shape[1])) + params["bias"]


def _e4e(spec: EncoderSpec, params: Any, pyramid: _Pyramid, stage: Stage) -> jax.Array:
    """Return one style for all slots, changed in slots 1 to `stage` (e4e §4.1, eq. 2)."""
    base = style_block(params["style0"], pyramid[0])
    ws = [base] * spec.num_ws
    last = spec.num_ws - 1 if stage is None or isinstance(stage, jax.Array) else min(int(stage), spec.num_ws - 1)
    for i in range(1, last + 1):
        change = style_block(params[f"style{i}"], pyramid[spec.level(i)])
        ws[i] = base + (jnp.where(i <= stage, change, 0) if isinstance(stage, jax.Array) else change)
    return jnp.stack(ws, axis=1)


def _psp(spec: EncoderSpec, params: Any, pyramid: _Pyramid, stage: Stage) -> jax.Array:
    """Return a style per slot, each computed separately."""
    return jnp.stack([style_block(params[f"style{i}"], pyramid[spec.level(i)]) for i in range(spec.num_ws)], axis=1)


def _w(spec: EncoderSpec, params: Any, pyramid: _Pyramid, stage: Stage) -> jax.Array:
    """Return one style in every slot, from the mean of the coarsest map."""
    w = dense(params["style0"]["dense"], pyramid[0].mean(axis=(1, 2)))
    return jnp.repeat(w[:, None], spec.num_ws, axis=1)


HEADS = {"e4e": _e4e, "psp": _psp, "w": _w}
"""How feature maps become styles, by `EncoderSpec.kind`."""
