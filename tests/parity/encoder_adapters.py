"""Family 'encoder', networks: residual units, style blocks, encoders, ReStyle, resizing, the decoder, identity."""

from __future__ import annotations

import math
import re
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from stylegan_jax import models
from stylegan_jax.base.trees import flatten, unflatten
from stylegan_jax.config import model_from_dict
from stylegan_jax.config.encoder import EncoderConfig
from stylegan_jax.convert import encoders as names, rosinality
from stylegan_jax.encoders import restyle
from stylegan_jax.encoders.bodies import BODIES
from stylegan_jax.encoders.encoder import Encoder, EncoderSpec, make_encoder, style_block
from stylegan_jax.features import identity as faces, irse
from stylegan_jax.models import stylegan2
from stylegan_jax.ops import modconv
from stylegan_jax.ops.norm import batch_norm
from stylegan_jax.ops.resize import resize_aligned, resize_area

from .layout import nchw, nhwc, part, probe, variables_of
from .model_adapters import BASE

Arrays = dict[str, Any]


def theirs(value, name: str):
    """Turn an array of ours into PyTorch's layout."""
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    value = value.T if value.ndim == 2 else value
    return value[:, :, None, None] if ".fc" in name else value


# Parts


def unit_names(own: Arrays) -> dict[str, str]:
    """Return {our path: published name} of the arrays of a residual unit that a case has."""
    leaves = {"params": ("weight", "bias"), "stats": ("running_mean", "running_var")}
    found = {}
    for ours, name in irse._UNIT.items():
        found |= {f"params/{ours}": name} if name in own else {}
        found |= {f"{kind}/{ours}/{leaf}": f"{name}.{leaf}" for kind in leaves for leaf in leaves[kind]}
    return {path: name for path, name in found.items() if name in own}


def run_unit(params: dict, x, stats: dict, stride: int, train: bool):
    """Return the weighed sum of a unit's output, the output, and what its normalisations move."""
    after = {}

    def norm(x, name):
        own = {"mean": stats[name]["running_mean"], "var": stats[name]["running_var"]}
        x, after[name] = batch_norm(x, params[name], own, len(x), train)
        return x

    y = nchw(irse.unit(params, x, stride, norm))
    return jnp.sum(y * probe(y.shape, y.dtype)), (y, after)


def units(meta: dict, traced: Arrays, given: Arrays) -> Arrays:
    out: Arrays = {}
    for case in meta["subcases"]:
        key, train = case["id"], case["batch_norm"] == "training"
        own, x = part(traced, f"state/{key}/"), nhwc(traced[case["x"]])
        table = unit_names(own)
        ranks = {path: 2 if path.endswith(("/down", "/up")) else own[name].ndim for path, name in table.items()}
        tree = unflatten({path: irse.rearranged(own[name], ranks[path]) for path, name in table.items()})
        value = jax.value_and_grad(run_unit, (0, 1), has_aux=True)
        (_, (y, after)), (grads, grad_x) = value(tree["params"], x, tree["stats"], case["stride"], train)
        out |= {case["out"]: y, f"grad/{key}/x": nchw(grad_x)}
        for path, grad in flatten({"params": grads}).items():
            out[f"grad/{key}/{table[path]}"] = theirs(grad, table[path])
        for name, stats in after.items():
            for leaf in ("mean", "var"):
                out[f"out/{key}/{table[f'stats/{name}/running_{leaf}']}"] = stats[leaf]
    return out


def block_of(own: Arrays) -> dict:
    """Return a style block's parameters from published names."""
    tree: dict = {}
    for name, value in own.items():
        m = re.fullmatch(r"(?:convs\.(\d+)|linear)\.(weight|bias)", name)
        assert m, name
        tree.setdefault(f"conv{int(m[1]) // 2}" if m[1] else "dense", {})[m[2]] = irse.rearranged(value, value.ndim)
    return tree


