"""The real training loop on small recipes, for the kill tests: programs of `kill_server.py`."""

from __future__ import annotations

import hashlib
import os
import pathlib
import types
from collections.abc import Callable
from typing import Any

import jax
import metrics_run
import numpy as np
import prepared

from configs import progressive_quickstart, r3gan, tiny
from stylegan_jax import models
from stylegan_jax.checkpoints.checkpointer import Checkpointer
from stylegan_jax.checkpoints.restore import FOLDER, absolute, committed_steps
from stylegan_jax.config import ExperimentConfig, from_dict
from stylegan_jax.features.backbones import BACKBONES
from stylegan_jax.metrics import detectors
from stylegan_jax.train import loop, programs
from stylegan_jax.train.gan import task as gan_task

EMOJI = pathlib.Path(__file__).parents[2] / "datasets/emoji64.zip"
Reached = Callable[[str], None]

MOMENTS = {"start": (1, 1.5), "compile": (1, 5.0), "step": (1, 1.5), "report": (3, 0.02), "checkpoint": (3, 0.4)}
MOMENTS |= {"grid": (2, 0.05)}
METRIC, LEVEL = {"metric": (3, 0.4)}, {"level": (1, 0.5)}
STAGES = {
    "train": MOMENTS,
    "train_projected": {"step": (1, 1.5)},
    "train_ada": MOMENTS | METRIC,
    "train_grown": MOMENTS | METRIC | LEVEL,
    "train_grown2": MOMENTS | LEVEL,
    "train_stylegan3": MOMENTS,
    "train_r3gan": MOMENTS,
    "train_stage": MOMENTS,
    "train_lite0": MOMENTS,
    "train_encoder": {"step": (1, 1.5)},
}
"""Where each may be killed: up to which time of a run, and up to how many seconds later."""


def make_config(recipe: Any, **changes: Any) -> ExperimentConfig:
    tree = recipe.get_config() if isinstance(recipe, types.ModuleType) else recipe
    own = {"log__progress_bar": False, "log__trackers": (), "train__num_devices": 1}
    tree.update_from_flattened_dict({k.replace("__", "."): v for k, v in (own | changes).items()})
    return from_dict(tree)


def evaluated(directory: pathlib.Path) -> dict[str, Any]:
    """Return changes of a recipe that has metrics and keeps the best checkpoint."""
    own = {"eval__metrics": "fid5k,pr50k3", "eval__num_images": 24, "eval__ticks": 1, "eval__batch": 8}
    return own | {"eval__cache": str(directory / "cache"), "log__keep_best": "metric/fid24"}


def train(directory: pathlib.Path, reached: Reached) -> None:
    """The tiny recipe, which stores averages too."""
    run(make_config(tiny, train__posthoc_ema=(0.05, 0.1)), directory, reached)


def train_ada(directory: pathlib.Path, reached: Reached) -> None:
    """The tiny recipe with steered augmentation, metrics and the best checkpoint by one of them."""
    own = {"augment__mode": "ada", "augment__kimg": 0.2, "augment__interval": 2, "loss__pl_weight": 0.0}
    run(make_config(tiny, **own, **evaluated(directory)), directory, reached)


def train_grown(directory: pathlib.Path, reached: Reached) -> None:
    """StyleGAN growing from 8x8 to 32x32, with metrics of the last level."""
    run(make_config(progressive_quickstart, **GROWN, **evaluated(directory)), directory, reached)


def train_grown2(directory: pathlib.Path, reached: Reached) -> None:
    """StyleGAN2 growing likewise."""
    own = {"model__arch": "stylegan2", "model__g_arch": "orig", "model__d_arch": "orig"}
    run(make_config(progressive_quickstart, **GROWN, **own), directory, reached)


def train_stylegan3(directory: pathlib.Path, reached: Reached) -> None:
    """A tiny StyleGAN3."""
    own = {f"model__stylegan3__{k}": v for k, v in {"num_layers": 3, "num_critical": 1, "margin_size": 2}.items()}
    own |= {"model__arch": "stylegan3", "loss__pl_weight": 0.0, "loss__style_mixing_prob": 0.0}
    run(make_config(tiny, **own), directory, reached)


def train_r3gan(directory: pathlib.Path, reached: Reached) -> None:
    """A tiny R3GAN with labels: reals of the generator's own, penalties inside d_main, schedules, averages."""
    c = r3gan.networks(8, (8, 6), (4, 3))
    c.model.label_dim, c.model.z_dim, c.model.r3gan.embed_dim = -1, 8, 4
    c.data.source, c.data.synthetic_images, c.data.labels, c.data.synthetic_labels = "synthetic", 64, "file", 3
    c.train.batch_size, c.log.tick_kimg = 8, 0.064
    c.train.total_kimg = c.schedule.end_kimg = 0.512
    c.schedule.augment_p, c.train.posthoc_ema = 0.3, (0.05, 0.1)
    c.log.grid_ticks, c.log.checkpoint_ticks, c.log.grid_columns, c.log.grid_rows = 4, 1, 4, 2
    run(make_config(c), directory, reached)


