"""What comes with the package, in a checkout and in the wheel: recipes, data, models; and the commit of a checkout."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from stylegan_jax.base.errors import ConfigError

PACKAGE = Path(__file__).resolve().parents[1]
NOT_RECIPES = ("__init__", "common")
_RECIPE = re.compile(r"(?:\./)?(?:configs/)?(\w+)(?:\.py)?")
_DATA = re.compile(r"(?:\./)?datasets/([\w.-]+)")
INSTALLED = {"models": "pretrained"}
"""Folders of a checkout -> their names inside the package, if they differ."""
MODELS = {"demo": "emoji"}
"""Models that come with the package, by their name for `--model` and `load_model` -> their folder in `models/`."""


def folder(name: str) -> Path:
    """Return where 'configs', 'datasets' or 'models' is: in the package if installed, next to it in a checkout."""
    inside = PACKAGE / INSTALLED.get(name, name)
    return inside if inside.is_dir() else PACKAGE.parent / name


def recipes() -> list[str]:
    """Return the names of the recipes, sorted."""
    return sorted(path.stem for path in folder("configs").glob("*.py") if path.stem not in NOT_RECIPES)


def find_recipe(text: str) -> str:
    """Return the file of a recipe, named as NAME, NAME.py or configs/NAME.py, optionally with :ARGUMENT.

    A file that exists takes precedence, for users' own recipes. Anything else is returned unchanged.
    """
    name, colon, argument = text.partition(":")
    found = None if os.path.isfile(name) else _RECIPE.fullmatch(name)
    if not found or found[1] not in recipes():
        return text
    return f"{folder('configs') / found[1]}.py{colon}{argument}"


def find_data(path: str) -> str:
    """Return the path; 'datasets/NAME' becomes the package's own file if no such file exists here."""
    return path if os.path.exists(path) or not is_data(path) else str(folder("datasets") / Path(path).name)


def is_data(path: str) -> bool:
    """Return whether a path is 'datasets/NAME' of a file that comes with the package."""
    found = _DATA.fullmatch(path)
    return found is not None and (folder("datasets") / found[1]).is_file()


def find_model(path: str | os.PathLike[str]) -> str:
    """Return the path; 'demo' becomes the model folder that comes with the package if nothing here has that name.

    Raises:
        ConfigError: this copy of the package lacks it; the message has the commands that train one.
    """
    name = os.fspath(path)
    if name not in MODELS or os.path.exists(name):
        return name
    own = folder("models") / MODELS[name]
    if not (own / "model.json").is_file():
        raise ConfigError(
            f"the model {name!r} is missing from this installation ({own} has no model.json); copy models/"
            f"{MODELS[name]} from the repository to there, or train it and pass its workdir, --model=runs/"
            f"{MODELS[name]}-second: stylegan-jax train --config={MODELS[name]} --workdir=runs/{MODELS[name]}, then "
            f"stylegan-jax train --config={MODELS[name]}:second --workdir=runs/{MODELS[name]}-second"
        )
    return str(own)


def commit() -> str:
    """Return the commit that a checkout is at, with '-dirty' if its files differ; '' if installed or without git."""
    if not (PACKAGE.parent / ".git").exists():
        return ""
    command = ["git", "-C", str(PACKAGE.parent), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