def style_blocks(meta: dict, traced: Arrays, given: Arrays) -> Arrays:
    out: Arrays = {}
    for case in meta["subcases"]:
        key = case["id"]
        params, x = block_of(part(traced, f"state/{key}/")), nhwc(traced[case["x"]])

        def run(params, x):
            w = style_block(params, x)
            return jnp.sum(w * probe(w.shape, w.dtype)), w

        (_, w), (grads, grad_x) = jax.value_and_grad(run, (0, 1), has_aux=True)(params, x)
        out |= {case["out"]: w, f"grad/{key}/x": nchw(grad_x)}
        for layer, leaves in grads.items():
            name = "linear" if layer == "dense" else f"convs.{2 * int(layer.removeprefix('conv'))}"
            out |= {f"grad/{key}/{name}.{leaf}": theirs(value, name) for leaf, value in leaves.items()}
    return out


def resizing(meta: dict, traced: Arrays, given: Arrays) -> Arrays:
    out: Arrays = {}
    for case in meta["subcases"]:
        x = nhwc(traced[case["x"]])
        if case["op"].startswith("adaptive"):
            out[case["out"]] = nchw(resize_area(x, tuple(case["size"])))
        elif case["op"].startswith("nearest"):
            rows, columns = (jnp.arange(new) * old // new for new, old in zip(case["size"], x.shape[1:3], strict=True))
            out[case["out"]] = nchw(x[:, rows][:, :, columns])
        else:
            y = nhwc(traced[case["y"]])
            add = lambda x, y=y: nchw(resize_aligned(x, y.shape[1:3]) + y)
            out[case["out"]] = add(x)
            weigh = lambda x, add=add: jnp.sum(add(x) * probe(add(x).shape, x.dtype))
            out[case["grad"]] = nchw(jax.grad(weigh)(x))
    return out


# Whole encoders


def encoder_of(meta: dict, num_ws: int, **changes) -> tuple[Encoder, EncoderConfig]:
    config = meta["config"]
    widths = tuple(config["widths"])
    own = {"body_widths": widths, "body_units": tuple(config["units"]), "body_squeeze": config["squeeze_ratio"]}
    ours = EncoderConfig(**own, width=widths[3], **changes)
    spec = EncoderSpec((64, 64, 3), num_ws, widths[3], ours.kind, width=widths[3], pyramid=ours.pyramid)
    return make_encoder(spec._replace(residual=ours.residual, start_from_average=False), BODIES["ir_se50"](ours)), ours


def variables_from(encoder: Encoder, config: EncoderConfig, state: Arrays) -> dict:
    """Return an encoder's variables from a case; every array of it is used."""
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    table = {path: names.tensor_name(config, path.split("/")) for path in flatten(shapes) if "average" not in path}
    left = set(state) - set(table.values()) - {"decoder", "latent_avg"}
    assert not left, left
    ranks = {path: len(leaf.shape) for path, leaf in flatten(shapes).items()}
    tree = unflatten({path: irse.rearranged(state[name], ranks[path]) for path, name in table.items()})
    return tree | {"average": {"w": jnp.zeros(shapes["average"]["w"].shape)}}


def named(config: EncoderConfig, prefix: str, tree: dict, kind: str) -> Arrays:
    """Return gradients or statistics under their published names and in their layout."""
    found = {names.tensor_name(config, [kind, *path.split("/")]): x for path, x in flatten(tree).items()}
    return {prefix + name: theirs(x, name) for name, x in found.items()}


def e4e_and_psp(meta: dict, traced: Arrays, given: Arrays) -> Arrays:
    out: Arrays = {}
    x, state = nhwc(traced["in/x"]), part(traced)
    for kind in ("e4e", "psp"):
        encoder, config = encoder_of(meta, meta["config"]["style_count"], kind=kind)
        variables = variables_from(encoder, config, state)

        def run(params, x, stage, train, encoder=encoder, variables=variables):
            ws, moved = encoder.encode(variables | {"params": params}, x, stage=stage, train=train)
            return jnp.sum(ws * probe(ws.shape, ws.dtype)), (ws, moved)

        own = [case for case in meta["subcases"] if ("pSp" in case["encoder"]) == (kind == "psp")]
        inner = [case for case in own if kind == "e4e" and case["progressive_stage"] not in (5, 18)]
        if inner:  # traced here, integers below
            stages = jnp.asarray([case["progressive_stage"] for case in inner])
            every = jax.vmap(run, (None, None, 0, None))(variables["params"], x, stages, False)[1][0]
            out |= {case["out"]: ws for case, ws in zip(inner, every, strict=True)}
        for case in own:
            if case in inner:
                continue
            stage, train = case.get("progressive_stage"), case["batch_norm"] == "training"
            value = jax.value_and_grad(run, (0, 1), has_aux=True)
            (_, (ws, moved)), (grads, grad_x) = value(variables["params"], x, stage, train)
            out[case["out"]] = ws
            if kind == "e4e":
                where = "train" if train else "eval"
                out |= {f"grad/{where}/x": nchw(grad_x)} | named(config, f"grad/{where}/", grads, "params")
            if train:
                out |= named(config, "out/train/", moved["batch_stats"], "batch_stats")
    return out


def restyle_16(meta: dict, traced: Arrays, given: Arrays) -> Arrays:
    """Run one program per form, and one of training, which are called once per iteration."""
    out: Arrays = {}
    x, state = nhwc(jnp.asarray(traced["in/x"])), {k: jnp.asarray(v) for k, v in part(traced).items()}
    synthesize = lambda ws: nhwc((ws.reshape(len(ws), -1) @ state["decoder"]).reshape(-1, 3, 8, 8))
    count = meta["config"]["n_iters_per_batch"]
    for kind in ("psp", "e4e"):
        encoder, config = encoder_of(
            meta, meta["config"]["style_count"], kind=kind, pyramid=False, residual=True, iterations=count
        )
        variables = variables_from(encoder, config, state)
        w = jnp.broadcast_to(state["latent_avg"], (encoder.spec.num_ws, encoder.spec.w_dim))
        image = resize_area(synthesize(w[None]), (64, 64))[0]
        variables["average"] = {"w": w, "image": image}
        compiled = encoder._replace(encode=jax.jit(encoder.encode, static_argnames=("stage", "train")))
        ws, every = restyle.iterate(compiled, variables, synthesize, x, count)
        out |= {f"out/{kind}/latent{k}": value for k, value in enumerate(every)}
        out[f"out/{kind}/image2"] = nchw(resize_area(synthesize(ws), (64, 64)))
        if kind == "psp":
            out["out/average_image"] = image.transpose(2, 0, 1)
            out |= restyle_training(encoder, config, variables, synthesize, x, count)
    return out


def restyle_training(encoder, config, variables, synthesize, x, count) -> Arrays:
    def loss(params, stats, ws, made):
        own = variables | {"params": params, "batch_stats": stats}
        ws, moved = restyle.step(encoder, own, x, ws, made, train=True)
        made = resize_area(synthesize(ws), (64, 64))
        return jnp.mean(jnp.square(made - x)), (ws, made, moved["batch_stats"])

    (ws, made), stats, losses, every = restyle.start(variables, len(x)), variables["batch_stats"], [], []
    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    for _ in range(count):
        (value, (ws, made, stats)), grads = step(variables["params"], stats, ws, made)
        losses.append(value)
        every.append(grads)
    total = jax.tree.map(lambda *parts: sum(parts), *every)
    out = {"out/train/losses": jnp.stack(losses)} | named(config, "grad/train/", total, "params")
    return out | named(config, "out/train/", stats, "batch_stats")


# What is around an encoder


def decoder(meta: dict, traced: Arrays, given: Arrays) -> Arrays:
    config, state = meta["config"], part(traced)
    own = {"resolution": config["size"], "z_dim": config["style_dim"], "w_dim": config["style_dim"]}
    own |= {"mapping_layers": config["n_mlp"], "conv_clamp": 0.0}
    model = model_from_dict(BASE | own)
    official = {}
    for name, value in state.items():
        if not name.endswith((".blur.kernel", ".upsample.kernel")):
            ours = rosinality._official_name(name)
            assert ours, name
            official[ours] = rosinality._rearranged(name, ours, value)
    table = {int(res): count for res, count in config["channels"].items()}
    ours = modconv.demodulation
    # Theirs adds the epsilon to weights that are scaled by 1 / sqrt(fan in) already: images differ by 1e-8 of the
    # largest value, which is above the float64 bound, so the epsilon is theirs here.
    demodulation = lambda w, s, eps=1e-8: ours(w, s, eps * math.prod(w.shape[:3]))
    with (
        mock.patch.object(stylegan2, "channels", lambda config, res: table[res]),
        mock.patch.object(modconv, "demodulation", demodulation),
    ):
        gan, g = models.build(model), variables_of(official)
        cond = jnp.zeros((len(traced["in/z"]), 0))
        ws = gan.map_latents(g, {"z": traced["in/z"]}, cond)
        image = lambda ws: nchw(gan.synthesize(g, ws, {}, noise="const")[0]["image"])
        return {"out/w": ws[:, 0], "out/image_of_z": image(ws), "out/image_of_ws": image(traced["in/ws"])}


def identity(meta: dict, traced: Arrays, given: Arrays) -> Arrays:
    block, size = meta["config"]["block"], meta["config"]["image_size"]
    facenet = traced["state/facenet"]

    def image_of(key):
        x = nhwc(traced[key])
        return jnp.repeat(jnp.repeat(x, block, axis=1), block, axis=2)[:, :size, :size]

    def features(x):
        means = nchw(faces.cropped(x)).reshape(len(x), 3, 7, 16, 7, 16).mean(axis=(3, 5))
        return faces.unit_length(means.reshape(len(x), -1) @ facenet.T)

    y_hat, y, x = (image_of(f"in/{name}") for name in ("y_hat", "y", "x"))
    of = {"y_hat": features(y_hat), "y": features(y), "x": features(x)}
    dot = lambda a, b: jnp.sum(of[a] * of[b], axis=1)
    loss = lambda y_hat: jnp.mean(1 - jnp.sum(features(y_hat) * jax.lax.stop_gradient(of["y"]), axis=1))
    grad = nchw(jax.grad(loss)(y_hat))
    padded = jnp.pad(grad, ((0, 0), (0, 0), (0, 52 * block - size), (0, 52 * block - size)))
    sums = padded.reshape(len(y), 3, 52, block, 52, block).sum(axis=(3, 5))
    return {
        "out/loss": loss(y_hat),
        "out/sim_improvement": jnp.mean(dot("y_hat", "y") - dot("y", "x")),
        "out/diff_target": dot("y_hat", "y"),
        "out/diff_input": dot("y_hat", "x"),
        "out/diff_views": dot("y", "x"),
        **{f"out/features/{name}": value for name, value in of.items()},
        "out/pooled/y_hat": nchw(faces.cropped(y_hat))[:1, :1],
        "grad/loss/y_hat_block_sums": sums,
    }


ADAPTERS = {
    "encoder/residual units of the IR and IR-SE backbones": units,
    "encoder/map-to-style block": style_blocks,
    "encoder/resizing used by the encoders and their losses": resizing,
    "encoder/e4e and pSp encoders": e4e_and_psp,
    "encoder/ReStyle's iterative encoders": restyle_16,
    "encoder/the generator inside encoder checkpoints": decoder,
    "encoder/identity loss and similarity": identity,
}
