"""StyleGAN-XL's training iterations through the programs that the loop runs (`train.programs.run_phase`).

The rows of a phase are those of the case instead of drawn ones. Official micro-batches add their gradients and move
running statistics, spectral vectors, mean styles and the mean path length one after the other; ours give what one large
batch does (docs/stylegan_xl.md). So each micro-batch of a case is a step of its own here, and only the last one of a
phase moves the parameters, by the sum of the gradients.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import stylegan_xl
from stylegan_jax.augment import controller
from stylegan_jax.config import ExperimentConfig, from_dict, levels
from stylegan_jax.config.arch.stylegan_xl import make_plan
from stylegan_jax.models.guidance import guided
from stylegan_jax.runtime.mesh import make_layout
from stylegan_jax.train import programs, schedule, terms
from stylegan_jax.train.gan import task as gan_task
from stylegan_jax.train.gan.objective import Latents, Seen
from stylegan_jax.train.gan.task import make_task
from stylegan_jax.train.state import TrainState
from stylegan_jax.train.task import Frozen

from . import projected_adapters, xl_adapters
from .layout import part
from .model_adapters import state_of
from .projected_adapters import DEIT, official, official_head, official_stats

CLASSIFIER = "classifier"
PHASES = {"g_main": "Gmain", "g_reg": "Greg", "d_main": "Dmain"}


def experiment(c: dict) -> ExperimentConfig:
    """Return the recipe of StyleGAN-XL with the numbers of a case; what shares statistics is a micro-batch."""
    tree = stylegan_xl.get_config("pokemon32" if c["stages"] else "pokemon16")
    loss, t, tree.data.source = tree.loss, tree.train, "synthetic"
    loss.pl_weight = c["pl_weight"] / c["g_reg_interval"]
    for key in ("g_reg_interval", "d_reg_interval", "blur_init_sigma", "blur_fade_kimg"):
        loss[key] = c[key]
    for key in ("batch_size", "g_lr", "d_lr", "eps", "ema_kimg", "ema_rampup"):
        t[key] = float(c[key]) if isinstance(t[key], float) else c[key]
    t.beta1, t.beta2 = map(float, c["betas"])
    loss.adv_batch = tree.model.projected.stats_group = c["batch_gpu"]
    model = xl_adapters.model_config(c["generator"], c["stages"])
    judge = c["discriminator"] | {key: c["generator"][key] for key in ("embedding", "c_dim")}
    theirs = projected_adapters.model_config(judge, model.resolution, c["batch_gpu"])
    own = dataclasses.replace(theirs.projected, augment="")
    model = dataclasses.replace(model, d_arch="projected", projected=own, cmap_dim=theirs.cmap_dim)
    return dataclasses.replace(from_dict(tree), model=model)


class Trainer:
    """The programs of a case, and its state."""

    def __init__(self, c: dict, arrays: dict):
        self.c, self.arrays, self.out, self.config = c, arrays, {}, experiment(c)
        self.judge = c["discriminator"]
        self.plan_of_layers, self.layout = make_plan(self.config.model), make_layout(1)
        gan = projected_adapters.bundle(self.config.model, self.judge)
        if c["cls_weight"]:
            classifier = {CLASSIFIER: projected_adapters.backbone_of(DEIT, c["classifier"])}
            gan = guided(gan, CLASSIFIER, c["cls_weight"], classifier)
        jit = functools.partial(jax.jit, out_shardings=self.layout.replicated)
        self.frozen = jit(self.networks)(part(arrays, "state/"))
        loaders = {name: functools.partial(Frozen, tree, "") for name, tree in self.frozen.items()}
        self.critics = gan.spec.critics
        self.task = make_task(self.config, self.layout, gan=gan, loaders=loaders)
        self.plan = self.task.plan(levels(self.config)[-1])
        self.state = jit(self.start)(arrays)
        self.programs = {phase.name: jit(self.program(phase)) for phase in self.plan.phases}
        self.finish = jit(self.end)

    def networks(self, state: dict) -> dict:
        """Return the frozen networks."""
        frozen = projected_adapters.frozen_of(part(state, "D/"), self.judge["backbones"])
        given = {CLASSIFIER: projected_adapters.deit_of(part(state, "classifier/"))} if self.c["cls_weight"] else {}
        return frozen | given

    def start(self, arrays: dict) -> TrainState:
        nets = {"g": xl_adapters.to_ours(state_of(arrays, "state/G/"))}
        nets["d"] = projected_adapters.variables_of(part(arrays, "state/D/"), self.judge)
        average = xl_adapters.to_ours(state_of(arrays, "state/G_ema/"))["params"]
        moving = {"w_avg": arrays["state/G/mapping.w_avg"], "pl_mean": arrays["in/pl_mean0"]}
        moving["augment"] = controller.init(self.config.augment)
        opt = {net: self.plan.optimizers[net].init(tree["params"]) for net, tree in nets.items()}
        counters = jnp.int32(0), jnp.int32(self.c["cur_nimg_before_first_iteration"])
        return TrainState(*counters, nets, opt, {"g": average}, moving, terms.empty(len(self.task.terms)))

    def program(self, phase: Any) -> Any:
        """Return (state, frozen, rows, gradients so far, whether to step) -> (state, all gradients, aux, by names)."""

        def run(state, frozen, rows, before, is_last):
            seen = {}

            def update(grads, moments, params, *rest):
                seen["grads"] = jax.tree.map(jnp.add, before, grads)
                new = self.plan.optimizers[phase.net].update(seen["grads"], moments, params, *rest)
                still = jax.tree.map(jnp.zeros_like, params), moments
                return jax.tree.map(lambda a, b: jnp.where(is_last, a, b), new, still)

            def after(moving, context, aux):
                seen["aux"] = aux
                return phase.after(moving, context, aux)

            optimizers = self.plan.optimizers | {phase.net: self.plan.optimizers[phase.net]._replace(update=update)}
            given = phase._replace(draw=lambda *_: rows, after=after)
            plan, key = self.plan._replace(optimizers=optimizers), jax.random.key(0)
            state = programs.run_phase(
                self.task, plan, given, self.config, self.layout, state, frozen, self.plan.batch, key
            )
            named = {f"grad/{{}}/{k}": x for k, x in self.official(phase.net, seen["grads"]).items()}
            params = self.official(phase.net, state.nets[phase.net]["params"])
            named |= {f"out/{{}}/param/{k}": x for k, x in params.items()}
            stats = functools.partial(official_stats, is_cond=self.judge["cond"])
            moved = official(state.nets["d"]["batch_stats"], self.judge, stats)
            return state, seen["grads"], seen["aux"], named | {f"out/{{}}/D_buffers/{k}": x for k, x in moved.items()}

        return run

    def rows(self, it: int, name: str, first: int) -> Any:
        """Return the rows of a phase and of the micro-batch that begins at a row."""
        phase, n = PHASES[name], self.c["batch_gpu"] // (self.config.loss.pl_batch_shrink if name == "g_reg" else 1)
        here = lambda key: np.asarray(self.arrays[key][first : first + n])
        cond = lambda key: here(key) if key in self.arrays else np.zeros((n, 0), z["z"].dtype)
        z = {"z": here(f"in/z{it}_{phase}")}
        latents = Latents(z, z, cond(f"in/c{it}_{phase}"), jax.random.key(0), None, "none")
        if name == "g_reg":
            return {"latents": latents, "noise": np.moveaxis(self.arrays["in/pl_noise_raw"], 1, 3)}
        rows = {"latents": latents, "fake": Seen()}
        if name == "d_main":
            rows["real"] = Seen({"image": np.moveaxis(here(f"in/real_img{it}"), 1, 3)}, cond(f"in/real_c{it}"))
        return rows

    def phase(self, it: int, name: str) -> None:
        """Run a phase, a program per micro-batch, and note what it gave."""
        c, found, named = self.c, [], {}
        zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), self.state.nets[name[0]]["params"])
        grads = jax.device_put(zeros, self.layout.replicated)
        for first in range(0, c["batch_size"], c["batch_gpu"]):
            rows, is_last = self.rows(it, name, first), first + c["batch_gpu"] == c["batch_size"]
            self.state, grads, aux, named = self.programs[name](self.state, self.frozen, rows, grads, is_last)
            found.append(jax.device_get(aux))
        tag = f"it{it}_{PHASES[name]}"
        self.out |= {key.format(tag): x for key, x in named.items()}
        self.out |= {f"out/{tag}/{key}": x for key, x in self.report(name, found).items()}

    def report(self, name: str, found: list) -> dict:
        """Return the values of a phase from what its micro-batches returned."""
        rows = {key: np.concatenate([aux.rows[key] for aux in found]) for key in found[0].rows}
        means = {key: sum(aux.means[key] for aux in found) for key in found[0].means}
        if name == "g_reg":
            return {"pl_penalty": rows["penalty"], "pl_mean_after": self.state.moving["pl_mean"]}
        cut = lambda x: np.split(x, np.cumsum(self.critics)[:-1], axis=1)
        split = lambda kind, x: dict(zip([f"{kind}/{k}" for k in self.judge["backbones"]], cut(x), strict=True))
        if name == "g_main":
            guidance = means.get("loss/g_guidance", 0.0)
            out = {"G_loss": means["loss/g_adversarial"] + guidance}
            return (
                out | split("logits_fake", rows["logits"]) | {"guidance_loss": guidance / (self.c["cls_weight"] or 1)}
            )
        out = {"D_loss": means["loss/d_adversarial"], "w_avg": self.state.moving["w_avg"]}
        return out | split("logits_fake", rows["fake"]) | split("logits_real", rows["real"])

    def official(self, net: str, tree: Any) -> dict:
        """Return parameters, buffers of the generator, or gradients by official names."""
        if net == "g":
            return xl_adapters.to_official(tree, self.plan_of_layers)
        return official(tree, self.judge, official_head)

    def end(self, state: TrainState) -> tuple[TrainState, dict]:
        """End an iteration; return the average of the generator and its decay too."""
        beta = self.plan.rates(state.nimg).ema_beta
        state = programs.finish(self.task, self.plan, self.config, state)
        made = gan_task.sampling_model(state)
        out = {"ema_beta": beta, "G_ema/mapping.w_avg": made.pop("w_avg")}
        for tree in made.values():
            out |= {f"G_ema/{k}": x for k, x in self.official("g", tree).items()}
        return state, out

    def iteration(self, it: int) -> None:
        for name in schedule.due_phases(self.plan.phases, it, int(self.state.nimg)):
            self.phase(it, name)
        self.state, found = self.finish(self.state)
        self.out |= {f"out/it{it}_{key}": x for key, x in found.items()}


def training(meta, arrays, constants):
    trainer = Trainer(meta["config"], arrays)
    for it in range(2):
        trainer.iteration(it)
    return trainer.out


ADAPTERS = {"training/training iterations of stylegan-xl": training}
"""Not to be jitted as a whole: each phase is a program, which both iterations share."""
