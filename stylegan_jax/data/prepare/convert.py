"""Convert any readable image to 8-bit pixels of one kind and size.

The report counts every use of these rules:

- Decoding, EXIF and 16 bits are as in training (`data.images`). An image with several frames or pages is an error,
  except for the pairs that phones write (MPO), of which the first is used.
- Colour profiles are dropped, not applied; CMYK becomes RGB by the simple formula.
- 32-bit and floating-point images are an error, because their white is unknown.
- Transparency is kept if the output has four channels. If not, `alpha` says whether it is composited over white or
  black, or dropped, which keeps the colours beneath it.
"""

from __future__ import annotations

import hashlib
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from stylegan_jax.data import images
from stylegan_jax.data.errors import BadImage

ALPHAS = ("white", "black", "drop")
TRANSFORMS = ("none", "stretch", "center-crop", "center-crop-wide", "center-crop-tall")

_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_KNOWN_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", *_ALPHA_MODES)
_NO_RANGE = {"I": "32-bit", "F": "floating-point", "I;32": "32-bit", "I;32B": "32-bit"}


class Recipe(NamedTuple):
    """How every image is converted.

    Attributes:
        channels: 1, 3 or 4.
        alpha: one of ALPHAS.
        resolution: (width, height), or None to keep the size.
        transform: one of TRANSFORMS.
        resize_filter: 'box' or 'lanczos'.
        depth: significant bits of images with 16 bits per channel.
        max_pixels: largest width times height of a source image.
    """

    channels: int
    alpha: str = "white"
    resolution: tuple[int, int] | None = None
    transform: str = "none"
    resize_filter: str = "lanczos"
    depth: int = 16
    max_pixels: int = images.MAX_PIXELS


class Made(NamedTuple):
    """A finished image.

    Attributes:
        png: the bytes of an uncompressed PNG.
        sha256: SHA-256 of these bytes.
        size: (height, width).
        changes: what was changed.
        brightest: the largest value if the source had 16 bits per channel, else None.
    """

    png: bytes
    sha256: str
    size: tuple[int, int]
    changes: tuple[str, ...]
    brightest: int | None


def make(source: bytes | np.ndarray, recipe: Recipe) -> Made:
    """Convert, crop, resize and encode one image.

    Args:
        source: an encoded image, or uint8[h, w, c].
        recipe: how to convert it.

    Raises:
        BadImage: it cannot be read or converted.
    """
    changes: list[str] = []
    brightest = None
    if isinstance(source, np.ndarray):
        image = _of_array(source)
    else:
        read = images.read_image(source, depth=recipe.depth, max_pixels=recipe.max_pixels)
        image, brightest = read.image, read.brightest
        changes += read.changes
    try:
        image = fit(to_mode(image, recipe.channels, recipe.alpha, changes), recipe, changes)
    except BadImage:
        raise
    except ValueError as error:  # Pillow has no such conversion
        raise BadImage(f"pixels of the kind {image.mode} cannot be converted: {images.first_line(error)}") from error
    image.info = {}  # so that the source's colour profile and text are not written
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=0)
    png = out.getvalue()
    return Made(png, hashlib.sha256(png).hexdigest(), (image.height, image.width), tuple(changes), brightest)


def _of_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in images.MODES or 0 in pixels.shape:
        raise BadImage(f"an array {pixels.dtype}{list(pixels.shape)}, not uint8[h, w, c] with 1, 3 or 4 channels")
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def to_mode(image: Image.Image, channels: int, alpha: str, changes: list[str]) -> Image.Image:
    """Return the image as 8-bit grey, RGB or RGBA; records what changed.

    Raises:
        BadImage: the pixels have no known range or conversion.
    """
    if image.mode in _NO_RANGE:
        raise BadImage(
            f"{_NO_RANGE[image.mode]} pixels, whose black and white are not known; save it with 8 or 16 bits"
        )
    if image.mode not in _KNOWN_MODES:
        raise BadImage(f"pixels of the kind {image.mode}, which are not converted; save it as RGB")
    wanted, was_grey = images.MODES[channels], image.mode in ("1", "L", "LA", "La")
    see_through = image.mode in _ALPHA_MODES or "transparency" in image.info
    if image.mode == wanted and not see_through:
        return image
    if see_through:
        image = image.convert("RGBA")
        if channels == 4:
            return image
        image = _opaque(image, alpha, changes)
    if not was_grey and image.mode != "RGB":
        changes.append(f"{'palette' if image.mode == 'P' else image.mode} to RGB")
        image = image.convert("RGB")
    if channels == 1 and not was_grey:
        changes.append("colour to grey")
    elif channels != 1 and was_grey:
        changes.append("grey to RGB")
    return image.convert(wanted)


def _opaque(image: Image.Image, alpha: str, changes: list[str]) -> Image.Image:
    """Return RGBA as RGB, by the rule `alpha`."""
    lowest, _ = image.getchannel("A").getextrema()
    if lowest == 255:
        return image.convert("RGB")
    changes.append("transparency dropped" if alpha == "drop" else f"transparency over {alpha}")
    if alpha == "drop":
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, alpha), image).convert("RGB")


def fit(image: Image.Image, recipe: Recipe, changes: list[str]) -> Image.Image:
    """Return the image at the recipe's resolution; records enlarging.

    Raises:
        BadImage: the transform skips it.
    """
    if recipe.resolution is None:
        return image
    width, height = recipe.resolution
    left, top, right, bottom = box = crop_box(image.width, image.height, recipe.resolution, recipe.transform)
    if right - left < width or bottom - top < height:
        changes.append("enlarged")
    if box != (0, 0, image.width, image.height):
        image = image.crop(box)  # not `resize(box=…)`, whose filter would see pixels outside the box
    if image.size != (width, height):
        image = image.resize((width, height), images.FILTERS[recipe.resize_filter])
    if recipe.transform in ("center-crop-wide", "center-crop-tall"):
        side = max(width, height)
        canvas = Image.new(image.mode, (side, side), 0 if image.mode == "L" else "black")
        canvas.paste(image, ((side - width) // 2, (side - height) // 2))
        return canvas
    return image


def crop_box(width: int, height: int, resolution: tuple[int, int], transform: str) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the part that is resized to (width, height) `resolution`.

    'none' uses the whole image, and skips aspect ratios that differ by more than one pixel; 'stretch' uses the whole
    image. 'center-crop' uses the largest centred part with the aspect ratio. 'center-crop-wide' uses the full width,
    and skips images that are narrower, or flatter than the aspect ratio; 'center-crop-tall' does the same for height.

    Raises:
        BadImage: the transform skips the image.
    """
    w, h = resolution
    if transform == "none" and abs(width * h - height * w) > max(w, h):
        raise BadImage(
            f"{width}x{height} is another aspect ratio than {w}x{h}; crop with --transform=center-crop, or distort "
            "with --transform=stretch"
        )
    if transform in ("none", "stretch"):
        return 0, 0, width, height
    if transform == "center-crop-wide" and (width < w or round(height * w / width) < h):
        raise BadImage(f"{width}x{height} is narrower or flatter than {w}x{h}")
    if transform == "center-crop-tall" and (height < h or round(width * h / height) < w):
        raise BadImage(f"{width}x{height} is lower or slimmer than {w}x{h}")
    crop_w = max(1, min(width, round(height * w / h)))
    crop_h = max(1, min(height, round(width * h / w)))
    left, top = (width - crop_w) // 2, (height - crop_h) // 2
    return left, top, left + crop_w, top + crop_h
