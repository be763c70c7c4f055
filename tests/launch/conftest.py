"""Programs that pretend to be the clouds': they record their arguments and replay what they are told to."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path

import pytest

# Builtins of sh only: a start takes a millisecond.
STUB = """#!/bin/sh
cd {folder}
printf '%s\\0' {name} "$@" >>calls
printf '\\1\\0' >>calls
line="{name} $*"
for reply in reply*; do
  [ -d "$reply" ] || continue
  read -r match <"$reply/match"
  case "$line" in
    *"$match"*)
      read -r number <"$reply/next"
      [ ! -e "$reply/$((number + 1))" ] || echo $((number + 1)) >"$reply/next"
      . "./$reply/$number"
      ;;
  esac
done
"""
Answer = tuple[int, str, str]


class Stubs:
    """A folder of stub programs, on PATH before the system's own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def install(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            path.write_text(STUB.format(folder=shlex.quote(str(self.folder)), name=name))
            path.chmod(0o755)

    def reply(self, **replies: list[Answer]) -> None:
        """For a text in a command: exit code, stdout and stderr of one call after the other; the last one stays."""
        for i, (match, answers) in enumerate(replies.items()):
            folder = self.folder / f"reply{i}"
            folder.mkdir(exist_ok=True)
            (folder / "match").write_text(match + "\n")
            (folder / "next").write_text("0\n")
            for k, (code, out, err) in enumerate(answers):
                said = f"printf %s {shlex.quote(out)}; printf %s {shlex.quote(err)} >&2; exit {code}\n"
                (folder / str(k)).write_text(said)
            (folder / str(len(answers))).unlink(missing_ok=True)

    def calls(self) -> list[list[str]]:
        """Return every call so far: [program, *arguments]."""
        file = self.folder / "calls"
        return [call.split("\0")[:-1] for call in file.read_text().split("\1\0")[:-1]] if file.exists() else []


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    made = Stubs(folder)
    made.install("gcloud", "kubectl", "xpk", "sky", "sbatch", "docker", "tar")
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), "/usr/bin", "/bin"]))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return made
