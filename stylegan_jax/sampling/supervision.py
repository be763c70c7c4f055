"""One step of a drag: track the points, supervise their motion, move the styles (DragGAN, section 3). Pure functions.

Positions are (x, y) in pixels: (0, 0) is the centre of the first pixel, x runs to the right and y down. Feature maps
count as resized bilinearly to the image's size, with half-pixel centres, but only what is looked at is ever resized: a
pixel of the resized map is a product of the map with two rows of weights.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CLOSE = 1.0
"""Points at most so far from their targets, in pixels, are not pulled, unless the first picture holds them there."""
BETAS = 0.9, 0.999
STRIP = 64
"""Rows of the resized feature map that the mask's loss holds at a time."""

Look = Callable[[jax.Array], jax.Array]
"""Styles float[l, w] to the feature map float[fh, fw, c] of their picture."""


class Settings(NamedTuple):
    """Numbers of a drag, float[] each; none is compiled in.

    Attributes:
        rate: learning rate of Adam.
        radius: of the disc around a point whose features are pulled, in pixels: those nearer than it.
        search: half the side of the square in which a point is looked for again, in pixels.
        stop: a point at most so far from its target is near enough, in pixels.
        settle: the drag ends once every point has been near enough for so many steps, which go on pulling.
        keep: weight of the features that the mask holds.
        stay: weight of the mean absolute difference between the styles and those of the start.
    """

    rate: jax.Array
    radius: jax.Array
    search: jax.Array
    stop: jax.Array
    settle: jax.Array
    keep: jax.Array
    stay: jax.Array


class Rules(NamedTuple):
    """What a drag's program is compiled for.

    Attributes:
        layer: whose features are read.
        size: (h, w) of the image.
        reach: pixels that the disc reaches from its centre, at most.
        window: pixels that the square reaches from its centre, at most.
        is_masked: whether something is to be kept.
        patch: pixels that the disc by which a point is recognised reaches from its centre; 0: one pixel, as published.
        is_first: a point's disc is to look as it did in the first picture, moved on; else as it does now, as published.
        stretch: the disc's pixel i counts as at i * stretch. 1: where it is. h / (h - 1) in the authors' code, which is
            up to a pixel more at the far border.
    """

    layer: str
    size: tuple[int, int]
    reach: int
    window: int
    is_masked: bool
    patch: int = 0
    is_first: bool = False
    stretch: float = 1.0

    @property
    def kept(self) -> int:
        """Pixels that is kept of the first picture around a point, on each side."""
        return max(self.patch, self.reach) if self.is_first else self.patch


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        *(
            "ws",
            "points",
            "moments",
            "step",
            "rested",
            "is_new",
            "is_tracked",
            "is_done",
            "targets",
            "is_used",
            "is_free",
            "is_one",
        ),
        *("handles", "references", "first", "start", "mask", "settings"),
    ],
    meta_fields=["rules"],
)
@dataclasses.dataclass(frozen=True)
class Drag:
    """A drag at some step: a value that no later step changes. p is a number of places, not all of them used.

    Attributes:
        ws: float[l, w], the styles.
        points: float[p, 2], where the points are in their picture, or before the last step unless `is_tracked`.
        moments: Adam's averages of the gradient and of its square, float[l, w] each.
        step: int[], steps taken.
        rested: int[], the latest of them in a row that began with every point near enough to its target.
        is_new: bool[], no step has looked at the picture; `references` and `first` are empty.
        is_tracked: bool[], `points` belong to `ws`.
        is_done: bool[], every point is where it is to go.
        targets: float[p, 2], where the points are to go.
        is_used: bool[p], which places hold a point.
        is_free: bool[l], which style slots move.
        is_one: bool[], these move by the same (W), not each by its own (W+).
        handles: float[p, 2], where the points are in the first picture.
        references: float[p, k, k, c], features of the points in the first picture, and within `rules.kept` of them.
        first: float[fh, fw, c], features of the first picture where the mask needs them, else of size 0.
        start: float[l, w], the styles of the first picture.
        mask: float[h, w], how much of each pixel is to be kept.
        settings: numbers.
        rules: what is compiled in.
    """

    ws: jax.Array
    points: jax.Array
    moments: tuple[jax.Array, jax.Array]
    step: jax.Array
    rested: jax.Array
    is_new: jax.Array
    is_tracked: jax.Array
    is_done: jax.Array
    targets: jax.Array
    is_used: jax.Array
    is_free: jax.Array
    is_one: jax.Array
    handles: jax.Array
    references: jax.Array
    first: jax.Array
    start: jax.Array
    mask: jax.Array
    settings: Settings
    rules: Rules


class Losses(NamedTuple):
    """What a step minimised: of each point's motion float[p], of the mask and of the styles float[], not weighted."""

    motion: jax.Array
    mask: jax.Array
    stay: jax.Array


