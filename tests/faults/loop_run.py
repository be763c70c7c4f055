"""The real training loop on the tiny recipe, for the kill tests."""

from __future__ import annotations

import hashlib
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

sys.path.insert(0, os.fspath(pathlib.Path(__file__).parents[2]))

from configs import tiny
from stylegan_jax.checkpoints.restore import FOLDER, absolute, committed_steps
from stylegan_jax.config import from_dict
from stylegan_jax.train import loop


def config():
    c = tiny.get_config()
    c.log.progress_bar = False
    return from_dict(c)


def digest(state: Any) -> str:
    """Return one hash of every leaf of a state."""
    return hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(state))).hexdigest()


def train(directory: pathlib.Path, ready: Callable[[], None]) -> None:
    """Run or resume; report ready when the loop starts; write the final hash to 'done'."""
    start = loop.Run._loop

    def reported(self, *args):
        ready()
        return start(self, *args)

    loop.Run._loop = reported
    state = loop.train(config(), directory)
    (directory / "done").write_text(digest(state))


def check(directory: pathlib.Path, ready: Callable[[], None]) -> dict[str, int]:
    """Return, after a kill, the newest committed step and the last step in stats.jsonl."""
    rows = (directory / "stats.jsonl").read_text().splitlines() if (directory / "stats.jsonl").exists() else []
    return {"committed": max(committed_steps(absolute(directory) / FOLDER), default=0), "rows": len(rows)}
