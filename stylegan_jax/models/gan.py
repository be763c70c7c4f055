"""The `Gan` bundle: an architecture as the rest of the project sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from stylegan_jax.base import rng
from stylegan_jax.base.spec import Inputs, Sample, Tree, Variables

Shapes = Mapping[str, tuple[int, ...]]
"""Names and the shape of one example."""


class GanSpec(NamedTuple):
    """Static facts of a model.

    Attributes:
        sample: the parts of one example of the data and of the generator: {'image': (h, w, c)}, or for clips
            {'image': (t, h, w, c), 'times': (t,)}.
        inputs: what `draw_inputs` draws for one example: {'z': (z,)}, and more if an architecture needs it.
        num_ws: style slots l.
        w_dim: style size.
        label_dim: length k of a label; 0 without conditioning.
        heads: logits per example.
        critics: how many of them belong to each of several discriminators, in order; () for a single one.
        w_avg: shape of the mean style: (w,), or (k, w) with one per class.
        slots: nominal resolution of the layers of each style slot, 4 in the first block; () if layers do not double the
            resolution block by block.
        frozen: names of the pretrained networks, read only, of `init_g`, `init_d`, `discriminate` and `guide`.
        is_d_random: the discriminator draws random numbers in training and therefore needs keys.
        groups: paths of parameters by purpose. 'freeze_d': the discriminator's layers that Freeze-D can freeze, in
            order from the input. 'mapping' and 'embed': the generator's mapping network and label embedding.
            'no_path_length' and 'no_penalty': parameters on which path length or gradient penalties do not depend, and
            whose optimiser state those phases leave alone. For a generator with stages: 'stem', the parts of the
            previous stage that `train.freeze_g` keeps; 'input', the part of it that is trained all the same; 'head',
            the new part.
    """

    sample: Shapes
    inputs: Shapes
    num_ws: int
    w_dim: int
    label_dim: int
    heads: int = 1
    critics: tuple[int, ...] = ()
    w_avg: tuple[int, ...] = ()
    slots: tuple[int, ...] = ()
    frozen: tuple[str, ...] = ()
    is_d_random: bool = False
    groups: Mapping[str, tuple[str, ...]] = FrozenDict()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of an image, or of a clip's frame."""
        h, w, c = self.sample["image"][-3:]
        return h, w, c

    @property
    def z_dim(self) -> int:
        """Latent size."""
        return self.inputs["z"][-1]


class Init(Protocol):
    """Draw a network's variables from a key; `frozen` holds the pretrained networks of `spec.frozen` by name."""

    def __call__(self, key: jax.Array, frozen: Mapping[str, Tree] = ...) -> Variables: ...


class DrawInputs(Protocol):
    """Draw what the generator starts from."""

    def __call__(self, key: jax.Array, n: int, cond: jax.Array) -> Inputs: ...


class DrawAt(Protocol):
    """Draw what a generator of clips starts from besides z, for frames of given times float[n, t]."""

    def __call__(self, key: jax.Array, times: jax.Array, cond: jax.Array) -> Inputs: ...


class MapLatents(Protocol):
    """Map latents and labels to styles, not truncated."""

    def __call__(self, g: Variables, inputs: Inputs, cond: jax.Array, *, train: bool = False) -> jax.Array: ...


class Synthesize(Protocol):
    """Map styles to examples."""

    def __call__(
        self,
        g: Variables,
        ws: jax.Array,
        inputs: Inputs,
        *,
        noise: str = "const",
        key: jax.Array | None = None,
        train: bool = False,
        batch: int | None = None,
    ) -> tuple[Sample, Variables]: ...


class Features(Protocol):
    """Map styles to examples, and return the feature maps of the layers on the way."""

    def __call__(
        self, g: Variables, ws: jax.Array, inputs: Inputs, *, noise: str = "const"
    ) -> tuple[Sample, dict[str, jax.Array]]: ...


class Discriminate(Protocol):
    """Map examples and labels to logits."""

    def __call__(
        self,
        d: Variables,
        frozen: Mapping[str, Tree],
        sample: Sample,
        cond: jax.Array,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, Variables]: ...


class Centre(Protocol):
    """Return the mean styles that truncation pulls towards."""

    def __call__(self, w_avg: jax.Array, cond: jax.Array) -> jax.Array: ...


