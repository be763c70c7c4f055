"""Family 'encoder': what trains them: Ranger, pools, the latent discriminator, the losses on styles."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.encoders import critic
from stylegan_jax.losses import latents as losses
from stylegan_jax.train.encoder import pools
from stylegan_jax.train.encoder.task import D_BETAS, D_EPS
from stylegan_jax.train.optim import adam
from stylegan_jax.train.ranger import ranger

from .layout import leaf_to_official, leaf_to_ours, part


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


ADAPTERS = {
    "encoder/Ranger optimiser": optimiser,
    "encoder/pool of latent codes": pool,
    "encoder/latent discriminator and the losses on styles": latent_losses,
}
