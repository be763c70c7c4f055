"""StyleGAN-V's augmentation of clips and its training steps, quirks included."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from stylegan_jax import models
from stylegan_jax.augment import draws, pipeline, pipes
from stylegan_jax.config import LossConfig
from stylegan_jax.train import ema, optim
from stylegan_jax.train.gan import objective
from stylegan_jax.train.task import Context, Rates

from .augment_adapters import as_given, augment_config
from .layout import nchw, part, probe
from .official import to_official, to_ours
from .sgv_adapters import discriminator_config, generator_config


def stacked(x, frames: int):
    """Return clips [n, t, h, w, c] of arrays whose frames are stacked on channels, [n, t*c, h, w]."""
    n, channels, h, w = x.shape
    return jnp.moveaxis(x.reshape(n, frames, channels // frames, h, w), 2, 4)


def clip_params(c: dict, drawn: dict, n: int, frames: int, shape: tuple, dtype: Any) -> draws.Params:
    """Return the parameters of a case's draws; `drawn` holds arrays 'in/draw/…'."""
    config = augment_config(c["pipe"])
    ops = pipes.multipliers(config, shape[-1])
    units, pixels = as_given(drawn, n, ops)
    if pixels is not None:
        pixels = stacked(nchw(pixels), frames)
    return draws.to_params(units, pixels, jnp.asarray(c["p"], dtype), ops, config.strength, shape)


apply_clips = pipeline.framewise(pipeline.apply_ada)


def augment(meta, arrays, constants):
    c, clip = meta["config"], arrays["in/clip"]
    frames = c["num_frames_per_video"]
    image = stacked(clip, frames)
    params = clip_params(c, arrays, len(image), frames, image.shape[2:], clip.dtype)

    def seen(clip):
        out = apply_clips(params, stacked(clip, frames))
        return jnp.moveaxis(out, 4, 2).reshape(clip.shape)

    out, pull = jax.vjp(seen, clip)
    return {"out/clip": out, "grad/clip": pull(probe(out.shape, out.dtype))[0]}


