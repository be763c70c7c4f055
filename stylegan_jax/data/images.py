"""Encoded bytes to pixels, by Pillow: checking, decoding, applying EXIF orientation, resizing.

`open_image` is the only place where untrusted files reach Pillow, and `read_image` the only one where they are decoded,
so training, metrics and the data set tool see the same pixels. The content determines the format, not the name. EXIF
orientation is applied. 16-bit values are reduced to their high byte, or scaled from a given depth. Unreadable metadata
does not make a picture bad. Callers decide on the kind of pixels: training accepts exactly the model's channels, the
data set tool converts.
"""

from __future__ import annotations

import io
import re
import struct
import sys
import zlib
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile

from stylegan_jax.data.errors import BadImage
from stylegan_jax.inert.ordinary import is_pointer

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".pfm",
)  # fmt: skip
"""Pillow's suffixes of these formats; for files with other suffixes, the first bytes decide."""
RAW_SUFFIXES = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".raf", ".rw2")
"""Suffixes of cameras' raw files, which begin like TIFF but of which only a small preview is readable."""
OTHER_SUFFIXES = (
    ".tga", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".exr", ".hdr", ".psd", ".svg", ".ico", ".eps", *RAW_SUFFIXES,
)  # fmt: skip
"""Suffixes of images that this project does not read; they are reported as bad."""

