"""Recipes and data that come with the package: `configs/` and `datasets/` of a checkout, inside the wheel."""

from __future__ import annotations

import os
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
NOT_RECIPES = ("__init__", "common")
_RECIPE = re.compile(r"(?:\./)?(?:configs/)?(\w+)(?:\.py)?")
_DATA = re.compile(r"(?:\./)?datasets/([\w.-]+)")


def folder(name: str) -> Path:
    """Return where 'configs' or 'datasets' is: inside the package where it is installed, beside it in a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def recipes() -> list[str]:
    """Return the names of the recipes, sorted."""
    return sorted(path.stem for path in folder("configs").glob("*.py") if path.stem not in NOT_RECIPES)


def find_recipe(text: str) -> str:
    """Return the file of a recipe that is given as NAME, NAME.py or configs/NAME.py, each perhaps with :ARGUMENT.

    A file that exists takes precedence, for users' own recipes. What is neither stays as it is.
    """
    name, colon, argument = text.partition(":")
    found = None if os.path.isfile(name) else _RECIPE.fullmatch(name)
    if not found or found[1] not in recipes():
        return text
    return f"{folder('configs') / found[1]}.py{colon}{argument}"


def find_data(path: str) -> str:
    """Return a path; 'datasets/NAME', where there is no such file, is the package's own, if it has one."""
    found = None if os.path.exists(path) else _DATA.fullmatch(path)
    own = folder("datasets") / found[1] if found else None
    return str(own) if own and own.is_file() else path
