"""Wishes that a page can send: a picture, a grid, a frame, each with its styles and the command that reproduces it.

Every function takes (studio, session, wish, check) and runs in the thread that owns the model. One compiled program
draws the pictures one at a time, and between two of them a newer wish ends the work.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stylegan_jax.base import images
from stylegan_jax.sampling import paths, styles
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.studio import commands, wishes
from stylegan_jax.studio.sessions import Session
from stylegan_jax.studio.sources import (
    Styled,
    find_styles,
    joint_model,
    read_label,
    read_truncation,
    truncation_words,
)
from stylegan_jax.studio.worker import Check

if TYPE_CHECKING:
    from stylegan_jax.studio.studio import Studio

NOISES = ("const", "random", "none")
MAX_CELL = 256
"""Largest height of a picture in a grid on the page; downloads contain full-size pictures."""


class Picture(NamedTuple):
    """The response to a wish.

    Attributes:
        pixels: uint8[r, c, h, w, k], a grid of pictures; a single picture has one row and column.
        ws: float32[n, l, w], the styles of the pictures.
        command: the command lines that reproduce it in a folder with the styles as latents.npz.
        about: facts that the page shows with it, JSON-ready.
    """

    pixels: np.ndarray
    ws: np.ndarray
    command: str
    about: dict[str, Any]


def draw_one(
    some: Styled, noise: str = "const", noise_seed: int = 0, transform: np.ndarray | None = None
) -> np.ndarray:
    """Return the picture uint8[h, w, c] of styles; for a clip, its first frame."""
    model, inputs = some.model, None
    if len(model.gan.spec.inputs) > 1:
        inputs = model.draw_inputs([some.seed], some.label if len(some.label) else None, chunk=1)
    seeds = [noise_seed] if noise == "random" else None
    image = model.synthesize(some.ws[None], inputs, noise=noise, seeds=seeds, transform=transform, chunk=1)[0]
    return images.to_pixels(image if image.ndim == 3 else image[0])


def draw_grid(rows: Sequence[Sequence[Styled]], check: Check) -> np.ndarray:
    """Return uint8[r, c, h, w, k], drawn one by one."""
    count = sum(map(len, rows))
    if count > wishes.MAX_PICTURES:
        raise wishes.BadWish(f"{count} pictures in one grid; at most {wishes.MAX_PICTURES}")
    drawn = []
    for row in rows:
        drawn.append([])
        for one in row:
            check()
            drawn[-1].append(draw_one(one))
    return np.array(drawn)


def picture(studio: Studio, session: Session, wish: Mapping[str, Any], check: Check) -> Picture:
    """Draw the picture of a source, with a noise mode, and a transform of the canvas if the model supports it."""
    some = find_styles(studio.model, session, wishes.inner(wish, "source"))
    noise, words = wishes.choice(wish, "noise", NOISES, "const"), []
    noise_seed = wishes.whole(wish, "noise_seed", 0, 2**32 - 1, 0)
    words += [f"--noise={noise}"] * (noise != "const")
    transform, moved = read_move(studio.model, wish)
    words += moved
    exact = "" if noise != "random" or (some.words and noise_seed == some.seed) else "# with fresh noise\n"
    pixels = draw_one(some, noise, noise_seed, transform)
    return Picture(pixels[None, None], some.ws[None], exact + sample_command(studio, session, some, words), {})


def still_words(studio: Studio) -> list[str]:
    """Return the arguments that name the model for `sample`; for a video model also the motion of the studio."""
    return [*studio.words, *["--motion_seed=0"] * (studio.video is not None)]


def model_words(studio: Studio, session: Session, model: LoadedModel) -> tuple[Sequence[str], str]:
    """Return the arguments that name a model, and the command lines that create it first if this session tuned it."""
    name = studio.words
    if model is studio.model:
        return name, ""
    found = session.steps
    lines = [found["line"], commands.tune(name, found["tune_steps"]), ""]
    return commands.TUNED, "\n".join(lines)


def sample_command(studio: Studio, session: Session, some: Styled, words: Sequence[str]) -> str:
    """Return the command lines that reproduce a picture."""
    name, before = model_words(studio, session, some.model)
    own = [f"--styles={commands.STYLES}"] if some.words is None or before else some.words
    if studio.video is not None:
        own = [*own, "--motion_seed=0"]
    return before + commands.line("sample", name, *own, *words, "--out=picture")


def read_move(model: LoadedModel, wish: Mapping[str, Any]) -> tuple[np.ndarray | None, list[str]]:
    """Return the transform float[3, 3] of 'x', 'y' and 'degrees', or None for the identity, and its arguments."""
    x, y = wishes.real(wish, "x", -10, 10, 0.0), wishes.real(wish, "y", -10, 10, 0.0)
    degrees = wishes.real(wish, "degrees", -3600, 3600, 0.0)
    if not (x or y or degrees):
        return None, []
    model.check_moves()
    height, width, _ = model.gan.spec.image_shape
    words = [f"--translate={x:g},{y:g}"] * bool(x or y) + [f"--rotate={degrees:g}"] * bool(degrees)
    return paths.make_transform(x, y, degrees, width / height), words


def moment(studio: Studio, session: Session, wish: Mapping[str, Any], check: Check) -> Picture:
    """Draw the frame of a video at a time 't', in frames of the training data, with the motion of a seed."""
    video, t, motion = read_moment(studio, wish)
    some = find_styles(studio.model, session, wishes.inner(wish, "source"))
    label = some.label if len(some.label) else None
    (frame,) = video.video(frames=1, start=t, motion_seeds=motion, label=label, styles=some.ws[None], chunk=1)
    words = [f"--styles={commands.STYLES}", "--path=time", f"--start={t:g}", f"--motion_seeds={motion}"]
    words += read_label(studio.model, wish["source"]).words
    command = commands.line("video", studio.words, *words, "--frames=1", "--out=frame.png")
    return Picture(frame[None], some.ws[None], command, {"t": t})


def read_moment(studio: Studio, wish: Mapping[str, Any]) -> tuple[LoadedModel, float, int]:
    """Return the video model, a time and a motion seed.

    Raises:
        BadWish: the model draws pictures, or a number is out of range.
    """
    if studio.video is None:
        raise wishes.BadWish(studio.reasons()["time"])
    return studio.video, wishes.real(wish, "t", 0, 1e6, 0.0), wishes.whole(wish, "motion_seed", 0, 2**32 - 1, 0)


def gallery(studio: Studio, session: Session, wish: Mapping[str, Any], check: Check) -> Picture:
    """Draw several seeds with the same settings."""
    seeds = wishes.seeds(wish, "seeds", wishes.MAX_PICTURES)
    some = [find_styles(studio.model, session, {**wish, "kind": "seed", "seed": seed}) for seed in seeds]
    columns = wishes.whole(wish, "columns", 1, wishes.MAX_PICTURES, int(np.ceil(np.sqrt(len(seeds)))))
    rows = [some[i : i + columns] for i in range(0, len(some), columns)]
    pixels = draw_grid([row for row in rows if len(row) == columns] or rows, check)
    if len(rows) > 1 and len(rows[-1]) < columns:
        last = draw_grid(rows[-1:], check)
        blank = np.full((1, columns - last.shape[1], *last.shape[2:]), 255, np.uint8)
        pixels = np.concatenate([pixels, np.concatenate([last, blank], axis=1)])
    words = [w for w in some[0].words or [] if not w.startswith("--seeds")]
    command = commands.line(
        "sample",
        still_words(studio),
        f"--seeds={commands.numbers(seeds)}",
        *words,
        f"--columns={columns}",
        "--out=gallery",
    )
    return Picture(pixels, np.stack([one.ws for one in some]), command, {"seeds": seeds})


def truncation(studio: Studio, session: Session, wish: Mapping[str, Any], check: Check) -> Picture:
    """Draw a row per seed, a column per psi (SG1 appendix B)."""
    seeds = wishes.seeds(wish, "seeds", 8)
    psis = [wishes.real({"psi": x}, "psi", -10, 10) for x in wishes.several(wish, "psis", 1, 8)]
    source = {**wish, "kind": "seed"}
    some = [[find_styles(studio.model, session, source | {"seed": s, "psi": psi}) for psi in psis] for s in seeds]
    pixels = draw_grid(some, check)
    label = read_label(studio.model, wish).words
    cutoff = truncation_words(1, read_truncation(studio.model, {"cutoff": wish.get("cutoff")})[1])
    given = [f"--seeds={commands.numbers(seeds)}", f"--psis={','.join(f'{x:g}' for x in psis)}", *cutoff, *label]
    command = commands.line("truncation", studio.words, *given, "--out=truncation")
    return Picture(pixels, np.stack([one.ws for row in some for one in row]), command, {"seeds": seeds, "psis": psis})


def mix(studio: Studio, session: Session, wish: Mapping[str, Any], check: Check) -> Picture:
    """Draw the grid of `style_mix`: sources in the first row and column, their mixtures inside (SG1 §3.1, figure 3)."""
    styles.check_slots(studio.model, "style mixing")
    numbers = [wishes.seeds(wish, name, 7) for name in ("rows", "columns")]
    layers = wishes.layers(wish, "layers", studio.model.gan.spec.num_ws)
    source = {**wish, "kind": "seed"}
    rows, columns = (
        [find_styles(studio.model, session, source | {"seed": seed}) for seed in seeds] for seeds in numbers
    )
    mixed = styles.mix(np.stack([one.ws for one in rows]), np.stack([one.ws for one in columns]), layers)
    cells = [[row._replace(ws=ws) for ws in own] for row, own in zip(rows, mixed, strict=True)]
    top = draw_grid([columns], check)
    left = draw_grid([[row] for row in rows], check)
    inside = draw_grid(cells, check)
    corner = np.full((1, 1, *top.shape[2:]), 255, np.uint8)
    pixels = np.concatenate(
        [np.concatenate([corner, top], axis=1), np.concatenate([left, inside], axis=1)],
    )
    words = [w for w in rows[0].words or [] if not w.startswith("--seeds")]
    given = [f"--{n}={commands.numbers(s)}" for n, s in zip(("rows", "columns"), numbers, strict=True)]
    command = commands.line(
        "style_mix", studio.words, *given, f"--layers={commands.numbers(layers)}", *words, "--out=mixed"
    )
    if not layers:
        command = "# no layer is exchanged: every picture is its row's\n" + commands.line(
            "sample", studio.words, f"--seeds={commands.numbers(numbers[0])}", *words, "--out=mixed"
        )
    ws = np.concatenate([np.stack([one.ws for one in (*rows, *columns)]), mixed.reshape(-1, *mixed.shape[2:])])
    return Picture(pixels, ws, command, {"rows": numbers[0], "columns": numbers[1]})


def keyframes(studio: Studio, session: Session, wish: Mapping[str, Any]) -> tuple[list[Styled], LoadedModel]:
    """Return the styles of a film's keyframes, and the model that draws them all."""
    found = [find_styles(studio.model, session, key) for key in wishes.several(wish, "keys", 2, 32) if _is_object(key)]
    return found, joint_model(studio.model, found)


