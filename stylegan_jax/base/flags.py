"""Command lines with one spelling of each flag, which also accept the spellings of version 0.1."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

RENAMED = {"run": "model", "force": "overwrite"}
"""Flags that had another name in version 0.1: old -> new."""


class Parser(argparse.ArgumentParser):
    """Accepts hyphens for underscores in flags, and old names of flags; the help lists neither."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse as the base class does, after respelling the flags."""
        words = list(sys.argv[1:] if args is None else args)
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
