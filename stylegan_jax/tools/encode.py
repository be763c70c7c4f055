"""Find styles with an encoder: `python -m stylegan_jax.tools.encode --encoder=RUN --targets=a.png,b.jpg --out=DIR`.

An encoder needs one pass per image (ReStyle: several) instead of `project`'s hundreds of steps. `--encoder` is a run of
`--config=configs/e4e.py`, or an e4e, pSp or ReStyle `.pt`. Results have the form of `project`'s: a folder per image
with target.png, proj.png and projected_w.npz, which `edit --styles`, `style_mix`, `video` and `pti` take.
`--refine=project` improves the styles with steps of `project`, `--refine=pti` tunes the generator to each image.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base.flags import Parser
from stylegan_jax.tools import _inputs as inputs, _runner as runner, project, pti

STEPS = {"project": 100, "pti": 350}
"""Default --steps of --refine."""
RATE = 0.02
"""Learning rate of --refine=project: a fifth of the published one, which is for starting at the mean style."""


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(prog="python -m stylegan_jax.tools.encode", description=(__doc__ or "").split("\n")[0])
    p.add_argument("--encoder", required=True, metavar="PATH", help="workdir of an encoder's run, or an e4e or pSp .pt")
    p.add_argument("--encoder_step", type=int, help="checkpoint of the encoder's run (default: the newest)")
    p.add_argument("--model", help="the generator (default: the one that the encoder was trained for)")
    p.add_argument("--step", type=int, help="checkpoint of --model, if it is a run (default: the newest)")
    inputs.add_output(p, "folder for one folder per image, and project.json")
    p.add_argument("--targets", required=True, metavar="FILES", help="images with commas between, or a folder of them")
    p.add_argument("--crop", action="store_true", help="crop targets of another aspect ratio at their centre")
    p.add_argument(
        "--iterations", type=int, help="iterations of a residual encoder, ReStyle (default: as it was trained)"
    )
    p.add_argument(
        "--refine",
        choices=("none", *STEPS),
        default="none",
        help="project: optimise the styles further, one per slot; pti: tune the generator, into OUT/tuned",
    )
    p.add_argument("--steps", type=int, help="steps of --refine (default: {project} or {pti})".format(**STEPS))
    text = "measure editing consistency along the first direction of a file that `edit` wrote"
    p.add_argument("--lec", metavar="FILE", help=text)
    p.add_argument("--strength", type=float, default=3.0, help="strength of --lec's edit (default: %(default)s)")
    p.add_argument("--features", metavar="FILE", help="VGG16 LPIPS weights (default: the cache, or a package)")
    p.add_argument("--batch", type=int, default=8, help="images at once, which determines the memory (default: 8)")
    return p


def check(args: argparse.Namespace) -> None:
    """Check the arguments that do not depend on the model.

    Raises:
        ValueError: an argument has no effect, or a number is out of range.
    """
    if args.steps is not None and (args.refine == "none" or args.steps < 1):
        raise ValueError(
            f"--steps={args.steps} needs --refine=project or --refine=pti, and must be at least 1; pass one of them"
        )
    if args.lec is None:
        inputs.check_unused(parser(), args, ("strength",), "without --lec")
    if args.model is None:
        inputs.check_unused(parser(), args, ("step",), "without --model")


def read_targets(files: Sequence[Path], shape: tuple[int, int, int], crop: bool) -> np.ndarray:
    """Return uint8[n, h, w, c] of image files.

    Raises:
        ValueError: a file is not an image, or has another aspect ratio and `crop` is not set.
    """
    from stylegan_jax.data.prepare.convert import Recipe
    from stylegan_jax.sampling import projector

    height, width, channels = shape
    for file in files if not crop else ():
        h, w = projector.read_image(file, Recipe(channels=channels)).shape[:2]
        if abs(h * width - w * height) > max(width, height):  # by more than a pixel
            raise ValueError(
                f"--targets: {file} is {w}x{h} and the generator draws {width}x{height}. An encoder needs images that "
                "are aligned as in training: crop faces with tools.align, or pass --crop to crop at the centre"
            )
    return projector.read_images(files, shape)


def act(args: argparse.Namespace) -> str:
    """Encode, and refine; return the sentence to print."""
    from stylegan_jax.features import load_features, weights
    from stylegan_jax.sampling import directions, encoding, projector
    from stylegan_jax.sampling.load import load_model

    check(args)
    files = project.find_files("--targets", args.targets)
    names = project.name_folders(files)
    given = None if args.model is None else load_model(args.model, args.step)
    encoder = encoding.load_encoder(args.encoder, given, args.encoder_step)
    model, (h, w, _) = encoder.model, encoder.encoder.spec.image
    height, width, _ = model.gan.spec.image_shape
    if h * width != w * height:
        raise ValueError(
            f"--encoder={args.encoder} sees {w}x{h}, and the generator draws {width}x{height}; their aspect ratios "
            "differ: use sampling.load_encoder in Python, and pass images of the encoder's aspect ratio"
        )
    targets = read_targets(files, model.gan.spec.image_shape, args.crop)
    edit = None if args.lec is None else directions.load(args.lec, model.gan.spec.w_dim)
    needed = args.refine == "project" or args.features or not weights.absence("vgg16_lpips")
    net = load_features("vgg16_lpips", args.features) if needed else None
    path = runner.claim(Path(args.out), "project.json", args)
    began = time.monotonic()
    ws = encoder.encode(targets, iterations=args.iterations, chunk=inputs.chunk(args, len(targets)))
    about: dict[str, Any] = {"encoder": encoder.provenance, "weights": projector.digest(model)}
    about |= {"seconds": round(time.monotonic() - began, 3), "features": net.source if net else None}
    if edit is not None:
        about["lec"] = dict(zip(names, measure_edits(encoder, targets, edit, args).tolist(), strict=True))
    found = as_projection(model, targets, ws, net)
    if args.refine == "project":
        found = projector.project(
            model, targets, steps=args.steps or STEPS["project"], plus=True, noise="const", net=net, batch=args.batch,
            start=ws, rate=RATE,
        )  # fmt: skip
    table = {}
    for i, name in enumerate(names):
        project.write(Path(args.out) / name, found, i, targets[i], None, "")
        table[name] = {"start": _or_none(found.start_lpips[i]), "end": _or_none(found.lpips[i])}
    runner.write_record(path, runner.record(args, model, lpips=table, **about))
    told = f"{len(names)} images encoded in {about['seconds']} seconds" + _told(table) + f"; in {args.out}"
    if "lec" in about:
        told += f"; editing consistency {np.mean(list(about['lec'].values())):.3f}"
    return f"{told}; {tune(args, encoder.provenance)}" if args.refine == "pti" else told


def as_projection(model: Any, targets: np.ndarray, ws: np.ndarray, net: Any) -> Any:
    """Return styles that an encoder found as a `projector.Projection`; without features, its LPIPS are NaN.

    Its start is the average style, or the mean of those of all classes.
    """
    from stylegan_jax.base import images
    from stylegan_jax.sampling import projector

    n = len(targets)
    drawn = model.synthesize(ws)
    lpips = start = np.full(n, np.nan, np.float32)
    if net is not None:
        mean = np.broadcast_to(np.atleast_2d(model.w_avg).mean(axis=0), ws.shape)
        see = projector.programs(model.gan, net.apply).see
        shown = [see(net.params, x, np.ones(x.shape[:3], np.float32)) for x in (model.synthesize(mean), drawn)]
        wanted = see(net.params, images.from_pixels(targets), np.ones(targets.shape[:3], np.float32))
        start, lpips = (np.asarray(np.square(x - wanted).sum(axis=1)) for x in shown)
    none = np.zeros((0, n), np.float32)
    frames = np.zeros((0, *targets.shape), np.uint8)
    return projector.Projection(ws, {}, drawn, lpips, start, none, frames)


def measure_edits(encoder: Any, targets: np.ndarray, edit: Any, args: argparse.Namespace) -> np.ndarray:
    """Return the editing consistency float[n] of targets along the first direction (`metrics.consistency`)."""
    from stylegan_jax.metrics.consistency import editing_consistency

    step = args.strength * edit.unit[0] * edit.vectors[0]
    encode = lambda x: encoder.encode(x, iterations=args.iterations, chunk=inputs.chunk(args, len(targets)))
    draw = lambda ws: np.clip(encoder.model.synthesize(ws), -1, 1)
    return np.asarray(editing_consistency(encode, draw, targets, step)[0])


def tune(args: argparse.Namespace, provenance: dict[str, Any]) -> str:
    """Tune the generator to each image, as `pti` does; return its sentence."""
    steps = args.steps or STEPS["pti"]
    words = [f"--projected={args.out}", f"--out={Path(args.out) / 'tuned'}", f"--steps={steps}"]
    words += [f"--model={args.model or provenance['model']}"]
    words += [f"--{name}={value}" for name, value in (("step", args.step), ("features", args.features)) if value]
    return pti.act(pti.parser().parse_args([*words, *(["--overwrite"] if args.overwrite else [])]))


def _or_none(x: Any) -> float | None:
    return float(x) if np.isfinite(x) else None


def _told(table: dict[str, Any]) -> str:
    rows = [f"{name} {row['start']:.4f} -> {row['end']:.4f}" for name, row in table.items() if row["end"] is not None]
    return f", LPIPS {', '.join(rows)}" if rows else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
