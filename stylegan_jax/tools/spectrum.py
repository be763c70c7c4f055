"""Compare power spectra: `python -m stylegan_jax.tools.spectrum --model=DIR --data=run --out=DIR`.

It compares average power spectra of generated images with those of real images and other models (StyleGAN3, section 4):
heat maps, slices at 0° and 45°, and the numbers. Peaks that the data lack are traces of a model's sampling grids; a
spectrum that falls too early means missing detail.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base import arrays
from stylegan_jax.base.flags import Parser
from stylegan_jax.runtime import records
from stylegan_jax.tools import _inputs as inputs, _runner as runner

DB = (-50.0, 30.0)
"""Range of the slices in dB."""
MAX_BETA = 500
"""Largest beta of Kaiser windows; exp(beta) overflows float64 above 700."""
MAP_DB, MAP_STEPS = (-40.0, 20.0), 12
"""Range and number of colours of the heat maps."""


class Subject(NamedTuple):
    """A set of images to analyse.

    Attributes:
        name: name in the figures, and of its file.
        shape: (h, w, c).
        count: number of images.
        chunks: function that returns an iterator over chunks uint8[n, h, w, c]; every call starts again.
    """

    name: str
    shape: tuple[int, ...]
    count: int
    chunks: Callable[[], Iterator[np.ndarray]]


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head = (__doc__ or "").split("\n")[0]
    p = Parser(prog="python -m stylegan_jax.tools.spectrum", description=head)
    p.add_argument(
        "--model",
        action="append",
        default=[],
        help="workdir of a run, model folder, demo, hf://user/name, or official .pkl; may be repeated",
    )
    p.add_argument(
        "--data",
        action="append",
        default=[],
        help="real images: folder, zip, .npy, .npz, tfds:NAME, or run: those of the first --model; may be repeated",
    )
    p.add_argument(
        "--num",
        type=int,
        default=0,
        help="images of each set; a smaller data set is used whole (default: 1000 of a model, all of a data set)",
    )
    p.add_argument(
        "--mean", type=float, default=None, help="mean to subtract, 0 to 255 (default: that of the first set)"
    )
    p.add_argument(
        "--std",
        type=float,
        default=None,
        help="deviation to divide by (default: that of the first set, which is the first --data, or the first --model)",
    )
    p.add_argument("--psi", type=float, default=1.0, help="truncation: 1: none, 0: the average image (default: 1)")
    inputs.add_labels(p, "class or classes, numbers from 0 or names, in turn, or all")
    p.add_argument("--beta", type=float, default=8.0, help="beta of the Kaiser window (default: 8)")
    p.add_argument("--pad", type=int, default=4, help="samples of the spectrum per 1 / image size (default: 4)")
    p.add_argument(
        "--smooth", type=float, default=1.25, help="smoothing of the heat maps, in 1 / image size (default: 1.25)"
    )
    p.add_argument("--batch", type=int, default=8, help="images per call (default: 8)")
    inputs.add_output(p, "folder for heatmap.png, slices.png, an .npz per set and spectrum.json")
    return p


def check(args: argparse.Namespace) -> None:
    """Check the numbers, and that there is something to analyse.

    Raises:
        ValueError: a value breaks a rule.
    """
    if not args.model and not args.data:
        raise ValueError("nothing to compare; pass --model=DIR, --data=PATH, or several of them")
    if "run" in args.data and not args.model:
        raise ValueError("--data=run means the data of --model; add --model=DIR, or pass a path")
    if not args.model:
        inputs.check_unused(parser(), args, ("psi", "classes", "label"), "without --model")
    if (args.mean is None) != (args.std is None):
        raise ValueError("--mean and --std belong together; pass both or none")
    if args.std is not None and not (args.std > 0 and np.isfinite([args.mean, args.std]).all()):
        raise ValueError(f"--mean={args.mean} --std={args.std}: write finite numbers, the second above 0")
    with np.errstate(over="ignore", under="ignore"):
        fits = args.std is None or (
            np.float32(args.std) > 0 and np.isfinite(np.array([args.mean, args.std], np.float32)).all()
        )
    if not fits:
        raise ValueError(f"--mean={args.mean} --std={args.std}: float32 cannot represent them; images are 0 to 255")
    if args.beta > MAX_BETA:
        raise ValueError(f"--beta={args.beta} must be at most {MAX_BETA}, where the window is only a few pixels wide")
    for name, least in (("num", 0), ("pad", 2), ("beta", 0), ("smooth", 0)):
        value = getattr(args, name)
        if not (np.isfinite(value) and value >= least):
            raise ValueError(f"--{name}={value} must be at least {least}")


def of_model(path: str, model: Any, args: argparse.Namespace) -> Subject:
    """Return a model's images of seeds 0, 1, …; for video models, frames at time 0. Several classes take turns."""
    count, images = args.num or 1000, model if model.gan.draw_at is None else model.still()
    labels = inputs.labels(model, args) if model.gan.spec.label_dim else np.zeros((1, 0), np.float32)

    def chunks() -> Iterator[np.ndarray]:
        chunk = inputs.chunk(args, count)
        for first in range(0, count, chunk):
            seeds = np.arange(first, min(first + chunk, count))
            label = labels[seeds % len(labels)] if labels.shape[1] else None
            yield images.sample(seeds, psi=args.psi, label=label, chunk=chunk)

    return Subject(_name(path), model.gan.spec.image_shape, count, chunks)