class Trainer:
    """The phases of one iteration, with every draw taken from the case."""

    def __init__(self, c: dict, arrays: dict):
        self.c, self.arrays, self.out = c, arrays, {}
        sampling = c["generator"]["cfg"]["sampling"]
        frames = {"frames": c["num_frames_per_video"], "concat_res": 8, "max_dist": sampling["max_dist"]}
        self.configs = {"g": generator_config(c["generator"], frames), "d": discriminator_config(c["discriminator"])}
        bundles = {net: models.build(config) for net, config in self.configs.items()}
        self.gan = bundles["g"]._replace(discriminate=bundles["d"].discriminate)
        loss = LossConfig(r1_gamma=c["r1_gamma"], d_reg_interval=c["d_reg_interval"], style_mixing_prob=0.0)
        view = (lambda rates, drawn, image: apply_clips(drawn, image)) if "augment" in c else objective.identity
        self.setting = objective.Setting(lambda rates: self.gan, loss, view)
        self.nets = {net: to_ours(self.configs[net], net, part(arrays, f"state/{net.upper()}/")) for net in "gd"}
        self.ema = self.nets["g"]["params"]
        if given := part(arrays, "state/G_ema/"):
            self.ema = to_ours(self.configs["g"], "g", given)["params"]
        self.w_avg, self.nimg = arrays["state/G/mapping.w_avg"], c["cur_nimg_before_first_iteration"]
        # Both keep the correction for lazy regularisation, and D's penalty moves the moments of all parameters.
        self.tx = {net: optim.adam(c["betas"][0], c["eps"], c[f"{net}_reg_interval"]) for net in "gd"}
        self.opt = {net: tx.init(self.nets[net]["params"]) for net, tx in self.tx.items()}

    def cond(self, key: str, n: int):
        return self.arrays.get(f"in/{key}", jnp.zeros((n, self.configs["g"].label_dim)))

    def latents(self, it: int, phase: str) -> objective.Latents:
        z = self.arrays[f"in/z{it}_{phase}"]
        cond = self.cond(f"c{it}_{phase}", len(z))
        names = {"times": f"in/t{it}_{phase}", "motion": f"in/motion_z{it}_{phase}"}
        inputs = {"z": z} | {name: self.arrays[key] for name, key in names.items()}
        inputs |= {"label": cond} if cond.shape[1] else {}
        return objective.Latents(inputs, inputs, cond, jax.random.key(0), None, "none")

    def seen(self, tag: str, **fields: Any) -> objective.Seen:
        """Return what a phase's clips pass on their way into the discriminator."""
        if "augment" not in self.c:
            return objective.Seen(**fields)
        prefix = f"in/draw_{tag}/"
        drawn = {f"in/draw/{k}": v for k, v in part(self.arrays, prefix).items()}
        h, w, c = self.gan.spec.image_shape
        n, frames = self.c["batch_size"], self.c["num_frames_per_video"]
        return objective.Seen(
            view=clip_params(self.c["augment"], drawn, n, frames, (h, w, c), self.w_avg.dtype), **fields
        )

    def real(self, it: int, phase: str) -> objective.Seen:
        image = self.arrays[f"in/real_img{it}"]
        sample = {"image": jnp.moveaxis(image, 2, 4), "times": self.arrays[f"in/real_t{it}"].astype(self.w_avg.dtype)}
        return self.seen(f"it{it}_{phase}_real", sample=sample, cond=self.cond(f"real_c{it}", len(image)))

    def step(self, tag: str, net: str, loss):
        rates = Rates(lr={}, beta2={}, gamma=self.c["r1_gamma"])

        def of(params):
            return loss(Context(self.nets | {net: self.nets[net] | {"params": params}}, {}, {}, rates))

        params = self.nets[net]["params"]
        grads, aux = jax.grad(of, has_aux=True)(params)
        updates, self.opt[net] = self.tx[net].update(
            grads, self.opt[net], params, self.c[f"{net}_lr"], self.c["betas"][1], True
        )
        params = optax.apply_updates(params, updates)
        self.nets[net] = self.nets[net] | {"params": params}
        official = lambda tree: to_official(self.configs[net], net, tree)
        self.out |= {f"grad/{tag}/{k}": v for k, v in official(grads).items()}
        self.out |= {f"out/{tag}/param/{k}": v for k, v in official(params).items()}
        return aux.rows

    def move_centre(self, tag: str, rows: dict) -> None:
        self.w_avg = self.gan.move_centre(self.w_avg, rows["w"], rows["cond"], self.c["w_avg_beta"])
        self.out[f"out/{tag}/w_avg"] = self.w_avg

    def iteration(self, it: int, *, regularise: bool) -> None:
        s, out, tag = self.setting, self.out, f"it{it}_Gmain"
        rows = {"latents": self.latents(it, "Gmain"), "fake": self.seen(f"{tag}_fake")}
        found = self.step(tag, "g", lambda context: objective.g_main(s, context, rows))
        out |= {f"out/{tag}/scores_fake": found["logits"][:, 0], f"out/{tag}/G_loss": found["values"]}
        self.move_centre(tag, found)
        tag = f"it{it}_Dmain"
        rows = {"latents": self.latents(it, "Dmain"), "fake": self.seen(f"{tag}_fake"), "real": self.real(it, "Dmain")}
        found = self.step(tag, "d", lambda context: objective.d_main(s, context, rows))
        out |= {f"out/{tag}/scores_fake": found["fake"][:, 0], f"out/{tag}/scores_real": found["real"][:, 0]}
        out[f"out/{tag}/D_loss"] = found["values"]
        self.move_centre(tag, found)
        if regularise:
            self.regularise(it)
        beta = ema.ema_beta(self.c["batch_size"], jnp.asarray(self.nimg), self.c["ema_kimg"], 0.0)
        self.ema = ema.update(self.ema, self.nets["g"]["params"], beta)
        self.nimg += self.c["batch_size"] * self.c["num_frames_per_video"]
        out |= {f"out/it{it}_ema_beta": beta, f"out/it{it}_G_ema/mapping.w_avg": self.w_avg}
        ours = to_official(self.configs["g"], "g", self.ema)
        out |= {f"out/it{it}_G_ema/{k}": v for k, v in ours.items()}
        out |= {f"out/it{it}_G_ema/{k}": v for k, v in part(self.arrays, "state/G/").items() if k not in ours | out}
        out[f"out/it{it}_G_ema/mapping.w_avg"] = self.w_avg

    def regularise(self, it: int) -> None:
        tag, real = f"it{it}_Dreg", self.real(it, "Dreg")
        before = self.nets["d"]
        rates = Rates(lr={}, beta2={}, gamma=self.c["r1_gamma"])
        context = Context(self.nets, {}, {}, rates)

        def total(image):
            shown = real.sample | {"image": image}
            return objective.judge(self.setting, context, before, real, shown, real.cond)[0].sum()

        per_frame = jnp.square(jax.grad(total)(real.sample["image"])).sum(axis=(2, 3, 4))
        found = self.step(tag, "d", lambda context: objective.d_reg(self.setting, context, {"real": real}))
        self.out |= {f"out/{tag}/r1_penalty": per_frame.reshape(-1)}
        self.out |= {f"out/{tag}/scores_real": found["logits/real"][:, 0]}
        self.out[f"out/{tag}/D_reg"] = found["penalty/real"] * (self.c["r1_gamma"] / 2)


def training(meta, arrays, constants):
    trainer = Trainer(meta["config"], arrays)
    trainer.iteration(0, regularise=True)
    if "in/z1_Gmain" in arrays:
        trainer.iteration(1, regularise=False)
    return trainer.out


ADAPTERS = {
    "video/stylegan-v clip augmentation": augment,
    "video/one-and-a-half training iterations of stylegan-v": training,
}
