"""What a data set contains: one rule for the data set tool, training from folders and zips, and metrics."""

from __future__ import annotations

import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stylegan_jax.data import DataError, describe_contents, images, open_source
from stylegan_jax.data.contents import clean_name, list_contents
from stylegan_jax.data.prepare import Options, prepare
from stylegan_jax.data.prepare.__main__ import main
from stylegan_jax.data.prepare.report import summary
from stylegan_jax.metrics import opening
from stylegan_jax.tools.project import find_files

SHAPE = (16, 16, 3)
PETS = ("bird", "cat", "dog")


@pytest.fixture
def pets(smooth, encode):
    """Nine encoded images by name, three in each folder."""
    names = [f"{PETS[i // 3]}/{i:02}.png" for i in range(9)]
    return {name: encode(p) for name, p in zip(names, smooth(9), strict=True)}


@pytest.fixture
def see(config, write, tmp_path):
    """Return a function from members to what the tool, training and metrics see of them as a folder and as a zip.

    It returns [(images, label names, labels, notes)], all of which have to be the same.
    """
    count = iter(range(100))

    def see(members, labels="none", tree=None, **options):
        seen = []
        for kind in ("folder", "zip"):
            root = tmp_path / f"{next(count)}"
            root.mkdir()
            path, dest = write(root, kind, members, tree), str(root / "out.zip")
            report = prepare(Options(path, dest, labels=labels, **options))
            numbers = [None] * len(report.written) if labels == "none" else report.labels
            seen.append((len(report.written), report.label_names, numbers, report.warnings(16)))
            data = config(source=kind, path=path, labels=labels, cache="off")
            metrics = opening.data_config(path, {"labels": labels})
            for source in (open_source(data, SHAPE), opening.open_images(metrics, None, 3)):
                info = source.info()
                numbers = source.label_rows(np.arange(info.num_images)).tolist()
                numbers = numbers if info.label_kind != "none" else [None] * info.num_images
                seen.append((info.num_images, info.label_names, numbers, describe_contents(info)))
                source.close()
        return seen

    return see


def test_hidden_and_system_folders_are_no_pictures_and_no_classes(see, pets):
    left = [".ipynb_checkpoints/00.png", "cat/.ipynb_checkpoints/03.png", "__MACOSX/cat/._03.png", "@eaDir/x.png",
            "$RECYCLE.BIN/x.png", "System Volume Information/x.png", "lost+found/x.png", "cat/.hidden.png",
            "dog/@eaDir/06.png/SYNOPHOTO_THUMB_M.jpg"]  # fmt: skip
    members = {**pets, **dict.fromkeys(left, pets["bird/00.png"]), "cat/notes.txt": b"not an image"}
    for labels in ("subfolders", "none"):
        seen = see(members, labels)
        assert all(s == seen[0] for s in seen)
        number, names, numbers, notes = seen[0]
        assert number == 9
        assert any("9 files below hidden and system folders" in line for line in notes)
        assert any("1 file of other kinds than images (1 .txt)" in line for line in notes)
        if labels == "subfolders":
            assert names == PETS and numbers == [0] * 3 + [1] * 3 + [2] * 3
            assert notes[0] == "images per class: bird: 3, cat: 3, dog: 3"


def wrapped(pets, prefix):
    return {prefix + name: data for name, data in pets.items()}


WRAPPED = {"./": "", "pets/": "pets/", "a/b/pets/": "a/b/pets/", ".\\": ""}


@pytest.mark.parametrize("prefix", WRAPPED)
def test_one_folder_around_everything_is_no_class(prefix, see, pets):
    seen = see(wrapped(pets, prefix), "subfolders")
    assert all(s[:3] == (9, PETS, [0] * 3 + [1] * 3 + [2] * 3) for s in seen)
    assert all(any("classes are the folders in" in line for line in s[3]) == bool(WRAPPED[prefix]) for s in seen)