class MoveCentre(Protocol):
    """Move the mean styles towards new ones."""

    def __call__(self, w_avg: jax.Array, w: jax.Array, cond: jax.Array, beta: float) -> jax.Array: ...


class Guide(Protocol):
    """Return a further loss of the generator on its fakes, one value per example."""

    def __call__(self, frozen: Mapping[str, Tree], sample: Sample, cond: jax.Array) -> jax.Array: ...


class WithTransform(Protocol):
    """Return generator variables that draw the image under another affine transform."""

    def __call__(self, variables: Variables, transform: jax.Array) -> Variables: ...


class Grown(Protocol):
    """Return the bundle of a smaller image height, or of one whose last layers are being faded in."""

    def __call__(self, height: int, alpha: jax.Array | float | None = None) -> Gan: ...


def draw_z(spec: GanSpec) -> DrawInputs:
    """Return the `draw_inputs` of a generator that starts from unit normals z alone."""

    def draw_inputs(key: jax.Array, n: int, cond: jax.Array) -> Inputs:
        return {"z": rng.normal(key, (n, spec.z_dim))}

    return draw_inputs


def one_centre(w_avg: jax.Array, cond: jax.Array) -> jax.Array:
    """Return one mean style w_avg float[w] for every row of cond float[n, k]: float[n, w]."""
    return jnp.broadcast_to(w_avg, (cond.shape[0], *w_avg.shape))


def move_one_centre(w_avg: jax.Array, w: jax.Array, cond: jax.Array, beta: float) -> jax.Array:
    """Move one mean style w_avg float[w] towards the batch mean of w float[n, w], whatever their labels."""
    mean = jax.lax.stop_gradient(w).mean(axis=0)
    return mean + (w_avg - mean) * beta


def centre_per_class(w_avg: jax.Array, cond: jax.Array) -> jax.Array:
    """Return the mean styles float[n, w] of one-hot labels cond float[n, k] from a table w_avg float[k, w]."""
    return w_avg[jnp.argmax(cond, axis=1)]


def move_centre_per_class(w_avg: jax.Array, w: jax.Array, cond: jax.Array, beta: float) -> jax.Array:
    """Move the classes of a table w_avg float[k, w] towards their rows of w float[n, w], one row after another.

    A class that occurs m times moves m times, so the order of its rows matters; other classes do not move. Classes are
    those of one-hot labels cond float[n, k]. This is what StyleGAN-XL's code does, but over the global batch.
    """
    count = cond.sum(axis=0, keepdims=True)
    later = (cond * (count - jnp.cumsum(cond, axis=0))).sum(axis=1)  # rows of its class that follow a row
    shares = cond * ((1 - beta) * beta**later)[:, None]
    new = jnp.matmul(shares.T, jax.lax.stop_gradient(w), precision="highest")
    return w_avg * (beta**count).T + new


