"""Families 'ops' and 'layers': every operation and its first-order gradients."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.layers.conv import Conv
from stylegan_jax.layers.dense import Dense
from stylegan_jax.ops import bias_act, conv, fir, norm
from stylegan_jax.ops.filtered_lrelu import filtered_lrelu
from stylegan_jax.ops.modconv import modulated_conv2d, modulated_conv2d_prenorm

from .layout import hwio, leaf_to_official, leaf_to_ours, nchw, nhwc, probe


def with_grads(fn, inputs: dict, prefix: str) -> tuple:
    """Return fn's output and {prefix + name: gradient of sum(out * probe)} for the inputs that are not None."""
    used = {k: v for k, v in inputs.items() if v is not None}
    out, pull = jax.vjp(lambda u: fn(**(inputs | u)), used)
    (grads,) = pull(probe(out.shape, out.dtype))
    return out, {prefix + k: g for k, g in grads.items()}


def get(arrays, key):
    return None if key is None else arrays[key]


def grad_prefix(sub) -> str:
    return "grad/" + sub["out"].removeprefix("out/") + "/"


def upfirdn2d(meta, arrays, constants):
    out = {}
    for sub in meta["subcases"]:
        f = get(constants, sub["f"])
        fn = lambda x, f=f, sub=sub: nchw(fir.upfirdn2d(nhwc(x), f, **sub["args"]))
        y, grads = with_grads(fn, {"x": arrays[sub["x"]]}, grad_prefix(sub))
        out |= {sub["out"]: y} | grads
    return out


def setup_filter(meta, arrays, constants):
    names = {"f": "taps"}
    calls = [{names.get(k, k): v for k, v in sub["args"].items()} for sub in meta["subcases"]]
    return {
        sub["out"]: fir.setup_filter(args.pop("taps"), **args)
        for sub, args in zip(meta["subcases"], calls, strict=True)
    }


def blur_taps(sigma: float) -> np.ndarray:
    radius = math.floor(sigma * 3)
    return fir.setup_filter(np.exp2(-np.square(np.arange(-radius, radius + 1) / sigma)), separable=True)


def resample2d(meta, arrays, constants):
    out = {}
    for sub in meta["subcases"]:
        if sub["fn"] == "blur":
            taps = np.exp2(
                -np.square(
                    np.arange(-math.floor(3 * sub["args"]["sigma"]), math.floor(3 * sub["args"]["sigma"]) + 1)
                    / sub["args"]["sigma"]
                )
            )
            taps = (taps / taps.sum()).astype(arrays[sub["x"]].dtype)
            fn = lambda x, f=taps: nchw(fir.filter2d(nhwc(x), f))
        else:
            op = {"filter2d": fir.filter2d, "upsample2d": fir.upsample2d, "downsample2d": fir.downsample2d}[sub["fn"]]
            f = get(constants, sub["f"])
            fn = lambda x, f=f, sub=sub, op=op: nchw(op(nhwc(x), f, **sub["args"]))
        y, grads = with_grads(fn, {"x": arrays[sub["x"]]}, grad_prefix(sub))
        out |= {sub["out"]: y} | grads
    return out


def conv2d_resample(meta, arrays, constants):
    out = {}
    for sub in meta["subcases"]:
        f = get(constants, sub.get("f"))
        fn = lambda x, w, f=f, sub=sub: nchw(conv.conv2d_resample(nhwc(x), hwio(w), f, **sub["args"]))
        y, grads = with_grads(fn, {"x": arrays[sub["x"]], "w": arrays[sub["w"]]}, grad_prefix(sub))
        out |= {sub["out"]: y} | grads
    return out


def bias_act_cases(meta, arrays, constants):
    out = {}
    for sub in meta["subcases"]:
        kwargs = {k: sub[k] for k in ("act", "alpha", "gain", "clamp") if k in sub}
        dim = sub.get("dim", 1)
        fn = lambda x, b, dim=dim, kwargs=kwargs: jnp.moveaxis(
            bias_act.bias_act(jnp.moveaxis(x, dim, -1), b, **kwargs), -1, dim
        )
        y, grads = with_grads(fn, {"x": arrays[sub["x"]], "b": get(arrays, sub["b"])}, grad_prefix(sub))
        out |= {sub["out"]: y} | grads
    return out


def minibatch_std(meta, arrays, constants):
    out = {}
    for sub in meta["subcases"]:
        fn = lambda x, sub=sub: nchw(norm.minibatch_std(nhwc(x), sub["group_size"], sub["num_channels"]))
        y, grads = with_grads(fn, {"x": arrays[sub["x"]]}, grad_prefix(sub))
        out |= {sub["out"]: y} | grads
    return out


