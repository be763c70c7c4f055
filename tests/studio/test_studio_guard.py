"""Who may talk to the studio: its own page with the token, on this machine; every answer forbids other hosts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from stylegan_jax.studio import __main__ as command, serving
from tests.studio.conftest import Page, Served


def why(answer) -> str:
    status, _, body = answer
    assert status == 403
    return json.loads(body)["error"]


def test_a_request_without_the_token_is_refused(served):
    for token in ("", "a-token-for-the-test", "a-token-for-the-tests2", "ü"):
        assert "token is missing or wrong" in why(
            Page(served.port).call("POST", "/api/session", X_Studio_Token="", **{"X-Studio-Token": token})
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_origin_is_refused_even_with_the_token(served, headers):
    assert "its own page only" in why(Page(served.port).call("POST", "/api/session", **headers))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]:80"])
def test_a_name_that_points_here_is_refused(served, host):
    """DNS rebinding: the page of evil.example has its name resolved to 127.0.0.1."""
    for path in ("/", "/api/session"):
        assert "127.0.0.1 and localhost only" in why(Page(served.port).call("GET", path, Host=host))


def test_its_own_page_is_served_and_asks_no_other_host(served):
    page = Page(served.port)
    origin = f"http://127.0.0.1:{served.port}"
    status, headers, body = page.call("GET", "/", **{"X-Studio-Token": ""})
    assert status == 200 and b'src="app.js"' in body and b"http" not in body.replace(b"http-equiv", b"")
    assert "default-src 'none'" in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
    for file in ("app.js", "studio.css", "icon.svg"):
        assert page.call("GET", f"/{file}")[0] == 200
    for path in ("/../app.py", "/..%2fapp.py", "/%2e%2e/studio.py", "//etc/passwd", "/nothing.js"):
        assert page.call("GET", path)[0] in (400, 404), path
    status, _, _ = page.call("POST", "/api/session", Origin=origin, **{"Sec-Fetch-Site": "same-origin"})
    assert status == 200
    assert page.call("POST", "/api/session", Host=f"localhost:{served.port}")[0] == 200


def test_a_session_is_needed_and_ends(served):
    page = served.page()
    assert page.json("POST", "/api/alive", {})[1]["state"] in ("compiling", "ready")
    folder = served.studio.sessions.get(page.headers["X-Studio-Session"]).folder
    assert folder.is_dir()
    assert page.call("DELETE", "/api/session")[0] == 200
    assert not folder.exists()
    status, told = page.json("POST", "/api/alive", {})
    assert status == 410 and "session has ended; reload the page" in told["error"]
    page.headers["X-Studio-Session"] = "../../etc"
    assert page.call("POST", "/api/alive", {})[0] == 410


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host=0.0.0.0"], "can be reached from other machines; pass a --token too, such as --token="),
        (["--token=short"], "--token: pass 16 to 200 letters, digits, - or _"),
        (["--token=spaces are no letters"], "--token: pass 16 to 200"),
        (["--public", "--token=0123456789abcdef"], "--public lets everybody in, and --token only those who have it"),
        (["--port=70000"], "--port=70000: choose a port from 0 to 65535"),
        (["--port=0", "--model=nowhere"], "nowhere does not exist"),
        (["--port=0", "--host=192.0.2.1", "--token=0123456789abcdef"], "--host=192.0.2.1 --port=0: "),
    ],
)
def test_bad_arguments_end_in_one_line(words, told, capsys):
    words = words if any("--model" in word for word in words) else ["--model=x", *words]
    assert command.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and error.count("\n") == 1


def test_a_taken_port_is_named(served, capsys):
    assert command.main(["--model=x", f"--port={served.port}"]) == 2
    assert f"--port={served.port}: Address already in use; choose another, or --port=0" in capsys.readouterr().err


def test_without_its_packages_the_command_names_them(capsys, monkeypatch):
    monkeypatch.setattr(serving.importlib.util, "find_spec", lambda name: None)
    assert command.main(["--model=x"]) == 2
    assert "needs starlette and uvicorn: pip install 'stylegan_jax[studio]'" in capsys.readouterr().err


def test_the_command_imports_no_server_before_it_serves():
    code = "import sys, stylegan_jax.studio.__main__; print(*{'jax', 'starlette', 'uvicorn'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == []


def test_a_public_studio_takes_no_files_and_no_minutes(model, folder):
    open_to_all = Served(model, str(folder), is_public=True)
    page = Page(open_to_all.port, **{"X-Studio-Token": ""})
    reasons = page.open()["reasons"]
    assert all(reasons[name].startswith("This studio is open to everybody") for name in ("picture", "run"))
    assert not reasons["drag"] and not reasons["film"]
    source = {"kind": "seed", "seed": 0}
    assert page.ask("picture", source=source)[0] == 200
    closed = [("POST", "/api/upload", b"x"), ("POST", "/api/directions", b"x"), ("GET", "/api/run", None)]
    closed += [("POST", "/api/reload", {"number": 1}), ("GET", "/api/grid/x", None), ("GET", "/api/bundle/x", None)]
    closed += [("POST", "/api/job", {"kind": kind, "wish": {}}) for kind in ("project", "encode", "tune")]
    for method, path, body in closed:
        status, told = page.json(method, path, body)
        assert status == 400 and "open to everybody" in told["error"], path
    drag = {"kind": "drag", "wish": {"source": source, "points": [[1, 1, 3, 1]], "steps": 301}}
    assert "steps is 301; pass a whole number from 1 to 300" in page.json("POST", "/api/job", drag)[1]["error"]
    film = {"kind": "film", "wish": {"keys": [source, source], "frames": 151, "ending": "webp"}}
    assert "302 frames; at most 300 fit" in page.json("POST", "/api/job", film)[1]["error"]
    pages = [page.json("POST", "/api/session")[0] for _ in range(16)]
    assert pages == [200] * 15 + [410]
    assert page.call("POST", "/api/session", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    open_to_all.close()
