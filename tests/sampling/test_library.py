"""What `from stylegan_jax import sampling` offers, and that the example at its top runs."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from stylegan_jax import sampling
from stylegan_jax.config import ConfigError


def test_every_name_can_be_imported():
    assert sampling._HOME.keys() < set(sampling.__all__)
    for name in sampling.__all__:
        assert getattr(sampling, name) is not None
    with pytest.raises(AttributeError, match=r"'stylegan_jax.sampling' has no attribute 'drow'"):
        sampling.drow  # type: ignore[attr-defined]  # noqa: B018


def test_the_example_runs(folder):
    parts = (sampling.__doc__ or "").split("\n\n")
    code = textwrap.dedent("\n".join(part for part in parts if part.startswith("    ")))
    assert code.count("runs/quickstart") == 1
    names = {}
    exec(code.replace("runs/quickstart", str(folder)), names)
    assert names["pixels"].dtype == np.uint8 and len(names["pixels"]) == 4
    assert names["mixed"].shape == (1, 1, *names["ws"].shape[1:])
    assert names["edited"].shape == names["pixels"][:2].shape and len(names["frames"]) == 4
    np.testing.assert_array_equal(names["frames"][0], names["model"].sample([3])[0])


def test_a_model_is_exported_and_opened(folder, tmp_path):
    model = sampling.load_model(folder)
    sampling.export_model(model, tmp_path / "mine", platforms=[], licence="mit")
    assert "# mine" in (tmp_path / "mine" / "README.md").read_text()
    np.testing.assert_array_equal(sampling.load_model(tmp_path / "mine").sample([1]), model.sample([1]))
    with pytest.raises(ValueError, match="whole: this model has no G and no D"):
        sampling.export_model(model, tmp_path / "whole", whole=True)
    with pytest.raises(ValueError, match="still growing"):
        sampling.export_model(model.replace(is_grown=False), tmp_path / "small")


def test_a_tilde_is_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert sampling.load_model(f"~/{folder.name}").config == sampling.load_model(folder).config
    with pytest.raises(ConfigError, match=f"{folder.parent}/none"):
        sampling.load_exported("~/none")


def test_importing_it_imports_nothing_heavy():
    code = "import sys, stylegan_jax.sampling; print({'jax', 'flax', 'numpy'} & sys.modules.keys())"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