def take_step(drag: Drag, look: Look) -> tuple[Drag, Losses, jax.Array]:
    """Track the points in the picture as it is, then move the styles by one step of Adam, unless the drag is done.

    Returns:
        the drag one step on; the losses; and their gradient float[l, w], of the styles that are moved.
    """
    features, pull_back = jax.vjp(look, drag.ws)
    drag = tracked(drag, features)
    at_features, losses = jax.grad(_pull, has_aux=True)(features, drag)
    at_styles, stay = jax.grad(_stay, has_aux=True)(drag.ws, drag)
    free = drag.is_free[:, None]
    gradient = jnp.where(free, pull_back(at_features)[0] + at_styles, 0)
    gradient = jnp.where(drag.is_one & free, gradient.sum(axis=0), gradient)
    mean, square = (
        old + (1 - beta) * (new - old)
        for beta, old, new in zip(BETAS, drag.moments, (gradient, jnp.square(gradient)), strict=True)
    )
    whole = [-jnp.expm1((drag.step + 1) * math.log(beta)) for beta in BETAS]  # 1 - beta ** t, exact for small t
    update = mean / whole[0] / (jnp.sqrt(square / whole[1]) + 1e-8)
    rested = jnp.where(_is_near(drag), drag.rested + 1, 0)
    old = (drag.ws, drag.moments, drag.step, drag.rested, drag.is_tracked)
    new = (drag.ws - drag.settings.rate * update, (mean, square), drag.step + 1, rested, jnp.zeros((), bool))
    ws, moments, step, rested, is_tracked = jax.tree.map(lambda old, new: jnp.where(drag.is_done, old, new), old, new)
    moved = dataclasses.replace(drag, ws=ws, moments=moments, step=step, rested=rested, is_tracked=is_tracked)
    return moved, losses._replace(stay=stay), gradient


def tracked(drag: Drag, features: jax.Array) -> Drag:
    """Return the drag with its points where they are in the picture of features float[fh, fw, c].

    In the first picture they are where they were put, and their features there become the references.
    """
    own = np.arange(-drag.rules.kept, drag.rules.kept + 1)
    here = _at(features, drag.points, own, drag.rules)
    references = jnp.where(drag.is_new, here, drag.references)
    first = jnp.where(drag.is_new, features, drag.first) if drag.rules.is_masked else drag.first
    found = _nearest(features, drag.points, references, drag.settings.search, drag.rules)
    points = jnp.where(drag.is_tracked, drag.points, found)
    no, yes = jnp.zeros((), bool), jnp.ones((), bool)
    drag = dataclasses.replace(drag, points=points, references=references, first=first, is_new=no, is_tracked=yes)
    return dataclasses.replace(drag, is_done=_is_near(drag) & (drag.rested >= drag.settings.settle))


def _is_near(drag: Drag) -> jax.Array:
    """Return bool[], whether every point is as near to its target as was asked for."""
    left = jnp.linalg.norm(drag.targets - drag.points, axis=1)
    return jnp.all((left <= drag.settings.stop) | ~drag.is_used)


def _nearest(features, points, references, search, rules: Rules) -> jax.Array:
    """Return float[p, 2], the pixels of the squares around points whose patches are nearest to the references."""
    steps = np.arange(-rules.window, rules.window + 1)
    far = rules.window + rules.patch
    seen = _at(features, points, np.arange(-far, far + 1), rules)
    references = _middle(references, rules.patch)

    def add(away, at):  # one pixel of the patch after the other: all of them at once would not fit for a large image
        row, column = at
        there = jax.lax.dynamic_slice(seen, (0, row, column, 0), (len(points), len(steps), len(steps), seen.shape[3]))
        want = references[:, row, column][:, None, None]
        return away + jnp.square(there - want).sum(axis=-1), None

    away = jax.lax.scan(add, jnp.zeros((len(points), len(steps), len(steps)), features.dtype), _disc(rules.patch))[0]
    xs, ys = (points[:, i, None] + steps for i in (0, 1))
    near = jnp.abs(steps) <= search
    rows, columns = (near & (at >= 0) & (at < size) for at, size in zip((ys, xs), rules.size, strict=True))
    away = jnp.where(rows[:, :, None] & columns[:, None], away, jnp.inf)
    row, column = jnp.divmod(jnp.argmin(away.reshape(len(points), -1), axis=1), len(steps))  # the first in row order
    moved = points + jnp.asarray(steps)[jnp.stack([column, row], axis=1)]
    return moved.astype(points.dtype)


def _middle(square: jax.Array, reach: int) -> jax.Array:
    """Return float[p, 2 * reach + 1, 2 * reach + 1, c], the pixels around the centres of larger squares."""
    edge = square.shape[1] // 2 - reach
    return square[:, edge : edge + 2 * reach + 1, edge : edge + 2 * reach + 1]


