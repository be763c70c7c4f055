"""An encoder of the plain toy whose programs compile in a second: two products around a batch normalisation.

It has what the training of real ones has to carry: statistics that move, blocks that begin to train one after another,
and, where it is residual, several passes with images between them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import toy

from stylegan_jax.config import ExperimentConfig
from stylegan_jax.encoders import Encoder, EncoderSpec
from stylegan_jax.ops.norm import batch_norm
from stylegan_jax.ops.resize import resize_area
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.train.encoder import task as encoder_task
from stylegan_jax.train.task import Task

KEYS = {
    "task": "encoder",
    "encoder__model": "the toy",
    "encoder__image_size": (8, 8),
    "encoder__training__lr": 0.02,
    "encoder__training__d_lr": 0.01,
    "encoder__training__lpips_weight": 0.0,
    "encoder__training__w_weight": 1.0,
    "encoder__training__warmup_kimg": 0.048,
    "encoder__training__pool": 5,
    "encoder__training__r1_interval": 4,
    "encoder__training__progressive_start_kimg": 0.096,
    "encoder__training__progressive_step_kimg": 0.016,
    "log__grid_rows": 4,
}
"""Six steps of warm-up in batches of 8, then the latent discriminator; the second slot begins at step 12."""


def model() -> LoadedModel:
    """Return the plain toy as a trained generator."""
    g = jax.device_get(toy.PLAIN.init_g(toy.KEY))
    return LoadedModel(toy.make_config().model, toy.PLAIN, g, np.zeros(16, np.float32), None, None, {})


def make(*, residual: bool = False) -> Encoder:
    """Return the encoder; residual: of ReStyle, with three passes."""
    spec = EncoderSpec(toy.SHAPE, 2, 16, width=16, residual=residual, iterations=3 if residual else 1)
    pixels = int(np.prod(toy.SHAPE))

    def init(key: jax.Array, start: Any = None) -> Any:
        keys = jax.random.split(key, 3)
        draw = lambda k, rows: jax.random.normal(keys[k], (rows, 16)) / rows**0.5
        body = {
            "weight": draw(0, pixels * (2 if residual else 1)),
            "norm": {"weight": jnp.ones(16), "bias": jnp.zeros(16)},
        }
        average = {"w": jnp.zeros((2, 16))} | ({"image": jnp.zeros(toy.SHAPE)} if residual else {})
        return {
            "params": {"body": body, "styles": {f"style{i}": draw(1 + i, 16) for i in range(2)}},
            "batch_stats": {"body": {"mean": jnp.zeros(16), "var": jnp.ones(16)}},
            "average": average,
        }

    def encode(variables: Any, images: jax.Array, *, stage: Any = None, train: bool = False) -> Any:
        params, n = variables["params"], len(images)
        x = resize_area(images, toy.SHAPE[:2]).reshape(n, -1) @ params["body"]["weight"]
        stats = variables["batch_stats"]["body"]
        x, moved = batch_norm(x[:, None, None], params["body"]["norm"], stats, n, train)
        base, change = (jnp.tanh(x[:, 0, 0]) @ params["styles"][f"style{i}"] for i in range(2))
        ws = jnp.stack([base, base + (change if stage is None else jnp.where(stage >= 1, change, 0))], axis=1)
        ws = ws if residual else ws + variables["average"]["w"][None]
        return ws, {"batch_stats": {"body": moved}} if train else {}

    return Encoder(spec, init, encode)


def make_config(**changes: Any) -> ExperimentConfig:
    """Return an experiment that trains the toy encoder."""
    return toy.make_config(**(KEYS | changes))


def task_of(config: ExperimentConfig, layout: Layout, encoder: Encoder | None = None) -> Task:
    """Return its task."""
    return encoder_task.make_task(config, layout, model=model(), encoder=encoder or make())


def install(patch: Any) -> None:
    """Make the loop train the toy encoder, residual where the configuration says so."""
    patch.setattr(encoder_task.encoders, "build", lambda config, **_: make(residual=config.residual))
    patch.setattr(encoder_task.frozen_one, "load_model", lambda path: model())
