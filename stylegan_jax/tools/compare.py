"""Compare pairs of images: `python -m stylegan_jax.tools.compare --projected=DIR --metrics=l2,lpips --out=DIR`.

Pairs are the targets and results of a folder that `project` or `encode` wrote, or the images of `--first` and
`--second`: in two folders, those with the same name; in two lists, those at the same place. The tool prints a table
    with a
row per pair and writes it to pairs.csv; docs/metrics.md defines the measures, which have the names that `metrics`
prints.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base.flags import Parser
from stylegan_jax.metrics.definitions import METRICS, PIXELWISE, Chosen, choose, paths_of, split
from stylegan_jax.sampling import projections
from stylegan_jax.tools import _runner as runner
from stylegan_jax.tools.project import find_files

OF_PAIRS = [name for name, metric in METRICS.items() if metric.family == "pairs"]


class Pair(NamedTuple):
    """Two images, and their name in the table."""

    name: str
    first: Path
    second: Path


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head = (__doc__ or "").split("\n")[0]
    p = Parser(prog="python -m stylegan_jax.tools.compare", description=head)
    p.add_argument("--projected", metavar="DIR", help="--out of `project` or `encode`")
    p.add_argument("--first", metavar="FILES", help="instead of --projected: images with commas between, or a folder")
    p.add_argument("--second", metavar="FILES", help="the images to compare them with, in the same form")
    p.add_argument(
        "--metrics", default="l2,lpips", metavar="NAME,…", help=f"some of {', '.join(OF_PAIRS)} (default: %(default)s)"
    )
    p.add_argument("--features", default="", metavar="NET,…", help="use other feature networks; see `metrics`")
    p.add_argument("--features_path", default="", metavar="PATH", help="their weights: a path, or NET=PATH,…")
    p.add_argument("--seed", type=int, default=0, help="seed of elpips's transformations (default: 0)")
    p.add_argument("--batch", type=int, default=8, help="pairs per call (default: 8)")
    p.add_argument("--out", required=True, help="folder for pairs.csv and compare.json; created if absent")
    p.add_argument("--overwrite", action="store_true", help="replace an --out that was made with other arguments")
    return p


def find_pairs(args: argparse.Namespace) -> list[Pair]:
    """Return the pairs that the arguments name, in order.

    Raises:
        ValueError: neither a folder of projections nor two sets are passed, or an image has no counterpart.
    """
    if (args.projected is None) == (args.first is None) or (args.first is None) != (args.second is None):
        raise ValueError("pass --projected=DIR, or both --first=FILES and --second=FILES")
    if args.projected is not None:
        folders = [file.parent for file in projections.find_projections(args.projected)]
        if not folders:
            raise ValueError(
                f"--projected={args.projected} contains no {projections.PROJECTION}; pass an --out of project"
            )
        return [Pair(folder.name, folder / "target.png", folder / "proj.png") for folder in folders]
    first, second = (find_files(f"--{name}", getattr(args, name)) for name in ("first", "second"))
    if not (os.path.isdir(args.first) and os.path.isdir(args.second)):
        if len(first) != len(second):
            raise ValueError(f"--first has {len(first)} images and --second {len(second)}; pass one each")
        return [Pair(a.stem, a, b) for a, b in zip(first, second, strict=True)]
    ours, theirs = ({file.stem: file for file in files} for files in (first, second))
    if lone := sorted(ours.keys() ^ theirs.keys()):
        where, other = ("--first", "--second") if lone[0] in ours else ("--second", "--first")
        raise ValueError(f"{len(lone)} images have no counterpart: {lone[0]} is in {where}, but not in {other}")
    return [Pair(name, ours[name], theirs[name]) for name in sorted(ours)]


def check_sizes(pairs: Sequence[Pair], chosen: Sequence[Chosen]) -> None:
    """Check that the images of each side have one size, and both sides the same if pixels are compared.

    Raises:
        ValueError: sizes differ, or a file is not an image.
    """
    from stylegan_jax.data import images

    sizes: list[dict[tuple[int, int], Path]] = [{}, {}]
    for pair in pairs:
        for known, path in zip(sizes, pair[1:], strict=True):
            try:
                with path.open("rb") as file:
                    image = images.open_image(file)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            known.setdefault((image.width, image.height), path)
    wide = [c.name for c in chosen if c.metric.need in PIXELWISE]
    for known in (*sizes, sizes[0] | sizes[1] if wide else sizes[0]):
        if len(known) > 1:
            ((w, h), a), ((w2, h2), b) = list(known.items())[:2]
            what = f", and {wide[0]} compares pixel by pixel" if wide else ""
            raise ValueError(f"{a} is {w}x{h} and {b} is {w2}x{h2}{what}; resize them to one size first")


def check(args: argparse.Namespace) -> list[Chosen]:
    """Return the chosen metrics.

    Raises:
        ValueError: a metric does not compare pairs, or the seed is out of range. MetricError, a ValueError too: see
            `choose`.
    """
    chosen = choose(split(args.metrics), split(args.features))
    for c in chosen:
        if c.metric.family != "pairs":
            raise ValueError(f"--metrics: {c.name} does not compare pairs; choose from {', '.join(OF_PAIRS)}")
    if not 0 <= args.seed < 1 << 32:
        raise ValueError(f"--seed={args.seed}; use 0 to {(1 << 32) - 1}")
    return chosen


def act(args: argparse.Namespace) -> str:
    """Compare; return the table to print."""
    from stylegan_jax.data.prepare.convert import Recipe
    from stylegan_jax.metrics import detectors, families, pairs as measures
    from stylegan_jax.metrics.images import Extractor
    from stylegan_jax.runtime.mesh import make_layout
    from stylegan_jax.sampling.projector import read_image

    chosen, pairs = check(args), find_pairs(args)
    check_sizes(pairs, chosen)
    names = sorted({c.net for c in chosen if c.net})
    nets = detectors.load(names, paths_of(args.features_path, names))
    extractor = Extractor(nets, make_layout(1), min(args.batch, len(pairs)))
    path = runner.claim(Path(args.out), "compare.json", args)
    side = lambda k: lambda index: np.stack([read_image(pairs[i][k], Recipe(channels=3)) for i in index])
    columns, about = {}, {}
    for c in chosen:
        columns[c.name], _ = measures.measure(c, len(pairs), side(1), side(2), extractor, seed=args.seed)
        ((mean, interval),) = families.average_pairs(columns[c.name], is_distance=measures.is_distance(c))
        about[c.name] = {"mean": mean, "interval": interval, "net": detectors.record(nets[c.net]) if c.net else None}
    rows = [[pair.name, *(float(x[i]) for x in columns.values())] for i, pair in enumerate(pairs)]
    write_table(Path(args.out) / "pairs.csv", list(columns), rows)
    runner.write_record(path, {"arguments": vars(args), "pairs": len(pairs), "metrics": about})
    return table(list(columns), [*rows, ["mean", *(facts["mean"] for facts in about.values())]])


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a row per pair as CSV, whole or not at all."""
    import csv
    import io

    from stylegan_jax.base.files import write_whole

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["name", *columns])
    writer.writerows([name, *(repr(x) for x in values)] for name, *values in rows)
    write_whole(path, out.getvalue())


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as text in aligned columns."""
    width = max(len(str(row[0])) for row in rows)
    wide = [max(len(name), 9) for name in columns]
    lines = [" " * width + "".join(f"  {name:>{w}s}" for name, w in zip(columns, wide, strict=True))]
    for name, *values in rows:
        lines.append(f"{name:<{width}s}" + "".join(f"  {x:>{w}.4f}" for x, w in zip(values, wide, strict=True)))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
