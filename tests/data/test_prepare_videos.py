"""Video files, animations and folders of frames to data sets: which frames, at what rate, and what is left out."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import os
import re
import struct
import tracemalloc
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import animation, film, picture
from PIL import Image

from stylegan_jax.config import ClipRule
from stylegan_jax.configs import stylegan_v
from stylegan_jax.data import DataError, images, open_batches, open_source
from stylegan_jax.data.prepare import Options, prepare, video_files
from stylegan_jax.data.prepare.__main__ import main
from stylegan_jax.data.prepare.examples import Frame
from stylegan_jax.data.prepare.video_run import at_rate, window
from stylegan_jax.data.video_source import videos_of

RULE = ClipRule(3, 1024, "random", 32, (1, 2, 4, 8, 16, 32), True)


def colours(path) -> dict[str, list[tuple[int, int]]]:
    """Return {folder: [(red, green) of each frame's last pixel]} of a written zip or folder."""
    found: dict[str, list[tuple[int, int]]] = {}
    for name, data in sorted(contents(path).items()):
        if name.endswith(".png"):
            pixels = np.asarray(Image.open(io.BytesIO(data)))
            found.setdefault(name.rpartition("/")[0], []).append(tuple(map(int, pixels[-1, -1, :2])))
    return found


def contents(path) -> dict[str, bytes]:
    if os.path.isfile(path):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in Path(path).rglob("*") if p.is_file()}


def made(tmp_path, source, dest="out.zip", **options):
    """Prepare; return (report, {folder: frames as in `colours`})."""
    report = prepare(Options(str(source), str(tmp_path / dest), overwrite=True, **options))
    return report, colours(tmp_path / dest)


def frames_of(found) -> list[list[int]]:
    return [[frame for _, frame in seen] for seen in found.values()]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    """A folder with a video of every kind, in two subfolders."""
    root = tmp_path_factory.mktemp("shelf")
    film(root / "cats" / "2.mp4", 8, 1)
    film(root / "cats" / "10.mov", 6, 2)
    animation(root / "cats" / "a.gif", 5, 3)
    animation(root / "dogs" / "b.webp", 4, 4, lossless=True)
    animation(root / "dogs" / "c.png", 3, 5)
    lossless = {"codec": "libvpx-vp9", "pix_fmt": "gbrp", "options": {"lossless": "1"}}
    film(root / "dogs" / "d.webm", 7, 6, **lossless)
    (root / "dogs" / "notes.txt").write_text("not a video")
    return root


def test_videos_of_every_kind_become_folders_of_frames_that_training_reads(shelf, tmp_path, config):
    for dest in ("out.zip", "out"):
        report, found = made(tmp_path, shelf, dest, labels="subfolders")
        root = "out/" if dest == "out.zip" else ""
        want = ((8, 1), (6, 2), (5, 3), (4, 4), (3, 5), (7, 6))  # 2 comes before 10
        assert found == {f"{root}{i:06d}": [(v, t) for t in range(n)] for i, (n, v) in enumerate(want)}
        names = ["cats/2.mp4", "cats/10.mov", "cats/a.gif", "dogs/b.webp", "dogs/c.png", "dogs/d.webm"]
        assert [name for _, name, _ in report.written] == names and report.skipped == []
        assert report.frames == [8, 6, 5, 4, 3, 7] and report.rate(None) == 25
        data = config(source="video", path=str(tmp_path / dest), labels="file", cache="host")
        with contextlib.closing(open_source(data, (16, 16, 3))) as source:
            videos = videos_of(source, RULE, "error")
            assert list(videos.lengths) == [8, 6, 5, 4, 3, 7] and source.info().label_names == ("cats", "dogs")
            assert list(source.label_rows(videos.heads)) == [0, 0, 0, 1, 1, 1]
            assert not any("skipped" in note for note in source.info().notes), "not even meta.json"
            with open_batches(source, data, (16, 16, 3), batch_size=6, seed=0, rule=RULE) as batches:
                batch = next(batches)
            np.testing.assert_array_equal(batch.sample["image"][:, :, 9, 9, 1], batch.sample["times"])
        assert report.notes == ["skipped: 1 file of other kinds than images (1 .txt)"]


def test_the_zip_is_what_the_official_reader_asks_for_and_says_how_it_was_made(shelf, tmp_path):
    report, _ = made(tmp_path, shelf, labels="subfolders", resolution=(8, 8))
    found = contents(tmp_path / "out.zip")
    assert list(found)[:3] == ["out/", "out/000000/", "out/000000/000000.png"]
    assert all(f"out/{i:06d}/" in found for i in range(6)) and all(name.startswith("out/") for name in found)
    labels = json.loads(found["out/dataset.json"])
    frames = [name.removeprefix("out/") for name in found if name.endswith(".png")]
    assert [name for name, _ in labels["labels"]] == frames and len(frames) == 33
    assert [label for _, label in labels["labels"]] == [0] * 19 + [1] * 14
    meta = json.loads(found["out/meta.json"])
    assert meta["counts"] == {"looked_at": 6, "written": 6, "skipped": 0, "duplicates": 0, "frames": 33}
    assert meta["image_shape"] == [8, 8, 3] and meta["fps"] == 25 and meta["options"]["min_frames"] == 3
    assert [[folder, name, n] for folder, name, _, n in meta["videos"]] == [
        [folder, name, n] for (folder, name, _), n in zip(report.written, report.frames, strict=True)
    ]
    assert "images" not in meta and meta["labels"] == {"kind": "classes", "length": 2}
    again = {}
    for workers in (1, 3):
        made(tmp_path, shelf, labels="subfolders", resolution=(8, 8), workers=workers)
        again[workers] = (tmp_path / "out.zip").read_bytes()
    assert again[1] == again[3], "the same input gives the same bytes"


def test_a_file_can_be_cut_into_chunks(tmp_path):
    long = film(tmp_path / "long.mp4", 50)
    report, found = made(tmp_path, long, chunk_frames=16, skip_frames=1)
    assert frames_of(found) == [list(range(1 + 16 * i, 17 + 16 * i)) for i in range(3)]
    assert [name for _, name, _ in report.written] == ["long.mp4[1:17]", "long.mp4[17:33]", "long.mp4[33:49]"]
    assert report.rest == 1 and "skipped: 1 frames at the end of videos, too few for a chunk" in report.warnings(16)
    assert frames_of(made(tmp_path, long, skip_frames=40)[1]) == [list(range(40, 50))]
    assert frames_of(made(tmp_path, long, skip_frames=2, max_frames=5)[1]) == [[2, 3, 4, 5, 6]]
    assert frames_of(made(tmp_path, long, chunk_frames=4, max_images=2)[1]) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert frames_of(made(tmp_path, long, chunk_frames=4, max_frames=11)[1]) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(DataError, match="1 of 1 videos cannot be used; none is left") as error:
        made(tmp_path, long, skip_frames=48)
    assert "2 frames are left; at least 3 are needed: long.mp4" in str(error.value)
    with pytest.raises(DataError, match="50 frames; at least 51 are needed"):
        made(tmp_path, long, chunk_frames=51)


@pytest.mark.parametrize(
    "rate, fps, want",
    [
        (25, 25, list(range(10))),
        (30, 30, list(range(10))),
        (60, 30, [0, 2, 4, 6, 8]),
        (30, 24, [0, 1, 2, 4, 5, 6, 7, 9]),
        (12, 24, [i // 2 for i in range(20)]),
        (30, 10, [0, 3, 6, 9]),
    ],
)
@pytest.mark.parametrize("step", [0.0, 0.001])
def test_a_frame_rate_takes_what_is_on_display(rate, fps, want, step):
    """Also where times are rounded to milliseconds, as in WebM."""
    rounded = [round(i / rate / step) * step if step else i / rate for i in range(11)]
    frames = [Frame(lambda: b"", a, b - a) for a, b in itertools.pairwise(rounded)]
    shown = [frames.index(frame) for frame, count in at_rate(frames, fps) for _ in range(count)]
    assert shown == want


def test_windows_of_repeated_frames():
    frames = [(Frame(lambda: b"", i), 3) for i in range(3)]
    taken = [(int(frame.time), count) for frame, count in window(frames, 2, 5)]
    assert taken == [(0, 1), (1, 3), (2, 1)]
    assert [count for _, count in window(frames, 0, 0)] == [3, 3, 3] and list(window(frames, 9, 0)) == []


def test_variable_rates_and_durations_are_times(tmp_path):
    times = (0, 100, 150, 400, 500, 1000)
    film(tmp_path / "set" / "phone.mp4", 6, times=times)
    report, found = made(tmp_path, tmp_path / "set", fps=10)
    # by the tenth of a second: frame 1 from 0.1, 2 from 0.15, 3 from 0.4, 4 from 0.5, 5 at the end
    assert frames_of(found) == [[0, 1, 2, 2, 3, 4, 4, 4, 4, 4, 5]]
    report, found = made(tmp_path, tmp_path / "set")
    assert len(frames_of(found)[0]) == 6 and report.variable == ["phone.mp4"]
    words = "the frame rate changes inside 1 videos (phone.mp4), whose frames were written as stored; --fps=25"
    assert any(words in line for line in report.warnings(16))
    animation(tmp_path / "gifs" / "a.gif", 3, duration=[100, 0, 400])  # browsers show 0 for 100
    animation(tmp_path / "gifs" / "b.gif", 4, 1, duration=50)
    report, found = made(tmp_path, tmp_path / "gifs", fps=10)
    assert frames_of(found) == [[0, 1, 2, 2, 2, 2]] and report.changes["shown again, to fill --fps"] == 3
    assert report.skipped == [("b.gif", "2 frames; at least 3 are needed")]
    report, _ = made(tmp_path, tmp_path / "gifs")
    assert "warning: 10 to 20 frames per second; --fps makes them equal" in report.warnings(16)
    assert report.rate(None) is None


def test_frames_are_upright_of_square_pixels_and_any_size(tmp_path):
    data = bytearray(film(tmp_path / "set" / "a.mp4", 4, size=(24, 16)).read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # the matrix in the header of version 0: a quarter turn clockwise
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 16 << 16, 0, 1 << 30)
    (tmp_path / "set" / "a.mp4").write_bytes(data)
    report, found = made(tmp_path, tmp_path / "set")
    assert report.size == (24, 16) and len(found) == 1
    pixels = np.asarray(Image.open(io.BytesIO(contents(tmp_path / "out.zip")["out/000000/000002.png"])))
    turned = np.rot90(picture(0, 2, (24, 16)), -1)
    np.testing.assert_array_equal(pixels, turned)
    film(tmp_path / "odd" / "b.mov", 4, size=(17, 15))
    assert made(tmp_path, tmp_path / "odd")[0].size == (15, 17)
    assert made(tmp_path, tmp_path / "odd", resolution=(8, 8), transform="center-crop")[0].size == (8, 8)
    with av.open(str(tmp_path / "odd" / "b.mov"), "w") as container:  # pixels twice as wide as high
        stream = container.add_stream("libx264rgb", rate=25, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for i in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0, i), format="rgb24")))
        container.mux(stream.encode())
    assert made(tmp_path, tmp_path / "odd")[0].size == (16, 32)


