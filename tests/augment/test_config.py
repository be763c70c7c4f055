"""Bad augmentation keys: errors that name the value and the fix."""

from __future__ import annotations

import re

import pytest

from configs import common
from stylegan_jax.config import ConfigError, from_dict
from stylegan_jax.train.names import check_config

from .helpers import configure


def test_the_default_is_no_augmentation():
    assert configure("none").mode == common.get_config().augment.mode == "none"


RULES = [
    ({"mode": "adaptive"}, ["config.augment.mode is 'adaptive'", "known: none, fixed, ada"]),
    ({"method": "diffaug"}, ["config.augment.method is 'diffaug'", "did you mean 'diffaugment'?"]),
    ({"pipe": "bgcd"}, ["config.augment.pipe is 'bgcd'", "bgcfnc"]),
    ({"p": -0.1}, ["config.augment.p is -0.1", "in [0, config.augment.p_max=1.0]"]),
    ({"p": 1.5}, ["config.augment.p is 1.5", "p_max=1.0"]),
    ({"p_max": 0.0}, ["config.augment.p_max is 0.0", "greater than 0"]),
    ({"interval": 0}, ["config.augment.interval is 0", "greater than 0"]),
    ({"kimg": 0.0}, ["config.augment.kimg is 0.0", "greater than 0"]),
    ({"target": 1.0}, ["config.augment.target is 1.0", "ADA uses 0.6"]),
    ({"mode": "fixed", "p": 0.0}, ["config.augment.p is 0 with mode='fixed'", "DiffAugment as published: 1"]),
    ({"ops": {"hue": -0.5}}, ["config.augment.ops.hue is -0.5", "-1 (the pipe's value)"]),
    ({"ops": {"hue": float("nan")}}, ["config.augment.ops.hue is nan", "must be finite"]),
    ({"strength": {"scale_std": -1.0}}, ["config.augment.strength.scale_std is -1.0", "must not be negative"]),
    ({"strength": {"cutout_size": 1.5}}, ["config.augment.strength.cutout_size is 1.5", "in [0, 1]"]),
    ({"strength": {"imgfilter_bands": (1.0, 1.0)}}, ["imgfilter_bands is (1.0, 1.0)", "4 multipliers"]),
    ({"apa": {"mode": "ada"}}, ["config.augment.apa.mode is 'ada'", "known: none, fixed, apa"]),
    ({"apa": {"mode": "fixed"}}, ["config.augment.apa.p is 0 with mode='fixed'"]),
    ({"apa": {"p": 0.2}}, ["config.augment.apa.p is 0.2 with mode='none'", "mode='fixed' or 'apa'"]),
    ({"apa": {"mode": "apa", "p": 0.95}}, ["config.augment.apa.p is 0.95", "[0, config.augment.apa.p_max=0.9]"]),
    ({"apa": {"p_max": 1.0}}, ["config.augment.apa.p_max is 1.0", "(0, 1)", "no reals would be left"]),
    ({"apa": {"target": -1.0}}, ["config.augment.apa.target is -1.0", "(-1, 1)"]),
    ({"diffaugment": {"translation": 2.0}}, ["config.augment.diffaugment.translation is 2.0", "in [0, 1]"]),
    ({"diffaugment": {"policy": "colour"}}, ["'colour' is not a policy", "did you mean 'color'?", "commas"]),
    ({"diffaugment": {"policy": ""}}, ["policy is ''", "known: color, translation, cutout"]),
]


@pytest.mark.parametrize(("changes", "words"), RULES, ids=lambda v: str(v)[:40] if isinstance(v, dict) else "")
def test_a_broken_rule_is_named(changes, words):
    tree = common.get_config()
    tree.data.source = "synthetic"
    tree.augment.update(changes)
    with pytest.raises(ConfigError) as raised:
        check_config(from_dict(tree))
    for word in words:
        assert re.search(re.escape(word), str(raised.value)), str(raised.value)


@pytest.mark.parametrize("changes", [{"augment.apa.mode": "apa"}, {"loss.lecam_weight": 1e-3}])
def test_what_needs_single_logits_is_an_error_with_a_loss_of_pairs(changes):
    tree = common.get_config()
    tree.data.source = "synthetic"
    tree.update_from_flattened_dict(changes)
    check_config(from_dict(tree))
    tree.loss.adversarial = "relativistic"
    (key, value), *_ = changes.items()
    with pytest.raises(ConfigError) as raised:
        check_config(from_dict(tree))
    assert f"config.{key} is {value!r} with loss.adversarial='relativistic'" in str(raised.value)
    assert "such as 'logistic'" in str(raised.value)


def test_an_unknown_operation_is_named_with_the_nearest():
    tree = common.get_config().to_dict()
    tree["augment"]["ops"]["rotate180"] = 1.0
    with pytest.raises(ConfigError, match=r"augment.ops.rotate180; did you mean 'rotate90'\?"):
        from_dict(tree)
