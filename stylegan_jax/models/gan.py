"""The `Gan` bundle: what an architecture is to the rest of the project."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from stylegan_jax.base.spec import Variables


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


class SynthesizeAndTrack(Protocol):
    """Map styles to images, and move the statistics that the network keeps of its activations."""

    def __call__(
        self,
        variables: Variables,
        ws: jax.Array,
        *,
        noise: str = "const",
        key: jax.Array | None = None,
        batch: int | None = None,
    ) -> tuple[jax.Array, Variables]: ...


class WithTransform(Protocol):
    """Return generator variables that draw the image under another affine transform."""

    def __call__(self, variables: Variables, transform: jax.Array) -> Variables: ...


class Discriminate(Protocol):
    """Map images and labels to logits."""

    def __call__(self, variables: Variables, image: jax.Array, cond: jax.Array, sets: int = 1) -> jax.Array: ...


class Grown(Protocol):
    """Return the bundle of a smaller image height, or of one whose last layers are being faded in."""

    def __call__(self, height: int, alpha: jax.Array | float | None = None) -> Gan: ...


class Gan(NamedTuple):
    """Pure functions and a static spec; what `GradientTransformation` is to optimisers.

    Attributes:
        spec: static facts.
        init_g: key -> generator variables {'params': {'mapping', 'synthesis'}, 'buffers': …}.
        init_d: key -> discriminator variables {'params': …}.
        map_latents: (variables, z float[n, z], cond float[n, k]) -> ws float[n, l, w], not truncated.
        synthesize: (variables, ws float[n, l, w], *, noise, key) -> image float32[n, h, w, c], about [-1, 1]; noise is
            'random' (fresh, from `key`: one, or [n] for one per image), 'const' or 'none'.
        synthesize_and_track: as `synthesize`, but returns (image, moved): the statistics in `variables['buffers']`
            that follow the activations, a subtree of it with float[] leaves, one step further. `ws` may be a part of
            a batch of `batch` images (None: all of it); the mean of the parts' statistics is then nearly the batch's.
            Training calls it once per iteration, for the discriminator's fakes.
        discriminate: (variables, image float[n, h, w, c], cond float[n, k], sets) -> logits float32[n, heads]. With
            `sets` 2, rows 0, 2, 4, … and rows 1, 3, 5, … are two sets of images: what an image's logits owe to others
            in the batch, they owe to images of its own set.
        with_transform: (variables, transform float[3, 3], or float[n, 3, 3] for one per image) -> generator variables
            that sample the image plane at transform @ (x, y, 1), in units of the image height from the centre, x to the
            right and y down: the inverse of how the picture moves. None: the architecture draws on a fixed grid.
        grown: (height, alpha) -> the bundle whose networks end at this image height, on the same variables. With
            `alpha` float[] in [0, 1], traced or not, its layers of this height are being faded in: 0 shows and sees
            images of half the height, each pixel repeated, 1 is the bundle without alpha. None: it cannot grow.
    """

    spec: GanSpec
    init_g: Init
    init_d: Init
    map_latents: MapLatents
    synthesize: Synthesize
    synthesize_and_track: SynthesizeAndTrack
    discriminate: Discriminate
    with_transform: WithTransform | None = None
    grown: Grown | None = None


def without_tracking(synthesize: Synthesize) -> SynthesizeAndTrack:
    """Return the `synthesize_and_track` of a network that keeps no statistics."""

    def synthesize_and_track(variables, ws, *, noise="const", key=None, batch=None):
        return synthesize(variables, ws, noise=noise, key=key), {}

    return synthesize_and_track


def merge(tree: Variables, changes: Variables) -> Variables:
    """Return nested dicts with the leaves of `changes` in place of the tree's own."""
    inner = lambda old, new: merge(old, new) if isinstance(new, dict) else new
    return tree | {key: inner(tree[key], new) for key, new in changes.items()}


def check_noise(noise: str) -> None:
    """Raise ValueError unless `noise` is a way of drawing noise."""
    if noise not in ("random", "const", "none"):
        raise ValueError(f"noise is {noise!r}; known: random, const, none")


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
