"""Make a data set for training.

    python -m stylegan_jax.data.prepare --source=photos --dest=photos256.zip --resolution=256 --transform=center-crop

The source is a folder (with its subfolders) or a zip of images, an LSUN *_lmdb, a CIFAR tar.gz, MNIST
*-images-idx3-ubyte.gz, *.tfrecords of the TensorFlow-era StyleGAN tools, or tfds:NAME. The result is a zip or folder
with the layout of NVIDIA's tools and a record of what was done (meta.json). Images that cannot be used are skipped and
listed. Each video (MP4, WebM, MOV, GIF, animated WebP) becomes a folder of frames.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from stylegan_jax.base.flags import Parser


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    p = Parser(
        prog="python -m stylegan_jax.data.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--source", required=True, help="folder, zip, video, *_lmdb, CIFAR tar.gz, idx, tfrecords, or tfds:NAME"
    )
    p.add_argument("--dest", required=True, help="the .zip to write, or a folder")
    p.add_argument(
        "--resolution", type=parse_resolution, metavar="WxH", help="such as 256 or 512x384 (default: keep the size)"
    )
    p.add_argument(
        "--transform",
        default="none",
        help="none: skip other aspect ratios (default); stretch: distort them; center-crop; center-crop-wide or "
        "center-crop-tall: crop to WxH and pad with black to a square",
    )
    p.add_argument("--resize_filter", default="lanczos", help="lanczos or box (default: %(default)s)")
    p.add_argument(
        "--labels",
        default="auto",
        help="file: dataset.json of the source, or the source's own; subfolders: each folder is a class (if there is "
        "only one, each folder inside it); none; auto: file, if there are labels (default)",
    )
    p.add_argument("--channels", type=int, default=0, help="1 grey, 3 RGB, 4 RGBA (default: 3 for image files)")
    p.add_argument(
        "--alpha", default="white", help="composite transparency over white or black, or drop it (default: white)"
    )
    p.add_argument(
        "--depth",
        type=int,
        default=16,
        metavar="BITS",
        help="significant bits of 16-bit images; 12: 4095 is white (default: 16)",
    )
    p.add_argument(
        "--max_megapixels", type=int, default=64, metavar="N", help="skip larger images (default: %(default)s)"
    )
    p.add_argument(
        "--content",
        default="auto",
        help="content of a folder or zip: images; videos: video files, GIFs, animated WebP; frames: each folder that "
        "contains pictures is a video; auto: images or videos, whichever it contains (default)",
    )
    p.add_argument("--fps", type=float, help="of videos: frames per second to write (default: every frame as stored)")
    p.add_argument("--skip_frames", type=int, default=0, metavar="N", help="skip the first N frames of each video")
    p.add_argument(
        "--max_frames", type=int, default=0, metavar="N", help="then use at most N frames of each video (default: all)"
    )
    p.add_argument(
        "--chunk_frames",
        type=int,
        default=0,
        metavar="N",
        help="cut each video into videos of N frames, dropping the rest",
    )
    p.add_argument(
        "--min_frames",
        type=int,
        default=3,
        metavar="N",
        help="skip shorter videos (default: %(default)s)",
    )
    p.add_argument("--split", default="train", help="of CIFAR and tfds sources (default: train)")
    p.add_argument("--max_images", type=int, default=0, help="write only the first N images or videos (default: all)")
    p.add_argument("--duplicates", default="keep", help="keep or drop images with the same pixels (default: keep)")
    p.add_argument("--workers", type=int, default=os.cpu_count() or 2, help="threads (default: %(default)s)")
    p.add_argument("--strict", action="store_true", help="write nothing if an image cannot be used")
    p.add_argument("--overwrite", action="store_true", help="replace an existing zip, or a folder made by this tool")
    return p


def parse_resolution(text: str) -> tuple[int, int]:
    """Return (width, height) of a text such as '512x384' or '256'.

    Raises:
        ArgumentTypeError: it has neither form.
    """
    found = re.fullmatch(r"([0-9]{1,5})(?:[x,]([0-9]{1,5}))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: write a size such as 256, or WIDTHxHEIGHT such as 512x384")
    return int(found[1]), int(found[2] or found[1])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    arguments: dict[str, Any] = vars(parser().parse_args(argv))
    from stylegan_jax.base import shortage
    from stylegan_jax.base.errors import StyleganError, visible
    from stylegan_jax.data.prepare import Options, prepare
    from stylegan_jax.data.prepare.report import summary

    warnings.filterwarnings("ignore", module="PIL")  # the report says what Pillow warns about
    began = time.monotonic()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the partial output is removed
    try:
        options = Options(**arguments)
        report = prepare(options, _bar)
    except KeyboardInterrupt:
        print(f"interrupted: {visible(arguments['dest'])} was not written", file=sys.stderr)
        return 130
    except Exception as error:
        less = f"lower --workers={arguments['workers']}, or write smaller images with --resolution"
        told = shortage.explain(error, less, arguments["dest"], "--dest")
        if not told and not isinstance(error, StyleganError):
            raise
        print(f"error: {visible(told or error)}", file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)
    print("\n".join(summary(options, report, time.monotonic() - began)))
    return 0


def _bar(results: Iterable[Any], expected: int) -> Iterable[Any]:
    from tqdm import tqdm

    unit = "image" if expected else "frame"
    often = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(results, total=expected or None, unit=unit, mininterval=often, maxinterval=often, dynamic_ncols=True)


if __name__ == "__main__":
    sys.exit(main())
