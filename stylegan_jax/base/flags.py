"""Command lines with one spelling of flags and numbers; the spellings of version 0.1 are accepted too.

`prepare_words` is what every command does before it reads its arguments.
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
    """Return a path, `--flag=path`, or several paths separated by commas, with each `~` expanded.

    A shell expands `~` only at the beginning of a word, so `--out=~/x` would create a folder called `~`.
    """
    return _HOME.sub(lambda found: os.path.expanduser(found[0]), text)


def escape_output() -> None:
    """Let both standard streams escape characters that their encoding lacks: a file name must not crash a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def prepare_words(words: Sequence[str]) -> list[str]:
    """Return the normalised words of a command line; from then on, every name can be printed."""
    escape_output()
    return [expand_home(word) for word in words]


MOST = 2**63 - 1
"""The largest integer that a flag accepts, which is what NumPy's and JAX's integers can hold."""


def whole_number(text: str) -> int:
    """Return the integer of ASCII digits, with or without a sign.

    Raises:
        ArgumentTypeError: it is not an integer, or exceeds `MOST`. `int` would also accept other alphabets and
            underscores.
    """
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; write digits, such as 8")
    if len(text) > 30 or abs(int(text)) > MOST:
        raise argparse.ArgumentTypeError(f"{text[:30]} is too large a number")
    return int(text)


def number(text: str) -> float:
    """Return the float of ASCII digits, which may be infinite or NaN.

    Raises:
        ArgumentTypeError: it is not a number.
    """
    try:
        if text.isascii() and "_" not in text:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number; write one such as 0.7")


def split_paths(text: str) -> list[str]:
    """Return the paths of a list separated by commas; a path may itself contain commas.

    What exists decides. The whole text is one path if that exists; otherwise each path is the shortest one that exists,
    or, if none does, the text before the next comma.
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
    """A parser that also accepts hyphens for underscores in flags, and old names of flags; the help lists neither.

    Its name is the one that the user typed, if that was a subcommand: `stylegan-jax sample`. Arguments of the types
    `int` and `float` are read by `whole_number` and `number`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.prog = sys.argv[0] if " " in os.path.basename(sys.argv[0]) else self.prog
        self.register("type", int, whole_number)
        self.register("type", float, number)

    def error(self, message: str) -> Any:
        """End the command with one line and exit code 2; the usage is left to --help."""
        self.exit(2, f"error: {message}; --help lists all arguments\n")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse as the base class does, after respelling the flags."""
        words = prepare_words(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        return super().parse_known_args([*map(self._respell, words[:end]), *words[end:]], namespace)

    def _respell(self, word: str) -> str:
        """Return `--flag` or `--flag=value` in this parser's spelling, and other words unchanged."""
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or flag in self._option_string_actions:
            return word
        name = flag[2:]
        for known in (RENAMED.get(name, name), name.replace("-", "_"), name.replace("_", "-")):
            if f"--{known}" in self._option_string_actions:
                return f"--{known}{equals}{value}"
        return word
