"""Family 'training': whole optimiser phases through `train.objective`, `train.optim` and `train.ema`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from stylegan_jax import models
from stylegan_jax.config import LossConfig
from stylegan_jax.train import ema, optim
from stylegan_jax.train.gan import objective

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
        g, d = generator_config(c["generator"]), discriminator_config(c["discriminator"])
        # One bundle from two: the generator's maps and the discriminator's logits.
        self.gan = models.build(g)._replace(discriminate=models.build(d).discriminate)
        self.g, self.d = variables_of(state_of(arrays, "state/G/")), variables_of(state_of(arrays, "state/D/"))
        self.ema = variables_of(state_of(arrays, "state/G_ema/"))["params"]
        self.w_avg, self.pl_mean = arrays["state/G/mapping.w_avg"], arrays["in/pl_mean0"]
        b1, b2 = c["betas"]
        self.g_tx = optim.adam(c["g_lr"], b1, b2, c["eps"], c["g_reg_interval"], ("/torgb/bias",))
        self.d_tx = optim.adam(c["d_lr"], b1, b2, c["eps"], c["d_reg_interval"], ("/b4/out/bias",))
        self.g_opt, self.d_opt = self.g_tx.init(self.g["params"]), self.d_tx.init(self.d["params"])
        self.nimg, self.out = c["cur_nimg_before_first_iteration"], {}

    def latents(self, it: int, phase: str, count: int) -> objective.Latents:
        z = self.arrays[f"in/z{it}_{phase}"][:count]
        cond = label_of(self.arrays, f"in/c{it}_{phase}", len(z))[:count]
        return objective.Latents(z, z, cond, jax.random.key(0), None, "const")

    def real(self, it: int):
        image = nhwc(self.arrays[f"in/real_img{it}"])
        return image, label_of(self.arrays, f"in/real_c{it}", len(image))

    def g_step(self, tag: str, of, update):
        grads, aux = jax.grad(of, has_aux=True)(self.g["params"])
        updates, self.g_opt = update(grads, self.g_opt, self.g["params"])
        self.g = self.g | {"params": optax.apply_updates(self.g["params"], updates)}
        self.record(tag, grads, self.g["params"])
        return aux.store

    def d_step(self, tag: str, grads_of, update):
        grads, aux = grads_of(self.d["params"])
        updates, self.d_opt = update(grads, self.d_opt, self.d["params"])
        self.d = self.d | {"params": optax.apply_updates(self.d["params"], updates)}
        self.record(tag, grads, self.d["params"])
        return aux.store

    def record(self, tag: str, grads: dict, params: dict) -> None:
        self.out |= {f"grad/{tag}/{k}": v for k, v in official_names(grads).items()}
        self.out |= {f"out/{tag}/param/{k}": v for k, v in official_names(params).items()}

    def iteration(self, it: int, regularise: bool) -> None:
        n, gan, loss, out = self.c["batch_size"], self.gan, self.loss, self.out
        image, label = self.real(it)
        tag = f"it{it}_Gmain"
        latents = self.latents(it, "Gmain", n)
        of = lambda p: objective.g_main(gan, loss, self.g | {"params": p}, self.d, latents)
        logits = self.g_step(tag, of, self.g_tx.update_main)["logits"]
        out |= {f"out/{tag}/scores_fake": logits, f"out/{tag}/G_loss": jax.nn.softplus(-logits)}
        if regularise:
            tag, small = f"it{it}_Greg", self.latents(it, "Greg", n // self.c["pl_batch_shrink"])
            noise = nhwc(self.arrays["in/pl_noise_raw"])
            of = lambda p: objective.g_reg(gan, loss, self.g | {"params": p}, small, noise, self.pl_mean)
            store = self.g_step(tag, of, self.g_tx.update_reg)
            self.pl_mean = store["pl_mean"]
            out |= {f"out/{tag}/pl_penalty": store["penalty"], f"out/{tag}/pl_mean_after": self.pl_mean}
            out[f"out/{tag}/G_reg"] = store["penalty"] * loss.pl_weight
        tag, fakes = f"it{it}_Dmain", self.latents(it, "Dmain", n)
        grads_of = lambda p: objective.d_main(gan, loss, lambda p: {"params": p}, p, self.g, fakes, image, label)
        store = self.d_step(tag, grads_of, self.d_tx.update_main)
        self.w_avg = ema.update_w_avg(self.w_avg, store["w"], self.c["generator"].get("w_avg_beta", 0.998))
        out |= {f"out/{tag}/scores_fake": store["fake"], f"out/{tag}/scores_real": store["real"]}
        out |= {f"out/{tag}/D_loss": store["losses"], f"out/{tag}/w_avg": self.w_avg}
        if regularise:
            tag = f"it{it}_Dreg"
            of = lambda p: objective.d_reg(gan, loss, {"params": p}, self.g, fakes, image, label)
            store = self.d_step(tag, jax.grad(of, has_aux=True), self.d_tx.update_reg)
            out |= {f"out/{tag}/r1_penalty": store["penalty"], f"out/{tag}/scores_real": store["logits"]}
            out[f"out/{tag}/D_reg"] = store["penalty"] * (loss.r1_gamma / 2)
        self.average(it)

    def average(self, it: int) -> None:
        c = self.c
        nimg = jnp.asarray(self.nimg, self.w_avg.dtype)
        beta = ema.ema_beta(c["batch_size"], nimg, c["ema_kimg"], c["ema_rampup"] or 0.0)
        self.ema = ema.update(self.ema, self.g["params"], beta)
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
