"""Family 'encoder': what trains them: Ranger, pools, the latent discriminator, the losses on styles."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import tiny
from stylegan_jax.config import EncoderConfig, ExperimentConfig, from_dict, levels
from stylegan_jax.encoders import EncoderSpec, critic, make_encoder
from stylegan_jax.encoders.bodies import BODIES
from stylegan_jax.losses import latents as losses
from stylegan_jax.models.gan import Gan, make_spec
from stylegan_jax.runtime.mesh import make_layout
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.train import programs, terms
from stylegan_jax.train.encoder import pools, rates
from stylegan_jax.train.encoder.objective import GENERATOR, Sample
from stylegan_jax.train.encoder.task import D_BETAS, D_EPS, make_task
from stylegan_jax.train.optim import adam
from stylegan_jax.train.ranger import ranger
from stylegan_jax.train.state import TrainState
from stylegan_jax.train.task import Phase

from .encoder_adapters import named, variables_from
from .layout import leaf_to_official, leaf_to_ours, nhwc, part


def critic_to_ours(state: dict) -> dict:
    """Return the parameters of a latent discriminator; its official layers are numbered with the activations."""
    out: dict = {}
    for name, x in state.items():
        _, index, leaf = name.split(".")
        out.setdefault(f"fc{int(index) // 2}", {})[leaf] = leaf_to_ours(name, x)
    return out


def critic_to_official(params: dict) -> dict:
    """Return arrays by official name."""
    named = {f"mlp.{2 * int(layer[2:])}.{leaf}": x for layer, own in params.items() for leaf, x in own.items()}
    return {name: leaf_to_official(name, x) for name, x in named.items()}


def optimiser(meta: dict, arrays: dict, constants: dict) -> dict:
    """Run Ranger on given gradients; a parameter without gradient has the rate 0."""
    c, out = meta["config"], {}
    names = list(part(arrays, "in/param/"))
    ours = lambda x: jnp.moveaxis(x, 0, -1)  # the axis of the outputs comes last here
    params = {name: ours(arrays[f"in/param/{name}"]) for name in names}
    optimizer = ranger(tuple(c["betas"]), c["eps"])
    state, path = optimizer.init(params), {name: [] for name in names}
    for t in range(len(arrays["in/grad/bias"])):
        each = dict.fromkeys(names, c["lr"])
        if t < c["first_step_with_a_gradient_for_late"]:
            each["late"] = 0.0
        grads = {name: ours(arrays[f"in/grad/{name}"][t]) for name in names}
        updates, state = optimizer.update(grads, state, params, each, None, True)
        params = jax.tree.map(jnp.add, params, updates)
        for name in names:
            path[name].append(jnp.moveaxis(params[name], -1, 0))
    for name in names:
        out[f"out/{name}"] = jnp.stack(path[name])
    return out


def pool(meta: dict, arrays: dict, constants: dict) -> dict:
    """Pass styles through a pool with the draws of the case, which lists what was drawn only."""
    ws, size = arrays["in/ws"], meta["config"]["pool_size"]
    now, count, shown = pools.empty(size, ws.shape[-1]), 0, []
    for batch, drawn in zip(ws, meta["random_draws"], strict=True):
        rest, slots, coins, places = iter(drawn), [], [], []
        for _ in batch:
            slots.append(int(next(rest)))
            coin = next(rest) if count == size else 0.0
            coins.append(coin)
            places.append(int(next(rest)) if coin > 0.5 else 0)
            count = min(count + 1, size)
        w = jnp.stack([batch[i, slot] for i, slot in enumerate(slots)])
        draws = pools.Draws(jnp.asarray(coins, w.dtype), jnp.asarray(places))
        found, now = pools.query(now, w, draws)
        shown.append(found)
    return {"out/query": jnp.stack(shown), "out/pool": now.styles}


def latent_losses(meta: dict, arrays: dict, constants: dict) -> dict:
    """Compute the latent discriminator's steps, and the encoder's losses on styles per stage."""
    c, start = meta["config"], critic_to_ours(part(arrays))
    real, fake = arrays["in/real_w"], arrays["in/fake_w"]
    optimizer = adam(D_BETAS[0], D_EPS, 0)
    softplus = jax.nn.softplus

    def adversarial(params: Any) -> Any:
        own = {
            "d_real_loss": softplus(-critic.judge(params, real)).mean(),
            "d_fake_loss": softplus(critic.judge(params, fake)).mean(),
        }
        total = own["d_real_loss"] + own["d_fake_loss"]
        return total, own | {"discriminator_loss": total}

    def penalty(params: Any) -> Any:
        r1 = losses.style_r1(lambda w: critic.judge(params, w), real).mean()
        return r1 * c["r1"] * c["d_reg_every"]

    def step(grads: Any, state: Any, params: Any) -> Any:
        updates, state = optimizer.update(grads, state, params, c["w_discriminator_lr"], D_BETAS[1], True)
        return state, jax.tree.map(jnp.add, params, updates)

    (_, own), grads = jax.value_and_grad(adversarial, has_aux=True)(start)
    state, once = step(grads, optimizer.init(start), start)
    r1, more = jax.value_and_grad(penalty)(once)
    _, twice = step(more, state, once)
    out: dict = {}
    for name, params in (("without_r1", once), ("with_r1", twice)):
        out |= {f"out/{name}/{key}": x for key, x in own.items()}
        out |= {f"out/{name}/param/{key}": x for key, x in critic_to_official(params).items()}
    out["out/with_r1/discriminator_r1_loss"] = r1
    out |= {f"grad/step0/{key}": x for key, x in critic_to_official(grads).items()}
    out |= {f"grad/step1/{key}": x for key, x in critic_to_official(more).items()}
    out["out/logits_real"] = critic.judge(start, real)
    for case in meta["subcases"]:
        out |= _stage(meta, arrays["in/ws"], start, case["progressive_stage"])
    return out


def _stage(meta: dict, ws: Any, params: dict, stage: int) -> dict:
    """Return the encoder's losses on styles; at the published stage for use, 18, there is none on offsets."""
    c, count = meta["config"], ws.shape[1]
    last, weight = min(stage, count - 1), c["delta_norm_lambda"] if stage < count else 0.0

    def total(ws: Any) -> Any:
        judged = losses.style_adversarial(lambda w: critic.judge(params, w), ws, last).mean()
        lengths = losses.delta_norms(ws, last).mean()
        return c["w_discriminator_lambda"] * judged + weight * lengths, (judged, lengths)

    (loss, (judged, lengths)), grads = jax.value_and_grad(total, has_aux=True)(ws)
    return {
        f"out/stage{stage}/loss": loss,
        f"out/stage{stage}/encoder_discriminator_loss": judged,
        f"out/stage{stage}/total_delta_loss": lengths,
        f"grad/stage{stage}/ws": grads,
        **{f"out/stage{stage}/delta{i}_loss": x for i, x in delta_terms(ws, last).items()},
    }


