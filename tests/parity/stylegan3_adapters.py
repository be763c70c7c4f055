"""StyleGAN3: the layer design of full-size configurations, and the generator with its transforms and averages."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax import models
from stylegan_jax.config import ModelConfig, model_from_dict
from stylegan_jax.config.arch.stylegan3 import LayerPlan, Plan, make_plan
from stylegan_jax.models.stylegan3 import Generator
from stylegan_jax.ops.lowpass import design_lowpass

from .layout import nchw, official_names, probe, variables_of
from .model_adapters import BASE, COMMON_KEYS, label_of, renamed, state_of, truncate

NAMES = COMMON_KEYS | {"z_dim": "z_dim", "w_dim": "w_dim"}
OWN = set(BASE["stylegan3"]) - {"channel_base", "channel_max", "magnitude_ema_kimg"}


def model_config(config: dict, **changes) -> ModelConfig:
    """Return our configuration of official constructor arguments; the discriminator's part is arbitrary."""
    own = {k: v for k, v in config.items() if k in OWN}
    rest = renamed({k: v for k, v in config.items() if k not in OWN and k != "magnitude_ema_beta"}, NAMES)
    own |= {key: rest.pop(key, BASE[key]) for key in ("channel_base", "channel_max")}
    size = {"channel_base": 4096, "arch": "stylegan3", "mapping_layers": 2}
    return model_from_dict(BASE | size | rest | {"stylegan3": BASE["stylegan3"] | own | changes})


def check_layer(plan: LayerPlan, want: dict) -> None:
    """Compare every design number of a layer with the official one."""
    source, out = plan.source, plan.out
    x0, x1, y0, y1 = plan.padding
    got = {
        "in_size": list(source.size[::-1]),
        "out_size": list(out.size[::-1]),
        "in_sampling_rate": source.rate,
        "out_sampling_rate": out.rate,
        "tmp_sampling_rate": plan.tmp_rate,
        "up_factor": plan.up,
        "down_factor": plan.down,
        "up_taps": plan.up_taps,
        "down_taps": plan.down_taps,
        "down_radial": plan.radial,
        "padding": [x0, x1, y0, y1],
        "is_critically_sampled": plan.is_critical,
        "is_torgb": plan.is_rgb,
        "in_channels": source.channels,
        "out_channels": out.channels,
        "conv_kernel": plan.kernel,
        "name": plan.official_name,
        "use_fp16": plan.is_lowp,
    }
    numbers = {
        "in_cutoff": source.cutoff,
        "out_cutoff": out.cutoff,
        "in_half_width": source.half_width,
        "out_half_width": out.half_width,
    }
    assert {k: v for k, v in got.items() if k in want} == {k: v for k, v in want.items() if k in got}
    for key, value in numbers.items():
        assert math.isclose(value, want[key], rel_tol=1e-12), (plan.index, key, value, want[key])
    assert not set(want) - set(got) - set(numbers) - {"idx", "filters"}


def filters_of(plan: LayerPlan) -> dict[str, Any]:
    """Return the filters of a layer by kind; None is the identity."""
    return {"up": design_lowpass(*plan.up_design), "down": design_lowpass(*plan.down_design)}


def designed(plan: Plan, sub: dict, name: Callable[[LayerPlan], str]) -> dict:
    """Compare the plan of a full-size network with a subcase; return its filters by the names of its layers."""
    assert [p.out.channels for p in plan.layers] == sub["channels_per_layer_full_size"]
    assert [*plan.input.size] == sub["input"]["size"] and plan.input.channels == sub["input"].get(
        "channels", plan.input.channels
    )
    assert (plan.input.rate, plan.input.bandwidth) == (sub["input"]["sampling_rate"], sub["input"]["bandwidth"])
    out = {}
    for p, want in zip(plan.layers, sub["layers"], strict=True):
        check_layer(p, want)
        out |= {f"{name(p)}_{kind}_filter": f for kind, f in filters_of(p).items() if f is not None}
    return out


def check_layers(plan: Plan, designs: list, filters: dict) -> None:
    """Compare the layers of a network with their official numbers, and their filters with official arrays."""
    for p, want in zip(plan.layers, designs, strict=True):
        check_layer(p, want)
        for kind, f in filters_of(p).items():
            name = f"synthesis.{p.official_name}.{kind}_filter"
            assert (f is None) == (name not in filters)
            if f is not None:
                np.testing.assert_allclose(f, filters[name], rtol=0, atol=1e-7)


