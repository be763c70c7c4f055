"""Dragging in the studio: the library's steps, shown on the way, kept when stopped, undone by going back."""

from __future__ import annotations

import io
import shlex
import zipfile

import numpy as np
import pytest

from stylegan_jax.base import images
from stylegan_jax.sampling import drag
from stylegan_jax.tools import drag as command
from tests.studio.test_studio_pictures import near, pixels

SOURCE = {"kind": "seed", "seed": 3, "psi": 0.7, "class": 1}
POINTS = [[2, 3, 5, 3]]


def test_a_drag_takes_the_librarys_steps(page, model, tmp_path, monkeypatch):
    ws = model.map([3], 1, psi=0.7)[0]
    want = drag.drag_points(model, ws, [(2, 3)], [(5, 3)], steps=6, rate=0.02)
    told = page.job("drag", source=SOURCE, points=POINTS, steps=6, rate=0.02)
    found = told["result"]
    assert told["state"] == "done" and found["index"] == 0, told
    assert found["steps"] == len(want.path) - 1 and np.allclose(found["distances"], want.distances, atol=1e-3)
    assert np.allclose(told["about"]["points"], want.path[-1], atol=1e-3)
    status, about, body = page.ask("picture", source={"kind": "dragged", "index": 0})
    assert status == 200 and near(pixels(body), images.to_pixels(want.image)) and "--styles=" in about["command"]
    before = pixels(page.ask("picture", source=SOURCE)[2])
    assert not np.array_equal(pixels(body), before)  # undo: the earlier source is still there
    words = shlex.split(found["command"])
    monkeypatch.chdir(tmp_path)
    assert command.main(words[3:]) == 0
    with np.load(tmp_path / "dragged/projected_w.npz") as kept:
        assert np.abs(kept["w"][0] - want.ws).max() < 1e-5
    again = page.job("drag", source={"kind": "dragged", "index": 0}, points=[[2, 3, 1, 3]], steps=1)
    assert again["result"]["index"] == 1


def test_a_drag_that_is_stopped_keeps_what_it_reached(page):
    wish = {"source": SOURCE, "points": POINTS, "steps": 2000, "rate": 1e-5}
    told = page.json("POST", "/api/job", {"kind": "drag", "wish": wish})[1]
    page.follow(told["id"], ("running",))
    while not page.json("GET", f"/api/job/{told['id']}")[1]["step"]:
        pass
    page.call("DELETE", f"/api/job/{told['id']}")
    told = page.follow(told["id"])
    assert told["state"] == "done" and 0 < told["result"]["steps"] < 2000 and not told["result"]["is_done"]
    assert page.ask("picture", source={"kind": "dragged", "index": 0})[0] == 200


def test_the_brush_is_a_mask_and_comes_with_the_download(page, tmp_path, monkeypatch):
    told = page.job("drag", source=SOURCE, points=POINTS, steps=1, mask=[[2, 3, 2], [5, 3, 1]])
    assert told["state"] == "done" and "--mask=mask.png" in told["result"]["command"]
    asked = {"kind": "picture", "wish": {"source": {"kind": "dragged", "index": told["result"]["index"]}}}
    with zipfile.ZipFile(io.BytesIO(page.call("POST", "/api/download", asked)[2])) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path / "drag")
    (line,) = (tmp_path / "drag/command.txt").read_text().splitlines()
    assert command.main(shlex.split(line)[3:]) == 0
    with np.load(tmp_path / "drag/dragged/projected_w.npz") as again, np.load(tmp_path / "latents.npz") as kept:
        assert np.abs(again["w"] - kept["w"]).max() < 1e-5
    again, kept = (pixels((tmp_path / name).read_bytes()) for name in ("drag/dragged/dragged.png", "picture.png"))
    assert near(again, kept)
    told = page.job("drag", source=SOURCE, points=POINTS, steps=1, mask=[[6, 6, 1]])
    assert told["state"] == "failed" and "is where the mask is 0" in told["error"]


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"points": []}, "points is []; pass a list of 1 to 16 entries"),
        ({"points": [[1, 2, 3]]}, "point is [1, 2, 3]; pass a list of 4 to 4 entries"),
        ({"points": [[1, 2, 3, 100]]}, "point is 100; pass a number from 0 to 7"),
        ({"points": POINTS, "mask": [[1]]}, "stroke is [1]; pass a list of 3 to 3"),
        ({"points": POINTS, "steps": 0}, "steps is 0; pass a whole number from 1 to 2000"),
        ({"points": POINTS, "source": None}, "source is None; pass an object"),
    ],
)
def test_bad_drags(page, wish, told):
    status, answer = page.json("POST", "/api/job", {"kind": "drag", "wish": {"source": SOURCE, **wish}})
    assert status == 400 and told in answer["error"]


def test_nothing_was_dragged(page):
    assert page.refused("picture", source={"kind": "dragged"}) == "nothing has been dragged yet in this page"
