"""Video files to frames: MP4, MOV, WebM and others by PyAV; GIF, animated WebP and APNG by Pillow.

Frames are decoded one at a time, so memory does not grow with the length of a video. They are rotated as the file says,
and resized if it says that its pixels are not square.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from stylegan_jax.data import images
from stylegan_jax.data.errors import BadImage, DataError
from stylegan_jax.data.prepare.examples import Frame
from stylegan_jax.inert.ordinary import is_pointer

ANIMATED = ("GIF", "WEBP", "PNG")
"""Pillow's formats that can contain animations."""
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,flv,ogg,mxf,yuv4mpegpipe,ivf,nut,dv,wtv"
)
"""Formats that FFmpeg may detect. Playlists, whose files it would open, and texts are not among them."""
_BROWSERS_MS, _SHORT_MS = 100, 10  # browsers show frames that claim 10 ms or less for 100 ms
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders ignore the second stream, opacity
_HEAD = 64
_THREADS = 8  # largest number of a decoder's threads, each of which holds a frame


def check_pyav(where: str) -> None:
    """Check that video files can be read here.

    Raises:
        DataError: PyAV is missing.
    """
    if importlib.util.find_spec("av") is None:
        raise DataError(f"{where} contains video files, which need PyAV: pip install 'stylegan_jax[video]'")


def is_animation(file: BinaryIO) -> bool:
    """Return whether an image file has several frames; it is left open.

    Raises:
        BadImage: it is not an image, or is damaged.
    """
    image = images.open_image(file)
    return image.format in ANIMATED and bool(getattr(image, "is_animated", False))


def is_animated(path: str) -> bool:
    """Return whether a file is a readable animation."""
    try:
        with open(path, "rb") as file:
            return is_animation(file)
    except BadImage:
        return False


def decode_animation(open_file: Callable[[], BinaryIO], max_pixels: int) -> Iterator[Frame]:
    """Yield the frames of a GIF, animated WebP or APNG as RGBA.

    Args:
        open_file: opens the file, which must be seekable.
        max_pixels: largest width times height.

    Raises:
        BadImage: it is damaged, truncated, or has another format.
    """
    with open_file() as file:
        image = images.open_image(file, ANIMATED, max_pixels)
        if _ends_early(file) or (image.format == "GIF" and not _has_trailer(file)):
            raise BadImage(f"truncated {image.format}: the file ends before its contents do")
        time = 0.0
        for i in range(getattr(image, "n_frames", 1)):
            try:
                image.seek(i)
                pixels = np.asarray(image.convert("RGBA"))
            except MemoryError:
                raise
            except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
                raise BadImage(f"damaged {image.format} at frame {i}: {images.first_line(error)}") from error
            claimed = float(image.info.get("duration") or 0)
            duration = (claimed if claimed > _SHORT_MS else _BROWSERS_MS) / 1000
            yield Frame(lambda pixels=pixels: pixels, time, duration)
            time += duration


def decode_video(path: str, max_pixels: int, threads: int) -> Iterator[Frame]:
    """Yield the frames of a video file in display order, as RGB, or RGBA if it has opacity.

    Args:
        path: path of the file.
        max_pixels: largest width times height.
        threads: largest number of the decoder's threads.

    Raises:
        BadImage: it contains no video, or is damaged, truncated, or too large.
    """
    import av
    from av.error import FFmpegError

    try:
        with _open_regular(path) as file:
            ends_early = _ends_early(file)
            try:
                options = {"format_whitelist": _CONTAINERS}
                with av.open(file, options=options, metadata_errors="replace") as container:  # titles in Latin-1
                    if ends_early:
                        raise BadImage("truncated: the file ends before its contents do")
                    yield from _frames(container, max_pixels, threads)
            except FFmpegError as error:
                if ends_early:
                    raise BadImage("truncated: the file ends before its contents do") from error
                raise BadImage("no video of a known format, or its header is damaged") from error
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or error}") from error


