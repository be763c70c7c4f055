"""The table of an encoder's phases, and what each draws."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stylegan_jax.base import images, rng
from stylegan_jax.base.spec import Batch
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train.encoder import objective, pools
from stylegan_jax.train.encoder.objective import D, E, Sample, Setting
from stylegan_jax.train.state import TrainState
from stylegan_jax.train.task import Phase

PHASES = ("warmup", "latent_d", "latent_r1", "encode")
"""The phases in order; the warm-up ends when the others begin."""


class Drawing(NamedTuple):
    """What a phase needs to draw its rows."""

    setting: Setting
    layout: Layout

    def sample(self, name: str, state: TrainState, root_key: jax.Array, n: int) -> Sample:
        """Draw n samples of the generator, with uniformly random classes if it has labels."""
        gan, split = self.setting.gan, self.layout.split
        label, draw, noise = jax.random.split(rng.stream(root_key, name, state.step), 3)
        classes = jax.random.randint(label, (n,), 0, max(gan.spec.label_dim, 1))
        cond = split(jax.nn.one_hot(classes, gan.spec.label_dim, dtype=jnp.float32))
        inputs = jax.tree.map(split, gan.draw_inputs(draw, n, cond))
        return Sample(inputs, cond, split(rng.per_example(noise, jnp.arange(n))))

    def noise(self, name: str, state: TrainState, root_key: jax.Array, n: int) -> jax.Array:
        """Return keys[n] for n images."""
        return self.layout.split(rng.per_example(rng.stream(root_key, name, state.step), jnp.arange(n)))


def make_phases(setting: Setting, layout: Layout) -> tuple[Phase, ...]:
    """Return the table of phases."""
    t, drawing = setting.training, Drawing(setting, layout)
    start = round(t.warmup_kimg * 1000)
    compared = tuple(setting.comparisons) + (("loss/delta",) if objective.has_offsets(setting) else ())
    supervised = ("loss/w",) if t.w_weight else ()
    bind = functools.partial
    warmup = Phase(
        "warmup",
        E,
        draw=bind(_draw_encode, drawing, "warmup", True),
        loss=bind(objective.encode, setting, True),
        end_nimg=start,
        reports=compared + supervised,
    )
    judge = Phase(
        "latent_d",
        D,
        draw=bind(_draw_latent_d, drawing),
        loss=bind(objective.latent_d, setting),
        after=objective.after_latent_d,
        start_nimg=start,
        reports=("loss/d_adversarial", "scores/real", "scores/fake"),
    )
    penalty = Phase(
        "latent_r1",
        D,
        draw=bind(_draw_latent_r1, drawing),
        loss=bind(objective.latent_r1, setting),
        every=t.r1_interval,
        start_nimg=start,
        reports=("loss/d_penalty",),
    )
    encode = Phase(
        "encode",
        E,
        draw=bind(_draw_encode, drawing, "encode", t.images == "samples"),
        loss=bind(objective.encode, setting, False),
        start_nimg=start,
        reports=compared
        + (supervised if t.images == "samples" else ())
        + (("loss/adversarial",) if t.has_critic else ()),
    )
    return ((warmup,) if start else ()) + ((judge, penalty) if t.has_critic else ()) + (encode,)


def _targets(
    drawing: Drawing, name: str, of_samples: bool, state: TrainState, batch: Batch, root_key: jax.Array
) -> dict[str, Any]:
    n = batch.label.shape[0]
    if of_samples:
        return {"sample": drawing.sample(f"{name}/sample", state, root_key, n)}
    return {"image": drawing.layout.spread(images.from_pixels(batch.pixels))}


def _draw_encode(
    drawing: Drawing, name: str, of_samples: bool, state: TrainState, batch: Batch, root_key: jax.Array
) -> dict[str, Any]:
    noise = drawing.noise(f"{name}/noise", state, root_key, batch.label.shape[0])
    return _targets(drawing, name, of_samples, state, batch, root_key) | {"noise_key": noise}


def _draw_latent_d(drawing: Drawing, state: TrainState, batch: Batch, root_key: jax.Array) -> dict[str, Any]:
    """Draw the same targets as phase 'encode', as published, and the generator's styles."""
    t, n = drawing.setting.training, batch.label.shape[0]
    rows = _targets(drawing, "encode", t.images == "samples", state, batch, root_key)
    rows["styles"] = drawing.sample("latent_d/styles", state, root_key, n)
    rows["slot"] = jax.vmap(jax.random.uniform)(drawing.noise("latent_d/slot", state, root_key, n))
    if t.pool:
        keys = {name: rng.stream(root_key, f"latent_d/{name}", state.step) for name in ("real", "fake")}
        rows["pools"] = {name: pools.draw(key, n, t.pool) for name, key in keys.items()}
    return rows


def _draw_latent_r1(drawing: Drawing, state: TrainState, batch: Batch, root_key: jax.Array) -> dict[str, Any]:
    return {"shown": drawing.layout.split(state.moving["shown"])}