def delta_terms(ws: Any, last: int) -> dict[int, Any]:
    """Return the mean length of each offset by its slot."""
    return {i: losses.delta_norms(ws[:, np.array([0, i])], 1).mean() for i in range(1, last + 1)}


# Whole iterations


UNREAD = "latlayer2"
"""Makes the map of slots from 7 on, of which the generator has none; the published encoder holds it all the same."""


def experiment(c: dict) -> ExperimentConfig:
    """Return a run of e4e with the numbers of a case."""
    tree = tiny.get_config()
    tree.task, tree.encoder.model, tree.log.grid_rows = "encoder", "given", 4
    tree.encoder.image_size, tree.train.batch_size = tuple(c["image_size"]), c["batch_size"]
    t = tree.encoder.training
    t.lr, t.d_lr, t.delta_weight = c["learning_rate"], c["w_discriminator_lr"], c["delta_norm_lambda"]
    t.adversarial_weight, t.l2_weight, t.lpips_weight = c["w_discriminator_lambda"], c["l2_lambda"], 0.0
    t.pool, t.r1_gamma, t.r1_interval = 0, float(c["r1"]), c["d_reg_every"]
    t.progressive_start_kimg = 1.0  # the case says where stages begin
    return from_dict(tree)


def linear_gan(c: dict) -> Gan:
    """Return a generator whose styles are its latents, and whose image is a linear map of all of them."""
    width = c["widths"][-1]
    spec = make_spec((8, 8, 3), width, c["style_count"], width)

    def map_latents(g, inputs, cond, *, train=False):
        return jnp.repeat(inputs["z"][:, None], c["style_count"], axis=1)

    def synthesize(g, ws, inputs, *, noise="const", key=None, train=False, batch=None):
        return {"image": nhwc((ws.reshape(len(ws), -1) @ g["decoder"]).reshape(-1, 3, 8, 8))}, {}

    none: Any = None
    return Gan(spec, none, none, none, map_latents, synthesize, none)


