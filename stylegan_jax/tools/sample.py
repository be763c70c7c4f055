"""Draw images: `python -m stylegan_jax.tools.sample --run=DIR --seeds=0-15 --psi=0.7 --out=DIR`.

An image depends only on its seed (and label, psi, noise), not on the other seeds, the batch or the devices. Latents
are `numpy.random.RandomState(seed).randn(1, z)`, as in the official tools, so that official weights give
the known pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of '0-15', '3', '1,5,8-10'.

    Raises:
        ValueError: not of that form, negative, or a range that runs backwards.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"--seeds={text!r}: {part!r} is not a seed or a range; write 7, 0-15 or 1,5,8-10")
        numbers = range(int(first), int(last if dash else first) + 1)
        if not numbers:
            raise ValueError(f"--seeds={text!r}: the range {part!r} runs backwards; write {last}-{first}")
        seeds += numbers
    if max(seeds) >= 2**32:
        raise ValueError(f"--seeds={text!r}: {max(seeds)} is too large; seeds are below 2**32")
    return seeds


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = argparse.ArgumentParser(prog="python -m stylegan_jax.tools.sample", description=(__doc__ or "").split("\n")[0])
    p.add_argument("--run", required=True, help="workdir of a run, model folder, or official .pkl")
    p.add_argument("--out", required=True, help="folder for the PNGs, grid.png and sample.json; created if absent")
    p.add_argument("--seeds", default="0-15", help="such as 0-15 or 1,5,8-10 (default: %(default)s)")
    p.add_argument("--psi", type=float, default=1.0, help="truncation: 1 none, 0 the average image (default: 1)")
    p.add_argument("--cutoff", type=int, default=None, help="truncate only the first so many style slots")
    p.add_argument("--class", type=int, default=None, dest="class_index", metavar="K", help="class, from 0")
    p.add_argument("--label", default=None, metavar="X,Y,…", help="label as numbers, for multi-hot and vector labels")
    p.add_argument("--noise", choices=("const", "random", "none"), default="const", help="default: const")
    p.add_argument("--translate", default=None, metavar="X,Y", help="move right by X widths and down by Y heights")
    p.add_argument("--rotate", type=float, default=0.0, metavar="DEG", help="turn counter-clockwise about the centre")
    p.add_argument("--step", type=int, default=None, help="checkpoint of a run (default: the newest)")
    p.add_argument("--batch", type=int, default=8, help="images per call (default: 8)")
    p.add_argument("--columns", type=int, default=0, help="columns of the grid (default: about square)")
    return p


def make_transform(translate: str | None, rotate: float, height: int, width: int) -> np.ndarray:
    """Return the float32[3, 3] for `Gan.with_transform` that turns the picture and then moves it.

    Args:
        translate: 'X,Y', shares of the width to the right and of the height down; None: nowhere.
        rotate: degrees, counter-clockwise about the centre.
        height: of the picture in pixels.
        width: likewise.

    Raises:
        ValueError: `translate` is not two numbers.
    """
    try:
        x, y = (float(v) for v in (translate or "0,0").split(","))
        if not np.isfinite([x, y, rotate]).all():
            raise ValueError
    except ValueError:
        raise ValueError(
            f"--translate={translate} --rotate={rotate}: write numbers, such as 0.1,-0.25 and 30"
        ) from None
    cos, sin = np.cos(np.radians(rotate)), np.sin(np.radians(rotate))
    moved = np.array([[cos, sin, x * width / height], [-sin, cos, y], [0, 0, 1]])
    return np.linalg.inv(moved).astype(np.float32)


def move_canvas(model: Any, args: argparse.Namespace) -> Any:
    """Return the model with the transform that the arguments ask for, or the model itself.

    Raises:
        ValueError: bad numbers, or an architecture with a fixed grid.
    """
    if args.translate is None and not args.rotate:
        return model
    height, width, _ = model.gan.spec.image_shape
    transform = make_transform(args.translate, args.rotate, height, width)
    if model.gan.with_transform is None:
        raise ValueError(
            f"--translate, --rotate: arch {model.config.arch!r} draws on a fixed grid; use a model such as stylegan3"
        )
    return model._replace(g_ema=model.gan.with_transform(model.g_ema, transform))


def make_label(label_dim: int, kind: str, class_index: int | None, numbers: str | None) -> np.ndarray:
    """Return the label float32[label_dim] that the arguments ask for; of a class, its one-hot vector.

    Args:
        label_dim: length of the model's labels.
        kind: what labels it was trained with (`SourceInfo.label_kind`); '' when unknown.
        class_index: --class.
        numbers: --label, separated by commas.

    Raises:
        ValueError: a label for a model without, none for one with, both ways at once, or one that does not fit.
    """
    given = f"--class={class_index}" if numbers is None else f"--label={numbers}"
    as_numbers = (
        f"give all {label_dim} numbers, as --label={','.join(['0'] * min(label_dim, 4))}{',…' * (label_dim > 4)}"
    )
    if class_index is None and numbers is None:
        if label_dim:
            choose = as_numbers if kind in ("multi-hot", "vectors") else f"choose one with --class=0 … {label_dim - 1}"
            raise ValueError(f"this model draws by label; {choose}")
        return np.zeros(0, np.float32)
    if label_dim == 0:
        raise ValueError(f"{given}: this model has no labels; leave it out")
    if numbers is None:
        if kind == "vectors":
            raise ValueError(f"{given}: the labels of this model are vectors, not classes; {as_numbers}")
        if not 0 <= class_index < label_dim:
            raise ValueError(f"{given}: this model has the classes 0 to {label_dim - 1}; choose one")
        return (np.arange(label_dim) == class_index).astype(np.float32)
    if class_index is not None:
        raise ValueError(f"--class={class_index} {given}: give one of them")
    try:
        label = np.array([float(x) for x in numbers.split(",")], np.float32)
    except ValueError:
        label = np.zeros(0, np.float32)
    if label.shape != (label_dim,) or not np.isfinite(label).all():
        raise ValueError(f"{given}: the labels of this model have {label_dim} entries; {as_numbers}")
    return label


def sample(model: Any, seeds: Sequence[int], args: argparse.Namespace) -> np.ndarray:
    """Return uint8[len(seeds), h, w, c], drawn in chunks of one size so that one program is compiled."""
    import jax

    from stylegan_jax import images, load, rng

    label = make_label(model.gan.spec.label_dim, model.label_kind, args.class_index, args.label)
    cond = np.tile(label, (args.batch, 1))

    @jax.jit
    def draw(z, psi, keys):
        noise = {"noise": args.noise, "key": keys if args.noise == "random" else None}
        return load.generate(model, z, cond, psi, args.cutoff, **noise)

    out = []
    for start in range(0, len(seeds), args.batch):
        chunk = list(seeds[start : start + args.batch])
        padded = chunk + [chunk[-1]] * (args.batch - len(chunk))
        z = np.concatenate([np.random.RandomState(s).randn(1, model.gan.spec.z_dim) for s in padded])
        keys = jax.vmap(lambda s: rng.stream(rng.root(0), "sample/noise", s))(np.asarray(padded, np.uint32))
        out.append(images.to_pixels(jax.device_get(draw(z.astype(np.float32), args.psi, keys)))[: len(chunk)])
    return np.concatenate(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    args = parser().parse_args(argv)
    if args.batch < 1:
        print(f"error: --batch={args.batch} must be at least 1", file=sys.stderr)
        return 2
    from stylegan_jax import images
    from stylegan_jax.config import ConfigError
    from stylegan_jax.convert import BadCheckpointError
    from stylegan_jax.load import load_model
    from stylegan_jax.train.checkpoint import CheckpointError
    from stylegan_jax.train.startup import use_compilation_cache

    try:
        seeds = parse_seeds(args.seeds)
        use_compilation_cache("auto")
        model = move_canvas(load_model(args.run, args.step), args)
        pixels = sample(model, seeds, args)
        out = Path(args.out)
        out.mkdir(parents=True, exist_ok=True)
        for seed, image in zip(seeds, pixels, strict=True):
            images.save_png(out / f"seed{seed:04d}.png", image)
        columns = args.columns or int(np.ceil(np.sqrt(len(seeds))))
        images.save_png(out / "grid.png", images.make_grid(pixels, columns))
        record = {"arguments": vars(args), "model": model.provenance}
        (out / "sample.json").write_text(json.dumps(record, indent=2, default=str) + "\n")
    except (ValueError, ConfigError, BadCheckpointError, CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(seeds)} images and grid.png in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
