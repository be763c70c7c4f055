"""Family 'r3gan': networks, initialisation, parameter counts, schedules and training steps."""

from __future__ import annotations

import functools
import math
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stylegan_jax import models
from stylegan_jax.config import LossConfig, ModelConfig, ScheduleConfig, model_from_dict
from stylegan_jax.convert.tables import abstract
from stylegan_jax.losses import regularizers
from stylegan_jax.train import ema, optim
from stylegan_jax.train.gan import objective
from stylegan_jax.train.gan.rates import cosine
from stylegan_jax.train.task import Context, Rates

from .layout import nchw, nhwc, part, probe
from .model_adapters import BASE
from .official import check_fixed, to_official, to_ours

STAYS = ScheduleConfig.STAYS


def model_config(c: dict) -> ModelConfig:
    """Return the model of a generator's arguments; a discriminator's list their stages the other way round."""
    turn = (lambda x: x) if "NoiseDimension" in c else (lambda x: x[::-1])
    own = {
        "widths": tuple(turn(c["WidthPerStage"])),
        "groups": tuple(turn(c["CardinalityPerStage"])),
        "blocks": tuple(turn(c["BlocksPerStage"])),
        "expansion": c["ExpansionFactor"],
    }
    size = c.get("ConditionEmbeddingDimension") or 1
    tree = {"arch": "r3gan", "resolution": c["img_resolution"], "label_dim": c["c_dim"], "mbstd_channels": 0}
    if "NoiseDimension" in c:
        own["embed_dim"], tree["z_dim"] = size, c["NoiseDimension"]
    else:
        tree["cmap_dim"] = size if c["c_dim"] else 0
    return model_from_dict(BASE | tree | {"r3gan": own})


def cond_of(arrays: dict, n: int) -> Any:
    return arrays["in/c"] if "in/c" in arrays else jnp.zeros((n, 0))


def generator(meta, arrays, constants):
    config = model_config(meta["config"])
    gan, g, z = models.build(config), to_ours(config, "g", part(arrays)), arrays["in/z"]
    check_fixed(config, "g", part(constants))
    cond = cond_of(arrays, len(z))

    def image(params, z):
        ws = gan.map_latents({"params": params}, {"z": z}, cond)
        out = nchw(gan.synthesize({"params": params}, ws, {})[0]["image"])
        return jnp.sum(out * probe(out.shape, out.dtype)), out

    (_, out), (by_params, by_z) = jax.value_and_grad(image, (0, 1), has_aux=True)(g["params"], z)
    stage0 = _stage0(config, g, z, cond)
    grads = {f"grad/{k}": v for k, v in to_official(config, "g", by_params).items()}
    return {"out/img": out, "out/stage0": stage0, "grad/z": by_z} | grads


def _stage0(config: ModelConfig, g: dict, z: Any, cond: Any) -> Any:
    from stylegan_jax.models.r3gan import Generator

    _, found = Generator(config).apply(g, z, cond, mutable=["intermediates"])
    return nchw(found["intermediates"]["synthesis"]["x4"][0])


def discriminator(meta, arrays, constants):
    config = model_config(meta["config"])
    gan, d = models.build(config), to_ours(config, "d", part(arrays))
    check_fixed(config, "d", part(constants))
    image, gamma = nhwc(arrays["in/img"]), 2.0
    cond = cond_of(arrays, len(image))

    def logits(params, image):
        return gan.discriminate({"params": params}, {}, {"image": image}, cond)[0]

    def weighed(params):
        out = logits(params, image)
        return jnp.sum(out[:, 0] * probe(out[:, 0].shape, out.dtype)), out[:, 0]

    def penalty(params):
        squared, _, _ = regularizers.squared_norm(lambda x: (logits(params, x), {}), image)
        return (squared * (gamma / 2)).mean(), squared

    (_, out), by_logits = jax.value_and_grad(weighed, has_aux=True)(d["params"])
    (_, squared), by_penalty = jax.value_and_grad(penalty, has_aux=True)(d["params"])
    grads = {f"grad/logits/{k}": v for k, v in to_official(config, "d", by_logits).items()}
    grads |= {f"grad/penalty/{k}": v for k, v in to_official(config, "d", by_penalty).items()}
    by_image = nchw(jax.grad(lambda x: logits(d["params"], x).sum())(image))
    return {"out/logits": out, "out/penalty": squared, "out/penalty_grads": by_image} | grads


def parameter_counts(meta, arrays, constants):
    out = {}
    for case in meta["subcases"]:
        for kind, net in (("generator", "g"), ("discriminator", "d")):
            tree = abstract(models.build(model_config(case[kind])), net)["params"]
            size = sum(math.prod(x.shape) for x in jax.tree.leaves(tree))
            out[case["out"].replace("*", kind)] = np.array([size])
    return out


def initialisation(meta, arrays, constants):
    """Return the standard deviations that the initialisers are asked for, by letting each return its own."""
    own = lambda std: lambda key, shape, dtype=None: jnp.full(shape, std, jnp.result_type(float))
    out = {}
    with mock.patch("stylegan_jax.models.r3gan.scaled_normal", own):
        for kind, net in (("generator", "g"), ("discriminator", "d")):
            config = model_config(meta["config"][kind])
            gan = models.build(config)
            params = (gan.init_g if net == "g" else gan.init_d)(jax.random.key(0))["params"]
            out |= {f"out/std/{net.upper()}/{k}": jnp.max(x) for k, x in to_official(config, net, params).items()}
    return out


