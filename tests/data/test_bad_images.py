"""Every kind of bad image is found before the first step, named, and refused or left out by policy."""

import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.data import BadImage, DataError, open_source, order

SHAPE = (16, 16, 3)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _raw_png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _flipped(png: bytes) -> bytes:
    at = png.index(b"IDAT") + 20
    return png[:at] + bytes([png[at] ^ 1]) + png[at + 1 :]


@pytest.fixture(scope="module")
def bad(smooth, encode):
    """{kind: (name, bytes, words in the reason)}."""
    rgb = Image.fromarray(smooth(1)[0])
    noise = np.random.default_rng(1).integers(0, 256, SHAPE, dtype=np.uint8)
    png, jpeg = encode(noise), encode(noise, "JPEG")
    frames = [Image.fromarray(p) for p in smooth(2, seed=5)]
    several = {"save_all": True, "append_images": frames[1:]}
    return {
        "zero bytes": ("x.png", b"", "0 bytes"),
        "truncated png": ("x.png", png[: len(png) // 2], "truncated"),
        "png without end": ("x.png", png[:-12], "truncated"),
        "truncated jpeg": ("x.jpg", jpeg[:-20], "damaged or truncated JPEG"),
        "truncated webp": ("x.webp", encode(noise, "WEBP", lossless=True)[:-60], "WEBP|header"),
        "flipped bit": ("x.png", _flipped(png), "checksum|damaged"),
        "text": ("x.png", b"<html>404 not found</html>", "text such as HTML"),
        "gif": ("x.gif", encode(rgb, "GIF"), "palette image, not RGB"),
        "gif by another name": ("x.png", encode(rgb, "GIF"), "palette image, not RGB"),
        "eps by another name": ("x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a PNG"),
        "heic": ("x.HEIC", b"\0\0\0\x18ftypheic", "not read"),
        "raw of a camera": ("x.dng", encode(rgb, "TIFF"), "not read"),
        "animated png": ("x.png", encode(frames[0], "PNG", **several), "several frames"),
        "animated webp": ("x.webp", encode(frames[0], "WEBP", **several), "several frames"),
        "pages": ("x.tiff", encode(frames[0], "TIFF", **several), "several frames or pages, not one image"),
        "cmyk": ("x.jpg", encode(rgb.convert("CMYK"), "JPEG"), "CMYK, not RGB"),
        "16-bit grey": ("x.png", _raw_png(16, 16, 16, 0, (b"\0" + bytes(32)) * 16), "8-bit grey, not RGB"),
        "4-bit grey": ("x.png", _raw_png(16, 16, 4, 0, (b"\0" + bytes(8)) * 16), "8-bit grey, not RGB"),
        "palette": ("x.png", encode(rgb.quantize(200)), "palette image, not RGB"),
        "palette with alpha": ("x.png", encode(rgb.quantize(200), transparency=0), "palette image"),
        "1-bit": ("x.png", encode(rgb.convert("1")), "1-bit black and white"),
        "grey": ("x.png", encode(rgb.convert("L")), "8-bit grey, not RGB"),
        "grey with alpha": ("x.png", encode(rgb.convert("LA")), "grey with alpha"),
        "rgba": ("x.png", encode(rgb.convert("RGBA")), "with alpha"),
        "transparent colour": ("x.png", encode(rgb, transparency=(0, 0, 0)), "transparent colour"),
        "1x1": ("x.png", encode(rgb.resize((1, 1))), "1x1 pixels, not 16x16"),
        "other size": ("x.jpg", encode(rgb.resize((16, 24)), "JPEG"), "16x24 pixels, not 16x16"),
        "bomb": ("x.png", _raw_png(20000, 20000, 8, 2, b""), "bomb"),
        "bomb that Pillow warns of": ("x.png", _raw_png(12000, 12000, 8, 2, b""), "bomb"),
        "smaller bomb": ("x.png", _raw_png(9000, 9000, 8, 2, b""), "bomb"),
    }


KINDS = [
    "zero bytes", "truncated png", "png without end", "truncated jpeg", "truncated webp", "flipped bit", "text", "gif",
    "gif by another name", "eps by another name", "heic", "raw of a camera", "animated png", "animated webp", "pages",
    "cmyk", "16-bit grey", "4-bit grey",
    "palette", "palette with alpha", "1-bit", "grey", "grey with alpha", "rgba", "transparent colour", "1x1",
    "other size", "bomb", "bomb that Pillow warns of", "smaller bomb",
]  # fmt: skip


def check_policies(config, kind, path, name, reason, cache):
    """Refused by name with 'error'; left out, counted and listed with 'skip'."""
    with pytest.raises(DataError, match=rf"1 of 4 images.*\n  {name}: .*({reason})[^\n]*\n.*on_bad_image=skip"):
        open_source(config(source=kind, path=path, cache=cache), SHAPE)
    source = open_source(config(source=kind, path=path, cache=cache, on_bad_image="skip"), SHAPE)
    info = source.info()
    assert info.num_images == 3 and [n for n, _ in info.skipped] == [name] and source.gather(np.arange(3)).any()
    source.close()


@pytest.mark.parametrize("bad_kind", KINDS)
@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_bad_images_are_found_at_start(kind, bad_kind, bad, smooth, encode, write, config, tmp_path):
    name, data, reason = bad[bad_kind]
    good = {f"{i}.png": encode(p) for i, p in enumerate(smooth(3))}
    path = write(tmp_path, kind, {**good, name: data})
    check_policies(config, kind, path, name, reason, "host")
    if bad_kind != "flipped bit":  # inside a well-formed file: only decoding tells, at the latest when it is shown
        check_policies(config, kind, path, name, reason, "off")
    else:
        source = open_source(config(source=kind, path=path, cache="off"), SHAPE)
        with pytest.raises(BadImage, match=r"x\.png: damaged"):
            source.pixels(3)
        source.close()


def test_all_kinds_are_tested(bad):
    assert list(bad) == KINDS


def test_a_set_of_bad_images_only_is_refused_in_both_policies(write, config, tmp_path):
    path = write(tmp_path, "zip", {f"{i:02}.png": b"" for i in range(20)})
    for policy in ("error", "skip"):
        with pytest.raises(DataError, match=r"20 of 20 images(.*\n)+.*… and 10 more"):
            open_source(config(source="zip", path=path, on_bad_image=policy), SHAPE)


def test_skipping_keeps_labels_with_their_images(smooth, encode, write, config, tmp_path):
    pixels = smooth(6)
    members = {f"{i}.png": encode(p) for i, p in enumerate(pixels)}
    labels = {"labels": [[n, i] for i, n in enumerate(members)]}
    members["1.png"] = b""  # found by the quick check
    members["4.png"] = _flipped(members["4.png"])  # found by decoding
    path = write(tmp_path, "zip", members, labels)
    source = open_source(config(source="zip", path=path, labels="file", on_bad_image="skip", cache="host"), SHAPE)
    assert source.info().num_images == 4 and source.info().label_dim == 6
    assert [n for n, _ in source.info().skipped] == ["1.png", "4.png"]
    assert source.labels(np.arange(4)).argmax(1).tolist() == [0, 2, 3, 5]
    assert np.array_equal(source.gather(np.arange(4)), pixels[[0, 2, 3, 5]])
    source.close()


@pytest.mark.parametrize("subset", [3, 4, 5])
def test_a_subset_without_its_bad_images_stays_in_step_with_its_labels(subset, smooth, encode, write, config, tmp_path):
    pixels = smooth(6)
    members = {f"{i}.png": encode(p) for i, p in enumerate(pixels)}
    labels = {"labels": [[n, i] for i, n in enumerate(members)]}
    members |= {"0.png": b"", "3.png": _flipped(members["3.png"]), "5.png": _flipped(members["5.png"])}
    path = write(tmp_path, "zip", members, labels)
    options = {"labels": "file", "on_bad_image": "skip", "cache": "host", "subset": subset, "subset_seed": 1}
    source = open_source(config(source="zip", path=path, **options), SHAPE)
    chosen = (order.subset(1, subset, 5) if subset < 5 else np.arange(5)) + 1  # image 0 is gone before the choice
    expected = [i for i in chosen if i not in (3, 5)]
    assert 0 < len(expected) < subset == len(chosen)
    assert source.info().num_images == len(expected)
    assert source.labels(np.arange(len(expected))).argmax(1).tolist() == expected
    assert np.array_equal(source.gather(np.arange(len(expected))), pixels[expected])
    assert np.array_equal(source.inner.pixels(int(source.stored(0))), pixels[expected[0]])
    source.close()


def test_a_subset_of_bad_images_only_is_refused(smooth, encode, write, config, tmp_path):
    members = {f"{i}.png": encode(p) for i, p in enumerate(smooth(3))}
    path = write(tmp_path, "zip", {n: _flipped(d) if n == "1.png" else d for n, d in members.items()})
    seed = next(s for s in range(50) if order.subset(s, 1, 3)[0] == 1)
    options = {"on_bad_image": "skip", "cache": "host", "subset": 1, "subset_seed": seed}
    with pytest.raises(DataError, match=r"1 of 1 images(.*\n)+.*1\.png: damaged"):
        open_source(config(source="zip", path=path, **options), SHAPE)


@pytest.mark.parametrize("subset", [0, 5])
def test_all_sizes_of_a_run_that_grows_skip_the_same_images(subset, smooth, encode, write, config, tmp_path):
    """Too large to be held at the model's size, the images are decoded for the smallest before any is shown."""
    pixels = smooth(6)
    members = {f"{i}.png": encode(p) for i, p in enumerate(pixels)}
    labels = {"labels": [[n, i] for i, n in enumerate(members)]}
    members |= {"1.png": _flipped(members["1.png"]), "4.png": _flipped(members["4.png"])}
    path = write(tmp_path, "zip", members, labels)
    options = {"labels": "file", "cache": "auto", "cache_limit_mb": 0.002, "subset": subset}  # 4 KB at 16x16, 1 at 8x8
    data = config(source="zip", path=path, on_bad_image="skip", **options)
    source = open_source(data, SHAPE)
    assert source.array is None and source.info().num_images == (subset or 6)
    source.leave_out_bad((4, 4, 3), data)
    kept = [i for i in (order.subset(0, 5, 6) if subset else range(6)) if i not in (1, 4)]
    everything = np.arange(len(kept))
    for size in (4, 8, 16):
        at = source.at((size, size, 3), data)
        assert at is source.at((size, size, 3), data) or size == 8  # decoded once for the smallest
        assert (at.array is None) == (size == 16) and at.info() == source.info()
        assert at.labels(everything).argmax(1).tolist() == kept
        step = 16 // size  # the images are of 4x4 blocks of one colour
        assert np.array_equal(at.gather(everything), pixels[kept][:, ::step, ::step])
    assert [n for n, _ in source.info().skipped] == ["1.png", "4.png"]
    source.close()


@pytest.mark.parametrize(("policy", "words"), [("error", "on_bad_image=skip"), ("skip", r"^1\.png: damaged")])
def test_an_image_that_a_smaller_size_cannot_decode_is_named(policy, words, smooth, encode, write, config, tmp_path):
    members = {f"{i}.png": encode(p) for i, p in enumerate(smooth(3))}
    path = write(tmp_path, "zip", members | {"1.png": _flipped(members["1.png"])})
    source = open_source(config(source="zip", path=path, cache="off", on_bad_image=policy), SHAPE)
    with pytest.raises(DataError, match=words):
        source.at((8, 8, 3), config(cache="host", on_bad_image=policy))
    source.close()


def test_the_most_common_size_wins(smooth, encode, write, config, tmp_path):
    members = {"0.png": encode(smooth(1, 8)[0])} | {f"{i}.png": encode(p) for i, p in enumerate(smooth(3), 1)}
    path = write(tmp_path, "zip", members)
    with pytest.raises(DataError, match=r"1 of 4 .*\n  0\.png: 8x8 pixels, not 16x16 like most"):
        open_source(config(source="zip", path=path), SHAPE)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channel_counts_are_taken_as_they_are(channels, smooth, encode, write, config, tmp_path):
    pixels = smooth(2, channels=channels)
    members = {f"{i}.png": encode(p[..., 0] if channels == 1 else p) for i, p in enumerate(pixels)}
    members["x.png"] = encode(smooth(1)[0])
    path = write(tmp_path, "folder", members)
    with pytest.raises(DataError, match=r"x\.png: RGB, not (8-bit grey|RGBA)"):
        open_source(config(source="folder", path=path), (16, 16, channels))
    source = open_source(config(source="folder", path=path, on_bad_image="skip"), (16, 16, channels))
    assert np.array_equal(source.gather(np.arange(2)), pixels)


def test_links_and_pipes_in_folders(smooth, encode, write, config, tmp_path):
    path = write(tmp_path, "folder", {f"{i}.png": encode(p) for i, p in enumerate(smooth(3))})
    outside = tmp_path / "outside.png"
    outside.write_bytes(encode(smooth(1, seed=9)[0]))
    cases = {
        "loop.png": (lambda p: os.symlink(p, p), "cannot be read: Too many levels"),
        "gone.png": (lambda p: os.symlink("nowhere.png", p), "cannot be read: No such file"),
        "pipe.png": (os.mkfifo, "not a regular file"),
        "circle": (lambda p: os.symlink(os.path.dirname(p), p), "a link to a folder"),
    }
    for name, (make, reason) in cases.items():
        made = os.path.join(path, name)
        make(made)
        check_policies(config, "folder", path, name, reason, "off")
        os.unlink(made)
    os.symlink(outside, os.path.join(path, "fine.png"))
    assert open_source(config(source="folder", path=path), SHAPE).info().num_images == 4


def test_zip_members_that_are_not_read(smooth, encode, write, config, tmp_path):
    good = {f"{i}.png": encode(p) for i, p in enumerate(smooth(3))}
    extra = encode(smooth(1, seed=9)[0])

    def make(change, method: int = zipfile.ZIP_STORED, data: bytes = extra) -> str:
        path = write(tmp_path, "zip", good)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("x.png", data, method)
        content = bytearray((tmp_path / "set.zip").read_bytes())
        change(content, content.rindex(b"PK\1\2"))
        (tmp_path / "set.zip").write_bytes(content)
        return path

    def encrypt(content, at):
        content[at + 8] |= 1

    def lie(content, at):
        content[at + 24 : at + 28] = struct.pack("<I", 1 << 30)

    def nothing(content, at):
        del content, at

    def elsewhere(content, at):
        content[at + 42 : at + 46] = struct.pack("<I", 7)

    cases = (
        (lambda: make(encrypt), "encrypted"),
        (lambda: make(lie), "two sizes"),
        (lambda: make(nothing, zipfile.ZIP_LZMA), "packed by method 14"),
        (lambda: make(nothing, zipfile.ZIP_DEFLATED, bytes(1 << 25)), "decompression bomb"),
        (lambda: make(elsewhere), "no member starts"),
    )
    for made, reason in cases:
        check_policies(config, "zip", made(), "x.png", reason, "off")


def test_a_flipped_bit_in_a_stored_member_is_found_when_it_is_read(smooth, encode, write, config, tmp_path):
    """JPEG has no checksum of its own: the zip's is compared."""
    path = write(tmp_path, "zip", {f"{i}.jpg": encode(p, "JPEG") for i, p in enumerate(smooth(3))})
    source = open_source(config(source="zip", path=path, cache="off"), SHAPE)
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("1.jpg").header_offset + 30 + 5 + 200
    with open(path, "r+b") as file:
        file.seek(at)
        value = file.read(1)[0]
        file.seek(at)
        file.write(bytes([value ^ 4]))
    with pytest.raises(BadImage, match=r"1\.jpg: damaged zip: size or checksum"):
        source.pixels(1)
    source.close()


def test_names_with_control_characters_are_escaped(encode, write, config, tmp_path):
    path = write(tmp_path, "zip", {"\x1b[31mred.png": b""})
    with pytest.raises(DataError, match=r"\\x1b\[31mred"):
        open_source(config(source="zip", path=path), SHAPE)
