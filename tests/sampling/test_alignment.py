"""Crops by five points: published squares by hand, turned pictures that come out upright, mirrored edges, errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.sampling import alignment
from stylegan_jax.tools import align

FACE = np.array([(100, 120), (160, 120), (130, 150), (110, 180), (150, 180)], np.float64)


def ramps(height, width):
    """Return a picture uint8[h, w, 3] whose red and green are its coordinates."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x / 2, y / 2, 0 * x], axis=-1).round().astype(np.uint8)


def turned(points, degrees, scale=1.0, move=(0, 0)):
    a = np.deg2rad(degrees)
    return scale * points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + move


def test_the_square_of_a_face_by_hand():
    # eyes at (130, 120), 60 apart, 60 above the mouth: a side of 4 * 60, and its middle a tenth of the way down
    corners = alignment.ffhq_corners(FACE) - 0.5
    np.testing.assert_allclose(corners, [(10, 6), (10, 246), (250, 246), (250, 6)])
    long = FACE + np.array([(0, 0), (0, 0), (0, 0), (0, 60), (0, 60)])  # 120 above the mouth: 3.6 * 120
    corners = alignment.ffhq_corners(long) - 0.5
    np.testing.assert_allclose(corners[2] - corners[0], (432, 432))
    np.testing.assert_allclose(corners.mean(axis=0), (130, 132))


@pytest.mark.parametrize("rule", ["ffhq", "arcface"])
def test_the_square_follows_the_face(rule):
    corners = alignment.RULES[rule](FACE)
    moved = alignment.RULES[rule](turned(FACE, 25, 1.5, (40, -7)))
    np.testing.assert_allclose(moved - 0.5, turned(corners - 0.5, 25, 1.5, (40, -7)), atol=1e-9)


def test_the_template_itself_is_cut_out_as_it_is():
    corners = alignment.arcface_corners(alignment.ARCFACE)
    np.testing.assert_allclose(corners, [(0, 0), (0, 112), (112, 112), (112, 0)], atol=1e-9)
    picture = np.random.default_rng(0).integers(0, 256, (112, 112, 3)).astype(np.uint8)
    found = alignment.crop(picture, alignment.ARCFACE, 112, "arcface")
    smooth = np.abs(found.astype(float) - picture).mean()
    assert smooth < 32  # bilinear samples at quarters of a pixel


def test_pixels_are_where_the_square_says():
    picture = ramps(300, 400)
    found = alignment.crop(picture, FACE, 48).astype(float) * 2
    at = 10 + (np.arange(48) + 0.5) * 5  # 240 pixels over 48, from 10.5 on, and middles of pixels at whole numbers
    np.testing.assert_allclose(found[..., 0], np.broadcast_to(at, (48, 48)), atol=2)
    np.testing.assert_allclose(found[..., 1], np.broadcast_to(at[:, None] - 4, (48, 48)), atol=2)
    grey = alignment.crop(picture[..., :1], FACE, 48)
    assert grey.shape == (48, 48, 1) and np.abs(grey[..., 0] * 2.0 - found[..., 0]).max() <= 2


def test_beyond_the_edge_the_picture_is_mirrored():
    picture = ramps(300, 400)
    found = alignment.crop(picture, FACE - (60, 0), 48).astype(float) * 2
    at = -50 + (np.arange(48) + 0.5) * 5
    np.testing.assert_allclose(found[20, :, 0], np.abs(at), atol=3)


def test_the_tool_writes_what_other_tools_take(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    picture = ramps(300, 400)
    for name in ("a.png", "b.png"):
        Image.fromarray(picture).save(tmp_path / "in" / name)
    table = {"a.png": FACE.tolist(), "b.png": turned(FACE, 5).tolist()}
    (tmp_path / "points.json").write_text(json.dumps(table))
    arguments = [f"--targets={tmp_path / 'in'}", f"--points={tmp_path / 'points.json'}", "--size=32"]
    assert align.main([*arguments, f"--out={tmp_path / 'out'}"]) == 0
    for name, points in table.items():
        found = np.asarray(Image.open(tmp_path / "out" / name))
        assert np.array_equal(found, alignment.crop(picture, points, 32))
    for bad, text in (
        ({"a.png": FACE.tolist()}, "has no points for b.png and 0 others"),
        (table | {"b.png": FACE[:4].tolist()}, "b.png: points must be five (x, y)"),
        (table | {"a.png": FACE[[1, 0, 2, 3, 4]].tolist()}, "a.png: the eyes run from [160.0, 120.0]"),
        ([], "write an object, such as"),
    ):
        (tmp_path / "points.json").write_text(json.dumps(bad))
        assert align.main([*arguments, f"--out={tmp_path / 'other'}"]) == 2
        assert text in capsys.readouterr().err and not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"picture": np.zeros((8, 8, 3))}, "the picture is float64"),
        ({"points": np.full((5, 2), np.nan)}, "points must be five"),
        ({"points": "face"}, "points must be five"),
        ({"points": FACE / 1000}, "span only 0.24 pixels"),
        ({"points": FACE * 100}, "pixels beyond a picture of 40x30; are these its points"),
        ({"size": 0}, "size=0; choose 1 to 8192"),
        ({"rule": "ffqh"}, "rule is 'ffqh'; known: ffhq, arcface"),
    ],
)
def test_mistakes_are_answered(changes, text):
    given = {"picture": ramps(30, 40), "points": FACE / 8, "size": 16, "rule": "ffhq"} | changes
    with pytest.raises(ValueError, match=text):
        alignment.crop(**given)
