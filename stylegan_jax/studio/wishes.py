"""Validation of wishes: numbers, choices and lists in untrusted JSON, checked one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stylegan_jax.base.errors import StyleganError

MAX_PICTURES = 64
"""Largest number of pictures in a grid."""


class BadWish(StyleganError, ValueError):
    """A page requested something that does not exist or is out of range; the message says what, in one sentence."""


def shown(value: Any) -> str:
    """Return a value in the form that errors show."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def whole(wish: Mapping[str, Any], name: str, low: int, high: int, default: int | None = None) -> int:
    """Return an integer from `low` to `high`.

    Raises:
        BadWish: it is missing, not a whole number, or out of range.
    """
    value = wish.get(name, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadWish(f"{name} is {shown(value)}; pass a whole number from {low} to {high}")
    return value


def real(wish: Mapping[str, Any], name: str, low: float, high: float, default: float | None = None) -> float:
    """Return a number from `low` to `high`.

    Raises:
        BadWish: it is missing, not a finite number, or out of range.
    """
    value = wish.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadWish(f"{name} is {shown(value)}; pass a number from {low:g} to {high:g}")
    if not low <= value <= high:
        raise BadWish(f"{name} is {shown(value)}; pass a number from {low:g} to {high:g}")
    return float(value)


def choice(wish: Mapping[str, Any], name: str, known: Sequence[str], default: str | None = None) -> str:
    """Return one of the words in `known`.

    Raises:
        BadWish: it is not one of them.
    """
    value = wish.get(name, default)
    if value not in known or not isinstance(value, str):
        raise BadWish(f"{name} is {shown(value)}; known: {', '.join(known)}")
    return value


def several(wish: Mapping[str, Any], name: str, least: int, most: int) -> list[Any]:
    """Return a list of `least` to `most` entries.

    Raises:
        BadWish: it is not a list, or has another length.
    """
    value = wish.get(name)
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise BadWish(f"{name} is {shown(value)}; pass a list of {least} to {most} entries")
    return value


def inner(wish: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object inside a wish.

    Raises:
        BadWish: it is not an object.
    """
    value = wish.get(name)
    if not isinstance(value, dict):
        raise BadWish(f"{name} is {shown(value)}; pass an object")
    return value


def seeds(wish: Mapping[str, Any], name: str, most: int) -> list[int]:
    """Return the seeds in a text such as '0-3,8', the form that the commands accept.

    Raises:
        BadWish: it has another form, or names too many.
    """
    from stylegan_jax.tools._inputs import parse_numbers

    text = wish.get(name)
    if not isinstance(text, str) or len(text) > 1000:
        raise BadWish(f"{name} is {shown(text)}; write seeds such as 0-3 or 1,5,8")
    try:
        found = parse_numbers(name, text.replace(" ", ""), 2**32, "seed")
    except ValueError as error:
        raise BadWish(str(error)) from None
    if len(found) > most:
        raise BadWish(f"{name} names {len(found)} seeds; at most {most} fit here")
    return found


def layers(wish: Mapping[str, Any], name: str, count: int) -> list[int]:
    """Return style slots, sorted; [] for none.

    Raises:
        BadWish: the model does not have one of them.
    """
    value = several(wish, name, 0, count)
    for entry in value:
        if isinstance(entry, bool) or not isinstance(entry, int) or not 0 <= entry < count:
            raise BadWish(f"{name} has {shown(entry)}; this model has the style slots 0 to {count - 1}")
    return sorted(set(value))