def _disc(radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns, int[k] each, of the pixels of a square of 2 * radius + 1 that are in its disc."""
    away = np.arange(-radius, radius + 1)
    rows, columns = np.nonzero(np.hypot(away[:, None], away) <= radius + 0.5)
    return rows, columns


def _pull(features: jax.Array, drag: Drag) -> tuple[jax.Array, Losses]:
    """Return what is minimised by the features float[fh, fw, c] of the picture, and its parts."""
    rules, settings, points = drag.rules, drag.settings, drag.points
    way = drag.targets - points
    length = jnp.linalg.norm(way, axis=1, keepdims=True)
    steps = np.arange(-rules.reach, rules.reach + 1)
    shift = way / (jnp.maximum(length, 1) if rules.is_first else length + 1e-7)
    if rules.is_first:
        here, seen = _middle(drag.references, rules.reach), (points, points + shift, drag.handles)
    else:
        here, seen = jax.lax.stop_gradient(_at(features, points, steps, rules)), (points,)
    there = _at(features, points, steps, rules, shift)
    xs, ys = (points[:, i, None] + steps for i in (0, 1))
    across, down = (xs * rules.stretch - points[:, :1], ys * rules.stretch - points[:, 1:])
    disc = jnp.hypot(down[:, :, None], across[:, None]) < settings.radius
    for places in seen:
        xs, ys = (places[:, i, None] + steps for i in (0, 1))
        inside = [(at >= 0) & (at <= size - 1) for at, size in zip((ys, xs), rules.size, strict=True)]
        disc = disc & inside[0][:, :, None] & inside[1][:, None]
    disc = disc.astype(features.dtype)
    apart = (_absolute(here - there).mean(axis=-1) * disc).sum(axis=(1, 2)) / jnp.maximum(disc.sum(axis=(1, 2)), 1)
    is_pulled = drag.is_used & (rules.is_first | (length[:, 0] > CLOSE))  # there, the first picture holds what arrived
    motion = jnp.where(is_pulled, apart, 0)
    zero = jnp.zeros((), features.dtype)
    mask = _change(features - drag.first, drag.mask, rules) if rules.is_masked else zero
    return motion.sum() + settings.keep * mask, Losses(motion, mask, zero)


def _stay(ws: jax.Array, drag: Drag) -> tuple[jax.Array, jax.Array]:
    change = _absolute(ws - drag.start).mean()
    return drag.settings.stay * change, change


def _change(change: jax.Array, mask: jax.Array, rules: Rules) -> jax.Array:
    """Return the mean over all pixels and channels of |change * mask|, change float[fh, fw, c] resized to the image."""
    height, width = rules.size
    rows, columns = (
        jnp.asarray(resize_matrix(old, new), change.dtype) for old, new in zip(change.shape, rules.size, strict=False)
    )
    short = -height % STRIP
    rows = jnp.pad(rows, ((0, short), (0, 0))).reshape(-1, STRIP, rows.shape[1])
    masks = jnp.pad(mask, ((0, short), (0, 0))).reshape(-1, STRIP, width)

    @jax.checkpoint
    def strip(rows, mask):  # the whole map of a large image would take gigabytes
        part = jnp.einsum("ky,yxc,wx->kwc", rows, change, columns, precision="highest")
        return _absolute(part * mask[:, :, None]).sum()

    total = jax.lax.scan(lambda sum, x: (sum + strip(*x), None), jnp.zeros((), change.dtype), (rows, masks))[0]
    return total / (height * width * change.shape[2])


def _at(features: jax.Array, points: jax.Array, steps: np.ndarray, rules: Rules, shift: Any = None) -> jax.Array:
    """Return float[p, k, k, c]: the resized map in the squares points + steps + shift, zeros outside, bilinearly."""
    shift, weights = jnp.zeros_like(points) if shift is None else shift, []
    for i, (old, new) in enumerate(zip(features.shape[:2], rules.size, strict=True)):
        at = points[:, 1 - i, None] + steps
        away = (at[:, :, None] - np.arange(new)) + shift[:, 1 - i, None, None]  # whole numbers first: no digit is lost
        tent = jnp.maximum(0, 1 - jnp.abs(away))
        rows = jnp.asarray(resize_matrix(old, new), features.dtype)
        weights.append(jnp.matmul(tent.astype(features.dtype), rows, precision="highest"))
    rows = jnp.einsum("pky,yxc->pkxc", weights[0], features, precision="highest")
    return jnp.einsum("pkxc,plx->pklc", rows, weights[1], precision="highest")


def _absolute(x: jax.Array) -> jax.Array:
    """Return |x| with derivative 0 at 0, where the styles have not moved; that of jnp.abs is 1."""
    return x * jnp.sign(x)


@functools.cache
def resize_matrix(old: int, new: int) -> np.ndarray:
    """Return float64[new, old]: row i has the weights of sample i, bilinearly, with half-pixel centres."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old)))
