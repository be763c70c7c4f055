"""The studio below a notebook's cell: its address works in a frame of the notebook, and nobody else's does."""

from __future__ import annotations

import html
import json
import re
import sys
import types
from urllib.parse import urlsplit

import pytest

from stylegan_jax.studio import notebook
from tests.studio.conftest import Page


def page_of(shown) -> tuple[Page, str]:
    """Return a page of what a cell shows, and its address."""
    source = html.unescape(re.search(r'<iframe src="([^"]+)"', shown._repr_html_())[1])
    page = Page(shown.server.port)
    page.headers["X-Studio-Token"] = urlsplit(source).fragment.removeprefix("token=")
    return page, source


def test_a_cell_shows_the_page_of_the_notebooks_model(model, folder):
    shown = notebook.show(model, height=700)
    assert 'height="700"' in shown._repr_html_() and shown.server.token not in repr(shown)
    page, source = page_of(shown)
    assert source == f"http://127.0.0.1:{shown.server.port}/#token={shown.server.token}"
    status, headers, body = page.call("GET", "/")
    assert status == 200 and b'src="app.js"' in body
    assert "frame-ancestors 'self' http://localhost:*" in headers["content-security-policy"]
    assert page.open()["name"] and page.ask("picture", source={"kind": "seed", "seed": 0})[0] == 200
    page.headers["X-Studio-Token"] = "guessed"
    assert page.call("POST", "/api/session")[0] == 403
    again = notebook.show(model)  # the cell is run again
    assert again is not None and not shown.server.is_running and again.server.token != shown.server.token
    again.close()
    assert not again.server.is_running and not again.server.studio.sessions.root.exists()


def test_through_a_proxy_the_names_are_not_compared_but_the_token_is(folder):
    shown = notebook.show(folder, address="/user/me/proxy/{port}/")
    page, source = page_of(shown)
    assert source.startswith(f"/user/me/proxy/{shown.server.port}/#token=")
    proxied = {"Host": "hub.example", "Origin": "https://notebooks.example"}
    assert page.call("POST", "/api/session", **proxied)[0] == 200
    assert page.call("POST", "/api/session", **proxied, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    page.headers["X-Studio-Token"] = ""
    assert page.call("POST", "/api/session", **proxied)[0] == 403
    shown.close()


def test_in_colab_its_own_function_shows_the_page(model, monkeypatch):
    asked, google, colab = {}, types.ModuleType("google"), types.ModuleType("google.colab")
    show = lambda port, **options: asked.update(options, port=port)
    google.colab = colab
    colab.output = types.SimpleNamespace(serve_kernel_port_as_iframe=show)
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    assert notebook.show(model, height=500) is None
    shown = notebook._open[id(model)]
    assert asked == {"port": shown.server.port, "path": f"/#token={shown.server.token}", "height": "500"}
    page, _ = page_of(shown)
    assert page.call("POST", "/api/session", Host="x-colab.googleusercontent.com", Origin="https://y.example")[0] == 200
    shown.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"height": 10}, "height=10: the page needs at least 200 pixels"),
        ({"address": "/proxy/"}, "address='/proxy/' has no {port}; write it where the port's number goes"),
        ({"port": 1 << 20}, "port=1048576: choose a port from 0 to 65535"),
    ],
)
def test_bad_arguments(model, options, told):
    with pytest.raises(ValueError) as error:
        notebook.show(model, **options)
    assert told in str(error.value) and id(model) not in notebook._open


def test_the_notebook_cell_of_the_page_is_a_cell(folder):
    """The example of docs/studio.md, with a model of the tests in place of the demo model."""
    from pathlib import Path

    text = (Path(__file__).resolve().parents[2] / "docs/studio.md").read_text()
    (cell,) = re.findall(r"```python\n(from stylegan_jax\.studio import notebook\n.*?)```", text, re.DOTALL)
    first, last = cell.strip().split("\n\n")
    names: dict = {}
    exec(first, names)
    shown = eval(last.replace('"demo"', repr(str(folder))), names)
    assert json.dumps(shown._repr_html_()).count("<iframe") == 1
    shown.close()