MAX_PIXELS = 1 << 26  # 8192 x 8192; larger images are treated as decompression bombs
MAX_BYTES = 1 << 28
_LARGER = ": a decompression bomb, or an image for the data set tool's --max_megapixels"
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
    "I": "32-bit grey",
    "F": "floating-point grey",
}
FILTERS = {"box": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS}
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TIFF_BITS = 258
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_METADATA = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_PNG_ORIENTED = ("exif", "Raw profile type exif", "XML:com.adobe.xmp")
_SIGNATURES = (_PNG_SIGNATURE, b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_PPM = re.compile(rb"P[1-6fF]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s")
_OTHER_HALF = {"16L": "16B", "16B": "16L", "16N": "16B" if sys.byteorder == "little" else "16L"}
"""Pillow's raw mode for the high bytes of 16-bit channels -> its raw mode for the low bytes."""


class Header(NamedTuple):
    """The header of a usable image.

    Attributes:
        size: (height, width), after EXIF orientation.
        format: Pillow's name of the format.
        is_plain: whether any decoder returns the same pixels: 8 bits, stored upright.
        is_deep: whether it has 16 bits per channel.
    """

    size: tuple[int, int]
    format: str
    is_plain: bool
    is_deep: bool


class Read(NamedTuple):
    """A decoded image.

    Attributes:
        image: Pillow's image, upright, with 8 bits per channel if possible; `info` keeps a transparent colour.
        format: Pillow's name of the format.
        changes: what was changed, for a report.
        brightest: the largest value of an image with 16 bits per channel; None for other images.
    """

    image: Image.Image
    format: str
    changes: tuple[str, ...]
    brightest: int | None


def begins_like_image(head: bytes) -> bool:
    """Return whether a file that begins with these bytes (32 are enough) is in one of FORMATS."""
    if head.startswith(b"BM"):
        return head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    return is_webp or head.startswith(_SIGNATURES) or bool(_PPM.match(head))


def inspect(file: BinaryIO, channels: int) -> Header:
    """Check an image, without decoding it if possible.

    PNG and JPEG are checked by header and end mark; other formats, and files with data after the pixels, are decoded.

    Args:
        file: seekable, at position 0.
        channels: 1, 3 or 4.

    Raises:
        BadImage: it cannot be used.
    """
    try:
        image = open_image(file)
        is_deep = _is_deep(image, file)
        turn = _orientation(image) if image.format != "PNG" or any(k in image.info for k in _PNG_ORIENTED) else 1
        ends_well = _ends_well(file, image.format or "")
    except BadImage:
        ends_well = False  # the fault may be in the metadata only
    if not ends_well:
        file.seek(0)
        read = read_image(file.read(MAX_BYTES))
        _check_kind(read.image, channels)
        is_deep = read.brightest is not None
        return Header((read.image.height, read.image.width), read.format, False, is_deep)
    _check_frames(image)
    _check_kind(image, channels, is_deep)
    size = (image.width, image.height) if turn in (5, 6, 7, 8) else (image.height, image.width)
    eight = image.format != "PNG" or png_bits(file) == 8
    return Header(size, image.format or "", eight and turn not in _TURNS, is_deep)


def decode(data: bytes, channels: int) -> np.ndarray:
    """Decode an image completely.

    Returns:
        uint8[h, w, c] with c = channels, upright.

    Raises:
        BadImage: it is damaged, truncated, too large, or has other channels.
    """
    image = read_image(data).image
    _check_kind(image, channels)
    return np.array(image).reshape(image.height, image.width, channels)


def _check_kind(image: Image.Image, channels: int, is_deep: bool = False) -> None:
    """Raise BadImage if the pixels are not of the model's kind; deep ones will have 8 bits."""
    mode = "L" if is_deep and image.mode.startswith("I") else image.mode
    if mode != MODES[channels]:
        raise BadImage(f"{_NAMES.get(mode, mode)}, not {_NAMES[MODES[channels]]}")
    if "transparency" in image.info:
        raise BadImage("has a transparent colour; composite it over a background")


def _check_frames(image: Image.Image) -> None:
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise BadImage("several frames or pages, not one image")


def read_image(data: bytes, *, depth: int = 16, max_pixels: int = MAX_PIXELS) -> Read:
    """Decode a file completely, upright, with 8 bits per channel.

    Args:
        data: the file.
        depth: significant bits of images with 16 bits per channel; 12: 4095 is white.
        max_pixels: largest width times height.

    Raises:
        BadImage: it is not an image, is damaged or too large, or has several frames.
        MemoryError: memory ran out; the image may be good.
    """
    if data[:256].lstrip()[:1] == b"<":
        raise BadImage("text such as HTML or SVG, not an image")
    if is_pointer(data[:64]):
        raise BadImage("a Git LFS pointer, not the image itself; run 'git lfs pull' in the checkout")
    aside: list[str] = []
    try:
        image = _load(data, max_pixels)
    except BadImage:
        bare = _without_metadata(data)
        if bare == data:
            raise
        image, data = _load(bare, max_pixels), bare
        aside.append("unreadable text or profile ignored")
    return _finish(image, data, aside, depth, max_pixels)


def _load(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    image = open_image(io.BytesIO(data), max_pixels=max_pixels)
    try:
        _check_frames(image)
        if image.format == "PNG":
            check_png_chunks(data)
        image.load()
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        raise BadImage(f"damaged or truncated {image.format}: {first_line(error)}") from error
    return image


def _finish(image: ImageFile.ImageFile, data: bytes, changes: list[str], depth: int, max_pixels: int) -> Read:
    """Convert a decoded image to 8 bits and turn it upright."""
    name, made, brightest = image.format or "", image, None
    if getattr(image, "n_frames", 1) > 1:
        changes.append("first of several pictures (MPO)")
    if _is_deep(image, io.BytesIO(data)):
        made, brightest = _eight_bits(image, data, depth, max_pixels, changes)
    turn = _orientation(image)
    if turn is None:
        changes.append("damaged EXIF ignored")
    elif turn in _TURNS:
        changes.append("turned upright by EXIF")
        made = made.transpose(_TURNS[turn])
    return Read(made, name, tuple(changes), brightest)


def _orientation(image: ImageFile.ImageFile) -> int | None:
    """Return the EXIF orientation, 1 if there is none; None if the metadata cannot be read."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:
        return None


def _is_deep(image: ImageFile.ImageFile, file: BinaryIO) -> bool:
    """Return whether an image has 16 bits per channel; moves the file's position."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # PPM is scaled to 16 bits
        return True
    if image.format == "PNG":
        return png_bits(file) == 16
    tags: Any = getattr(image, "tag_v2", {})
    return image.mode in ("RGB", "RGBA") and 16 in (tags.get(_TIFF_BITS) or ())


def _eight_bits(
    image: ImageFile.ImageFile, data: bytes, depth: int, max_pixels: int, changes: list[str]
) -> tuple[Image.Image, int]:
    """Return a deep image with 8 bits per channel, and its largest value."""
    changes.append("16 bits to 8")
    values = np.asarray(image)
    if values.dtype == np.uint8:  # Pillow returns the high bytes only
        low = _low_bytes(data, max_pixels)
        if low is None and depth != 16:
            raise BadImage(
                f"16-bit pixels of the kind {image.mode}, which --depth does not scale; save it without alpha"
            )
        values = values.astype(np.uint16) << 8 | (255 if low is None else low)
    values = values.astype(np.uint16)
    has_alpha = values.ndim == 3 and values.shape[2] == 4
    colours, opacity = (values[..., :3], values[..., 3:]) if has_alpha else (values, values[..., :0])
    scaled = colours >> (depth - 8)
    if scaled.max() > 255:
        changes.append(f"values beyond {depth} bits cut off")
        scaled = np.minimum(scaled, 255)
    if has_alpha:  # opacity may use all bits even if the colours do not
        used = 16 if opacity.max() >> depth else depth
        scaled = np.concatenate([scaled, opacity >> (used - 8)], axis=2)
    made = Image.fromarray(scaled.astype(np.uint8))
    if "transparency" in image.info:
        key = image.info["transparency"]
        made.info["transparency"] = tuple(k >> 8 for k in key) if isinstance(key, tuple) else key >> 8
    return made, int(colours.max())


def _low_bytes(data: bytes, max_pixels: int) -> np.ndarray | None:
    """Return the low bytes of an image whose high bytes Pillow decodes; None if it cannot."""
    image = open_image(io.BytesIO(data), max_pixels=max_pixels)
    tiles = []
    for tile in image.tile:
        arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        kind, _, half = str(arguments[0]).partition(";")
        if half not in _OTHER_HALF or kind not in ("RGB", "RGBA"):
            return None
        arguments = (f"{kind};{_OTHER_HALF[half]}", *arguments[1:])
        tiles.append(tile._replace(args=arguments if isinstance(tile.args, tuple) else arguments[0]))
    image.tile = tiles
    try:
        return np.asarray(image)
    except MemoryError:
        raise
    except Exception:
        return None


def dark_warning(brightest: int) -> list[str]:
    """Return a warning if the largest value of all 16-bit images is less than an eighth of white."""
    if brightest >= 1 << 13:
        return []
    bits = next(bits for bits in (8, 10, 12, 13) if brightest < 1 << bits)
    return [
        f"warning: the values of the images with 16 bits per channel end at {brightest} of 65535, nearly black: "
        f"{bits}-bit data? The data set tool scales them with --depth={bits}"
    ]


def fit(pixels: np.ndarray, size: tuple[int, int], resize_filter: str) -> np.ndarray:
    """Return uint8[h, w, c] at (height, width) `size`, resized with 'box' or 'lanczos' if needed."""
    height, width, channels = pixels.shape
    if (height, width) == size:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))
    resized = image.resize((size[1], size[0]), FILTERS[resize_filter])
    return np.array(resized).reshape(*size, channels)


