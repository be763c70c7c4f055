"""Styles of given images: the projector of StyleGAN2 (section 5.2 and appendix D), several images at once by vmap."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stylegan_jax import models, rng
from stylegan_jax.trained import LoadedModel

STYLE_SAMPLES, STYLE_SEED = 10_000, 123
LEARNING_RATE = 0.1
RAMP_UP, RAMP_DOWN = 0.05, 0.25
"""Shares of the steps in which the learning rate rises and falls."""
STYLE_NOISE, STYLE_NOISE_UNTIL = 0.05, 0.75
"""Random moves of the style: their size at the start over the spread of W, and the share of the steps they fade in."""
NOISE_WEIGHT = 1e5
MAX_SIZE, MIN_SIZE = 256, 32
"""For the comparison, larger images are averaged down to this height, and pixels of smaller ones repeated."""
STEPS_PER_CALL = 10


class Spread(NamedTuple):
    """Mean float32[w] of W, and the root mean squared distance of a style from it."""

    mean: np.ndarray
    std: float


class Fit(NamedTuple):
    """What is optimised for one image: styles float[1 or l, w] and {path: noise map float[h, w]}."""

    w: jax.Array
    noise: dict[str, jax.Array]


def spread(model: LoadedModel, label: Any = None, chunk: int = 256) -> Spread:
    """Return the mean and spread of W over 10,000 latents of one random stream."""
    z = np.random.RandomState(STYLE_SEED).randn(STYLE_SAMPLES, model.gan.spec.z_dim).astype(np.float32)
    w = model.map(z, label, chunk=chunk)[:, 0].astype(np.float64)
    mean = w.mean(axis=0)
    return Spread(mean.astype(np.float32), float(np.sqrt(np.square(w - mean).sum() / len(w))))


def noise_paths(model: LoadedModel) -> dict[str, tuple[str, ...]]:
    """Return {'synthesis/b4/conv1/noise_const': its keys} of the constant noise maps; empty where there are none."""
    leaves = jax.tree.leaves_with_path(model.g_ema.get("buffers", {}))
    keys = [tuple(str(p.key) for p in path) for path, _ in leaves]
    return {"/".join(k): k for k in keys if k[-1] == "noise_const"}


def with_noise(model: LoadedModel, variables: Any, noise: dict[str, jax.Array]) -> Any:
    """Return generator variables with other constant noise maps."""
    changes: dict[str, Any] = {}
    for path, keys in noise_paths(model).items():
        node = changes
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = noise[path].reshape(variables_at(variables["buffers"], keys).shape)
    return models.merge(variables, {"buffers": changes}) if changes else variables


def variables_at(tree: Any, keys: tuple[str, ...]) -> Any:
    """Return the leaf of nested dicts at a path."""
    for key in keys:
        tree = tree[key]
    return tree


def noise_penalty(x: jax.Array) -> jax.Array:
    """Return how much a noise map float[h, w] resembles its neighbours, over a pyramid down to 8x8 (SG2 eq. 11)."""
    total = jnp.zeros(())
    while True:
        total += sum(jnp.square(jnp.mean(x * jnp.roll(x, 1, axis))) for axis in (0, 1))
        if min(x.shape) <= 8 or any(size % 2 for size in x.shape):
            return total
        x = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean(axis=(1, 3))


def schedule(step: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
    """Return (learning rate, size of the random moves in units of the spread) at a step of so many (SG2 appendix D)."""
    t = step / steps
    ramp = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1.0, (1 - t) / RAMP_DOWN))
    rate = LEARNING_RATE * ramp * jnp.minimum(1.0, t / RAMP_UP)
    return rate, STYLE_NOISE * jnp.square(jnp.maximum(0.0, 1 - t / STYLE_NOISE_UNTIL))


def shown(image: jax.Array, mask: jax.Array) -> jax.Array:
    """Return images float[n, h, w, 3] in [0, 255] as the feature network sees them: masked, RGB, 32 to 256 high.

    Args:
        image: float[n, h, w, c] in [-1, 1].
        mask: float[n, h, w, 1]; what is 0 is grey on both sides of the comparison.
    """
    image = image[..., :3] * mask
    height, width = image.shape[1:3]
    factor = height // MAX_SIZE if height > MAX_SIZE and height % MAX_SIZE == 0 else 1
    if factor > 1 and width % factor == 0:
        image = image.reshape(len(image), height // factor, factor, width // factor, factor, -1).mean(axis=(2, 4))
    times = -(-MIN_SIZE // min(height, width))
    if times > 1:
        image = jnp.repeat(jnp.repeat(image, times, axis=1), times, axis=2)
    image = jnp.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
    return image * 127.5 + 127.5


def project(
    model: LoadedModel,
    net: Any,
    targets: np.ndarray,
    *,
    masks: np.ndarray | None = None,
    label: Any = None,
    steps: int = 1000,
    plus: bool = False,
    seed: int = 0,
) -> Iterator[tuple[Fit, np.ndarray]]:
    """Find styles and noise whose images resemble the targets; yields as it goes.

    Adam with the published schedules on the squared distance of LPIPS features, and on noise that is not to carry the
    picture. The images do not influence each other: their losses are summed.

    Args:
        model: the generator.
        net: LPIPS features, `load_features('vgg16_lpips')`.
        targets: uint8[n, h, w, c] of the model's shape.
        masks: float[n, h, w, 1] in [0, 1]: what counts; None: everything.
        label: as in `LoadedModel.map`; None for a model without.
        steps: of Adam; 1000 as published.
        plus: a style per slot (W+) rather than one for all (W).
        seed: of the noise and of the random moves.

    Yields:
        (fits with a leading axis n, LPIPS distance float32[n] before the last step), every few steps.
    """
    spec, n = model.gan.spec, len(targets)
    average = spread(model, label)
    masks = np.ones((*targets.shape[:3], 1), np.float32) if masks is None else masks
    wanted = net.apply(net.params, shown(jnp.asarray(targets, jnp.float32) / 127.5 - 1, masks), ("lpips",))["lpips"]
    keys = rng.per_example(rng.stream(rng.root(seed), "project"), jnp.arange(n))
    slots = spec.num_ws if plus else 1
    sizes = {path: variables_at(model.g_ema["buffers"], keys).shape[:2] for path, keys in noise_paths(model).items()}
    noise = {
        p: jax.vmap(lambda k, s=s, i=i: jax.random.normal(jax.random.fold_in(k, i), s))(keys)
        for i, (p, s) in enumerate(sizes.items())
    }
    fit = Fit(jnp.broadcast_to(jnp.asarray(average.mean), (n, slots, spec.w_dim)), noise)
    adam = optax.inject_hyperparams(optax.adam)(learning_rate=0.0, b1=0.9, b2=0.999)
    state = adam.init(fit)
    run = jax.jit(functools.partial(_steps, model, net.apply, adam, steps, average.std), static_argnames="count")
    g, params = jax.device_put(model.g_ema), jax.device_put(net.params)
    for first in range(0, steps, STEPS_PER_CALL):
        count = min(STEPS_PER_CALL, steps - first)
        fit, state, distance = run(g, params, fit, state, wanted, masks, keys, first, count=count)
        yield fit, jax.device_get(distance)


def _steps(model, apply, adam, steps, std, g, params, fit, state, wanted, masks, keys, first, *, count):
    """Take `count` steps of Adam; return (fits, its state, distances float32[n] of the last step's images)."""

    def loss(fit: Fit, step, moves):
        moved = fit.w + schedule(step, steps)[1] * std * moves
        ws = jnp.broadcast_to(moved, (len(moved), model.gan.spec.num_ws, moved.shape[2]))
        one = lambda noise, w: model.gan.synthesize(with_noise(model, g, noise), w[None], noise="const")[0]
        image = jax.vmap(one)(fit.noise, ws)
        found = apply(params, shown(image, masks), ("lpips",))["lpips"]
        distance = jnp.square(found - wanted).sum(axis=1)
        penalty = sum((jax.vmap(noise_penalty)(x) for x in fit.noise.values()), jnp.zeros(len(distance)))
        return jnp.sum(distance + NOISE_WEIGHT * penalty), distance

    def one_step(carry, step):
        fit, state, _ = carry
        moves = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, step + 1000), fit.w.shape[1:]))(keys)
        gradient, distance = jax.grad(loss, has_aux=True)(fit, step, moves)
        state.hyperparams["learning_rate"] = schedule(step, steps)[0]
        updates, state = adam.update(gradient, state)
        fit = optax.apply_updates(fit, updates)
        unit = lambda x: x - x.mean(axis=(1, 2), keepdims=True)
        scaled = lambda x: x * jax.lax.rsqrt(jnp.square(x).mean(axis=(1, 2), keepdims=True))
        fit = fit._replace(noise={path: scaled(unit(x)) for path, x in fit.noise.items()})
        return (fit, state, distance), None

    start = (fit, state, jnp.zeros(len(wanted)))
    return jax.lax.scan(one_step, start, first + jnp.arange(count))[0]


def images_of(model: LoadedModel, fit: Fit) -> np.ndarray:
    """Return float32[n, h, w, c] of fits with their noise."""
    ws = jnp.broadcast_to(fit.w, (len(fit.w), model.gan.spec.num_ws, fit.w.shape[2]))

    @jax.jit
    def draw(g, noise, ws):
        one = lambda noise, w: model.gan.synthesize(with_noise(model, g, noise), w[None], noise="const")[0]
        return jax.vmap(one)(noise, ws)

    return jax.device_get(draw(model.g_ema, fit.noise, ws))
