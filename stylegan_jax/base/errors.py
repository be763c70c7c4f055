"""The base class of all errors that the package raises on purpose, suggestions for misspelt names, safe printing."""

from __future__ import annotations

import difflib
import typing


class StyleganError(Exception):
    """Base of every error that the package raises on purpose: the text says what was found, the rule and the fix.

    The classes below it lie at most two levels deep. One that describes a bad argument is a ValueError as well.
    Names in the text may come out of anybody's file: what a terminal would obey is shown as an escape sequence.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


class ConfigError(StyleganError, ValueError):
    """A configuration value breaks a rule; the text says which, why and what to write instead."""


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """Return 'did you mean …' when a known name is near, else the list of known names."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + "known: " + ", ".join(known)


def printable(name: str) -> str:
    """Return a name out of a file or folder as it can be printed: control characters and odd bytes are escaped."""
    return name if name.isprintable() else ascii(name)


def visible(text: object) -> str:
    """Return a text of several lines, such as an error's, with every other control character and odd byte escaped."""
    show = lambda c: c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode()
    return "".join(map(show, str(text)))
