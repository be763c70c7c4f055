"""The bodies of encoders: IR-SE and ResNet34, as published, and EfficientNet-Lite0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stylegan_jax.config.encoder import EncoderConfig
from stylegan_jax.encoders import resnet
from stylegan_jax.features import efficientnet, irse, layers
from stylegan_jax.features.convolutions import conv
from stylegan_jax.features.irse import Norm
from stylegan_jax.layers.initial import Initial, uniform

Tree = dict[str, Any]


class Body(NamedTuple):
    """A network from images to feature maps.

    Attributes:
        init: input channels -> (parameters, running statistics of batch normalisation), with `Initial` leaves.
        maps: (params, x float[n, h, w, c] in [-1, 1], norm) -> maps float[n, h / s, w / s, k], from coarse to fine.
        strides: s of each map; sizes are rounded up.
        channels: k of each map.
        eps: of batch normalisation.
    """

    init: Callable[[int], tuple[Tree, Tree]]
    maps: Callable[[Any, jax.Array, Norm], list[jax.Array]]
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    eps: float = 1e-5


def norm_params(channels: int) -> tuple[Tree, Tree]:
    """Return (parameters, running statistics) of batch normalisation that starts as the identity."""
    zeros, ones = jnp.zeros(channels), jnp.ones(channels)
    return {"weight": ones, "bias": zeros}, {"mean": zeros, "var": ones}


def _kernel(size: int, inside: int, outside: int) -> Initial:
    return uniform((size, size, inside, outside), size**2 * inside)


def ir_se(config: EncoderConfig, depth: int) -> Body:
    """Return IR-SE with `depth` layers; its maps are those of the last three groups of units."""
    widths = config.body_widths or irse.WIDTHS
    groups = irse.plan(config.body_units or irse.UNITS[depth], widths)
    squeeze = config.body_squeeze

    def init(channels: int) -> tuple[Tree, Tree]:
        norm, stats = norm_params(widths[0])
        slopes = lambda count: jnp.full(count, 0.25)
        params: Tree = {"input": {"conv": _kernel(3, channels, widths[0]), "norm": norm, "prelu": slopes(widths[0])}}
        running: Tree = {"input": {"norm": stats}}
        for name, inside, outside, _ in (unit for group in groups for unit in group):
            own: Tree = {"conv1": _kernel(3, inside, outside), "conv2": _kernel(3, outside, outside)}
            own["prelu"] = slopes(outside)
            norms = {"norm1": inside, "norm2": outside}
            if squeeze:
                narrow = outside // squeeze
                own["down"], own["up"] = uniform((outside, narrow), outside), uniform((narrow, outside), narrow)
            if inside != outside:
                own["shortcut"], norms["shortcut_norm"] = _kernel(1, inside, outside), outside
            running[name] = {}
            for part, count in norms.items():
                own[part], running[name][part] = norm_params(count)
            params[name] = own
        return params, running

    def maps(params: Any, x: jax.Array, norm: Norm) -> list[jax.Array]:
        return irse.body(params, x, groups, norm)[:0:-1]

    return Body(init, maps, (16, 8, 4), tuple(widths[:0:-1]))


def resnet34(config: EncoderConfig) -> Body:
    """Return ResNet34 as in ReStyle; its maps are those of the last three groups of blocks."""
    widths = config.body_widths or irse.WIDTHS
    groups = resnet.plan(config.body_units or resnet.BLOCKS, widths)

    def init(channels: int) -> tuple[Tree, Tree]:
        norm, stats = norm_params(widths[0])
        first = {"conv": _kernel(7, channels, widths[0]), "norm": norm, "prelu": jnp.full(widths[0], 0.25)}
        params: Tree = {"input": first}
        running: Tree = {"input": {"norm": stats}}
        for name, inside, outside, stride in (block for group in groups for block in group):
            own: Tree = {"conv1": _kernel(3, inside, outside), "conv2": _kernel(3, outside, outside)}
            norms = ["norm1", "norm2"]
            if inside != outside or stride > 1:
                own["shortcut"] = _kernel(1, inside, outside)
                norms.append("shortcut_norm")
            running[name] = {}
            for part in norms:
                own[part], running[name][part] = norm_params(outside)
            params[name] = own
        return params, running

    return Body(init, lambda params, x, norm: resnet.maps(params, x, groups, norm), (16, 8, 4), tuple(widths[:0:-1]))


def lite0(config: EncoderConfig) -> Body:
    """Return EfficientNet-Lite0 up to its last convolution, with batch normalisation that is trained."""
    names = [(name, shape) for name, _, shape in efficientnet.plan()[:-1]]

    def init(channels: int) -> tuple[Tree, Tree]:
        params: Tree = {}
        running: Tree = {}
        for name, (outside, inside, size, _) in names:
            norm, stats = norm_params(outside)
            inside = channels if name == "_conv_stem" else inside
            params[lite0_name(name)] = {"conv": _kernel(size, inside, outside), "norm": norm}
            running[lite0_name(name)] = {"norm": stats}
        return params, running

    def maps(params: Any, x: jax.Array, norm: Norm) -> list[jax.Array]:
        def convolve(x: jax.Array, name: str, stride: int, groups: int) -> jax.Array:
            kernel = params[lite0_name(name)]["conv"]
            padding = layers.same(x.shape[1:3], kernel.shape[0], stride)
            return norm(conv(x, kernel, stride, padding, groups), lite0_name(name), "norm")

        return efficientnet.trunk(x, convolve)[::-1]

    return Body(init, maps, (32, 16, 8, 4), efficientnet.TAP_CHANNELS[::-1], efficientnet.EPS)


def lite0_name(name: str) -> str:
    """Return the name of a layer in our trees, as 'block3_expand'."""
    return name.removeprefix("_").replace("blocks.", "block").replace("._", "_").replace("_conv", "")


BODIES: dict[str, Callable[[EncoderConfig], Body]] = {
    "ir_se50": lambda config: ir_se(config, 50),
    "ir_se100": lambda config: ir_se(config, 100),
    "ir_se152": lambda config: ir_se(config, 152),
    "resnet34": resnet34,
    "efficientnet_lite0": lite0,
}
