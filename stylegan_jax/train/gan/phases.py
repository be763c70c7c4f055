"""The table of a GAN's phases: what each draws and updates. Their losses are in `objective`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stylegan_jax.augment import controller
from stylegan_jax.base import images, rng
from stylegan_jax.base.spec import Batch, Sample, Tree
from stylegan_jax.config import ExperimentConfig, Level
from stylegan_jax.losses import lecam, regularizers
from stylegan_jax.losses.adversarial import LOSSES
from stylegan_jax.models import Gan, grown
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train.gan import objective
from stylegan_jax.train.gan.objective import Seen, Setting
from stylegan_jax.train.gan.rates import rates_at
from stylegan_jax.train.gan.views import Views
from stylegan_jax.train.state import TrainState
from stylegan_jax.train.task import Aux, Context, Phase, keep

PHASES = ("g_main", "g_reg", "d_main", "d_reg")
"""The phases in order (SG2 §4), unless `loss.d_first` is set. A name's index numbers its draw of labels."""


class Drawing(NamedTuple):
    """What a phase needs to draw its rows.

    Attributes:
        gan: the level's bundle, fully faded in.
        config: the experiment at this level.
        level: the part of the run.
        layout: spreads rows over the devices.
        views: the augmentation.
        draws: the phases that draw labels, in the order of `Batch.gen_label`.
    """

    gan: Gan
    config: ExperimentConfig
    level: Level
    layout: Layout
    views: Views
    draws: tuple[str, ...]

    def labels(self, batch: Batch, phase: str) -> jax.Array:
        """Return the labels float[n, k] of a phase's latents: its own draw, or those of the reals paired with them."""
        if phase not in self.draws:
            return as_cond(reals_of(batch, phase)[1], self.gan.spec.label_dim)
        return as_cond(batch.gen_label[self.draws.index(phase)], self.gan.spec.label_dim)

    def latents(
        self, phase: str, state: TrainState, batch: Batch, root_key: jax.Array, cond: jax.Array
    ) -> objective.Latents:
        """Draw the latents of a phase for labels `cond` float[n, k]. Inputs that depend on the data come from the
        batch."""
        draw, mix, noise = jax.random.split(rng.stream(root_key, phase, state.step), 3)
        n, split = cond.shape[0], self.layout.split
        both = self.gan.draw_inputs(draw, 2 * n, jnp.concatenate([cond, cond]))
        both = jax.tree.map(lambda x: self.layout.split_second(x.reshape(2, n, *x.shape[1:])), both)
        inputs, mixed = (jax.tree.map(lambda x, half=half: x[half], both) for half in range(2))
        if batch.given and phase in self.draws:
            inputs |= {name: x[self.draws.index(phase)][:n] for name, x in batch.given.items()}
        noise = split(rng.per_example(noise, jnp.arange(n)))  # an image's noise does not depend on its micro-batch
        return objective.Latents(inputs, mixed, cond, mix, noise)

    def seen(self, name: str, state: TrainState, root_key: jax.Array, n: int) -> Seen:
        """Draw what the discriminator's view of n examples needs; `name` is 'phase/fake' or 'phase/real'."""
        phase, side = name.split("/")
        key = rng.stream(root_key, f"{phase}/augment/{side}", state.step)
        strength = rates_at(self.config, self.level, state.nimg).augment_p
        drawn, own = self.views.draw(key, n, state.moving["augment"].p if strength is None else strength), None
        if self.gan.spec.is_d_random:
            keys = rng.stream(root_key, f"{phase}/discriminate/{side}", state.step)
            own = self.layout.split(rng.per_example(keys, jnp.arange(n)))
        return Seen(view=drawn, key=own)

    def reals(self, phase: str, state: TrainState, root_key: jax.Array, batch: Batch) -> Seen:
        """Return a phase's reals, faded like the generator, with the draws for their view."""
        n, rates = batch.label.shape[0], rates_at(self.config, self.level, state.nimg)
        given, label = reals_of(batch, phase)
        image = self.layout.spread(images.from_pixels(given["image"]))
        sample: Sample = given | {"image": grown.fade_reals(image, rates.fade)}
        cond = as_cond(label, self.gan.spec.label_dim)
        return dataclasses.replace(self.seen(f"{phase}/real", state, root_key, n), sample=sample, cond=cond)


def as_cond(label: jax.Array, label_dim: int) -> jax.Array:
    """Return labels float[…, k]: class numbers int32[…] as one-hot vectors, vectors float[…, k] unchanged."""
    if jnp.issubdtype(label.dtype, jnp.integer):
        return jax.nn.one_hot(label, label_dim, dtype=jnp.float32)
    return label


def reals_of(batch: Batch, phase: str) -> tuple[dict[str, jax.Array], jax.Array]:
    """Return (sample, labels) of a phase's reals; if the generator's phases need reals, they have their own."""
    if phase.startswith("g") and batch.second is not None:
        return batch.second
    return batch.sample, batch.label


