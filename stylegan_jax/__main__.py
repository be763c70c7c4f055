"""One command for everything: `stylegan-jax COMMAND ...`, or `python -m stylegan_jax COMMAND ...`.

Each subcommand is a command of its own too (`python -m stylegan_jax.tools.sample`), with the same parser.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stylegan_jax import __version__
from stylegan_jax.base.errors import suggest, visible
from stylegan_jax.base.flags import escape_output
from stylegan_jax.tools._commands import COMMANDS, PROGRAM, load, overview


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; return its exit code."""
    escape_output()
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview(__version__))
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    name, *rest = words
    if name not in COMMANDS:
        print(visible(f"error: {name!r} is not a command of {PROGRAM}; {suggest(name, COMMANDS)}"), file=sys.stderr)
        return 2
    sys.argv = [f"{PROGRAM} {name}", *rest]  # what the parsers call themselves
    return load(name).main(rest)


if __name__ == "__main__":
    sys.exit(main())
