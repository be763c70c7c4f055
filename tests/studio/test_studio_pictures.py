"""What wishes get is what the library draws; what comes with it makes it again; bad wishes get one sentence."""

from __future__ import annotations

import io
import json
import shlex
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.base import images
from stylegan_jax.sampling import directions, paths, styles
from stylegan_jax.tools import edit, sample, style_mix, truncation
from tests.tools.conftest import CLASSES


def pixels(body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body)))


def cells(picture: np.ndarray, grid) -> np.ndarray:
    r, c = grid
    h, w = picture.shape[0] // r, picture.shape[1] // c
    return picture.reshape(r, h, c, w, -1).transpose(0, 2, 1, 3, 4)


def near(a, b) -> bool:
    """Return whether uint8 pictures differ by rounding at most."""
    return a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1


def seed(number, **more):
    return {"kind": "seed", "seed": number, "psi": 0.7, "class": 1, **more}


def test_a_picture_is_the_librarys(page, model):
    status, about, body = page.ask("picture", source=seed(3))
    assert status == 200
    want = model.sample([3], psi=0.7, label=1)[0]
    assert near(pixels(body), want) and want.std() > 1
    assert "--seeds=3 --psi=0.7 --class=1" in about["command"]
    _, about, body = page.ask("picture", source=seed(3, cutoff=2, psi=-0.5))
    assert near(pixels(body), model.sample([3], psi=-0.5, cutoff=2, label=1)[0]) and "--cutoff=2" in about["command"]
    _, _, body = page.ask("picture", source={"kind": "seed", "seed": 3, "numbers": [0.5, 0.5, 0]})
    assert near(pixels(body), model.sample([3], label=np.array([0.5, 0.5, 0], np.float32))[0])
    _, about, body = page.ask("picture", source=seed(3), noise="none")
    assert (
        near(pixels(body), model.sample([3], psi=0.7, label=1, noise="none")[0]) and "--noise=none" in about["command"]
    )
    _, about, body = page.ask("picture", source=seed(3), noise="random", noise_seed=3)
    assert near(pixels(body), model.sample([3], psi=0.7, label=1, noise="random")[0])


def test_between_two_seeds(page, model):
    _, about, body = page.ask("picture", source=seed(3, toward=8, share=0.25))
    z = np.concatenate([np.random.RandomState(s).randn(1, model.gan.spec.z_dim) for s in (3, 8)]).astype(np.float32)
    ws = model.map(paths.slerp(z, np.array([0.25])), 1, psi=0.7)
    assert near(pixels(body), images.to_pixels(model.synthesize(ws))[0])
    assert "--styles=latents.npz" in about["command"] and "--seeds" not in about["command"]
    _, _, end = page.ask("picture", source=seed(3, toward=8, share=1))
    assert near(pixels(end), model.sample([8], psi=0.7, label=1)[0])


def test_grids(page, model):
    _, about, body = page.ask("gallery", seeds="0-4", columns=3, psi=0.7, **{"class": 2})
    found = cells(pixels(body), about["grid"])
    want = model.sample(range(5), psi=0.7, label=2)
    assert about["grid"] == [2, 3] and near(found.reshape(6, *want.shape[1:])[:5], want)
    _, about, body = page.ask("truncation", seeds="1,4", psis=[0, 1.5], **{"class": 2})
    found = cells(pixels(body), about["grid"])
    assert near(found[:, 1], model.sample([1, 4], psi=1.5, label=2)) and near(
        found[:1, 0], model.sample([1], psi=0, label=2)
    )
    _, about, body = page.ask("mix", rows="0-1", columns="7", layers=[1], psi=0.7, **{"class": 2})
    found = cells(pixels(body), about["grid"])
    rows, column = model.map([0, 1], 2, psi=0.7), model.map([7], 2, psi=0.7)
    mixed = images.to_pixels(model.synthesize(styles.mix(rows, column, [1])[:, 0]))
    assert (
        about["grid"] == [3, 2]
        and near(found[1:, 1], mixed)
        and near(found[0, 1:], model.sample([7], psi=0.7, label=2))
    )
    assert (found[0, 0] == 255).all()


