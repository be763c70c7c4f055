"""The real training loop on the tiny recipe and on the projected toy, for the kill tests."""

from __future__ import annotations

import hashlib
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

sys.path.insert(0, os.fspath(pathlib.Path(__file__).parents[1]))
sys.path.insert(0, os.fspath(pathlib.Path(__file__).parents[2]))

from configs import tiny
from stylegan_jax import models
from stylegan_jax.checkpoints.restore import FOLDER, absolute, committed_steps
from stylegan_jax.config import ExperimentConfig, from_dict
from stylegan_jax.train import loop
from stylegan_jax.train.gan import task as gan_task


def config():
    c = tiny.get_config()
    c.log.progress_bar = False
    return from_dict(c)


def digest(state: Any) -> str:
    """Return one hash of every leaf of a state."""
    return hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(state))).hexdigest()


def train(directory: pathlib.Path, ready: Callable[[], None]) -> None:
    """Run or resume the tiny recipe."""
    run(config(), directory, ready)


def train_projected(directory: pathlib.Path, ready: Callable[[], None]) -> None:
    """Run or resume the projected toy: a frozen network, collections that move, a mean style per class."""
    import toy  # makes a key, which would start a JAX backend in the process that forks

    models.build = lambda _: toy.PROJECTED
    gan_task._load = lambda _: toy.load_backbone()
    labels = {"model__label_dim": -1, "data__labels": "file", "data__synthetic_labels": toy.CLASSES}
    run(toy.make_loop_config("auto", loss__adversarial="hinge", **labels), directory, ready)


def run(config: ExperimentConfig, directory: pathlib.Path, ready: Callable[[], None]) -> None:
    """Run or resume; report ready when the loop starts; write the final hash to 'done'."""
    start = loop.Run._loop

    def reported(self, *args):
        ready()
        return start(self, *args)

    loop.Run._loop = reported
    state = loop.train(config, directory)
    (directory / "done").write_text(digest(state))


def check(directory: pathlib.Path, ready: Callable[[], None]) -> dict[str, int]:
    """Return, after a kill, the newest committed step and the last step in stats.jsonl."""
    rows = (directory / "stats.jsonl").read_text().splitlines() if (directory / "stats.jsonl").exists() else []
    return {"committed": max(committed_steps(absolute(directory) / FOLDER), default=0), "rows": len(rows)}
