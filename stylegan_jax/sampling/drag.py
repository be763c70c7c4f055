"""Drag points of a picture to where they are to be (DragGAN, Pan et al. 2023): its styles move, and nothing else.

    from stylegan_jax.sampling import drag

    found = drag.drag_points(model, ws[0], handles=[(12, 20)], targets=[(16, 20)], steps=200)
    found.ws, found.image, found.path, found.distances, found.seconds

An interface draws while it drags, in pieces. A `Drag` is a value: to undo is to go on from an earlier one.

    state = drag.begin(model, ws[0], [(12, 20)], [(16, 20)])
    while not state.is_done:
        state, seen = drag.advance(model, state, 5)
        seen.image, seen.path, seen.distances
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax import models
from stylegan_jax.base import images as pictures
from stylegan_jax.base.spec import Array
from stylegan_jax.runtime import records
from stylegan_jax.sampling import model as trained
from stylegan_jax.sampling.layer_maps import PICTURE, list_layers
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.sampling.supervision import Drag, Rules, Settings, take_step, tracked

Points = Sequence[Sequence[float]] | Array
"""Positions (x, y) [n, 2] in pixels: (0, 0) is the centre of the first pixel, x runs to the right and y down."""
STEPS, KEEP, SLOTS = 200, 20.0, 6
LAYER_SIZE = 128
"""Height of the features of the published rule, those after the sixth block of StyleGAN2."""
CHUNK = 16
"""Steps that one call of the program takes, at most."""
FIRST, NOW = "first", "now"
"""What a point's surroundings are to look like a pixel on: as in the first picture, or as now."""
SETTLE = 20
"""Steps that go on pulling the first picture once its points are near enough."""
PLACES = 4
"""Points that the smallest program has room for."""


class Defaults(NamedTuple):
    """Arguments of `begin` that depend on the size of the picture: radius, search and patch are in pixels."""

    rate: float
    radius: float
    search: int
    patch: int
    pull: str
    settle: int


def choose_defaults(size: tuple[int, int], pull: str | None = None) -> Defaults:
    """Return the published numbers for pictures (h, w) of at least 256 pixels, and others for smaller ones.

    The published radii are 3 and 12 for 512 pixels and in proportion, which leaves too few pixels of a small picture to
    see, or to look for a point. And there the features of a place are alike over much of it: the tracked point slides
    over a picture that stays. So there the first picture is what is pulled. docs/studio.md has what was measured.

    Args:
        size: (h, w) of the picture.
        pull: what is chosen already; None: nothing.

    Raises:
        ValueError: `pull` is another word.
    """
    if pull not in (None, FIRST, NOW):
        raise ValueError(f"pull={pull!r} must be {FIRST!r} or {NOW!r}")
    shorter = min(size)
    is_small = shorter < 256
    pull = (FIRST if is_small else NOW) if pull is None else pull
    radius, search = 3 / 512 * shorter, round(12 / 512 * shorter)
    radius = max(4.0 if is_small or pull == FIRST else 2.0, radius)
    patch = 3 if pull == FIRST else 2 if is_small else 0
    rate, settle = 0.005 if is_small else 0.002, SETTLE if pull == FIRST else 0
    return Defaults(rate, radius, max(2, search), patch, pull, settle)


class Seen(NamedTuple):
    """What came of some steps.

    Attributes:
        image: float32[h, w, c], about [-1, 1], of the styles as they are now.
        path: float32[k + 1, n, 2], where the points were before the first of k steps, and after each.
        distances: float32[n], of the points from their targets now, in pixels.
    """

    image: np.ndarray
    path: np.ndarray
    distances: np.ndarray


