"""Command lines with one spelling of each flag and of numbers, which also accept the spellings of version 0.1.

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


MOST = 2**63 - 1
"""The largest whole number that a flag takes: what NumPy's and JAX's integers hold."""


def whole_number(text: str) -> int:
    """Return the integer of ASCII digits, with or without a sign.

    Raises:
        ArgumentTypeError: it is none, or beyond `MOST`. `int` takes other alphabets and underscores, too.
    """
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; write digits, such as 8")
    if len(text) > 30 or abs(int(text)) > MOST:
        raise argparse.ArgumentTypeError(f"{text[:30]} is too large a number")
    return int(text)


def number(text: str) -> float:
    """Return the float of ASCII digits, which may be infinite or NaN.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        if text.isascii() and "_" not in text:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number; write one such as 0.7")


def split_paths(text: str) -> list[str]:
    """Return the paths of a list with commas between, where a path may itself have commas.

    What exists decides: the whole text, if there is such a path; else each name is the shortest that there is, and
    where there is none, what stands before the next comma.
    """
    if os.path.exists(text):
        return [text]
    parts, found = text.split(","), []
    while parts:
        joined = (n for n in range(1, min(len(parts), 16) + 1) if os.path.isfile(",".join(parts[:n])))
        n = next(joined, 1)
        found.append(",".join(parts[:n]))
        parts = parts[n:]
    return found


class Parser(argparse.ArgumentParser):
    """Accepts hyphens for underscores in flags, and old names of flags; the help lists neither.

    Calls itself what the user called it, where that was a subcommand: `stylegan-jax sample`. Arguments of the types
    `int` and `float` are read by `whole_number` and `number`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.prog = sys.argv[0] if " " in os.path.basename(sys.argv[0]) else self.prog
        self.register("type", int, whole_number)
        self.register("type", float, number)

    def error(self, message: str) -> Any:
        """End the command with one line and exit code 2, without the usage, which --help shows."""
        self.exit(2, f"error: {message}; --help lists all arguments\n")

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
