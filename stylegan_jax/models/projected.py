"""The projected discriminator (Sauer et al. 2021, arXiv:2111.01007; StyleGAN-XL, arXiv:2202.00273, §3.1).

A frozen classifier turns images into four feature maps. Random, fixed convolutions mix their channels, then their
scales, and a small discriminator sees each of the four results: a stack of halving convolutions with spectral and batch
normalisation, and one logit per position. `compose` puts this discriminator into the bundle of any generator.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from stylegan_jax.augment import diffaugment
from stylegan_jax.base import rng
from stylegan_jax.base.spec import Variables
from stylegan_jax.config import ConfigError, DiffAugmentConfig, ModelConfig
from stylegan_jax.config.arch.projected import STRIDE, seen_size
from stylegan_jax.features.backbones import BACKBONES, Backbone, prepare
from stylegan_jax.layers.initial import Initial, draw, layer, uniform
from stylegan_jax.models.gan import Gan
from stylegan_jax.models.precision import low_dtype
from stylegan_jax.ops.bias_act import bias_act
from stylegan_jax.ops.conv import conv2d, conv2d_transposed
from stylegan_jax.ops.norm import batch_norm
from stylegan_jax.ops.resize import resize_aligned

EPS_SPECTRAL = 1e-12
SLOPE = 0.2
CMAP = 64
"""Size of the mapped label if `model.cmap_dim` does not set it."""
READ_OUT = (4, 2, 1, -2)
"""Factors by which the maps of a transformer, all of one size, are enlarged (or reduced) to make a pyramid."""
FINEST = 64
"""Nominal size of the finest feature map, that of a 256x256 image."""

Widths = tuple[int, ...]


def map_widths(model: ModelConfig, backbone: Backbone) -> Widths:
    """Return the channels of the four maps seen by the small discriminators."""
    own, read = model.projected, _pyramid_widths(backbone)
    mixed = tuple(own.channels * (2**k if own.expand else 1) for k in range(4))
    return (read, mixed, tuple(_narrowed(model, k) for k in range(4)))[own.projections]


def _pyramid_widths(backbone: Backbone) -> Widths:
    """Return the channels of the pyramid: those of the maps, or of a transformer's read-outs 1/8 to all of them."""
    c = backbone.channels
    return tuple(c[k] // 2 ** (3 - k) for k in range(4)) if backbone.reads_out else tuple(c)


def _narrowed(model: ModelConfig, k: int) -> int:
    """Return the channels of map k after the mixing of scales, which halves them except in the finest map."""
    own = model.projected
    return own.channels * 2 ** max(k - 1, 0) if own.expand else own.channels


def head_widths(model: ModelConfig, backbone: Backbone, k: int) -> Widths:
    """Return the channels of small discriminator k: those of its input, then of its blocks, down to nominal size 8."""
    own = model.projected
    start = FINEST // 2**k * (2 if own.projections == 2 else 1)
    sizes = [start // 2**i for i in range(1, int(math.log2(start // 8)) + 1)]
    return (map_widths(model, backbone)[k], *(own.widths[int(math.log2(size // 4))] for size in sizes))


def logit_count(model: ModelConfig, backbone: Backbone) -> int:
    """Return the number of logits per image of all small discriminators behind a frozen network."""
    size = seen_size(model, backbone.reads_out)
    sides = model.image_shape[:2] if size is None else (size, size)
    return model.projected.heads * math.prod(side // STRIDE - 3 for side in sides)


# Random projections


def init_projections(model: ModelConfig, backbone: Backbone) -> dict[str, Any]:
    """Return the fixed convolutions behind a frozen network, for `draw`: read-outs, of channels, of scales."""
    own, read, out = model.projected, _pyramid_widths(backbone), {}
    if backbone.reads_out:
        for k, (wide, c, up) in enumerate(zip(backbone.channels, read, READ_OUT, strict=True)):
            out[f"readout{k}"] = layer((1, 1, wide, c), wide)
            if up != 1:
                size = up if up > 0 else 3
                out[f"resize{k}"] = layer((size, size, c, c), c * size**2)
    mixed = [own.channels * (2**k if own.expand else 1) for k in range(4)]
    if own.projections:
        out |= {f"ccm{k}": layer((1, 1, read[k], mixed[k]), read[k]) for k in range(4)}
    if own.projections == 2:
        for k in range(4):
            out[f"csm{k}"] = layer((1, 1, mixed[k], _narrowed(model, k)), mixed[k])
    return out


def _conv(x: jax.Array, layer: Mapping[str, jax.Array], stride: int = 1, pad: int = 0) -> jax.Array:
    y = conv2d(x, layer["weight"], stride=stride, padding=((pad, pad), (pad, pad)))
    return y + layer["bias"][None, None, None]


def _read_out(buffers: Mapping[str, Any], maps: list[jax.Array]) -> list[jax.Array]:
    """Turn the maps of a transformer, float[n, h, w, d] each, into a pyramid of 4, 2, 1 and 1/2 times their size."""
    out = []
    for k, (x, up) in enumerate(zip(maps, READ_OUT, strict=True)):
        x = _conv(x, buffers[f"readout{k}"])
        if up > 1:
            layer = buffers[f"resize{k}"]
            x = conv2d_transposed(x, layer["weight"], up) + layer["bias"][None, None, None]
        elif up < 1:
            x = _conv(x, buffers[f"resize{k}"], 2, 1)
        out.append(x)
    return out


def project(buffers: Mapping[str, Any], maps: list[jax.Array]) -> list[jax.Array]:
    """Return the inputs of the small discriminators from a frozen network's feature maps (Projected GAN §3.2).

    Mixing scales goes from coarse to fine: add the finer map, double bilinearly with both ends in place, convolve. Here
    the 1x1 convolution comes first, which gives the same result at a quarter of the cost.

    Args:
        buffers: of `init_projections`; steps whose buffers are missing are skipped.
        maps: four float[n, h, w, c].
    """
    if "readout0" in buffers:
        maps = _read_out(buffers, maps)
    if "ccm0" in buffers:
        maps = [_conv(x, buffers[f"ccm{k}"]) for k, x in enumerate(maps)]
    if "csm0" in buffers:
        above = jnp.zeros_like(maps[3])
        for k in (3, 2, 1, 0):
            above = _doubled(_conv(maps[k] + above, buffers[f"csm{k}"]))
            maps[k] = above
    return maps


def _doubled(x: jax.Array) -> jax.Array:
    return resize_aligned(x, (2 * x.shape[1], 2 * x.shape[2]))


# Small discriminators


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(x))), EPS_SPECTRAL)


def _right(weight: jax.Array, u: jax.Array) -> jax.Array:
    """Return the right singular vector float[h, w, i] that belongs to the left one, float[o]."""
    return _unit(jnp.einsum("hwio,o->hwi", weight, u, precision="highest"))


def _spectral(weight: jax.Array, stats: Mapping[str, jax.Array], train: bool) -> tuple[jax.Array, Variables]:
    """Divide a kernel float[h, w, i, o] by its largest singular value, as estimated (Miyato et al. 2018, alg. 1).

    In training the estimate is improved by one step before it is used; no gradient passes through the vectors.
    """
    u, v = stats["u"], stats["v"]
    if train:
        fixed = jax.lax.stop_gradient(weight)
        v = _right(fixed, u)
        u = _unit(jnp.einsum("hwio,hwi->o", fixed, v, precision="highest"))
    sigma = jnp.sum(weight * v[..., None] * u[None, None, None])
    return weight / sigma, {"u": u, "v": v}


def init_head(model: ModelConfig, widths: Widths) -> tuple[Variables, Variables]:
    """Return a small discriminator, for `draw` and `started`: (parameters, running statistics, singular vectors)."""
    params: dict[str, Any] = {}
    stats: dict[str, Any] = {}

    for i, (inside, outside) in enumerate(itertools.pairwise(widths)):
        name, shape = f"block{i}", (4, 4, inside, outside)
        norm = {"weight": jnp.ones(outside), "bias": jnp.zeros(outside)}
        params[name] = {"conv": layer(shape, 16 * inside), "norm": norm}
        stats[name] = {"u": Initial((outside,)), "mean": jnp.zeros(outside), "var": jnp.ones(outside)}
    cmap = (model.cmap_dim or CMAP) if model.label_dim else 1
    shape = (4, 4, widths[-1], cmap)
    params["out"] = {"weight": uniform(shape, 16 * widths[-1])}
    stats["out"] = {"u": Initial((cmap,))}
    if model.label_dim:
        rows, dim = model.projected.embed_rows, model.projected.embed_dim
        params["embed"] = {"weight": Initial((rows, dim))}
        params["embed_proj"] = {
            "weight": Initial((dim, cmap)),
            "bias": jnp.zeros(cmap),
        }
    return params, stats


def started(params: Mapping[str, Any], stats: Mapping[str, Any]) -> Variables:
    """Return drawn statistics with both singular vectors; the right one follows from the left, as in training."""
    out: Variables = {}
    for name, own in stats.items():
        weight, u = params[name]["weight"] if name == "out" else params[name]["conv"]["weight"], _unit(own["u"])
        out[name] = own | {"u": u, "v": _right(weight, u)}
    return out


def head(
    params: Mapping[str, Any],
    stats: Mapping[str, Any],
    x: jax.Array,
    cond: jax.Array,
    group: int,
    train: bool,
) -> tuple[jax.Array, Variables]:
    """Return (logits float[n, h, w] of a feature map float[n, h', w', c], the updated statistics).

    With labels, the last map is projected onto the embedded label (Miyato & Koyama 2018); no other term.
    """
    moved: Variables = {}
    for i in range(len(stats) - 1):
        own, name = params[f"block{i}"], f"block{i}"
        weight, vectors = _spectral(own["conv"]["weight"], stats[name], train)
        x = _conv(x, {"weight": weight, "bias": own["conv"]["bias"]}, 2, 1)
        x, means = batch_norm(x, own["norm"], {k: stats[name][k] for k in ("mean", "var")}, group, train)
        x, moved[name] = jax.nn.leaky_relu(x, SLOPE), vectors | means
    weight, moved["out"] = _spectral(params["out"]["weight"], stats["out"], train)
    x = conv2d(x, weight)
    if "embed" not in params:
        return x[..., 0], moved
    rows = jnp.matmul(cond.astype(x.dtype), params["embed"]["weight"][: cond.shape[1]], precision="highest")
    dense = params["embed_proj"]
    mapped = bias_act(rows @ (dense["weight"] / math.sqrt(rows.shape[1])), dense["bias"], act="lrelu")
    return jnp.sum(x * mapped[:, None, None], axis=-1) / math.sqrt(x.shape[-1]), moved


# The whole


def compose(gan: Gan, model: ModelConfig, backbones: Mapping[str, Backbone] = BACKBONES) -> Gan:
    """Return the bundle of a generator with the projected discriminator in place of its own.

    Args:
        gan: the bundle of an architecture.
        model: its configuration, with the discriminator's settings in `projected`.
        backbones: the frozen networks by name.

    Raises:
        ConfigError: an unknown frozen network or policy, or a generator of clips.
    """
    own = model.projected
    for name in own.backbones:
        if name not in backbones:
            raise ConfigError(
                f"config.model.projected.backbones is {own.backbones}; {name!r} is not one of them; known: "
                f"{', '.join(backbones)}"
            )
    if len(gan.spec.sample["image"]) != 3:
        raise ConfigError(
            f"config.model.d_arch is 'projected' and arch={model.arch!r} makes clips; it judges images: use another"
        )
    nets = {name: backbones[name] for name in own.backbones}
    augment = DiffAugmentConfig(own.augment, own.translation, own.cutout) if own.augment else None
    if augment is not None:
        diffaugment.policies(augment)

    def init_d(key: jax.Array, frozen: Mapping[str, Any] = FrozenDict()) -> Variables:
        out: Variables = {"params": {}, "batch_stats": {}, "buffers": {}}
        for name, backbone in nets.items():
            heads = {f"head{k}": init_head(model, head_widths(model, backbone, k)) for k in range(own.heads)}
            out["params"][name] = {part: params for part, (params, _) in heads.items()}
            out["batch_stats"][name] = {part: stats for part, (_, stats) in heads.items()}
            out["buffers"][name] = init_projections(model, backbone)
        out = draw(key, out)
        heads = lambda name: out["batch_stats"][name].items()
        stats = {n: {part: started(out["params"][n][part], own) for part, own in heads(n)} for n in nets}
        return out | {"batch_stats": stats}

    def discriminate(d, frozen, sample, cond, *, key=None, train=False):
        logits, moved, image = [], {}, sample["image"]
        for name, backbone in nets.items():
            seen = image if key is None or augment is None else augmented(key, name, augment, image)
            maps = features(model, backbone, frozen[name], seen)
            maps = project(d["buffers"].get(name, {}), maps)
            moved[name] = {}
            for k in range(own.heads):
                part, args = f"head{k}", (maps[k], cond, own.stats_group, train)
                out, moved[name][part] = head(d["params"][name][part], d["batch_stats"][name][part], *args)
                logits.append(out.reshape(len(image), -1))
        return jnp.concatenate(logits, axis=1), {"batch_stats": moved} if train else {}

    counts = tuple(logit_count(model, backbone) for backbone in nets.values())
    spec = gan.spec._replace(
        heads=sum(counts),
        critics=counts,
        frozen=tuple(dict.fromkeys((*gan.spec.frozen, *own.backbones))),
        is_d_random=augment is not None,
        groups=FrozenDict({**gan.spec.groups, "freeze_d": (), "no_penalty": ()}),
    )
    return gan._replace(spec=spec, init_d=init_d, discriminate=discriminate, grown=None)


def augmented(key: jax.Array, name: str, config: DiffAugmentConfig, image: jax.Array) -> jax.Array:
    """Return images float[n, h, w, c] with the draws of one frozen network: keys[n], so that a row's draws are its
    own."""
    _, h, w, c = image.shape
    drawn = jax.vmap(lambda k: diffaugment.draw(rng.stream(k, name), 1, 1.0, config, (h, w, c)))(key)
    return diffaugment.apply(jax.tree.map(lambda x: x[:, 0], drawn), image)


def features(model: ModelConfig, backbone: Backbone, params: Any, image: jax.Array) -> list[jax.Array]:
    """Return the four feature maps of images float[n, h, w, c] in [-1, 1]."""
    x = prepare(backbone, image, seen_size(model, backbone.reads_out))
    dtype = low_dtype(model) if model.projected.lowp else None
    if dtype is None:
        return backbone.stages(params, x)
    low = lambda tree: jax.tree.map(lambda leaf: leaf.astype(dtype), tree)
    return [maps.astype(image.dtype) for maps in backbone.stages(low(params), low(x))]
