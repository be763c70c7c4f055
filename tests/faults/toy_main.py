"""The training command with the toy in the place of every architecture, where the networks do not matter."""

from __future__ import annotations

import importlib
import os
import pathlib
import sys

TESTS = pathlib.Path(__file__).parents[1]
sys.path[:0] = [os.fspath(TESTS.parent), os.fspath(TESTS)]

from stylegan_jax import main, models  # noqa: E402

if __name__ == "__main__":
    # Imported when it is asked for: it makes a key, which must not come before the other processes.
    models.build = lambda config: importlib.import_module("toy").GAN
    main.main()
