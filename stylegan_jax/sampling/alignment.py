"""Crops of photographs by landmarks, aligned like the images of a data set.

    points = [(210, 190), (300, 188), (255, 240), (222, 300), (292, 298)]  # (x, y) in pixels from the upper left
    pixels = alignment.crop(picture, points, 256)  # uint8 [256, 256, 3], aligned like FFHQ

The points are those of a face: the eye on the left of the picture, the eye on the right, the tip of the nose, the left
and the right corner of the mouth. The centre of the upper left pixel is (0, 0). Nothing here finds the points: use any
detector of five landmarks, or read them off by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from stylegan_jax.base.spec import Array

ARCFACE = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])
"""ArcFace's template (Deng et al. 2019): target positions (x, y) of the five points in 112x112, for face networks."""
ARCFACE_SIZE = 112
OVERSAMPLE = 4
"""Samples per pixel and axis, which are then averaged."""


def ffhq_corners(points: np.ndarray) -> np.ndarray:
    """Return the corners of the square that FFHQ and CelebA-HQ cut out (Karras et al. 2018, PG appendix C).

    Args:
        points: float64[5, 2].

    Returns:
        float64[4, 2]: upper left, lower left, lower right, upper right, in pixels from the picture's upper left corner.
        The nose is not used.
    """
    left, right, _, mouth_left, mouth_right = points
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    across, up = right - left, eyes - mouth
    centre = eyes - 0.1 * up
    side = max(4 * np.hypot(*across), 3.6 * np.hypot(*up))
    x = across + np.array([-up[1], up[0]])  # two estimates of the direction to the right
    x = x / np.hypot(*x) * side / 2
    y = np.array([-x[1], x[0]])
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y]) + 0.5


def arcface_corners(points: np.ndarray) -> np.ndarray:
    """Return the corners of the square whose similarity transform brings five points closest to ArcFace's template.

    A least-squares fit (Umeyama 1991), with rotation and scale as one complex number. Arguments and result are those of
    `ffhq_corners`.
    """
    to_complex = lambda p: p[:, 0] + 1j * p[:, 1]
    given, wanted = to_complex(points), to_complex(ARCFACE)
    spread = wanted - wanted.mean()
    turn = np.vdot(spread, given - given.mean()) / np.vdot(spread, spread)  # from the template to the picture
    ends = np.array([0, ARCFACE_SIZE * 1j, ARCFACE_SIZE * (1 + 1j), ARCFACE_SIZE]) - 0.5 * (1 + 1j)
    found = given.mean() + turn * (ends - wanted.mean())
    return np.stack([found.real, found.imag], axis=1) + 0.5


RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"ffhq": ffhq_corners, "arcface": arcface_corners}
"""Rules for the square that five points determine."""


def crop(picture: Array, points: Sequence[Sequence[float]] | Array, size: int, rule: str = "ffhq") -> np.ndarray:
    """Cut a rotated square out of a picture, which is mirrored beyond its edges.

    To avoid aliasing, the square is sampled at four times the resolution, and large pictures are averaged down first.
    Unlike FFHQ's, the mirrored part is not blurred.

    Args:
        picture: uint8[h, w, c], 1 or 3 channels.
        points: five (x, y) in pixels, in the order of the module's docstring.
        size: height and width of the result.
        rule: one of `RULES`.

    Returns:
        uint8[size, size, c].

    Raises:
        ValueError: the picture, points or size cannot be used, or the rule is unknown.
    """
    picture, points = np.asarray(picture), check_points(points)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3):
        raise ValueError(f"the picture is {picture.dtype}{list(picture.shape)}; pass uint8[h, w, 1 or 3]")
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; known: {', '.join(RULES)}")
    if not 1 <= size <= 8192:
        raise ValueError(f"size={size}; choose 1 to 8192 pixels")
    corners = RULES[rule](points)
    side = float(np.hypot(*(corners[3] - corners[0])))
    if side < 1:
        raise ValueError(f"the points span only {side:.2g} pixels, so there is nothing to cut out; check their unit")
    height, width = picture.shape[:2]
    beyond = max(*-corners.min(axis=0), *(corners.max(axis=0) - (width, height)))
    if beyond > 4 * max(height, width):
        raise ValueError(
            f"the crop reaches {beyond:.0f} pixels beyond a picture of {width}x{height}; are these its points?"
        )
    shrink = min(int(side / size / 2), height, width)
    if shrink > 1:
        h, w = (length // shrink * shrink for length in (height, width))
        parts = picture[:h, :w].reshape(h // shrink, shrink, w // shrink, shrink, -1).astype(np.float32)
        picture, corners = np.round(parts.mean(axis=(1, 3))).astype(np.uint8), corners / shrink
    return _sample(picture, corners, size)


def check_points(points: Sequence[Sequence[float]] | Array) -> np.ndarray:
    """Return float64[5, 2].

    Raises:
        ValueError: they are not five finite pairs, or the eyes or the corners of the mouth are in the wrong order.
    """
    try:
        found = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != (5, 2) or not np.isfinite(found).all():
        raise ValueError("points must be five (x, y): left eye, right eye, nose, left and right corner of the mouth")
    across, mouth = found[1] - found[0], found[4] - found[3]
    if across @ mouth <= 0:
        raise ValueError(
            f"the eyes run from {found[0].tolist()} to {found[1].tolist()} and the mouth from {found[3].tolist()} to "
            f"{found[4].tolist()}, in opposite directions; left is the left of the picture, not of the person"
        )
    return found


def _sample(picture: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    """Return uint8[size, size, c] inside four corners, mirrored where they are outside the picture."""
    height, width, channels = picture.shape
    low = np.floor(corners.min(axis=0)).astype(int) - 2
    high = np.ceil(corners.max(axis=0)).astype(int) + 2
    pads = [(max(0, -low[k]), max(0, high[k] - length)) for k, length in ((1, height), (0, width))]
    picture = np.pad(picture, (*pads, (0, 0)), mode="symmetric")
    quad = (corners + np.array([pads[1][0], pads[0][0]])).reshape(-1).tolist()
    image = Image.fromarray(picture[..., 0] if channels == 1 else picture)
    fine = size * OVERSAMPLE
    image = image.transform((fine, fine), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    found = np.asarray(image.resize((size, size), Image.Resampling.BOX))
    return found[..., None] if channels == 1 else found
