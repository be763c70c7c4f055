"""The losses of a GAN's phases: functions (setting, context, rows) -> (loss, `Aux`), built on `losses` and a `Gan`.

`rows` contains every random draw, so that tests can fix them and a batch can be split. Lazy regularisers are multiplied
by their interval, because they run that much less often (SG2 App. B). The discriminator is called on fakes, then on
reals with the collections that the first call updated.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from stylegan_jax.base.spec import Inputs, Sample, Variables
from stylegan_jax.config import LossConfig
from stylegan_jax.losses import lecam, regularizers
from stylegan_jax.losses.adversarial import LOSSES, drift
from stylegan_jax.losses.mixing import mix_styles
from stylegan_jax.models import Gan, merge
from stylegan_jax.train.task import Aux, Context, Rates

Loss = Callable[[jax.Array, Any], jax.Array]
"""(logits of fakes, logits of reals or None) -> one value per example."""
View = Callable[[Rates, Any, jax.Array], jax.Array]
"""(rates, draws of the augmentation, images) -> the images as the discriminator sees them."""


def identity(rates: Rates, drawn: Any, image: jax.Array) -> jax.Array:
    """Return the image unchanged: the view without blur and augmentation."""
    return image


class Setting(NamedTuple):
    """The static arguments of the losses of a level.

    Attributes:
        gan: rates -> the bundle, faded in according to the rates.
        loss: `config.loss`.
        view: blur and augmentation.
        batch_size: examples per iteration.
    """

    gan: Callable[[Rates], Gan]
    loss: LossConfig
    view: View = identity
    batch_size: int | None = None


@flax.struct.dataclass
class Latents:
    """The random draws of a phase for its fakes.

    Attributes:
        inputs: n rows from `Gan.draw_inputs`.
        mixed: n more rows, for style mixing.
        cond: float[n, k], labels.
        mix_key: one key for the batch, which determines the rows and slots to mix.
        noise_key: keys[n] of the synthesis noise, or None.
        noise: noise mode of the synthesis network, static; 'random' in training.
    """

    inputs: Inputs
    mixed: Inputs
    cond: jax.Array
    mix_key: jax.Array
    noise_key: jax.Array | None
    noise: str = flax.struct.field(pytree_node=False, default="random")


@flax.struct.dataclass
class Seen:
    """What a phase draws for n examples that the discriminator sees.

    Attributes:
        sample: reals, with images in [-1, 1]; None for fakes, which the loss generates.
        cond: float[n, k], labels of the reals; None for fakes.
        view: random parameters of the augmentation.
        key: keys[n] of the discriminator's own random draws; None if it draws nothing.
    """

    sample: Sample | None = None
    cond: jax.Array | None = None
    view: Any = ()
    key: jax.Array | None = None


Place = tuple[Seen, Sample, jax.Array]
"""(draws, sample, labels) of the examples at which the discriminator is evaluated."""


def take_turns(a: jax.Array, b: jax.Array) -> jax.Array:
    """Interleave the rows as a[0], b[0], a[1], b[1], …, which moves no row to another device."""
    return jnp.stack([a, b], axis=1).reshape(2 * a.shape[0], *a.shape[1:])


def take_apart(both: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the two arrays that `take_turns` interleaved; this moves no row to another device."""
    pairs = both.reshape(both.shape[0] // 2, 2, *both.shape[1:])
    return pairs[:, 0], pairs[:, 1]


def styles(gan: Gan, g: Variables, latents: Latents, mixing_prob: float) -> tuple[jax.Array, jax.Array]:
    """Return (ws float[n, l, w] after style mixing, w float[n, w] of the latents before it)."""
    if not mixing_prob:
        ws = gan.map_latents(g, latents.inputs, latents.cond, train=True)
        return ws, ws[:, 0]
    inputs = jax.tree.map(take_turns, latents.inputs, latents.mixed)
    both = gan.map_latents(g, inputs, take_turns(latents.cond, latents.cond), train=True)
    ws, other = take_apart(both)
    return mix_styles(latents.mix_key, ws, other, mixing_prob), ws[:, 0]


def generate(
    s: Setting, context: Context, latents: Latents, *, train: bool = False
) -> tuple[Sample, Variables, jax.Array]:
    """Return (fakes, the generator's updated collections, w float[n, w]); without `train` nothing is updated."""
    gan, g = s.gan(context.rates), context.nets["g"]
    ws, w = styles(gan, g, latents, s.loss.style_mixing_prob)
    options: dict[str, Any] = {"noise": latents.noise, "key": latents.noise_key, "train": train, "batch": s.batch_size}
    sample, moved = gan.synthesize(g, ws, latents.inputs, **options)
    return sample, moved, w


def judge(
    s: Setting, context: Context, d: Variables, seen: Seen, sample: Sample, cond: jax.Array
) -> tuple[jax.Array, Variables]:
    """Return (logits float32[n, heads] of a sample seen through the view, the discriminator's updated collections)."""
    shown = sample | {"image": s.view(context.rates, seen.view, sample["image"])}
    gan = s.gan(context.rates)
    logits, moved = gan.discriminate(d, context.frozen, shown, cond, key=seen.key, train=True)
    return logits, jax.lax.stop_gradient(moved)


def per_example(s: Setting, critics: tuple[int, ...], loss: Loss, fake: jax.Array, real: Any) -> jax.Array:
    """Return float[n]: the loss of logits float[n, heads] per critic, combined according to `loss.adv_reduction`."""
    sizes = critics or (fake.shape[1],)
    cut = lambda x: jnp.split(x, list(itertools.accumulate(sizes[:-1])), axis=1)
    reals = [None] * len(sizes) if real is None else cut(real)
    values = functools.reduce(jnp.add, [loss(f, r) for f, r in zip(cut(fake), reals, strict=True)])
    return values / len(sizes) if s.loss.adv_reduction == "mean" else values * s.loss.adv_batch


def g_main(s: Setting, context: Context, rows: dict[str, Any]) -> tuple[jax.Array, Aux]:
    """Adversarial loss of the generator, plus guidance if the bundle has it."""
    latents, d, kind = rows["latents"], context.nets["d"], LOSSES[s.loss.adversarial]
    sample, _, w = generate(s, context, latents)
    fake, moved = judge(s, context, d, rows["fake"], sample, latents.cond)
    real = None
    if kind.needs_real:
        seen = rows["real"]
        real, more = judge(s, context, merge(d, moved), seen, seen.sample, seen.cond)
        moved = moved | more
    values = per_example(s, s.gan(context.rates).spec.critics, kind.generator, fake, real)
    loss, means = values.mean(), {"loss/g_adversarial": values.mean()}
    if guide := s.gan(context.rates).guide:
        guidance = guide(context.frozen, sample, latents.cond).mean()
        loss, means = loss + guidance, means | {"loss/g_guidance": guidance}
    kept = {"logits": fake, "values": values, "w": jax.lax.stop_gradient(w), "cond": latents.cond}
    return loss, Aux(kept, means, {"d": moved})


def path_lengths(s: Setting, context: Context, rows: dict[str, Any]) -> jax.Array:
    """Return the path lengths float[n] (SG2 §3.2); rows['noise'] is standard normal noise shaped like the images."""
    latents, gan, g = rows["latents"], s.gan(context.rates), context.nets["g"]
    ws, _ = styles(gan, g, latents, s.loss.style_mixing_prob)
    options: dict[str, Any] = {"noise": latents.noise, "key": latents.noise_key}
    image = lambda w: gan.synthesize(g, w, latents.inputs, **options)[0]["image"]
    return regularizers.path_lengths(image, ws, rows["noise"])


def path_length_loss(s: Setting, lengths: jax.Array, context: Context) -> tuple[jax.Array, Aux]:
    """Return the path-length regulariser of a whole batch's lengths, float[n]."""
    penalty, mean = regularizers.path_length_penalty(lengths, context.moving["pl_mean"], s.loss.pl_decay)
    values = penalty * s.loss.pl_weight
    mean = jax.lax.stop_gradient(mean)
    means = {"loss/g_path_length": values.mean(), "path_length/mean": mean}
    return values.mean() * s.loss.g_reg_interval, Aux({"penalty": penalty}, means, {})


def examine(
    s: Setting, context: Context, places: dict[str, Place], wanted: tuple[regularizers.Penalty, ...]
) -> tuple[dict[str, jax.Array], dict[str, jax.Array], Variables]:
    """Return (logits, values of the penalties, the discriminator's updated collections), the first two by place.

    One pass computes logits and penalty. The penalty's gradient is with respect to the original image, through the
    view.
    """
    logits, penalised, moved = {}, {}, {}
    kinds = {penalty.where: penalty.kind for penalty in wanted}
    for name, (seen, sample, cond) in places.items():
        now = merge(context.nets["d"], moved)
        critic = lambda x, now=now, seen=seen, sample=sample, cond=cond: judge(
            s, context, now, seen, sample | {"image": x}, cond
        )
        if name not in kinds:
            logits[name], more = critic(sample["image"])
        else:
            squared, logits[name], more = regularizers.squared_norm(critic, sample["image"])
            penalised[name] = squared if kinds[name] == "gradient" else regularizers.deviation(squared)
        moved = moved | more
    return logits, penalised, moved


def between(places: dict[str, Place], mix: jax.Array) -> Place:
    """Return points between reals and fakes (WGAN-GP), with the reals' view and labels."""
    seen, sample, cond = places["real"]
    return seen, sample | {"image": regularizers.interpolate(sample["image"], places["fake"][1]["image"], mix)}, cond


def deceived(places: dict[str, Place], pseudo: jax.Array) -> Place:
    """Return the reals with rows selected by `pseudo` bool[n] replaced by the same row's fake and label (APA §3.2).

    The paper generates separate fakes for this. Reusing those of the same step leaves the expected gradient unchanged,
    because the distribution is the same, and saves a pass of the generator.
    """
    (seen, real, cond), (_, fake, fake_cond) = places["real"], places["fake"]
    choose = lambda f, r: jnp.where(pseudo.reshape(-1, *[1] * (r.ndim - 1)), f, r)
    return seen, {name: choose(fake[name], x) for name, x in real.items()}, choose(fake_cond, cond)


def penalty_loss(
    s: Setting, context: Context, penalised: dict[str, jax.Array], wanted: tuple[regularizers.Penalty, ...]
) -> jax.Array:
    """Return the sum over penalties of their weighted means."""
    weights = {"r1_gamma": context.rates.gamma, "gp_weight": s.loss.gp_weight}
    total = jnp.zeros(())
    for penalty in wanted:
        total = total + (penalised[penalty.where] * (weights[penalty.weight] * penalty.scale)).mean()
    return total


def d_main(s: Setting, context: Context, rows: dict[str, Any]) -> tuple[jax.Array, Aux]:
    """Adversarial loss of the discriminator, plus its penalties if they are not lazy, drift and LeCam terms.

    These fakes also update the generator's statistics. If the loss compares pairs, differences of logits are reported
    and control the augmentation, because the logits themselves may drift.
    """
    latents, kind, real_rows = rows["latents"], LOSSES[s.loss.adversarial], rows["real"]
    wanted = () if s.loss.d_reg_interval else regularizers.penalties(s.loss.d_reg)
    sample, moved_g, w = jax.lax.stop_gradient(generate(s, context, latents, train=True))
    places = {
        "fake": (rows["fake"], sample, latents.cond),
        "real": (real_rows, real_rows.sample, real_rows.cond),
    }
    if "mix" in rows:
        places["mix"] = between(places, rows["mix"])
    if "pseudo" in rows:
        places["real"] = deceived(places, rows["pseudo"])
    logits, penalised, moved = examine(s, context, places, wanted)
    fake, real = logits["fake"], logits["real"]
    values = per_example(s, s.gan(context.rates).spec.critics, kind.discriminator, fake, real)
    if s.loss.drift_weight:
        values = values + s.loss.drift_weight * drift(real)
    loss, means = values.mean(), {"loss/d_adversarial": values.mean()}
    if wanted:
        penalty = penalty_loss(s, context, penalised, wanted)
        loss, means = loss + penalty, means | {"loss/d_penalty": penalty}
    if s.loss.lecam_weight:
        term = s.loss.lecam_weight * lecam.penalty(context.moving["lecam"], fake, real).mean()
        loss, means = loss + term, means | {"loss/d_lecam": term}
    if kind.needs_real:
        fake, real = fake - real, real - fake
    means |= {"scores/fake": fake.mean(), "scores/real": real.mean()}
    means |= {"signs/fake": jnp.sign(fake).mean(), "signs/real": jnp.sign(real).mean()}
    kept = {"w": w, "cond": latents.cond, "fake": fake, "real": real, "values": values}
    kept |= {f"penalty/{name}": x for name, x in penalised.items()} | _pseudo(rows)
    return loss, Aux(kept, means, {"g": moved_g, "d": moved})


def _pseudo(rows: dict[str, Any]) -> dict[str, jax.Array]:
    """Return which reals were replaced, if APA is on, so that statistics can leave them out."""
    return {name: rows[name] for name in ("pseudo",) if name in rows}


def d_reg(s: Setting, context: Context, rows: dict[str, Any]) -> tuple[jax.Array, Aux]:
    """Gradient penalties of the discriminator (`losses.regularizers.PENALTIES`) as a separate step."""
    wanted, real = regularizers.penalties(s.loss.d_reg), rows["real"]
    places = {"real": (real, real.sample, real.cond)}
    if "latents" in rows:
        fake = jax.lax.stop_gradient(generate(s, context, rows["latents"])[0])
        places["fake"] = rows.get("fake", Seen()), fake, rows["latents"].cond
    if "mix" in rows:
        places["mix"] = between(places, rows["mix"])
    if "pseudo" in rows:
        places["real"] = deceived(places, rows["pseudo"])
    places = {penalty.where: places[penalty.where] for penalty in wanted}
    logits, penalised, moved = examine(s, context, places, wanted)
    total = penalty_loss(s, context, penalised, wanted)
    kept = {f"penalty/{name}": x for name, x in penalised.items()} | {f"logits/{n}": x for n, x in logits.items()}
    kept |= _pseudo(rows)
    return total * s.loss.d_reg_interval, Aux(kept, {"loss/d_penalty": total}, {"d": moved})
