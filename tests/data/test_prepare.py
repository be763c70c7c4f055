"""The data set tool as a whole: layout, labels, determinism, duplicates, all or nothing, the command."""

import argparse
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.data import DataError, open_source
from stylegan_jax.data.prepare import Options, convert, prepare, write as write_module
from stylegan_jax.data.prepare.__main__ import main, parse_resolution

SHAPE = (16, 16, 3)
BUNDLED = Path(__file__).parents[2] / "datasets" / "emoji64.zip"


@pytest.fixture
def photos(smooth, encode, write, tmp_path):
    """A folder of ten images in two subfolders, with dataset.json; (path, pixels in the order of names)."""
    pixels = smooth(10)
    names = [f"{'cats' if i < 4 else 'dogs'}/{i}.png" for i in range(10)]
    members = {n: encode(p) for n, p in zip(names, pixels, strict=True)}
    labels = {"labels": [[n, i % 3] for i, n in enumerate(names)], "label_names": ["x", "y", "z"]}
    return write(tmp_path, "folder", members, labels), pixels


def contents(path) -> dict[str, bytes]:
    """Return {name: bytes} of a zip or folder."""
    if os.path.isfile(path):
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in Path(path).rglob("*") if p.is_file()}


def refused(text: str, **options) -> str:
    with pytest.raises(DataError, match=text) as raised:
        prepare(Options(**options))
    return str(raised.value)


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_the_layout_is_that_of_the_official_tools(kind, photos, config, tmp_path):
    path, pixels = photos
    dest = str(tmp_path / ("out.zip" if kind == "zip" else "out"))
    report = prepare(Options(path, dest))
    found = contents(dest)
    names = [f"00000/img{i:08}.png" for i in range(10)]
    assert set(found) == {*names, "dataset.json", "meta.json"}
    labels = json.loads(found["dataset.json"])
    assert labels == {"labels": [[n, i % 3] for i, n in enumerate(names)], "label_names": ["x", "y", "z"]}
    meta = json.loads(found["meta.json"])
    assert meta["image_shape"] == [16, 16, 3] and meta["labels"] == {"kind": "classes", "length": 3}
    assert meta["counts"] == {"looked_at": 10, "written": 10, "skipped": 0, "duplicates": 0}
    for (name, source, digest), i in zip(meta["images"], range(10), strict=True):
        assert name == names[i] and source.endswith(f"/{i}.png")
        assert hashlib.sha256(found[name]).hexdigest() == digest
        assert len(found[name]) > 16 * 16 * 3  # uncompressed
    # Images are what Pillow knows by suffix: the json files are none, neither for the official tools nor for ours.
    Image.init()
    assert sorted(n for n in found if os.path.splitext(n)[1] in Image.EXTENSION) == names
    source = open_source(config(source=kind, path=dest, labels="file"), SHAPE)
    assert np.array_equal(source.gather(np.arange(10)), pixels) and source.info().label_names == ("x", "y", "z")
    assert source.labels(np.arange(10)).argmax(1).tolist() == [i % 3 for i in range(10)]
    source.close()
    if kind == "zip":
        with zipfile.ZipFile(dest) as archive:
            assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
            assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert report.size == (16, 16)


def test_names_go_on_in_the_next_folder():
    assert write_module.member_name(999) == "00000/img00000999.png"
    assert write_module.member_name(1000) == "00001/img00001000.png"
    assert write_module.member_name(70_000) == "00070/img00070000.png"


def test_the_same_input_gives_the_same_bytes(photos, tmp_path):
    path, _ = photos
    made = []
    for i, workers in enumerate((1, 2, 5)):
        dest = tmp_path / f"{i}" / "x.zip"
        prepare(Options(path, str(dest), workers=workers, resolution=(8, 8)))
        made.append(dest.read_bytes())
        time.sleep(0.01)
    assert made[0] == made[1] == made[2]
    folder = tmp_path / "folder"
    prepare(Options(path, str(folder), resolution=(8, 8)))
    assert contents(folder) == contents(tmp_path / "0" / "x.zip")
    again = prepare(Options(str(folder), str(tmp_path / "again.zip")))  # what it wrote, it reads
    first = json.loads(contents(folder)["meta.json"])["images"]
    assert [digest for _, _, digest in again.written] == [digest for _, _, digest in first]


