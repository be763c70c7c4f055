"""The template of a Space: its header fits its Dockerfile, and its command starts a studio that everybody may use."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys

import yaml

from launch.commands import ROOT
from tests.tools.conftest import write_random

SPACE = ROOT / "launch" / "space"


def command() -> str:
    """Return the shell command of the container."""
    (found,) = re.findall(r"^CMD (.+)$", (SPACE / "Dockerfile").read_text(), re.MULTILINE)
    return found.replace("python -m", f"{sys.executable} -m")


def environment(**more: str) -> dict[str, str]:
    """Return the container's variables."""
    (line,) = re.findall(r"^ENV (.+)$", (SPACE / "Dockerfile").read_text(), re.MULTILINE)
    own = dict(word.split("=", 1) for word in line.split() if not word.startswith(("HOME=", "PATH=")))
    return os.environ | own | {"PYTHONPATH": str(ROOT)} | more


def test_the_header_names_the_port_that_the_container_listens_on():
    head = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])
    assert head["sdk"] == "docker" and str(head["app_port"]) == environment()["PORT"]
    assert environment()["MODEL"] == "demo" and len(head["short_description"]) <= 60


def test_a_space_lets_everybody_in_and_takes_nothing(tmp_path):
    write_random(tmp_path / "model", initial=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = environment(MODEL=str(tmp_path / "model"), PORT=str(port), TOKEN="")
    process = subprocess.Popen(["sh", "-c", command()], env=given, stdout=subprocess.PIPE, text=True)

    def call(method, path, body=None, **headers):
        own = {"Host": "me-studio.hf.space", "Origin": "https://me-studio.hf.space"}  # as the service may name it
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as line:
            line.request(method, path, body, own | headers)
            reply = line.getresponse()
            return reply.status, reply.getheader("content-security-policy"), reply.read()

    try:
        told = process.stdout.readline()
        assert told.strip().endswith(f":{port}/"), told  # no token
        status, policy, body = call("GET", "/")
        assert status == 200 and b'src="app.js"' in body and "https://huggingface.co" in policy
        opened = json.loads(call("POST", "/api/session")[2])
        assert opened["model"]["reasons"]["picture"].startswith("This studio is open to everybody")
        status, _, body = call("POST", "/api/upload", b"x", **{"X-Studio-Session": opened["session"]})
        assert status == 400 and "open to everybody" in json.loads(body)["error"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_token_keeps_others_out():
    given = environment(TOKEN="short")
    done = subprocess.run(["sh", "-c", command()], env=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "--token: pass 16 to 200" in done.stderr