class Gan(NamedTuple):
    """Pure functions and a static spec: the counterpart of optax's `GradientTransformation` for networks.

    `g` and `d` are all variables of a network, `cond` is float[n, k], and `moved` is a subtree of the variables without
    'params': the collections that this call updates by one step, as means over its examples, so that the mean over the
    parts of a batch is that of the batch. `train` is static: the call is part of training, uses the statistics of the
    batch, and updates the averages.

    Attributes:
        spec: static facts.
        init_g: (key, frozen) -> generator variables {'params': {'mapping', 'synthesis'}, …}.
        init_d: (key, frozen) -> discriminator variables {'params': …}.
        draw_inputs: (key, n, cond) -> inputs, as `spec.inputs` with n rows; a row does not depend on n.
        map_latents: (g, inputs, cond, *, train) -> ws float[n, l, w], not truncated.
        synthesize: (g, ws float[n, l, w], inputs, *, noise, key, train, batch) -> (sample, moved). Images are float32,
            about [-1, 1]. `noise` is 'random' (fresh, from `key`: one, or [n] for one per example), 'const' or 'none'.
            `inputs` may lack what the synthesis network does not read, such as 'z'. With `train`, `ws` may be a part
            of a batch of `batch` examples (None: all of it).
        discriminate: (d, frozen, sample, cond, *, key, train) -> (logits float32[n, heads], moved). `key` is [n], one
            per example, or None if nothing is drawn.
        centre: (w_avg, cond) -> float[n, w], the mean styles of labels.
        move_centre: (w_avg, w float[n, w], cond, beta) -> w_avg, keeping the share `beta` of w_avg with the batch's
            means, or with one row of its class after another.
        guide: (frozen, sample, cond) -> float[n], added to the generator's adversarial loss and already weighted, such
            as the loss of a frozen classifier. None: no such loss.
        with_transform: (variables, transform float[3, 3], or float[n, 3, 3] for one per image) -> generator variables
            that sample the image plane at transform @ (x, y, 1), in units of the image height from the centre, x to the
            right and y down: the inverse of the picture's movement. None: the architecture draws on a fixed grid.
        grown: (height, alpha) -> the bundle whose networks end at this image height, on the same variables. With
            `alpha` float[] in [0, 1], traced or not, its layers of this height are being faded in: 0 shows and sees
            images of half the height, each pixel repeated, 1 is the bundle without alpha. None: it cannot grow.
        draw_at: (key, times float[n, t], cond) -> what `draw_inputs` draws with this key besides z, for frames of these
            times: any times starting at 0, also fractional and beyond those of training, so shapes may differ from
            those of `spec.inputs`. A frame depends only on its own time. None: samples have no time.
        features: (g, ws float[n, l, w], inputs, *, noise) -> (sample, {name: float[n, h, w, c]}), the outputs of the
            synthesis network's blocks or layers, from coarse to fine, in their own dtype; of clips [n, t, h, w, c].
            Each map shows the whole picture and nothing beyond it. `noise` is 'const' or 'none'. None: not supported.
    """

    spec: GanSpec
    init_g: Init
    init_d: Init
    draw_inputs: DrawInputs
    map_latents: MapLatents
    synthesize: Synthesize
    discriminate: Discriminate
    centre: Centre = one_centre
    move_centre: MoveCentre = move_one_centre
    guide: Guide | None = None
    with_transform: WithTransform | None = None
    grown: Grown | None = None
    draw_at: DrawAt | None = None
    features: Features | None = None


def make_spec(
    image_shape: tuple[int, ...],
    z_dim: int,
    num_ws: int,
    w_dim: int,
    label_dim: int = 0,
    **more: Any,
) -> GanSpec:
    """Return the spec of a GAN of images (h, w, c) from latents z with one mean style; `more` sets other fields."""
    own = {"heads": 1, "w_avg": (w_dim,), "groups": FrozenDict(more.pop("groups", {}))}
    sample, inputs = FrozenDict({"image": image_shape}), FrozenDict({"z": (z_dim,)})
    return GanSpec(sample, inputs, num_ws, w_dim, label_dim, **(own | more))


def merge(tree: Variables, changes: Variables) -> Variables:
    """Return nested dicts in which the leaves of `changes` replace the tree's own."""
    inner = lambda old, new: merge(old, new) if isinstance(new, dict) else new
    return tree | {key: inner(tree[key], new) for key, new in changes.items()}


def shown(seen: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Return the intermediates that a synthesis network sowed in a call, {name: float[n, h, w, c]}."""
    return {name: x[0] for name, x in seen["intermediates"]["synthesis"].items() if isinstance(x, tuple)}


def check_noise(noise: str) -> None:
    """Raise ValueError unless `noise` is a known kind of noise."""
    if noise not in ("random", "const", "none"):
        raise ValueError(f"noise is {noise!r}; known: random, const, none")


def truncate(ws: jax.Array, centre: jax.Array, psi: jax.Array | float, cutoff: int | None = None) -> jax.Array:
    """Pull styles towards their average (SG1 App. B): centre + psi * (w - centre).

    Args:
        ws: float[n, l, w].
        centre: float[n, w], as `Gan.centre` returns it.
        psi: 1 leaves `ws` unchanged, 0 gives the average; any real number, traced or not.
        cutoff: truncate only this many first slots; None: all.
    """
    if centre.ndim != 2 or centre.shape[0] != ws.shape[0]:
        raise ValueError(f"centre has shape {centre.shape}; truncation needs one mean style per row of ws {ws.shape}")
    moved = centre[:, None] + (ws - centre[:, None]) * psi
    if cutoff is None or cutoff >= ws.shape[1]:
        return moved
    return jnp.concatenate([moved[:, :cutoff], ws[:, cutoff:]], axis=1)
