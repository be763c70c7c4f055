"""The data set tool, training and metrics decode every picture to the same pixels: turned, deep, with any metadata."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.data import DataError, describe_contents, images, open_source, pipeline
from stylegan_jax.data.files import FileSource
from stylegan_jax.data.prepare import Options, prepare
from stylegan_jax.data.prepare.__main__ import main
from stylegan_jax.metrics import opening

WIDE = (16, 32)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(values: np.ndarray) -> bytes:
    """Return a PNG of uint16[h, w] or uint16[h, w, 2 to 4]."""
    height, width = values.shape[:2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_tiff(values: np.ndarray, order: str = "<", packed: bool = False) -> bytes:
    """Return a TIFF of uint16[h, w, 3] in one strip, little- or big-endian, plain or deflated."""
    height, width, _ = values.shape
    data = values.astype(order + "u2").tobytes()
    data = zlib.compress(data) if packed else data
    short, long = 3, 4
    entries = [(256, short, width), (257, short, height), (258, 0, 0), (259, short, 8 if packed else 1),
               (262, short, 2), (273, long, 0), (277, short, 3), (278, short, height),
               (279, long, len(data))]  # fmt: skip
    bits_at = 8 + 2 + 12 * len(entries) + 4
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, value in entries:
        if tag == 258:
            out += struct.pack(order + "HHII", tag, short, 3, bits_at)
        elif tag == 273:
            out += struct.pack(order + "HHII", tag, long, 1, bits_at + 6)
        elif kind == short:
            out += struct.pack(order + "HHIHH", tag, short, 1, value, 0)
        else:
            out += struct.pack(order + "HHII", tag, long, 1, value)
    return out + struct.pack(order + "I3H", 0, 16, 16, 16) + data


def with_chunk(png: bytes, made: bytes, behind: bool = False) -> bytes:
    """Return a PNG with a chunk before or behind its pixels."""
    at = png.index(b"IEND") - 4 if behind else 33
    return png[:at] + made + png[at:]


@pytest.fixture
def alike(write, config, tmp_path):
    """Return a function from members to the pixels that all see, uint8[n, h, w, c]; they are compared bit for bit."""
    count = iter(range(100))

    def alike(members: dict[str, bytes], channels: int = 3, size: tuple[int, int] = WIDE) -> np.ndarray:
        seen = []
        for kind in ("folder", "zip"):
            root = tmp_path / f"{next(count)}"
            root.mkdir()
            path, dest = write(root, kind, members), str(root / "out.zip")
            report = prepare(Options(path, dest, channels=channels))
            with zipfile.ZipFile(dest) as archive:
                made = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name, _, _ in report.written]
            seen.append(np.stack(made).reshape(len(made), *size, channels))
            everything = np.arange(len(members))
            for cache in ("host", "off"):
                source = open_source(config(source=kind, path=path, cache=cache), (*size, channels))
                seen.append(source.gather(everything))
                if cache == "off":
                    assert isinstance(source.inner, FileSource)
                    plan = everything, np.zeros((len(everything), 2), bool)
                    batches = pipeline.pixel_batches(source, source.inner, lambda b, plan=plan: plan, len(plan[0]), 1)
                    seen.append(next(batches))
                    batches.close()  # pyright: ignore[reportAttributeAccessIssue]
                source.close()
            source = opening.open_images(opening.data_config(path), None, channels)
            seen.append(source.gather(everything))
            source.close()
        assert all(np.array_equal(s, seen[0]) for s in seen)
        return seen[0]

    return alike


@pytest.fixture
def upright():
    """Return a picture that looks different from all sides, uint8[16, 32, 3]."""
    picture = np.zeros((*WIDE, 3), np.uint8)
    picture[:8, :16], picture[:8, 16:], picture[8:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return picture


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return what a camera held that way stores."""
    return np.ascontiguousarray({
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation])  # fmt: skip


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_turned_pictures_are_upright_for_all(image_format, upright, encode, alike):
    members = {}
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(image_format, {})
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        members[f"{orientation}.img"] = encode(stored(upright, orientation), image_format, exif=exif, **options)
    assert np.abs(alike(members).astype(int) - upright).max() < 30


def test_turned_pngs_whose_metadata_lies_behind_the_pixels(upright, encode, alike):
    exif = Image.Exif()
    exif[0x0112] = 6
    for padding in (0, 20_000):
        made = chunk(b"eXIf", exif.tobytes()[6:] + bytes(padding))
        members = {"a.png": with_chunk(encode(stored(upright, 6)), made, behind=True), "b.png": encode(upright)}
        assert (alike(members) == upright).all()


def test_unreadable_exif_does_not_make_a_picture_bad(upright, encode, alike):
    assert (
        alike({"a.png": encode(upright, exif=b"Exif\0\0MM\0*\0\0\0\xff"), "b.png": encode(upright)}) == upright
    ).all()


def long_texts() -> dict[str, bytes]:
    packed = zlib.compress(bytes(1 << 21), 9)
    return {
        "zTXt": chunk(b"zTXt", b"parameters\0\0" + packed),
        "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        "iCCP": chunk(b"iCCP", b"prof\0\0" + packed),
        "beyond 64 MB": chunk(b"zTXt", b"parameters\0\0" + zlib.compress(bytes(70 << 20), 9)),
        "damaged": chunk(b"zTXt", b"parameters\0\0" + b"\xff" * 50),
        "tEXt": chunk(b"tEXt", b"parameters\0" + b"x" * (1 << 21)),
    }


