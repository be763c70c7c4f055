"""A model small enough that its programs compile in a second: a few matrices with the names of the real ones.

It has what couples the images of a batch (minibatch stddev in groups of 4) and what tells them apart (noise).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from configs import tiny
from stylegan_jax import models
from stylegan_jax.base import rng
from stylegan_jax.base.spec import PHASES, Batch
from stylegan_jax.config import ExperimentConfig, from_dict
from stylegan_jax.models.gan import without_tracking
from stylegan_jax.ops.norm import minibatch_std
from stylegan_jax.runtime import mesh as sharding
from stylegan_jax.train.gan import step

KEY = rng.root(3)
SHAPE = (8, 8, 3)
SPEC = models.GanSpec(16, 16, 2, SHAPE, 0, ("b8/fromrgb", "b8/conv0"))


def _normal(key, *shape):
    return jax.random.normal(key, shape) / math.sqrt(shape[0])


def init_g(key):
    a, b = jax.random.split(key)
    mapping = {"fc0": {"weight": _normal(a, 16, 16)}}
    return {"params": {"mapping": mapping, "synthesis": {"b8": {"weight": _normal(b, 16, 192)}}}, "buffers": {}}


def init_d(key):
    a, b = jax.random.split(key)
    block = {"fromrgb": {"weight": _normal(a, 192, 4)}, "conv0": {"weight": _normal(b, 5, 1)}}
    return {"params": {"b8": block, "b4": {"out": {"bias": jnp.zeros(1)}}}}


def map_latents(variables, z, cond):
    w = jnp.tanh(z @ variables["params"]["mapping"]["fc0"]["weight"])
    return jnp.broadcast_to(w[:, None], (w.shape[0], 2, 16))


def synthesize(variables, ws, *, noise="const", key=None):
    styles = ws.mean(axis=1)
    if noise == "random":
        styles = styles + 0.3 * jax.vmap(lambda k: jax.random.normal(k, (16,)))(key)
    return jnp.tanh(styles @ variables["params"]["synthesis"]["b8"]["weight"]).reshape(-1, *SHAPE)


def discriminate(variables, image, cond, sets=1):
    block = variables["params"]["b8"]
    x = jnp.tanh(image.reshape(image.shape[0], -1) @ block["fromrgb"]["weight"])
    x = minibatch_std(x[:, None, None], 4, sets=sets)[:, 0, 0]
    return x @ block["conv0"]["weight"] + variables["params"]["b4"]["out"]["bias"][None]


GAN = models.Gan(SPEC, init_g, init_d, map_latents, synthesize, without_tracking(synthesize), discriminate)


def make_config(**changes) -> ExperimentConfig:
    """Return the tiny recipe without labels, with changes by dotted name ('train__on_nan')."""
    tree = tiny.get_config()
    tree.model.label_dim = 0
    tree.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return from_dict(tree)


def make_loop_config(cache: str, **changes) -> ExperimentConfig:
    """Return a run of 64 steps with a report and a checkpoint every 8, and two programs to compile rather than four."""
    own = {"train__compilation_cache": cache, "train__num_devices": 1, "log__progress_bar": False}
    return make_config(**(own | {"loss__pl_weight": 0.0, "loss__d_reg": "none"} | changes))


class Run:
    """Programs of a model, its state, and a way to take steps.

    Args:
        config: the experiment.
        gan: by default the toy.
        devices: how many.
    """

    def __init__(self, config: ExperimentConfig, gan: models.Gan = GAN, devices: int = 1):
        self.config, self.gan, self.layout = config, gan, sharding.make_layout(devices)
        self.programs = step.jit_programs(step.make_programs(gan, config, self.layout), self.layout)

    def start(self):
        return step.create_state(self.gan, self.config, self.layout, KEY)

    def batch(self, index: int = 0) -> Batch:
        draw = np.random.default_rng(index)
        n, k = self.config.train.batch_size, self.gan.spec.label_dim
        pixels = draw.integers(0, 256, (n, *self.gan.spec.image_shape), dtype=np.uint8)
        labels = lambda *shape: np.eye(max(k, 1), dtype=np.float32)[draw.integers(0, max(k, 1), shape)][..., :k]
        return jax.device_put(Batch(pixels, labels(n), labels(len(PHASES), n)), self.layout.batch_shardings())

    def after(self, state, *phases: str, index: int = 0):
        """Return the state on the host after programs; the given state, on the host, stays as it is."""
        state = jax.device_put(jax.tree.map(np.copy, jax.device_get(state)), self.layout.replicated)
        for phase in phases:
            state = self.programs[phase](state, self.batch(index), KEY)
        return jax.device_get(state)
