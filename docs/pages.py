"""Pages of the site that are computed from the code: keys, commands, recipes, and links out of docs/."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

from stylegan_jax.config import ExperimentConfig

FOLDER = "generated"
COMMANDS = tuple(f"stylegan_jax.{name}.__main__" for name in ("data.prepare", "metrics", "convert", "studio"))


def write(docs: Path, root: Path) -> None:
    """Write the generated pages into docs/generated."""
    folder = docs / FOLDER
    folder.mkdir(exist_ok=True)
    made = {"keys.md": keys(), "commands.md": commands(), "recipes.md": recipes(root / "configs")}
    for name, text in made.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def keys() -> str:
    """Return the page of all configuration keys, from their fields."""
    parts = [
        "# Configuration keys",
        "Set any of them on the command line, such as `--config.train.batch_size=16`, or in a recipe. "
        "The defaults are those of `configs/common.py`; a recipe changes some of them.",
    ]

    def section(config: Any, prefix: str, about: str) -> None:
        fields = dataclasses.fields(config)
        plain = [f for f in fields if not dataclasses.is_dataclass(getattr(config, f.name))]
        if plain:
            title = prefix.rstrip(".") or "The experiment"
            parts.append(f"## {title}\n\n{about}\n\n| key | default | meaning |\n|---|---|---|")
            rows = (f"| `{prefix}{f.name}` | `{getattr(config, f.name)!r}` | {meaning(f)} |" for f in plain)
            parts[-1] += "\n" + "\n".join(rows)
        for f in fields:
            value = getattr(config, f.name)
            if dataclasses.is_dataclass(value):
                section(value, f"{prefix}{f.name}.", sentence((type(value).__doc__ or "").split("\n")[0]))

    section(ExperimentConfig(), "", "")
    return "\n\n".join(parts) + "\n"


def meaning(field: dataclasses.Field) -> str:
    """Return what a field says of itself, as a cell of a table."""
    text = str(field.metadata.get("meaning", field.metadata.get("doc", "")))
    choices = field.metadata.get("choices")
    if choices and not all(str(choice) in text for choice in choices):
        text += f" ({', '.join(map(str, choices))})"
    return escape(text)


def escape(text: str) -> str:
    """Return text as Markdown shows it."""
    return re.sub(r"([|*<>\[\]])", r"\\\1", text)


def sentence(text: str) -> str:
    """Return a line of a docstring as Markdown."""
    return text.replace("``", "`")


def commands() -> str:
    """Return the page of all commands, from their parsers."""
    tools = importlib.import_module("stylegan_jax.tools")
    names = [f"stylegan_jax.tools.{m.name}" for m in pkgutil.iter_modules(tools.__path__) if m.name[0] != "_"]
    parts = ["# Commands", "`python -m stylegan_jax.main --config=RECIPE --workdir=DIR` trains. The other commands:"]
    for name in (*COMMANDS, *sorted(names)):
        parser = parser_of(importlib.import_module(name))
        if parser is None:
            continue
        command = f"python -m {name.removesuffix('.__main__')}"
        rows = [row(action) for action in parser._actions if action.dest != "help" and action.help != argparse.SUPPRESS]
        about = escape((parser.description or "").split("\n\n")[0])
        head = "| flag | default | meaning |\n|---|---|---|\n"
        parts.append(
            f"## {command.removeprefix('python -m stylegan_jax.')}\n\n`{command}`: {about}\n\n{head}" + "\n".join(rows)
        )
    return "\n\n".join(parts) + "\n"


def parser_of(module: Any) -> argparse.ArgumentParser | None:
    """Return the parser of a command; None of one that reads its words otherwise."""
    make = getattr(module, "parser", None) or getattr(module, "make_parser", None) or getattr(module, "_parser", None)
    return make() if callable(make) else None


def row(action: argparse.Action) -> str:
    """Return a flag as a row of a table."""
    default = "" if action.default in (None, False, argparse.SUPPRESS) else f"`{action.default}`"
    needed = "required" if action.required else default
    values = "" if not action.choices else f" ({', '.join(map(str, action.choices))})"
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    about = (action.help or "") % {"default": action.default, "prog": ""}
    return f"| {names} | {needed} | {escape(about + values)} |"


def recipes(folder: Path) -> str:
    """Return the page of all recipes, from their docstrings."""
    parts = ["# Recipes", "Each recipe is one file in `configs/`; select it with `--config=configs/NAME.py`."]
    for path in sorted(folder.glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if path.stem in ("common", "__init__") or not text:
            continue
        first, _, rest = text.partition("\n")
        parts.append(f"## {path.stem}\n\n{escape(first)}\n\n```text\n{rest.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def name_outside(app: Any, name: str, content: list[str]) -> None:
    """Have links that leave docs/ name the file of the repository instead: the site does not hold it."""
    content[0] = re.sub(r"\[([^\]]+)\]\(\.\./([^)\s]+)\)", _name, content[0])


def _name(link: re.Match) -> str:
    text, path = link.groups()
    return f"`{path}`" if path.endswith(text.strip("`")) else f"{text} (`{path}`)"


def keep_stars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Have the stars of signatures in docstrings be stars, and no emphasis."""
    lines[:] = [line.replace("*", "\\*") for line in lines]
