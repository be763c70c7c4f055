"""The exported page in a real browser, offline: it draws what the model draws, and asks no other host for anything."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
import time

import numpy as np
import pytest

from stylegan_jax import load_model
from stylegan_jax.base import images
from stylegan_jax.sampling import web_page
from stylegan_jax.tools import export
from tests.tools.conftest import NAMES

RUNTIME = os.environ.get("ONNXRUNTIME_WEB", "")
needs_browser = pytest.mark.skipif(
    not (RUNTIME and shutil.which("chromium") and shutil.which("chromedriver")),
    reason="needs chromium, chromedriver and ONNXRUNTIME_WEB=the archive of `npm pack onnxruntime-web`",
)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
FLAGS += ("--disable-background-networking", "--disable-component-update", "--window-size=1000,800")
PIXELS = """const c = document.getElementById('picture');
return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"""


@pytest.fixture
def browser():
    """Return a headless Chromium; nothing is downloaded."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = shutil.which("chromium")
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def served(tmp_path):
    """Return a function that serves a folder and returns its address."""
    servers = []

    def serve(folder):
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=os.fspath(folder))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Prints nothing."""

    def log_message(self, *args):
        pass


def wait(browser, script: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not browser.execute_script(f"return Boolean({script})"):
        status = browser.execute_script("return document.getElementById('status').textContent")
        assert time.monotonic() < end and "error" not in status and "could not" not in status, status
        time.sleep(0.05)


def put(browser, name: str, value: str) -> None:
    """Type a value, and wait until the page has drawn what it asks for."""
    before = browser.execute_script("return window.done")
    browser.execute_script(
        "const e = document.getElementById(arguments[0]);"
        "if (e.type === 'checkbox') e.checked = arguments[1] === 'on'; else e.value = arguments[1];"
        "e.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )
    wait(browser, f"window.done > {before}")


def picture(browser, shape) -> np.ndarray:
    h, w, _ = shape
    return np.asarray(browser.execute_script(PIXELS), np.uint8).reshape(h, w, 4)


@needs_browser
def test_the_page_draws_what_the_model_draws(classes_model, tmp_path, served, browser):
    folder = tmp_path / "page"
    assert export.main([f"--model={classes_model}", f"--out={folder}", "--to=web", f"--runtime={RUNTIME}"]) == 0
    address, model = served(folder), load_model(classes_model)
    browser.get(address)
    wait(browser, "window.done > 0")
    same = lambda want: np.abs(picture(browser, want.shape)[..., :3].astype(int) - want).max() <= 1
    assert same(model.sample([0], label=0, psi=0.7)[0])
    put(browser, "seed", "4294967295")
    options = "return [...document.getElementById('class').options].map((o) => o.text)"
    assert browser.execute_script(options) == list(NAMES)
    put(browser, "class", "2")
    put(browser, "psi", "1")
    want = model.sample([4294967295], label=2, psi=1.0)[0]
    assert same(want) and want.std() > 1
    put(browser, "second", "5")
    put(browser, "slot1", "on")
    ws, other = model.map([4294967295], 2), model.map([5], 2)
    ws[:, 1] = other[:, 1]
    mixed = images.to_pixels(model.synthesize(ws))[0]
    assert same(mixed) and not np.array_equal(mixed, want)
    assert browser.execute_script("return window.last") == "seed 4294967295, psi 1 mixed with 5 in 1"
    browser.execute_script("document.getElementById('walk').click()")
    before = browser.execute_script("return window.done")
    wait(browser, f"window.done > {before + 3}")
    browser.execute_script("document.getElementById('walk').click()")
    asked = browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert asked and all(name.startswith(address) for name in asked)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_page_needs_its_runtime(classes_model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = [f"--model={classes_model}", f"--out={tmp_path / 'page'}", "--to=web"]
    assert export.main(command) == 2
    assert "run `npm pack onnxruntime-web` and pass --runtime=FILE.tgz" in capsys.readouterr().err
    (tmp_path / "x.tgz").write_bytes(b"no archive")
    assert export.main([*command, "--runtime=x.tgz"]) == 2
    assert "x.tgz is not the npm package onnxruntime-web" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def test_a_page_is_replaced_only_by_a_page(classes_model, tmp_path, capsys):
    package = tmp_path / "node_modules/onnxruntime-web"
    for file in web_page.FILES:
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).write_text(file)
    out = tmp_path / "page"
    command = [f"--model={classes_model}", f"--out={out}", "--to=web", f"--runtime={package}"]
    assert export.main(command) == 0
    assert (out / "ort/ort.wasm.min.mjs").read_text() == "dist/ort.wasm.min.mjs"
    assert export.main(command) == 2
    assert "exists already; pass --overwrite" in capsys.readouterr().err
    assert export.main([*command, "--overwrite"]) == 0
    (out / "notes.txt").write_text("mine")
    assert export.main([*command, "--overwrite"]) == 2
    assert "is not a folder that this tool wrote" in capsys.readouterr().err
    assert (out / "notes.txt").read_text() == "mine"
