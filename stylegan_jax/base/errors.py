"""What a wrong configuration raises, and how a misspelt name is answered."""

from __future__ import annotations

import difflib
import typing


class ConfigError(ValueError):
    """A configuration value breaks a rule; the text says which, why and what to write instead."""


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """Return 'did you mean …' when a known name is near, else the list of known names."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + "known: " + ", ".join(known)