def test_an_edit_moves_along_its_directions(page, model):
    status, _, body = page.ask("directions", method="sefa", layers=[0, 1], count=2)
    found = json.loads(body)
    sefa = directions.sefa(model, [0, 1], 2)
    assert status == 200 and np.allclose(found["values"], sefa.values)
    moves = [{"set": found["set"], "index": 1, "strength": 2.5, "layers": [0]}]
    _, _, body = page.ask("picture", source={"kind": "edit", "of": seed(3), "moves": moves})
    ws = model.map([3], 1, psi=0.7)
    ws[:, 0] += 2.5 * sefa.vectors[1]
    assert near(pixels(body), images.to_pixels(model.synthesize(ws))[0])
    mixed = {"kind": "mix", "row": seed(3), "column": {"kind": "edit", "of": seed(8), "moves": moves}, "layers": [0]}
    other = model.map([8], 1, psi=0.7)
    other[:, 0] += 2.5 * sefa.vectors[1]
    ws = styles.mix(model.map([3], 1, psi=0.7), other, [0])[0]
    assert near(pixels(page.ask("picture", source=mixed)[2]), images.to_pixels(model.synthesize(ws))[0])
    assert page.ask("directions", method="ganspace", count=2, **{"class": 0})[0] == 200


def test_directions_of_a_file(page, model, tmp_path):
    unit = np.eye(model.gan.spec.w_dim, dtype=np.float32)[:3]
    directions.save(tmp_path / "directions.npz", directions.Directions(unit, np.ones(3), 2 * np.ones(3)))
    status, told = page.json("POST", "/api/directions", (tmp_path / "directions.npz").read_bytes())
    assert status == 200 and told["set"] == "saved" and len(told["values"]) == 3
    move = {"set": "saved", "index": 2, "strength": 1, "layers": list(range(model.gan.spec.num_ws))}
    _, _, body = page.ask("picture", source={"kind": "edit", "of": seed(0), "moves": [move]})
    assert near(pixels(body), images.to_pixels(model.synthesize(model.map([0], 1, psi=0.7) + 2 * unit[2]))[0])
    assert "not an .npz or .npy file" in page.json("POST", "/api/directions", b"hello")[1]["error"]
    data = io.BytesIO()
    np.save(data, np.ones((2, 5)))
    assert (
        "its vectors are [2, 5]; this model takes" in page.json("POST", "/api/directions", data.getvalue())[1]["error"]
    )
    data = io.BytesIO()
    np.save(data, np.array([{"a": 1}]), allow_pickle=True)
    status, told = page.json("POST", "/api/directions", data.getvalue())
    assert status == 400 and "pickled Python object" in told["error"]


RUN = {"sample": sample.main, "style_mix": style_mix.main, "truncation": truncation.main, "edit": edit.main}


@pytest.mark.parametrize(
    ("kind", "wish", "file"),
    [
        ("picture", {"source": seed(3)}, "picture/seed0003.png"),
        ("picture", {"source": seed(3, toward=8, share=0.5)}, "picture/style0000.png"),
        (
            "picture",
            {"source": {"kind": "mix", "row": seed(3), "column": seed(4), "layers": [0]}},
            "picture/style0000.png",
        ),
        ("gallery", {"seeds": "2,5-7", "columns": 2, "psi": 0.7, "class": 1}, "gallery/grid.png"),
        ("truncation", {"seeds": "1-2", "psis": [-1, 0.5], "class": 1, "cutoff": 2}, "truncation/grid.png"),
        ("mix", {"rows": "0-1", "columns": "4,9", "layers": [1, 2], "psi": 0.5, "class": 0}, "mixed/grid.png"),
        ("frame", {"keys": [seed(1), seed(2)], "t": 0.5}, "picture/style0000.png"),
    ],
)
def test_a_download_has_what_makes_it_again(page, tmp_path, monkeypatch, capsys, kind, wish, file):
    status, headers, body = page.call(
        "POST", "/api/download", {"kind": kind, "wish": wish, "number": int(time.time() * 1e6)}
    )
    assert status == 200 and headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        archive.extractall(tmp_path)
    (line,) = (tmp_path / "command.txt").read_text().splitlines()
    words = shlex.split(line)
    monkeypatch.chdir(tmp_path)
    assert RUN[words[2].rpartition(".")[2]](words[3:]) == 0, capsys.readouterr().err
    assert near(np.asarray(Image.open(tmp_path / file)), np.asarray(Image.open(tmp_path / "picture.png")))
    assert json.loads((tmp_path / "wish.json").read_text()) == {"kind": kind, "wish": wish}


