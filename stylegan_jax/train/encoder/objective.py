"""The losses of an encoder's phases: functions (setting, context, rows) -> (loss, `Aux`).

`rows` contains every random draw. The generator is frozen. Each image has fresh noise, as in the code of Tov et al.
2021, so that the encoder does not learn to explain the noise.
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
"""Name of the frozen generator: {'g': variables, 'w_avg': float[w], 'spread': float[], 'edits': float[2, w]}, the last
three as in `generator.Facts`."""
E, D = "e", "d"
"""Names of the networks: encoder and latent discriminator."""

Compare = Callable[[Mapping[str, Tree], jax.Array, jax.Array], jax.Array]
"""(frozen, images, targets) -> float[n]; images and targets are float[n, h, w, c] in [-1, 1]."""


class Comparison(NamedTuple):
    """A term of the loss and its weight."""

    compare: Compare
    weight: float


class Setting(NamedTuple):
    """The static arguments of the losses.

    Attributes:
        encoder: the bundle.
        gan: the frozen generator's bundle.
        training: `config.encoder.training`.
        comparisons: comparisons of images with targets, by reported term.
    """

    encoder: Encoder
    gan: Gan
    training: EncoderTrainingConfig
    comparisons: Mapping[str, Comparison]


@flax.struct.dataclass
class Sample:
    """The random draws of n samples of the generator.

    Attributes:
        inputs: n rows from `Gan.draw_inputs`.
        cond: float[n, k], labels.
        noise_key: keys[n] of the synthesis noise.
    """

    inputs: Inputs
    cond: jax.Array
    noise_key: jax.Array


def image_of(gan: Gan, frozen: Mapping[str, Tree], ws: jax.Array, key: jax.Array | None) -> jax.Array:
    """Return the images float[n, h, w, c] of styles, with noise from keys[n]; None: the constant noise."""
    noise = "const" if key is None else "random"
    return gan.synthesize(frozen[GENERATOR]["g"], ws, {}, noise=noise, key=key)[0]["image"]


def sampled_styles(gan: Gan, frozen: Mapping[str, Tree], sample: Sample) -> jax.Array:
    """Return the styles float[n, l, w] of samples, without truncation."""
    return gan.map_latents(frozen[GENERATOR]["g"], sample.inputs, sample.cond)


def targets(s: Setting, context: Context, rows: Mapping[str, Any]) -> tuple[jax.Array, jax.Array | None]:
    """Return (images float[n, h, w, c] at the encoder's size, their styles float[n, l, w] if they are samples)."""
    ws, image = None, rows.get("image")
    if image is None:
        sample: Sample = rows["sample"]
        ws = sampled_styles(s.gan, context.frozen, sample)
        image = image_of(s.gan, context.frozen, ws, sample.noise_key)
    return jax.lax.stop_gradient((resize_area(image, s.encoder.spec.image[:2]), ws))


class Pass(NamedTuple):
    """One pass of the encoder: styles float[n, l, w], their images, and the encoder's updated collections so far."""

    ws: jax.Array
    image: jax.Array
    moved: Variables


def styles_of(
    s: Setting, e: Variables, target: jax.Array, before: tuple[jax.Array, jax.Array] | None, stage: Any
) -> tuple[jax.Array, Variables]:
    """Return (styles float[n, l, w] of targets, the encoder's updated collections).

    Args:
        s: the static arguments.
        e: the encoder's variables.
        target: float[n, h, w, c] in [-1, 1].
        before: for a residual encoder, the previous styles and their images; None: the average style and its image.
        stage: as in `Encoder.encode`.
    """
    if not s.encoder.spec.residual:
        return s.encoder.encode(e, target, stage=stage, train=True)
    ws, image = before or restyle.start(e, len(target))
    return restyle.step(s.encoder, e, target, ws, image, stage=stage, train=True)


def passes(s: Setting, context: Context, target: jax.Array, keys: jax.Array) -> Iterator[Pass]:
    """Yield the passes of the encoder over targets; a residual encoder (ReStyle) makes several.

    Each pass sees the target and the image of the previous styles, and predicts a change of these styles. As published,
    no gradient flows between passes.

    Args:
        s: the static arguments.
        context: networks and rates.
        target: float[n, h, w, c] in [-1, 1].
        keys: keys[n] of the images' noise.
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
    """Return the last style slot in training; traced if it changes."""
    stage = context.rates.stage
    return s.encoder.spec.num_ws - 1 if stage is None else stage


def encode(s: Setting, is_supervised: bool, context: Context, rows: dict[str, Any]) -> tuple[jax.Array, Aux]:
    """The encoder's loss: distances of images and, for samples, styles; adversarial loss; norm of the offsets.

    Args:
        s: the static arguments.
        is_supervised: the phase is the warm-up, without the latent discriminator.
        context: networks and rates.
        rows: 'image' float[n, h, w, c] or 'sample' (a `Sample`), and 'noise_key' keys[n].
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
        means = {name: values.mean() for name, (_, values) in terms.items()}  # the last pass's are reported
        loss = loss + sum(weight * values.mean() for weight, values in terms.values())
    assert one is not None, "an encoder must make at least one pass"
    return loss, Aux({"ws": one.ws}, means, {E: one.moved})


def has_offsets(s: Setting) -> bool:
    """Return whether the styles are a base style plus offsets whose norm is penalised (Tov et al. 2021)."""
    return s.encoder.spec.kind == "e4e" and s.training.delta_weight > 0


def latent_d(s: Setting, context: Context, rows: dict[str, Any]) -> tuple[jax.Array, Aux]:
    """The latent discriminator's loss on the generator's and the encoder's styles, which pass through pools.

    As published, the encoder is in training mode, so this step updates its running statistics too.

    Args:
        s: the static arguments.
        context: networks, rates and pools.
        rows: as in `encode`, without noise; 'styles' (a `Sample`), the reals; 'slot' float[n] in [0, 1), which chooses
            a slot in training if there are pools (if not, the first is used); 'pools' (`Draws` by name).
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
    """Pass the styles `w`, called 'real' or 'fake', through their pool, if there is one; return (styles, new pool)."""
    if name not in moving.get("pools", {}):
        return w, None
    return pools.query(moving["pools"][name], w, rows["pools"][name])


def after_latent_d(moving: Mapping[str, Any], context: Context, aux: Aux) -> dict[str, Any]:
    """Return `moving` with the pools updated, and with the reals at which R1 is evaluated next."""
    pool = {name: through(moving, aux.rows, name, aux.rows[name])[1] for name in moving.get("pools", {})}
    return dict(moving) | {"shown": aux.rows["shown"]} | ({"pools": pool} if pool else {})


def latent_r1(s: Setting, context: Context, rows: dict[str, Any]) -> tuple[jax.Array, Aux]:
    """R1 of the latent discriminator at the reals of its previous step, rows['shown'] float[n, w]."""
    penalty = losses.style_r1(lambda w: critic.judge(context.nets[D]["params"], w), rows["shown"]).mean()
    loss = penalty * s.training.r1_gamma
    return loss * s.training.r1_interval, Aux({}, {"loss/d_penalty": loss}, {})
