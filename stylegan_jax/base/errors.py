"""The base class of all errors that the package raises on purpose, suggestions for misspelt names, safe printing."""

from __future__ import annotations

import difflib
import typing


class StyleganError(Exception):
    """Base of every error that the package raises on purpose: the text says what was found, the rule and the fix.

    The classes below it lie at most two levels deep. One that describes a bad argument is a ValueError as well.
    Names in the text may come from untrusted files, so control characters are shown as escape sequences.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


class ConfigError(StyleganError, ValueError):
    """A configuration value breaks a rule; the message says which, why, and what to write instead."""


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """Return the list of known names, after 'did you mean …?' if one is close."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + "known: " + ", ".join(known)


def printable(name: str) -> str:
    """Return a name from a file or folder in printable form: control characters and odd bytes are escaped."""
    return name if name.isprintable() else ascii(name)


def visible(text: object) -> str:
    """Return a text with all control characters but newlines, and all odd bytes, escaped."""
    show = lambda c: c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode()
    return "".join(map(show, str(text)))
