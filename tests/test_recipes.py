"""The recipes have the published settings (train.py of NVlabs/stylegan2-ada-pytorch; cifarbaseline: stylegan2-ada)."""

from __future__ import annotations

import importlib

import pytest

TABLE = {  # kimg, batch, stddev group, channel base, learning rate, gamma, EMA kimg, ramp, mapping layers, augmentation
    "auto:128,2": (25000, 64, 4, 16384, 0.0025, 0.0512, 20, 0.05, 2, "ada"),
    "auto:256,1": (25000, 16, 4, 16384, 0.0025, 0.8192, 5, 0.05, 2, "ada"),
    "auto:512,4": (25000, 32, 4, 32768, 0.0025, 1.6384, 10, 0.05, 2, "ada"),
    "auto:1024,8": (25000, 32, 4, 32768, 0.002, 6.5536, 10, 0.05, 2, "ada"),
    "stylegan2:256": (25000, 32, 4, 32768, 0.002, 10, 10, 0, 8, "none"),
    "ffhq": (25000, 32, 4, 32768, 0.002, 10, 10, 0, 8, "none"),
    "ffhq256": (25000, 64, 8, 16384, 0.0025, 1, 20, 0, 8, "none"),
    "paper256": (25000, 64, 8, 16384, 0.0025, 1, 20, 0, 8, "ada"),
    "paper512": (25000, 64, 8, 32768, 0.0025, 0.5, 20, 0, 8, "ada"),
    "afhq:wild": (25000, 64, 8, 32768, 0.0025, 0.5, 20, 0, 8, "ada"),
    "brecahad": (25000, 64, 8, 32768, 0.0025, 0.5, 20, 0, 8, "ada"),
    "paper1024": (25000, 32, 4, 32768, 0.002, 2, 10, 0, 8, "ada"),
    "metfaces": (25000, 32, 4, 32768, 0.002, 2, 10, 0, 8, "ada"),
    "cifar10": (100000, 64, 32, 32768, 0.0025, 0.01, 500, 0.05, 2, "ada"),
    "cifarbaseline": (100000, 64, 32, 32768, 0.0025, 0.01, 500, 0.05, 8, "ada"),
}


def load(recipe: str):
    name, _, argument = recipe.partition(":")
    return importlib.import_module(f"configs.{name}").get_config(*[argument] if argument else [])


@pytest.mark.parametrize("recipe", TABLE)
def test_published_settings(recipe):
    c = load(recipe)
    t, m = c.train, c.model
    found = t.total_kimg, t.batch_size, m.mbstd_group, m.channel_base, t.d_lr, c.loss.r1_gamma
    assert (*found, t.ema_kimg, t.ema_rampup, m.mapping_layers, c.augment.mode) == pytest.approx(TABLE[recipe])
    tuned = recipe == "cifar10"  # no path length; the source still lowers the generator's rate for it
    assert t.g_lr == pytest.approx(t.d_lr * (0.8 if tuned else 1))
    assert (c.loss.pl_weight, c.loss.style_mixing_prob) == ((0, 0) if tuned else (2, 0.9))
    assert m.d_arch == ("orig" if tuned else "resnet")
    assert (c.augment.pipe, c.augment.target, c.augment.interval) == ("bgc", 0.6, 4)
    assert c.augment.kimg == (100 if recipe == "metfaces" else 500)
    assert (m.num_lowp_res, m.conv_clamp, m.channel_max, t.w_avg_beta) == (4, 256, 512, 0.995)


@pytest.mark.parametrize("recipe", ["stylegan2:big", "stylegan2:4", "auto:4", "afhq:cow", "cifar10:grey"])
def test_an_argument_that_means_nothing_is_refused(recipe):
    with pytest.raises(ValueError, match=recipe.replace(":", r"\.py:")):
        load(recipe)