LABELS = {
    "auto": [0, 1, 2, 0, 1, 2, 0, 1, 2, 0],
    "file": [0, 1, 2, 0, 1, 2, 0, 1, 2, 0],
    "subfolders": [0] * 4 + [1] * 6,
    "none": None,
}


@pytest.mark.parametrize("labels", LABELS)
def test_where_labels_come_from(labels, photos, tmp_path):
    path, _ = photos
    report = prepare(Options(path, str(tmp_path / "x.zip"), labels=labels))
    tree = json.loads(contents(tmp_path / "x.zip")["dataset.json"])
    expected = LABELS[labels]
    if expected is None:
        assert tree == {"labels": None} and report.labels == [None] * 10
        prepare(Options(str(tmp_path / "x.zip"), str(tmp_path / "y.zip")))  # null labels are none
        refused("no list", source=str(tmp_path / "x.zip"), dest=str(tmp_path / "z.zip"), labels="file")
    else:
        assert [label for _, label in tree["labels"]] == expected
    if labels == "subfolders":
        assert tree["label_names"] == ["cats", "dogs"]


@pytest.mark.parametrize("values", [[[0.5, -1.25], [3e5, 0]], [[1, 0, 1], [0, 0, 0]]])
def test_vectors_stay_as_they_are(values, smooth, encode, write, config, tmp_path):
    names = ["a.png", "b.png"]
    members = {n: encode(p) for n, p in zip(names, smooth(2), strict=True)}
    path = write(tmp_path, "zip", members, {"labels": [list(x) for x in zip(names, values, strict=True)]})
    prepare(Options(path, str(tmp_path / "out.zip")))
    source = open_source(config(source="zip", path=str(tmp_path / "out.zip"), labels="file"), SHAPE)
    assert np.array_equal(source.labels(np.arange(2)), np.array(values, np.float32))
    source.close()


def test_images_without_a_label_are_left_out(photos, smooth, encode, tmp_path):
    path, _ = photos
    (Path(path) / "loose.png").write_bytes(encode(smooth(1, seed=9)[0]))
    for labels in ("auto", "subfolders"):
        report = prepare(Options(path, str(tmp_path / f"{labels}.zip"), labels=labels))
        assert report.skipped == [("loose.png", "no label")] and len(report.written) == 10
    assert len(prepare(Options(path, str(tmp_path / "none.zip"), labels="none")).written) == 11


def test_labels_that_cannot_be_used(smooth, encode, write, tmp_path):
    members = {"a.png": encode(smooth(1)[0]), "b.png": encode(smooth(1, seed=1)[0])}
    dest = str(tmp_path / "out.zip")
    cases = (
        ({"labels": [["a.png", 0], ["b.png", [1.0]]]}, "auto", "the label of a.png is 0"),
        ({"labels": [["a.png", -1], ["b.png", 0]]}, "file", "count from 0"),
        ({"labels": [["x.png", 1]]}, "auto", "no label for 2 of 2 images"),
        ([], "auto", "no list"),
        (None, "file", r"--labels='file' needs .*dataset\.json, which is not there"),
        (None, "subfolders", "no image lies in a subfolder"),
    )
    for tree, labels, text in cases:
        for kind in ("zip", "folder"):
            root = tmp_path / f"{len(os.listdir(tmp_path))}"
            root.mkdir()
            refused(text, source=write(root, kind, members, tree), dest=dest, labels=labels)
    assert not os.path.exists(dest)


def test_duplicates_are_reported_or_dropped(smooth, encode, write, tmp_path):
    a, b = smooth(2)
    members = {"0.png": encode(a), "1.bmp": encode(a, "BMP"), "2.png": encode(b), "3.png": encode(a)}
    path = write(tmp_path, "zip", members)
    kept = prepare(Options(path, str(tmp_path / "keep.zip")))
    assert len(kept.written) == 4 and kept.duplicates == [("1.bmp", "0.png"), ("3.png", "0.png")]
    dropped = prepare(Options(path, str(tmp_path / "drop.zip"), duplicates="drop"))
    assert [source for _, source, _ in dropped.written] == ["0.png", "2.png"]
    assert dropped.duplicates == kept.duplicates and dropped.skipped == []
    assert sorted(contents(tmp_path / "drop.zip"))[:2] == ["00000/img00000000.png", "00000/img00000001.png"]