SEEN = ("scores/fake", "scores/real", "signs/fake", "signs/real")
"""Statistics of logits that d_main reports. With APA, 'real' includes the fakes presented as real."""


def make_phases(whole: Gan, config: ExperimentConfig, level: Level, layout: Layout) -> tuple[Phase, ...]:
    """Return the table of a level.

    Args:
        whole: the bundle of the whole model.
        config: the experiment at this level (`config.at_level`).
        level: the part of the run.
        layout: spreads rows over the devices.
    """
    gan, loss = grown.plain(whole, level), config.loss
    views = Views(config, gan.spec.sample["image"], layout)
    setting = Setting(lambda rates: grown.faded(whole, level, rates.fade), loss, views.apply, config.train.batch_size)
    names = used_phases(config)
    drawing = Drawing(gan, config, level, layout, views, label_draws(config))
    guided = ("loss/g_guidance",) if gan.guide else ()
    anchored = ("loss/d_lecam",) if loss.lecam_weight else ()
    penalty = ("loss/d_penalty",) if loss.d_reg != "none" and not is_d_reg_lazy(config) else ()
    bind = lambda function, *args: functools.partial(function, *args)
    table = {
        "g_main": Phase(
            "g_main",
            "g",
            draw=bind(_draw_g_main, drawing),
            loss=bind(objective.g_main, setting),
            after=bind(_move_centre, gan, config) if config.train.w_avg_phases == "both" else keep,
            reports=("loss/g_adversarial", *guided),
        ),
        "g_reg": Phase(
            "g_reg",
            "g",
            draw=bind(_draw_g_reg, drawing),
            loss=bind(objective.path_lengths, setting),
            couple=lambda values, context: objective.path_length_loss(setting, values, context),
            after=_after_g_reg,
            every=max(loss.g_reg_interval, 1),
            start_nimg=round(loss.pl_start_kimg * 1000),
            is_whole=False,
            reports=("loss/g_path_length", "path_length/mean"),
        ),
        "d_main": Phase(
            "d_main",
            "d",
            draw=bind(_draw_d_main, drawing),
            loss=bind(objective.d_main, setting),
            after=bind(_after_d_main, gan, config),
            reports=("loss/d_adversarial", *penalty, *anchored, *SEEN),
        ),
        "d_reg": Phase(
            "d_reg",
            "d",
            draw=bind(_draw_d_reg, drawing),
            loss=bind(objective.d_reg, setting),
            after=bind(_after_d_reg, config),
            every=max(loss.d_reg_interval, 1),
            is_whole=loss.d_reg_whole,
            reports=("loss/d_penalty",),
        ),
    }
    return tuple(table[name] for name in names)


def used_phases(config: ExperimentConfig) -> tuple[str, ...]:
    """Return the phases that a run with this configuration uses, in order."""
    used = {"g_main": True, "g_reg": config.loss.pl_weight > 0, "d_main": True, "d_reg": is_d_reg_lazy(config)}
    order = sorted(PHASES, key=lambda name: name.startswith("g")) if config.loss.d_first else PHASES
    return tuple(name for name in order if used[name])


def label_draws(config: ExperimentConfig) -> tuple[str, ...]:
    """Return the phases that draw labels for their latents, in the order of `Batch.gen_label`.

    Latents that the loss or WGAN-GP pairs with reals have the labels of these reals instead.
    """
    where = {penalty.where for penalty in regularizers.penalties(config.loss.d_reg)}
    paired = {"g_main", "d_main"} if has_pairs(config) else set()
    needs_fakes = where != {"real"} or config.augment.apa.mode != "none"
    paired |= {"d_reg"} if not needs_fakes or "mix" in where else set()
    used = used_phases(config)
    return tuple(name for name in PHASES if name in used and name not in paired)


def has_pairs(config: ExperimentConfig) -> bool:
    """Return whether the loss compares each fake with a real, so that the generator's phase needs reals too."""
    return LOSSES[config.loss.adversarial].needs_real


def is_steered(config: ExperimentConfig, name: str) -> bool:
    """Return whether a controller changes p of `name`, 'augment' or 'apa'."""
    return (config.augment if name == "augment" else config.augment.apa).mode in controller.STEERED


def is_d_reg_lazy(config: ExperimentConfig) -> bool:
    """Return whether the discriminator's penalties are a phase of their own instead of part of d_main or off."""
    return config.loss.d_reg != "none" and config.loss.d_reg_interval > 0


def _draw_g_main(drawing: Drawing, state: TrainState, batch: Batch, root_key: jax.Array) -> Tree:
    cond = drawing.labels(batch, "g_main")
    rows: dict[str, Any] = {"latents": drawing.latents("g_main", state, batch, root_key, cond)}
    rows["fake"] = drawing.seen("g_main/fake", state, root_key, cond.shape[0])
    if has_pairs(drawing.config):
        rows["real"] = drawing.reals("g_main", state, root_key, batch)
    return rows