def modulated_conv2d_sg2(meta, arrays, constants):
    out = {}
    for sub in meta["subcases"]:
        f = get(constants, sub.get("f"))
        args = {k: v for k, v in sub["args"].items() if k != "fused_modconv"}  # one form here serves both
        noise = get(arrays, sub.get("noise"))
        if noise is not None:
            noise = noise[:, :, None] if noise.ndim == 2 else nhwc(noise)

        def fn(x, w, s, f=f, noise=noise, args=args):
            return nchw(modulated_conv2d(nhwc(x), hwio(w), s, f, noise=noise, **args))

        inputs = {"x": arrays[sub["x"]], "w": arrays[sub["w"]], "s": arrays[sub["s"]]}
        y, grads = with_grads(fn, inputs, grad_prefix(sub))
        out |= {sub["out"]: y} | grads
    return out


def modulated_conv2d_sg3(meta, arrays, constants):
    out = {}
    for sub in meta["subcases"]:
        args = dict(sub["args"])
        if not isinstance(args["padding"], int):
            args["padding"] = args["padding"][::-1]  # stored as [H, W]; ours is (x, y)
        gain = get(arrays, sub["input_gain"])

        def fn(x, w, s, gain=gain, args=args):
            return nchw(modulated_conv2d_prenorm(nhwc(x), hwio(w), s, input_gain=gain, **args))

        inputs = {"x": arrays[sub["x"]], "w": arrays[sub["w"]], "s": arrays[sub["s"]]}
        y, grads = with_grads(fn, inputs, grad_prefix(sub))
        out |= {sub["out"]: y} | grads
    return out


def filtered_lrelu_cases(meta, arrays, constants):
    out = {}
    for sub in meta["subcases"]:
        fu, fd = get(constants, sub["fu"]), get(constants, sub["fd"])
        fn = lambda x, b, fu=fu, fd=fd, sub=sub: nchw(filtered_lrelu(nhwc(x), b, fu, fd, **sub["args"]))
        y, grads = with_grads(fn, {"x": arrays[sub["x"]], "b": get(arrays, sub["b"])}, grad_prefix(sub))
        out |= {sub["out"]: y} | grads
    return out


def dense_layer(config) -> Dense:
    return Dense(
        config["out_features"],
        activation=config.get("activation", "linear"),
        lr_mult=config.get("lr_multiplier", 1.0),
        bias_init=config.get("bias_init", 0.0),
        use_bias=config.get("bias", True),
    )


def conv_layer(config) -> Conv:
    return Conv(
        config["out_channels"],
        config["kernel_size"],
        activation=config.get("activation", "linear"),
        use_bias=config.get("bias", True),
        up=config.get("up", 1),
        down=config.get("down", 1),
        taps=tuple(config.get("resample_filter", [1, 3, 3, 1])),
        clamp=config.get("conv_clamp") or 0.0,
    )


def layers_sg2(meta, arrays, constants):
    out = {}
    for sub in meta["subcases"]:
        prefix, config = f"state/{sub['id']}/", sub["config"]
        weights = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        weights.pop("resample_filter", None)
        dense = "out_features" in config
        layer = dense_layer(config) if dense else conv_layer(config)
        gain = () if dense else (sub.get("gain", 1),)

        def fn(x, gain=gain, layer=layer, dense=dense, **weights):
            ours = {k: leaf_to_ours(k, v) for k, v in weights.items()}
            y = layer.apply({"params": ours}, x if dense else nhwc(x), *gain)
            return y if dense else nchw(y)

        y, grads = with_grads(fn, {"x": arrays[sub["x"]]} | weights, f"grad/{sub['id']}/")
        out |= {sub["out"]: y} | grads
    return out


ADAPTERS = {
    "ops/upfirdn2d": upfirdn2d,
    "ops/setup_filter": setup_filter,
    "ops/filter2d, upsample2d, downsample2d": resample2d,
    "ops/conv2d_resample": conv2d_resample,
    "ops/bias_act": bias_act_cases,
    "ops/minibatch stddev layer": minibatch_std,
    "ops/stylegan2 modulated convolution": modulated_conv2d_sg2,
    "ops/stylegan3 modulated convolution": modulated_conv2d_sg3,
    "ops/filtered_lrelu": filtered_lrelu_cases,
    "layers/stylegan2 equalised dense and conv layers": layers_sg2,
}

__all__ = ["ADAPTERS", "leaf_to_official"]
