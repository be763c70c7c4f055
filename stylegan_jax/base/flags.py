"""Command lines with one spelling of each flag, which also accept the spellings of version 0.1.

What all commands do before they read their arguments: `prepare_words`.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

RENAMED = {"run": "model", "force": "overwrite"}
"""Flags that had another name in version 0.1: old -> new."""


_HOME = re.compile(r"(?:^|(?<=[=,]))~[^/,=]*(?=[/,]|$)")


def expand_home(text: str) -> str:
    """Return a path, or `--flag=path`, or paths with commas between, with the home folder in place of each `~`.

    A shell replaces `~` at the beginning of a word only, so that `--out=~/x` would make a folder called `~`.
    """
    return _HOME.sub(lambda found: os.path.expanduser(found[0]), text)


def escape_output() -> None:
    """Let both standard streams escape what their encoding lacks: a file name must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def prepare_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command line as a command reads them; its output can print every name from then on."""
    escape_output()
    return [expand_home(word) for word in words]


class Parser(argparse.ArgumentParser):
    """Accepts hyphens for underscores in flags, and old names of flags; the help lists neither."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse as the base class does, after respelling the flags."""
        words = prepare_words(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        return super().parse_known_args([*map(self._respell, words[:end]), *words[end:]], namespace)

    def _respell(self, word: str) -> str:
        """Return `--flag` or `--flag=value` with the spelling that this parser knows, other words as they are."""
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or flag in self._option_string_actions:
            return word
        name = flag[2:]
        for known in (RENAMED.get(name, name), name.replace("-", "_"), name.replace("_", "-")):
            if f"--{known}" in self._option_string_actions:
                return f"--{known}{equals}{value}"
        return word
