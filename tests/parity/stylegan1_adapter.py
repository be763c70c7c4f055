"""Family 'stylegan1': the blocks of StyleGAN, its fade between resolutions, and their first-order gradients."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from configs import common
from stylegan_jax.config import model_from_dict
from stylegan_jax.layers.dense import Dense
from stylegan_jax.models import growing, stylegan1
from stylegan_jax.models.gan import move_one_centre
from stylegan_jax.ops import norm

from .layout import hwio, nchw, nhwc
from .model_adapters import truncate
from .ops_adapters import with_grads

BLUR, NO_BLUR = (1.0, 2.0, 1.0), (1.0,)


def make_config(c):
    tree = common.get_config().model.to_dict()
    tree |= {"arch": "stylegan1", "label_dim": 0, "z_dim": c["w_dim"], "w_dim": c["w_dim"], "mapping_layers": 2}
    tree |= {"resolution": c["R"], "channel_base": c["R"] * c["C"], "conv_clamp": 0.0}
    config = model_from_dict(tree)
    return dataclasses.replace(config, stylegan1=dataclasses.replace(config.stylegan1, blur_filter=NO_BLUR))


def scaled(weight):
    """Return a stored kernel [out, in, kh, kw] as a layer applies it, [kh, kw, c_in, c_out]."""
    weight = hwio(weight)
    return weight * (stylegan1.GAIN / math.sqrt(math.prod(weight.shape[:3])))


def after_convolution(i, config):
    """Run a whole styled layer whose convolution is the identity."""
    weight = jnp.zeros((3, 3, 6, 6), i["x"].dtype).at[1, 1].set(jnp.eye(6) * math.sqrt(9 * 6 / 2))
    params = {"affine": affine(i), "bias": i["bias"], "noise_strength": i["noise_weight"], "weight": weight}
    buffers = {"noise_const": nhwc(i["noise"])[0, :, :, 0]}
    layer = stylegan1.StyledLayer(config, 8, "conv")
    return layer.apply({"params": params, "buffers": buffers}, nhwc(i["x"]), i["w"], nhwc(i["noise"]))


def affine(i):
    return {"weight": i["style_weight"].T, "bias": i["style_bias"]}


def mapped(i, config):
    layers = {f"fc{k}": {"weight": i[f"map_w{k}"].T, "bias": i[f"map_b{k}"]} for k in range(2)}
    return stylegan1.Mapping(config).apply({"params": layers}, i["z"], jnp.zeros((len(i["z"]), 0)))


def fade_g(i, config, alpha):
    """Fade with the model's own ToRGB."""
    rgb = lambda name, x: stylegan1.ToRGB(config).apply(
        {"params": {"weight": hwio(i[f"{name}_w"]), "bias": i[f"{name}_b"]}}, nhwc(x)
    )
    low, high = rgb("torgb_lo", i["rgb_lo_feat"]), rgb("torgb", i["x"])
    return growing.fade(growing.double(low), high, alpha)


def fade_d(i, config, alpha):
    """Fade by two FromRGB layers of the model; the block between is one convolution without bias."""

    def layer(image, weight, bias, **kwargs):
        variables = {"params": {"weight": hwio(weight), "bias": bias}}
        return stylegan1.PlainLayer(config, 6, **kwargs).apply(variables, image)

    image = nhwc(i["img"])
    high = layer(image, i["fromrgb_hi_w"], i["fromrgb_hi_b"], kernel=1)
    high = layer(high, i["blk_w"], jnp.zeros(6), kernel=3, down=2)
    low = layer(growing.halve(image), i["fromrgb_lo_w"], i["fromrgb_lo_b"], kernel=1)
    return growing.fade(low, high, alpha)


def sg1_ops(meta, arrays, constants):
    c, i = meta["config"], {k.removeprefix("in/"): v for k, v in arrays.items()}
    config, x, w = make_config(c), i["x"], i["w"]
    style = lambda w: Dense(12).apply({"params": affine(i)}, w)
    adain = lambda x, w: nchw(stylegan1.modulate(norm.instance_norm(nhwc(x)), style(w)))
    convolve = lambda name, **k: stylegan1.convolve(nhwc(x), scaled(i[name]), NO_BLUR, **k)
    plain = stylegan1.PlainLayer(config, 7).apply(
        {"params": {"weight": hwio(i["conv_w"]), "bias": i["conv_b"]}}, nhwc(x)
    )
    flipped = stylegan1.convolve(nhwc(x), scaled(i["up_w"])[::-1, ::-1], NO_BLUR, up=2)
    out = {"out/instance_norm": norm.instance_norm(nhwc(x)), "out/eqconv_lrelu": plain}
    out |= {"out/blur": stylegan1.filtered(nhwc(x), BLUR), "out/layer_epilogue": after_convolution(i, config)}
    out |= {"out/upscale_then_conv": convolve("up_w", up=2), "out/upscale_then_flipped_conv": flipped}
    out |= {"out/upscale_conv_fused": flipped, "out/conv_then_downscale": convolve("down_w", down=2)}
    out["out/conv_downscale_fused"] = out["out/conv_then_downscale"]
    for k, alpha in enumerate(c["alphas"]):
        out[f"out/fade_g_{k}"], out[f"out/fade_d_{k}"] = fade_g(i, config, alpha), fade_d(i, config, alpha)
        out[f"out/real_fade_{k}"] = growing.fade_image(nhwc(i["img"]), alpha)
    out = {key: nchw(value) for key, value in out.items()}
    out["out/adain"], grads = with_grads(adain, {"x": x, "w": w}, "grad/adain/")
    for group in (4, 2):
        stddev = lambda x, group=group: nchw(norm.minibatch_std(nhwc(x), group))
        out[f"out/mbstd_g{group}"], found = with_grads(stddev, {"x": x}, f"grad/mbstd_g{group}/")
        grads |= found
    ws = jnp.repeat(mapped(i, config)[:, None], c["num_ws"], axis=1)
    out |= grads | {"out/style": style(w), "out/mapping_w": ws[:, 0]}
    out["out/pixel_norm_z"] = norm.second_moment_normalize(i["z"])
    out["out/mapping_trunc"] = truncate(ws, i["w_avg"], c["truncation_psi"], c["truncation_cutoff"])
    out["out/w_avg_update"] = move_one_centre(i["w_avg"], ws[:, 0], jnp.zeros((len(ws), 0)), c["w_avg_beta"])
    return jax.tree.map(jnp.asarray, out)


ADAPTERS = {"stylegan1/stylegan1 building blocks": sg1_ops}
