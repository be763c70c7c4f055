"""One studio of a tiny model with classes, on a real port, for all tests of the folder."""

from __future__ import annotations

import http.client
import json
import time

import numpy as np
import pytest

from stylegan_jax import load_model
from tests.tools.conftest import CLASSES, NAMES, write_random

TOKEN = "a-token-for-the-tests"
__all__ = ["CLASSES", "NAMES"]


class Page:
    """What a page does, without a browser: requests with a token and a session."""

    def __init__(self, port: int, **headers: str):
        self.port, self.headers = port, {"X-Studio-Token": TOKEN, **headers}
        self.number = 0

    def call(self, method: str, path: str, body=None, **headers: str):
        """Return (status, headers, body) of a request; a dict is sent as JSON."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        try:
            line.request(method, path, data, {**self.headers, **headers})
            reply = line.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            line.close()

    def open(self) -> dict:
        status, _, body = self.call("POST", "/api/session")
        assert status == 200, body
        told = json.loads(body)
        self.headers["X-Studio-Session"] = told["session"]
        return told["model"]

    def json(self, method: str, path: str, body=None):
        status, _, data = self.call(method, path, body)
        return status, json.loads(data)

    def ask(self, kind: str, lane: str = "picture", **wish):
        """Return (status, what the header says, body)."""
        self.number += 1
        asked = {"kind": kind, "lane": lane, "number": self.number, "wish": wish}
        status, headers, body = self.call("POST", "/api/ask", asked)
        return status, json.loads(headers.get("x-studio-about", "{}")), body

    def refused(self, kind: str, **wish) -> str:
        status, _, body = self.ask(kind, **wish)
        assert status == 400, body
        return json.loads(body)["error"]

    def job(self, kind: str, **wish) -> dict:
        """Start a job and return what is told of it at its end."""
        status, told = self.json("POST", "/api/job", {"kind": kind, "wish": wish})
        assert status == 200, told
        return self.follow(told["id"])

    def follow(self, name: str, until=("done", "failed", "cancelled")) -> dict:
        end = time.monotonic() + 120
        while True:
            status, told = self.json("GET", f"/api/job/{name}")
            assert status == 200 and time.monotonic() < end, told
            if told["state"] in until:
                return told
            time.sleep(0.02)


class Served:
    """A studio that listens: `port`, `studio`, and `page()`, a new open page."""

    def __init__(self, model, path: str, step=None, **options):
        from stylegan_jax.studio.serving import Server
        from stylegan_jax.studio.studio import Studio

        self.studio = Studio(model, path, step, **options)
        self._server = Server(self.studio, "" if self.studio.is_public else TOKEN)
        self.port = self._server.port

    def page(self) -> Page:
        page = Page(self.port)
        page.open()
        return page

    def close(self) -> None:
        self._server.close()
        assert not self._server.is_running


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return the folder of a StyleGAN2 with named classes."""
    path = tmp_path_factory.mktemp("studio") / "model"
    write_random(path, initial=True, names=NAMES, label_dim=CLASSES)
    return path


@pytest.fixture(scope="session")
def model(folder):
    return load_model(folder)


@pytest.fixture(scope="session")
def served(model, folder):
    found = Served(model, str(folder))
    yield found
    found.close()
    assert not found.studio.sessions.root.exists(), "nothing of a session is left behind"


@pytest.fixture
def page(served):
    """Return an open page, which is closed at the end."""
    found = served.page()
    yield found
    found.call("DELETE", "/api/session")


@pytest.fixture(scope="session")
def photograph():
    """Return uint8[h, w, 3], wider than high, no two parts alike."""
    x, y = np.meshgrid(np.linspace(0, 1, 60), np.linspace(0, 1, 40))
    return (np.stack([x, y, (x + y) / 2], axis=2) * 255).astype(np.uint8)