@contextlib.contextmanager
def _open_regular(path: str) -> Iterator[BinaryIO]:
    """Open a file.

    Raises:
        BadImage: it is empty, a pipe, or the pointer that Git leaves in place of a large file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise BadImage("not a regular file")
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        file.seek(0)
        if not head:
            raise BadImage("empty file (0 bytes)")
        if is_pointer(head):
            raise BadImage("a Git LFS pointer, not the video itself; run 'git lfs pull' in the checkout")
        yield file


def _frames(container: Any, max_pixels: int, threads: int) -> Iterator[Frame]:
    from av.error import FFmpegError
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise BadImage("no video in it, only sound" if container.streams.audio else "no video in it")
    stream, count, first, last = streams[0], 0, None, 0.0
    decoder = _decoder(stream, threads)
    if decoder.width * decoder.height > max_pixels:
        raise BadImage(f"{decoder.width}x{decoder.height} is more than {max_pixels / 2**20:.0f} megapixels")
    usual = 1 / float(stream.average_rate or 25)
    try:
        for packet in container.demux(stream):
            for frame in decoder.decode(packet):
                if frame.is_corrupt:
                    raise BadImage(f"damaged at frame {count}")
                now = frame.time if frame.time is not None else last + usual * bool(count)
                first = now if first is None else first
                last = max(now, last) if count else now
                ratio = float(stream.sample_aspect_ratio or 1)
                known = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else usual
                yield Frame(lambda frame=frame, ratio=ratio: _pixels(frame, ratio), last - first, known)
                count += 1
    except FFmpegError as error:
        raise BadImage(f"damaged at frame {count}: {error.strerror}") from error
    if not count:
        raise BadImage("no frame that can be decoded")


def _decoder(stream: Any, threads: int) -> Any:
    """Return a stream's decoder, which includes opacity and raises an error on damage that it detects.

    Raises:
        BadImage: there is none.
    """
    import av

    context: Any = stream.codec_context
    if context is None:
        raise BadImage("a codec that is not known here; convert it to H.264")
    if stream.metadata.get("alpha_mode") == "1" and context.name in _ALPHA_DECODERS:
        context = av.CodecContext.create(_ALPHA_DECODERS[context.name], "r")
        context.width, context.height = stream.codec_context.width, stream.codec_context.height
    context.options = {"err_detect": "explode"}
    context.thread_type, context.thread_count = "AUTO", min(threads, _THREADS)
    return context


def _pixels(frame: Any, ratio: float) -> np.ndarray:
    """Return uint8[h, w, c] of PyAV's frame, upright, with square pixels; `ratio` is a pixel's width / height."""
    has_alpha = any(part.is_alpha for part in frame.format.components)
    pixels = frame.to_ndarray(format="rgba" if has_alpha else "rgb24")
    if ratio > 0 and abs(ratio - 1) > 1e-3:
        size = (max(1, round(frame.width * ratio)), frame.height)
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    return np.rot90(pixels, round(frame.rotation / 90))


def _has_trailer(file: BinaryIO) -> bool:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _HEAD))
    found = file.read().rstrip(b"\0\r\n ").endswith(b";")
    file.seek(0)
    return found


def _ends_early(file: BinaryIO) -> bool:
    """Return whether a file is shorter than its structure says: MP4's boxes, WebM's segment, RIFF of AVI and WebP.

    The decoder would treat such a file as a shorter video. The file's position is 0 afterwards.
    """
    total = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(_HEAD)
    end = 0
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        while end < total:
            file.seek(end)
            box = file.read(16)
            size = int.from_bytes(box[:4], "big")
            if size == 1:
                size = int.from_bytes(box[8:], "big")
            if size == 0 or not box[4:8].isalnum():  # the last box, or other data after the boxes
                break
            end += max(size, 8)
    elif head.startswith(b"RIFF"):
        end = 8 + int.from_bytes(head[4:8], "little")
    elif head.startswith(b"\x1a\x45\xdf\xa3"):
        size, at = _ebml_size(head, 4)
        begin = at + (size or 0)
        file.seek(begin)
        segment = file.read(12)
        size, at = _ebml_size(segment, 4)
        end = begin + at + size if segment.startswith(b"\x18\x53\x80\x67") and size is not None else 0
    file.seek(0)
    return end > total


def _ebml_size(data: bytes, at: int) -> tuple[int | None, int]:
    """Return (the Matroska size at a position, the position after it); None if unknown, as in a live recording."""
    length = 9 - data[at].bit_length() if at < len(data) else 9
    if length > 8:
        return None, at
    bits = 7 * length
    value = int.from_bytes(data[at : at + length], "big") & ((1 << bits) - 1)
    return (None if value == (1 << bits) - 1 else value), at + length
