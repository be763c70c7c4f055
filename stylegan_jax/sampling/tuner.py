"""Pivotal tuning (Roich et al. 2021): the generator is trained until its image of a projected style is the target.

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


class Tuned(NamedTuple):
    """A generator tuned to one image.

    Attributes:
        model: to draw from; its constant noise is the projection's.
        image: float32[h, w, c], about [-1, 1], its image of the pivot.
        losses: float32[steps], LPIPS before each step, by the features that steered it; where `enough` ended it, the
            last step changed nothing.
        lpips: LPIPS between `image` and the target, by the same features.
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
    net: FeatureNet | None = None,
) -> Tuned:
    """Train the synthesis network until its image of a style, with constant noise, is the target.

    Adam on the mean squared difference in [-1, 1] plus LPIPS, both weighted 1. The mapping network stays, and with it
    the styles of seeds. The locality term, which the published code leaves off by default, is left out.

    Args:
        model: the generator; it stays as it is.
        image: uint8[h, w, c], the target.
        ws: float[l, w], the pivot.
        noise: constant noise maps {path: float[h, w]} of its projection; None: the model's own.
        mask: float[h, w] in [0, 1], what counts; None: everything.
        steps: of Adam, at most.
        rate: learning rate.
        enough: LPIPS at which it ends, before `steps`, and before the step that measured it changes anything; 0: never.
        net: LPIPS features; None: `load_features('vgg16_lpips')`, what the projection goes by. Published:
            'alexnet_lpips' and enough=0.06; StyleGAN-XL: VGG16 and no end.

    Raises:
        ValueError: an image, style, map or number that does not fit; FeatureError, one of them, where weights lack.

    Source: Roich et al. 2021, arXiv:2106.05744, section 3.2; numbers of its code. Its projection discards the noise
    maps that it found; with `noise` ours start from the projected image.
    """
    target = projector.check_images(np.asarray(image)[None], model.gan.spec.image_shape)
    masks = projector.check_masks(None if mask is None else np.asarray(mask)[None], target.shape[:3])
    pivot = trained.as_styles(np.asarray(ws)[None], model.gan.spec)
    if not model.is_grown:
        raise ValueError("this checkpoint has layers that are missing or fading in; tune one that has grown to its end")
    if steps < 1 or not 0 < rate < np.inf or not 0 <= enough < np.inf:
        raise ValueError(f"steps={steps} rate={rate} enough={enough}: steps and rate above 0, enough not negative")
    net = net or load_features("vgg16_lpips")
    params, run = jax.device_put(net.params), step_program(model.gan, net.apply)
    start = projector.with_noise(model, noise or {}).on_device().g_ema
    wanted = images.from_pixels(target)
    see = projector.programs(model.gan, net.apply).see
    goal = see(params, wanted, masks)
    synthesis = jax.tree.map(jnp.array, start["params"]["synthesis"])  # a copy, because steps take its memory
    adam, losses = optax.scale_by_adam().init(synthesis), []
    for _ in records.progress(range(steps), steps, "step"):
        synthesis, adam, distance = run(synthesis, adam, start, params, pivot, wanted, masks, goal, rate, enough)
        losses.append(float(distance))
        if losses[-1] <= enough:
            break
    g = jax.device_get(start | {"params": start["params"] | {"synthesis": synthesis}})
    found = model.replace(g_ema=g, g=None, d=None)
    last = found.synthesize(pivot, chunk=1)
    lpips = np.square(see(params, last, masks) - goal).sum()
    return Tuned(found, last[0], np.array(losses, np.float32), float(lpips))


@functools.lru_cache(maxsize=16)
def step_program(gan: models.Gan, apply: Any) -> Any:
    """Return the program of one step; it takes the memory of the synthesis parameters and of Adam's state."""

    def loss(synthesis, g, params, pivot, wanted, masks, goal):
        image = drawing.draw(gan, g | {"params": g["params"] | {"synthesis": synthesis}}, pivot)
        seen = apply(params, projector.shown(image, masks), ("lpips",))["lpips"]
        distance = jnp.square(seen - goal).sum()
        return jnp.mean(jnp.square((image - wanted) * masks[..., None])) + distance, distance

    def step(synthesis, adam, g, params, pivot, wanted, masks, goal, rate, enough):
        gradient, distance = jax.grad(loss, has_aux=True)(synthesis, g, params, pivot, wanted, masks, goal)
        rate = jnp.where(distance <= enough, 0, rate)
        updates, adam = optax.scale_by_adam().update(gradient, adam)
        return jax.tree.map(lambda x, u: x - rate * u, synthesis, updates), adam, distance

    return jax.jit(step, donate_argnums=(0, 1))
