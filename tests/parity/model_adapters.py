"""Families 'mapping', 'generator' and 'discriminator' of StyleGAN2, second-order quantities included."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from configs import common
from stylegan_jax import models
from stylegan_jax.config import ModelConfig, model_from_dict
from stylegan_jax.layers.mapping import Mapping
from stylegan_jax.losses import regularizers
from stylegan_jax.models.gan import move_one_centre

from .layout import nchw, nhwc, official_names, probe, variables_of

BASE = common.get_config().model.to_dict() | {
    "resolution": 8,
    "label_dim": 0,
    "compute_dtype": "float32",
    "num_lowp_res": 0,
}
"""The official constructors' defaults, which are ours, in float32; a case names its resolution."""

COMMON_KEYS = {
    "c_dim": "label_dim",
    "img_resolution": "resolution",
    "img_channels": "img_channels",
    "channel_base": "channel_base",
    "channel_max": "channel_max",
    "activation": "activation",
}
IGNORED = {"num_fp16_res", "fp16_channels_last", "fused_modconv_default", "freeze_layers", "w_avg_beta"}


def renamed(config: dict, names: dict) -> dict:
    """Rename official arguments; an unknown one is an error, not a silent difference."""
    out = {}
    for key, value in config.items():
        if key in IGNORED:
            continue
        if key == "resample_filter":
            out[key] = tuple(float(v) for v in value)
        elif key == "conv_clamp":
            out[key] = float(value or 0)
        elif key in names:
            out[names[key]] = value
        else:
            raise KeyError(f"argument {key!r} of this case has no counterpart")
    return out


def flatten_kwargs(config: dict, *nested: str) -> dict:
    flat = {k: v for k, v in config.items() if k not in nested}
    for name in nested:
        flat |= config.get(name) or {}
    return flat


def generator_config(config: dict) -> ModelConfig:
    names = COMMON_KEYS | {"z_dim": "z_dim", "w_dim": "w_dim", "architecture": "g_arch", "use_noise": "use_noise"}
    mapping = {
        "num_layers": "mapping_layers",
        "lr_multiplier": "mapping_lr_mult",
        "embed_features": "mapping_embed_dim",
        "layer_features": "mapping_layer_dim",
    }
    config = flatten_kwargs(config, "synthesis_kwargs", "block_kwargs")
    ours = renamed(config.pop("mapping_kwargs", None) or {}, mapping)
    return model_from_dict(BASE | renamed(config, names) | {k: v for k, v in ours.items() if v is not None})


def discriminator_config(config: dict) -> ModelConfig:
    names = COMMON_KEYS | {"architecture": "d_arch", "cmap_dim": "cmap_dim"}
    names |= {"mbstd_group_size": "mbstd_group", "mbstd_num_channels": "mbstd_channels"}
    mapping = {"num_layers": "d_mapping_layers", "lr_multiplier": "d_mapping_lr_mult"}
    config = flatten_kwargs(config, "block_kwargs", "epilogue_kwargs")
    ours = renamed(config.pop("mapping_kwargs", None) or {}, mapping)
    renames = {k: v for k, v in renamed(config, names).items() if v is not None}
    return model_from_dict(BASE | ours | renames)


def state_of(arrays: dict, prefix: str = "state/") -> dict:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def label_of(arrays: dict, key: str, n: int):
    return arrays.get(key, jnp.zeros((n, 0)))


def truncate(ws, w_avg, psi, cutoff=None):
    """Truncate towards one mean style float[w]."""
    return models.truncate(ws, jnp.broadcast_to(w_avg, (len(ws), *w_avg.shape)), psi, cutoff)


def mapping(meta, arrays, constants):
    config = meta["config"]
    state = state_of(arrays)
    layer = Mapping(
        config["w_dim"],
        config.get("num_layers", 2 if "stylegan3" in meta["object"] else 8),  # the official defaults
        label_dim=config["c_dim"],
        embed_dim=config.get("embed_features") or 0,
        layer_dim=config.get("layer_features") or 0,
        lr_mult=config.get("lr_multiplier", 0.01),
        activation=config.get("activation", "lrelu"),
    )
    num_ws, variables = config["num_ws"], variables_of(state)
    inputs = {k: arrays[f"in/{k}"] for k in ("z", "c") if f"in/{k}" in arrays}

    def forward(params, inputs):
        w = layer.apply({"params": params}, inputs.get("z"), inputs.get("c"))
        return w if num_ws is None else jnp.repeat(w[:, None], num_ws, axis=1)

    ws, pull = jax.vjp(forward, variables["params"], inputs)
    params_grad, inputs_grad = pull(probe(ws.shape, ws.dtype))
    out = {"out/ws": ws}
    out |= {f"grad/{k}": v for k, v in (official_names(params_grad) | inputs_grad).items()}
    w_avg = state.get("w_avg")
    for sub in meta["subcases"]:
        out[sub["out"]] = truncate(ws, w_avg, sub["truncation_psi"], sub["truncation_cutoff"])
    if w_avg is not None:
        beta = config.get("w_avg_beta", 0.998)
        none = jnp.zeros((len(ws), 0))
        once = move_one_centre(w_avg, ws[:, 0], none, beta)
        twice = move_one_centre(once, ws[:, 0], none, beta)
        out |= {"out/ws_update": ws, "out/w_avg_after_1_update": once, "out/w_avg_after_2_updates": twice}
        out["out/ws_update_trunc"] = truncate(ws, twice, 0.5)
    return out