def test_max_images_are_the_first(photos, tmp_path):
    path, _ = photos
    (Path(path) / "cats" / "1.png").write_bytes(b"")
    report = prepare(Options(path, str(tmp_path / "x.zip"), max_images=3))
    assert [source for _, source, _ in report.written] == ["cats/0.png", "cats/2.png", "cats/3.png"]
    assert [name for name, _ in report.skipped] == ["cats/1.png"] and report.looked_at == 4
    prepare(Options(path, str(tmp_path / "y.zip"), max_images=1, strict=True))  # the bad one lies behind


def test_strict_names_all_and_writes_nothing(photos, tmp_path):
    path, _ = photos
    for name in ("cats/1.png", "dogs/5.png", "dogs/9.png"):
        (Path(path) / name).write_bytes(b"")
    text = refused("3 of 10 images cannot be used", source=path, dest=str(tmp_path / "x.zip"), strict=True)
    assert "3 x empty file (0 bytes): cats/1.png, dogs/5.png, dogs/9.png" in text and "leave out --strict" in text
    assert os.listdir(tmp_path) == ["set"]
    for file in Path(path).rglob("*.png"):
        file.write_bytes(b"")
    refused("10 of 10 images cannot be used; none is left", source=path, dest=str(tmp_path / "x.zip"))


def test_an_odd_first_image_does_not_decide(smooth, encode, write, tmp_path):
    members = {"0.png": encode(smooth(1, 8)[0])} | {f"{i}.png": encode(p) for i, p in enumerate(smooth(3), 1)}
    path = write(tmp_path, "zip", members)
    text = refused("most not 8x8 like the first; set --resolution", source=path, dest=str(tmp_path / "x.zip"))
    assert "3 x 16x16 pixels, not 8x8" in text
    report = prepare(Options(path, str(tmp_path / "x.zip"), resolution=(16, 16)))
    assert len(report.written) == 4 and report.changes == {"enlarged": 1}


def test_options_are_checked_before_anything_is_read(tmp_path):
    cases = {
        r"--transform=crop must be one of none, stretch, center-crop": {"transform": "crop"},
        r"--resize_filter=cubic must be one of box, lanczos": {"resize_filter": "cubic"},
        r"--labels=json must be one of auto, file": {"labels": "json"},
        r"--channels=2 must be one of 0, 1, 3, 4": {"channels": 2},
        r"--alpha=red must be one of white": {"alpha": "red"},
        r"--duplicates=ask must be one of keep, drop": {"duplicates": "ask"},
        r"--workers=0 must be at least 1": {"workers": 0},
        r"--max_images=-1 must be at least 0": {"max_images": -1},
        r"--resolution=0x5: each side must have between 1 and 8192": {"resolution": (0, 5)},
        r"--resolution=5x9000: each side": {"resolution": (5, 9000)},
        r"--transform=center-crop needs --resolution": {"transform": "center-crop"},
        r"use --transform=center-crop-tall": {"transform": "center-crop-wide", "resolution": (8, 16)},
        r"use --transform=center-crop-wide": {"transform": "center-crop-tall", "resolution": (16, 8)},
    }
    for text, changes in cases.items():
        refused(text, source="nowhere", dest=str(tmp_path / "x.zip"), **changes)
    assert parse_resolution("256") == (256, 256) and parse_resolution("512x384") == (512, 384)
    for wrong in ("", "256x", "axb", "1e3", "-5", "256x256x3"):
        with pytest.raises(argparse.ArgumentTypeError, match="write a size such as 256"):
            parse_resolution(wrong)


def test_destinations_that_are_refused(photos, tmp_path):
    path, _ = photos
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "old.zip").write_bytes(b"old")
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "dir.zip").mkdir()
    cases = (
        (path, {}, "contain each other"),
        (f"{path}/out.zip", {}, "contain each other"),
        (str(tmp_path), {"overwrite": True}, "contain each other"),
        ("old.zip", {}, "exists; choose another, or replace it with --overwrite"),
        ("mine", {}, "is not empty; choose another, or replace it with --overwrite"),
        ("mine", {"overwrite": True}, "was not made by this tool"),
        ("file", {"overwrite": True}, "is a file"),
        ("dir.zip", {"overwrite": True}, "is a folder"),
        ("x.tar.gz", {}, "only .zip files and folders"),
        ("file/x.zip", {}, "cannot be written"),
        ("", {}, "--dest is empty"),
    )
    for dest, options, text in cases:
        where = dest if not dest or os.path.isabs(dest) else str(tmp_path / dest)
        refused(text, source=path, dest=where, **options)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear" and (tmp_path / "old.zip").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["dir.zip", "file", "mine", "old.zip", "set"]