def _is_object(value: Any) -> bool:
    if not isinstance(value, dict):
        raise wishes.BadWish(f"a keyframe is {wishes.shown(value)}; pass an object")
    return True


def frame(studio: Studio, session: Session, wish: Mapping[str, Any], check: Check) -> Picture:
    """Draw the frame of a film at a time 't', in keyframes from 0, on the closed spline through them."""
    keys, model = keyframes(studio, session, wish)
    t = wishes.real(wish, "t", 0, len(keys), 0.0) % len(keys)
    ws = paths.spline(np.stack([key.ws for key in keys]))(np.array([t]))[0]
    some = keys[int(t)]._replace(ws=ws, model=model, words=None)
    return Picture(draw_one(some)[None, None], ws[None], sample_command(studio, session, some, []), {"t": t})


def directions(studio: Studio, session: Session, wish: Mapping[str, Any], check: Check) -> dict[str, Any]:
    """Find directions by SeFa or GANSpace; the page names them in its moves."""
    from stylegan_jax.sampling import directions as finders

    spec = studio.model.gan.spec
    method = wishes.choice(wish, "method", ("sefa", "ganspace"))
    count = wishes.whole(wish, "count", 1, min(32, spec.w_dim), min(8, spec.w_dim))
    if method == "sefa":
        layers = wishes.layers(wish, "layers", spec.num_ws)
        found = finders.sefa(studio.model, layers, count)
        name = f"sefa-{'-'.join(map(str, layers))}-{count}"
    else:
        label = read_label(studio.model, wish)
        found = finders.ganspace(studio.model, label.values if len(label.values) else None, count)
        name = f"ganspace-{'-'.join(label.words)}-{count}"
    session.directions[name] = found
    return {"set": name, "method": method, "values": found.values.tolist()}


