"""Pictures of anybody: what is taken, cropped and found; what is refused; films; sessions that end midway."""

from __future__ import annotations

import http.client
import io
import json
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from stylegan_jax import load_model
from stylegan_jax.base import images
from stylegan_jax.studio import uploads
from stylegan_jax.studio.studio import Studio
from tests.tools.test_encode import encoder_of
from tests.tools.test_project import NET


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Let projections use random features."""
    monkeypatch.setattr(Studio, "network", lambda self: NET)


def encoded(pixels, kind="PNG", **more) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **more)
    return data.getvalue()


def opened(body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body)))


def test_a_picture_is_cropped_to_the_models_shape(page, model, photograph):
    status, headers, body = page.call("POST", "/api/upload?name=../../../etc/passwd", encoded(photograph))
    assert status == 200 and json.loads(headers["x-studio-about"]) == {"width": 60, "height": 40, "changes": []}
    assert np.array_equal(opened(body), photograph)
    h, w, _ = model.gan.spec.image_shape
    status, _, body = page.call("POST", "/api/crop", {"x": 0, "y": 1, "size": 0.5})
    part = Image.fromarray(photograph[20:, :20]).resize((w, h), Image.Resampling.LANCZOS)
    assert status == 200 and np.array_equal(opened(body), np.asarray(part))
    assert page.json("POST", "/api/crop", {"x": 2})[1]["error"] == "x is 2; pass a number from 0 to 1"


def test_transparency_is_white_and_rotation_is_undone(page, photograph):
    clear = np.concatenate([photograph, np.zeros((40, 60, 1), np.uint8)], axis=2)
    _, headers, body = page.call("POST", "/api/upload", encoded(clear))
    assert (opened(body) == 255).all()
    assert "transparency over white" in json.loads(headers["x-studio-about"])["changes"]
    exif = Image.Exif()
    exif[0x0112] = 6
    _, headers, body = page.call("POST", "/api/upload", encoded(photograph, "JPEG", exif=exif))
    assert opened(body).shape == (60, 40, 3)


def animated() -> bytes:
    frames = [Image.new("RGB", (20, 20), (shade, 0, 0)) for shade in (0, 120, 250)]
    data = io.BytesIO()
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    return data.getvalue()


BAD = {
    "no image": (b"this is no image", "the file cannot be used"),
    "nothing": (b"", "the file cannot be used"),
    "half an image": (encoded(np.zeros((64, 64, 3), np.uint8))[:60], "the file cannot be used"),
    "animated": (animated(), "the file cannot be used"),
    "1x1": (encoded(np.zeros((1, 1, 3), np.uint8)), "has 1x1 pixels; each side needs at least 8"),
    "a page": (b"<html><script>alert(1)</script></html>", "the file cannot be used"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_refused(page, served, name):
    data, told = BAD[name]
    status, answer = page.json("POST", "/api/upload", data)
    assert status == 400 and told in answer["error"] and "\n" not in answer["error"]
    assert page.json("POST", "/api/crop", {})[1]["error"] == "there is no picture yet; upload one first"
    session = served.studio.sessions.get(page.headers["X-Studio-Session"])
    assert list(session.folder.iterdir()) == []


def test_100_megabytes_are_refused_before_they_are_read(page):
    line = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    line.putrequest("POST", "/api/upload")
    for name, value in {**page.headers, "Content-Length": str(100 << 20)}.items():
        line.putheader(name, value)
    line.endheaders()
    reply = line.getresponse()
    assert reply.status == 413 and json.loads(reply.read())["error"] == "the file has 100 MB; at most 32 MB are taken"
    line.close()


def test_a_large_picture_is_shrunk_and_a_bomb_is_refused(page):
    wide = np.zeros((10, 5000, 3), np.uint8)
    _, _, body = page.call("POST", "/api/upload", encoded(wide))
    assert "each side needs" not in body.decode("latin-1") and opened(body).shape[1] == 640
    bomb = io.BytesIO()
    Image.new("1", (20000, 20000)).save(bomb, "PNG")
    status, told = page.json("POST", "/api/upload", bomb.getvalue())
    assert status == 400 and "the file cannot be used" in told["error"]


def put_target(page, model, number=5) -> np.ndarray:
    target = model.sample([number], label=1)[0]
    assert page.call("POST", "/api/upload", encoded(target))[0] == 200
    assert page.call("POST", "/api/crop", {})[0] == 200
    return target


def test_a_picture_is_found_tuned_and_kept(page, model, tmp_path):
    assert "there is no picture yet" in page.json("POST", "/api/job", {"kind": "project", "wish": {}})[1]["error"]
    target = put_target(page, model)
    assert "find the picture first" in page.json("POST", "/api/job", {"kind": "tune", "wish": {}})[1]["error"]
    told = page.job("project", steps=12, **{"class": 1})
    assert told["state"] == "done", told
    assert told["result"]["end"] < told["result"]["start"] and told["step"] == 12 and len(told["losses"]) == 12
    assert page.call("GET", f"/api/job/{told['id']}/preview")[0] == 200
    status, about, body = page.ask("picture", source={"kind": "found"})
    found = opened(body)
    assert status == 200 and "--styles=latents.npz" in about["command"]
    asked = {"kind": "picture", "wish": {"source": {"kind": "found"}}, "number": time.time_ns() // 1000}
    status, _, body = page.call("POST", "/api/download", asked)
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert np.array_equal(opened(archive.read("target.png")), target)
        ws = np.load(io.BytesIO(archive.read("latents.npz")))["w"]
    assert np.abs(model.synthesize(ws).clip(-1, 1) * 127.5 + 128 - found).max() < 1.6
    tuned = page.job("tune", steps=10)
    assert tuned["state"] == "done" and tuned["result"]["end"] < tuned["result"]["start"]
    _, about, body = page.ask("picture", source={"kind": "tuned"})
    distance = lambda shown: np.abs(shown.astype(float) - target).mean()
    assert distance(opened(body)) < distance(found)
    assert [line.split()[2] for line in about["command"].splitlines()] == [
        f"stylegan_jax.tools.{name}" for name in ("project", "pti", "sample")
    ]
    status, _, data = page.call("GET", "/api/file/tuned.zip")
    assert status == 200
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(tmp_path)
    with np.load(tmp_path / "latents.npz") as latents:
        kept = load_model(tmp_path / "tuned").synthesize(latents["w"])
    assert np.abs(kept[0].clip(-1, 1) * 127.5 + 128 - opened(body)).max() < 1.6


def test_an_encoder_finds_it_in_one_pass(page, served, model, monkeypatch):
    assert "start it with --encoder" in page.json("POST", "/api/job", {"kind": "encode", "wish": {}})[1]["error"]
    target = put_target(page, model)
    _, encoder = encoder_of(model)
    monkeypatch.setattr(served.studio, "encoder", encoder)
    monkeypatch.setattr(served.studio, "encoder_path", "runs/encoder")
    assert served.studio.describe()["has_encoder"]
    told = page.job("encode", **{"class": 1})
    assert told["state"] == "done" and told["step"] == 1, told
    _, _, body = page.ask("picture", source={"kind": "found"})
    want = images.to_pixels(model.synthesize(encoder.encode(target[None])))[0]
    assert np.abs(opened(body).astype(int) - want).max() <= 1
    assert page.job("tune", steps=2)["state"] == "done"
    _, about, _ = page.ask("picture", source={"kind": "tuned"})
    first = about["command"].splitlines()[0]
    assert "stylegan_jax.tools.encode" in first and "--encoder=runs/encoder --targets=target.png" in first


def test_a_projection_while_another_runs(page, served, model):
    put_target(page, model)
    other = served.page()
    put_target(other, model, 6)
    first = page.json("POST", "/api/job", {"kind": "project", "wish": {"steps": 5000, "class": 1}})[1]
    page.follow(first["id"], ("running",))
    status, told = page.json("POST", "/api/job", {"kind": "project", "wish": {"class": 1}})
    assert status == 409 and "something is running for this page already" in told["error"]
    second = other.json("POST", "/api/job", {"kind": "project", "wish": {"steps": 3, "class": 1}})[1]
    assert other.json("GET", f"/api/job/{second['id']}")[1]["ahead"] == 1
    status, told = other.json("GET", f"/api/job/{first['id']}")
    assert status == 400 and "no such job in this page" in told["error"]
    assert other.ask("picture", source={"kind": "seed", "seed": 1})[0] == 200  # sliders go on
    assert page.json("DELETE", f"/api/job/{first['id']}")[0] == 200
    assert page.follow(first["id"])["state"] == "cancelled"
    assert other.follow(second["id"])["state"] == "done"
    assert page.refused("picture", source={"kind": "found"}).startswith("there is no projection yet")
    other.call("DELETE", "/api/session")


def test_a_session_that_closes_midway_frees_the_model_and_its_files(served, model):
    page = served.page()
    put_target(page, model)
    told = page.json("POST", "/api/job", {"kind": "project", "wish": {"steps": 5000, "class": 1}})[1]
    page.follow(told["id"], ("running",))
    folder = served.studio.sessions.get(page.headers["X-Studio-Session"]).folder
    assert page.call("DELETE", "/api/session")[0] == 200
    end = time.monotonic() + 30
    while any(job.state == "running" for job in list(served.studio.worker._known.values())):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not folder.exists()
    fresh = served.page()
    assert fresh.ask("picture", source={"kind": "seed", "seed": 1})[0] == 200
    fresh.call("DELETE", "/api/session")


def test_two_pages_do_not_see_each_others_pictures(page, served, model):
    other = served.page()
    put_target(page, model)
    assert page.job("project", steps=2, **{"class": 1})["state"] == "done"
    assert page.ask("picture", source={"kind": "found"})[0] == 200
    assert "there is no projection yet" in other.refused("picture", source={"kind": "found"})
    other.call("DELETE", "/api/session")


@pytest.mark.parametrize("ending", ["mp4", "webp", "gif"])
def test_a_film(page, model, ending):
    keys = [{"kind": "seed", "seed": s, "class": 1} for s in (1, 2)]
    told = page.job("film", keys=keys, frames=3, fps=10, ending=ending)
    assert told["state"] == "done" and told["result"]["frames"] == 6, told
    status, _, body = page.call("GET", f"/api/file/film.{ending}")
    assert status == 200
    if ending != "mp4":
        shown = Image.open(io.BytesIO(body))
        assert shown.n_frames == 6
        if ending == "gif":  # whose colours are few enough to be kept
            assert np.abs(np.asarray(shown.convert("RGB")).astype(int) - model.sample([1], label=1)[0]).max() <= 8
    else:
        import av

        with av.open(io.BytesIO(body)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 6
    status, _, body = page.call("GET", "/api/file/film.zip")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert set(archive.namelist()) == {f"film.{ending}", "latents.npz", "command.txt"}
        assert "tools.video" in archive.read("command.txt").decode()
    assert page.call("GET", "/api/file/../../film.zip")[0] == 404
    assert page.json("GET", "/api/file/passwd")[1]["error"] == "there is no such file in this page"


def test_a_film_that_is_too_long_is_refused(page):
    keys = [{"kind": "seed", "seed": s} for s in range(32)]
    told = page.json("POST", "/api/job", {"kind": "film", "wish": {"keys": keys, "frames": 600}})[1]
    assert told["error"] == "19200 frames; at most 3600 fit into one film"
    assert uploads.MAX_BYTES == 32 << 20