class Dragged(NamedTuple):
    """A picture whose points were dragged.

    Attributes:
        ws: float32[l, w], its styles.
        image: float32[h, w, c], about [-1, 1].
        path: float32[k + 1, n, 2], where the points were before the first of k steps, and after each.
        distances: float32[n], of the points from their targets at the end, in pixels.
        is_done: whether every point is as near as was asked for; if not, the steps ran out.
        seconds: of a step, the median over the calls after the first, which compiles; NaN where there was one call.
        frames: uint8[f, h, w, c], pictures on the way, the first and the last among them.
        frame_steps: int[f], after how many steps these are.
    """

    ws: np.ndarray
    image: np.ndarray
    path: np.ndarray
    distances: np.ndarray
    is_done: bool
    seconds: float
    frames: np.ndarray
    frame_steps: np.ndarray


def drag_points(
    model: LoadedModel, ws: Array, handles: Points, targets: Points, *, steps: int = STEPS, every: int = 0, **options
) -> Dragged:
    """Drag the points of a picture to their targets.

    Args:
        model: the generator.
        ws: float[l, w], or float[w] for one style in every slot.
        handles: where the points are.
        targets: where each is to go. A point whose target is where it is stays there while others move.
        steps: at most.
        every: keep a frame after so many steps; 0: none.
        options: of `begin`.

    Raises:
        ValueError: as `begin`, or steps or frames that are none.

    Source: Pan et al. 2023, arXiv:2305.10973, section 3; the numbers of its code where the paper has none.
    """
    if steps < 1 or every < 0:
        raise ValueError(
            f"steps={steps} every={every}: at least 1 step, and a frame every 1, 2, … steps, or 0 for none"
        )
    state = begin(model, ws, handles, targets, **options)
    state, seen = advance(model, state, 0)
    path, kept, times = [seen.path], [(0, seen.image)], []
    bar = iter(records.progress(range(steps), steps, "step"))
    while int(state.step) < steps and not bool(state.is_done):
        before, start = int(state.step), time.perf_counter()
        state, seen = advance(model, state, min(every or CHUNK, steps - before))
        taken = int(state.step) - before
        path.append(seen.path[1:])
        if taken:
            times.append((time.perf_counter() - start) / taken)
            kept.append((before + taken, seen.image))
            for _ in range(taken):
                next(bar)
    next(bar, None)
    moments, frames = zip(*kept, strict=True)
    return Dragged(
        np.asarray(state.ws),
        seen.image,
        np.concatenate(path),
        seen.distances,
        bool(state.is_done),
        statistics.median(times) if times else float("nan"),
        pictures.to_pixels(np.stack(frames))[: None if every else 0],
        np.array(moments[: None if every else 0], int),
    )


def default_stop(points: int) -> float:
    """Return how near to their targets so many points have to come, in pixels, as in the paper."""
    return 1.0 if points <= 5 else 2.0


