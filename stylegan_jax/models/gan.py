"""The `Gan` bundle: what an architecture is to the rest of the project."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from stylegan_jax.spec import Variables


class GanSpec(NamedTuple):
    """Static facts of a model.

    Attributes:
        z_dim: latent size.
        w_dim: style size.
        num_ws: style slots l.
        image_shape: (h, w, c).
        label_dim: length k of a label; 0 without conditioning.
        d_layers: paths of the discriminator's layers that Freeze-D can hold, from the image on; empty: none.
    """

    z_dim: int
    w_dim: int
    num_ws: int
    image_shape: tuple[int, int, int]
    label_dim: int
    d_layers: tuple[str, ...] = ()


class Init(Protocol):
    """Draw a network's variables from a key."""

    def __call__(self, key: jax.Array) -> Variables: ...


class MapLatents(Protocol):
    """Map latents and labels to styles, not truncated."""

    def __call__(self, variables: Variables, z: jax.Array, cond: jax.Array) -> jax.Array: ...


class Synthesize(Protocol):
    """Map styles to images."""

    def __call__(
        self, variables: Variables, ws: jax.Array, *, noise: str = "const", key: jax.Array | None = None
    ) -> jax.Array: ...


class Discriminate(Protocol):
    """Map images and labels to logits."""

    def __call__(self, variables: Variables, image: jax.Array, cond: jax.Array) -> jax.Array: ...


class Gan(NamedTuple):
    """Pure functions and a static spec; what `GradientTransformation` is to optimisers.

    Attributes:
        spec: static facts.
        init_g: key -> generator variables {'params': {'mapping', 'synthesis'}, 'buffers': …}.
        init_d: key -> discriminator variables {'params': …}.
        map_latents: (variables, z float[n, z], cond float[n, k]) -> ws float[n, l, w], not truncated.
        synthesize: (variables, ws float[n, l, w], *, noise, key) -> image float32[n, h, w, c], about [-1, 1]; noise is
            'random' (fresh, from `key`: one, or [n] for one per image), 'const' or 'none'.
        discriminate: (variables, image float[n, h, w, c], cond float[n, k]) -> logits float32[n, heads].
    """

    spec: GanSpec
    init_g: Init
    init_d: Init
    map_latents: MapLatents
    synthesize: Synthesize
    discriminate: Discriminate


def truncate(ws: jax.Array, w_avg: jax.Array, psi: jax.Array | float, cutoff: int | None = None) -> jax.Array:
    """Pull styles towards their average (SG1 App. B): w_avg + psi * (w - w_avg).

    Args:
        ws: float[n, l, w].
        w_avg: float[w], or float[n, w] when it depends on the label.
        psi: 1 leaves `ws`, 0 gives the average; any real number, traced or not.
        cutoff: only the first so many slots; None: all.
    """
    average = w_avg[:, None] if w_avg.ndim == 2 else w_avg[None, None]
    moved = average + (ws - average) * psi
    if cutoff is None or cutoff >= ws.shape[1]:
        return moved
    return jnp.concatenate([moved[:, :cutoff], ws[:, cutoff:]], axis=1)
