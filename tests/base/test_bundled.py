"""What comes with the package: the demo model by its name, and the commit of a checkout."""

from __future__ import annotations

import subprocess

import pytest

from stylegan_jax import load_model
from stylegan_jax.base import bundled
from stylegan_jax.config import ConfigError
from stylegan_jax.convert import __main__ as convert
from stylegan_jax.tools import sample


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return where the folder models/ of a checkout would be, with the current folder elsewhere."""
    (tmp_path / "checkout").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(bundled, "PACKAGE", tmp_path / "checkout" / "stylegan_jax")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "checkout"


@pytest.mark.parametrize("place", ["models/emoji", "stylegan_jax/pretrained/emoji"])
def test_demo_is_the_folder_of_the_checkout_or_of_the_package(package, place):
    (package / place).mkdir(parents=True)
    (package / place / "model.json").touch()
    assert bundled.find_model("demo") == str(package / place)
    assert bundled.find_model("runs/demo") == "runs/demo"


def test_something_of_that_name_takes_precedence(package):
    (package.parent / "elsewhere" / "demo").mkdir()
    assert bundled.find_model("demo") == "demo"
    with pytest.raises(ConfigError, match="demo contains no model"):
        load_model("demo")


def test_where_it_is_missing_the_error_names_the_commands(package, capsys):
    text = (
        "'demo' is missing .*stylegan-jax train --config=emoji --workdir=runs/emoji, then stylegan-jax train --config="
    )
    with pytest.raises(ConfigError, match=text):
        load_model("demo")
    assert sample.main(["--model=demo", "--seeds=0", "--out=x"]) == 2
    assert convert.main(["--model=demo", "--to=official", "--out=y"]) == 2
    assert capsys.readouterr().err.count("is missing from this installation") == 2


def test_the_commit_is_that_of_the_checkout(package):
    assert bundled.commit() == ""  # installed, or unpacked from an archive
    git = lambda *words: subprocess.run(
        ["git", "-C", str(package), "-c", "user.name=a", "-c", "user.email=a@example.org", *words],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    git("init", "-q")
    assert bundled.commit() == ""  # nothing was committed
    (package / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    git("tag", "v1")
    assert bundled.commit() == git("rev-parse", "HEAD")
    (package / "file").write_text("2")
    assert bundled.commit() == git("rev-parse", "HEAD") + "-dirty"