KINDS: dict[str, Callable[[Any, Session, Mapping[str, Any], Check], Any]] = {
    "picture": picture,
    "moment": moment,
    "gallery": gallery,
    "truncation": truncation,
    "mix": mix,
    "frame": frame,
    "directions": directions,
}
"""Wishes by name; `layers.KINDS` has more."""


def as_png(found: Picture) -> bytes:
    """Return the PNG that the page shows; pictures of a grid are shrunk to `MAX_CELL`."""
    pixels = found.pixels
    rows, columns, height, width, k = pixels.shape
    if rows * columns > 1 and height > MAX_CELL:
        from PIL import Image

        size = (max(1, round(width * MAX_CELL / height)), MAX_CELL)
        small = [
            np.asarray(Image.fromarray(x[..., 0] if k == 1 else x).resize(size, Image.Resampling.BOX))
            for x in pixels.reshape(-1, height, width, k)
        ]
        pixels = np.stack(small).reshape(rows, columns, size[1], size[0], k)
    return images.png_bytes(images.make_grid(pixels.reshape(-1, *pixels.shape[2:]), columns), level=1)


def as_npz(ws: np.ndarray) -> bytes:
    """Return the .npz of styles float32[n, l, w], as every download has it."""
    data = io.BytesIO()
    np.savez(data, w=ws)
    return data.getvalue()


def as_zip(found: Picture, more: Mapping[str, bytes], about: Mapping[str, Any]) -> bytes:
    """Return a zip with picture.png, latents.npz, command.txt, the wish, and the files of `more`."""
    rows, columns = found.pixels.shape[:2]
    data = io.BytesIO()
    whole = images.make_grid(found.pixels.reshape(-1, *found.pixels.shape[2:]), columns)
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("picture.png", images.png_bytes(whole))
        if rows * columns > 1:
            for i, one in enumerate(found.pixels.reshape(-1, *found.pixels.shape[2:])):
                archive.writestr(f"pictures/{i // columns:02d}-{i % columns:02d}.png", images.png_bytes(one))
        archive.writestr(commands.STYLES, as_npz(found.ws))
        archive.writestr("command.txt", found.command + "\n")
        archive.writestr("wish.json", json.dumps(about, indent=2) + "\n")
        for name, content in more.items():
            archive.writestr(name, content)
    return data.getvalue()
