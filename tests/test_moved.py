"""Modules that version 0.1 had elsewhere can still be imported by their old names."""

from __future__ import annotations

import importlib

import pytest

from stylegan_jax._moved import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_is_the_same_module(old):
    new = importlib.import_module(f"stylegan_jax.{MOVED[old]}")
    assert importlib.import_module(f"stylegan_jax.{old}") is new
    assert new.__name__ == new.__spec__.name == f"stylegan_jax.{MOVED[old]}"


def test_a_module_below_a_moved_package_is_the_same_module():
    old = importlib.import_module("stylegan_jax.models.features.vgg")
    assert old is importlib.import_module("stylegan_jax.features.vgg")


def test_a_name_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"stylegan_jax\.trainer"):
        importlib.import_module("stylegan_jax.trainer")
