"""Command lines that reproduce what the page shows, to copy and to include in downloads."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

STYLES = "latents.npz"
"""Name of the file of styles in a download."""


def line(tool: str, model: Sequence[str], *words: str) -> str:
    """Return a command line of a tool; `model` holds the arguments that name the model."""
    return shlex.join(["python", "-m", f"stylegan_jax.tools.{tool}", *model, *words])


def model_words(path: str, step: int | None) -> list[str]:
    """Return the arguments that name a model."""
    return [f"--model={path}", *([] if step is None else [f"--step={step}"])]


def numbers(values: Sequence[int]) -> str:
    """Return non-negative integers in the form that flags accept, such as 0-3,7."""
    parts: list[list[int]] = []
    for x in values:
        if parts and x == parts[-1][1] + 1:
            parts[-1][1] = x
        else:
            parts.append([x, x])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def project(model: Sequence[str], steps: int, plus: bool, label: Sequence[str]) -> str:
    """Return the command line that projects target.png of a download."""
    words = ["--targets=target.png", f"--steps={steps}", *["--plus"] * plus, "--noise=const", *label]
    return line("project", model, *words, "--out=projected")


def encode(model: Sequence[str], encoder: str) -> str:
    """Return the command line that inverts target.png of a download with an encoder."""
    return line("encode", model, f"--encoder={encoder}", "--targets=target.png", "--out=projected")


def tune(model: Sequence[str], steps: int) -> str:
    """Return the command line that tunes the model to the result of `project`."""
    return line("pti", model, "--projected=projected/target", f"--steps={steps}", "--out=tuned")


TUNED = ("--model=tuned/target",)
"""Arguments that name the model that `tune` writes."""