def begin(
    model: LoadedModel,
    ws: Array,
    handles: Points,
    targets: Points,
    *,
    mask: Array | None = None,
    plus: bool = True,
    slots: Sequence[int] | None = None,
    layer: str | None = None,
    rate: float | None = None,
    radius: float | None = None,
    search: int | None = None,
    stop: float | None = None,
    keep: float = KEEP,
    stay: float = 0.0,
    patch: int | None = None,
    pull: str | None = None,
    settle: int | None = None,
) -> Drag:
    """Return a drag before its first step; nothing is drawn or compiled.

    Args:
        model: the generator.
        ws: float[l, w], or float[w] for one style in every slot.
        handles: where the points are.
        targets: where each is to go. A point whose target is where it is stays there while others move.
        mask: float[h, w] in [0, 1], what may change: 1 all it wants, 0 as little as it can; None: everything.
        plus: each slot moves by its own (W+), as in the authors' interface; False: all by the same (W).
        slots: the style slots that move; None: the first six, as published, less those of layers finer than a quarter
            of the image, which change its texture in place of its shape.
        layer: whose features are compared, of `layers`; None: the picture itself if the first one is pulled; else the
            coarsest of at least 128 rows, which is what follows StyleGAN2's sixth block, as published, or of at least
            half the image's rows where these are fewer.
        rate: learning rate of Adam; None, as in all that `Defaults` has: of `choose_defaults`.
        radius: of what is pulled along with a point, in pixels.
        search: how far a point is looked for around where it was, in pixels.
        stop: how near to their targets the points are to come, in pixels; None: 1 for up to five points, else 2, as in
            the paper.
        keep: weight of what the mask keeps.
        stay: weight of the mean absolute change of the styles.
        patch: radius in pixels of the disc by whose features a point is recognised; 0: one pixel, as published.
        pull: what is to be seen a pixel nearer to the target: "now", what surrounds the point now, as published;
            "first", what surrounded it in the first picture, which also holds it there once it has arrived.
        settle: the drag ends once the points have been near enough for so many steps, which go on pulling.

    Raises:
        ValueError: an argument that does not fit the model or the picture.
    """
    spec, sizes = model.gan.spec, layers(model)
    start = trained.as_styles(np.asarray(ws)[None], spec)[0]
    height, width, _ = spec.image_shape
    places, goals = check_points(handles, targets, (height, width))
    held = check_mask(mask, places, (height, width))
    n = len(places)
    given = {"rate": rate, "radius": radius, "search": search, "patch": patch, "settle": settle}
    rate, radius, search, patch, pull, settle = _fill((height, width), pull, given)
    stop = default_stop(n) if stop is None else stop
    _check_numbers(least=0.0, stop=stop, keep=keep, stay=stay)
    free = _default_slots(spec) if slots is None else _check_slots(slots, spec.num_ws)
    usual = PICTURE if pull == FIRST else _default_layer(sizes, height)
    name = usual if layer is None else layer
    if name not in sizes:
        raise ValueError(f"layer={name!r} is not known; this model has {', '.join(sizes)}")
    rules = Rules(name, (height, width), _next_size(radius), _next_size(search), held is not None, patch, pull == FIRST)
    room = PLACES * 2 ** max(0, (-(-n // PLACES) - 1).bit_length())
    fill = lambda x: np.concatenate([x, np.zeros((room - n, 2), np.float32)])
    channels = sizes[name][2]
    arrays: Any = {
        "ws": start,
        "points": fill(places),
        "moments": (np.zeros_like(start), np.zeros_like(start)),
        "step": np.int32(0),
        "rested": np.int32(0),
        "is_new": np.array(True),
        "is_tracked": np.array(False),
        "is_done": np.array(False),
        "targets": fill(goals),
        "is_used": np.arange(room) < n,
        "is_free": free,
        "is_one": np.array(not plus),
        "handles": fill(places),
        "references": np.zeros((room, 2 * rules.kept + 1, 2 * rules.kept + 1, channels), np.float32),
        "first": np.zeros(sizes[name] if rules.is_masked else (0, 0, channels), np.float32),
        "start": start,
        "mask": np.zeros((height, width), np.float32) if held is None else held,
        "settings": Settings(*(jnp.float32(x) for x in (rate, radius, search, stop, settle, keep, stay))),
        "rules": rules,
    }
    return jax.device_put(Drag(**arrays))


def retarget(drag: Drag, targets: Points) -> Drag:
    """Return the drag on its way to other targets, one per point; what the points look like is not learnt anew.

    Raises:
        ValueError: another number of targets, or one outside the picture.
    """
    n = int(np.count_nonzero(drag.is_used))
    goals = _as_points("targets", targets, drag.rules.size)
    if len(goals) != n:
        raise ValueError(f"{len(goals)} targets for {n} points; pass one each")
    new = np.array(drag.targets)
    new[:n], no = goals, jnp.zeros((), bool)
    return dataclasses.replace(drag, targets=jax.device_put(new), rested=jnp.zeros_like(drag.rested), is_done=no)


def advance(model: LoadedModel, drag: Drag, steps: int) -> tuple[Drag, Seen]:
    """Take up to so many steps, fewer where the points arrive, and look at the picture; `drag` stays as it is.

    Steps are the same in any pieces. Any number of them, points, targets and numbers of `Settings` share one program;
    a mask, a layer, or a much larger radius or number of points is another. With 0 steps it looks only.

    Args:
        model: the generator that the drag began with; another with the same architecture carries on with its weights.
        drag: what `begin` or an earlier call returned.
        steps: at most.

    Returns:
        the drag afterwards, whose `is_done` says whether the points have arrived, and what came of the steps.

    Raises:
        ValueError: a negative number, or a picture that is not finite.
    """
    if steps < 0:
        raise ValueError(f"steps={steps} must not be negative")
    g, run, n = model.on_device().g_ema, _program(model.gan), int(np.count_nonzero(drag.is_used))
    path, image, left = [], None, steps
    while image is None or (left > 0 and not bool(drag.is_done)):
        before = int(drag.step)
        drag, rows, image = run(g, drag, min(left, CHUNK))
        taken = int(drag.step) - before
        path.append(np.asarray(rows)[1 if path else 0 : taken + 1, :n])
        left -= CHUNK
    shown = np.asarray(image)
    if not (np.isfinite(shown).all() and np.isfinite(np.asarray(drag.ws)).all()):
        raise ValueError(
            f"the picture is not finite after {int(drag.step)} steps at rate={float(drag.settings.rate):g}: lower it, "
            "or go on from an earlier step"
        )
    distances = np.linalg.norm(np.asarray(drag.targets)[:n] - path[-1][-1], axis=1)
    return drag, Seen(shown, np.concatenate(path), distances)


@functools.lru_cache(maxsize=16)
def _program(gan: models.Gan) -> Any:
    """Return the program of `advance`: (g, drag, count <= CHUNK) -> (drag, path, image)."""

    def run(g, drag, count):
        def draw(ws):
            assert gan.features is not None
            sample, seen = gan.features(g, ws[None], {})
            image = sample["image"][0]
            return (seen | {PICTURE: image[None]})[drag.rules.layer][0].astype(ws.dtype), image

        def body(carry):
            drag, path, i = carry
            drag, _, _ = take_step(drag, lambda ws: draw(ws)[0])
            return drag, path.at[i].set(drag.points), i + 1

        start, path = drag.step, jnp.zeros((CHUNK + 1, *drag.points.shape), drag.points.dtype)
        drag, path, _ = jax.lax.while_loop(lambda c: (c[2] < count) & ~c[0].is_done, body, (drag, path, 0))
        features, image = draw(drag.ws)
        drag = tracked(drag, features)
        return drag, path.at[drag.step - start].set(drag.points), image

    return jax.jit(run)


def layers(model: LoadedModel) -> dict[str, tuple[int, ...]]:
    """Return the layers whose features can be compared, from coarse to fine, and the picture: {name: (h, w, c)}.

    Raises:
        ValueError: the model draws clips, or does not show its features.
    """
    if model.gan.features is None or len(model.gan.spec.sample["image"]) != 3:
        raise ValueError(
            f"arch {model.config.arch!r} draws clips, whose frames move by their times as well, and dragging is of "
            "images; use a model of another arch"
        )
    return list_layers(model.gan) | {PICTURE: model.gan.spec.image_shape}


def _fill(size: tuple[int, int], pull: str | None, given: Mapping[str, Any]) -> Defaults:
    """Return the numbers that are given, and the usual ones where there is None."""
    found = choose_defaults(size, pull)._replace(**{name: x for name, x in given.items() if x is not None})
    _check_numbers(rate=found.rate, radius=found.radius, search=found.search)
    _check_numbers(least=0.0, patch=found.patch, settle=found.settle)
    if max(found.radius, found.search, found.patch) > min(size):
        told = f"radius={found.radius:g} search={found.search} patch={found.patch}"
        raise ValueError(f"{told}: the picture's shorter side is {min(size)} pixels")
    return found


def _default_slots(spec: models.GanSpec) -> np.ndarray:
    """Return bool[l], the style slots that move where the caller does not say."""
    first = np.arange(spec.num_ws) < SLOTS
    coarse = first & (np.array(spec.slots) <= spec.slots[-1] / 4) if spec.slots else first
    return coarse if coarse.any() else first


def _default_layer(sizes: dict[str, tuple[int, ...]], height: int) -> str:
    least = min(LAYER_SIZE, height / 2)
    return next(name for name, size in sizes.items() if size[0] >= least)


def check_points(handles: Points, targets: Points, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return handles float32[n, 2], at whole pixels, and targets float32[n, 2], of a picture of size (h, w).

    Raises:
        ValueError: there are none, or not as many of both; one is outside; two handles are one; nothing is to move.
    """
    places, goals = (_as_points(what, x, size) for what, x in (("handles", handles), ("targets", targets)))
    if len(places) != len(goals):
        raise ValueError(f"{len(places)} handles and {len(goals)} targets; pass as many of both")
    places = np.rint(places)
    same = [i for i, place in enumerate(places) if (places[:i] == place).all(axis=1).any()]
    if same:
        raise ValueError(f"handle {same[0]} is at {_name(places[same[0]])}, as another is; leave one of them out")
    if (places == np.rint(goals)).all():
        raise ValueError(f"every target is where its handle is, as {_name(goals[0])}; move at least one of them")
    return places, goals


def _as_points(what: str, points: Points, size: tuple[int, int]) -> np.ndarray:
    try:
        found = np.asarray(points, np.float32)
    except (ValueError, TypeError):
        found = np.zeros((), np.float32)
    if found.size == 0 and found.ndim in (1, 2):
        raise ValueError(f"no {what}; pass at least one (x, y)")
    if found.shape[1:] != (2,):
        raise ValueError(f"{what} of shape {list(found.shape)}; pass one (x, y) per point")
    height, width = size
    inside = (found >= 0) & (found <= (width - 1, height - 1))  # NaN is outside
    if not inside.all():
        i = int(np.argmin(inside.all(axis=1)))
        raise ValueError(
            f"{what[:-1]} {i} is at {_name(found[i])}, outside the picture; x goes from 0 to {width - 1}, y to "
            f"{height - 1}"
        )
    return found


def _name(point: np.ndarray) -> str:
    return f"({point[0]:g}, {point[1]:g})"


def check_mask(mask: Array | None, places: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """Return how much of each pixel is to be kept, float32[h, w], of a mask of what may change; None: nothing.

    Raises:
        ValueError: another shape, numbers outside [0, 1], or a handle in what is to be kept.
    """
    if mask is None:
        return None
    found = np.asarray(mask, np.float32)
    if found.shape != size:
        raise ValueError(f"mask of shape {list(found.shape)}; the picture is {list(size)} (height, width)")
    if not ((found >= 0) & (found <= 1)).all():
        raise ValueError("the mask has numbers outside 0 to 1; 1 is what may change, 0 what is to be kept")
    for i, (x, y) in enumerate(places.astype(int)):
        if not found[y, x]:
            raise ValueError(
                f"handle {i} at ({x}, {y}) is where the mask is 0, which keeps it; let it change there, or move the "
                "handle"
            )
    return None if (found == 1).all() else 1 - found


def _check_numbers(least: float | None = None, **numbers: float) -> None:
    for name, value in numbers.items():
        if not (value > 0 if least is None else value >= least) or not np.isfinite(value):
            raise ValueError(f"{name}={value} must be {'above 0' if least is None else 'a number from 0'}")


def _check_slots(slots: Sequence[int], num_ws: int) -> np.ndarray:
    chosen = sorted(set(slots))
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < num_ws:
        raise ValueError(f"slots={list(slots)}; this model has style slots 0 to {num_ws - 1}")
    return np.isin(np.arange(num_ws), chosen)


def _next_size(pixels: float) -> int:
    """Return the reach of a program for so many pixels: powers of two, so that programs are shared."""
    return 1 << max(1, int(np.ceil(pixels)) - 1).bit_length()
