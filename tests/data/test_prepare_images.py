"""The data set tool on every kind of image: converted by a stated rule, or named with a reason and left out."""

import io
import json
import re
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.data import BadImage, images
from stylegan_jax.data.prepare import Options, convert, prepare

SIZE = 16


def decoded(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def made(data, channels=3, **recipe):
    """Return (pixels, changes) of one image."""
    result = convert.make(data, convert.Recipe(channels, **recipe))
    pixels = decoded(result.png)
    assert pixels.shape[:2] == result.size and pixels.ndim == (2 if channels == 1 else 3)
    return pixels, result.changes


def raw_png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def rgb(smooth):
    return smooth(1, SIZE, seed=3)[0]


def test_plain_images_keep_their_pixels(rgb, encode):
    for image_format in ("PNG", "BMP", "TIFF", "PPM"):
        assert np.array_equal(made(encode(rgb, image_format))[0], rgb)
    assert made(encode(rgb, "WEBP", lossless=True))[1] == ()
    lossy = encode(rgb, "JPEG", quality=90)
    assert np.array_equal(made(lossy)[0], np.asarray(Image.open(io.BytesIO(lossy))))


def test_grey_and_palettes(rgb, encode):
    grey, image = rgb[..., 0], Image.fromarray(rgb)
    assert np.array_equal(made(encode(grey))[0], grey[..., None].repeat(3, 2))
    assert made(encode(grey))[1] == ("grey to RGB",)
    assert np.array_equal(made(encode(grey), 1)[0], grey) and made(encode(grey), 1)[1] == ()
    luma = np.round(rgb @ [0.299, 0.587, 0.114])
    pixels, changes = made(encode(rgb), 1)
    assert np.abs(pixels - luma).max() <= 1 and changes == ("colour to grey",)
    few = image.quantize(16)
    for image_format in ("PNG", "GIF"):
        pixels, changes = made(encode(few, image_format))
        assert np.array_equal(pixels, np.asarray(few.convert("RGB"))) and changes == ("palette to RGB",)
    bits = image.convert("1")
    assert np.array_equal(made(encode(bits), 1)[0], np.asarray(bits) * np.uint8(255))


def test_cmyk_becomes_rgb_by_the_plain_formula(rgb, encode):
    cmyk = np.concatenate([rgb, rgb[..., :1] // 3], axis=-1)
    pixels, changes = made(encode(Image.fromarray(cmyk, "CMYK"), "TIFF"))
    expected = (255 - cmyk[..., :3].astype(float)) * (255 - cmyk[..., 3:]) / 255
    assert np.abs(pixels - expected).max() <= 1 and changes == ("CMYK to RGB",)
    assert made(encode(Image.fromarray(cmyk, "CMYK"), "JPEG"))[1] == ("CMYK to RGB",)


def test_16_bits_become_8_by_their_high_byte(encode):
    values = (np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE) * 257 + 200).astype(np.uint16)
    high = (values >> 8).astype(np.uint8)
    for image_format in ("PNG", "TIFF"):
        pixels, changes = made(encode(Image.fromarray(values), image_format), 1)
        assert np.array_equal(pixels, high) and changes == ("16 bits to 8",)
    assert np.array_equal(made(b"P5 16 16 65535 " + values.astype(">u2").tobytes(), 1)[0], high)
    colour = np.stack([values, values[::-1], values.T], axis=-1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colour)
    pixels, changes = made(raw_png(SIZE, SIZE, 16, 2, rows))
    assert np.array_equal(pixels, (colour >> 8).astype(np.uint8)) and changes == ("16 bits to 8",)


def test_transparency_follows_the_rule(rgb, encode):
    alpha = np.linspace(0, 255, SIZE * SIZE).astype(np.uint8).reshape(SIZE, SIZE)
    rgba = np.concatenate([rgb, alpha[..., None]], axis=-1)
    share = alpha[..., None] / 255
    for rule, background in (("white", 255), ("black", 0)):
        pixels, changes = made(encode(rgba), alpha=rule)
        assert np.abs(pixels - (rgb * share + background * (1 - share))).max() <= 1
        assert changes == (f"transparency over {rule}", "RGBA to RGB")[:1]
    assert np.array_equal(made(encode(rgba), alpha="drop")[0], rgb)
    assert np.array_equal(made(encode(rgba), 4)[0], rgba)
    assert np.array_equal(made(encode(rgb), 4)[0][..., 3], np.full((SIZE, SIZE), 255))
    opaque = np.concatenate([rgb, np.full((SIZE, SIZE, 1), 255, np.uint8)], axis=-1)
    pixels, changes = made(encode(opaque))
    assert np.array_equal(pixels, rgb) and changes == ()
    grey = np.stack([rgb[..., 0], alpha], axis=-1)
    pixels, _ = made(encode(Image.fromarray(grey, "LA")), 1)
    assert np.abs(pixels - (grey[..., 0] * share[..., 0] + 255 * (1 - share[..., 0]))).max() <= 2
    # A transparent colour, of RGB and of a palette.
    keyed = Image.fromarray(np.where((alpha < 128)[..., None], rgb, np.uint8([1, 2, 3])))
    assert (made(encode(keyed, transparency=(1, 2, 3)))[0][alpha >= 128] == 255).all()
    few = keyed.quantize(16)
    index = int(np.asarray(few)[-1, -1])
    assert (made(encode(few, transparency=index))[0][np.asarray(few) == index] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation, image_format, encode):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16], upright[:8, 16:], upright[8:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = {  # what a camera held that way would store
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(image_format, {})
    pixels, _ = made(encode(np.ascontiguousarray(stored), image_format, exif=exif, **options))
    assert pixels.shape == upright.shape and np.abs(pixels.astype(int) - upright).max() < 30


def test_damaged_exif_and_profiles_are_left_aside(rgb, encode):
    pixels, changes = made(encode(rgb, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\xff"))
    assert np.array_equal(pixels, rgb)
    assert set(changes) <= {"damaged EXIF ignored"}
    png = convert.make(encode(rgb, icc_profile=b"profile" * 50), convert.Recipe(3)).png
    assert b"iCCP" not in png and np.array_equal(decoded(png), rgb)


def test_the_first_picture_of_a_phones_pair_is_taken(rgb, encode):
    pair = encode(Image.fromarray(rgb), "MPO", save_all=True, append_images=[Image.fromarray(255 - rgb)])
    pixels, changes = made(pair)
    assert np.abs(pixels.astype(int) - rgb).mean() < 25 and changes == ("first of several pictures (MPO)",)


def bad_kinds(rgb: np.ndarray, encode) -> dict[str, tuple[str, bytes, str]]:
    """{kind: (name, bytes, words in the reason)}."""
    image = Image.fromarray(rgb)
    noise = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    png, jpeg = encode(noise), encode(noise, "JPEG")
    at = png.index(b"IDAT") + 20
    several = {"save_all": True, "append_images": [Image.fromarray(255 - rgb)]}
    return {
        "zero bytes": ("a.png", b"", r"empty file \(0 bytes\)"),
        "html": ("a.jpg", b"<!DOCTYPE html><html>404</html>", "text such as HTML"),
        "svg": ("a.png", b"\n <svg xmlns='x'/>", "text such as HTML or SVG"),
        "random bytes": ("a.jpeg", bytes(range(256)) * 4, "not a PNG, JPEG"),
        "truncated png": ("a.png", png[: len(png) // 2], "truncated PNG"),
        "png without end": ("a.png", png[:-12], "truncated PNG"),
        "flipped bit": ("a.png", png[:at] + bytes([png[at] ^ 1]) + png[at + 1 :], "checksum"),
        "truncated jpeg": ("a.jpg", jpeg[: len(jpeg) // 2], "JPEG|Truncated File"),
        "truncated webp": ("a.webp", encode(noise, "WEBP", lossless=True)[:-60], "damaged header|WEBP"),
        "truncated bmp": ("a.bmp", encode(noise, "BMP")[:-60], "truncated BMP"),
        "truncated gif": ("a.gif", encode(image.quantize(64), "GIF")[:-80], "GIF"),
        "truncated tiff": ("a.tif", encode(noise, "TIFF")[:400], "TIFF"),
        "truncated ppm": ("a.ppm", encode(noise, "PPM")[:-60], "PPM"),
        "header alone": ("a.jpg", jpeg[:30], "JPEG|Truncated File"),
        "animated gif": ("a.gif", encode(image.quantize(8), "GIF", **several), "several frames"),
        "animated png": ("a.png", encode(image, "PNG", **several), "several frames"),
        "animated webp": ("a.webp", encode(image, "WEBP", **several), "several frames"),
        "pages": ("a.tiff", encode(image, "TIFF", **several), "several frames or pages"),
        "floats": ("a.tif", encode(Image.fromarray(np.ones((SIZE, SIZE), np.float32)), "TIFF"), "floating-point"),
        "32-bit": ("a.tif", encode(Image.fromarray(np.ones((SIZE, SIZE), np.int32)), "TIFF"), "32-bit"),
        "lab": ("a.tif", encode(image.convert("LAB"), "TIFF"), "of the kind LAB"),
        "bomb": ("a.png", raw_png(20000, 20000, 8, 2, b""), "decompression bomb"),
        "smaller bomb": ("a.png", raw_png(9000, 9000, 8, 2, b""), "decompression bomb"),
        "missing rows": ("a.png", raw_png(SIZE, SIZE, 8, 2, b"\0" * 100), "PNG"),
        "heic": ("a.HEIC", b"\0\0\0\x18ftypheic", "this format is not read"),
        "eps by another name": ("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a PNG"),
        "another size": ("a.png", encode(np.zeros((8, 24, 3), np.uint8)), "24x8 pixels, not 16x16 like the first"),
    }


def test_every_kind_of_bad_image_is_named_and_left_out(rgb, encode, write, tmp_path):
    kinds = bad_kinds(rgb, encode)
    assert len(kinds) > 20
    members = {f"{i:02} {kind}/{name}": data for i, (kind, (name, data, _)) in enumerate(kinds.items())}
    members |= {"00 good.png": encode(rgb), "zz.jpg": encode(255 - rgb)}  # the latter a PNG by content
    for where in ("zip", "folder"):
        path = write(tmp_path, where, members)
        dest = str(tmp_path / f"from_{where}.zip")
        report = prepare(Options(path, dest))
        reasons = dict(report.skipped)
        for (kind, (_, _, words)), name in zip(kinds.items(), members, strict=False):
            assert re.search(words, reasons.pop(name)), kind
        assert not reasons and [source for _, source, _ in report.written] == ["00 good.png", "zz.jpg"]
        assert report.looked_at == len(members)
        with zipfile.ZipFile(dest) as archive:
            assert np.array_equal(decoded(archive.read("00000/img00000001.png")), 255 - rgb)
            meta = json.loads(archive.read("meta.json"))
        assert dict(meta["skipped"]) == dict(report.skipped) and meta["counts"]["skipped"] == len(kinds)


def test_mutated_images_raise_one_kind_of_error(rgb, encode):
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    wholes = [encode(rgb, f, **({} if f in ("BMP", "PPM", "GIF") else {"exif": exif})) for f in images.FORMATS]
    bad = 0
    for trial in range(40 * len(wholes)):
        data = bytearray(wholes[trial % len(wholes)])
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(256)
        try:
            convert.make(bytes(data[: rng.integers(len(data) // 2, len(data) + 1)]), convert.Recipe(3))
        except BadImage as error:
            assert error.reason
            bad += 1
    assert bad > 100


def test_arrays_must_be_images():
    for shape, dtype in (((4, 4), np.uint8), ((4, 4, 2), np.uint8), ((4, 4, 3), np.float32), ((0, 4, 3), np.uint8)):
        with pytest.raises(BadImage, match="not uint8"):
            convert.make(np.zeros(shape, dtype), convert.Recipe(3))


CROPS = [  # image, resolution, transform -> box
    ((640, 480), (64, 64), "center-crop", (80, 0, 560, 480)),
    ((480, 640), (64, 64), "center-crop", (0, 80, 480, 560)),
    ((5, 4), (4, 4), "center-crop", (0, 0, 4, 4)),
    ((640, 480), (64, 32), "center-crop", (0, 80, 640, 400)),
    ((640, 480), (64, 48), "none", (0, 0, 640, 480)),
    ((641, 480), (64, 48), "none", (0, 0, 641, 480)),
    ((640, 480), (64, 64), "stretch", (0, 0, 640, 480)),
    ((640, 480), (512, 256), "center-crop-wide", (0, 80, 640, 400)),
    ((480, 640), (256, 512), "center-crop-tall", (80, 0, 400, 640)),
    ((1000, 1), (64, 64), "center-crop", (499, 0, 500, 1)),
    ((643, 480), (64, 48), "none", "another aspect ratio than 64x48; crop with --transform=center-crop"),
    ((500, 480), (512, 256), "center-crop-wide", "narrower or flatter"),
    ((1024, 400), (512, 256), "center-crop-wide", "narrower or flatter"),
    ((480, 500), (256, 512), "center-crop-tall", "lower or slimmer"),
]


@pytest.mark.parametrize(("size", "resolution", "transform", "expected"), CROPS)
def test_crops(size, resolution, transform, expected):
    if isinstance(expected, str):
        with pytest.raises(BadImage, match=expected):
            convert.crop_box(*size, resolution, transform)
    else:
        assert convert.crop_box(*size, resolution, transform) == expected


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_wide_and_tall_crops_are_filled_up_with_black(channels, encode):
    pixels = np.full((32, 48, 3), 200, np.uint8)
    out, _ = made(encode(pixels), channels, resolution=(32, 16), transform="center-crop-wide")
    assert out.shape[:2] == (32, 32)
    colours = out[..., :3] if channels > 1 else out[..., None]
    assert (colours[8:24] == 200).all() and not colours[:8].any() and not colours[24:].any()
    if channels == 4:
        assert (out[..., 3] == 255).all()
    turned = np.ascontiguousarray(pixels.transpose(1, 0, 2))
    tall, _ = made(encode(turned), channels, resolution=(16, 32), transform="center-crop-tall")
    assert np.array_equal(tall, out.swapaxes(0, 1))


@pytest.mark.parametrize("resize_filter", ["lanczos", "box"])
def test_resizing_is_the_filter_on_the_crop(resize_filter, encode):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    recipe = {"resolution": (16, 16), "transform": "center-crop", "resize_filter": resize_filter}
    out, changes = made(encode(pixels), **recipe)
    crop = pixels[:, 8:56]
    kernel = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}[resize_filter]
    assert np.array_equal(out, np.asarray(Image.fromarray(crop).resize((16, 16), kernel))) and changes == ()
    if resize_filter == "box":
        assert np.abs(out - crop.reshape(16, 3, 16, 3, 3).mean((1, 3))).max() < 1
    assert made(encode(pixels[:8, :8]), **recipe)[1] == ("enlarged",)
