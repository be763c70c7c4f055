"""A model of videos in the studio: pictures are frames of its own, the time and the motion of any are drawn."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from stylegan_jax import load_model
from tests import moving
from tests.studio.conftest import Served
from tests.studio.test_studio_pictures import near, pixels

SOURCE = {"kind": "seed", "seed": 3, "psi": 0.7}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "model"
    moving.write(path)
    return path


@pytest.fixture(scope="module")
def videos(clips):
    found = Served(load_model(clips), str(clips))
    yield found
    found.close()


@pytest.fixture
def page(videos):
    found = videos.page()
    yield found
    found.call("DELETE", "/api/session")


def test_moments_are_frames_of_the_librarys_videos(page, clips):
    model = load_model(clips)
    want = list(model.video([3], 3, start=7.5, motion_seeds=5, psi=0.7))
    for i in (0, 2):
        status, about, body = page.ask("moment", source=SOURCE, t=7.5 + i, motion_seed=5)
        assert status == 200 and near(pixels(body), want[i][0])
    assert "--path=time --start=9.5 --motion_seeds=5" in about["command"]
    assert not near(want[0][0], want[2][0])


def test_pictures_are_frames_at_time_0_with_motion_0(page, clips):
    model = load_model(clips)
    status, about, body = page.ask("picture", source=SOURCE)
    assert status == 200 and near(pixels(body), next(model.video([3], 1, motion_seeds=0, psi=0.7))[0])
    assert "--motion_seed=0" in about["command"]
    layers = json.loads(page.ask("layers")[2])["layers"]
    assert page.ask("maps", source=SOURCE, layer=layers[-1]["name"])[0] == 200
    assert page.ask("mix", rows="0", columns="1", layers=[0])[0] == 200


def test_a_video_is_written_with_its_command(page):
    told = page.job("clip", source=SOURCE, t=2, motion_seed=1, frames=4, speed=0.5, fps=12, ending="webp")
    assert told["state"] == "done" and told["result"]["frames"] == 4, told
    assert Image.open(io.BytesIO(page.call("GET", "/api/file/video.webp")[2])).n_frames == 4
    with zipfile.ZipFile(io.BytesIO(page.call("GET", "/api/file/video.zip")[2])) as archive:
        assert "--start=2 --motion_seeds=1 --frames=4 --speed=0.5 --fps=12" in archive.read("command.txt").decode()
        assert np.load(io.BytesIO(archive.read("latents.npz")))["w"].shape[0] == 1


def test_reasons_and_bad_times(page, videos):
    reasons = videos.studio.describe()["reasons"]
    assert not reasons["time"] and "see Time" in reasons["film"]
    assert "t is -1; pass a number from 0" in page.refused("moment", source=SOURCE, t=-1)


def test_a_model_of_pictures_has_no_time(served):
    page = served.page()
    assert "StyleGAN-V models make videos" in page.refused("moment", source=SOURCE)
    page.call("DELETE", "/api/session")
