"""What the phases of an encoder minimise: functions (setting, context, rows) -> (loss, `Aux`).

`rows` hold every random draw. The generator is frozen; its noise is drawn anew for each image, so that the encoder does
not learn to explain it (Tov et al. 2021, as their code does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from stylegan_jax.base.spec import Inputs, Tree, Variables
from stylegan_jax.config.encoder_training import EncoderTrainingConfig
from stylegan_jax.encoders import Encoder, critic, restyle
from stylegan_jax.losses import latents as losses
from stylegan_jax.models import Gan, merge
from stylegan_jax.ops.resize import resize_area
from stylegan_jax.train.encoder import pools
from stylegan_jax.train.task import Aux, Context

GENERATOR = "generator"
"""Name of the frozen generator: {'g': variables, 'w_avg': float[w], or [k, w]; 'spread': float[]}, the last the root
mean squared distance of a style from the mean."""
E, D = "e", "d"
"""Names of the networks: encoder and latent discriminator."""

Compare = Callable[[Mapping[str, Tree], jax.Array, jax.Array], jax.Array]
"""(frozen, images, targets), both float[n, h, w, c] in [-1, 1] -> float[n]."""


class Comparison(NamedTuple):
    """A term of the loss: what it compares, and its weight."""

    compare: Compare
    weight: float


class Setting(NamedTuple):
    """What is static in the losses.

    Attributes:
        encoder: the bundle.
        gan: the frozen generator's bundle.
        training: the group of the configuration.
        comparisons: of images with targets, by reported term.
    """

    encoder: Encoder
    gan: Gan
    training: EncoderTrainingConfig
    comparisons: Mapping[str, Comparison]


@flax.struct.dataclass
class Sample:
    """What a sample of the generator starts from.

    Attributes:
        inputs: from `Gan.draw_inputs`, n rows.
        cond: float[n, k].
        noise_key: keys[n] of its noise.
    """

    inputs: Inputs
    cond: jax.Array
    noise_key: jax.Array


def image_of(gan: Gan, frozen: Mapping[str, Tree], ws: jax.Array, key: jax.Array | None) -> jax.Array:
    """Return the images float[n, h, w, c] of styles, with the noise of keys[n]; None: the stored noise."""
    noise = "const" if key is None else "random"
    return gan.synthesize(frozen[GENERATOR]["g"], ws, {}, noise=noise, key=key)[0]["image"]


def sampled_styles(gan: Gan, frozen: Mapping[str, Tree], sample: Sample) -> jax.Array:
    """Return ws float[n, l, w] of samples, not truncated."""
    return gan.map_latents(frozen[GENERATOR]["g"], sample.inputs, sample.cond)


def targets(s: Setting, context: Context, rows: Mapping[str, Any]) -> tuple[jax.Array, jax.Array | None]:
    """Return (images float[n, h, w, c] at the encoder's size, the styles that they were drawn from, if known)."""
    ws, image = None, rows.get("image")
    if image is None:
        sample: Sample = rows["sample"]
        ws = sampled_styles(s.gan, context.frozen, sample)
        image = image_of(s.gan, context.frozen, ws, sample.noise_key)
    return jax.lax.stop_gradient((resize_area(image, s.encoder.spec.image[:2]), ws))


class Pass(NamedTuple):
    """What one pass of the encoder gives: styles float[n, l, w], their images, and what the encoder moved so far."""

    ws: jax.Array
    image: jax.Array
    moved: Variables


def styles_of(
    s: Setting, e: Variables, target: jax.Array, before: tuple[jax.Array, jax.Array] | None, stage: Any
) -> tuple[jax.Array, Variables]:
    """Return (styles float[n, l, w] of targets, what the encoder moved).

    Args:
        s: what is static.
        e: the encoder's variables.
        target: float[n, h, w, c].
        before: of a residual encoder the styles so far and their images; None: the average's.
        stage: as `Encoder.encode` has it.
    """
    if not s.encoder.spec.residual:
        return s.encoder.encode(e, target, stage=stage, train=True)
    ws, image = before or restyle.start(e, len(target))
    return restyle.step(s.encoder, e, target, ws, image, stage=stage, train=True)


def passes(s: Setting, context: Context, target: jax.Array, keys: jax.Array) -> Iterator[Pass]:
    """Yield the passes of the encoder over targets; a residual encoder (ReStyle) makes several.

    Each looks at the target and at the image of the styles before, and adds to these. No gradient goes from one to the
    next, as published.

    Args:
        s: what is static.
        context: networks.
        target: float[n, h, w, c].
        keys: [n], of the noise of the images.
    """
    e, before = context.nets[E], None
    moved: Variables = {}
    for k in range(s.encoder.spec.iterations):
        ws, more = styles_of(s, merge(e, moved), target, before, context.rates.stage)
        moved = moved | jax.lax.stop_gradient(more)
        image = image_of(s.gan, context.frozen, ws, jax.vmap(lambda key, k=k: jax.random.fold_in(key, k))(keys))
        before = jax.lax.stop_gradient((ws, image))
        yield Pass(ws, image, moved)


def last_slot(s: Setting, context: Context) -> Any:
    """Return the last style slot in training, traced where it changes."""
    stage = context.rates.stage
    return s.encoder.spec.num_ws - 1 if stage is None else stage


def encode(s: Setting, is_supervised: bool, context: Context, rows: dict[str, Any]) -> tuple[jax.Array, Aux]:
    """The encoder's loss: distances of images and, on samples, of styles; the latent discriminator; the offsets.

    Args:
        s: what is static.
        is_supervised: the phase is the warm-up, without the latent discriminator.
        context: networks.
        rows: 'image' float[n, h, w, c] or 'sample', and 'noise_key' [n].
    """
    t, last, size = s.training, last_slot(s, context), s.encoder.spec.image[:2]
    target, true = targets(s, context, rows)
    loss, means, one = jnp.zeros([]), {}, None
    for one in passes(s, context, target, rows["noise_key"]):
        terms = {
            name: (c.weight, c.compare(context.frozen, resize_area(one.image, size), target))
            for name, c in s.comparisons.items()
        }
        if true is not None and t.w_weight:
            scale = true.shape[-1] / jnp.square(context.frozen[GENERATOR]["spread"])
            terms["loss/w"] = t.w_weight, jnp.square(one.ws - true).mean(axis=(1, 2)) * scale
        if t.has_critic and not is_supervised:
            judge = lambda w: critic.judge(context.nets[D]["params"], w)
            terms["loss/adversarial"] = t.adversarial_weight, losses.style_adversarial(judge, one.ws, last)
        if has_offsets(s):
            terms["loss/delta"] = t.delta_weight, losses.delta_norms(one.ws, last)
        means = {name: values.mean() for name, (_, values) in terms.items()}  # those of the last pass are reported
        loss = loss + sum(weight * values.mean() for weight, values in terms.values())
    assert one is not None, "an encoder makes at least one pass"
    return loss, Aux({"ws": one.ws}, means, {E: one.moved})


def has_offsets(s: Setting) -> bool:
    """Return whether the styles are a first one and offsets, which are kept short."""
    return s.encoder.spec.kind == "e4e" and s.training.delta_weight > 0


def latent_d(s: Setting, context: Context, rows: dict[str, Any]) -> tuple[jax.Array, Aux]:
    """The latent discriminator's loss on the generator's styles and the encoder's, through their pools.

    The encoder is in training mode, so that its running statistics move here too, as published.

    Args:
        s: what is static.
        context: networks, and the pools.
        rows: as in `encode`, without the noise; 'styles' (a `Sample`), the generator's; 'slot' float[n] in [0, 1),
            which of the slots in training is shown, where there are pools, else the first; 'pools' (`Draws` by name).
    """
    target, _ = targets(s, context, rows)
    ws, moved = styles_of(s, context.nets[E], target, None, context.rates.stage)
    count = last_slot(s, context) + 1 if s.training.pool else 1
    slot = jnp.floor(rows["slot"] * count).astype(jnp.int32)
    fake = jnp.take_along_axis(ws, slot[:, None, None], axis=1)[:, 0]
    real = sampled_styles(s.gan, context.frozen, rows["styles"])[:, 0]
    given = jax.lax.stop_gradient({"real": real, "fake": fake})
    shown = {name: through(context.moving, rows, name, w)[0] for name, w in given.items()}
    logits = {name: critic.judge(context.nets[D]["params"], w) for name, w in shown.items()}
    values = jax.nn.softplus(-logits["real"]) + jax.nn.softplus(logits["fake"])
    means = {"loss/d_adversarial": values.mean()} | {f"scores/{name}": x.mean() for name, x in logits.items()}
    kept = {**given, "shown": shown["real"], **({"pools": rows["pools"]} if s.training.pool else {})}
    return values.mean(), Aux(kept, means, {E: jax.lax.stop_gradient(moved)})


def through(moving: Mapping[str, Any], rows: Mapping[str, Any], name: str, w: jax.Array) -> tuple[jax.Array, Any]:
    """Return (styles to show, the pool after) of 'real' or 'fake'; without pools, the styles themselves."""
    if name not in moving.get("pools", {}):
        return w, None
    return pools.query(moving["pools"][name], w, rows["pools"][name])


def after_latent_d(moving: Mapping[str, Any], context: Context, aux: Aux) -> dict[str, Any]:
    """Return what moves with the latent discriminator's step: the pools, and the reals that its R1 looks at."""
    pool = {name: through(moving, aux.rows, name, aux.rows[name])[1] for name in moving.get("pools", {})}
    return dict(moving) | {"shown": aux.rows["shown"]} | ({"pools": pool} if pool else {})


def latent_r1(s: Setting, context: Context, rows: dict[str, Any]) -> tuple[jax.Array, Aux]:
    """R1 of the latent discriminator at the reals of its last step, rows['shown'] float[n, w]."""
    penalty = losses.style_r1(lambda w: critic.judge(context.nets[D]["params"], w), rows["shown"]).mean()
    loss = penalty * s.training.r1_gamma
    return loss * s.training.r1_interval, Aux({}, {"loss/d_penalty": loss}, {})
