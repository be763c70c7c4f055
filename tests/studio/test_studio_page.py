"""The page in a real browser: every page is driven once, draws what the model draws, and asks no other host."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from stylegan_jax import load_model
from stylegan_jax.base import images
from stylegan_jax.sampling import directions, drag, paths
from stylegan_jax.studio.studio import Studio
from tests import moving
from tests.studio.conftest import NAMES, TOKEN, Served
from tests.tools.conftest import real
from tests.tools.test_encode import encoder_of
from tests.tools.test_project import NET

__all__ = ["real"]
pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="pages of the studio: needs chromium and chromedriver",
)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
FLAGS += ("--disable-background-networking", "--disable-component-update", "--window-size=1400,1000")
PIXELS = """const c = document.querySelector('#main ' + arguments[0]);
return [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"""


class Browser:
    """A headless Chromium; what it does waits for what the page says it has drawn, never for time."""

    def __init__(self, folder):
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = shutil.which("chromium")
        for flag in FLAGS:
            options.add_argument(flag)
        options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.folder = folder

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def status(self) -> str:
        return self.run("return document.getElementById('status').textContent")

    def wait(self, script: str, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({script})"):
            assert time.monotonic() < end, (script, self.status())
            time.sleep(0.02)

    def open(self, served, page: str = "explore") -> None:
        self.driver.get("about:blank")
        self.driver.get(f"http://127.0.0.1:{served.port}/#token={TOKEN}")
        self.wait("window.done > 0")
        if page != "explore":
            self.page(page)

    def page(self, name: str, count: int = 1) -> None:
        self.drawn(lambda: self.run("location.hash = arguments[0]", f"#{name}"), count)

    def drawn(self, act, count: int = 1) -> None:
        """Do something, and wait until so many pictures more have been shown, and nothing is under way."""
        before = self.run("return window.done")
        act()
        self.wait(f"window.done >= {before + count}")

    def put(self, name: str, value) -> None:
        self.run(
            "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
            "for (const name of ['input', 'change']) e.dispatchEvent(new Event(name, {bubbles: true}))",
            name,
            str(value),
        )

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).click()", selector)

    def picture(self, selector: str = ".print canvas") -> np.ndarray:
        height, width, *data = self.run(PIXELS, selector)
        return np.asarray(data, np.uint8).reshape(height, width, 4)[..., :3]

    def shows(self, want: np.ndarray, selector: str = ".print canvas") -> bool:
        """Return whether the picture becomes `want`, as rounding has it."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            found = self.picture(selector)
            if found.shape == want.shape and np.abs(found.astype(int) - want).max() <= 1:
                return True
            time.sleep(0.05)
        return False

    def saved(self, before: str = "") -> bytes:
        """Return the last file that the page saved."""
        self.wait("window.saved")
        name = self.run("const s = window.saved; window.saved = null; return s.name")
        end = time.monotonic() + 30
        while not (self.folder / name).is_file():
            assert time.monotonic() < end, name
            time.sleep(0.05)
        data = (self.folder / name).read_bytes()
        (self.folder / name).unlink()
        return data

    def job(self, act) -> dict:
        before = self.run("return window.jobs || 0")
        act()
        self.wait(f"window.jobs > {before}")
        return self.run("return window.lastJob")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("saved"))
    yield found
    found.driver.quit()


