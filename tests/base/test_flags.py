"""Every flag has one spelling; those of version 0.1 mean the same and do not appear in the help."""

from __future__ import annotations

import importlib
import io
import re
import sys

import pytest
from absl import flags as absl_flags

from stylegan_jax.base.flags import RENAMED, Parser, expand_home
from stylegan_jax.tools._command_line import parse_flags

COMMANDS = {
    "convert.__main__": ["--model=m", "--out=o"],
    "data.prepare.__main__": ["--source=s", "--dest=d", "--max_images=7", "--resize_filter=box", "--overwrite"],
    "metrics.__main__": ["--metrics=fid50k_full", "--num_images=5", "--features_path=f"],
    "tools.average": ["--model=m", "--out=o", "--widths=0.1", "--num_images=5", "--resize_filter=box"],
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
    return module.parser()


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


HOMES = {
    "--out=~/x": "--out=/home/me/x",
    "--out": "--out",
    "~/x": "/home/me/x",
    "--model=~": "--model=/home/me",
    "--styles=a.npz,~/b.npz": "--styles=a.npz,/home/me/b.npz",
    "--features_path=inception=~/i.npz,vgg=~/v.npz": "--features_path=inception=/home/me/i.npz,vgg=/home/me/v.npz",
    "--config=~/mine.py:256": "--config=/home/me/mine.py:256",
    "--config.data.path=~/a~b.zip": "--config.data.path=/home/me/a~b.zip",
    "--out=runs/~/x": "--out=runs/~/x",
    "--name=about ~5": "--name=about ~5",
}


def test_a_tilde_is_the_home_folder_in_every_flag(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert {word: expand_home(word) for word in HOMES} == HOMES
    args = parser("data.prepare.__main__").parse_args(["--source=~/photos", "--dest", "~/x.zip"])
    assert (args.source, args.dest) == ("/home/me/photos", "/home/me/x.zip")
    args = parser("metrics.__main__").parse_args(["--metrics=fid5k", "--data=~/a", "--cache=~/c", "--out=~/o"])
    assert (args.data, args.cache, args.out) == ("/home/me/a", "/home/me/c", "/home/me/o")
    flags = absl_flags.FlagValues()
    absl_flags.DEFINE_string("workdir", None, "", flag_values=flags)
    parse_flags(["main", "--workdir=~/r"], flags)
    assert flags.workdir == "/home/me/r"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_lacks_do_not_end_a_command(encoding, monkeypatch):
    """A locale's encoding is strict by default; each command makes its streams escape what they lack."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding, "strict") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    Parser().parse_args([])
    for stream in streams.values():
        print("caf\udce9 猫 … \x1b", file=stream, flush=True)
        assert b"caf\\udce9" in stream.buffer.getvalue()
