"""Dragging points of a picture (DragGAN): a job that shows every few steps; its results are pictures like others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stylegan_jax.base import images
from stylegan_jax.sampling import drag
from stylegan_jax.studio import commands, pictures, wishes
from stylegan_jax.studio.sessions import Session
from stylegan_jax.studio.sources import Styled, find_styles
from stylegan_jax.studio.worker import Cancelled, Job

if TYPE_CHECKING:
    from stylegan_jax.studio.jobs import Work
    from stylegan_jax.studio.studio import Studio

MASK = "mask.png"
EVERY = 4
"""Steps between two looks."""
MAX_POINTS, MAX_STROKES = 16, 2000


class Dragged(NamedTuple):
    """What came of a drag: its styles float32[l, w], what it began with, the mask float32[h, w], and its command."""

    ws: np.ndarray
    start: Styled
    mask: np.ndarray | None
    command: str


def files(session: Session, source: Any) -> dict[str, bytes]:
    """Return what a download of a dragged picture has besides: the folder in which its command is to be run."""
    is_one = isinstance(source, dict) and source.get("kind") == "dragged"
    if not is_one or source.get("index") not in range(len(session.dragged)):
        return {}
    one = session.dragged[source["index"]]
    found = {"command.txt": f"{one.command}\n".encode(), commands.STYLES: pictures.as_npz(one.start.ws[None])}
    if one.mask is not None:
        found[MASK] = images.png_bytes((one.mask * 255).astype(np.uint8)[..., None])
    return {f"drag/{name}": content for name, content in found.items()}


def read_points(wish: Mapping[str, Any], size: tuple[int, int]) -> tuple[list[list[float]], list[list[float]]]:
    """Return handles and targets, (x, y) in pixels each, of 'points': [[x, y, x, y], …].

    Raises:
        BadWish: there are none, or one is outside the picture.
    """
    height, width = size
    found = []
    for entry in wishes.several(wish, "points", 1, MAX_POINTS):
        four = wishes.several({"point": entry}, "point", 4, 4)
        most = (width - 1, height - 1, width - 1, height - 1)
        found.append([wishes.real({"point": x}, "point", 0, high) for x, high in zip(four, most, strict=True)])
    return [point[:2] for point in found], [point[2:] for point in found]


def read_mask(wish: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray | None:
    """Return float32[h, w], what may change, of discs 'mask': [[x, y, radius], …]; None: everything.

    Raises:
        BadWish: one is none.
    """
    if not wish.get("mask"):
        return None
    rows, columns = np.mgrid[: size[0], : size[1]]
    mask = np.zeros(size, np.float32)
    for entry in wishes.several(wish, "mask", 1, MAX_STROKES):
        three = wishes.several({"stroke": entry}, "stroke", 3, 3)
        x, y, radius = (wishes.real({"stroke": x}, "stroke", -4096, 4096) for x in three)
        mask[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = 1
    return mask


def start(studio: Studio, session: Session, wish: Mapping[str, Any]) -> Work:
    """Return the job that drags points to their targets, until they arrive, the steps run out, or it is cancelled."""
    height, width, _ = studio.model.gan.spec.image_shape
    handles, targets = read_points(wish, (height, width))
    mask, source = read_mask(wish, (height, width)), wishes.inner(wish, "source")
    steps, plus = wishes.whole(wish, "steps", 1, studio.limits.steps, 200), wish.get("plus") is not False
    usual = drag.choose_defaults((height, width))
    rate = wishes.real(wish, "rate", 1e-5, 1, usual.rate)
    radius = wishes.real(wish, "radius", 0.5, min(height, width), usual.radius)

    def work(job: Job) -> dict[str, Any]:
        some = find_styles(studio.model, session, source)
        state = drag.begin(some.model, some.ws, handles, targets, mask=mask, plus=plus, rate=rate, radius=radius)
        path = [np.asarray(handles, np.float32)]
        while True:
            state, seen = drag.advance(some.model, state, min(EVERY, steps - int(state.step)))
            path += list(seen.path[1:])
            now = seen.path[-1]
            job.about = {"points": now.tolist(), "distances": seen.distances.tolist()}
            picture = images.png_bytes(images.to_pixels(seen.image), level=1)
            try:
                job.tick(int(state.step), steps, float(seen.distances.max()), lambda picture=picture: picture)
            except Cancelled:
                break  # what was reached so far is kept
            if bool(state.is_done) or int(state.step) >= steps:
                break
        taken = int(state.step)
        points = [[list(h), list(t)] for h, t in zip(handles, targets, strict=True)]
        given = [f"--points={json.dumps(points)}", f"--steps={max(1, taken)}", f"--rate={rate:g}"]
        given += ["--space=w"] * (not plus) + [f"--radius={radius:g}"]
        name, before = pictures.model_words(studio, session, some.model)
        own = [word.replace("--seeds=", "--seed=") for word in some.words or [f"--styles={commands.STYLES}"]]
        given += [] if mask is None else [f"--mask={MASK}"]
        command = before + commands.line("drag", name, *own, *given, "--out=dragged")
        session.dragged.append(Dragged(np.asarray(state.ws), some, mask, command))
        return {
            "index": len(session.dragged) - 1,
            "is_done": bool(state.is_done),
            "steps": taken,
            "points": now.tolist(),
            "distances": seen.distances.tolist(),
            "path": [[round(float(x), 2) for x in point] for one in path for point in one],
            "count": len(handles),
            "command": command,
        }

    return work