class Trainer:
    """The programs of a case as the loop runs them (`train.programs.run_phase`), with the rows of the case."""

    def __init__(self, c: dict, arrays: dict):
        self.c, self.arrays, self.config, self.layout = c, arrays, experiment(c), make_layout(1)
        own = EncoderConfig(
            body_widths=tuple(c["widths"]), body_units=tuple(c["units"]), body_squeeze=c["squeeze_ratio"], width=8
        )
        spec = EncoderSpec((*c["image_size"], 3), c["style_count"], c["widths"][-1], width=c["widths"][-1])
        self.encoder, self.own, gan = make_encoder(spec, BODIES["ir_se50"](own)), own, linear_gan(c)
        model = LoadedModel(self.config.model, gan, {}, np.zeros(8), None, None, {})
        self.task = make_task(self.config, self.layout, model=model, encoder=self.encoder)
        plan = self.task.plan(levels(self.config)[-1])
        stage = lambda nimg: sum(nimg >= s * c["batch_size"] for s in c["progressive_steps"][1:])
        self.plan = plan._replace(
            rates=lambda nimg: rates.rates_of(self.encoder, self.config.encoder.training, jnp.asarray(stage(nimg)))
        )
        jit = functools.partial(jax.jit, out_shardings=self.layout.replicated)
        self.frozen = {GENERATOR: {"g": {"decoder": arrays["state/decoder"]}}}
        self.state = jit(self.start)(arrays)
        self.programs = {phase.name: jit(functools.partial(self.run, phase)) for phase in plan.phases}

    def start(self, arrays: dict) -> TrainState:
        average = {"w": jnp.repeat(arrays["state/latent_avg"][None], self.c["style_count"], axis=0)}
        given = {name: x for name, x in part(arrays, "state/encoder/").items() if not name.startswith(UNREAD)}
        nets = {"e": variables_from(self.encoder, self.own, given) | {"average": average}}
        nets["d"] = {"params": critic_to_ours(part(arrays, "state/discriminator/"))}
        opt = {name: self.plan.optimizers[name].init(net["params"]) for name, net in nets.items()}
        first = self.c["first_global_step"]
        counters = jnp.int32(first), jnp.int32(first * self.c["batch_size"])
        moving = {"shown": arrays["in/real_w"][0]}
        return TrainState(*counters, nets, opt, {}, moving, terms.empty(len(self.task.terms)))

    def run(self, phase: Phase, state: TrainState, image: Any, real: Any) -> Any:
        """Return (state, what the phase's loss returned)."""
        seen = {}

        def after(moving, context, aux):
            seen["aux"] = aux
            return phase.after(moving, context, aux)

        n, key = self.c["batch_size"], jax.random.key(0)
        rows = {"image": image, "styles": Sample({"z": real}, jnp.zeros((n, 0)), jax.random.split(key, n))}
        rows |= {"slot": jnp.zeros(n), "noise_key": jax.random.split(key, n), "shown": state.moving["shown"]}
        given = phase._replace(draw=lambda *_: rows, after=after)
        arguments = self.config, self.layout, state, self.frozen, self.plan.batch, key
        return programs.run_phase(self.task, self.plan, given, *arguments), seen["aux"]

    def iteration(self, it: int) -> dict:
        """Run the phases that are due; return what they gave."""
        step, out, c = self.c["first_global_step"] + it, {}, self.c
        image, real = nhwc(self.arrays["in/images"][it]), self.arrays["in/real_w"][it]
        for phase in self.plan.phases:
            if step % phase.every:
                continue
            judge = self.state.nets["d"]["params"]
            self.state, aux = self.programs[phase.name](self.state, image, real)
            means = aux.means
            if phase.name == "latent_d":
                logits = {name: critic.judge(judge, aux.rows[name]) for name in ("real", "fake")}
                out["d_real_loss"] = jax.nn.softplus(-logits["real"]).mean()
                out["d_fake_loss"] = jax.nn.softplus(logits["fake"]).mean()
                out["discriminator_loss"] = means["loss/d_adversarial"]
            elif phase.name == "latent_r1":
                out["discriminator_r1_loss"] = means["loss/d_penalty"] * phase.every
            else:
                stage = sum(step >= s for s in c["progressive_steps"][1:])
                out |= {f"delta{i}_loss": x for i, x in delta_terms(aux.rows["ws"], stage).items()}
                out |= {"latent": aux.rows["ws"], "loss_l2": means["loss/l2"], "total_delta_loss": means["loss/delta"]}
                out["encoder_discriminator_loss"] = means["loss/adversarial"]
                weights = {"loss/adversarial": c["w_discriminator_lambda"], "loss/delta": c["delta_norm_lambda"]}
                out["loss"] = sum(weights.get(name, 1.0) * x for name, x in means.items())
        moved = {"step": self.state.step + 1, "nimg": self.state.nimg + c["batch_size"]}
        self.state = self.state.replace(**moved)
        return {f"out/it{it}/{name}": x for name, x in out.items()}


def iterations(meta: dict, arrays: dict, constants: dict) -> dict:
    trainer, out = Trainer(meta["config"], arrays), {}
    for it in range(meta["config"]["iterations"]):
        out |= trainer.iteration(it)
    e = trainer.state.nets["e"]
    for kind in ("params", "batch_stats"):
        out |= named(trainer.own, "out/encoder/", e[kind], kind)
    out |= {f"out/{name}": x for name, x in part(arrays, "state/").items() if name.startswith(f"encoder/{UNREAD}")}
    params = critic_to_official(trainer.state.nets["d"]["params"])
    return out | {f"out/discriminator/{name}": x for name, x in params.items()}


PROGRAMS = {"encoder/training iterations of e4e": iterations}
"""Adapters whose programs compile themselves."""
ADAPTERS = PROGRAMS | {
    "encoder/Ranger optimiser": optimiser,
    "encoder/pool of latent codes": pool,
    "encoder/latent discriminator and the losses on styles": latent_losses,
}
