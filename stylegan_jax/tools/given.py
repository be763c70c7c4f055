"""Arguments that were given and have no effect beside others are mistakes, not to be passed over. No JAX."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

_FLAGS = {"classes": "class"}
"""Names of arguments: how they are written, where that differs."""


def refuse(parser: argparse.ArgumentParser, args: argparse.Namespace, names: Sequence[str], where: str) -> None:
    """Check that arguments have their defaults.

    Args:
        parser: has the defaults.
        args: what it parsed.
        names: of the arguments that have no effect.
        where: ends the sentence 'has no effect …'.

    Raises:
        ValueError: one has another value.
    """
    for name in names:
        value = getattr(args, name)
        if value != parser.get_default(name):
            raise ValueError(f"--{_FLAGS.get(name, name)}={value} has no effect {where}; leave it out")
