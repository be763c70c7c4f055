"""Family 'training': whole optimiser phases through `train.gan.objective`, `train.optim` and `train.ema`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from stylegan_jax import models
from stylegan_jax.config import LossConfig
from stylegan_jax.train import ema, optim
from stylegan_jax.train.gan import objective
from stylegan_jax.train.task import Context, Rates

from .layout import nhwc, official_names, variables_of
from .model_adapters import discriminator_config, generator_config, label_of, state_of


def loss_config(c: dict) -> LossConfig:
    return LossConfig(
        adversarial="logistic",
        d_reg="r1",
        r1_gamma=c["r1_gamma"],
        gp_weight=0.0,
        d_reg_interval=c["d_reg_interval"],
        drift_weight=0.0,
        pl_weight=c["pl_weight"],
        pl_decay=c["pl_decay"],
        pl_batch_shrink=c["pl_batch_shrink"],
        g_reg_interval=c["g_reg_interval"],
        style_mixing_prob=c["style_mixing_prob"],
        pl_start_kimg=0.0,
        blur_init_sigma=0.0,
        blur_fade_kimg=0.0,
    )


class Trainer:
    """The phases of one iteration, with every draw taken from the case."""

    def __init__(self, c: dict, arrays: dict):
        self.c, self.arrays, self.loss = c, arrays, loss_config(c)
        bundles = models.build(generator_config(c["generator"])), models.build(discriminator_config(c["discriminator"]))
        # One bundle from two: the generator's maps and the discriminator's logits.
        self.gan = bundles[0]._replace(discriminate=bundles[1].discriminate)
        self.setting = objective.Setting(lambda rates: self.gan, self.loss)
        self.nets = {net: variables_of(state_of(arrays, f"state/{net.upper()}/")) for net in "gd"}
        self.ema = variables_of(state_of(arrays, "state/G_ema/"))["params"]
        self.w_avg, self.pl_mean = arrays["state/G/mapping.w_avg"], arrays["in/pl_mean0"]
        groups = bundles[0].spec.groups["no_path_length"], bundles[1].spec.groups["no_penalty"]
        intervals = c["g_reg_interval"], c["d_reg_interval"]
        self.tx = {
            net: optim.adam(c["betas"][0], c["eps"], interval, untouched)
            for net, interval, untouched in zip("gd", intervals, groups, strict=True)
        }
        self.opt = {net: tx.init(self.nets[net]["params"]) for net, tx in self.tx.items()}
        self.nimg, self.out = c["cur_nimg_before_first_iteration"], {}

    def latents(self, it: int, phase: str, count: int) -> objective.Latents:
        z = self.arrays[f"in/z{it}_{phase}"][:count]
        cond = label_of(self.arrays, f"in/c{it}_{phase}", len(z))[:count]
        return objective.Latents({"z": z}, {"z": z}, cond, jax.random.key(0), None, "const")

    def real(self, it: int) -> objective.Seen:
        image = nhwc(self.arrays[f"in/real_img{it}"])
        return objective.Seen({"image": image}, label_of(self.arrays, f"in/real_c{it}", len(image)))

    def step(self, tag: str, net: str, loss, *, is_whole: bool = True):
        """Take a step by loss(context) -> (scalar, Aux), record it, and return the Aux."""
        rates = Rates(lr={n: self.c[f"{n}_lr"] for n in "gd"}, beta2=dict.fromkeys("gd", self.c["betas"][1]))
        rates = rates._replace(gamma=self.loss.r1_gamma)

        def of(params):
            nets = self.nets | {net: self.nets[net] | {"params": params}}
            return loss(Context(nets, {"pl_mean": self.pl_mean}, {}, rates))

        params = self.nets[net]["params"]
        grads, aux = jax.grad(of, has_aux=True)(params)
        updates, self.opt[net] = self.tx[net].update(
            grads, self.opt[net], params, rates.lr[net], rates.beta2[net], is_whole
        )
        params = optax.apply_updates(params, updates)
        self.nets[net] = self.nets[net] | {"params": params}
        self.out |= {f"grad/{tag}/{k}": v for k, v in official_names(grads).items()}
        self.out |= {f"out/{tag}/param/{k}": v for k, v in official_names(params).items()}
        return aux

    def iteration(self, it: int, regularise: bool) -> None:
        n, s, out = self.c["batch_size"], self.setting, self.out
        seen, real = objective.Seen(), self.real(it)
        tag, rows = f"it{it}_Gmain", {"latents": self.latents(it, "Gmain", n), "fake": seen}
        found = self.step(tag, "g", lambda context: objective.g_main(s, context, rows)).rows
        out |= {f"out/{tag}/scores_fake": found["logits"], f"out/{tag}/G_loss": found["values"]}
        if regularise:
            tag, small = f"it{it}_Greg", self.latents(it, "Greg", n // self.c["pl_batch_shrink"])
            rows = {"latents": small, "noise": nhwc(self.arrays["in/pl_noise_raw"])}
            coupled = lambda context: objective.path_length_loss(s, objective.path_lengths(s, context, rows), context)
            aux = self.step(tag, "g", coupled, is_whole=False)
            self.pl_mean, penalty = aux.means["path_length/mean"], aux.rows["penalty"]
            out |= {f"out/{tag}/pl_penalty": penalty, f"out/{tag}/pl_mean_after": self.pl_mean}
            out[f"out/{tag}/G_reg"] = penalty * self.loss.pl_weight
        tag, rows = f"it{it}_Dmain", {"latents": self.latents(it, "Dmain", n), "fake": seen, "real": real}
        found = self.step(tag, "d", lambda context: objective.d_main(s, context, rows)).rows
        beta = self.c["generator"].get("w_avg_beta", 0.998)
        self.w_avg = self.gan.move_centre(self.w_avg, found["w"], found["cond"], beta)
        out |= {f"out/{tag}/scores_fake": found["fake"], f"out/{tag}/scores_real": found["real"]}
        out |= {f"out/{tag}/D_loss": found["values"], f"out/{tag}/w_avg": self.w_avg}
        if regularise:
            tag, rows = f"it{it}_Dreg", {"real": real}
            found = self.step(tag, "d", lambda context: objective.d_reg(s, context, rows), is_whole=False).rows
            out |= {f"out/{tag}/r1_penalty": found["penalty/real"], f"out/{tag}/scores_real": found["logits/real"]}
            out[f"out/{tag}/D_reg"] = found["penalty/real"] * (self.loss.r1_gamma / 2)
        self.average(it)

    def average(self, it: int) -> None:
        c = self.c
        nimg = jnp.asarray(self.nimg, self.w_avg.dtype)
        beta = ema.ema_beta(c["batch_size"], nimg, c["ema_kimg"], c["ema_rampup"] or 0.0)
        self.ema = ema.update(self.ema, self.nets["g"]["params"], beta)
        self.nimg += c["batch_size"]
        buffers = {
            k.removeprefix("state/G/"): v for k, v in self.arrays.items() if k.endswith(("noise_const", "filter"))
        }
        self.out |= {f"out/it{it}_G_ema/{k}": v for k, v in official_names(self.ema).items()}
        self.out |= {f"out/it{it}_G_ema/{k}": v for k, v in buffers.items()}
        self.out |= {f"out/it{it}_ema_beta": beta, f"out/it{it}_G_ema/mapping.w_avg": self.w_avg}


def training(meta, arrays, constants):
    trainer = Trainer(meta["config"], arrays)
    trainer.iteration(0, regularise=True)
    trainer.iteration(1, regularise=False)
    return trainer.out


ADAPTERS = {"training/one-and-a-half training iterations of stylegan2": training}
