"""A training in miniature for the kill tests: it saves every step and continues from what it finds."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.checkpoints.checkpointer import Checkpointer
from stylegan_jax.checkpoints.restore import FOLDER, absolute, committed_steps
from stylegan_jax.runtime.lock import WorkdirLock

STEPS = int(os.environ.get("TOY_STEPS", "40"))


def train(directory: pathlib.Path, reached: Callable[[str], None]) -> None:
    """Run to STEPS; write the final state's hash to 'done'."""

    def advance(state: dict[str, Any], step: jax.Array) -> dict[str, Any]:
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), step), state["g"]["w"].shape)
        w = 0.9 * state["g"]["w"] + noise
        return {"g": {"w": w}, "ema": {"w": 0.99 * state["ema"]["w"] + 0.01 * w}, "step": step}

    w = jnp.zeros((64, 64))
    state = {"g": {"w": w}, "ema": {"w": w + 0}, "step": jnp.zeros((), jnp.int32)}
    with WorkdirLock(directory), Checkpointer(directory) as checkpointer:
        found = checkpointer.restore(state, strict=True)
        start = 0
        if found is not None:
            state, _, start = found
        compiled = jax.jit(advance, donate_argnums=0).lower(state, jnp.asarray(0)).compile()
        reached("")
        for step in range(start + 1, STEPS + 1):
            state = compiled(state, jnp.asarray(step))
            (directory / "requested").write_text(str(step))
            checkpointer.save(step, state, state["ema"], {"nimg": step})
    digest = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))).hexdigest()
    (directory / "done").write_text(digest)


def check(directory: pathlib.Path) -> dict[str, int]:
    """Return, after a kill, the newest committed step and the last one that was to be saved."""
    requested = directory / "requested"
    return {
        "committed": max(committed_steps(absolute(directory) / FOLDER), default=0),
        "requested": int(requested.read_text() or 0) if requested.exists() else 0,
    }
