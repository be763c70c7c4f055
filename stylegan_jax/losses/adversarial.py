"""Adversarial losses on logits, one row per example; several heads are averaged by the caller's mean.

Each entry of `LOSSES` has `generator(fake)`, `fake(fake)` and `real(real)`: what the generator minimises on its fakes,
and what the discriminator minimises on fakes and on reals. Logits are float32[n, k].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax


class AdversarialLoss(NamedTuple):
    """Three functions from logits float[n, k] to per-example losses float[n, k]."""

    generator: Callable[[jax.Array], jax.Array]
    fake: Callable[[jax.Array], jax.Array]
    real: Callable[[jax.Array], jax.Array]


LOSSES: dict[str, AdversarialLoss] = {
    # Non-saturating logistic loss (Goodfellow et al. 2014 §3), the choice of every StyleGAN.
    "logistic": AdversarialLoss(lambda x: jax.nn.softplus(-x), jax.nn.softplus, lambda x: jax.nn.softplus(-x)),
    # The original minimax game: the generator maximises what the discriminator minimises.
    "minimax": AdversarialLoss(lambda x: -jax.nn.softplus(x), jax.nn.softplus, lambda x: jax.nn.softplus(-x)),
    # Hinge (Lim & Ye 2017), as in Projected GAN and StyleGAN-XL.
    "hinge": AdversarialLoss(lambda x: -x, lambda x: jax.nn.relu(1 + x), lambda x: jax.nn.relu(1 - x)),
    # Wasserstein critic (Arjovsky et al. 2017); use with config.loss.d_reg='wgan_gp'.
    "wasserstein": AdversarialLoss(lambda x: -x, lambda x: x, lambda x: -x),
}