def test_opacity_is_laid_over_a_colour_or_kept(tmp_path):
    path = tmp_path / "set" / "a.webm"
    path.parent.mkdir()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25, options={"auto-alt-ref": "0", "crf": "0", "b": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuva420p"
        pixels = np.full((32, 32, 4), (200, 40, 40, 255), np.uint8)
        pixels[16:, :, 3] = 0
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        container.mux(stream.encode())
    for options, below in (({}, 255), ({"alpha": "black"}, 0)):
        report, _ = made(tmp_path, tmp_path / "set", **options)
        shown = np.asarray(Image.open(io.BytesIO(contents(tmp_path / "out.zip")["out/000000/000001.png"])))
        assert np.abs(shown[4, 4].astype(int) - (200, 40, 40)).max() < 8 and set(shown[28, 4]) == {below}
        assert report.changes[f"transparency over {'black' if options else 'white'}"] == 4
    made(tmp_path, tmp_path / "set", channels=4)
    kept = np.asarray(Image.open(io.BytesIO(contents(tmp_path / "out.zip")["out/000000/000001.png"])))
    assert kept[4, 4, 3] == 255 and kept[28, 4, 3] == 0


def damaged(root: Path) -> dict[str, str]:
    """Write bad files beside two good videos; return {name: why it is left out}."""
    whole = film(root / "whole.mp4", 60, size=(32, 32), options={"movflags": "faststart"}).read_bytes()
    clip = film(root / "whole.webm", 30, 1, (32, 32), codec="libvpx-vp9", pix_fmt="yuv420p", options={}).read_bytes()
    gif = animation(root.parent / "x.gif", 20).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2 : len(whole) // 2 + 400] = bytes(400)
    files = {
        "zero.mp4": (b"", "empty file (0 bytes)"),
        "text.mp4": (b"hello\n" * 500, "no video of a known format, or its header is damaged"),
        "list.mp4": (
            f"#EXTM3U\n#EXTINF:5,\nfile://{root}/whole.mp4\n#EXT-X-ENDLIST\n".encode(),
            "no video of a known format, or its header is damaged",
        ),
        "lfs.mp4": (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer, not the video itself; run 'git lfs pull' in the checkout",
        ),
        "cut.mp4": (whole[: len(whole) * 2 // 3], "truncated: the file ends before its contents do"),
        "cut.webm": (clip[: len(clip) * 2 // 3], "truncated: the file ends before its contents do"),
        "zero.gif": (b"", "empty file (0 bytes)"),
        "cut.gif": (gif[: len(gif) * 2 // 3], "truncated GIF: the file ends before its contents do"),
        "flipped.mp4": (bytes(flipped), "damaged at frame"),
    }
    for name, (data, _) in files.items():
        (root / name).write_bytes(data)
    with av.open(str(root / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    os.mkfifo(root / "pipe.mp4")
    os.symlink("nothing.mp4", root / "link.mp4")
    known = {name: reason for name, (_, reason) in files.items()}
    return known | {
        "sound.mp4": "no video in it, only sound",
        "pipe.mp4": "not a regular file",
        "link.mp4": "cannot be read: No such file or directory",
    }


@pytest.mark.parametrize("dest", ["out.zip", "out"])
def test_what_is_damaged_is_named_and_leaves_nothing(dest, tmp_path):
    root = tmp_path / "set"
    bad = damaged(root)
    report, found = made(tmp_path, root, dest)
    assert {name: re.sub(r" \d+: Invalid.*", "", reason) for name, reason in report.skipped} == bad
    assert [len(seen) for seen in found.values()] == [60, 30] and len(report.written) == 2
    meta = json.loads(next(data for name, data in contents(tmp_path / dest).items() if name.endswith("meta.json")))
    assert len(meta["skipped"]) == len(bad) and meta["counts"]["frames"] == 90
    with pytest.raises(
        DataError, match="12 of 14 videos cannot be used; repair or remove these, or leave out --strict"
    ):
        made(tmp_path, root, dest, strict=True)
    assert len(colours(tmp_path / dest)) == 2, "what was there stays"


def test_frames_before_damage_do_not_stay_in_chunks(tmp_path):
    whole = film(tmp_path / "set" / "b.mp4", 60, options={"movflags": "faststart"}).read_bytes()
    flipped = bytearray(film(tmp_path / "set" / "a.mp4", 60, 1, options={"movflags": "faststart"}).read_bytes())
    flipped[len(whole) * 3 // 4 : len(whole) * 3 // 4 + 400] = bytes(400)
    (tmp_path / "set" / "a.mp4").write_bytes(flipped)
    for dest in ("out.zip", "out"):
        report, found = made(tmp_path, tmp_path / "set", dest, chunk_frames=10)
        assert frames_of(found) == [list(range(10 * i, 10 * i + 10)) for i in range(6)]
        assert {video for seen in found.values() for video, _ in seen} == {0} and len(report.skipped) == 1


def test_sizes_and_equal_videos(tmp_path):
    for i in range(3):
        film(tmp_path / "set" / f"{i}.mp4", 4, i % 2)
    film(tmp_path / "set" / "3.mp4", 4, size=(32, 16))
    report, found = made(tmp_path, tmp_path / "set")
    assert report.skipped == [("3.mp4", "32x16 pixels, not 16x16 like the first")] and len(found) == 3
    assert report.duplicates == [("2.mp4", "0.mp4")]
    report, found = made(tmp_path, tmp_path / "set", duplicates="drop", resolution=(16, 16), transform="stretch")
    assert [seen[0][0] for seen in found.values()] == [0, 1, 0] and report.duplicates == [("2.mp4", "0.mp4")]
    report, _ = made(tmp_path, tmp_path / "set", resolution=(16, 16))
    assert "another aspect ratio than 16x16" in dict(report.skipped)["3.mp4"]
    two = {
        "a/0.png": picture(0, 0),
        "a/1.png": picture(0, 1),
        "a/2.png": picture(0, 2, (8, 8)),
        "b/0.png": picture(1, 0),
    }
    for name, pixels in two.items():
        (tmp_path / "frames" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "frames" / name)
    with pytest.raises(DataError, match="its frames change from 16x16 to 8x8 pixels; set --resolution") as error:
        made(tmp_path, tmp_path / "frames", content="frames")
    assert "1 frames; at least 3 are needed: b" in str(error.value)


def test_labels_of_files_are_by_their_names(shelf, tmp_path):
    table = [["cats/2.mp4", 1], ["cats/10.mov", 0], ["cats/a.gif", 1], ["dogs/b.webp", 0], ["dogs/c.png", 1]]
    (shelf / "dataset.json").write_text(json.dumps({"labels": table}))
    try:
        report, _ = made(tmp_path, shelf)
    finally:
        (shelf / "dataset.json").unlink()
    assert report.labels == [1, 0, 1, 0, 1] and report.skipped == [("dogs/d.webm", "no label")]
    assert "videos per class: 0: 2, 1: 3" in report.warnings(16)


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_folders_of_frames_are_made_anew(kind, tmp_path, encode, write):
    members = {f"set/{v}/f{t}.png": encode(picture(i, t)) for i, v in enumerate("ab") for t in range(12)}
    path = write(tmp_path, kind, members, {"labels": [["set/a/f3.png", 1], ["set/b/f0.png", 0]]})
    report, found = made(tmp_path, path, content="frames", chunk_frames=5, resolution=(8, 8))
    assert frames_of(found) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]] * 2, "2 comes before 10"
    assert report.labels == [1, 1, 0, 0] and report.rate(None) is None and report.size == (8, 8)
    assert made(tmp_path, path, content="frames", labels="subfolders")[0].label_names == ("set",)
    with pytest.raises(DataError, match="--fps=5: frames in folders have no times"):
        made(tmp_path, path, content="frames", fps=5)
    with pytest.raises(DataError, match=r"--chunk_frames=5 is for videos, but .* contains images; .*--content=frames"):
        made(tmp_path, path, chunk_frames=5)


def test_what_a_folder_holds_is_found_out(shelf, tmp_path, encode):
    mixed = tmp_path / "mixed"
    film(mixed / "a.mp4", 4).rename(mixed / "a.bin")  # by its first bytes
    (mixed / "a.jpg").write_bytes(encode(picture(0, 0), "JPEG"))  # its thumbnail
    (mixed / "b.mp4.part").write_bytes(b"half")
    report, found = made(tmp_path, mixed)
    assert [name for _, name, _ in report.written] == ["a.bin"] and report.skipped == []
    assert "skipped: 1 pictures that are not animations" in report.notes
    assert made(tmp_path, mixed, content="images")[0].unit == "image"
    photos = tmp_path / "photos"
    for i in range(5):
        animation(photos / f"{i}.gif", 3, i)
    assert len(made(tmp_path, photos)[1]) == 5
    for i in range(6):
        (photos / f"{i}.png").write_bytes(encode(picture(0, i)))
    report, _ = made(tmp_path, photos)
    assert report.unit == "image" and len(report.written) == 6 and len(report.skipped) == 5
    report, found = made(tmp_path, photos, content="videos")
    assert len(found) == 5 and report.skipped == []
    assert "skipped: 6 pictures that are not animations" in report.notes
    zipped = tmp_path / "zipped.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.write(shelf / "cats" / "a.gif", "a.gif")
    assert frames_of(made(tmp_path, zipped)[1]) == [[0, 1, 2, 3, 4]]
    assert frames_of(made(tmp_path, shelf / "cats" / "a.gif")[1]) == [[0, 1, 2, 3, 4]]
    with zipfile.ZipFile(zipped, "a") as archive:
        archive.write(shelf / "cats" / "2.mp4", "2.mp4")
    with pytest.raises(DataError, match="a zip of video files; unpack it and pass the folder"):
        made(tmp_path, zipped, content="videos")


def test_options_of_videos_are_checked(shelf, tmp_path):
    for text, options in {
        r"--content=films must be one of auto, images, videos, frames": {"content": "films"},
        r"--fps=0 must be more than 0 and at most 1000": {"fps": 0.0},
        r"--fps=nan must be more than 0": {"fps": float("nan")},
        r"--skip_frames=-1 must be at least 0": {"skip_frames": -1},
        r"--min_frames=0 must be at least 1": {"min_frames": 0},
        r"--chunk_frames=2 leaves no video of --min_frames=3": {"chunk_frames": 2},
        r"--max_frames=5 leaves no chunk of --chunk_frames=6": {"max_frames": 5, "chunk_frames": 6},
    }.items():
        with pytest.raises(DataError, match=text):
            prepare(Options("nowhere", str(tmp_path / "x.zip"), **options))
    file = str(shelf / "cats" / "2.mp4")
    for text, options in {
        "--labels=file: .* is one video, which has no labels": {"labels": "file"},
        "--content=images .* is a video; leave it out": {"content": "images"},
    }.items():
        with pytest.raises(DataError, match=text):
            prepare(Options(file, str(tmp_path / "x.zip"), **options))
    with pytest.raises(DataError, match="--content=videos needs a folder, a zip or a video"):
        (tmp_path / "x-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, 1, 4, 4) + bytes(16))
        prepare(Options(str(tmp_path / "x-images-idx3-ubyte"), str(tmp_path / "x.zip"), content="videos"))


def test_without_pyav_it_is_asked_for_and_animations_need_none(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(video_files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"contains video files, which need PyAV: pip install 'stylegan_jax\[video\]'"):
        made(tmp_path, shelf)
    assert frames_of(made(tmp_path, shelf / "dogs" / "b.webp")[1]) == [[0, 1, 2, 3]]


def test_the_command_says_how_to_train(shelf, tmp_path, capsys):
    dest = tmp_path / "clips.zip"
    assert main([f"--source={shelf}", f"--dest={dest}", "--resolution=64", "--fps=12.5", "--labels=subfolders"]) == 0
    out = capsys.readouterr().out
    for words in (
        "clips.zip: 4 videos of 3 to 4 frames, together 14 of 64x64",
        "6 videos looked at in",
        "videos per class: cats: 3, dogs: 1",
        "2 x 2 frames; at least 3 are needed: dogs/b.webp, dogs/c.png",
        f"--config=configs/stylegan_v.py:64 --workdir=runs/mine --config.data.path={dest} --config.data.fps=12.5",
        "--config.data.labels=file",
    ):
        assert words in out, out


def test_videos_too_small_for_the_recipe_are_not_sent_to_it(tmp_path, capsys):
    clip = animation(tmp_path / "a.gif", 4, 1)
    for height in (16, 32):
        assert main([f"--source={clip}", f"--dest={tmp_path / str(height)}.zip", f"--resolution={height}"]) == 0
        out = capsys.readouterr().out
        try:
            stylegan_v.get_config(str(height))
        except ValueError:
            assert height == 16 and "note: 16x16 is below 32x32" in out and "train:" not in out, out
        else:
            assert height == 32 and "--config=configs/stylegan_v.py:32 " in out, out


def test_training_on_a_folder_of_video_files_names_the_tool(shelf, tmp_path, config):
    film(tmp_path / "videos" / "a.mp4", 3)
    for source in ("video", "folder"):
        with pytest.raises(DataError, match=r"1 file of other kinds(.|\n)*data\.prepare makes folders of frames"):
            open_source(config(source=source, path=str(tmp_path / "videos")), (16, 16, 3))


def test_memory_does_not_grow_with_the_length(tmp_path):
    """Python's own memory, in which the pixels of frames lie, peaks alike for 40 frames and for 400."""
    peaks = []
    for frames in (40, 400):
        path = film(tmp_path / f"{frames}.mp4", frames, size=(128, 128))
        tracemalloc.start()
        prepare(Options(str(path), str(tmp_path / "out.zip"), overwrite=True))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 400 * 2000 < 400 * 128 * 128 * 3 / 4, peaks  # names and entries grow, pixels do not


def test_files_with_random_damage_decode_or_raise_one_kind_of_error(tmp_path):
    lossy = {"pix_fmt": "yuv420p", "options": {}}
    files = [
        film(tmp_path / "a.mp4", 12),
        film(tmp_path / "b.webm", 12, codec="libvpx-vp9", **lossy),
        film(tmp_path / "c.avi", 12, codec="mpeg4", **lossy),
        animation(tmp_path / "d.gif"),
        animation(tmp_path / "e.webp"),
        animation(tmp_path / "f.png"),
    ]
    outcomes = set()
    for seed, path in itertools.product(range(12), files):
        draw, data = np.random.default_rng(seed), bytearray(path.read_bytes())
        for _ in range(draw.integers(1, 5)):
            at = int(draw.integers(len(data)))
            data[at : at + int(draw.integers(1, 40))] = draw.integers(
                0, 256, draw.integers(40), dtype=np.uint8
            ).tobytes()
        data = data[: int(draw.integers(len(data)))] if seed % 4 == 0 else data
        (mutated := tmp_path / f"mutated{path.suffix}").write_bytes(data)
        opened = functools.partial(open, mutated, "rb")
        is_film = path.suffix in (".mp4", ".webm", ".avi")
        frames = video_files.decode_video(str(mutated), 1 << 20, 1) if is_film else None
        try:
            for frame in itertools.islice(frames or video_files.decode_animation(opened, 1 << 20), 100):
                assert np.asarray(frame.load()).dtype == np.uint8
            outcomes.add("decoded")
        except images.BadImage as error:
            outcomes.add(error.reason.split(":")[0].split(" at ")[0])
    assert {"decoded", "truncated", "damaged", "no video of a known format, or its header is damaged"} <= outcomes


def test_frames_of_a_damaged_clock_are_refused():
    frames = [Frame(lambda: b"", 0.0, 0.04), Frame(lambda: b"", 1e6, 0.04)]
    with pytest.raises(images.BadImage, match="its timestamps jump by 1000000 s"):
        list(at_rate(frames, 25.0))
