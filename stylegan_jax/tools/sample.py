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

from stylegan_jax.tools import inputs


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = argparse.ArgumentParser(prog="python -m stylegan_jax.tools.sample", description=(__doc__ or "").split("\n")[0])
    inputs.add_arguments(p)
    p.add_argument("--out", required=True, help="folder for the PNGs, grid.png and sample.json; created if absent")
    p.add_argument("--seeds", default="0-15", help="such as 0-15 or 1,5,8-10 (default: %(default)s)")
    p.add_argument("--noise", choices=("const", "random", "none"), default="const", help="default: const")
    p.add_argument("--translate", default=None, metavar="X,Y", help="move right by X widths and down by Y heights")
    p.add_argument("--rotate", type=float, default=0.0, metavar="DEG", help="turn counter-clockwise about the centre")
    p.add_argument("--columns", type=int, default=0, help="columns of the grid (default: about square)")
    return p


def parse_translation(text: str | None) -> tuple[float, float]:
    """Return (x, y) of 'X,Y'; None: nowhere.

    Raises:
        ValueError: not two finite numbers.
    """
    try:
        x, y = (float(v) for v in (text or "0,0").split(","))
        if np.isfinite([x, y]).all():
            return x, y
    except ValueError:
        pass
    raise ValueError(f"--translate={text}: write two numbers, such as --translate=0.1,-0.25")


def move_canvas(model: Any, args: argparse.Namespace) -> Any:
    """Return the model with the transform that the arguments ask for, or the model itself.

    Raises:
        ValueError: bad numbers, or an architecture with a fixed grid.
    """
    if args.translate is None and not args.rotate:
        return model
    x, y = parse_translation(args.translate)
    if not np.isfinite(args.rotate):
        raise ValueError(f"--rotate={args.rotate}: write a number of degrees, such as --rotate=30")
    height, width, _ = model.gan.spec.image_shape
    with_transform = inputs.transformable(model, "--translate, --rotate")
    transform = inputs.make_transform(x, y, args.rotate, width / height)
    return model._replace(g_ema=with_transform(model.g_ema, transform))


def sample(model: Any, seeds: Sequence[int], args: argparse.Namespace) -> np.ndarray:
    """Return uint8[len(seeds), h, w, c], drawn in chunks of one size so that one program is compiled."""
    import jax

    from stylegan_jax import images, load, rng

    cond = inputs.labels(model, args, args.batch)

    @jax.jit
    def draw(g, z, psi, keys):  # weights as arguments: as constants they would be folded, and compiled in
        noise = {"noise": args.noise, "key": keys if args.noise == "random" else None}
        return load.generate(model._replace(g_ema=g), z, cond, psi, args.cutoff, **noise)

    out, g = [], jax.device_put(model.g_ema)
    for chunk, n in inputs.in_chunks(np.asarray(seeds, np.uint32), args.batch):
        z = inputs.latents(chunk, model.gan.spec.z_dim)
        keys = jax.vmap(lambda s: rng.stream(rng.root(0), "sample/noise", s))(chunk)
        out.append(images.to_pixels(jax.device_get(draw(g, z, args.psi, keys)))[:n])
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
        seeds = inputs.parse_seeds(args.seeds)
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