@pytest.fixture(autouse=True)
def clean(request, browser):
    """Check at the end that nothing of another host was asked for, and that no script failed."""
    yield
    if browser.run("return location.href") == "about:blank":
        return
    asked = browser.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    origin = browser.run("return location.origin")
    assert asked and all(name.startswith((origin, f"blob:{origin}", "data:")) for name in asked)
    assert [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_explore_mix_and_favourites(browser, served, model):
    browser.open(served)
    assert "token" not in browser.run("return location.href")
    browser.put("seed", 5)
    assert browser.run("return [...document.getElementById('class').options].map((o) => o.text)") == list(NAMES)
    browser.put("class", 2)
    browser.put("psi", 1)
    assert browser.shows(model.sample([5], label=2)[0])
    assert "class Big birds" in browser.run("return document.querySelector('#main figcaption').textContent")
    browser.put("cutoff", 1)
    browser.put("psi", -0.5)
    assert browser.shows(model.sample([5], label=2, psi=-0.5, cutoff=1)[0])
    browser.click(".do-download")
    assert browser.saved().startswith(b"PK")
    browser.click(".do-keep")
    browser.run("document.querySelector('.mat').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))")
    assert browser.shows(model.sample([6], label=2, psi=-0.5, cutoff=1)[0])
    link = browser.run("return location.hash")
    assert "seed=6" in link and "class=2" in link
    browser.drawn(lambda: browser.click("#view-gallery"))
    browser.drawn(lambda: browser.click(".cell:nth-child(4)"))
    assert browser.shows(model.sample([3], label=2, psi=-0.5, cutoff=1)[0])
    browser.drawn(lambda: browser.click("#view-truncation"))
    assert browser.run("return document.querySelectorAll('.cell').length") == 24
    browser.drawn(lambda: browser.click("#view-picture"))
    browser.drawn(lambda: browser.click("#walk"), 4)
    browser.click("#walk")
    browser.drawn(lambda: browser.click(".thumb"))
    assert browser.shows(model.sample([5], label=2, psi=-0.5, cutoff=1)[0])
    browser.page("mix")
    assert browser.run("return document.getElementById('mix-class').selectedOptions[0].text") == NAMES[2]
    assert browser.run("return document.getElementById('rows').value") == "5,0,1,2"
    browser.drawn(lambda: browser.put("rows", "1"))
    browser.drawn(lambda: browser.put("columns", "2,3"))
    browser.drawn(lambda: browser.click("#main .cell:last-child"))
    ws, other = model.map([1], 2, psi=-0.5), model.map([3], 2, psi=-0.5)  # as in Explore
    coarse = browser.run("return window.last.wish.source.layers")
    ws[:, coarse] = other[:, coarse]
    assert coarse and browser.shows(images.to_pixels(model.synthesize(ws))[0])


def test_edit_film_and_layers(browser, served, model):
    browser.open(served)
    browser.page("edit", 2)
    browser.put("direction-1", 2.5)
    sefa = directions.sefa(model, range(model.gan.spec.num_ws), 2)
    ws = model.map([0], 0, psi=0.7)
    assert browser.shows(images.to_pixels(model.synthesize(ws + 2.5 * sefa.vectors[1]))[0])
    browser.click("#main .do-keep")
    browser.page("layers", 3)
    assert "channels 0 to" in browser.run("return document.querySelector('#main figcaption').textContent")
    browser.run("location.hash = '#film'")
    browser.wait("document.querySelector('#main #add-current')")
    browser.click("#add-current")
    browser.drawn(lambda: browser.click("#add-favourites"))
    keys = np.concatenate([ws, ws + 2.5 * sefa.vectors[1]])
    browser.put("time", 0.25)
    want = paths.spline(keys)(np.array([0.5]))
    assert browser.shows(images.to_pixels(model.synthesize(want))[0])
    browser.put("frames", 5)
    browser.put("ending", "webp")
    told = browser.job(lambda: browser.click("#make-film"))
    assert told["state"] == "done" and told["result"]["frames"] == 10, told
    browser.wait("document.querySelector('#save-film')")
    browser.click("#save-film")
    assert Image.open(io.BytesIO(browser.saved())).n_frames == 10


def test_your_picture(browser, served, model, monkeypatch, tmp_path):
    _, encoder = encoder_of(model)
    monkeypatch.setattr(Studio, "network", lambda self: NET)
    monkeypatch.setattr(served.studio, "encoder", encoder)
    target = model.sample([9], label=1)[0]
    images.save_png(tmp_path / "..face.png", target)
    browser.open(served)
    browser.run("location.hash = '#picture'")
    browser.wait("document.querySelector('#upload')")
    browser.drawn(lambda: browser.driver.find_element("id", "upload").send_keys(str(tmp_path / "..face.png")))
    assert browser.shows(target, "#target")
    assert browser.run("return document.getElementById('picture-class').options[1].text") == NAMES[1]
    browser.put("picture-class", 1)
    told = browser.job(lambda: browser.click("#encode"))
    assert told["state"] == "done" and told["step"] == told["steps"] == 1, told
    assert browser.shows(images.to_pixels(model.synthesize(encoder.encode(target[None], chunk=1), chunk=1))[0])
    assert browser.run("return document.querySelector('#main figcaption').textContent").startswith("LPIPS ")
    assert not browser.run("return document.getElementById('tune').disabled")
    browser.run("const s = document.getElementById('steps'); s.add(new Option('20', '20')); s.value = 20")
    told = browser.job(lambda: browser.click("#find"))
    assert told["state"] == "done" and told["result"]["end"] < told["result"]["start"], told
    assert browser.run("return document.querySelector('#main figcaption').textContent").startswith("LPIPS ")
    found = browser.picture()
    browser.run("const s = document.getElementById('steps'); s.add(new Option('5000', '5000')); s.value = 5000")
    browser.click("#find")
    browser.wait("document.querySelector('#main progress').max === 5000")
    told = browser.job(lambda: browser.click(".do-cancel"))
    assert told["state"] == "cancelled"
    browser.drawn(lambda: browser.click("#edit-it"), 2)
    assert browser.shows(found)


def test_what_is_closed_says_why(browser, served):
    browser.open(served)
    for page, why in (("move", "StyleGAN3 models can be moved"), ("run", "not the workdir of a training run")):
        browser.run("location.hash = arguments[0]", f"#{page}")
        browser.wait("document.querySelector('.closed')")
        assert why in browser.run("return document.querySelector('.closed').textContent")
        assert browser.run(f"return document.querySelector('[data-page={page}]').getAttribute('aria-description')")


def test_every_control_has_a_name(browser, served):
    browser.open(served)
    named = "e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim()"
    controls = "document.querySelectorAll('#main input, #main select, #main button, #main canvas')"
    nameless = f"return [...{controls}].filter((e) => !({named})).map((e) => e.outerHTML)"
    for page in ("explore", "mix", "edit", "drag", "film", "layers"):
        browser.page(page, 0)
        browser.wait(f"document.querySelector('[data-page={page}]').getAttribute('aria-current') === 'page'")
        assert browser.run(nameless) == []
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_drag(browser, served, model):
    browser.open(served, "drag")
    before = browser.picture()
    frame = "const r = document.querySelector('#main .print canvas').getBoundingClientRect();"
    pull = """const mat = document.querySelector('#main .mat');
        mat.setPointerCapture = mat.hasPointerCapture = () => true;
        const at = (x, y) => ({clientX: r.left + (x + 0.5) * r.width / 8, clientY: r.top + (y + 0.5) * r.height / 8});
        for (const [kind, x, y] of [['down', 2, 3], ['move', 5, 3], ['up', 5, 3]])
          mat.dispatchEvent(new PointerEvent(`pointer${kind}`, {...at(x, y), pointerId: 1, bubbles: true}));"""
    browser.run(frame + pull)
    assert browser.run("return document.getElementById('points').value") == "2,3 > 5,3"
    radius = drag.choose_defaults((8, 8)).radius
    assert float(browser.run("return document.getElementById('radius').value")) == radius
    browser.put("rate", 0.02)
    browser.put("drag-steps", 10)
    told = browser.job(lambda: browser.click("#start-drag"))
    assert told["state"] == "done" and told["result"]["steps"] <= 10, told
    ws = served.studio.model.map([0], 0, psi=0.7)[0]
    want = drag.drag_points(model, ws, [(2, 3)], [(5, 3)], steps=told["result"]["steps"], rate=0.02)
    assert browser.shows(images.to_pixels(want.image)) and not np.array_equal(browser.picture(), before)
    browser.drawn(lambda: browser.click("#undo"))
    assert browser.shows(before)


def test_time(browser, tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "model"
    moving.write(path)
    model = load_model(path)
    served = Served(model, str(path))
    browser.open(served, "time")
    browser.put("motion-seed", 4)
    browser.put("moment", 6.25)
    assert browser.shows(next(model.video([0], 1, start=6.25, motion_seeds=4, psi=0.7))[0])
    browser.drawn(lambda: browser.click("#play-video"), 3)
    browser.click("#play-video")
    browser.put("video-frames", 8)
    browser.put("video-ending", "webp")
    told = browser.job(lambda: browser.click("#make-video"))
    assert told["state"] == "done" and told["result"]["frames"] == 8, told
    browser.driver.get("about:blank")
    served.close()


@pytest.fixture(scope="module")
def run(real, tmp_path_factory):
    """Return a studio of a StyleGAN3 that says it is of a run, with a grid and a curve."""
    workdir = tmp_path_factory.mktemp("run")
    rows = [
        {"step": i, "nimg": 1000 * i, "mean": {"loss/g": 1 / (1 + i)}, "timing": {"img_per_sec": 5}} for i in range(9)
    ]
    (workdir / "stats.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 9, "ni')
    (workdir / "grids").mkdir()
    images.save_png(workdir / "grids/fakes_000008000.png", np.full((20, 30, 3), 7, np.uint8))
    model = load_model(real).replace(provenance={"workdir": str(workdir), "step": 8, "nimg": 8000})
    served = Served(model, str(workdir))
    yield served
    served.close()


def test_move_and_run(browser, run):
    model = run.studio.model
    browser.open(run)
    browser.page("move")
    browser.put("move-x", 0.25)
    browser.put("degrees", 90)
    height, width, _ = model.gan.spec.image_shape
    moved = paths.make_transform(0.25, 0, 90, width / height)
    ws = model.map([0], 0, psi=0.7)
    assert browser.shows(images.to_pixels(model.synthesize(ws, transform=moved))[0])
    browser.click("#spin")
    browser.wait("document.getElementById('degrees').value !== '90'")
    browser.page("explore")  # turning ends with the page
    browser.page("move")
    assert browser.run("return document.getElementById('spin').getAttribute('aria-pressed')") == "false"
    browser.page("run")
    assert "8.0 thousand images shown, step 8" in browser.run(
        "return document.getElementById('run-progress').textContent"
    )
    browser.wait("document.getElementById('run-grid').naturalWidth === 30")
    curves = browser.run("return [...document.querySelectorAll('.chart figcaption')].map((e) => e.textContent)")
    assert curves == ["loss/g0.111", "timing/images per second5"]
    with (run.studio.workdir / "stats.jsonl").open("a") as file:  # the run goes on
        file.write('mg": 9000, "mean": {"loss/g": 0.5}}\n')
    browser.wait("document.getElementById('run-progress').textContent.startsWith('9.0')")
    assert browser.run("return document.querySelector('.chart b').textContent") == "0.5"
    browser.click("#main .do-download")
    with zipfile.ZipFile(io.BytesIO(browser.saved())) as archive:
        assert archive.namelist() == ["fakes_000008000.png", "stats.jsonl", "command.txt"]
        assert archive.read("command.txt").splitlines()[1].startswith(b"python -m stylegan_jax.tools.sample --model=")
