"""The records of a run in a model folder: its settings, a selection of its reports, its metrics and learning curves.

The files have the names and the form that they have in a workdir, so tools read them there too: `metrics` finds the
data, `curves` draws figures. They contain no paths of the machine.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stylegan_jax.base import bundled
from stylegan_jax.base.errors import ConfigError, suggest
from stylegan_jax.config import from_dict, resume_conflicts
from stylegan_jax.sampling import curves

SETTINGS, FIGURE = "config.json", "curves.png"
FILES = (SETTINGS, curves.STATS, curves.METRICS, FIGURE)
MAX_ROWS = 240
"""Rows of stats.jsonl that are kept, evenly spread, with the last among them."""


def write_records(folder: Path, workdir: Path, config: Mapping[str, Any], step: int, evaluated: Path | None) -> None:
    """Write the records of a run up to a step.

    Args:
        folder: an existing folder.
        workdir: workdir of the run.
        config: the checkpoint's configuration.
        step: the checkpoint's step.
        evaluated: a file of metrics of the run's checkpoints, as `metrics --out` writes it.

    Raises:
        ConfigError: the run has no reports, or matplotlib is missing.
    """
    rows = [row for row in curves.read_rows(workdir / curves.STATS) if row.get("step", step + 1) <= step]
    every = -(-len(rows) // MAX_ROWS) or 1
    metrics = curves.metric_rows(workdir / curves.METRICS)
    metrics += curves.metric_rows(evaluated, workdir) if evaluated is not None else []
    (folder / SETTINGS).write_text(json.dumps(without_folders(config), indent=2) + "\n", encoding="utf-8")
    for name, kept in (
        (curves.STATS, rows[::-1][::every][::-1]),
        (curves.METRICS, sorted((row for row in metrics if row["step"] <= step), key=lambda row: row["step"])),
    ):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    (folder / FIGURE).write_bytes(curves.draw({"run": curves.read(folder)}))


def without_folders(settings: Any) -> Any:
    """Return settings with paths reduced to their last name, except those of bundled data."""
    if isinstance(settings, Mapping):
        return {key: without_folders(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [without_folders(value) for value in settings]
    is_path = isinstance(settings, str) and ("/" in settings or "\\" in settings)
    return Path(settings).name if is_path and not bundled.is_data(settings) else settings


def check_recipe(recipe: str, config: Mapping[str, Any]) -> str:
    """Return the command that repeats the training of a run.

    Args:
        recipe: one that comes with the package, such as 'quickstart' or 'emoji:second'.
        config: the run's configuration.

    Raises:
        ConfigError: there is no such recipe, or its settings are not those of the run.
    """
    name, _, argument = recipe.partition(":")
    if name not in bundled.recipes():
        raise ConfigError(f"--recipe={recipe}: {suggest(name, bundled.recipes())}")
    get_config = importlib.import_module(f"stylegan_jax.configs.{name}").get_config
    if argument and not inspect.signature(get_config).parameters:
        raise ConfigError(f"--recipe={recipe}: {name} takes no argument; write --recipe={name}")
    settings = from_dict(get_config(argument) if argument else get_config()).to_dict()
    if settings["model"]["label_dim"] == -1:  # that of the data
        settings["model"]["label_dim"] = config["model"]["label_dim"]
    if bad := resume_conflicts(config, settings)[0]:
        raise ConfigError(f"--recipe={recipe}: its settings are not those of the run:\n  " + "\n  ".join(bad))
    source, usual = config["train"]["init_from"], settings["train"]["init_from"]
    is_usual = Path(source).name == Path(usual).name  # records have no folders
    start = (
        "" if is_usual else f" --config.train.init_from={Path(source).name if Path(source).is_absolute() else source}"
    )
    return f"stylegan-jax train --config={recipe}{start} --workdir=runs/{recipe.replace(':', '-')}"
