"""What each of the four programs minimises: scalar losses of parameters, from `losses` and a `Gan`.

The functions take every random draw as an argument, so that a test can fix them and a batch can be split. Each returns
(loss to differentiate, aux), but `d_main` the gradient; regularisers are multiplied by their interval, since they run
that much more rarely (SG2 App. B). A `View` maps images to what the discriminator sees of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from stylegan_jax.base.spec import Variables
from stylegan_jax.config import LossConfig
from stylegan_jax.losses import regularizers
from stylegan_jax.losses.adversarial import LOSSES
from stylegan_jax.losses.mixing import mix_styles
from stylegan_jax.models import Gan

View = Callable[[jax.Array], jax.Array]


def plain(image: jax.Array) -> jax.Array:
    """Show the discriminator images as they are."""
    return image


@flax.struct.dataclass
class Latents:
    """The draws of one phase.

    Attributes:
        z: float[n, z].
        z_mix: float[n, z], second latents for style mixing.
        cond: float[n, k].
        mix_key: decides where and whether to mix, once for the whole batch.
        noise_key: keys[n] of the synthesis noise, or None.
        noise: static; 'random' in training.
    """

    z: jax.Array
    z_mix: jax.Array
    cond: jax.Array
    mix_key: jax.Array
    noise_key: jax.Array | None
    noise: str = flax.struct.field(pytree_node=False, default="random")


class Aux(NamedTuple):
    """What a loss reports beside itself: named arrays (averaged for the log) and values the step stores."""

    report: dict[str, jax.Array]
    store: dict[str, Any]


def take_turns(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return rows a[0], b[0], a[1], b[1], …; no row changes its device where the rows are split over devices."""
    return jnp.stack([a, b], axis=1).reshape(2 * a.shape[0], *a.shape[1:])


