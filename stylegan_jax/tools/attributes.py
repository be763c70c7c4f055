"""Fit attribute classifiers: `python -m stylegan_jax.tools.attributes --data=PATH --features=NET --out=FILE.npz`.

Linear separability (`metrics --metrics=ls --classifiers=FILE.npz`) asks classifiers which attributes a generated image
has. This tool fits logistic regressions to features of a frozen network, one for each class or entry of multi-hot
labels of a data set, and measures their accuracy on a fifth of the images, which is held out.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base.flags import Parser
from stylegan_jax.metrics import attributes
from stylegan_jax.metrics.definitions import OUTPUTS
from stylegan_jax.tools import _runner as runner


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head = (__doc__ or "").split("\n")[0]
    p = Parser(prog="python -m stylegan_jax.tools.attributes", description=head)
    p.add_argument("--data", required=True, metavar="PATH", help="labelled images: folder, zip, npy, npz, tfds:NAME")
    p.add_argument(
        "--labels", choices=("file", "subfolders"), default="file", help="where its labels are (default: file)"
    )
    p.add_argument(
        "--features",
        choices=list(OUTPUTS["pool"]),
        default="efficientnet_lite0",
        help="network whose features the classifiers read (default: %(default)s)",
    )
    p.add_argument("--features_path", metavar="PATH", help="its weights (default: the cache, or a package)")
    p.add_argument(
        "--channels", type=int, choices=(1, 3), default=3, help="channels of the images (default: %(default)s)"
    )
    p.add_argument("--name", help="name for printed results (default: that of the data and of the network)")
    p.add_argument("--seed", type=int, default=0, help="determines which images are held out (default: 0)")
    p.add_argument("--batch", type=int, default=16, help="images per call (default: %(default)s)")
    p.add_argument("--out", required=True, metavar="FILE", help="FILE.npz; a record is written next to it")
    p.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    return p


def act(args: argparse.Namespace) -> str:
    """Fit and write; return the sentence to print."""
    from stylegan_jax.base.errors import StyleganError
    from stylegan_jax.metrics import detectors, opening

    out = Path(args.out)
    if out.suffix != ".npz" or (out.exists() and not args.overwrite):
        raise ValueError(f"--out={args.out}: pass the name of a new .npz, or --overwrite to replace an existing one")
    if not 0 <= args.seed < 1 << 32:
        raise ValueError(f"--seed={args.seed}; use 0 to {(1 << 32) - 1}")
    try:
        data = dataclasses.replace(opening.data_config(args.data), labels=args.labels)
        source = opening.open_images(data, None, args.channels)
    except StyleganError as error:
        raise opening.explain(error, "--data", args.data) from error
    try:
        info = source.info()
        rows = source.labels(np.arange(info.num_images))
        truth, names = attributes.truths(rows, info.label_kind, info.label_names)
        name = attributes.check_name(args.name or f"{Path(info.name).stem}_{args.features}")
        paths = {args.features: args.features_path} if args.features_path else {}
        net = detectors.load([args.features], paths)[args.features]
        output = OUTPUTS["pool"][args.features]
        found = attributes.fit(see(source, net, output, args.batch), truth, args.seed)
    finally:
        source.close()
    made = attributes.Classifiers(name, args.features, output, net.digest, names, *found)
    out.parent.mkdir(parents=True, exist_ok=True)
    attributes.save(out, made)
    accuracy = dict(zip(names, made.accuracy.tolist(), strict=True))
    record = {"arguments": vars(args), "name": name, "images": info.num_images, "accuracy": accuracy}
    runner.write_record(out.with_name(out.name + ".json"), record | {"features": net.source})
    told = ", ".join(f"{key} {value:.3f}" for key, value in accuracy.items())
    return f"classifiers {name} in {out}; balanced accuracy on images held out: {told}"


def see(source: Any, net: Any, output: str, batch: int) -> np.ndarray:
    """Return the features float32[n, d] of all images of a source."""
    from stylegan_jax.metrics import engine
    from stylegan_jax.metrics.collect import Rows
    from stylegan_jax.metrics.images import Extractor, make_images
    from stylegan_jax.metrics.store import Store
    from stylegan_jax.runtime.mesh import make_layout

    images, extractor = make_images(source), Extractor({net.name: net}, make_layout(1), batch)
    wanted, rows = {net.name: [output]}, Rows(images.count(False))
    compute = lambda pixels: extractor.of_pixels(wanted, pixels)
    job = engine.Job("features", {}, rows.count, batch, images.pixels, compute)
    engine.run(job, {f"{net.name}/{output}": [rows]}, Store(None))
    return rows.rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