def layers_seen(plan: Plan, seen: dict) -> dict:
    """Return what left each layer, and its root mean square, by the names of the cases."""
    out = {}
    for p in plan.layers:
        x = seen[f"x{p.index}"]
        out |= {
            f"out/layer/{p.official_name}": x,
            f"out/layer_rms/{p.official_name}": jnp.sqrt(jnp.mean(jnp.square(x))),
        }
    return out


def to_official(params: dict, plan: Plan) -> dict:
    """Flatten a tree of parameters or gradients to official names and layouts."""
    names = {f"L{p.index}": p.official_name for p in plan.layers}
    rename = lambda name: re.sub(r"\b(L\d+)\.", lambda m: names[m[1]] + ".", name)
    return {rename(k): x for k, x in official_names(params).items()}


def design(meta, arrays, constants):
    found = (designed(make_plan(model_config(s["config"])), s, lambda p: f"L{p.index}") for s in meta["subcases"])
    return {f"out/cfg{i}/{k}": f for i, filters in enumerate(found) for k, f in filters.items()}


def generator(meta, arrays, constants):
    official = meta["config"]
    z = arrays["in/z"]
    beta = official.get("magnitude_ema_beta", 0.999)
    config = model_config(official, magnitude_ema_kimg=len(z) / 1000 / math.log2(1 / beta))
    plan, gan, state, filters = make_plan(config), models.build(config), state_of(arrays), state_of(constants)
    check_layers(plan, meta["layer_design"], filters)
    variables = variables_of(state)
    cond = label_of(arrays, "in/c", len(z))
    ws = gan.map_latents(variables, {"z": z}, cond)

    out = {"out/ws": ws}
    moves = [k.removeprefix("in/transform_") for k in arrays if k.startswith("in/transform_")]
    identity = variables["buffers"]["synthesis"]["input"]["transform"]
    truncated = truncate(ws, state["mapping.w_avg"], 0.6, 4)

    def run(case):
        moved = gan.with_transform(variables, case["transform"])
        image, seen = Generator(config).apply(moved, case["ws"], method="synthesize", mutable=["intermediates"])
        return nchw(image), {k: nchw(v[0]) for k, v in seen["intermediates"]["synthesis"].items()}

    cases = [(ws, identity), (truncated, identity), *((ws, arrays[f"in/transform_{key}"]) for key in moves)]
    stacked = {"ws": jnp.stack([c[0] for c in cases]), "transform": jnp.stack([c[1] for c in cases])}
    images, seen = jax.lax.map(run, stacked)  # one program for all of them
    out["out/img"], out["out/img_trunc"], out["out/input_features"] = images[0], images[1], seen["features"][0]
    for i, key in enumerate(moves, 2):
        out |= {f"out/img_{key}": images[i], f"out/input_features_{key}": seen["features"][i]}
    out |= layers_seen(plan, {k: x[0] for k, x in seen.items()})
    sample, moved = gan.synthesize(variables, ws, {}, train=True)
    out["out/img_update"] = nchw(sample["image"])
    for p in plan.layers:
        name = f"out/state_after_update/synthesis.{p.official_name}.magnitude_ema"
        out[name] = moved["buffers"]["synthesis"][f"L{p.index}"]["magnitude_ema"]
    out["out/state_after_update/mapping.w_avg"] = gan.move_centre(state["mapping.w_avg"], ws[:, 0], cond, 0.998)
    return out | gradients(gan, plan, variables, ws)


def gradients(gan, plan, variables, ws) -> dict:
    synthesis = variables["params"]["synthesis"]

    def image(synthesis, ws):
        params = variables["params"] | {"synthesis": synthesis}
        return nchw(gan.synthesize(variables | {"params": params}, ws, {})[0]["image"])

    y, pull = jax.vjp(image, synthesis, ws)
    by_params, by_ws = pull(probe(y.shape, y.dtype))
    official = to_official({"synthesis": by_params}, plan)
    return {"grad/ws": by_ws} | {f"grad/{k}": v for k, v in official.items()}


ADAPTERS = {"design/stylegan3 layer design": design, "generator/stylegan3 generator": generator}
