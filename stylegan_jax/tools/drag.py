"""Drag points of a picture: `python -m stylegan_jax.tools.drag --model=DIR --seed=3 --points=points.json --out=DIR`.

DragGAN (Pan et al. 2023) for every image architecture. The JSON has a handle and a target for each point, as (x, y) in
pixels from the first one: `[{"handle": [12, 20], "target": [16, 20]}]`, or `[[[12, 20], [16, 20]]]`. The folder gets
start.png, dragged.png, points.png with the paths of the points, a video, drag.json with their positions at every step,
and projected_w.npz ('w' [1, slots, w]), which `--styles` of `edit`, `video`, `style_mix` and this tool take.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base import arrays
from stylegan_jax.base.flags import Parser
from stylegan_jax.sampling import projections
from stylegan_jax.tools import _inputs as inputs, _runner as runner

MAX_BYTES = 1 << 20
"""Largest size of a file of points, in bytes."""
MARKED_SIZE = 256
"""Least pixels of the shorter side of pictures with marks."""
HANDLE, TARGET, WAY = (230, 40, 40), (40, 90, 230), (255, 255, 255)
"""Colours of marks."""


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head = (__doc__ or "").split("\n")[0]
    p = Parser(prog="python -m stylegan_jax.tools.drag", description=head)
    inputs.add_arguments(p, batch=False)
    inputs.add_output(p, "folder for dragged.png, the video, projected_w.npz and drag.json")
    p.add_argument("--seed", type=int, default=0, help="of the picture (default: %(default)s)")
    p.add_argument("--styles", metavar="FILES", help=f"{inputs.STYLES}; noise maps of a projection are drawn with")
    p.add_argument("--index", type=int, metavar="N", help="which style of --styles, from 0, where it holds several")
    p.add_argument(
        "--points",
        required=True,
        metavar="FILE",
        help='JSON as [{"handle": [x, y], "target": [x, y]}, …] or [[[x, y], [x, y]], …], or such a text itself',
    )
    p.add_argument("--mask", metavar="FILE", help="image: white may change, black is kept, grey in part")
    p.add_argument("--steps", type=int, default=200, help="at most (default: %(default)s)")
    p.add_argument("--space", choices=("w+", "w"), default="w+", help="w+: each slot moves by its own (default)")
    p.add_argument(
        "--layers", metavar="SLOTS", help="style slots to edit: coarse, middle, fine, all, or 0-3,7 (default: docs)"
    )
    p.add_argument("--feature_layer", metavar="NAME", help="whose features are compared (default: see docs/tools.md)")
    p.add_argument(
        "--pull",
        choices=("first", "now"),
        help="move a point's surroundings as they were first, or are now (default: now, below 256 pixels first)",
    )
    p.add_argument("--rate", type=float, help="learning rate (default: 0.002, below 256 pixels 0.005)")
    p.add_argument("--radius", type=float, help="of what is pulled, in pixels (default: 3 for 512, below 256 pixels 4)")
    p.add_argument("--search", type=int, help="pixels around a point to look for it (default: 12 for 512, at least 2)")
    p.add_argument("--patch", type=int, help="pixels around it by which it is known (default: 0, below 256 pixels 3)")
    p.add_argument("--stop", type=float, help="distance that is near enough (default: 1 pixel; of over 5 points 2)")
    p.add_argument(
        "--settle", type=int, help="steps to be near enough before the end (default: 0, below 256 pixels 20)"
    )
    p.add_argument("--keep", type=float, default=20.0, help="weight of what --mask keeps (default: %(default)s)")
    p.add_argument(
        "--video",
        choices=("auto", "mp4", "webp", "gif", "png", "none"),
        default="auto",
        help="of the way; auto: .mp4 where PyAV is there, else .webp (default); png: a folder of frames",
    )
    p.add_argument("--every", type=int, default=2, help="steps per frame of it (default: %(default)s)")
    p.add_argument("--fps", type=float, default=15.0, help="frames per second (default: %(default)g)")
    p.add_argument("--plain", action="store_true", help="frames at the model's size, without marks")
    return p


def read_points(text: str) -> tuple[list[Any], list[Any]]:
    """Return the handles and targets of --points, a file or JSON text; numbers are checked once the picture is known.

    Raises:
        ValueError: there is no such file, or it is not JSON of this form.
    """
    given = f"--points={text if len(text) < 80 else text[:80] + '…'}"
    if not text.lstrip().startswith(("[", "{")):
        if not os.path.isfile(text):
            raise ValueError(f"{given} is neither a file nor JSON; see --help for what it holds")
        if os.path.getsize(text) > MAX_BYTES:
            raise ValueError(f"{given} has {os.path.getsize(text)} bytes, too many for points")
        text = Path(text).read_text(errors="replace")
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError(f"{given} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{given} is no JSON: {error}") from None
    found = found.get("points") if isinstance(found, dict) else found
    pairs = [_pair(point) for point in found] if isinstance(found, list) else [None]
    if None in pairs:
        raise ValueError(
            f'{given}: each point is {{"handle": [x, y], "target": [x, y]}} or [[x, y], [x, y]], in a list'
        )
    return [pair[0] for pair in pairs if pair], [pair[1] for pair in pairs if pair]


def _pair(point: Any) -> tuple[Any, Any] | None:
    """Return (handle, target) of an entry of the list, or None if it has another form."""
    ends = [point.get("handle"), point.get("target")] if isinstance(point, dict) else point
    is_number = lambda x: isinstance(x, int | float) and not isinstance(x, bool)
    is_place = lambda end: isinstance(end, list) and len(end) == 2 and all(map(is_number, end))
    return (ends[0], ends[1]) if isinstance(ends, list) and len(ends) == 2 and all(map(is_place, ends)) else None


def find_style(model: Any, args: argparse.Namespace) -> tuple[Any, np.ndarray, dict[str, np.ndarray]]:
    """Return the model to draw with, the style float32[l, w], and the noise maps of its projection, if it has any.

    Raises:
        ValueError: arguments do not fit the model, the file, or each other.
    """
    if args.styles is None:
        if args.index is not None:
            raise ValueError(f"--index={args.index} has no effect without --styles; leave it out")
        seeds = inputs.parse_numbers("--seed", str(args.seed), 2**32, "seed")
        label = inputs.one_label(model, args)
        return model, model.map(seeds, label, psi=args.psi, cutoff=args.cutoff, chunk=1)[0], {}
    from stylegan_jax.sampling import projector

    inputs.check_unused(parser(), args, ("seed", "psi", "cutoff", "centroids", "classes", "label"), "with --styles")
    found = inputs.read_styles(args.styles, model.gan.spec)
    index = 0 if args.index is None else args.index
    if not 0 <= index < len(found) or (args.index is None and len(found) > 1):
        raise ValueError(f"--styles={args.styles} holds {len(found)}; choose one by --index=0 to {len(found) - 1}")
    files = projections.find_projections(args.styles) if os.path.isdir(args.styles) else [Path(args.styles)]
    noise: dict[str, np.ndarray] = {}
    if len(files) == 1 and files[0].suffix == ".npz":
        maps = set(projector.noise_maps(model.g_ema)) & set(arrays.read_headers(files[0]))
        noise = arrays.load(files[0], tuple(sorted(maps))) if maps else {}
    return projector.with_noise(model, noise), found[index], noise


def read_mask(args: argparse.Namespace, size: tuple[int, int]) -> np.ndarray | None:
    """Return the mask float32[h, w] of --mask, or None.

    Raises:
        ValueError: it is not an image, or has another size, so that the place of a point in it would be a guess.
    """
    if args.mask is None:
        return None
    from stylegan_jax.data.images import open_image

    if not os.path.isfile(args.mask):
        raise ValueError(f"--mask={args.mask} is not a file")
    try:
        with open(args.mask, "rb") as file:
            image = open_image(file)
            if (image.height, image.width) != size:
                raise ValueError(f"{image.width}x{image.height} pixels; the model's images are {size[1]}x{size[0]}")
            return np.asarray(image.convert("L"), np.float32) / 255
    except (OSError, ValueError) as error:
        raise ValueError(f"--mask={args.mask}: {error}") from None


def mark(picture: np.ndarray, path: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the picture uint8[h, w, c] enlarged, with targets float[n, 2] and ways float[k, n, 2] in it."""
    from PIL import Image, ImageDraw

    from stylegan_jax.tools._video_file import to_rgb

    times = max(1, -(-MARKED_SIZE // min(picture.shape[:2])))
    image = Image.fromarray(np.repeat(np.repeat(to_rgb(picture), times, axis=0), times, axis=1))
    draw, size = ImageDraw.Draw(image), max(3, min(image.size) // 80)
    place = lambda point: tuple(float(x) for x in (np.asarray(point) + 0.5) * times)
    for i, target in enumerate(targets):
        way, (x, y), (u, v) = [place(p) for p in path[:, i]], place(path[-1, i]), place(target)
        draw.line([(x, y), (u, v)], fill=TARGET, width=max(1, size // 3))
        if len(way) > 1:
            draw.line(way, fill=WAY, width=max(1, size // 2))
        draw.ellipse((u - size, v - size, u + size, v + size), fill=TARGET, outline=WAY)
        draw.ellipse((x - size, y - size, x + size, y + size), fill=HANDLE, outline=WAY)
    return np.asarray(image)


def act(args: argparse.Namespace) -> str:
    """Drag; return the sentence to print."""
    from stylegan_jax.base import images
    from stylegan_jax.sampling import drag, projector

    ending = check(args)
    handles, targets = read_points(args.points)
    model = inputs.load(args)
    drag.layers(model)
    model, ws, noise = find_style(model, args)
    slots = None if args.layers is None else inputs.parse_layers(args.layers, model)
    names = ("rate", "radius", "search", "patch", "stop", "settle", "keep", "pull")
    options = {name: getattr(args, name) for name in names}
    options |= {"plus": args.space == "w+", "slots": slots, "layer": args.feature_layer}
    options["mask"] = read_mask(args, model.gan.spec.image_shape[:2])
    drag.begin(model, ws, handles, targets, **options)  # its errors, before there is a folder
    out = Path(args.out)
    path = runner.claim(out, "drag.json", args)
    found = drag.drag_points(
        model, ws, handles, targets, steps=args.steps, every=args.every if ending else args.steps, **options
    )
    goals = np.asarray(targets, np.float32)
    write_video(out, found, goals, ending, args)
    for name, picture in (("start", found.frames[0]), ("dragged", images.to_pixels(found.image))):
        images.save_png(out / f"{name}.png", picture)
    images.save_png(out / "points.png", mark(found.frames[-1], found.path, goals))
    arrays.write_npz(out / projections.PROJECTION, w=found.ws[None], **noise)
    ways = np.moveaxis(found.path, 1, 0).astype(int).tolist()
    table = [
        {"handle": way[0], "target": goal, "distance": distance, "path": way}
        for way, goal, distance in zip(ways, goals.tolist(), found.distances.tolist(), strict=True)
    ]
    steps = len(found.path) - 1
    about: dict[str, Any] = {"points": table, "steps": steps, "arrived": found.is_done}
    about |= {"seconds_per_step": found.seconds if steps else None, "weights": projector.digest(model)}
    runner.write_record(path, runner.record(args, model, **about))
    ends = ", ".join(f"{x:.1f}" for x in found.distances)
    is_near = max(found.distances) <= (drag.default_stop(len(goals)) if args.stop is None else args.stop)
    how = "arrived" if found.is_done else "near, but not settled," if is_near else "not there yet"
    return f"{how} after {steps} steps, {ends} pixels from the target{'s' * (len(goals) > 1)}; in {out}"


def check(args: argparse.Namespace) -> str:
    """Check the arguments that need no model; return the ending of the video, 'png' for frames, '' for none.

    Raises:
        ValueError: one of them does not fit.
    """
    from stylegan_jax.tools import _video_file as video_file

    for flag, value in (("--steps", args.steps), ("--every", args.every)):
        if value < 1:
            raise ValueError(f"{flag}={value} must be at least 1")
    if args.video in ("none", "png"):
        return args.video.replace("none", "")
    ending = video_file.default_ending() if args.video == "auto" else f".{args.video}"
    video_file.check_ending(ending, f"--video={args.video}")
    if not 0 < args.fps <= video_file.MAX_FPS[ending]:
        raise ValueError(f"--fps={args.fps:g}: more than 0 and at most {video_file.MAX_FPS[ending]} for {ending}")
    return ending


def write_video(out: Path, found: Any, targets: np.ndarray, ending: str, args: argparse.Namespace) -> None:
    """Write the frames of a `drag.Dragged`, and remove those of an earlier call."""
    from stylegan_jax.base import images
    from stylegan_jax.tools import _video_file as video_file

    for old in (*(out / f"drag{other}" for other in video_file.ENDINGS), *out.glob("frames/[0-9]*.png")):
        old.unlink(missing_ok=True)

    def frames() -> Iterator[np.ndarray]:
        for step, picture in zip(found.frame_steps, found.frames, strict=True):
            yield picture if args.plain else mark(picture, found.path[: step + 1], targets)

    if ending == "png":
        (out / "frames").mkdir(exist_ok=True)
        for step, frame in zip(found.frame_steps, frames(), strict=True):
            images.save_png(out / "frames" / f"{step:04d}.png", frame)
    elif ending:
        video_file.write(out / f"drag{ending}", frames(), args.fps)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