@pytest.mark.parametrize("name", ["x.zip", "x"])
def test_force_replaces_what_the_tool_made(name, photos, tmp_path):
    path, _ = photos
    dest = str(tmp_path / name)
    prepare(Options(path, dest))
    refused("--overwrite", source=path, dest=dest)
    prepare(Options(path, dest, overwrite=True, max_images=2))
    assert len(contents(dest)) == 4 and sorted(os.listdir(tmp_path)) == sorted(["set", name])


@pytest.mark.parametrize("name", ["x.zip", "x"])
def test_a_failure_leaves_the_old_set_and_nothing_half(name, photos, tmp_path, monkeypatch):
    path, _ = photos
    dest = str(tmp_path / name)
    prepare(Options(path, dest, max_images=1))
    before, make, calls = contents(dest), convert.make, []

    def breaks(*arguments):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return make(*arguments)

    monkeypatch.setattr(convert, "make", breaks)
    with pytest.raises(KeyboardInterrupt):
        prepare(Options(path, dest, overwrite=True, workers=1))
    monkeypatch.setattr(convert, "make", make)
    full = OSError(28, "No space left on device")
    for writer in (write_module._ZipWriter, write_module._FolderWriter):
        monkeypatch.setattr(writer, "add", lambda *_: (_ for _ in ()).throw(full))
    refused("No space left on device; nothing was written", source=path, dest=dest, overwrite=True)
    assert contents(dest) == before and sorted(os.listdir(tmp_path)) == sorted(["set", name])


@pytest.mark.parametrize("name", ["x.zip", "x"])
def test_a_live_run_is_not_disturbed_and_a_dead_one_is_taken_over(name, photos, tmp_path):
    path, _ = photos
    dest = str(tmp_path / name)
    with write_module.open_writer(dest) as live:
        live.add("00000/img00000000.png", b"live")
        refused("is being written by another run", source=path, dest=dest)
        live.finish()
    assert contents(dest) == {"00000/img00000000.png": b"live"}
    part = tmp_path / f".{name}.prepare-part"  # as kill -9 leaves it
    if name == "x":
        (part / "00000").mkdir(parents=True)
        (part / "00000" / "img00000077.png").write_bytes(b"half")
        (tmp_path / "x" / "meta.json").write_text('{"format": "stylegan_jax prepared data set"}')
    else:
        part.write_bytes(b"half" * 100_000)
    prepare(Options(path, dest, overwrite=True))
    assert len(contents(dest)) == 12 and not part.exists()


