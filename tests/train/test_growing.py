"""Progressive growing: the schedule against the original's formula, what is refused, and what is made ahead."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest

from stylegan_jax import models
from stylegan_jax.config import ConfigError, at_level, check_devices, from_dict, images_shown, level_at, levels
from stylegan_jax.models import grown
from stylegan_jax.runtime.ahead import Ahead
from stylegan_jax.train import schedule


def recipe(name: str, *argument, **changes):
    tree = importlib.import_module(f"configs.{name}").get_config(*argument)
    tree.model.label_dim = 0
    tree.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return from_dict(tree)


def original(nimg: int, last: int, start: int, train: float, fade: float) -> tuple[int, float]:
    """Return (height, alpha) by the original's rule: a level of detail that falls from log2(last / start) to 0."""
    phase, kimg = divmod(nimg / 1000, train + fade)
    lod = math.log2(last / start) - phase - max(kimg - train, 0) / fade
    lod = max(lod, 0.0)
    return last >> math.floor(lod), 1 - (lod - math.floor(lod))


@pytest.mark.parametrize(
    ("config", "start"),
    [(recipe("ffhq_stylegan1"), 8), (recipe("ffhq_stylegan1", "A"), 4), (recipe("progressive_quickstart"), 8)],
)
def test_height_and_fade_follow_the_images_shown_as_in_the_original(config, start):
    g, last = config.growing, config.model.resolution
    for step in np.linspace(0, schedule.total_steps(config) - 1, 500).astype(int):
        level, nimg = levels(config)[level_at(config, step)], images_shown(config, step)
        height, alpha = original(nimg, last, start, g.train_kimg, g.fade_kimg)
        ours = float(grown.alpha(level, nimg)) if level.fade_length else 1.0
        if ours == 0 and alpha == 1:  # the first images of a fade: the same function of them as the level below
            height, alpha = 2 * height, 0.0
        assert (level.height, ours) == (height, pytest.approx(alpha, abs=1e-4))


def test_batches_and_rates_of_the_original_by_height():
    config = recipe("ffhq_stylegan1")
    found = {x.height: (x.batch_size, x.g_lr, x.d_lr) for x in levels(config)}
    batches, rates = [256, 128, 64, 32, 32, 32, 32, 32], [0.001] * 4 + [0.0015, 0.002, 0.003, 0.003]
    assert found == {8 << k: (b, r, r) for k, (b, r) in enumerate(zip(batches, rates, strict=True))}
    assert [x.start for x in levels(config)][:3] == [0, 600_064, 1_800_064]  # the first batch after 600 and 1800 kimg
    assert schedule.total_steps(config) == levels(config)[-1].end
    assert images_shown(config, levels(config)[-1].end) >= 25_000_000 > images_shown(config, levels(config)[-1].end - 1)


def test_steps_and_images_follow_each_other_without_gaps():
    config = recipe("progressive_quickstart")
    step = nimg = 0
    for level in levels(config):
        assert (level.first, level.start) == (step, nimg)
        step, nimg = level.end, level.nimg(level.end)
        at = at_level(config, level).train
        assert (at.batch_size, at.g_lr) == (level.batch_size, level.g_lr)
    assert images_shown(config, step) == nimg == 24000
    last = levels(config)[-1]
    assert last.restarts[0] == last.first and images_shown(config, last.restarts[1]) == 9600


def test_a_run_that_does_not_grow_is_one_level():
    config = recipe("tiny")
    (level,) = levels(config)
    assert (level.height, level.first, level.end, level.start, level.fade_length, level.restarts) == (
        8,
        0,
        64,
        0,
        0,
        (),
    )
    assert at_level(config, level) is config and images_shown(config, 13) == 13 * 8


GROW = {"model__arch": "stylegan1", "model__grows": True, "growing__start": 4, "growing__train_kimg": 0.128}
GROW |= {"growing__fade_kimg": 0.128, "growing__batch_sizes": (16,), "loss__d_reg_interval": 0, "loss__pl_weight": 0.0}
GROW |= {"train__total_kimg": 0.32, "model__channel_max": 4, "model__z_dim": 4, "model__w_dim": 4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"growing__start": 6}, r"growing.start is 6; to reach height 8 .* it must be one of \[4\]; 0: no growing"),
        ({"growing__start": 8}, "growing.start is 8"),
        ({"mesh__spatial": 8}, "config.mesh.spatial is 8; it must divide config.growing.start=4"),
        ({"model__grows": False}, "model.grows=False, so the model lacks the RGB layers"),
        ({"growing__batch_sizes": (16, 8)}, r"batch_sizes is \(16, 8\), 2 entries; .* each height below 8: \[4\]"),
        ({"growing__learning_rates": (0.001, 0.002)}, "learning_rates is .* 2 entries"),
        ({"growing__learning_rates": (0.0,)}, "must be greater than 0"),
        ({"growing__batch_sizes": (6,)}, r"batch_size is 6; .* \(at height 4, by config.growing.batch_sizes\)"),
        ({"train__total_kimg": 0.2}, r"total_kimg is 0.2; growing from 4 to 8 takes 1 x .* = 0.256 kimg"),
        ({"growing__train_kimg": 0.0}, "train_kimg is 0.0 and fade_kimg 0.128"),
        ({"growing__train_kimg": 0.001, "growing__fade_kimg": 0.001, "growing__batch_sizes": (400,)}, "no iteration"),
    ],
)
def test_schedules_that_lead_nowhere_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        recipe("tiny", **(GROW | changes))


def test_every_height_has_to_divide_over_the_devices():
    config = recipe("tiny", **(GROW | {"growing__batch_sizes": (12,)}))
    check_devices(config, 4)
    with pytest.raises(ConfigError, match=r"batch_size is 12; the 8 devices must divide it.* \(at height 4, by config"):
        check_devices(config, 8)


def test_what_is_made_ahead_is_made_once_and_its_errors_are_raised():
    made = []

    def make(number):
        made.append(number)
        if number == 2:
            raise MemoryError("too large")
        return number * 10

    with Ahead(make, 3) as ahead:
        ahead.start(1)
        assert [ahead.get(n) for n in (0, 1, 0, 1)] == [0, 10, 0, 10]
        ahead.start(3)  # does not exist
        with pytest.raises(MemoryError, match="too large"):
            ahead.get(2)
        ahead.drop_below(1)
        assert ahead.get(1) == 10 and ahead.get(0) == 0
    assert sorted(made) == [0, 0, 1, 2]


def test_a_checkpoint_is_sampled_at_the_fade_of_its_step():
    config, asked = recipe("tiny", **GROW), []
    whole = models.build(config.model)
    gan = whole._replace(grown=lambda height, alpha=None: asked.append((height, alpha)) or whole)
    for step in (1, 8, 9, 16, 32):
        grown.after(gan, config, step)
    assert [(height, alpha if alpha is None else float(alpha)) for height, alpha in asked] == [
        (4, None),
        (4, None),
        (8, 1 / 16),
        (8, 0.5),
        (8, 1.0),
    ]
