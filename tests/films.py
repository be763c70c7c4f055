"""Video files and animations whose frames are known, for tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def picture(video: int, frame: int, size=(16, 16)) -> np.ndarray:
    """Return uint8[h, w, 3] of one colour, (video, frame, 200), with a white corner at the top left."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:] = video, frame % 256, 200
    pixels[: size[1] // 4, : size[0] // 4] = 255
    return pixels


def film(path: Path, frames=8, video=0, size=(16, 16), fps=25, times=None, options=None, **stream) -> Path:
    """Write a video whose frames decode to `picture` exactly (lossless RGB in H.264), or as `stream` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    look = {"codec": "libx264rgb", "pix_fmt": "rgb24", "options": {"crf": "0", "g": "12"}} | stream
    with av.open(str(path), "w", options=options or {}) as container:
        made = container.add_stream(look["codec"], rate=Fraction(fps).limit_denominator(1001), options=look["options"])
        made.width, made.height, made.pix_fmt = *size, look["pix_fmt"]
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(video, i, size), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
                made.codec_context.time_base = Fraction(1, 1000)
            container.mux(made.encode(frame))
        container.mux(made.encode())
    return path


def animation(path: Path, frames=5, video=0, duration=40, **more) -> Path:
    """Write a GIF, WebP or APNG of `picture`s, lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [Image.fromarray(picture(video, i)) for i in range(frames)]
    made[0].save(path, save_all=True, append_images=made[1:], duration=duration, loop=0, **more)
    return path