def test_layers_and_spectrum(page, model):
    _, _, body = page.ask("layers")
    layers = json.loads(body)["layers"]
    by_name = {layer["name"]: layer for layer in layers}
    h, w, c = model.gan.spec.image_shape
    assert by_name["picture"] == {"name": "picture", "height": h, "width": w, "channels": c}
    assert [layer["height"] for layer in layers] == [4, 8, 8]
    status, about, body = page.ask("maps", source=seed(3), layer="picture", view="rgb")
    found, want = pixels(body), model.synthesize(model.map([3], 1, psi=0.7))[0]
    assert status == 200 and about["channels"] == c
    stretched = (want - want.min((0, 1))) / (want.max((0, 1)) - want.min((0, 1))) * 255
    assert np.abs(found - stretched).max() < 1  # the picture, each channel from black to white
    name = next(layer["name"] for layer in layers if layer["channels"] > 4)
    status, about, body = page.ask("maps", source=seed(3), layer=name, first=1, count=3)
    shown = by_name[name]
    assert about["grid"] == [2, 2] and pixels(body).shape[:2] == (2 * shown["height"], 2 * shown["width"])
    assert pixels(body).max() == 255 and (cells(pixels(body), (2, 2))[1, 1] == 0).all()
    status, _, body = page.ask("spectrum", source=seed(3))
    assert status == 200 and pixels(body).std() > 20
    assert "layer is 'nothing'; known: " in page.refused("maps", source=seed(3), layer="nothing")


@pytest.mark.parametrize(
    ("kind", "wish", "told"),
    [
        ("nothing", {}, "kind is 'nothing'; known: picture, "),
        ("picture", {}, "source is None; pass an object"),
        ("picture", {"source": {"kind": "seed", "seed": -1}}, "seed is -1; pass a whole number from 0 to 4294967295"),
        ("picture", {"source": {"kind": "seed", "seed": True}}, "seed is True; pass a whole number"),
        ("picture", {"source": seed(1, psi="x")}, "psi is 'x'; pass a number from -10 to 10"),
        ("picture", {"source": seed(1, psi=1e9)}, "psi is 1000000000.0; pass a number from -10 to 10"),
        ("picture", {"source": seed(1, **{"class": CLASSES})}, f"class is {CLASSES}; pass a whole number from 0 to 2"),
        ("picture", {"source": seed(1, numbers=[1])}, "numbers is [1]; pass a list of 3 to 3 entries"),
        ("picture", {"source": seed(1, cutoff=99)}, "cutoff is 99; pass a whole number from 0 to"),
        ("picture", {"source": seed(1), "noise": "loud"}, "noise is 'loud'; known: const, random, none"),
        ("picture", {"source": seed(1), "x": 0.1}, "cannot translate or rotate its output"),
        ("picture", {"source": {"kind": "found"}}, "there is no projection yet; upload a picture"),
        (
            "picture",
            {"source": {"kind": "edit", "of": seed(1), "moves": [{"set": "s"}]}},
            "there are no directions 's'",
        ),
        ("picture", {"source": {"kind": "edit", "of": seed(1), "moves": "x"}}, "moves is 'x'; pass a list of 0 to 32"),
        ("mix", {"rows": "0-100", "columns": "1", "layers": []}, "rows names 101 seeds; at most 7 fit here"),
        ("mix", {"rows": "a", "columns": "1", "layers": []}, "rows='a': 'a' is not a seed or a range"),
        ("mix", {"rows": "1", "columns": "1", "layers": [99]}, "layers has 99; this model has the style slots 0 to"),
        ("gallery", {"seeds": "0-4294967295"}, "seeds='0-4294967295' lists 4294967296 or more"),
        ("truncation", {"seeds": "1", "psis": [None]}, "psi is None; pass a number"),
        ("frame", {"keys": [seed(1)]}, "keys is [{'kind': 'seed', 'seed': 1, 'psi': 0…; pass a list of 2 to 32"),
        ("frame", {"keys": [seed(1), 5], "t": 0}, "a keyframe is 5; pass an object"),
        ("directions", {"method": "sefa", "layers": [0], "count": 10**9}, "count is 1000000000; pass a whole number"),
    ],
)
def test_bad_wishes(page, kind, wish, told):
    assert told in page.refused(kind, **wish)


def test_what_is_nested_too_deep_is_refused(page):
    source = seed(1)
    for _ in range(20):
        source = {"kind": "mix", "row": source, "column": seed(2), "layers": [0]}
    assert "nested more than 6 deep" in page.refused("picture", source=source)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json(page, body):
    status, told = page.json("POST", "/api/ask", body)
    assert status == 400 and told["error"] == "the body of the request is not a JSON object"


def test_lanes_are_few(page):
    for i in range(16):
        assert page.ask("layers", lane=f"lane{i}")[0] == 200
    assert "a page has at most 16" in page.refused("layers", lane="another")


def test_what_the_model_cannot_do_has_its_reason(served):
    reasons = served.studio.describe()["reasons"]
    assert "StyleGAN3 models can be moved" in reasons["move"] and "StyleGAN-V models make videos" in reasons["time"]
    assert "not the workdir of a training run" in reasons["run"]
    assert not reasons["explore"] and not reasons["mix"] and not reasons["edit"] and not reasons["film"]