def open_image(file: BinaryIO, formats: tuple[str, ...] = FORMATS, max_pixels: int = MAX_PIXELS) -> ImageFile.ImageFile:
    """Read the header of an image.

    Args:
        file: seekable, at position 0.
        formats: Pillow's names of the formats to try.
        max_pixels: largest width times height. Pillow's own limit, `PIL.Image.MAX_IMAGE_PIXELS`, applies too.

    Returns:
        Pillow's image, not yet decoded.

    Raises:
        BadImage: the file is empty, has another format, or is damaged or too large.
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
        raise BadImage(f"its header claims too many pixels{_LARGER}") from error
    except MemoryError:
        raise
    except Exception as error:
        raise BadImage(f"damaged header: {first_line(error)}") from error
    if image.width * image.height > max_pixels:
        raise BadImage(f"{image.width}x{image.height} is more than {max_pixels / 2**20:.0f} megapixels{_LARGER}")
    return image  # type: ignore[return-value]


def png_bits(file: BinaryIO) -> int:
    """Return the bits per channel in the header of a PNG; moves the file's position."""
    file.seek(24)
    return file.read(1)[0]


def _ends_well(file: BinaryIO, image_format: str) -> bool:
    """Return whether the format's end mark is at the end of the file and directly after the pixels."""
    end = file.seek(0, io.SEEK_END)
    if image_format == "PNG":
        return _png_ends_with_pixels(file, end)
    file.seek(max(0, end - 64))
    return image_format == "JPEG" and file.read(64).rstrip(b"\0").endswith(b"\xff\xd9")


def _png_ends_with_pixels(file: BinaryIO, end: int) -> bool:
    """Return whether the last chunk before the end mark has pixels; metadata after them may set an orientation."""
    file.seek(max(0, end - 8500))  # most writers' chunks have at most 8 KiB
    tail = file.read(8500)
    if not tail.endswith(b"\0\0\0\0IEND\xaeB`\x82"):
        return False
    at = tail.rfind(b"IDAT")
    if at >= 4 and at + 8 + int.from_bytes(tail[at - 4 : at], "big") + 12 == len(tail):
        return True
    at, last = len(_PNG_SIGNATURE), b""
    while at + 12 < end:
        file.seek(at)
        head = file.read(8)
        at, last = at + 12 + int.from_bytes(head[:4], "big"), head[4:]
    return last == b"IDAT"


def check_png_chunks(data: bytes) -> None:
    """Verify every checksum: Pillow skips those of the pixel data, so a flipped bit would go unnoticed.

    Raises:
        BadImage: a checksum is wrong, or the end mark is missing.
    """
    for _ in _chunks(data):
        pass


def _chunks(data: bytes):
    """Yield (kind, start, end) of the chunks of a PNG, after verifying their checksums."""
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
        yield data[at + 4 : at + 8], at, end + 4
        if data[at + 4 : at + 8] == b"IEND":
            return
        at = end + 4


def _without_metadata(data: bytes) -> bytes:
    """Return a PNG without texts and colour profile, which Pillow unpacks and may reject; other files unchanged."""
    if not data.startswith(_PNG_SIGNATURE):
        return data
    try:
        kept = [data[start:end] for kind, start, end in _chunks(data) if kind not in _PNG_METADATA]
    except BadImage:
        return data
    return b"".join([_PNG_SIGNATURE, *kept])


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, short enough for a list."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
