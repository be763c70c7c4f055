"""Every launcher's dry run is a golden file: a command, and what it prints. What is printed is what is executed.

`WRITE_GOLDEN=1 pytest tests/launch/test_dry_runs.py` writes the files anew.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from launch import commands
from launch.commands import ROOT, train_arguments
from launch.slices import FAMILIES, gke_slice

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.txt"))
LAUNCHERS = {
    "tpu": ("create", "copy", "run", "train", "watch", "follow", "stop", "status", "delete"),
    "gke": ("apply", "xpk", "status", "logs", "delete"),
    "skypilot": ("launch", "status", "logs", "delete"),
    "docker": ("build", "push", "run"),
    "slurm": (),
    "gpu_node": (),
}
TRICKY = ["--config=configs/ffhq.py:a b", '--workdir=/mnt/shared/it\'s "a" run', "--config.name=$HOME `id` \\n;*"]


def command_of(golden: Path) -> tuple[str, list[str]]:
    """Return launcher and arguments of the first line."""
    words = shlex.split(golden.read_text().splitlines()[0])
    assert words[:3] == ["$", "python", "-m"] and words[3].startswith("launch.")
    return words[3].removeprefix("launch."), words[4:]


def output(launcher: str, argv: list[str], capsys) -> str:
    assert importlib.import_module(f"launch.{launcher}").main(argv) == 0
    return capsys.readouterr().out


def neutral(text: str) -> str:
    text = text.replace(str(ROOT), "CHECKOUT").replace(tempfile.gettempdir(), "TMP")
    return text.replace(f"--user={os.getuid()}:{os.getgid()}", "--user=UID:GID")


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_prints_the_golden_commands(golden, capsys):
    launcher, argv = command_of(golden)
    printed = neutral(output(launcher, argv, capsys))
    first = golden.read_text().splitlines(keepends=True)[0]
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(first + printed)
    assert first + printed == golden.read_text()


def test_every_verb_has_a_golden_file():
    seen = {(launcher, argv[0] if LAUNCHERS[launcher] else "") for launcher, argv in map(command_of, GOLDEN)}
    assert seen == {(launcher, verb) for launcher, verbs in LAUNCHERS.items() for verb in verbs or ("",)}
    modules = {path.stem for path in (ROOT / "launch").glob("*.py") if "__main__" in path.read_text()}
    assert modules == set(LAUNCHERS)


@pytest.mark.parametrize("golden", [g for g in GOLDEN if "watch" not in g.stem], ids=lambda path: path.stem)
def test_executes_what_it_prints(golden, stubs, capsys, monkeypatch):
    monkeypatch.chdir(stubs.folder.parent)  # for what `docker run` makes
    launcher, argv = command_of(golden)
    printed = output(launcher, argv, capsys)
    stubs.install("bash", "env")
    stubs.reply(**{"state.state": [(0, "ACTIVE\n", "")], "value(state)": [(0, "READY\n", "")]})
    assert importlib.import_module(f"launch.{launcher}").main([a for a in argv if a != "--dry_run"]) == 0
    if "<<'EOF'" in printed:
        printed = printed.partition(" <<'EOF'")[0]
    typed = [shlex.split(line, comments=True) for line in printed.splitlines() if not line.startswith("#")]
    called = [
        [re.sub(r"/stylegan_jax-\w{8}/", "/stylegan_jax-XXXXXXXX/", word) for word in call] for call in stubs.calls()
    ]
    assert called == typed


def test_the_checkout_is_packed_where_nobody_can_wait_for_it(stubs, monkeypatch, tmp_path):
    """Not under a name in /tmp that another user of the machine could have made, or linked, before."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    packed = []
    monkeypatch.setattr(
        commands.Runner,
        "check",
        lambda self, argv, stdin=None: packed.extend(
            (Path(word[7:]).parent, stat.S_IMODE(Path(word[7:]).parent.stat().st_mode))
            for word in argv
            if word.startswith("--file=")
        ),
    )
    for _ in range(2):
        importlib.import_module("launch.tpu").main(["copy", "--name=ffhq", "--zone=us-west4-a"])
    (first, mode), (second, _) = packed
    assert first != second and first.parent == tmp_path / "tmp" and mode == 0o700
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("launcher", ["tpu", "xpk", "skypilot", "slurm", "gpu_node"])
def test_training_arguments_survive_every_shell(launcher, capsys, tmp_path):
    """The stub python at the end of the way gets the arguments as they were given."""
    name = {"tpu": "tpu", "xpk": "gke"}.get(launcher, launcher)
    options = {
        "tpu": ["train", "--name=a", "--zone=us-west4-a"],
        "xpk": ["xpk", "--name=a", "--cluster=c", "--zone=us-west4-a", "--image=i", "--type=v5litepod-16"],
        "skypilot": ["launch", "--name=a", "--accelerators=tpu-v6e-8", "--bucket=bb"],
        "slurm": [],
        "gpu_node": [],
    }[launcher]
    first = output(name, [*options, "--dry_run", "--", *TRICKY], capsys).splitlines()[0]
    argv = shlex.split(first)
    if launcher in ("tpu", "xpk"):
        remote = next(a for a in argv if a.startswith("--command=")).removeprefix("--command=")
    elif launcher == "skypilot":
        quoted = next(a for a in argv if a.startswith("--env=TRAIN=")).removeprefix("--env=TRAIN=")
        remote = f"TRAIN={shlex.quote(quoted)}; " + 'eval "set -- $TRAIN"; bash "$@"'  # as in train.yaml
    else:
        remote = shlex.join(["bash", *argv[-len(TRICKY) :]])
    (tmp_path / "bash").write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    (tmp_path / "bash").chmod(0o755)
    done = subprocess.run(["/bin/bash", "-c", remote], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split("\0")[:-1][-len(TRICKY) :] == TRICKY, done.stderr


def test_the_training_takes_what_the_examples_pass():
    """The arguments of every golden command parse with the flags of stylegan_jax.main; the recipes exist."""
    for golden in GOLDEN:
        _, argv = command_of(golden)
        if "--" in argv and "run" not in argv:
            arguments = train_arguments(argv[argv.index("--") :])
            recipe = next(a for a in arguments if a.startswith("--config=")).removeprefix("--config=").split(":")[0]
            assert (ROOT / recipe).is_file(), golden
            known = ("--config=", "--workdir=", "--config.data.path=", "--config.train.", "--config.name=")
            assert [a for a in arguments if not a.startswith(known)] == []


@pytest.mark.parametrize(
    ("accelerator", "hosts", "topology"),
    [
        ("v5litepod-8", 1, "2x4"),
        ("v5litepod-16", 4, "4x4"),
        ("v5litepod-64", 16, "8x8"),
        ("v6e-16", 4, "4x4"),
        ("v4-32", 4, "2x2x4"),
        ("v5p-8", 1, "2x2x1"),
        ("v5p-256", 32, "4x4x8"),
    ],
)
def test_slices(accelerator, hosts, topology):
    kind = gke_slice(accelerator)
    assert (kind.hosts, kind.topology) == (hosts, topology)


def test_topologies_multiply_to_their_chips():
    import math

    for family in FAMILIES.values():
        for chips, topology in family.topologies.items():
            assert math.prod(map(int, topology.split("x"))) == chips
