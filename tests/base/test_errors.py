"""All errors of the package have one base class, and lie at most two levels below it."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import stylegan_jax
from stylegan_jax.base.errors import StyleganError, printable, visible

PACKAGE = Path(stylegan_jax.__file__).parent
WERE_VALUE_ERRORS = ("BadImage", "ConfigError", "DataError", "FeatureError", "MetricError")


def error_classes() -> dict[str, type]:
    """Return the exception classes that the package defines, by name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        classes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
        suspects = [n.name for n in classes if n.name.startswith("Bad") or n.name.endswith(("Error", "Exception"))]
        for name in suspects:
            module = path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".")
            found[name] = getattr(importlib.import_module(module), name)
    return found


CLASSES = error_classes()


def test_the_walk_finds_the_classes():
    assert {"StyleganError", "DamagedError", "DivergedError", "RefusedError", *WERE_VALUE_ERRORS} <= CLASSES.keys()


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_is_a_stylegan_error_at_most_two_levels_deep(name):
    above = [c for c in inspect.getmro(CLASSES[name])[1:] if issubclass(c, StyleganError) and c is not StyleganError]
    assert issubclass(CLASSES[name], StyleganError)
    assert len(above) <= 1, f"{name} is below {above}"


@pytest.mark.parametrize("name", WERE_VALUE_ERRORS)
def test_a_bad_argument_is_still_a_value_error(name):
    assert issubclass(CLASSES[name], ValueError)


def test_the_base_class_is_public():
    assert stylegan_jax.StyleganError is StyleganError


def test_control_characters_are_visible_in_what_is_printed():
    assert printable("猫.png") == "猫.png" and printable("a\x1b[2J") == r"'a\x1b[2J'"
    assert visible("two\nlines, \x1b]0;\x07\ttab, caf\udce9") == r"two" + "\n" + r"lines, \x1b]0;\x07\ttab, caf\udce9"