def test_long_texts_and_profiles_do_not_make_a_picture_bad(upright, encode, alike, write, tmp_path):
    members = {f"{i}.png": encode(upright) for i in range(2)}
    for kind, made in long_texts().items():
        members |= {f"{kind} {where}.png": with_chunk(encode(upright), made, where) for where in (False, True)}
    assert (alike(members) == upright).all()
    report = prepare(Options(write(tmp_path, "zip", members), str(tmp_path / "x.zip")))
    assert len(report.written) == len(members) and not report.skipped
    assert report.changes["unreadable text or profile ignored"] >= 8


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_pictures_are_their_high_bytes_for_all(channels, alike):
    values = np.random.default_rng(channels).integers(0, 1 << 16, (2, *WIDE, channels), dtype=np.uint16)
    squeezed = values[..., 0] if channels == 1 else values
    members = {f"{i}.png": deep_png(v) for i, v in enumerate(squeezed)}
    if channels == 3:
        members |= {f"{i + 2}.tif": deep_tiff(values[i % 2], "<>"[i // 2], i == 3) for i in range(4)}
    expected = (values[[i % 2 for i in range(len(members))]] >> 8).astype(np.uint8)
    if channels != 4:
        assert np.array_equal(alike(members, channels), expected)
    else:
        assert np.array_equal(images.decode(members["0.png"], 4), expected[0])


@pytest.mark.parametrize(
    "kind", ["grey PNG", "RGB PNG", "RGBA PNG", "RGB TIFF", "packed TIFF", "big-endian TIFF", "PGM"]
)
def test_twelve_bits_in_sixteen(kind, write, config, tmp_path):
    """By default they are nearly black, and a warning says so; a stated depth scales all pictures alike."""
    values = np.random.default_rng(0).integers(0, 4096, (*WIDE, 3), dtype=np.uint16)
    values[0, :4] = [[0] * 3, [4095] * 3, [16] * 3, [2048] * 3]
    channels = 3
    if kind == "grey PNG":
        values, channels = values[..., 0], 1
        data = deep_png(values)
    elif kind == "PGM":
        values, channels = values[..., 0], 1
        data = b"P5 32 16 65535 " + values.astype(">u2").tobytes()
    elif kind == "RGBA PNG":
        data = deep_png(np.concatenate([values, np.full((*WIDE, 1), 65535, np.uint16)], axis=2))
    elif kind == "RGB PNG":
        data = deep_png(values)
    else:
        data = deep_tiff(values, ">" if "big" in kind else "<", "packed" in kind)
    path = write(tmp_path, "folder", {"a.img": data, "b.img": data})
    made = {}
    for depth in (16, 12, 11):
        dest = str(tmp_path / f"{depth}.zip")
        report = prepare(Options(path, dest, channels=channels, depth=depth))
        with zipfile.ZipFile(dest) as archive:
            made[depth] = np.asarray(Image.open(io.BytesIO(archive.read("00000/img00000000.png"))))
        warned = [line for line in report.warnings(depth) if "end at 4095 of 65535" in line and "--depth=12" in line]
        assert bool(warned) == (depth == 16)
        assert bool(report.changes["values beyond 11 bits cut off"]) == (depth == 11)
    assert np.array_equal(made[16], values >> 8) and np.array_equal(made[12], values >> 4)
    assert made[12][0, 1].max() == 255
    if kind != "RGBA PNG":
        source = open_source(config(source="folder", path=path, cache="off"), (*WIDE, channels))
        assert any("end at 4095 of 65535" in line and "--depth=12" in line for line in describe_contents(source.info()))


def test_bright_deep_pictures_are_not_warned_of(write, tmp_path):
    values = np.full((16, 16), 100, np.uint16)
    path = write(tmp_path, "zip", {"a.png": deep_png(values), "b.png": deep_png(values + 9000)})
    assert not prepare(Options(path, str(tmp_path / "x.zip"))).warnings(16)
    path = write(tmp_path, "zip", {"a.png": deep_png(values)})
    assert (
        "8-bit data? The data set tool scales them with --depth=8"
        in prepare(Options(path, str(tmp_path / "y.zip"))).warnings(16)[0]
    )
    plain = write(tmp_path, "folder", {"a.png": Image.new("L", (16, 16)).tobytes()} | {"b.png": deep_png(values)})
    assert len(prepare(Options(plain, str(tmp_path / "z.zip"), depth=8)).written) == 1
    with pytest.raises(DataError, match="--depth=7 must be between 8 and 16 bits"):
        prepare(Options(plain, str(tmp_path / "w.zip"), depth=7))


def test_larger_pictures_need_an_option(write, config, tmp_path, capsys):
    """A white picture of 81 megapixels is 10 MB as 1-bit pixels, and 90 kB as a PNG."""
    side = 9000
    row = b"\0" + b"\xff" * (side // 8)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * side)) + chunk(b"IEND", b"")
    path = write(tmp_path, "folder", {"a.png": b"\x89PNG\r\n\x1a\n" + body})
    arguments = [f"--source={path}", "--resolution=8", "--channels=1"]
    assert main([*arguments, f"--dest={tmp_path / 'x.zip'}"]) == 2
    text = capsys.readouterr().err
    assert "--max_megapixels" in text and "Traceback" not in text
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([*arguments, f"--dest={tmp_path / 'x.zip'}", "--max-megapixels=78"]) == 0
    assert before == Image.MAX_IMAGE_PIXELS
    with pytest.raises(DataError, match="between 1 and 2000"):
        prepare(Options(path, str(tmp_path / "y.zip"), max_megapixels=0))


def test_running_out_of_memory_does_not_make_pictures_bad(upright, encode, monkeypatch):
    def runs_out(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "transpose", runs_out)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", runs_out)
    with pytest.raises(MemoryError):
        images.read_image(encode(upright))
