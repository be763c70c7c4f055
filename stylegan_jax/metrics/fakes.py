"""Evaluating a generator: features of its images, and passes that need the generator itself.

The latent, label and noise of an image depend only on the seed and the image's number, not on the batch, the devices,
or where a pass was interrupted. The images of a video model are the first `FRAMES` frames of its clips.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from stylegan_jax import models
from stylegan_jax.base import images, rng
from stylegan_jax.base.spec import Inputs, Variables
from stylegan_jax.config import ModelConfig
from stylegan_jax.data import FittedSource, order
from stylegan_jax.metrics import equivariance, path_length
from stylegan_jax.metrics.clips import videos_of
from stylegan_jax.metrics.definitions import MODEL_ONLY, UNIFORM, Chosen, Clip
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.metrics.images import Extractor, Wanted, key_of
from stylegan_jax.models import precision
from stylegan_jax.runtime.mesh import ROWS
from stylegan_jax.sampling.drawing import draw, map_styles

EQUIVARIANCE_BATCH = 4
"""Images that share a move, as in the official code."""
FRAMES = 16
"""Frames of a clip that count as images, as in the official code: those at times 0 to 15."""
PATHS = {
    "ppl2_wend": path_length.PathKind("w", False, False),
    "ppl_wend": path_length.PathKind("w", False, True),
    "ppl_zend": path_length.PathKind("z", False, True),
    "ppl_wfull": path_length.PathKind("w", True, True),
    "ppl_zfull": path_length.PathKind("z", True, True),
}


class Generator(NamedTuple):
    """A generator to evaluate.

    Attributes:
        config: its architecture.
        gan: its functions, with truncation; their variables also hold 'w_avg', and 'centroids' to truncate towards.
        exact: the same, with activations in float32; callers set the precision of products.
        labels: the source that labels are drawn from; None without labels.
        psi: truncation.
        seed: of the latents.
        identity: plain dict that determines the weights; {}: passes cannot be resumed.
        classes: labels of the images that are compared: `definitions.UNIFORM`, or 'data'.
        heads: int64[V], the number of each video's first image, which has its label; None: every image has its own.
    """

    config: ModelConfig
    gan: models.Gan
    exact: models.Gan
    labels: FittedSource | None
    psi: float
    seed: int
    identity: dict[str, Any]
    classes: str = "data"
    heads: np.ndarray | None = None

    @property
    def is_video(self) -> bool:
        """Whether it draws clips."""
        return self.gan.draw_at is not None

    def clips(self, index: Any) -> Any:
        """Return the numbers of the clips that contain images int[…]; for a model of images, the same numbers."""
        return index // FRAMES if self.is_video else index

    def label(self, index: np.ndarray, classes: str = "data", heads: np.ndarray | None = None) -> np.ndarray:
        """Return labels float32[*index.shape, k], drawn for each number from those of the data set.

        With `definitions.UNIFORM`, every class is equally likely, however many images it has. Labels of videos are
        those of `heads`, or else of all videos.
        """
        dim = self.gan.spec.label_dim
        if not dim:
            return np.zeros((*index.shape, 0), np.float32)
        if classes == UNIFORM:
            drawn = order.label_index(self.seed, index.reshape(-1), np.arange(1), dim)[0]
            return np.eye(dim, dtype=np.float32)[drawn].reshape(*index.shape, dim)
        assert self.labels is not None
        heads = self.heads if heads is None else heads
        count = self.labels.info().num_images if heads is None else len(heads)
        drawn = order.label_index(self.seed, index.reshape(-1), np.arange(1), count)[0]
        return self.labels.labels(drawn if heads is None else heads[drawn]).reshape(*index.shape, dim)


def make_generator(
    config: ModelConfig,
    gan: models.Gan,
    labels: FittedSource | None,
    psi: float,
    seed: int,
    identity: dict[str, Any],
    classes: str = "data",
) -> Generator:
    """Return a generator to evaluate.

    Raises:
        MetricError: the model has labels, and the data has none or labels of another length; it draws transparency; or
            classes are to be uniform, and its labels are not classes.
    """
    dim = gan.spec.label_dim
    if gan.spec.image_shape[2] not in (1, 3):
        raise MetricError(f"the model draws {gan.spec.image_shape[2]} channels; feature networks see grey or RGB")
    if dim and labels is None:
        raise MetricError(f"the model has labels of length {dim}, which are drawn from a data set; pass --data")
    if dim and labels is not None and labels.info().label_dim != dim:
        raise MetricError(
            f"the model has labels of length {dim}, {labels.info().name} of length {labels.info().label_dim}; pass the "
            "data set it was trained on, and --labels=file or subfolders if its labels were not read"
        )
    if classes == UNIFORM and (labels is None or labels.info().label_kind != "classes"):
        kind = "no labels" if labels is None else f"{labels.info().label_kind} as labels"
        raise MetricError(
            f"--classes={classes} needs a class-conditional model, and this one has {kind}; omit the option"
        )
    is_lowp = precision.low_dtype(config) is not None
    exact = models.build(dataclasses.replace(config, compute_dtype="float32")) if is_lowp else gan
    videos = None if labels is None or gan.draw_at is None else videos_of(labels)
    heads = None if videos is None else videos.heads
    return Generator(config, _sampling(gan, psi), _sampling(exact, psi), labels, psi, seed, identity, classes, heads)


def check_kind(c: Chosen, gan: models.Gan) -> None:
    """Check that a metric and a model are both of images, or both of videos; frames of videos are images too.

    Raises:
        MetricError: they are not.
    """
    is_video = gan.draw_at is not None
    if c.metric.clip and not is_video:
        raise MetricError(
            f"{c.name} evaluates clips, but the model draws images; use a metric of images such as fid50k_full"
        )
    if is_video and c.metric.family in MODEL_ONLY:
        raise MetricError(
            f"{c.name} needs a generator of images, but the model draws videos; use fvd2048_16f, or a metric that "
            "compares frames, such as fid50k_full"
        )


Compute = Callable[[tuple[np.ndarray, np.ndarray]], dict[str, jax.Array]]


def _sampling(gan: models.Gan, psi: float) -> models.Gan:
    """Return the bundle with truncation, for variables that also hold 'w_avg' and perhaps 'centroids'."""
    net = lambda variables: {key: value for key, value in variables.items() if key not in ("w_avg", "centroids")}
    moves = gan.with_transform

    def map_latents(variables: Variables, inputs: Inputs, cond: jax.Array, *, train: bool = False) -> jax.Array:
        w_avg, centroids = variables["w_avg"], variables.get("centroids")
        return map_styles(gan, net(variables), w_avg, inputs, cond, None if psi == 1 else psi, centroids=centroids)

    return gan._replace(
        map_latents=map_latents,
        synthesize=lambda variables, *inputs, **options: gan.synthesize(net(variables), *inputs, **options),
        with_transform=None if moves is None else lambda variables, transform: moves(net(variables), transform),
    )


def _keys(seed: int, name: str, index: jax.Array) -> jax.Array:
    return rng.per_example(rng.stream(rng.root(seed), name), index)


def _draw(gan: models.Gan, variables: Variables, keys: jax.Array, label: jax.Array):
    """Return (z, ws, images) of keys [n]; noise is random."""
    z = jax.vmap(lambda key: jax.random.normal(rng.stream(key, "z"), (gan.spec.z_dim,)))(keys)
    ws = map_styles(gan, variables, None, z, label)
    noise = jax.vmap(lambda key: rng.stream(key, "noise"))(keys)
    return z, ws, draw(gan, variables, ws, noise="random", key=noise)


def _draw_frames(gan: models.Gan, variables: Variables, keys: jax.Array, label: jax.Array, times: jax.Array):
    """Return frames float[n, t, h, w, c] of the clips of keys [n] at times float[n, t]."""
    assert gan.draw_at is not None
    draw_at = gan.draw_at

    def draw_one(key: jax.Array, at: jax.Array, cond: jax.Array) -> Inputs:
        z = jax.random.normal(rng.stream(key, "z"), (gan.spec.z_dim,))
        moving = draw_at(rng.stream(key, "motion"), at[None], cond[None])
        return {"z": z} | jax.tree.map(lambda x: x[0], moving)

    inputs = jax.vmap(draw_one)(keys, times, label)
    ws = map_styles(gan, variables, None, inputs, label)
    return draw(gan, variables, ws, inputs, noise="random", key=jax.vmap(lambda key: rng.stream(key, "noise"))(keys))


def _in_full_float32(draw: Callable) -> Callable:
    """Return `draw` with matrix products and convolutions in full float32, for which accelerators default to less."""

    @functools.wraps(draw)
    def run(*args: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return draw(*args)

    return run


def _rgb(image: jax.Array) -> jax.Array:
    return jnp.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def quantize(image: jax.Array) -> jax.Array:
    """Quantise images, about [-1, 1], by truncation as in a picture file; the result is float, in [0, 255]."""
    return jnp.floor(images.to_levels(image))


def make_features(
    model: Generator, variables: Variables, extractor: Extractor, wanted: Wanted, clip: Clip | None = None
) -> Compute:
    """Return (numbers, labels) -> features of these images, and 'image', which is NaN where an image is not finite.

    With `clip`, numbers are those of clips, which begin at time 0, and `model` draws videos.
    """

    def draw_all(variables: Variables, index: jax.Array, label: jax.Array) -> jax.Array:
        keys = _keys(model.seed, "metrics/images", index if clip else model.clips(index))
        if not model.is_video:
            return _draw(model.gan, variables, keys, label)[2]
        times = index[:, None] % FRAMES if clip is None else jnp.arange(0, clip.least, clip.every)[None]
        times = jnp.broadcast_to(times, (len(index), times.shape[1])).astype(jnp.float32)
        frames = _draw_frames(model.gan, variables, keys, label, times)
        return frames if clip else frames[:, 0]

    def make() -> Callable:
        apply = extractor.features(wanted)

        def run(variables, params, index, label):
            image = draw_all(variables, index, label)
            whole = jnp.isfinite(image).all(axis=tuple(range(1, image.ndim)))
            broken = jnp.where(whole, 0.0, jnp.nan)  # features may be finite where the image is not
            return apply(params, _rgb(quantize(image))) | {"image": broken[:, None]}

        return run

    return _call(extractor, ("fakes", model.gan, model.seed, key_of(wanted), clip), make, variables)


def make_distances(model: Generator, variables: Variables, extractor: Extractor, chosen: Chosen) -> Compute:
    """Return (numbers, labels) -> distances, each of a pair of images."""

    def make() -> Callable:
        apply = extractor.features({chosen.net: [chosen.output]})
        embed = lambda params, image: apply(params, image)[f"{chosen.net}/{chosen.output}"]
        distances = path_length.make_distances(model.exact, PATHS[chosen.metric.variant], embed)

        def run(variables, params, index, label):
            return {"distance": distances(variables, params, _keys(model.seed, "metrics/path", index), label)[:, None]}

        return _in_full_float32(run)

    return _call(extractor, ("path", model.exact, model.seed, chosen.metric.variant, chosen.net), make, variables)


def make_attributes(model: Generator, variables: Variables, extractor: Extractor, chosen: Chosen) -> Compute:
    """Return (numbers, labels) -> latents z and w, and the logits of the attributes of their images."""

    def make() -> Callable:
        apply = extractor.features({chosen.net: [chosen.output]})

        def run(variables, params, index, label):
            z, ws, image = _draw(model.gan, variables, _keys(model.seed, "metrics/ls", index), label)
            found = apply(params, path_length.prepare(image, False))
            return {"z": z, "w": ws[:, -1], "logits": found[f"{chosen.net}/{chosen.output}"]}

        return run

    return _call(extractor, ("ls", model.gan, model.seed, chosen.net), make, variables)


def make_moves(model: Generator, variables: Variables, extractor: Extractor, kinds: tuple[str, ...]) -> Compute:
    """Return (numbers of batches, labels [n, 4, k]) -> {kind: [n, 2]}, errors and weights (`equivariance.errors`).

    Every device takes whole batches on its own: the images of one share a move.
    """
    gan = model.exact
    shape = (EQUIVARIANCE_BATCH, *gan.spec.image_shape)

    def one(variables, index, label):
        key = rng.stream(rng.root(model.seed), "metrics/equivariance", index)
        z = jax.random.normal(rng.stream(key, "z"), (shape[0], gan.spec.z_dim))
        ws = map_styles(gan, variables, None, z, label)
        noise = rng.per_example(rng.stream(key, "noise"), jnp.arange(shape[0]))
        moves = equivariance.draw_moves(rng.stream(key, "moves"), *shape[1:3])
        under = lambda transform: draw(gan, variables, ws, noise="random", key=noise, transform=transform)
        return equivariance.errors(under, moves, shape, kinds)

    def make() -> Callable:
        def run(variables, params, index, label):
            del params
            each = lambda v, i, c: jax.lax.map(lambda x: one(v, *x), (i, c))
            rows = PartitionSpec(ROWS)
            mesh = extractor.layout.mesh
            return jax.shard_map(
                each, mesh=mesh, in_specs=(PartitionSpec(), rows, rows), out_specs=rows, check_vma=False
            )(variables, index, label)

        return _in_full_float32(run)

    return _call(extractor, ("equivariance", model.exact, model.seed, kinds), make, variables)


def _call(extractor: Extractor, key: tuple, make: Callable[[], Callable], variables: Variables) -> Compute:
    program = extractor.program(key, make, trees=2, arrays=2)

    def compute(inputs: tuple[np.ndarray, np.ndarray]) -> dict[str, jax.Array]:
        index, label = inputs
        return program(variables, extractor.params, extractor.place(index), extractor.place(label))

    return compute
