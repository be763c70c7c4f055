"""The tests write nothing outside their temporary folders, whoever runs them."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import jax

from stylegan_jax.metrics.store import default_folder
from stylegan_jax.tools import _runner


def test_the_users_folders_are_those_of_the_session():
    temporary = Path(tempfile.gettempdir())
    places = [Path.home(), os.environ["XDG_CACHE_HOME"], os.environ["JAX_COMPILATION_CACHE_DIR"], default_folder()]
    for place in map(Path, places):
        assert place.parts[: len(temporary.parts) + 1] == Path.home().parts, place
        assert place.is_relative_to(temporary)


def test_a_command_keeps_its_programs_in_the_folder_of_the_session():
    assert _runner.run(argparse.ArgumentParser(), lambda _: "done", []) == 0
    assert jax.config.values["jax_compilation_cache_dir"] == os.environ["JAX_COMPILATION_CACHE_DIR"]
