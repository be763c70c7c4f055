"""Every flag has one spelling; those of version 0.1 mean the same and do not appear in the help."""

from __future__ import annotations

import importlib
import re

import pytest

from stylegan_jax.base.flags import RENAMED, Parser

COMMANDS = {
    "convert.__main__": ["--model=m", "--out=o"],
    "data.prepare.__main__": ["--source=s", "--dest=d", "--max_images=7", "--resize_filter=box", "--overwrite"],
    "metrics.__main__": ["--metrics=fid50k_full", "--num_images=5", "--features_path=f"],
    "tools.edit": ["--model=m", "--out=o", "--overwrite"],
    "tools.export": ["--model=m", "--out=o", "--overwrite"],
    "tools.noise": ["--model=m", "--out=o"],
    "tools.project": ["--model=m", "--out=o", "--targets=t"],
    "tools.pti": ["--model=m", "--out=o", "--projected=p"],
    "tools.sample": ["--model=m", "--out=o", "--save_w"],
    "tools.spectrum": ["--model=m", "--model=n", "--out=o"],
    "tools.style_mix": ["--model=m", "--out=o"],
    "tools.truncation": ["--model=m", "--out=o"],
    "tools.video": ["--model=m", "--out=o"],
}
"""Modules with a command line -> arguments, some of which were spelt in another way before."""
OLD = {new: old for old, new in RENAMED.items()}


def parser(name: str) -> Parser:
    """Return the parser of a command."""
    module = importlib.import_module(f"stylegan_jax.{name}")
    return (getattr(module, "parser", None) and module.parser()) or module._parser()


def old_spelling(word: str) -> str:
    """Return a flag as version 0.1 may have spelt it."""
    name, equals, value = word[2:].partition("=")
    return f"--{OLD.get(name, name.replace('_', '-'))}{equals}{value}"


@pytest.mark.parametrize("command", COMMANDS)
def test_old_spellings_mean_the_same(command):
    words = COMMANDS[command]
    assert parser(command).parse_args([old_spelling(w) for w in words]) == parser(command).parse_args(words)
    apart = [part for w in words for part in old_spelling(w).split("=")]
    assert parser(command).parse_args(apart) == parser(command).parse_args(words)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_has_one_spelling(command):
    flags = set(re.findall(r"--([a-z_-]+)", parser(command).format_help()))
    assert not flags & RENAMED.keys()
    assert not [flag for flag in flags if "-" in flag and not flag.startswith("no-")]


def test_a_flag_of_the_parser_itself_is_left_alone():
    own = Parser()
    own.add_argument("--force", action="store_true")
    own.add_argument("--overwrite", action="store_true")
    own.add_argument("words", nargs="*")
    assert vars(own.parse_args(["--force"])) == {"force": True, "overwrite": False, "words": []}
    assert own.parse_args(["--", "--over-write", "--run=x"]).words == ["--over-write", "--run=x"]


def test_an_unknown_flag_is_an_error(capsys):
    with pytest.raises(SystemExit):
        parser("tools.sample").parse_args(["--model=m", "--out=o", "--save-x"])
    assert "unrecognized arguments: --save-x" in capsys.readouterr().err