def _draw_g_reg(drawing: Drawing, state: TrainState, batch: Batch, root_key: jax.Array) -> Tree:
    cond = drawing.labels(batch, "g_reg")
    cond = drawing.layout.split(cond[: cond.shape[0] // drawing.config.loss.pl_batch_shrink])
    shape = (cond.shape[0], *drawing.gan.spec.sample["image"])
    noise = drawing.layout.split(rng.normal(rng.stream(root_key, "g_reg/image", state.step), shape))
    return {"latents": drawing.latents("g_reg", state, batch, root_key, cond), "noise": noise}


def _after_g_reg(moving: Mapping[str, Any], context: Context, aux: Aux) -> dict[str, Any]:
    return dict(moving) | {"pl_mean": aux.means["path_length/mean"]}


def _draw_d_main(drawing: Drawing, state: TrainState, batch: Batch, root_key: jax.Array) -> Tree:
    cond = drawing.labels(batch, "d_main")
    rows: dict[str, Any] = {
        "latents": drawing.latents("d_main", state, batch, root_key, cond),
        "fake": drawing.seen("d_main/fake", state, root_key, cond.shape[0]),
        "real": drawing.reals("d_main", state, root_key, batch),
    }
    wanted = regularizers.penalties(drawing.config.loss.d_reg)
    if not is_d_reg_lazy(drawing.config) and any(penalty.where == "mix" for penalty in wanted):
        rows["mix"] = _mix(drawing, "d_main", state, root_key, cond.shape[0])
    return rows | _pseudo(drawing, "d_main", state, root_key, cond.shape[0])


def _mix(drawing: Drawing, phase: str, state: TrainState, root_key: jax.Array, n: int) -> jax.Array:
    """Draw float[n] in [0, 1), WGAN-GP's positions between reals and fakes."""
    return drawing.layout.split(jax.random.uniform(rng.stream(root_key, f"{phase}/mix", state.step), (n,)))


def _pseudo(drawing: Drawing, phase: str, state: TrainState, root_key: jax.Array, n: int) -> dict[str, jax.Array]:
    """Draw which of n reals the phase replaces by fakes, bool[n], if APA is on."""
    if drawing.config.augment.apa.mode == "none":
        return {}
    drawn = jax.random.uniform(rng.stream(root_key, f"{phase}/apa", state.step), (n,))
    return {"pseudo": drawing.layout.split(drawn < state.moving["apa"].p)}


def _observe(config: ExperimentConfig, logits: jax.Array, aux: Aux, moving: Mapping[str, Any]) -> dict[str, Any]:
    """Return the controllers of the augmentation and of APA, updated with the logits of reals."""
    modes = {"augment": config.augment.mode, "apa": config.augment.apa.mode}
    add = lambda name: controller.observe(moving[name], logits, aux.rows.get("pseudo"))
    return {name: add(name) for name, mode in modes.items() if mode != "none"}


def _move_centre(gan: Gan, config: ExperimentConfig, moving: Mapping[str, Any], context: Context, aux: Aux) -> dict:
    rows, beta = aux.rows, config.train.w_avg_beta
    return dict(moving) | {"w_avg": gan.move_centre(moving["w_avg"], rows["w"], rows["cond"], beta)}


def _after_d_main(gan: Gan, config: ExperimentConfig, moving: Mapping[str, Any], context: Context, aux: Aux) -> dict:
    rows, new = aux.rows, _move_centre(gan, config, moving, context, aux)
    if config.loss.lecam_weight:
        new["lecam"] = lecam.move(moving["lecam"], rows["fake"], rows["real"], config.loss.lecam_decay)
    return new | _observe(config, rows["real"], aux, moving)


def _draw_d_reg(drawing: Drawing, state: TrainState, batch: Batch, root_key: jax.Array) -> Tree:
    real = drawing.reals("d_reg", state, root_key, batch)
    where = {penalty.where for penalty in regularizers.penalties(drawing.config.loss.d_reg)}
    rows: dict[str, Any] = {"real": real} | _pseudo(drawing, "d_reg", state, root_key, batch.label.shape[0])
    if where == {"real"} and "pseudo" not in rows:
        return rows
    # Fakes that are mixed with reals have the reals' labels.
    cond = real.cond if "mix" in where else drawing.labels(batch, "d_reg")
    assert cond is not None
    rows["latents"] = drawing.latents("d_reg", state, batch, root_key, cond)
    if "mix" in where:
        rows["mix"] = _mix(drawing, "d_reg", state, root_key, cond.shape[0])
    if "fake" in where:
        rows["fake"] = drawing.seen("d_reg/fake", state, root_key, cond.shape[0])
    return rows


def _after_d_reg(config: ExperimentConfig, moving: Mapping[str, Any], context: Context, aux: Aux) -> dict[str, Any]:
    if "logits/real" not in aux.rows or has_pairs(config):
        return dict(moving)
    seen = _observe(config, aux.rows["logits/real"], aux, moving)
    return dict(moving) | {name: seen[name] for name in seen if is_steered(config, name)}
