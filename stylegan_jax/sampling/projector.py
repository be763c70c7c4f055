"""Projection of images: the projector of StyleGAN2 (section 5.2 and appendix D), for several images at once with vmap.

    from stylegan_jax.sampling import projector

    pixels = projector.read_images(["face.png"], model.gan.spec.image_shape)
    found = projector.project(model, pixels, steps=300)
    found.ws, found.images, found.losses, found.noise

Each step is one call of a compiled program, because XLA on CPU runs convolutions inside loops with slow code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stylegan_jax import models
from stylegan_jax.base import images as pictures, rng
from stylegan_jax.base.spec import Array, Variables
from stylegan_jax.base.trees import digest_of, named_leaves
from stylegan_jax.features import FeatureNet, load_features
from stylegan_jax.ops.resize import resize_area
from stylegan_jax.runtime import records
from stylegan_jax.sampling import drawing, model as trained
from stylegan_jax.sampling.labels import Label, as_labels
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.sampling.styles import check_slots

STYLE_SAMPLES, STYLE_SEED = 10_000, 123
LEARNING_RATE = 0.1
RAMP_UP, RAMP_DOWN = 0.05, 0.25
"""Shares of the steps in which the learning rate rises and falls."""
STYLE_NOISE, STYLE_NOISE_UNTIL = 0.05, 0.75
"""Random moves of the style: initial size relative to the spread of W, and the share of steps until they vanish."""
NOISE_WEIGHT = 1e5
NOISES = ("fit", "const")
MAX_SIZE, MIN_SIZE = 256, 32
"""Limits of the shorter side for LPIPS: larger images are averaged down, pixels of smaller ones are repeated."""

_NOT_FINITE = "the model's weights are not finite"


class Projection(NamedTuple):
    """The projections of n images.

    Attributes:
        ws: float32[n, l, w].
        noise: {path: float32[n, h, w]}, the constant noise maps of each image, for `with_noise`; {} if they are not
            optimised or the architecture has none.
        images: float32[n, h, w, c], about [-1, 1], drawn from both.
        lpips: float32[n], LPIPS between these and the targets.
        start_lpips: float32[n], the same for the starting point, the mean style or `start`.
        losses: float32[steps, n], LPIPS before each step, of the style with its random move.
        frames: uint8[k, n, h, w, c], intermediate images.
    """

    ws: np.ndarray
    noise: dict[str, np.ndarray]
    images: np.ndarray
    lpips: np.ndarray
    start_lpips: np.ndarray
    losses: np.ndarray
    frames: np.ndarray


Watch = Callable[[int, jax.Array, Callable[[], jax.Array]], None]
"""(steps done, LPIPS float32[n] before the last of them, a function that draws the images float32[n, h, w, c])."""


class Spread(NamedTuple):
    """Mean float32[w] of W, and the root mean squared distance of styles from it."""

    mean: np.ndarray
    std: float


class Fit(NamedTuple):
    """What is optimised: styles float[n, 1 or l, w] and {path: noise maps float[n, h, w]}."""

    w: jax.Array
    noise: dict[str, jax.Array]


class Programs(NamedTuple):
    """Compiled once per model and feature network: `see` images, `draw` a `Fit`, take a `step`."""

    see: Callable[..., Any]
    draw: Callable[..., Any]
    step: Callable[..., Any]


def project(
    model: LoadedModel,
    images: Array,
    *,
    masks: Array | None = None,
    label: Label = None,
    steps: int = 1000,
    plus: bool = False,
    noise: str = "fit",
    seed: int = 303,
    net: FeatureNet | None = None,
    frames: int = 0,
    batch: int = 8,
    watch: Watch | None = None,
    start: Array | None = None,
    rate: float = LEARNING_RATE,
) -> Projection:
    """Find styles and noise whose images resemble `images`.

    Adam with the published schedules minimises the squared distance of LPIPS features, with a penalty that keeps the
    picture out of the noise maps. Images do not influence each other: their losses are summed, and each has its own
    random stream.

    Args:
        model: the generator.
        images: uint8[n, h, w, c] of the model's shape; `read_images` reads them from files.
        masks: float[n, h, w] in [0, 1], weight of each pixel; None: all count.
        label: a class or label for all images, or one per image, as in `LoadedModel.map`; None for a model without.
        steps: of Adam; 1000 as published.
        plus: optimise one style per slot (W+) instead of one for all (W, as published).
        noise: 'fit' starts from random constant noise maps and optimises them too, as published; 'const' keeps the
            model's own.
        seed: of the noise and of the random moves.
        net: LPIPS features; None: `load_features('vgg16_lpips')`.
        frames: number of intermediate images to keep, evenly from the first step to the last.
        batch: largest number of images at once; more are processed in turn.
        watch: called after every step; an error that it raises ends the projection.
        start: styles float[n, l, w] to start from, without random moves, such as an encoder's; without `plus`, their
            mean over slots; `label` then has no effect. None: the mean of W, as published.
        rate: the largest learning rate.

    Raises:
        ValueError: an image, mask, label or number does not fit. FeatureError, a ValueError too: weights are missing.

    Source: Karras et al. 2020 (StyleGAN2), section 5.2 and appendix D; W+ from Abdal et al. 2019.
    """
    found = parts(
        model,
        images,
        masks=masks,
        label=label,
        steps=steps,
        plus=plus,
        noise=noise,
        seed=seed,
        net=net,
        frames=frames,
        batch=batch,
        watch=watch,
        start=start,
        rate=rate,
    )
    return _join(list(found))


def parts(
    model: LoadedModel,
    images: Array,
    *,
    masks: Array | None,
    label: Label,
    steps: int,
    plus: bool,
    noise: str,
    seed: int,
    net: FeatureNet | None,
    frames: int,
    batch: int,
    watch: Watch | None = None,
    start: Array | None = None,
    rate: float = LEARNING_RATE,
) -> Iterator[Projection]:
    """Check the arguments of `project`, and return an iterator over its results, of up to `batch` images each."""
    trained.check_styles_draw(model.gan.spec)
    targets = check_images(images, model.gan.spec.image_shape)
    weights = check_masks(masks, targets.shape[:3])
    dim = model.gan.spec.label_dim if start is None else 0  # labels matter only for the mean of W
    cond = as_labels(label if start is None else None, len(targets), dim, model.label_kind, model.label_names)
    for name, value, least in (("steps", steps, 1), ("frames", frames, 0), ("batch", batch, 1)):
        if value < least:
            raise ValueError(f"{name}={value} must be at least {least}")
    if plus:
        check_slots(model, "a style per slot (W+)")
    if noise not in NOISES:
        raise ValueError(f"noise is {noise!r}; known: {', '.join(NOISES)}")
    if not 0 < rate < np.inf:
        raise ValueError(f"rate={rate} must be greater than 0, such as {LEARNING_RATE}")
    first = _first_styles(model, start, len(targets), plus)
    net = net or load_features("vgg16_lpips")
    net = net._replace(params=jax.device_put(net.params))
    model = model.on_device()
    size = -(-len(targets) // -(-len(targets) // batch))  # parts are as even as possible
    moments = keep_frames(steps, frames)
    total = steps * -(-len(targets) // size)
    bar = iter(records.progress(range(total), total, "step"))
    work = functools.partial(
        _project, model, net, steps=steps, plus=plus, noise=noise, seed=seed, moments=moments, watch=watch, rate=rate
    )
    rows = (targets, weights, cond, np.arange(len(targets)), first)

    def each() -> Iterator[Projection]:
        for some, n in trained.in_chunks(rows, size):
            yield _first(work(*some, bar=bar), n)
        next(bar, None)

    return each()


def keep_frames(steps: int, count: int) -> list[int]:
    """Return the steps, from 0 to `steps`, after which an image is kept: `count` evenly spread ones, or fewer."""
    return sorted(set(np.linspace(0, steps, min(count, 2 * steps + 1)).round().astype(int).tolist()))


def _first_styles(model: LoadedModel, start: Array | None, n: int, plus: bool) -> np.ndarray | None:
    """Return the argument `start` of `project` as float32[n, l or 1, w]."""
    if start is None:
        return None
    ws = trained.as_styles(start, model.gan.spec)
    if len(ws) != n:
        raise ValueError(f"start has {len(ws)} styles for {n} images; pass one for each")
    return ws if plus else ws.mean(axis=1, keepdims=True)


def _project(
    model, net, targets, masks, cond, index, begin, *, steps, plus, noise, seed, moments, bar, watch, rate
) -> Projection:
    """Project one part of the images; `bar` advances by one per step."""
    spec, g = model.gan.spec, model.g_ema
    run = programs(model.gan, net.apply)
    mean, std = spreads(model, cond) if begin is None else (begin[:, 0], np.zeros(len(begin), np.float32))
    root = rng.root(seed)
    wanted = run.see(net.params, pictures.from_pixels(targets), masks)
    w = jnp.broadcast_to(mean[:, None], (len(targets), spec.num_ws if plus else 1, spec.w_dim))
    fit = Fit(jnp.array(w if begin is None else begin), first_noise(model, root, index) if noise == "fit" else {})
    state, kept, losses = (fit, optax.scale_by_adam().init(fit)), [], []
    compare = lambda image: jnp.square(run.see(net.params, image, masks) - wanted).sum(axis=1)
    first = run.draw(g, fit)
    trained.check_finite(jax.device_get(first), "average images", _NOT_FINITE)
    start = compare(first)
    for i in range(steps):
        if i in moments:
            kept.append(pictures.to_pixels(jax.device_get(run.draw(g, state[0]))))
        state, distance = run.step(g, net.params, state, wanted, masks, std, root, index, i, steps, rate)
        losses.append(distance)
        next(bar)
        if watch is not None:
            watch(i + 1, distance, lambda fit=state[0]: run.draw(g, fit))
    fit, last = state[0], run.draw(g, state[0])
    trained.check_finite(jax.device_get(last), "images", _NOT_FINITE)
    if steps in moments:
        kept.append(pictures.to_pixels(jax.device_get(last)))
    ws = jnp.broadcast_to(fit.w, (len(targets), spec.num_ws, spec.w_dim))
    frames = np.stack(kept) if kept else np.zeros((0, *targets.shape), np.uint8)
    found = Projection(ws, fit.noise, last, compare(last), start, jnp.stack(losses), frames)  # type: ignore[arg-type]
    return jax.device_get(found)


def _first(found: Projection, n: int) -> Projection:
    """Return the projections of the first n images."""
    rows = found._replace(losses=found.losses[:, :n], frames=found.frames[:, :n])
    return rows._replace(
        ws=found.ws[:n],
        noise={path: x[:n] for path, x in found.noise.items()},
        **{name: getattr(found, name)[:n] for name in ("images", "lpips", "start_lpips")},
    )


def _join(parts: Sequence[Projection]) -> Projection:
    join = lambda name, axis: np.concatenate([getattr(part, name) for part in parts], axis=axis)
    noise = {path: np.concatenate([part.noise[path] for part in parts]) for path in parts[0].noise}
    axes = {"ws": 0, "images": 0, "lpips": 0, "start_lpips": 0, "losses": 1, "frames": 1}
    return Projection(noise=noise, **{name: join(name, axis) for name, axis in axes.items()})


@functools.lru_cache(maxsize=16)
def programs(gan: models.Gan, apply: Any) -> Programs:
    """Return the programs of a model and a feature network; weights are arguments, because constants would be compiled
    in."""

    def see(params, image, masks):
        return apply(params, shown(image, masks), ("lpips",))["lpips"]

    def draw(g, fit):
        ws = jnp.broadcast_to(fit.w, (len(fit.w), gan.spec.num_ws, fit.w.shape[2]))
        one = lambda noise, w: drawing.draw(gan, put_noise(g, noise), w[None])[0]
        return jax.vmap(one)(fit.noise, ws)

    def step(g, params, state, wanted, masks, std, root, index, step, steps, most):
        fit, adam = state
        rate, size = schedule(step, steps, most)
        keys = rng.per_example(rng.stream(root, "project/moves", step), index)
        moves = rng.normal(keys, fit.w.shape) * (size * std)[:, None, None]

        def loss(fit):
            image = draw(g, fit._replace(w=fit.w + moves))
            distance = jnp.square(see(params, image, masks) - wanted).sum(axis=1)
            penalty = sum((jax.vmap(noise_penalty)(x) for x in fit.noise.values()), jnp.zeros(len(distance)))
            return jnp.sum(distance + NOISE_WEIGHT * penalty), distance

        gradient, distance = jax.grad(loss, has_aux=True)(fit)
        updates, adam = optax.scale_by_adam().update(gradient, adam)
        fit = jax.tree.map(lambda x, u: x - rate * u, fit, updates)
        return (fit._replace(noise={path: normalised(x) for path, x in fit.noise.items()}), adam), distance

    return Programs(jax.jit(see), jax.jit(draw), jax.jit(step, donate_argnums=2))


def schedule(step: Any, steps: Any, most: Any = LEARNING_RATE) -> tuple[jax.Array, jax.Array]:
    """Return (learning rate, size of the random moves relative to the spread) at one of `steps` steps (SG2 appendix D).

    `most` is the largest learning rate.
    """
    t = jnp.asarray(step, jnp.float32) / steps
    ramp = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1.0, (1 - t) / RAMP_DOWN))
    rate = most * ramp * jnp.minimum(1.0, t / RAMP_UP)
    return rate, STYLE_NOISE * jnp.square(jnp.maximum(0.0, 1 - t / STYLE_NOISE_UNTIL))


def noise_penalty(x: jax.Array) -> jax.Array:
    """Return the autocorrelation of a noise map float[h, w] at lag 1, over a pyramid down to 8x8 (SG2 appendix D).

    Each level is the mean of 2x2 pixels of the one before, as in the released code; the paper multiplies it by 2.
    """
    total = jnp.zeros(())
    while True:
        total += sum(jnp.square(jnp.mean(x * jnp.roll(x, 1, axis))) for axis in (0, 1))
        if min(x.shape) <= 8 or any(size % 2 for size in x.shape):
            return total
        x = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean(axis=(1, 3))


def normalised(x: jax.Array) -> jax.Array:
    """Return maps float[n, h, w], each with mean 0 and mean square 1."""
    x = x - x.mean(axis=(1, 2), keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis=(1, 2), keepdims=True))


def shown(image: jax.Array, masks: jax.Array) -> jax.Array:
    """Return images float[n, h, w, 3] in [0, 255] as the feature network sees them: masked, RGB, of a suitable size.

    If the shorter side is above 256, images are averaged down so that it is 256, by area as published for squares. Up
    to 256, the size is kept; below 32, pixels are repeated, because the network halves the size four times.

    Args:
        image: float[n, h, w, c] in [-1, 1]; alpha is ignored, grey is repeated.
        masks: float[n, h, w]; where it is 0, both images of the comparison are grey.
    """
    image = image[..., :3] * masks[..., None]
    shorter = min(image.shape[1:3])
    if shorter > MAX_SIZE:
        height, width = (round(size * MAX_SIZE / shorter) for size in image.shape[1:3])
        image = resize_area(image, (height, width))
    times = -(-MIN_SIZE // shorter)
    if times > 1:
        image = jnp.repeat(jnp.repeat(image, times, axis=1), times, axis=2)
    image = jnp.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
    return image * 127.5 + 127.5


def spread(model: LoadedModel, label: Label = None, chunk: int = 256) -> Spread:
    """Return the mean and spread of W over 10,000 latents of one random stream."""
    z = np.random.RandomState(STYLE_SEED).randn(STYLE_SAMPLES, model.gan.spec.z_dim).astype(np.float32)
    w = model.map(z, label, chunk=chunk)[:, 0].astype(np.float64)
    mean = w.mean(axis=0)
    return Spread(mean.astype(np.float32), float(np.sqrt(np.square(w - mean).sum() / len(w))))


def spreads(model: LoadedModel, cond: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the means float32[n, w] and spreads float32[n] of W for labels float32[n, k]."""
    if not cond.shape[1]:
        own = spread(model)
        return np.tile(own.mean, (len(cond), 1)), np.full(len(cond), own.std, np.float32)
    rows, which = np.unique(cond, axis=0, return_inverse=True)
    found = [spread(model, row) for row in rows]
    mean, std = np.stack([s.mean for s in found]), np.array([s.std for s in found], np.float32)
    return mean[which.reshape(-1)], std[which.reshape(-1)]


