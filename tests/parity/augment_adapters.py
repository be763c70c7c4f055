"""Families 'augment' and the ADA controller: the pipe with given draws or percentiles, and p over time."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.scipy.special import erfinv

from configs import common
from stylegan_jax.augment import controller, draws, pipeline, pipes
from stylegan_jax.config import AugmentConfig, from_dict

from .layout import nchw, nhwc, probe


def augment_config(pipe: dict) -> AugmentConfig:
    """Return the configuration of a case, whose pipe names multipliers (default 0) and strengths."""
    tree = common.get_config()
    tree.data.source = "synthetic"
    ops, strength = tree.augment.ops, tree.augment.strength
    ops.update(dict.fromkeys(ops, 0.0))
    for key, value in pipe.items():
        group = ops if key in ops else strength
        group[key] = tuple(map(float, value)) if isinstance(value, list) else float(value)
    return from_dict(tree).augment


def at_percentile(q, n: int, ops: dict, pixels):
    """Return unit draws that set every parameter to a percentile; the second rotation is off."""
    normal, units = erfinv(2 * q - 1), {}
    for op in ops:
        kind, value, gate = draws.SHAPES[op]
        fill = erfinv(q) if op == "noise" else normal if kind == draws.NORMAL else q
        units[op] = draws.Unit(jnp.full((n, *value), fill), jnp.zeros((n, *gate)))
    if "rotate" in units:
        units["rotate"] = units["rotate"]._replace(gate=jnp.tile(jnp.asarray([[0.0, 2.0]]), (n, 1)))
    return units, pixels


def as_given(arrays: dict, n: int, ops: dict):
    """Return the unit draws stored in a case."""
    stored = {k.split("_", 1)[1]: v for k, v in arrays.items() if k.startswith("in/draw/")}  # without the number

    def unit(*names: str) -> draws.Unit:
        join = lambda part: jnp.stack([jnp.squeeze(stored[f"{name}.{part}"]).reshape(n, -1) for name in names], 1)
        return draws.Unit(join("value"), join("gate"))

    units, pixels = {}, None
    for op in ops:
        _, value, gate = draws.SHAPES[op]
        if op == "rotate":
            pair = unit("rotate", "rotate_post")
        elif op == "imgfilter":
            pair = unit(*(f"imgfilter{band}" for band in range(4)))
        else:
            names = {"noise": "sigma", "cutout": "center"}
            first = stored[f"{op}.{names.get(op, 'value')}"]
            pair = draws.Unit(first, stored[f"{op}.gate"])
        units[op] = draws.Unit(pair.value.reshape(n, *value), pair.gate.reshape(n, *gate))
    if "noise" in ops:
        pixels = nhwc(stored["noise.image"])
    return units, pixels


def augment(meta, arrays, constants):
    config, out = augment_config(meta["config"]["pipe"]), {}
    p = jnp.asarray(meta["config"]["p"], arrays[meta["subcases"][0]["img"]].dtype)
    groups: dict[str, list] = {}
    for sub in meta["subcases"]:
        groups.setdefault(sub["img"], []).append(sub)
    for name, subs in groups.items():
        image = nhwc(arrays[name])
        n, *shape = image.shape
        ops = pipes.multipliers(config, shape[-1])
        noise = arrays.get("in/noise_image")
        pixels = None if noise is None else jnp.broadcast_to(nhwc(noise), image.shape)

        def one(q, image=image, ops=ops, shape=tuple(shape), pixels=pixels, n=n):
            units, field = as_given(arrays, n, ops) if q is None else at_percentile(q, n, ops, pixels)
            params = draws.to_params(units, field, p, ops, config.strength, shape)
            y, pull = jax.vjp(lambda x: nchw(pipeline.apply_ada(params, x)), image)
            return y, nchw(pull(probe(y.shape, y.dtype))[0])

        if subs[0]["debug_percentile"] is None:
            results = [one(None) for _ in subs]
        else:  # one program for all percentiles of an image
            qs = jnp.asarray([sub["debug_percentile"] for sub in subs], image.dtype)
            stacked = jax.lax.map(one, qs)
            results = [tuple(part[i] for part in stacked) for i in range(len(subs))]
        for sub, (y, grad) in zip(subs, results, strict=True):
            out |= {sub["out"]: y, sub["grad"]: grad}
    return out


def ada_controller(meta, arrays, constants):
    c = meta["config"]
    config = dataclasses.replace(augment_config({}), mode="ada", target=c["ada_target"], p_max=math.inf)
    means = arrays["in/sign_mean"]
    step = c["batch_size"] * c["ada_interval"] / (c["ada_kimg"] * 1000)

    def move(p, mean):
        count = jnp.asarray(c["batch_size"] * c["ada_interval"], means.dtype)
        p = controller.adjust(p, mean * count, count, target=config.target, step=step, p_max=config.p_max)
        return p, p

    return {"out/p": jax.lax.scan(move, jnp.asarray(c["p0"], means.dtype), means)[1]}


ADAPTERS = {
    "augment/adaptive augmentation pipeline": augment,
    "training/adaptive augmentation probability": ada_controller,
}