def numbers_after(text: str, label: str) -> str:
    """Return the word that follows a label in the description of how a case was computed."""
    return text.split(label, 1)[1].lstrip().split(" ")[0].rstrip(",.);")


def generator(meta, arrays, constants):
    config = generator_config(meta["config"])
    gan = models.build(config)
    state = state_of(arrays)
    variables = variables_of(state)
    z, z2 = arrays["in/z"], arrays["in/z2"]
    cond = label_of(arrays, "in/c", len(z))
    how = meta["how_computed"]
    psi, cutoff = float(numbers_after(how, "truncation_psi")), numbers_after(how, "truncation_cutoff")
    start = int(numbers_after(how, "rows of ws from index"))
    ws, other = (gan.map_latents(variables, {"z": of}, cond) for of in (z, z2))
    mixed = jnp.concatenate([ws[:, :start], other[:, start:]], axis=1)
    truncated = truncate(ws, state["mapping.w_avg"], psi, None if cutoff == "None" else int(cutoff))

    def image(ws, noise="const"):
        return nchw(gan.synthesize(variables, ws, {}, noise=noise)[0]["image"])

    # One batch for all styles: a synthesis less to compile for each.
    styles = jnp.concatenate([ws, truncated, mixed, ws + 0.1 * probe(ws.shape, ws.dtype)])
    images, pull = jax.vjp(image, styles)
    constant, cut, mix, wplus = jnp.split(images, 4)
    towards = jnp.zeros_like(images).at[: len(ws)].set(probe(constant.shape, constant.dtype))
    out = {
        "out/ws": ws,
        "out/img_noise_none": image(ws, "none"),
        "out/img_noise_const": constant,
        "out/img_trunc": cut,
        "out/img_mix": mix,
        "out/img_wplus": wplus,
        "grad/ws": pull(towards)[0][: len(ws)],
    }
    if any(name.startswith("out/block") for name in meta["arrays"]):
        out |= block_features(config, variables, ws)
    if "in/pl_mean" in arrays:
        out |= path_length(gan, variables, arrays, cond)
    return out


def block_features(config, variables, ws):
    from stylegan_jax.models.stylegan2 import Generator

    _, seen = Generator(config).apply(variables, ws, method="synthesize", mutable=["intermediates"])
    features = seen["intermediates"]["synthesis"]
    return {f"out/block{name[1:]}_x": nchw(x[0]) for name, x in features.items()}


def path_length(gan, variables, arrays, cond):
    noise = nhwc(arrays["in/pl_noise_raw"])
    image = lambda g: lambda w: gan.synthesize(g, w, {})[0]["image"]

    def penalty(params):
        g = variables | {"params": params}
        ws = gan.map_latents(g, {"z": arrays["in/z"]}, cond)
        lengths = regularizers.path_lengths(image(g), ws, noise)
        values, mean = regularizers.path_length_penalty(lengths, arrays["in/pl_mean"], 0.01)
        return values.mean(), (ws, lengths, values, mean)

    grads, (ws, lengths, values, mean) = jax.grad(penalty, has_aux=True)(variables["params"])
    scaled = noise / jnp.sqrt(noise.shape[1] * noise.shape[2])
    pl_grads = jax.grad(lambda w: jnp.sum(image(variables)(w) * scaled))(ws)
    out = {"out/pl_grads": pl_grads, "out/pl_lengths": lengths, "out/pl_penalty": values, "out/pl_mean_new": mean}
    return out | {f"grad/pl/{k}": v for k, v in official_names(grads).items()}


def discriminator(meta, arrays, constants):
    gan = models.build(discriminator_config(meta["config"]))
    params = variables_of(state_of(arrays))["params"]
    image = nhwc(arrays["in/img"])
    cond = label_of(arrays, "in/c", len(image))
    gamma = meta["r1_gamma"]
    critic = lambda p: lambda x: gan.discriminate({"params": p}, {}, {"image": x}, cond)
    logits, pull = jax.vjp(lambda p: critic(p)(image)[0], params)

    def r1_loss(p):
        penalty, _, _ = regularizers.squared_norm(critic(p), image)
        return jnp.mean(penalty * (gamma / 2)), penalty

    r1_grads, penalty = jax.grad(r1_loss, has_aux=True)(params)
    image_grads = jax.grad(lambda x: critic(params)(x)[0].sum())(image)
    out = {
        "out/logits": logits,
        "out/r1_grads": nchw(image_grads),
        "out/r1_penalty": penalty,
        "out/r1_loss": penalty * (gamma / 2),
    }
    out |= {f"grad/logits/{k}": v for k, v in official_names(pull(probe(logits.shape, logits.dtype))[0]).items()}
    return out | {f"grad/r1/{k}": v for k, v in official_names(r1_grads).items()}


ADAPTERS = {
    "mapping/stylegan2 mapping network": mapping,
    "mapping/stylegan3 mapping network": mapping,
    "generator/stylegan2 generator": generator,
    "discriminator/stylegan2 discriminator": discriminator,
}
