"""Pivotal tuning (Roich et al. 2021): training the generator until its image of a projected style is the target.

from stylegan_jax.sampling import projector, tuner

found = projector.project(model, pixels)
noise = {path: maps[0] for path, maps in found.noise.items()}
tuned = tuner.tune(model, pixels[0], found.ws[0], noise=noise)
tuned.model.synthesize(found.ws[:1] + step)  # an edit
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stylegan_jax import models
from stylegan_jax.base import images
from stylegan_jax.base.spec import Array
from stylegan_jax.features import FeatureNet, load_features
from stylegan_jax.runtime import records
from stylegan_jax.sampling import drawing, model as trained, projector
from stylegan_jax.sampling.model import LoadedModel

STEPS, LEARNING_RATE = 350, 3e-4
DISTANCE, LOCAL_PSI = 30.0, 0.5
"""Locality term: distance from the pivot, and truncation of the styles that determine the direction (XL's code)."""


class Tuned(NamedTuple):
    """A generator tuned to one image.

    Attributes:
        model: the tuned model; its constant noise is the projection's.
        image: float32[h, w, c], about [-1, 1], its image for the pivot.
        losses: float32[steps], LPIPS before each step, with the features used for tuning; if `enough` ended it, the
            last step changed nothing.
        lpips: LPIPS between `image` and the target, with the same features.
    """

    model: LoadedModel
    image: np.ndarray
    losses: np.ndarray
    lpips: float


def tune(
    model: LoadedModel,
    image: Array,
    ws: Array,
    *,
    noise: dict[str, Any] | None = None,
    mask: Array | None = None,
    steps: int = STEPS,
    rate: float = LEARNING_RATE,
    enough: float = 0.0,
    locality: float = 0.0,
    net: FeatureNet | None = None,
    watch: projector.Watch | None = None,
) -> Tuned:
    """Train the synthesis network until its image of a style, with constant noise, is the target.

    Adam minimises the mean squared difference in [-1, 1] plus LPIPS, both weighted 1. The mapping network does not
    change, so neither do the styles of seeds.

    Args:
        model: the generator; it is not changed.
        image: uint8[h, w, c], the target.
        ws: float[l, w], the pivot.
        noise: constant noise maps {path: float[h, w]} of its projection; None: the model's own.
        mask: float[h, w] in [0, 1], weight of each pixel; None: all count.
        steps: largest number of steps of Adam.
        rate: learning rate.
        enough: LPIPS at which tuning ends early; the step that measures it changes nothing. 0: never.
        locality: weight of the LPIPS between images of the tuned and the original generator at a style in a random
            direction, new in every step, at distance 30 from the pivot; 0: off, as published for StyleGAN2;
            StyleGAN-XL: 10.
        net: LPIPS features; None: `load_features('vgg16_lpips')`, as in projection. Published: 'alexnet_lpips' and
            enough=0.06; StyleGAN-XL: VGG16, without an early end.
        watch: called after every step, like that of `projector.project`; an error that it raises ends the tuning.

    Raises:
        ValueError: an image, style, map or number does not fit. FeatureError, a ValueError too: weights are missing.

    Source: Roich et al. 2021, arXiv:2106.05744, section 3.2, with the numbers of its code. Its projection discards the
    noise maps; with `noise`, ours starts from the projected image.
    """
    trained.check_styles_draw(model.gan.spec)
    target = projector.check_images(np.asarray(image)[None], model.gan.spec.image_shape)
    masks = projector.check_masks(None if mask is None else np.asarray(mask)[None], target.shape[:3])
    pivot = trained.as_styles(np.asarray(ws)[None], model.gan.spec)
    if not model.is_grown:
        raise ValueError("this checkpoint has layers that are missing or fading in; tune one that has grown to its end")
    if steps < 1 or not 0 < rate < np.inf or not (0 <= enough < np.inf and 0 <= locality < np.inf):
        raise ValueError(
            f"steps={steps} rate={rate} enough={enough} locality={locality}: steps and rate must be above 0, the "
            "others not negative"
        )
    net = net or load_features("vgg16_lpips")
    params, run = jax.device_put(net.params), step_program(model.gan, net.apply)
    start = projector.with_noise(model, noise or {}).on_device().g_ema
    wanted = images.from_pixels(target)
    see = projector.programs(model.gan, net.apply).see
    goal = see(params, wanted, masks)
    synthesis = jax.tree.map(jnp.array, start["params"]["synthesis"])  # a copy, because steps donate it
    adam, losses = optax.scale_by_adam().init(synthesis), []
    beside = neighbours(model, pivot, steps) if locality else None
    for i in records.progress(range(steps), steps, "step"):
        near = None if beside is None else beside[i : i + 1]
        synthesis, adam, distance = run(
            synthesis, adam, start, params, pivot, wanted, masks, goal, rate, enough, near, locality
        )
        losses.append(float(distance))
        if watch is not None:
            watch(i + 1, distance[None], lambda now=synthesis: _draw(model.gan)(start, now, pivot))
        if losses[-1] <= enough:
            break
    g = jax.device_get(start | {"params": start["params"] | {"synthesis": synthesis}})
    found = model.replace(g_ema=g, g=None, d=None)
    last = found.synthesize(pivot, chunk=1)
    lpips = np.square(see(params, last, masks) - goal).sum()
    return Tuned(found, last[0], np.array(losses, np.float32), float(lpips))


@functools.lru_cache(maxsize=16)
def _draw(gan: models.Gan) -> Any:
    """Return (variables, synthesis parameters that replace theirs, ws) -> images."""
    return jax.jit(
        lambda g, synthesis, ws: drawing.draw(gan, g | {"params": g["params"] | {"synthesis": synthesis}}, ws)
    )


def neighbours(model: LoadedModel, pivot: np.ndarray, count: int) -> np.ndarray:
    """Return styles float32[count, l, w] at `DISTANCE` from pivot float32[1, l, w], in the direction of random styles.

    The distance is the root mean square over slots; if all slots have one style, as published, it is that style's
    distance. The random styles are truncated, and have random classes if the model has classes.
    """
    draw, k = np.random.RandomState(0), model.gan.spec.label_dim
    z = draw.randn(count, model.gan.spec.z_dim).astype(np.float32)
    label = draw.randint(0, k, count) if k else None
    step = model.map(z, label, psi=LOCAL_PSI) - pivot
    length = np.sqrt(np.square(step).sum(axis=2).mean(axis=1))[:, None, None]
    return pivot + step * (DISTANCE / np.maximum(length, 1e-8))


@functools.lru_cache(maxsize=16)
def step_program(gan: models.Gan, apply: Any) -> Any:
    """Return the program of one step, which donates the synthesis parameters and Adam's state."""

    def see(params, image, masks):
        return apply(params, projector.shown(image, masks), ("lpips",))["lpips"]

    def loss(synthesis, g, params, pivot, wanted, masks, goal, near, locality):
        tuned = g | {"params": g["params"] | {"synthesis": synthesis}}
        image = drawing.draw(gan, tuned, pivot)
        distance = jnp.square(see(params, image, masks) - goal).sum()
        total = jnp.mean(jnp.square((image - wanted) * masks[..., None])) + distance
        if near is not None:
            whole = jnp.ones_like(masks)
            ours, theirs = (see(params, drawing.draw(gan, of, near), whole) for of in (tuned, g))
            total += locality * jnp.square(ours - theirs).sum()
        return total, distance

    def step(synthesis, adam, g, params, pivot, wanted, masks, goal, rate, enough, near, locality):
        gradient, distance = jax.grad(loss, has_aux=True)(
            synthesis, g, params, pivot, wanted, masks, goal, near, locality
        )
        rate = jnp.where(distance <= enough, 0, rate)
        updates, adam = optax.scale_by_adam().update(gradient, adam)
        return jax.tree.map(lambda x, u: x - rate * u, synthesis, updates), adam, distance

    return jax.jit(step, donate_argnums=(0, 1))
