"""`stylegan-jax`: each subcommand has a quick help under its own name; completion; doctor and models."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from stylegan_jax import __main__ as command
from stylegan_jax.base import bundled
from stylegan_jax.convert import published
from stylegan_jax.tools import _commands, completion, doctor, models

ROOT = Path(__file__).resolve().parents[1]
HELP = """
import sys
from stylegan_jax.__main__ import main
from stylegan_jax.tools._commands import COMMANDS
for name in COMMANDS:
    try:
        code = main([name, "--help"])
    except SystemExit as error:
        code = error.code
    print("code:", name, code)
print("heavy:", *sorted({"jax", "tensorflow", "clu", "scipy", "orbax"} & sys.modules.keys()))
"""


def test_every_subcommand_has_a_help_that_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert lines[-1].split() == ["heavy:"], done.stderr
    for name in _commands.COMMANDS:
        assert f"code: {name} 0" in lines
        assert any(line.startswith(f"usage: stylegan-jax {name} ") for line in lines), name


def test_without_a_command_one_screen_lists_them(capsys):
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 36 and max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(_commands.COMMANDS)
    assert command.main(["smaple"]) == 2
    assert "did you mean 'sample'?" in capsys.readouterr().err


def test_every_tool_is_a_subcommand():
    tools = {p.stem for p in (ROOT / "stylegan_jax/tools").iterdir() if not p.name.startswith("_")}
    assert {f"stylegan_jax.tools.{name}" for name in tools} == {
        c.module.removesuffix(".__main__") for c in _commands.COMMANDS.values() if ".tools." in c.module
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("quickstart", "quickstart.py"),
        ("quickstart.py", "quickstart.py"),
        ("configs/auto.py:256,8", "auto.py:256,8"),
        ("./configs/tiny.py", "tiny.py"),
        ("auto:64", "auto.py:64"),
    ],
)
def test_recipes_are_found_by_name(text, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundled.find_recipe(text) == f"{ROOT}/configs/{found}"
    name = text.partition(":")[0]
    (tmp_path / "configs").mkdir()
    (tmp_path / name).write_text("own")
    assert bundled.find_recipe(text) == text  # a file that is there takes precedence


@pytest.mark.parametrize("text", ["common", "configs/common.py", "nothing", "/configs/tiny.py", "other/tiny.py", ""])
def test_what_is_no_recipe_stays_as_it_is(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundled.find_recipe(text) == text


def test_bundled_data_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = str(ROOT / "datasets/emoji64.zip")
    assert bundled.find_data("datasets/emoji64.zip") == bundled.find_data("./datasets/emoji64.zip") == own
    for path in ("datasets/none.zip", "emoji64.zip", "x/datasets/emoji64.zip", "datasets/../setup.py", ""):
        assert bundled.find_data(path) == path
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/emoji64.zip").write_bytes(b"")
    assert bundled.find_data("datasets/emoji64.zip") == "datasets/emoji64.zip"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("stylegan-jax tr", ["train ", "truncation "]),
        ("stylegan-jax train --config=quick", ["--config=quickstart"]),
        ("stylegan-jax train --config=tiny --config.train.batch_s", ["--config.train.batch_size="]),
        ("stylegan-jax train --dry", ["--dry_run "]),
        ("stylegan-jax sample --noise=c", ["--noise=const "]),
        ("stylegan-jax sample --sav", ["--save_w "]),
        ("stylegan-jax sample pict", []),
        ("stylegan-jax nothing --x", []),
        ("stylegan-jax completion z", ["zsh "]),
    ],
)
def test_words_are_completed(line, found):
    assert completion.candidates(line) == found


def test_completion_in_a_real_bash(tmp_path):
    """bash begins a new word at '=', so the scripts print what comes behind it."""
    (tmp_path / "stylegan-jax").write_text(f'#!/bin/sh\nexec {sys.executable} -m stylegan_jax "$@"\n')
    (tmp_path / "stylegan-jax").chmod(0o755)
    ask = 'eval "$(stylegan-jax completion bash)"; complete -p stylegan-jax; '
    ask += 'COMP_LINE="stylegan-jax train --config=stylegan3_q" '
    ask += "COMP_POINT=40 stylegan-jax completion --words stylegan-jax stylegan3_q ="
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, env=environment)
    registered, *words = done.stdout.splitlines()
    assert "completion --words" in registered and words == ["stylegan3_quickstart"], done.stderr


def test_doctor_names_what_is_missing_and_which_command_lacks_it(monkeypatch, capsys):
    real = importlib.util.find_spec
    gone = lambda name, *rest: None if name in ("av", "tensorflow", "tensorflow_datasets") else real(name, *rest)
    monkeypatch.setattr(importlib.util, "find_spec", gone)
    assert doctor.missing()["video"] == ["av"]
    assert doctor.missing()["tensorflow"] == ["tensorflow", "tensorflow_datasets"]
    for found, step, code in ((True, True, 0), (True, False, 1), (False, True, 1)):
        monkeypatch.setattr(doctor, "devices", lambda found=found: (found, "cpu: cpu"))
        monkeypatch.setattr(doctor, "step", lambda step=step: (step, "it stopped"))
        assert doctor.main([]) == code
        text = capsys.readouterr().out
        assert "pip install 'stylegan-jax[video]'" in text and "video --out=FILE.mp4" in text
        assert ("it stopped" in text) is found
    monkeypatch.setattr(doctor, "devices", lambda: (True, "cpu: cpu"))
    assert doctor.main(["--no_step"]) == 0 and "it stopped" not in capsys.readouterr().out


def test_doctor_shows_how_a_child_ended(tmp_path):
    assert doctor._run(["-c", "print('a'); print('b')"], 30) == (True, "b")
    assert doctor._run(["-c", "raise ValueError('why')"], 30) == (False, "ValueError: why")
    assert doctor._run(["-c", "import os; os._exit(3)"], 30) == (False, "exit code 3")
    assert doctor._run(["-c", "import time; time.sleep(9)"], 0.1)[0] is False
    (tmp_path / "x").write_bytes(bytes(2**20))
    assert doctor.describe_folder(tmp_path).endswith("1 files, 1.0 MiB")


def test_models_are_listed_and_nothing_is_fetched(capsys, tmp_path, monkeypatch):
    assert len({(m.name, m.address) for m in published.PUBLISHED}) == len(published.PUBLISHED) > 40
    assert {m.licence for m in published.PUBLISHED} == published.LICENCES.keys()
    assert models.main(["stylegan3", "256x256"]) == 0
    text = capsys.readouterr().out
    assert "stylegan3-r-ffhqu-256x256.pkl" in text and "stylegan2" not in text and "http" not in text
    assert models.main(["--addresses", "r3gan", "ffhq"]) == 0
    assert "huggingface.co/brownvc/R3GAN-FFHQ-256x256" in (text := capsys.readouterr().out) and "not published" in text
    assert models.main(["stylegan4"]) == 2 and "did you mean 'stylegan" in capsys.readouterr().err
    assert models.main(["--features"]) == 0 and "sha256 579344248a93" in capsys.readouterr().out
    path = tmp_path / "x.pkl"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    for name, sha, text in (
        ("a", digest, "is a\n"),
        ("x.pkl", "0" * 64, "is not the published"),
        ("a", "", "no published"),
    ):
        made = published.Published(name, "stylegan2", "8x8", "", "none stated", "", sha)
        monkeypatch.setattr(models, "PUBLISHED", (made,))
        assert models.main([f"--check={path}"]) == 0
        assert text in (said := capsys.readouterr().out) and digest in said
    assert models.main([f"--check={tmp_path / 'none'}"]) == 2
