"""ReStyle: an encoder applied repeatedly to an image and its reconstruction (Alaluf et al. 2021, arXiv:2104.02699)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from stylegan_jax.base.spec import Variables
from stylegan_jax.encoders.encoder import Encoder, Stage
from stylegan_jax.ops.resize import resize_area

Synthesize = Callable[[jax.Array], jax.Array]
"""ws float[n, l, w] -> images float[n, h, w, c] in [-1, 1]."""


def start(variables: Variables, n: int) -> tuple[jax.Array, jax.Array]:
    """Return where n images start: the average style float[n, l, w] and its image float[n, h, w, c]."""
    average = variables["average"]
    tiled = lambda x: jnp.broadcast_to(x, (n, *x.shape))
    return tiled(average["w"]), tiled(average["image"])


def step(
    encoder: Encoder,
    variables: Variables,
    images: jax.Array,
    ws: jax.Array,
    made: jax.Array,
    *,
    stage: Stage = None,
    train: bool = False,
) -> tuple[jax.Array, Variables]:
    """Improve styles once (ReStyle eq. 3).

    Args:
        encoder: a residual encoder.
        variables: its variables.
        images: targets float[n, h, w, c] in [-1, 1].
        ws: current styles float[n, l, w]; no gradient flows through them.
        made: their images float[n, h', w', c]; no gradient flows through them.
        stage: as of `Encoder.encode`.
        train: as of `Encoder.encode`.

    Returns:
        (ws float[n, l, w], moved).
    """
    size = encoder.spec.image[:2]
    seen = jnp.concatenate([resize_area(images, size), jax.lax.stop_gradient(resize_area(made, size))], axis=-1)
    change, moved = encoder.encode(variables, seen, stage=stage, train=train)
    return jax.lax.stop_gradient(ws) + change, moved


def iterate(
    encoder: Encoder,
    variables: Variables,
    synthesize: Synthesize,
    images: jax.Array,
    iterations: int | None = None,
) -> tuple[jax.Array, list[jax.Array]]:
    """Encode images; a residual encoder does so several times.

    Args:
        encoder: any; an encoder that is not residual is applied once.
        variables: its variables.
        synthesize: the generator, called between iterations.
        images: targets float[n, h, w, c] in [-1, 1], any size.
        iterations: how often; None: `spec.iterations`.

    Returns:
        (ws float[n, l, w], the ws after every iteration).

    Raises:
        ValueError: `iterations` is less than 1, or more than 1 for an encoder that is not residual.
    """
    spec = encoder.spec
    count = spec.iterations if iterations is None else iterations
    if count < 1 or (count > 1 and not spec.residual):
        rule = "at least 1" if spec.residual else "1: only a residual encoder (ReStyle) repeats"
        raise ValueError(f"iterations is {count}; it must be {rule}")
    if not spec.residual:
        ws, _ = encoder.encode(variables, images)
        return ws, [ws]
    ws, made = start(variables, len(images))
    every = []
    for k in range(count):
        ws, _ = step(encoder, variables, images, ws, synthesize(every[-1]) if k else made)
        every.append(ws)
    return ws, every
