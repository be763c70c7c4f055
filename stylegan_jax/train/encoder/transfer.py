"""Start training from an existing encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from stylegan_jax.base.spec import Variables
from stylegan_jax.base.trees import digest_of, flatten
from stylegan_jax.checkpoints.restore import best_step, committed_steps, restore_g_ema
from stylegan_jax.config import ConfigError, ExperimentConfig
from stylegan_jax.models import merge
from stylegan_jax.train.encoder.objective import E
from stylegan_jax.train.ranger import Moments
from stylegan_jax.train.state import TrainState


class Source(NamedTuple):
    """An encoder to copy from, its path, and the step of its checkpoint."""

    variables: Variables
    path: str
    step: int

    @property
    def digest(self) -> str:
        """Digest of its arrays."""
        return digest_of(self.variables, {})


def open_source(config: ExperimentConfig, path: str) -> Source | None:
    """Read a run's encoder from checkpoint `train.init_step`, or from its best. Return None for path ''.

    Raises:
        ConfigError: the path is not the folder of an encoder's run.
        CheckpointError: the checkpoint is damaged.
    """
    if not path:
        return None
    folder, step = Path(path).expanduser(), config.train.init_step or None
    meta: Any = None
    if committed_steps(folder / "checkpoints"):
        if step is None and (best := best_step(folder)):
            step = best[0]
        variables, meta, found = restore_g_ema(folder, step=step)
    if meta is None or meta["config"].get("task") != "encoder":
        raise ConfigError(
            f"config.train.init_from={path} is not the folder of an encoder's run; use such a folder, or ''"
        )
    return Source(variables, path, found)


def transfer(state: TrainState, source: Source) -> tuple[TrainState, list[str]]:
    """Copy an encoder into a fresh state; the average style remains that of this run's generator.

    Args:
        state: a fresh state, or its abstract shapes to only check.
        source: the encoder to copy.

    Returns:
        (state, lines of the report).

    Raises:
        ConfigError: an array is missing or has another shape.
    """
    parts = ("params", "batch_stats")
    ours, theirs = ({name: tree[name] for name in parts} for tree in (state.nets[E], source.variables))
    have, given = flatten(ours), flatten(theirs)
    shapes = {n: (_shape(given.get(n)), _shape(have.get(n))) for n in sorted(have.keys() | given.keys())}
    wrong = [f"  {name}: {there} there, {here} here" for name, (there, here) in shapes.items() if there != here]
    if wrong:
        raise ConfigError(
            f"config.train.init_from={source.path} does not fit this encoder; {len(wrong)} arrays differ:\n"
            + "\n".join(wrong[:10])
            + "\nUse its values of config.encoder, and a generator with the same number of style slots"
        )
    new = merge(ours, jax.tree.map(np.asarray, theirs))  # stored trees lack empty dicts
    is_moments = lambda x: isinstance(x, Moments)
    opt = jax.tree.map(lambda m, p: m.replace(slow=np.array(p)), state.opt[E], new["params"], is_leaf=is_moments)
    nets = state.nets | {E: state.nets[E] | new}
    return state.replace(nets=nets, opt=state.opt | {E: opt}), [
        f"initialised from {source.path}, checkpoint {source.step}"
    ]


def _shape(x: Any) -> str:
    return "absent" if x is None else "x".join(map(str, x.shape)) or "scalar"