def test_hostile_zips(smooth, encode, write, tmp_path):
    good = encode(smooth(1)[0])
    path = write(tmp_path, "zip", {"good.png": good})
    link = zipfile.ZipInfo("link.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../../evil.png", "/etc/evil.png", "C:/evil.png", "a/../../evil.png", "a\\..\\evil.png"):
            archive.writestr(name, good)
        archive.writestr(link, "/etc/passwd")
        archive.writestr("bomb.png", bytes(1 << 25), zipfile.ZIP_DEFLATED)
        archive.writestr("lzma.png", good, zipfile.ZIP_LZMA)
        archive.writestr("locked.png", encode(smooth(1, seed=3)[0]))
    content = bytearray(Path(path).read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1
    Path(path).write_bytes(content)
    report = prepare(Options(path, str(tmp_path / "deep" / "out")))
    reasons = dict(report.skipped)
    assert reasons.pop("link.png") == "a link, which is not followed"
    assert "decompression bomb" in reasons.pop("bomb.png") and "method 14" in reasons.pop("lzma.png")
    assert "encrypted" in reasons.pop("locked.png")
    assert len(reasons) == 5 and set(reasons.values()) == {"its name leads outside the set"}
    written = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(written) == [
        "deep/out/00000/img00000000.png",
        "deep/out/dataset.json",
        "deep/out/meta.json",
        "set.zip",
    ]


def test_links_and_pipes_in_a_folder(photos, tmp_path):
    path, _ = photos
    os.symlink("loop.png", os.path.join(path, "loop.png"))
    os.symlink("/", os.path.join(path, "root"))
    os.mkfifo(os.path.join(path, "pipe.png"))
    reasons = dict(prepare(Options(path, str(tmp_path / "x.zip"), labels="none")).skipped)
    assert "Too many levels" in reasons["loop.png"] and "a link to a folder" in reasons["root"]
    assert reasons["pipe.png"] == "not a regular file" and len(reasons) == 3


def test_the_bundled_set_comes_out_as_it_went_in(tmp_path, config):
    report = prepare(Options(str(BUNDLED), str(tmp_path / "x.zip"), max_images=200))
    assert report.size == (64, 64) and len(report.written) == 200 and report.label_names[0] == "Smileys & Emotion"
    files = {"source": "zip", "labels": "file", "cache": "off"}
    ours, theirs = (open_source(config(path=str(p), **files), (64, 64, 3)) for p in (tmp_path / "x.zip", BUNDLED))
    assert np.array_equal(ours.gather(np.arange(200)), theirs.gather(np.arange(200)))
    assert np.array_equal(ours.labels(np.arange(200)).argmax(1), theirs.labels(np.arange(200)).argmax(1))
    ours.close()
    theirs.close()


def test_the_command_reports_what_it_did(photos, encode, smooth, tmp_path, capsys):
    path, _ = photos
    (Path(path) / "cats" / "odd\x1b[31m.png").write_bytes(b"")
    (Path(path) / "cats" / "00.png").write_bytes(encode(smooth(10)[3][..., 0]))
    dest = str(tmp_path / "x.zip")
    arguments = [f"--source={path}", f"--dest={dest}", "--labels=subfolders", "--resolution=8"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for words in (
        f"{dest}: 11 images of 8x8, 3 channels, labels: classes of length 2",
        "changed: 1 x grey to RGB",
        "skipped: 1 (meta.json lists all)",
        r"  1 x empty file (0 bytes): 'cats/odd\x1b[31m.png'",
        f"configs/auto.py:8 --workdir=runs/mine --config.data.source=zip --config.data.path={dest}",
        "--config.data.labels=file",
    ):
        assert words in out
    assert main(arguments) == 2
    assert "error: --dest=" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--resolution=12x8", "--transform=center-crop", "--duplicates=drop"]) == 0
    out = capsys.readouterr().out
    assert "12x8 is not a square power of two" in out
    with pytest.raises(SystemExit, match="2"):
        main([f"--source={path}", f"--dest={dest}", "--resolution=big"])
    assert "'big': write a size" in capsys.readouterr().err


HELP = """
import sys
from stylegan_jax.data.prepare.__main__ import main
source, dest = sys.argv[1:]
assert main([f"--source={source}", f"--dest={dest}", "--max_images=20"]) == 0
heavy = [m for m in ("tensorflow", "tensorflow_datasets", "jax", "clu", "orbax", "lmdb") if m in sys.modules]
assert not heavy, heavy
"""


def test_neither_tensorflow_nor_jax_is_imported(tmp_path):
    command = [sys.executable, "-c", HELP, str(BUNDLED), str(tmp_path / "x.zip")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "20 images of 64x64" in done.stdout, done.stderr


# A parent in the background may hand its ignored SIGINT down.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from stylegan_jax.data.prepare.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_command_leaves_nothing_half(number, encode, tmp_path):
    (tmp_path / "photos").mkdir()
    large = encode(np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8))
    for i in range(60):
        (tmp_path / "photos" / f"{i}.png").write_bytes(large)
    command = [sys.executable, "-c", COMMAND, f"--source={tmp_path}/photos"]
    command += [f"--dest={tmp_path}/x.zip", "--workers=1", "--resolution=511"]
    part = tmp_path / ".x.zip.prepare-part"
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 1 << 20) and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert not (tmp_path / "x.zip").exists(), "it was done before the signal came"
    assert part.exists() == (number == signal.SIGKILL)
    assert running.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    if number == signal.SIGINT:
        assert b"was not written" in err and b"Traceback" not in err


def test_png_bytes_carry_nothing_of_the_source(encode, smooth):
    exif = Image.Exif()
    exif[0x010E] = "private"
    png = convert.make(encode(smooth(1)[0], "JPEG", exif=exif, comment=b"private"), convert.Recipe(3)).png
    assert b"private" not in png and Image.open(io.BytesIO(png)).info == {}
