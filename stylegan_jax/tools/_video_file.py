"""Writing frames to a video file: H.264 in MP4 with PyAV, animated WebP and GIF with Pillow."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from stylegan_jax.base.files import replacing

ENDINGS = (".mp4", ".webp", ".gif")
MAX_FPS = {".mp4": 240, ".webp": 240, ".gif": 50}
"""Highest frame rates; that of GIF is low because viewers slow down frames shorter than 20 ms."""
QUALITY = {"crf": "18"}
"""Constant rate factor of x264: 18 is visually close to lossless, 0 lossless."""


def choose(path: Path, fps: float) -> Path:
    """Return the path of --out with an ending, by default that of `default_ending`.

    Args:
        path: the file.
        fps: frames per second.

    Raises:
        ValueError: the ending or frame rate cannot be written here, or there is no such folder.
    """
    if not path.suffix:
        path = path.with_suffix(default_ending())
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"--out={path}: the ending {path.suffix!r} is not known; use one of {', '.join(ENDINGS)}")
    check_ending(path.suffix.lower(), f"--out={path}")
    most = MAX_FPS[path.suffix.lower()]
    if not 0 < fps <= most:
        raise ValueError(f"--fps={fps:g}: {path.suffix} allows more than 0 and at most {most} frames per second")
    check_folder(path)
    return path


def check_folder(path: Path) -> None:
    """Raise ValueError unless --out can be a file in an existing folder."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f"--out={path}: pass a file in a folder that exists")


def default_ending() -> str:
    """Return '.mp4' if PyAV is installed, or '.webp'."""
    return ".mp4" if importlib.util.find_spec("av") else ".webp"


def check_ending(ending: str, given: str) -> None:
    """Check that files of an ending can be written here.

    Raises:
        ValueError: they cannot; the message begins with `given`, the argument.
    """
    if ending == ".mp4" and importlib.util.find_spec("av") is None:
        raise ValueError(f"{given} needs PyAV: pip install 'stylegan_jax[video]'; or write .webp or .gif")


def write(path: Path, frames: Iterator[np.ndarray], fps: float) -> int:
    """Write frames uint8[h, w, c] of one size and return their number; a reader never sees a partial file.

    Pillow keeps all frames in memory; MP4 is written frame by frame.
    """
    ending = path.suffix.lower()
    with replacing(path) as part:
        return (_write_mp4 if ending == ".mp4" else _write_pillow)(part, frames, fps, ending)


def to_rgb(frame: np.ndarray) -> np.ndarray:
    """Return a frame as uint8[h, w, 3]: grey is repeated, RGBA is composited over white.

    Raises:
        ValueError: it has another number of channels.
    """
    c = frame.shape[2]
    if c not in (1, 3, 4):
        raise ValueError(f"the model draws {c} channels; a video needs grey, RGB or RGBA")
    if c == 4:
        alpha = frame[:, :, 3:] / 255
        return np.rint(frame[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.repeat(frame, 3, axis=2) if c == 1 else frame


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: float, _: str) -> int:
    import av

    count, stream = 0, None
    with av.open(str(path), "w", format="mp4") as container:
        for frame in map(to_rgb, frames):
            h, w, _ = frame.shape
            frame = np.pad(frame, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")  # 4:2:0 needs even sizes
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=QUALITY)
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            count += 1
        if stream is not None:
            container.mux(stream.encode())
    return count


def _write_pillow(path: Path, frames: Iterator[np.ndarray], fps: float, ending: str) -> int:
    from PIL import Image

    first, *rest = [Image.fromarray(frame) for frame in map(to_rgb, frames)]
    more = {"quality": 90, "method": 4} if ending == ".webp" else {}
    first.save(path, ending[1:], save_all=True, append_images=rest, duration=1000 / fps, loop=0, **more)
    return 1 + len(rest)