def test_a_folder_beside_one_of_folders_is_a_class_though_nothing_in_it_is_read(pets, write, tmp_path):
    members = wrapped(pets, "pets/") | {"dog/1.heic": b"x"}
    for kind in ("folder", "zip"):
        report = prepare(
            Options(write(tmp_path, kind, members), str(tmp_path / f"{kind}.out.zip"), labels="subfolders")
        )
        assert report.label_names == ("dog", "pets") and report.labels == [1] * 9


def test_doubtful_folders_are_named(see, pets):
    splits = wrapped(pets, "train/") | wrapped(pets, "test/")
    for _, names, _, notes in see(splits, "subfolders"):
        assert names == ("test", "train") and any("names of splits" in line for line in notes)
    for _, names, _, notes in see({f"cats/{i}.png": d for i, d in enumerate(pets.values())}, "subfolders"):
        assert names == ("cats",) and any("all images are of one class (cats)" in line for line in notes)


def test_backslashes_are_slashes(see, pets):
    windows = {name.replace("/", "\\"): data for name, data in pets.items()}
    tree = {"labels": [[name, PETS.index(name.split("\\")[0])] for name in windows]}
    expected = (9, [0] * 3 + [1] * 3 + [2] * 3)
    assert all((s[0], s[2]) == expected for s in see(windows, "subfolders"))
    assert all((s[0], s[2]) == expected for s in see(windows, "file", tree))
    assert all((s[0], s[2]) == expected for s in see(pets, "file", tree))
    assert [clean_name(n) for n in (r"..\x.png", "../x.png", "/x.png", r"C:\x.png", r"a\..\..\x.png")] == [""] * 5


def test_accents_are_the_same_however_they_are_written(see, pets):
    composed, apart = "caf\u00e9", "cafe\u0301"
    members = {f"{apart}/{i}.png": data for i, data in enumerate(pets.values())}
    tree = {"labels": [[f"{composed}/{i}.png", i % 2] for i in range(9)]}
    assert all(s[2] == [0, 1, 0, 1, 0, 1, 0, 1, 0] for s in see(members, "file", tree))


NESTED = {
    "relative": ("pets/", "{}"),
    "from the root": ("pets/", "pets/{}"),
    "dot slash": ("./", "./{}"),
    "dot slash in names": ("pets/", "./{}"),
}


@pytest.mark.parametrize("case", NESTED)
def test_a_nested_dataset_json_is_read(case, see, pets, tmp_path, write):
    folder, form = NESTED[case]
    tree = {"labels": [[form.format(n), PETS.index(n.split("/")[0])] for n in pets], "label_names": list(PETS)}
    members = wrapped(pets, folder) | {f"{folder}dataset.json": json.dumps(tree).encode()}
    seen = see(members, "file")
    assert all(s[:3] == (9, PETS, [0] * 3 + [1] * 3 + [2] * 3) for s in seen)
    for kind in ("folder", "zip"):  # and 'auto' never says that there are no labels
        report = prepare(Options(write(tmp_path, kind, members), str(tmp_path / f"{kind}.auto.zip")))
        assert report.labels == seen[0][2]
        assert folder == "./" or any("labels are read from pets/dataset.json" in line for line in report.notes)