def of_data(path: str, first: Any, run: str, args: argparse.Namespace, stack: contextlib.ExitStack) -> Subject:
    """Return real images, at the size of the first model if there is one.

    For a run, they are the images that it was trained on, as stored: its subset, not mirrored. --num selects the same
    images as `data.subset`, or all of them if there are fewer.

    Raises:
        MetricError: they cannot be read.
    """
    from stylegan_jax.config import ConfigError
    from stylegan_jax.data import DataError, order
    from stylegan_jax.metrics import opening

    own = path == "run"
    config = opening.run_data(run) if run else None
    if own and config is None:
        raise ValueError(f"--data=run: {run} is not the workdir of a run, so its data are unknown; pass a path")
    try:
        data = opening.data_config("" if own else path, config)
        data = dataclasses.replace(data, labels="none")
        source = opening.open_images(data, first.gan.spec.image_shape if first else None, 3)
    except (ConfigError, DataError) as error:
        raise opening.explain(error, "--data", path) from error
    stack.callback(source.close)
    total = source.info().num_images
    wanted = (args.num, config.get("subset", 0) if own and config else 0)
    count = min(total, *(n or total for n in wanted))
    keep = order.subset(data.subset_seed, count, total)

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, count, args.batch):
            yield np.stack([source.pixels(int(i)) for i in keep[start : start + args.batch]])

    shape = source.pixels(0).shape
    return Subject(_name(data.path or data.source), shape, count, chunks)


def _name(path: str) -> str:
    return Path(path.rstrip("/").replace(":", "-")).stem or "images"


def find_subjects(args: argparse.Namespace, stack: contextlib.ExitStack) -> tuple[list[Subject], list[Any]]:
    """Return (data sets and models, in this order, with unique names; the models).

    Raises:
        ValueError: their sizes differ, or a label is passed and no model has labels.
    """
    from stylegan_jax.sampling.load import load_model

    models = [load_model(path) for path in args.model]
    first = models[0] if models else None
    if models and not any(model.gan.spec.label_dim for model in models):
        inputs.check_unused(parser(), args, ("classes", "label"), "on models without labels")
    found = [of_data(path, first, args.model[0] if args.model else "", args, stack) for path in args.data]
    found += [of_model(path, model, args) for path, model in zip(args.model, models, strict=True)]
    named: list[Subject] = []
    for subject in found:
        taken = [s.name for s in named]
        again = next(n for i in range(1, len(found) + 1) if (n := subject.name + f"-{i}" * (i > 1)) not in taken)
        named.append(subject._replace(name=again))
    sizes = {s.name: "x".join(map(str, s.shape[:2])) for s in named}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"images of different sizes: {sizes}; only spectra of one size can be compared")
    return named, models


def draw_figures(out: Path, found: dict[str, Any], smooth: float) -> None:
    """Write heatmap.png and slices.png of spectra by name."""
    from stylegan_jax.base import images
    from stylegan_jax.sampling import plot, spectra

    ticks = np.linspace(-0.5, 0.5, 5)
    axes = plot.Axes((-0.5, 0.5), (-0.5, 0.5), ticks, ticks, "cycles per pixel", "")
    maps = {name: spectra.heatmap(s, smooth) for name, s in found.items()}
    panels = [plot.draw_heatmap(f"{name}, dB", m, axes, MAP_DB, MAP_STEPS) for name, m in maps.items()]
    images.save_png(out / "heatmap.png", images.make_grid(np.stack(panels), min(3, len(panels))))
    panels = []
    for angle, last in (("0°", 0.5), ("45°", np.sqrt(0.5))):
        lines = {name: spectra.slices(s)[angle] for name, s in found.items()}
        axes = plot.Axes((0, last), DB, np.linspace(0, last, 6), np.arange(*DB, 10), "cycles per pixel", "dB")
        panels.append(plot.draw_lines(f"slice at {angle}", lines, axes))
    images.save_png(out / "slices.png", images.make_grid(np.stack(panels), 2))


def act(args: argparse.Namespace) -> str:
    """Measure, draw; return the sentence to print."""
    from stylegan_jax.sampling import spectra

    check(args)
    out, found = Path(args.out), {}
    with contextlib.ExitStack() as stack:
        subjects, models = find_subjects(args, stack)
        path = runner.claim(out, "spectrum.json", args)
        bar = lambda s: records.progress(s.chunks(), -(-s.count // args.batch), f"{args.batch} of {s.name}")
        mean, std = (args.mean, args.std) if args.mean is not None else spectra.moments(bar(subjects[0]))
        for s in subjects:
            found[s.name] = spectra.average(bar(s), mean, std, beta=args.beta, pad=args.pad)
            if not np.isfinite(found[s.name].power).all():
                raise ValueError(f"the spectrum of {s.name} is not finite with mean {mean:g} and deviation {std:g}")
    for s in subjects:
        numbers = {"spectrum": found[s.name].power, "image_size": max(s.shape[:2]), "mean": mean, "std": std}
        arrays.write_npz(out / f"{s.name}.npz", **numbers, count=found[s.name].count)
    draw_figures(out, found, args.smooth)
    counts = {s.name: s.count for s in subjects}
    content = {"arguments": vars(args), "models": [m.provenance for m in models], "mean": mean, "std": std}
    runner.write_record(path, content | {"images": counts})
    shown = ", ".join(f"{name} ({count})" for name, count in counts.items())
    return f"spectra of {shown}, mean {mean:.4g}, deviation {std:.4g}: heatmap.png and slices.png in {out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