def digest(model: LoadedModel) -> str:
    """Return a digest of the generator's weights, in hexadecimal digits."""
    return digest_of(jax.device_get(model.g_ema), {})


def noise_maps(variables: Variables) -> dict[str, Array]:
    """Return the constant noise maps of generator variables by path, as 'synthesis/b4/conv1/noise_const'."""
    named = named_leaves(variables.get("buffers", {}))
    return {path: x for path, x in named.items() if path.endswith("noise_const")}


def first_noise(model: LoadedModel, root: jax.Array, index: np.ndarray) -> dict[str, jax.Array]:
    """Return unit normal maps float32[n, h, w] by path; an image's depend only on its number in `index`."""
    own = lambda path: rng.per_example(rng.stream(root, f"project/noise/{path}"), jnp.asarray(index))
    maps = noise_maps(model.g_ema)
    return {path: rng.normal(own(path), (len(index), *x.shape[:2])) for path, x in maps.items()}


def put_noise(variables: Variables, noise: dict[str, Any]) -> Variables:
    """Return generator variables with other constant noise maps float[h, w], by path."""
    changes: dict[str, Any] = {}
    for path, value in noise.items():
        *parents, leaf = path.split("/")
        node = functools.reduce(lambda inner, name: inner.setdefault(name, {}), parents, changes)
        node[leaf] = value
    return models.merge(variables, {"buffers": changes}) if changes else variables


