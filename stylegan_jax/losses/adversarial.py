"""Adversarial losses: functions of the logits of fakes and reals, with one value per example.

Logits are float[n, k]; a loss averages over the k heads. Relativistic losses compare row i of the fakes with row i of
the reals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class AdversarialLoss(NamedTuple):
    """The losses of both networks.

    Attributes:
        generator: (fake float[n, k], real float[n, k] or None) -> float[n].
        discriminator: (fake float[n, k], real float[n, k]) -> float[n].
        needs_real: whether the generator's loss also reads the logits of reals.
    """

    generator: Callable[[jax.Array, jax.Array | None], jax.Array]
    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    needs_real: bool = False


Unary = Callable[[jax.Array], jax.Array]


def _separate(generator: Unary, fake: Unary, real: Unary) -> AdversarialLoss:
    """Build a loss from functions of a single logit: the generator's term, the discriminator's for fakes and reals."""
    return AdversarialLoss(lambda f, r: generator(f).mean(axis=1), lambda f, r: (fake(f) + real(r)).mean(axis=1))


def _relativistic(difference: Unary) -> AdversarialLoss:
    """Build a loss from a function of the difference between the logits of a fake and a real."""

    def generator(fake: jax.Array, real: jax.Array | None) -> jax.Array:
        if real is None:
            raise ValueError("the generator's relativistic loss needs the logits of reals")
        return difference(fake - real).mean(axis=1)

    return AdversarialLoss(generator, lambda fake, real: difference(real - fake).mean(axis=1), needs_real=True)


LOSSES: dict[str, AdversarialLoss] = {
    # Non-saturating logistic loss (Goodfellow et al. 2014 §3), as in StyleGAN, StyleGAN2 and StyleGAN3.
    "logistic": _separate(lambda x: jax.nn.softplus(-x), jax.nn.softplus, lambda x: jax.nn.softplus(-x)),
    # The original, saturating minimax game: the generator maximises what the discriminator minimises.
    "minimax": _separate(lambda x: -jax.nn.softplus(x), jax.nn.softplus, lambda x: jax.nn.softplus(-x)),
    # Hinge (Lim & Ye 2017), as in Projected GAN and StyleGAN-XL.
    "hinge": _separate(lambda x: -x, lambda x: jax.nn.relu(1 + x), lambda x: jax.nn.relu(1 - x)),
    # Wasserstein critic (Arjovsky et al. 2017); use with config.loss.d_reg='wgan_gp'.
    "wasserstein": _separate(lambda x: -x, lambda x: x, lambda x: -x),
    # Relativistic pairing loss (Jolicoeur-Martineau 2019; Huang et al. 2024 §2.1), with R1 and R2.
    "relativistic": _relativistic(lambda x: jax.nn.softplus(-x)),
}


def drift(real: jax.Array) -> jax.Array:
    """Return float[n], the squared logits of reals float[n, k]: this penalty keeps a critic near 0 (PG App. A.1)."""
    return jnp.square(real).mean(axis=1)
