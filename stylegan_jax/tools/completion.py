"""Complete the words of `stylegan-jax` in a shell: `stylegan-jax completion bash`.

bash: eval "$(stylegan-jax completion bash)" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc;
fish: stylegan-jax completion fish > ~/.config/fish/completions/stylegan-jax.fish

It completes subcommands, their flags and choices, recipes and configuration keys; anything else is completed as a file.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Sequence

from stylegan_jax.base import bundled
from stylegan_jax.base.flags import Parser
from stylegan_jax.tools import _commands

SCRIPTS = {
    "bash": "complete -o default -o nospace -C 'stylegan-jax completion --words' stylegan-jax",
    "zsh": "(( $+functions[complete] )) || { autoload -U +X bashcompinit && bashcompinit; }\n"
    "complete -o default -o nospace -C 'stylegan-jax completion --words --whole' stylegan-jax",
    "fish": "complete -c stylegan-jax -a "
    "'(COMP_LINE=(commandline -cp) stylegan-jax completion --words --whole | string trim --right)'",
}
_RECIPE_COMMANDS = ("train", "benchmark")
_BREAKS = re.compile(r".*[=:]", re.DOTALL)  # where bash begins a new word inside one


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head, _, rest = (__doc__ or "").partition("\n\n")
    formatter = argparse.RawDescriptionHelpFormatter
    p = Parser(prog="python -m stylegan_jax.tools.completion", description=head, epilog=rest, formatter_class=formatter)
    p.add_argument("shell", nargs="?", choices=sorted(SCRIPTS), help="print the script for this shell")
    p.add_argument("--words", action="store_true", help="print completions of the line in COMP_LINE; for the scripts")
    p.add_argument("--whole", action="store_true", help="with --words, print whole words, for shells that keep a=b one")
    return p


def candidates(line: str) -> list[str]:
    """Return the completions of a command line's last word; those that complete it end in a space."""
    words = line.split()[1:] + [""] * (not line or line[-1].isspace())
    if len(words) < 2:
        return [f"{name} " for name in _commands.COMMANDS if name.startswith(words[0] if words else "")]
    command, word = words[0], words[-1]
    if command not in _commands.COMMANDS or not word.startswith("-"):
        choices = sorted(SCRIPTS) if command == "completion" else []
        return [f"{choice} " for choice in choices if choice.startswith(word)]
    return [found for found in _options(command, word) if found.startswith(word)]


def _options(command: str, word: str) -> Iterable[str]:
    """Yield the flags of a subcommand, or the values of the word's flag."""
    flag, equals, _ = word.partition("=")
    if command in _RECIPE_COMMANDS:
        if flag == "--config" and equals:
            yield from (f"--config={name}" for name in bundled.recipes())
        elif flag.startswith("--config.") and not equals:
            yield from (f"--config.{key}=" for key in _keys())
    for action in _commands.parser(command)._actions:
        if action.help == argparse.SUPPRESS:
            continue
        for name in action.option_strings:
            if not name.startswith("--"):
                continue
            if not equals:
                yield f"{name} " if action.nargs == 0 else f"{name}="
            elif name == flag:
                yield from (f"{name}={choice} " for choice in action.choices or ())


def _keys() -> list[str]:
    """Return the names of all keys of a configuration."""
    from stylegan_jax.base.trees import flatten
    from stylegan_jax.config import ExperimentConfig

    return list(flatten(ExperimentConfig().to_dict(), "."))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    # The shell appends three words: the command, the current word, and the one before it.
    words = sys.argv[1:] if argv is None else list(argv)
    if "--words" in words:
        line = os.environ.get("COMP_LINE", "")
        line = line[: int(os.environ.get("COMP_POINT", len(line)))]
        known = _BREAKS.match(line.split(" ")[-1])
        cut = len(known[0]) if known and "--whole" not in words else 0
        print("\n".join(found[cut:] for found in candidates(line)))
        return 0
    p = parser()
    args = p.parse_args(words)
    if args.shell is None:
        p.error(f"name a shell: {', '.join(sorted(SCRIPTS))}")
    print(SCRIPTS[args.shell])
    return 0


if __name__ == "__main__":
    sys.exit(main())
