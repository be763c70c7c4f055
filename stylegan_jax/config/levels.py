"""Progressive growing as a schedule over images shown (PG §2, SG1 App. C): the levels that a configuration implies.

A run without growing is one level. Everything here is a pure function of the configuration; steps count iterations, and
`nimg` counts images.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import NamedTuple

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config.arch import clips_of
from stylegan_jax.config.fields import ExperimentConfig


class Level(NamedTuple):
    """The part of a run at one image size.

    Attributes:
        height: image height.
        first: its first step.
        end: the first step after it.
        start: images shown before its first step.
        batch_size: images per iteration.
        g_lr: learning rate of the generator.
        d_lr: learning rate of the discriminator.
        fade_start: images shown when its fade begins.
        fade_length: images until its layers are fully faded in; 0: no fade.
        restarts: steps before which the optimisers are reset.
        frames: images per example: of a clip, every frame counts as an image shown.
    """

    height: int
    first: int
    end: int
    start: int
    batch_size: int
    g_lr: float
    d_lr: float
    fade_start: int = 0
    fade_length: int = 0
    restarts: tuple[int, ...] = ()
    frames: int = 1

    def nimg(self, step: int) -> int:
        """Return the images shown before a step of this level, or before its end."""
        return self.start + (step - self.first) * self.batch_size * self.frames

    def examples(self, step: int) -> int:
        """Return the examples (images or clips) shown before a step."""
        return self.nimg(step) // self.frames


@functools.lru_cache(maxsize=16)
def levels(config: ExperimentConfig) -> tuple[Level, ...]:
    """Return the levels of a run in order.

    In a run that grows, each level except the first is faded in over `growing.fade_kimg` and then trained for
    `growing.train_kimg`; the last is trained to the end. A level begins with the first whole batch after its start.
    """
    t, g = config.train, config.growing
    total = round(t.total_kimg * 1000)
    sizes, rule = heights(config), clips_of(config.model)
    frames = rule.frames if rule else 1
    train, fade = round(g.train_kimg * 1000), round(g.fade_kimg * 1000)
    out: list[Level] = []
    step = nimg = 0
    for k, height in enumerate(sizes):
        is_last = k == len(sizes) - 1
        batch = t.batch_size if is_last or not g.batch_sizes else g.batch_sizes[k]
        g_lr, d_lr = (t.g_lr, t.d_lr) if is_last or not g.learning_rates else (g.learning_rates[k],) * 2
        begin, end = k * (train + fade) - fade * (k > 0), total if is_last else k * (train + fade) + train
        count = lambda until, nimg=nimg, batch=batch: max(0, math.ceil((until - nimg) / (batch * frames)))
        restarts = {step, step + count(begin + fade)} if k and g.reset_moments else set()
        last = step + count(min(end, total))
        restarts = tuple(sorted(s for s in restarts if s < last))
        out.append(Level(height, step, last, nimg, batch, g_lr, d_lr, begin, fade if k else 0, restarts, frames))
        step, nimg = last, out[-1].nimg(last)
    return tuple(out)


def heights(config: ExperimentConfig) -> list[int]:
    """Return the image heights of a run, from `growing.start` to the model's; without growing, the model's only."""
    height = config.model.image_shape[0]
    start = config.growing.start or height
    return [start * 2**i for i in range(int(math.log2(height // start)) + 1)]


def level_at(config: ExperimentConfig, step: int) -> int:
    """Return the number of a step's level; for steps after the end, the last."""
    plan = levels(config)
    return next((k for k, level in enumerate(plan) if step < level.end), len(plan) - 1)


def images_shown(config: ExperimentConfig, step: int) -> int:
    """Return the images shown before a step."""
    return levels(config)[level_at(config, step)].nimg(step)


def at_level(config: ExperimentConfig, level: Level) -> ExperimentConfig:
    """Return the configuration with a level's batch size and learning rates."""
    train = dataclasses.replace(config.train, batch_size=level.batch_size, g_lr=level.g_lr, d_lr=level.d_lr)
    return config if train == config.train else dataclasses.replace(config, train=train)


def is_grown(config: ExperimentConfig, step: int) -> bool:
    """Return whether all layers are fully faded in after a step, so that the model is that of `config.model`."""
    last = levels(config)[-1]
    return step > last.first and images_shown(config, step) >= last.fade_start + last.fade_length


def describe_levels(config: ExperimentConfig) -> list[str]:
    """Return one line per level if the run grows."""
    plan = levels(config)
    fades = lambda x: f", faded in over {x.fade_length / 1000:g} kimg" if x.fade_length else ""
    return [
        f"  height {x.height}: from {x.start / 1000:g} kimg{fades(x)}, batch {x.batch_size}, learning rates {x.g_lr:g} "
        f"and {x.d_lr:g}"
        for x in plan
        if len(plan) > 1
    ]


def check_growing(config: ExperimentConfig) -> None:
    """Check `config.growing`.

    Raises:
        ConfigError: no doubling leads from the first height to the model's, the model cannot grow, a table has the
            wrong length, the run is too short, or a level has no iteration.
    """
    g, height, base = config.growing, config.model.image_shape[0], config.model.base_size[0]
    if g.start == 0:
        return
    known = [base * 2**i for i in range(config.model.num_blocks - 1)]
    if g.start not in known:
        raise ConfigError(
            f"config.growing.start is {g.start}; to reach height {height} (config.model.resolution) by doubling, it "
            f"must be one of {known}; 0: no growing"
        )
    if not config.model.grows:
        raise ConfigError(
            f"config.growing.start is {g.start} with config.model.grows=False, so the model lacks the RGB layers of "
            "smaller images; set config.model.grows=True, or config.growing.start=0"
        )
    if config.train.freeze_d:
        raise ConfigError(
            f"config.train.freeze_d is {config.train.freeze_d} with config.growing.start={g.start}; it counts layers "
            "from the image, whose size changes; set one of them to 0"
        )
    if g.start % config.mesh.spatial:
        raise ConfigError(
            f"config.mesh.spatial is {config.mesh.spatial}; it must divide config.growing.start={g.start}"
        )
    if g.train_kimg <= 0 or g.fade_kimg < 0:
        raise ConfigError(
            f"config.growing.train_kimg is {g.train_kimg} and fade_kimg {g.fade_kimg}; the first must be greater than "
            "0, the second must not be negative"
        )
    below = heights(config)[:-1]
    for key in ("batch_sizes", "learning_rates"):
        table = getattr(g, key)
        if table and len(table) != len(below):
            raise ConfigError(
                f"config.growing.{key} is {table}, {len(table)} entries; set one for each height below {height}: "
                f"{below}; () uses config.train's everywhere"
            )
    needed = len(below) * (g.train_kimg + g.fade_kimg)
    if round(config.train.total_kimg * 1000) < round(needed * 1000):
        raise ConfigError(
            f"config.train.total_kimg is {config.train.total_kimg:g}; growing from {g.start} to {height} takes "
            f"{len(below)} x (growing.train_kimg {g.train_kimg:g} + growing.fade_kimg {g.fade_kimg:g}) = {needed:g} "
            "kimg; train longer, make the levels shorter, or start higher"
        )
    for level in levels(config):
        if level.first == level.end:
            raise ConfigError(
                f"config.growing.train_kimg={g.train_kimg:g} and fade_kimg={g.fade_kimg:g} leave no iteration at "
                f"height {level.height} with batches of {level.batch_size}; make them longer, or the batches smaller"
            )