def with_noise(model: LoadedModel, noise: dict[str, Any]) -> LoadedModel:
    """Return the model with one image's noise maps, {path: float[h, w]}, as its constant noise.

    Raises:
        ValueError: the maps are not those of the model, or have other sizes.
    """
    own = {path: x.shape for path, x in noise_maps(model.g_ema).items()}
    given = {path: np.shape(x) for path, x in noise.items()}
    if noise and own != given:
        path = sorted(own.items() ^ given.items())[0][0]
        raise ValueError(f"noise map {path} is {given.get(path)}; this model has {own.get(path)}")
    return model.replace(g_ema=put_noise(model.g_ema, noise))


def check_images(images: Array, shape: tuple[int, int, int]) -> np.ndarray:
    """Return images as uint8[n, h, w, c], checked.

    Raises:
        ValueError: they have another type or shape.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape or not len(images):
        h, w, c = shape
        raise ValueError(
            f"expected uint8[n, {h}, {w}, {c}], got {images.dtype}{list(images.shape)} "
            "(projector.read_images crops and resizes files)"
        )
    if shape[2] not in (1, 3, 4):
        raise ValueError(f"the model draws {shape[2]} channels; LPIPS compares grey, RGB or RGBA")
    return images


def check_masks(masks: Array | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return masks as float32[n, h, w], checked.

    Raises:
        ValueError: they have another shape, or numbers outside [0, 1], or one is 0 everywhere.
    """
    if masks is None:
        return np.ones(shape, np.float32)
    masks = np.asarray(masks, np.float32)
    if masks.shape != shape or not ((masks >= 0) & (masks <= 1)).all():
        raise ValueError(f"masks of shape {list(masks.shape)}; pass numbers from 0 to 1 of shape {list(shape)}")
    if not masks.any(axis=(1, 2)).all():
        raise ValueError(f"mask {int(np.argmin(masks.any(axis=(1, 2))))} is 0 everywhere; mark the pixels that count")
    return masks


def read_images(files: Iterable[str | Path], shape: tuple[int, int, int]) -> np.ndarray:
    """Return uint8[n, h, w, c] of image files, cropped at the centre to the shape's aspect ratio, resized by Lanczos.

    Unless c is 4, transparency is composited over white; colours are converted to grey if c is 1, and grey to RGB if 3.

    Raises:
        ValueError: a file is not an image.
        OSError: a file does not exist.
    """
    from stylegan_jax.data.prepare.convert import Recipe

    h, w, c = shape
    recipe = Recipe(channels=c, resolution=(w, h), transform="center-crop")
    return np.stack([read_image(file, recipe) for file in files])


def read_image(file: str | Path, recipe: Any) -> np.ndarray:
    """Return uint8[h, w, c] of an image file, converted by a `data.prepare.convert.Recipe`.

    Raises:
        ValueError: it is not an image.
        OSError: it does not exist.
    """
    from stylegan_jax.data.images import decode
    from stylegan_jax.data.prepare.convert import BadImage, make

    try:
        return decode(make(Path(file).read_bytes(), recipe).png, recipe.channels)
    except BadImage as error:
        raise ValueError(f"{file}: {error}") from None
