"""The table of pairs: measures of each pair, in the order of their names, and what does not fit."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from stylegan_jax.base import arrays, images
from stylegan_jax.metrics import detectors
from stylegan_jax.tools import compare
from tests.metrics import toys


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(detectors, "load", lambda names, paths: {n: toys.net(n) for n in names})


@pytest.fixture
def folders(tmp_path):
    """Return two folders of three images, and their pixels."""
    sets = toys.pixels(3, 1), toys.pixels(3, 2)
    for name, pixels in zip(("a", "b"), sets, strict=True):
        (tmp_path / name).mkdir()
        for i, x in enumerate(pixels):
            images.save_png(tmp_path / name / f"{i}.png", x)
    return tmp_path / "a", tmp_path / "b", *sets


def rows_of(out):
    with open(out / "pairs.csv") as file:
        return {row.pop("name"): {key: float(x) for key, x in row.items()} for row in csv.DictReader(file)}


def test_each_pair_has_its_measures(folders, tmp_path, capsys):
    a, b, first, second = folders
    out = tmp_path / "out"
    arguments = [f"--first={a}", f"--second={b}", "--metrics=l2,lpips,id_similarity", "--batch=2", f"--out={out}"]
    assert compare.main(arguments) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["l2", "lpips", "id_similarity_face"] and [x.split()[0] for x in shown[1:]] == [
        *"012",
        "mean",
    ]
    want = np.square((first.astype(np.float64) - second) / 127.5).mean(axis=(1, 2, 3))
    found = rows_of(out)
    np.testing.assert_allclose([found[name]["l2"] for name in "012"], want, rtol=1e-5)
    net = toys.net("vgg16_lpips")
    see = lambda x: np.asarray(net.apply(net.params, x.astype(np.float32), ("lpips",))["lpips"])
    lpips = np.square(see(first) - see(second)).sum(axis=1)
    np.testing.assert_allclose([found[name]["lpips"] for name in "012"], lpips, rtol=1e-4)
    about = json.loads((out / "compare.json").read_text())
    low, high = about["metrics"]["l2"]["interval"]
    assert about["pairs"] == 3 and low < about["metrics"]["l2"]["mean"] < high
    assert about["metrics"]["lpips"]["net"]["name"] == "vgg16_lpips" and about["metrics"]["l2"]["net"] is None
    assert about["metrics"]["l2"]["mean"] == pytest.approx(want.mean())


def test_pairs_of_projections_and_of_lists(folders, tmp_path, capsys):
    a, b, first, second = folders
    made = tmp_path / "made"
    for i in range(2):
        (made / f"face{i}").mkdir(parents=True)
        images.save_png(made / f"face{i}" / "target.png", first[i])
        images.save_png(made / f"face{i}" / "proj.png", second[i])
        arrays.write_npz(made / f"face{i}" / "projected_w.npz", w=np.zeros((1, 2, 3)))
    assert compare.main([f"--projected={made}", "--metrics=l2", f"--out={tmp_path / 'x'}"]) == 0
    lists = [f"--first={a}/0.png,{a}/1.png", f"--second={b}/0.png,{b}/1.png"]
    assert compare.main([*lists, "--metrics=l2", f"--out={tmp_path / 'y'}"]) == 0
    projected, listed = rows_of(tmp_path / "x"), rows_of(tmp_path / "y")
    assert list(projected) == ["face0", "face1"] and list(listed) == ["0", "1"]
    assert [list(x.values()) for x in projected.values()] == [list(x.values()) for x in listed.values()]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "pass --projected=DIR, or both --first=FILES and --second=FILES"),
        (["--first=a"], "pass --projected=DIR, or both"),
        (["--first=a", "--second=b/0.png"], "--first has 3 images and --second 1; pass one each"),
        (["--first=a", "--second=less"], "1 images have no counterpart: 2 is in --first, but not in --second"),
        (["--first=a", "--second=large"], "is 16x16 and large/0.png is 32x32, and lpips compares pixel by pixel"),
        (["--projected=a"], "--projected=a contains no projected_w.npz"),
        (["--first=a", "--second=b", "--metrics=fid50k"], "--metrics: fid50k does not compare pairs; choose from l2"),
        (["--first=a", "--second=b", "--metrics=l3"], "metric 'l3': did you mean"),
        (["--first=a", "--second=b", "--seed=-2"], "--seed=-2; use 0 to"),
    ],
)
def test_mistakes_are_answered(arguments, text, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first = folders[2]
    for name, pixels in (("less", first[:2]), ("large", first.repeat(2, 1).repeat(2, 2))):
        (tmp_path / name).mkdir()
        for i, x in enumerate(pixels):
            images.save_png(tmp_path / name / f"{i}.png", x)
    given = {a.split("=")[0] for a in arguments}
    metrics = [] if "--metrics" in given else ["--metrics=lpips"]
    assert compare.main([*arguments, *metrics, "--out=out"]) == 2
    assert text in capsys.readouterr().err and not (tmp_path / "out").exists()