def take_apart(both: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the two arrays that `take_turns` made one; no row changes its device."""
    pairs = both.reshape(both.shape[0] // 2, 2, *both.shape[1:])
    return pairs[:, 0], pairs[:, 1]


def styles(gan: Gan, g: Variables, latents: Latents, mixing_prob: float) -> tuple[jax.Array, jax.Array]:
    """Return (ws float[n, l, w] after style mixing, w float[n, w] of the first latents)."""
    if not mixing_prob:
        ws = gan.map_latents(g, latents.z, latents.cond)
        return ws, ws[:, 0]
    z, cond = take_turns(latents.z, latents.z_mix), take_turns(latents.cond, latents.cond)
    ws, other = take_apart(gan.map_latents(g, z, cond))
    return mix_styles(latents.mix_key, ws, other, mixing_prob), ws[:, 0]


def generate(gan: Gan, g: Variables, ws: jax.Array, latents: Latents) -> jax.Array:
    """Return images float32[n, h, w, c]."""
    return gan.synthesize(g, ws, noise=latents.noise, key=latents.noise_key)


def g_main(
    gan: Gan, loss: LossConfig, g: Variables, d: Variables, latents: Latents, view: View = plain
) -> tuple[jax.Array, Aux]:
    """Adversarial loss of the generator."""
    ws, _ = styles(gan, g, latents, loss.style_mixing_prob)
    logits = gan.discriminate(d, view(generate(gan, g, ws, latents)), latents.cond)
    values = LOSSES[loss.adversarial].generator(logits)
    return values.mean(), Aux({"loss/g_adversarial": values, "scores/fake": logits}, {"logits": logits})


def path_lengths(gan: Gan, loss: LossConfig, g: Variables, latents: Latents, pl_noise: jax.Array) -> jax.Array:
    """Return the path lengths float[n] (SG2 §3.2); `pl_noise` is a unit normal image batch."""
    ws, _ = styles(gan, g, latents, loss.style_mixing_prob)
    return regularizers.path_lengths(lambda w: generate(gan, g, w, latents), ws, pl_noise)


def path_length_loss(loss: LossConfig, lengths: jax.Array, pl_mean: jax.Array) -> tuple[jax.Array, Aux]:
    """Return the path-length regulariser of all lengths float[n] of a batch."""
    penalty, mean = regularizers.path_length_penalty(lengths, pl_mean, loss.pl_decay)
    values = penalty * loss.pl_weight
    report = {"loss/g_path_length": values, "path_length/mean": mean}
    store = {"pl_mean": jax.lax.stop_gradient(mean), "penalty": penalty}
    return values.mean() * loss.g_reg_interval, Aux(report, store)


def g_reg(
    gan: Gan, loss: LossConfig, g: Variables, latents: Latents, pl_noise: jax.Array, pl_mean: jax.Array
) -> tuple[jax.Array, Aux]:
    """Path-length regularisation (SG2 §3.2)."""
    return path_length_loss(loss, path_lengths(gan, loss, g, latents, pl_noise), pl_mean)


def d_main(
    gan: Gan,
    loss: LossConfig,
    variables: Callable[[Any], Variables],
    params: Any,
    g: Variables,
    latents: Latents,
    image: jax.Array,
    label: jax.Array,
    fake_view: View = plain,
    real_view: View = plain,
    batch: int | None = None,
) -> tuple[Any, Aux]:
    """Return (gradient of the discriminator's adversarial loss by `params`, aux).

    Fakes and reals pass the discriminator as one batch, so that its gradient is made, and reduced over devices, once.
    They take turns in it: members of a minibatch-stddev group are n / group apart, so every group is all fakes or all
    reals. The generator's statistics move with these fakes, which may be a part of a batch of `batch` images.
    `variables` makes the discriminator's variables of `params`.
    """
    ws, w = styles(gan, g, latents, loss.style_mixing_prob)
    made = gan.synthesize_and_track(g, ws, noise=latents.noise, key=latents.noise_key, batch=batch)
    fake_image, moved = jax.lax.stop_gradient(made)
    kind = LOSSES[loss.adversarial]
    images, conds = take_turns(fake_view(fake_image), real_view(image)), take_turns(latents.cond, label)

    def mean_loss(params: Any) -> tuple[jax.Array, Any]:
        fake, real = take_apart(gan.discriminate(variables(params), images, conds, sets=2))
        losses = kind.fake(fake) + kind.real(real)
        if loss.drift_weight:  # PG App. A.1
            losses = losses + loss.drift_weight * jnp.square(real)
        return losses.mean(), (losses, fake, real)

    grads, (losses, fake, real) = jax.grad(mean_loss, has_aux=True)(params)
    report = {"loss/d_adversarial": losses.mean(), "scores/fake": fake, "scores/real": real}
    report |= {"signs/fake": jnp.sign(fake), "signs/real": jnp.sign(real)}
    store = {"w": jax.lax.stop_gradient(w), "fake": fake, "real": real, "losses": losses, "moved": moved}
    return grads, Aux(report, store)


def d_reg(
    gan: Gan,
    loss: LossConfig,
    d: Variables,
    g: Variables,
    latents: Latents,
    image: jax.Array,
    label: jax.Array,
    real_view: View = plain,
    mix: jax.Array | None = None,
) -> tuple[jax.Array, Aux]:
    """R1 at reals, or the WGAN-GP penalty between reals and fakes with the interpolation weights `mix` float[n].

    The gradient is taken through the view, by the image as it came from the data.
    """
    critic = lambda x: gan.discriminate(d, real_view(x), label)
    if loss.d_reg == "r1":
        penalty, logits = regularizers.r1_penalty(critic, image)
        values = penalty * (loss.r1_gamma / 2)
    else:
        assert mix is not None
        ws, _ = styles(gan, g, latents, loss.style_mixing_prob)
        fake = jax.lax.stop_gradient(generate(gan, g, ws, latents))
        penalty, logits = regularizers.gradient_penalty(critic, image, fake, mix)
        values = penalty * loss.gp_weight
    store = {"penalty": penalty, "logits": logits}
    return values.mean() * max(loss.d_reg_interval, 1), Aux({"loss/d_penalty": values}, store)
