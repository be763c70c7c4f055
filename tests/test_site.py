"""The documentation site builds without a warning, and loads nothing from other hosts."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stylegan_jax.config import ExperimentConfig

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of the built site; its sources are a copy, so that nothing is written beside them."""
    folder = tmp_path_factory.mktemp("docs")
    copy(ROOT / "docs", folder / "docs")
    (folder / "configs").symlink_to(ROOT / "configs")
    options = ["-W", "--keep-going", "-n", "-q"]
    command = [sys.executable, "-m", "sphinx", *options, str(folder / "docs"), str(folder / "site")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    return folder / "site"


def copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file() and not {"generated", "site", "__pycache__"} & set(path.relative_to(source).parts):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


def test_it_has_a_page_for_every_page_and_every_key(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.stem for path in site.glob("*.html")}
    keys = (site / "generated/keys.html").read_text(encoding="utf-8")
    for field in dataclasses.fields(ExperimentConfig().train):
        assert f"train.{field.name}<" in keys
    commands = (site / "generated/commands.html").read_text(encoding="utf-8")
    for word in ("--psi", "--metrics", "--source", "--targets"):
        assert word in commands
    recipes = (site / "generated/recipes.html").read_text(encoding="utf-8")
    for path in (ROOT / "configs").glob("*.py"):
        assert path.stem in ("common", "__init__") or f">{path.stem}<" in recipes, path.stem
    assert "LoadedModel.sample" in (site / "api.html").read_text(encoding="utf-8")


def test_it_loads_nothing_from_other_hosts(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|link)\b[^>]*?(?:src|href)=\"([^\"]+)\"", text)
        assert not [address for address in loaded if address.startswith(("http:", "https:", "//"))], page.name