def schedule_of(c: dict) -> ScheduleConfig:
    start = (c.get("warmup_nimg") or 0) + (c.get("hold_base_value_nimg") or 0)
    return ScheduleConfig(start_kimg=start / 1000, end_kimg=c["total_nimg"] / 1000)


def schedules(meta, arrays, constants):
    out = {}
    for case in meta["subcases"]:
        nimg, start, end = arrays[case["nimg"]], case["base_value"], case["final_value"]
        value = jnp.asarray(cosine(schedule_of(case), nimg, start, end)) + jnp.zeros_like(nimg)
        if warm := case.get("warmup_nimg"):
            first = case.get("warmup_value", 0.0)
            value = jnp.where(nimg < warm, first + (value - first) * nimg / warm, value)
        out[case["out"]] = value
    return out


class Trainer:
    """Iterations of both phases, with every draw taken from the case."""

    def __init__(self, c: dict, arrays: dict):
        self.c, self.arrays, self.out = c, arrays, {}
        configs = {net: model_config(c[kind]) for net, kind in (("g", "generator"), ("d", "discriminator"))}
        self.configs, bundles = configs, {net: models.build(config) for net, config in configs.items()}
        gan = bundles["g"]._replace(discriminate=bundles["d"].discriminate)
        loss = LossConfig(adversarial="relativistic", d_reg="r1+r2", d_reg_interval=0, style_mixing_prob=0.0)
        self.setting = objective.Setting(lambda rates: gan, loss)
        self.nets = {net: to_ours(configs[net], net, part(arrays, f"state/{net.upper()}/")) for net in "gd"}
        self.ema = to_ours(configs["g"], "g", part(arrays, "state/G_ema/"))["params"]
        self.tx = optim.adam(c["betas"][0], c["eps"], 0)
        self.opt = {net: self.tx.init(self.nets[net]["params"]) for net in "gd"}
        self.nimg = c["cur_nimg_before_first_iteration"]

    def step(self, it: int, net: str, objective_of) -> dict:
        tag, n = f"it{it}_{net.upper()}", self.c["batch_size"]
        z, real = self.arrays[f"in/{tag}/z"], nhwc(self.arrays[f"in/{tag}/real"])
        cond, key = jnp.zeros((n, 0)), jax.random.key(0)
        rows = {
            "latents": objective.Latents({"z": z}, {"z": z}, cond, key, None, "const"),
            "fake": objective.Seen(),
            "real": objective.Seen({"image": real}, cond),
        }

        def of(params):
            nets = self.nets | {net: self.nets[net] | {"params": params}}
            return objective_of(self.setting, Context(nets, {}, {}, self.rates), rows)

        params = self.nets[net]["params"]
        grads, aux = jax.grad(of, has_aux=True)(params)
        updates, self.opt[net] = self.tx.update(
            grads, self.opt[net], params, self.rates.lr[net], self.rates.beta2[net], True
        )
        self.nets[net] = self.nets[net] | {"params": optax.apply_updates(params, updates)}
        official = functools.partial(to_official, self.configs[net], net)
        if it == 0:
            self.out |= {f"grad/{tag}/{k}": v for k, v in official(grads).items()}
        self.out |= {f"out/{tag}/param/{k}": v for k, v in official(self.nets[net]["params"]).items()}
        return aux.rows

    def iteration(self, it: int) -> None:
        rate = {}
        for name, c in self.c["schedules"].items():
            nimg = jnp.asarray(self.nimg, self.arrays["in/it0_D/z"].dtype)
            rate[name] = cosine(schedule_of(c), nimg, c["base_value"], c["final_value"])
        self.rates = Rates(dict.fromkeys("gd", rate["lr"]), dict.fromkeys("gd", rate["beta2"]), rate["gamma"])
        self.out |= {f"out/it{it}_schedule/{name}": value for name, value in rate.items()}
        found = self.step(it, "d", objective.d_main)
        self.out |= {f"out/it{it}_D/adversarial": found["values"], f"out/it{it}_D/relativistic": found["real"][:, 0]}
        self.out |= {f"out/it{it}_D/r1": found["penalty/real"], f"out/it{it}_D/r2": found["penalty/fake"]}
        found = self.step(it, "g", objective.g_main)
        # The difference inside the softplus, whose value the loss reports.
        self.out |= {f"out/it{it}_G/adversarial": found["values"]}
        self.out[f"out/it{it}_G/relativistic"] = -jnp.log(jnp.expm1(found["values"]))
        beta = ema.ema_beta(self.c["batch_size"], jnp.asarray(self.nimg), rate["ema_nimg"] / 1000, 0.0)
        self.ema = ema.update(self.ema, self.nets["g"]["params"], beta)
        self.out[f"out/it{it}_schedule/ema_beta"] = beta
        self.nimg += self.c["batch_size"]


def training(meta, arrays, constants):
    trainer = Trainer(meta["config"], arrays)
    for it in range(2):
        trainer.iteration(it)
    return trainer.out | {
        f"out/it1_G_ema/{k}": v for k, v in to_official(trainer.configs["g"], "g", trainer.ema).items()
    }


ADAPTERS = {
    "r3gan/r3gan generator": generator,
    "r3gan/r3gan discriminator": discriminator,
    "r3gan/r3gan parameter counts": parameter_counts,
    "r3gan/r3gan initialisation": initialisation,
    "r3gan/r3gan schedules": schedules,
    "r3gan/training iterations of r3gan": training,
}