def test_several_files_of_labels_are_an_error(pets, write, tmp_path):
    tree = json.dumps({"labels": [["00.png", 0]]}).encode()
    members = pets | {"cat/dataset.json": tree, "dog/dataset.json": tree}
    for kind in ("folder", "zip"):
        with pytest.raises(DataError, match=r"several dataset\.json have labels: cat/dataset\.json, dog/dataset\.json"):
            prepare(Options(write(tmp_path, kind, members), str(tmp_path / "x.zip")))
    null = pets | {"dataset.json": b'{"labels": null}', "cat/dataset.json": b'{"images": []}'}
    assert prepare(Options(write(tmp_path, "zip", null), str(tmp_path / "x.zip"))).labels == [None] * 9
    broken = pets | {"cat/dataset.json": b'{"labels": [['}
    with pytest.raises(DataError, match=r"cat/dataset\.json: not valid JSON"):
        prepare(Options(write(tmp_path, "zip", broken), str(tmp_path / "y.zip")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_last_of_several_members_of_one_name_counts(pets, config, smooth, encode, write, tmp_path):
    path, other = write(tmp_path, "zip", pets), smooth(1, seed=7)[0]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("cat/03.png", pets["cat/03.png"])
        archive.writestr("./bird/00.png", encode(other))
    source = open_source(config(source="zip", path=path), SHAPE)
    assert source.info().num_images == 9 and np.array_equal(source.pixels(0), other)
    assert list(source.info().notes) == [
        "several members with different contents have the same name; the last is used: bird/00.png"
    ]
    source.close()
    report = prepare(Options(path, str(tmp_path / "out.zip")))
    assert len(report.written) == 9 and not report.skipped and "the last is used: bird/00.png" in report.notes[0]


def test_two_files_of_a_folder_with_one_name_are_an_error(pets, write, tmp_path, config):
    path = write(tmp_path, "folder", pets | {"cat\\03.png": pets["cat/04.png"]})
    with pytest.raises(DataError, match="two files have this name, once backslashes count as /"):
        open_source(config(source="folder", path=path), SHAPE)


LOST = {
    "a limit": ({}, {"max_images": 4}, ["dog"]),
    "damaged files": ({f"dog/{i:02}.png": b"" for i in (6, 7, 8)}, {}, ["dog"]),
    "damaged files of the middle class": ({f"cat/{i:02}.png": b"" for i in (3, 4, 5)}, {}, ["cat"]),
    "a format that is not read": ({**{f"bird/{i:02}.png": None for i in range(3)}, "bird/0.heic": b"x"}, {}, ["bird"]),
}


@pytest.mark.parametrize("case", LOST)
def test_classes_without_an_image_are_named_and_keep_their_numbers(case, pets, write, config, tmp_path):
    changes, options, lost = LOST[case]
    members = {name: data for name, data in (pets | changes).items() if data is not None}
    for kind in ("folder", "zip"):
        path, dest = write(tmp_path, kind, members), str(tmp_path / f"{kind}.out.zip")
        report = prepare(Options(path, dest, labels="subfolders", **options))
        shown = "\n".join(summary(Options(path, dest), report, 1.0))
        assert f"warning: no image of {', '.join(lost)}" in shown and f"{lost[0]}: 0" in shown
        assert report.label_names == PETS and "classes of length 3" in shown
        data = config(source=kind, path=path, labels="subfolders", on_bad_image="skip")
        for source in (open_source(config(source="zip", path=dest, labels="file"), SHAPE), open_source(data, SHAPE)):
            info = source.info()
            assert info.label_dim == 3 and info.label_names == PETS
            if not options or source.inner.info().name.endswith("out"):
                assert any(f"no image of {lost[0]}" in line for line in describe_contents(info))
            source.close()


def test_a_class_that_is_a_link_to_a_folder_keeps_its_number(pets, write, tmp_path):
    path = write(tmp_path, "folder", pets)
    os.rename(f"{path}/bird", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", f"{path}/bird")
    report = prepare(Options(path, str(tmp_path / "out.zip"), labels="subfolders"))
    assert report.label_names == PETS and report.labels == [1] * 3 + [2] * 3
    assert any("no image of bird" in line for line in report.warnings(16))


DOUBTFUL = {
    "gaps": ([0, 0, 0, 2, 2, 2, 5, 5, 5], "no image of 1, 3, 4"),
    "from one": ([1, 1, 1, 2, 2, 2, 3, 3, 3], "do the classes count from 1"),
    "ids": ([7, 812, 90001, 14, 15, 16, 17, 18, 19], "9 different labels up to 90001 for 9 images look like ids"),
    "one each": (list(range(9)), "every image has its own class"),
    "lists of one integer": ([[i // 3] for i in range(9)], "write plain numbers, 5 and not \\[5\\]"),
    "one class": ([0] * 9, "all images are of one class"),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_doubtful_labels_are_named(case, see, pets, smooth, config, tmp_path):
    values, text = DOUBTFUL[case]
    tree = {"labels": [[name, value] for name, value in zip(pets, values, strict=True)]}
    for seen in see(pets, "file", tree):
        assert any(re.search(text, line) for line in seen[3]), seen[3]
    np.savez(tmp_path / "x.npz", images=smooth(9), labels=np.array(values))
    info = open_source(config(path=str(tmp_path / "x.npz"), labels="file"), SHAPE).info()
    assert any(re.search(text, line) for line in describe_contents(info))


def test_folders_without_an_image_are_no_classes_and_named(pets, write, config, tmp_path):
    members = pets | {"ant/notes.txt": b"x", "emu/.keep": b""}
    for kind in ("folder", "zip"):
        path = write(tmp_path, kind, members)
        if kind == "folder":
            (Path(path) / "cow").mkdir()
        else:
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("emu/", b"")
                archive.writestr("cow\\", b"")
        source = open_source(config(source=kind, path=path, labels="subfolders"), SHAPE)
        lines = describe_contents(source.info())
        assert source.info().label_names == PETS and "folders without an image are not classes: ant, cow, emu" in lines
        source.close()


def test_classes_of_one_name_are_named(see, pets):
    tree = {"labels": [[name, i // 3] for i, name in enumerate(pets)], "label_names": ["cat", "dog", "cat"]}
    for seen in see(pets, "file", tree):
        assert "warning: several classes have the same name, but different numbers: cat" in seen[3]


def test_labels_in_other_files_than_dataset_json_are_named(pets, write, config, tmp_path):
    members = pets | {"labels.csv": b"name,label\n", "Dataset.JSON": b"{}"}
    for kind in ("folder", "zip"):
        path = write(tmp_path, kind, members)
        report = prepare(Options(path, str(tmp_path / f"{kind}.out.zip")))
        text = "labels are read from files called dataset.json only, not from .csv or .json"
        assert report.labels == [None] * 9 and text in report.warnings(16)
        with pytest.raises(DataError, match=re.escape(text)):
            open_source(config(source=kind, path=path, labels="file"), SHAPE)


def test_labels_of_other_images_are_counted(see, pets):
    tree = {"labels": [[name, i % 3] for i, name in enumerate([*pets, "fox/1.png", "fox/2.png"])]}
    for seen in see(pets, "file", tree):
        assert any("2 labels belong to no image of the set, such as fox/1.png" in line for line in seen[3])


def test_without_a_label_an_image_is_bad(pets, write, config, tmp_path):
    path = write(tmp_path, "zip", pets, {"labels": [[name, 0] for name in list(pets)[1:]]})
    with pytest.raises(DataError, match=r"no label for 1 of 9 images: bird/00\.png"):
        open_source(config(source="zip", path=path, labels="file"), SHAPE)
    source = open_source(config(source="zip", path=path, labels="file", on_bad_image="skip"), SHAPE)
    assert source.info().num_images == 8 and source.info().skipped == (("bird/00.png", "no label"),)
    source.close()
    assert prepare(Options(path, str(tmp_path / "x.zip"))).skipped == [("bird/00.png", "no label")]


def test_every_suffix_of_the_formats_is_known():
    from PIL import Image

    Image.init()
    formats = {*images.FORMATS, "MPO", "DIB"}
    assert set(images.SUFFIXES) == {suffix for suffix, name in Image.EXTENSION.items() if name in formats}


def test_the_content_decides_what_is_a_picture(see, smooth, encode):
    rgb = smooth(1)[0]
    written = {"a.jfif": "JPEG", "b.jpe": "JPEG", "c.apng": "PNG", "d.pnm": "PPM", "e": "PNG", "f.jpg_large": "JPEG",
               "g.heic": "JPEG", "h.dat": "WEBP", "i.0": "BMP", "j.x": "TIFF", "k.dib": "BMP", "l": "PPM"}  # fmt: skip
    members = {name: encode(rgb, form) for name, form in written.items()}
    texts = {"m.txt": b"BM is no image", "n.md": b"P6 neither", "o.png~": members["e"], "p.jpg.part": b"\xff\xd8\xff"}
    seen = see(members | texts)
    assert all(s == seen[0] for s in seen) and seen[0][0] == len(written)
    assert "4 files of other kinds than images (1 .md, 1 .part, 1 .txt, 1 ~)" in seen[0][3][0]


def test_what_the_set_holds_instead_of_images_is_said(write, tmp_path, config):
    members = {"cats.zip": b"PK", "dogs.zip": b"PK", ".hidden/a.png": b"x"}
    for kind in ("folder", "zip"):
        path = write(tmp_path, kind, members)
        for opened in (
            lambda path=path: prepare(Options(path, str(tmp_path / "x.zip"))),
            lambda path=path, kind=kind: open_source(config(source=kind, path=path), SHAPE),
        ):
            with pytest.raises(DataError, match=r"(?s)no image in it.*1 file below hidden.*2 files .*\(2 \.zip\)"):
                opened()


def test_hidden_folders_that_nobody_may_list_are_left_alone(pets, write, tmp_path, monkeypatch, config):
    path = write(tmp_path, "folder", pets | {"lost+found/x.png": b""})
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert open_source(config(source="folder", path=path), SHAPE).info().num_images == 9


def test_a_zip_of_any_name_is_one_for_metrics(pets, write, tmp_path):
    path = write(tmp_path, "zip", pets)
    os.rename(path, tmp_path / "download")
    source = opening.open_images(opening.data_config(str(tmp_path / "download")), None, 3)
    assert source.info().num_images == 9
    source.close()


def test_targets_of_a_projection_are_chosen_by_the_same_rule(pets, write, tmp_path):
    data = pets["bird/00.png"]
    names = {"b.jfif": data, "a": data, "._a.png": data, ".x.png": data, "notes.txt": b"text", "c.png~": data}
    path = write(tmp_path, "folder", names)
    assert [file.name for file in find_files("--targets", path)] == ["a", "b.jfif"]


ODD = ["caf\udce9.png", "猫.png", "a\nerror: fake line\x1b[31m.png", "\x07.png", "…\x9b.jpg", "ok.txt"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_odd_names_end_no_command_and_reach_no_terminal(encoding, pets, write, config, tmp_path, monkeypatch):
    import io
    import sys

    path = write(tmp_path, "folder", pets)
    for name in ODD:
        Path(path, name).write_bytes(b"junk")
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding, "strict") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    dest = tmp_path / "out\udce9\x1b[31m\nerror: fake.zip"
    assert main([f"--source={path}", f"--dest={dest}"]) == 0 and dest.exists()
    assert main([f"--source={tmp_path}/none\x1b[31m\nerror: fake", f"--dest={dest}", "--overwrite"]) == 2
    assert main([f"--source={path}", f"--dest={tmp_path / 'x.zip'}", "--strict"]) == 2
    data = config(source="folder", path=path, on_bad_image="skip")
    from stylegan_jax.config import ExperimentConfig, ModelConfig
    from stylegan_jax.runtime.mesh import layout_of
    from stylegan_jax.train.startup import describe

    source = open_source(data, SHAPE)
    whole = ExperimentConfig(data=data, model=ModelConfig(resolution=16, channel_base=64))
    print(describe(whole, source.info(), layout_of(whole)))
    streams["stdout"].flush()
    command = streams["stdout"].buffer.getvalue().split(b"train: ")[1].splitlines()[0].decode()
    shown = subprocess.run(["bash", "-c", f"printf %s {command.split('data.path=')[1]}"], capture_output=True).stdout
    assert shown == os.fsencode(dest)  # the command can be pasted
    for stream in streams.values():
        stream.flush()
        text = stream.buffer.getvalue()
        assert not set(text) & (set(range(32)) - {9, 10, 13}) and b"\nerror: fake" not in text


def test_listing_is_a_function_of_names_and_content_alone():
    found = ["b.png", "a.png", "x/a.png", "z.txt"]
    one, two = (list_contents(f, lambda i: b"") for f in (found, found[::-1]))
    assert one.names == two.names == ["a.png", "b.png", "x/a.png"]
    assert [found[i] for i in one.numbers] == [found[::-1][i] for i in two.numbers] == one.names
