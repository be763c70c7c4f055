"""Crop faces by landmarks: `python -m stylegan_jax.tools.align --targets=DIR --points=points.json --out=aligned`.

`--points` is a JSON file with five points for each image, {"face.jpg": [[x, y], …]}: the eye on the left of the
picture, the eye on the right, the tip of the nose, the left and the right corner of the mouth. The tool does not detect
them. It writes a PNG of `--size` for each image, cropped like the faces of FFHQ (`--rule=ffhq`), for `encode`,
`project` and `data.prepare`, or as face networks expect (`--rule=arcface`, 112).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from stylegan_jax.base.flags import Parser
from stylegan_jax.tools import _runner as runner
from stylegan_jax.tools.project import find_files, name_folders

RULES = ("ffhq", "arcface")


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(prog="python -m stylegan_jax.tools.align", description=(__doc__ or "").split("\n")[0])
    p.add_argument("--targets", required=True, metavar="FILES", help="images with commas between, or a folder of them")
    p.add_argument("--points", required=True, metavar="FILE", help="JSON: five (x, y) in pixels for each file name")
    p.add_argument("--size", type=int, default=256, help="height and width of the results (default: %(default)s)")
    p.add_argument("--rule", choices=RULES, default="ffhq", help="how to crop (default: %(default)s)")
    p.add_argument("--out", required=True, help="folder for the PNGs and align.json; created if absent")
    p.add_argument("--overwrite", action="store_true", help="replace an --out that was made with other arguments")
    return p


def read_points(path: str, files: Sequence[Path]) -> list[list[list[float]]]:
    """Return the points of each file from the JSON file at `path`, unchecked.

    Raises:
        ValueError: it is not such a file, or lacks an image.
    """
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"--points={path}: {error}") from None
    if not isinstance(table, dict):
        raise ValueError(f'--points={path}: write an object, such as {{"face.jpg": [[210, 190], …]}}')
    if missing := [file.name for file in files if file.name not in table]:
        raise ValueError(
            f"--points={path} has no points for {missing[0]} and {len(missing) - 1} others; its keys are file names"
        )
    return [table[file.name] for file in files]


def act(args: argparse.Namespace) -> str:
    """Crop; return the sentence to print."""
    from stylegan_jax.base import images
    from stylegan_jax.data.prepare.convert import Recipe
    from stylegan_jax.sampling import alignment
    from stylegan_jax.sampling.projector import read_image

    files = find_files("--targets", args.targets)
    names, out = name_folders(files), Path(args.out)
    points = read_points(args.points, files)
    for file, own in zip(files, points, strict=True):
        try:
            alignment.check_points(own)
        except ValueError as error:
            raise ValueError(f"--points={args.points}, {file.name}: {error}") from None
    runner.claim(out, "align.json", args)
    for file, name, own in zip(files, names, points, strict=True):
        try:
            cut = alignment.crop(read_image(file, Recipe(channels=3)), own, args.size, args.rule)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        images.save_png(out / f"{name}.png", cut)
    return f"{len(files)} images of {args.size}x{args.size} in {out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
