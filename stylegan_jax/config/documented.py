"""Dataclass fields with a description and limits, and the check of these limits."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeVar, cast

from stylegan_jax.base.errors import ConfigError, suggest

T = TypeVar("T")


class Range(NamedTuple):
    """Limits of a number, or of every entry of a tuple; None: no limit."""

    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None

    def __contains__(self, x: object) -> bool:
        x = cast(float, x)
        return (
            (self.above is None or x > self.above)
            and (self.least is None or x >= self.least)
            and (self.below is None or x < self.below)
            and (self.most is None or x <= self.most)
        )

    def __str__(self) -> str:
        lower, upper = self.least if self.above is None else self.above, self.most if self.below is None else self.below
        if upper is not None:
            ends = "[" if self.above is None else "(", "]" if self.below is None else ")"
            return f"must be in {ends[0]}{lower}, {upper}{ends[1]}"
        if self.above is not None:
            return f"must be greater than {self.above}"
        return "must not be negative" if self.least == 0 else f"must be at least {self.least}"


def field(
    default: T,
    doc: str,
    *,
    choices: tuple[str, ...] = (),
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    is_path: bool = False,
) -> T:
    """Return a dataclass field.

    Args:
        default: its value in recipes that do not set it, and in files stored before the key existed.
        doc: unit and meaning.
        choices: the allowed values; (): not limited here, for example because they are names in a registry.
        above, least, below, most: limits of a number, or of every entry of a tuple.
        is_path: whether it is a file or folder, in which `~` is expanded to the home folder.
    """
    metadata = {"doc": doc, "choices": choices, "range": Range(above, least, below, most), "is_path": is_path}
    return cast(T, dataclasses.field(default=default, metadata=metadata))


def check_fields(values: Any, prefix: str = "") -> None:
    """Check every field of a dataclass, and of nested ones, against its choices and limits.

    Args:
        values: an instance.
        prefix: its path in the configuration, such as 'model.'.

    Raises:
        ConfigError: a value breaks its rule; the message names the first.
    """
    for f in dataclasses.fields(values):
        key, value = prefix + f.name, getattr(values, f.name)
        if dataclasses.is_dataclass(value):
            check_fields(value, key + ".")
        elif f.metadata["choices"]:
            check_choice(key, value, f.metadata["choices"])
        elif not isinstance(value, str | bool):
            allowed = f.metadata["range"]
            entries, what = (value, "every entry") if isinstance(value, tuple) else ((value,), "it")
            if not all(entry in allowed for entry in entries):
                raise ConfigError(f"config.{key} is {value}; {what} {allowed} ({f.metadata['doc']})")


def check_choice(key: str, value: str, known: Collection[str]) -> None:
    """Raise ConfigError if the value of a key is not one of the known names."""
    if value not in known:
        raise ConfigError(f"config.{key} is {value!r}; {suggest(value, known)}")


def check_names(config: Any, registries: Mapping[str, Collection[str]]) -> None:
    """Check keys whose values are names in registries, which only higher-ranked modules know.

    Args:
        config: an `ExperimentConfig`.
        registries: key, such as 'loss.adversarial' -> its registry.

    Raises:
        ConfigError: a name is not in its registry; the message suggests names that are.
    """
    for key, known in registries.items():
        check_choice(key, functools.reduce(getattr, key.split("."), config), known)
