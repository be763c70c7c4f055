"""The base class of all errors that the package raises on purpose, and the suggestion for a misspelt name."""

from __future__ import annotations

import difflib
import typing


class StyleganError(Exception):
    """Base of every error that the package raises on purpose: the text says what was found, the rule and the fix.

    The classes below it lie at most two levels deep. One that describes a bad argument is a ValueError as well.
    """


class ConfigError(StyleganError, ValueError):
    """A configuration value breaks a rule; the text says which, why and what to write instead."""


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """Return 'did you mean …' when a known name is near, else the list of known names."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + "known: " + ", ".join(known)