def train_projected(directory: pathlib.Path, reached: Reached) -> None:
    """The projected toy: a frozen network, collections that move, a mean style per class."""
    import toy  # makes a key, which would start a JAX backend in the process that forks

    models.build = lambda _: toy.PROJECTED
    gan_task._load = lambda _: toy.load_backbone()
    labels = {"model__label_dim": -1, "data__labels": "file", "data__synthetic_labels": toy.CLASSES}
    run(toy.make_loop_config("auto", loss__adversarial="hinge", **labels), directory, reached)


def train_stage(directory: pathlib.Path, reached: Reached) -> None:
    """A stage of StyleGAN-XL on a trained stem, with the projected discriminator on a frozen network."""
    import toy  # as above

    BACKBONES["tiny"], gan_task._load = toy.TINY, lambda name: toy.LOADERS[name]()
    stem = directory.parent / "stem"
    if not stem.exists():  # in the undisturbed run
        loop.train(toy.make_loop_config("off", **(toy.STEM_KEYS | {"train__total_kimg": 0.032})), stem)
    own = toy.STAGE_KEYS | {"train__init_from": str(stem), "train__total_kimg": 0.256, "log__grid_ticks": 1}
    run(toy.make_loop_config("auto", **own), directory, reached)


def train_lite0(directory: pathlib.Path, reached: Reached) -> None:
    """The projected discriminator on EfficientNet-Lite0, with its published weights."""
    own = {"backbones": ("efficientnet_lite0",), "input_size": 128, "channels": 2, "heads": 1, "stats_group": 4}
    own |= {"widths": (8, 8, 8, 8, 4, 4, 4, 4, 4)}
    changes = {f"model__projected__{name}": value for name, value in own.items()} | {"model__d_arch": "projected"}
    changes |= {"loss__adversarial": "hinge", "loss__d_reg": "none", "loss__pl_weight": 0.0, "model__label_dim": 0}
    changes |= {"train__batch_size": 4, "train__total_kimg": 0.064, "log__tick_kimg": 0.008}
    run(make_config(tiny, **changes), directory, reached)


def train_encoder(directory: pathlib.Path, reached: Reached) -> None:
    """The toy encoder: pools, blocks that begin one after another, a frozen generator."""
    import toy_encoder  # as above

    toy_encoder.install(types.SimpleNamespace(setattr=setattr))
    run(toy_encoder.make_config(train__compilation_cache="auto"), directory, reached)


GROWN = {f"model__{k}": 8 for k in ("channel_max", "z_dim", "w_dim")} | {"model__mapping_layers": 1}
GROWN |= {"train__total_kimg": 0.32, "train__batch_size": 4, "data__path": str(EMOJI), "data__subset": 64}
GROWN |= {"growing__train_kimg": 0.064, "growing__fade_kimg": 0.064, "growing__batch_sizes": (8, 8)}
GROWN |= {"log__tick_kimg": 0.064, "log__grid_ticks": 1, "log__checkpoint_ticks": 1}
GROWN |= {"log__grid_columns": 4, "log__grid_rows": 2}


def digest(state: Any) -> str:
    """Return one hash of every leaf of a state."""
    return hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(state))).hexdigest()


def run(config: ExperimentConfig, directory: pathlib.Path, reached: Reached) -> None:
    """Run or resume; tell what is reached; write the final hash to 'done'.

    Programs are kept beside the directory from the first run on, but where starting or compiling is to be killed.
    """
    detectors.load = lambda names, paths: {name: metrics_run.net(name) for name in names}
    if os.environ.get("KILL_STAGE") in ("start", "compile"):
        jax.config.update("jax_enable_compilation_cache", False)
    else:
        prepared.use(directory.parent / "programs")
    announce(programs, "compile_programs", "compile", reached)
    announce(loop.Run, "_loop", "step", reached)
    announce(loop.Run, "_report", "report", reached)
    announce(loop.Run, "_draw_grids", "grid", reached)
    announce(loop.Run, "_evaluate", "metric", reached)
    announce(Checkpointer, "save", "checkpoint", reached)
    open_batches, save = loop.Run._open_batches, Checkpointer.save

    def told_level(self, first: int, number: int, seed: int):
        if first and first == self.levels[number].first:
            reached("level")
        return open_batches(self, first, number, seed)

    def noted(self, step: int, *args, **kwargs):
        save(self, step, *args, **kwargs)
        with (directory / "asked").open("a") as file:
            file.write(f"{step}\n")

    loop.Run._open_batches, Checkpointer.save = told_level, noted
    reached("start")
    state = loop.train(config, directory)
    (directory / "done").write_text(digest(state))


def announce(owner: Any, name: str, stage: str, reached: Reached) -> None:
    """Have a function tell that it is called."""
    original = getattr(owner, name)

    def told(*args, **kwargs):
        reached(stage)
        return original(*args, **kwargs)

    setattr(owner, name, told)


def check(directory: pathlib.Path) -> dict[str, int]:
    """Return, after a kill, the newest committed step, and how many saves that had begun are lost."""
    committed = max(committed_steps(absolute(directory) / FOLDER), default=0)
    asked = (directory / "asked").read_text().splitlines() if (directory / "asked").exists() else []
    return {"committed": committed, "lost": len({int(step) for step in asked if step and int(step) > committed})}
