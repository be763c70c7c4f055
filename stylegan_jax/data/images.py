"""Encoded bytes to pixels, by Pillow: which images are usable, decoding, resizing.

Only 8-bit PNG, JPEG, WEBP and BMP with exactly the channels that the model wants are accepted. Nothing is converted
silently: a palette, an alpha channel, 16 bits or an EXIF rotation is a reason to refuse, named in the error.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile

from stylegan_jax.data.errors import BadImage

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
OTHER_SUFFIXES = (".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".tga", ".heic", ".heif", ".avif", ".jp2", ".exr")
"""Images that this project does not read: refused by name instead of being overlooked."""

MAX_PIXELS = 1 << 26  # 8192 x 8192; larger headers are taken for decompression bombs
MAX_BYTES = 1 << 28
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_NAMES = {
    "1": "1-bit black and white",
    "L": "8-bit grey",
    "LA": "grey with alpha",
    "P": "a palette image",
    "PA": "a palette image with alpha",
    "RGB": "RGB",
    "RGBA": "RGBA (with alpha)",
    "CMYK": "CMYK",
    "I;16": "16-bit grey",
    "I": "32-bit grey",
    "F": "floating-point grey",
}
FILTERS = {"box": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS}
EXIF_ORIENTATION = 0x0112
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Header(NamedTuple):
    """What the header of a usable image says: (height, width) and the format's name."""

    size: tuple[int, int]
    format: str


def inspect(file: BinaryIO, channels: int) -> Header:
    """Check an image without decoding it, as far as that is possible.

    PNG and JPEG are checked by header and end mark; the other formats, and files with something behind the end mark,
    are decoded.

    Args:
        file: seekable, at 0.
        channels: 1, 3 or 4.

    Raises:
        BadImage: with the reason.
    """
    image = _open(file, channels)
    header = Header((image.height, image.width), image.format or "")
    if not _ends_well(file, header.format):
        file.seek(0)
        decode(file.read(MAX_BYTES), channels)
    return header


def decode(data: bytes, channels: int) -> np.ndarray:
    """Decode an image completely.

    Returns:
        uint8[h, w, c] with c = channels.

    Raises:
        BadImage: damaged, truncated, too large, or not 8-bit with the wanted channels.
    """
    image = _open(io.BytesIO(data), channels)
    if image.format == "PNG":
        check_png_chunks(data)
    try:
        pixels = np.array(image)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        raise BadImage(f"damaged or truncated {image.format}: {first_line(error)}") from error
    return pixels.reshape(image.height, image.width, channels)


def fit(pixels: np.ndarray, size: tuple[int, int], resize_filter: str) -> np.ndarray:
    """Return the image at (height, width) `size`, resized by 'box' or 'lanczos' when it differs; uint8[h, w, c]."""
    height, width, channels = pixels.shape
    if (height, width) == size:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))
    resized = image.resize((size[1], size[0]), FILTERS[resize_filter])
    return np.array(resized).reshape(*size, channels)


def open_image(file: BinaryIO, formats: tuple[str, ...] = FORMATS) -> ImageFile.ImageFile:
    """Read the header of an image.

    Args:
        file: seekable, at 0.
        formats: which of Pillow's formats may be tried; the content decides, not the name.

    Returns:
        Pillow's image, its pixels still undecoded.

    Raises:
        BadImage: empty, of another format, damaged, or with more than MAX_PIXELS.
    """
    if not file.read(1):
        raise BadImage("empty file (0 bytes)")
    file.seek(0)
    try:
        image = Image.open(file, formats=formats)
    except Image.UnidentifiedImageError as error:
        known = " or ".join(filter(None, (", ".join(formats[:-1]), formats[-1])))
        raise BadImage(f"not a {known} image, or its header is damaged") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage("its header claims too many pixels (decompression bomb)") from error
    except Exception as error:
        raise BadImage(f"damaged header: {first_line(error)}") from error
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"{image.width}x{image.height} is more than {MAX_PIXELS} pixels (decompression bomb)")
    return image  # type: ignore[return-value]


def png_bits(file: BinaryIO) -> int:
    """Return the bits per channel that the header of a PNG states; moves the file's position."""
    file.seek(24)
    return file.read(1)[0]


def _open(file: BinaryIO, channels: int) -> ImageFile.ImageFile:
    image = open_image(file)
    try:
        animated = getattr(image, "is_animated", False)
        orientation = image.getexif().get(EXIF_ORIENTATION, 1) if "exif" in image.info else 1
        bits = png_bits(file) if image.format == "PNG" else 8
    except Exception as error:
        raise BadImage(f"damaged header: {first_line(error)}") from error
    if animated:
        raise BadImage("animated; keep one frame")
    if bits != 8 and image.mode not in ("P", "PA"):
        raise BadImage(f"{bits} bits per channel; re-save with 8")
    if image.mode != MODES[channels]:
        raise BadImage(f"{_NAMES.get(image.mode, image.mode)}, not {_NAMES[MODES[channels]]}")
    if "transparency" in image.info:
        raise BadImage("has a transparent colour; composite it over a background")
    if orientation not in (0, 1):
        raise BadImage(f"rotated by its EXIF orientation {orientation}; re-save it upright")
    return image


def _ends_well(file: BinaryIO, image_format: str) -> bool:
    """Say whether the end mark of the format stands where a complete file has it."""
    end = file.seek(0, io.SEEK_END)
    file.seek(max(0, end - 64))
    tail = file.read(64)
    if image_format == "PNG":
        return tail.endswith(b"\0\0\0\0IEND\xaeB`\x82")
    return image_format == "JPEG" and tail.rstrip(b"\0").endswith(b"\xff\xd9")


def check_png_chunks(data: bytes) -> None:
    """Compare every checksum; Pillow leaves out those of the pixel data, so a flipped bit would pass.

    Raises:
        BadImage: one is wrong, or the end mark is missing.
    """
    at = len(_PNG_SIGNATURE)
    while True:
        if at + 12 > len(data):
            raise BadImage("truncated PNG: it ends before its end mark")
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise BadImage("truncated PNG: a chunk is longer than the file")
        if zlib.crc32(memoryview(data)[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise BadImage("damaged PNG: a checksum is wrong")
        if data[at + 4 : at + 8] == b"IEND":
            return
        at = end + 4


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, short enough for a list."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
