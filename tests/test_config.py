"""Every rule of the configuration: an error that names the value and the fix, and configs that build."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
import math
import re
from pathlib import Path

import jax
import pytest

from configs import common, tiny
from stylegan_jax import config as config_lib, models
from stylegan_jax.base.trees import flatten
from stylegan_jax.config import ConfigError, build, resume
from stylegan_jax.config.documented import field
from stylegan_jax.convert.arguments import shared
from stylegan_jax.losses.adversarial import LOSSES
from stylegan_jax.ops.bias_act import ACTIVATIONS
from stylegan_jax.train.estimate import dry_run
from stylegan_jax.train.loop import train
from stylegan_jax.train.names import REGISTRIES, check_config

FOLDER = Path(__file__).parents[1] / "configs"
RECIPES = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in ("common", "__init__"))


def make_tree(**changes):
    """Return nested dicts of a valid configuration with changes by dotted name ('a__b' for 'a.b')."""
    tree = copy.deepcopy(common.get_config().to_dict())
    tree["data"]["source"] = "synthetic"
    for key, value in changes.items():
        group, _, leaf = key.rpartition("__")
        (tree[group] if group else tree)[leaf] = value
    return tree


def error(**changes):
    with pytest.raises(ConfigError) as raised:
        config_lib.from_dict(make_tree(**changes))
    return str(raised.value)


def test_the_defaults_are_valid_but_for_the_missing_data():
    config = config_lib.from_dict(make_tree())
    assert config.model.image_shape == (256, 256, 3)
    assert config.model.num_blocks == 7
    with pytest.raises(ConfigError, match=re.escape("config.data.path is empty")):
        config_lib.from_dict(common.get_config())


def test_a_tilde_is_the_home_folder_in_every_key_that_is_a_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    keys = {"data__path": "~/a.zip", "train__init_from": "~/b.pkl", "train__compilation_cache": "~/c",
            "eval__cache": "~/d", "eval__features_path": "vgg=~/e,inception=~/f"}  # fmt: skip
    config = config_lib.from_dict(make_tree(**keys))
    assert config.data.path == "/home/me/a.zip" and config.train.init_from == "/home/me/b.pkl"
    assert (config.train.compilation_cache, config.eval.cache) == ("/home/me/c", "/home/me/d")
    assert config.eval.features_path == "vgg=/home/me/e,inception=/home/me/f"
    assert config_lib.from_dict(make_tree(name="~/x")).name == "~/x"


RULES = [  # (changes, what the text must name: key, value, fix)
    # structure and types
    ({"model__resolutoin": 1}, ["model.resolutoin", "did you mean 'resolution'?"]),
    ({"modle": 1}, ["modle", "did you mean 'model'?"]),
    ({"train__zzzzzzzz": 1}, ["train.zzzzzzzz", "known: batch_size"]),
    ({"model": 3}, ["config.model is 3", "a group of keys"]),
    ({"train__batch_size": "32"}, ["config.train.batch_size is '32' (str)", "must be int"]),
    ({"train__batch_size": 3.5}, ["config.train.batch_size is 3.5 (float)", "must be int"]),
    ({"train__batch_size": True}, ["config.train.batch_size is True (bool)", "must be int"]),
    ({"train__g_lr": None}, ["config.train.g_lr is None (NoneType)", "must be float"]),
    ({"model__use_noise": 1}, ["config.model.use_noise is 1 (int)", "must be bool"]),
    ({"data__path": 5}, ["config.data.path is 5 (int)", "must be str"]),
    ({"model__base_size": (4, 4, 4)}, ["config.model.base_size is (4, 4, 4)", "2 entries, such as (4, 4)"]),
    ({"model__base_size": ("4", 4)}, ["config.model.base_size is '4'", "must be int"]),
    # names
    ({"model__g_arch": "skipp"}, ["config.model.g_arch is 'skipp'", "did you mean 'skip'?"]),
    ({"model__d_arch": "resnett"}, ["config.model.d_arch is 'resnett'", "did you mean 'resnet'?"]),
    ({"model__compute_dtype": "bf16"}, ["config.model.compute_dtype is 'bf16'", "bfloat16"]),
    ({"data__labels": "class"}, ["config.data.labels is 'class'", "subfolders"]),
    ({"data__on_bad_image": "ignore"}, ["config.data.on_bad_image is 'ignore'", "skip"]),
    ({"data__cache": "disk"}, ["config.data.cache is 'disk'", "host"]),
    ({"train__on_nan": "skipp"}, ["config.train.on_nan is 'skipp'", "did you mean 'skip'?"]),
    ({"train__freeze_mapping": "embedding"}, ["config.train.freeze_mapping is 'embedding'", "did you mean 'embed'?"]),
    ({"log__best_mode": "lowest"}, ["config.log.best_mode is 'lowest'", "min, max"]),
    ({"train__posthoc_ema": (0.05, 0.3)}, ["config.train.posthoc_ema is (0.05, 0.3)", "must be in (0, 0.288]", "EDM2"]),
    ({"train__posthoc_ema": (0.1, 0.1)}, ["config.train.posthoc_ema is (0.1, 0.1)", "remove repeated"]),
    ({"log__average_ticks": -1}, ["config.log.average_ticks is -1", "must not be negative"]),
    # model
    ({"model__remat_from": -1}, ["config.model.remat_from is -1", "must not be negative", "0: none"]),
    ({"model__remat_from": 512}, ["config.model.remat_from is 512", "up to the resolution 256", "such as 128"]),
    ({"model__base_size": (0, 4)}, ["config.model.base_size is (0, 4)", "at least 1"]),
    ({"model__resample_filter": ()}, ["config.model.resample_filter is ()", "must not sum to zero"]),
    ({"model__resample_filter": (1, -1)}, ["config.model.resample_filter is (1.0, -1.0)", "must not sum to zero"]),
    ({"model__mbstd_channels": -1}, ["config.model.mbstd_channels is -1", "must not be negative", "0: none"]),
    ({"model__mbstd_channels": 3}, ["config.model.mbstd_channels is 3", "must divide 512 channels"]),
    ({"model__resolution": 200}, ["config.model.resolution is 200", "power of two", "nearest is 256"]),
    ({"model__resolution": 4}, ["config.model.resolution is 4", "nearest is 8"]),
    ({"model__resolution": 100, "model__base_size": (3, 3)}, ["config.model.resolution is 100", "nearest is 96"]),
    ({"model__img_channels": 0}, ["config.model.img_channels is 0", "at least 1"]),
    ({"model__z_dim": 0}, ["config.model.z_dim is 0", "at least 1"]),
    ({"model__w_dim": -3}, ["config.model.w_dim is -3", "at least 1"]),
    ({"model__channel_max": 0}, ["config.model.channel_max is 0", "at least 1"]),
    ({"model__mbstd_group": 0}, ["config.model.mbstd_group is 0", "at least 1"]),
    ({"model__label_dim": -2}, ["config.model.label_dim is -2", "at least -1", "-1: from the data"]),
    ({"model__conv_clamp": -1.0}, ["config.model.conv_clamp is -1.0", "must not be negative", "0: not clamped"]),
    ({"model__channel_base": 128}, ["config.model.channel_base is 128", "use at least 256"]),
    (
        {"model__channel_base": 20, "model__resolution": 16, "model__base_size": (2, 2)},
        ["config.model.channel_base is 20", "use at least 32"],  # three doublings from a nominal 4
    ),
    ({"model__mapping_layers": 0}, ["config.model.mapping_layers is 0", "at least 1"]),
    *(
        ({f"model__{key}": -1}, [f"config.model.{key} is -1", "must not be negative"])
        for key in ("mapping_embed_dim", "mapping_layer_dim", "num_lowp_res", "d_mapping_layers", "cmap_dim")
    ),
    ({"model__compute_dtype": "float16", "model__conv_clamp": 0}, ["'float16'", "set conv_clamp=256"]),
    # numbers
    *(
        ({key: value}, [f"config.{key.replace('__', '.')} is {value}", "greater than 0"])
        for key, value in {
            "train__batch_size": 0,
            "train__total_kimg": -1.0,
            "train__g_lr": 0.0,
            "train__d_lr": -0.001,
            "train__eps": 0.0,
            "train__grad_accum": 0,
            "loss__pl_batch_shrink": 0,
            "data__workers": 0,
            "data__synthetic_images": 0,
            "log__tick_kimg": 0.0,
            "log__grid_ticks": 0,
            "log__checkpoint_ticks": 0,
            "log__keep_latest": 0,
            "log__grid_columns": 0,
            "log__grid_rows": -1,
        }.items()
    ),
    ({"train__beta1": 1.0}, ["config.train.beta1 is 1.0", "in [0, 1)"]),
    ({"train__beta2": -0.1}, ["config.train.beta2 is -0.1", "in [0, 1)"]),
    ({"train__w_avg_beta": 1.5}, ["config.train.w_avg_beta is 1.5", "in [0, 1)"]),
    *(
        ({f"loss__{key}": -1}, [f"config.loss.{key} is -1", "must not be negative"])
        for key in ("r1_gamma", "gp_weight", "d_reg_interval", "pl_weight", "g_reg_interval")
    ),
    *(
        ({key: -1.0}, [f"config.{key.replace('__', '.')} is -1.0", "must not be negative"])
        for key in (
            "loss__pl_start_kimg",
            "loss__blur_init_sigma",
            "loss__blur_fade_kimg",
            "train__lr_warmup_kimg",
            "train__early_stop_kimg",
        )
    ),
    ({"train__freeze_d": -1}, ["config.train.freeze_d is -1", "must not be negative"]),
    ({"train__max_rollbacks": -1}, ["config.train.max_rollbacks is -1", "must not be negative"]),
    *(
        ({key: value}, [f"config.{key.replace('__', '.')} is {value}", "must not be negative"])
        for key, value in {
            "train__ema_kimg": -1.0,
            "train__ema_rampup": -0.5,
            "train__num_devices": -1,
            "data__cache_limit_mb": -1,
            "data__synthetic_labels": -1,
            "data__subset": -1,
            "log__keep_every_kimg": -1.0,
        }.items()
    ),
    ({"loss__pl_decay": 1.5}, ["config.loss.pl_decay is 1.5", "in [0, 1]"]),
    *(
        ({"loss__style_mixing_prob": value}, [f"style_mixing_prob is {value}", "in [0, 1]", "probability"])
        for value in (-1.0, 1.1)
    ),
    ({"loss__g_reg_interval": 0}, ["config.loss.g_reg_interval is 0", "use 4, or set pl_weight=0"]),
    ({"train__batch_size": 30}, ["config.train.batch_size is 30", "mbstd_group=4", "use 28 or 32"]),
    ({"train__batch_size": 4, "loss__pl_batch_shrink": 8}, ["config.train.batch_size is 4", "pl_batch_shrink=8"]),
    # options
    ({"loss__blur_init_sigma": 10.0}, ["blur_init_sigma is 10.0 and blur_fade_kimg is 0.0", "set both"]),
    ({"loss__blur_fade_kimg": 200.0}, ["blur_init_sigma is 0.0 and blur_fade_kimg is 200.0", "set both"]),
    ({"train__early_stop_kimg": 5.0}, ["early_stop_kimg is 5.0 without config.log.keep_best"]),
    (
        {"train__on_nan": "rollback", "train__max_rollbacks": 0},
        ["max_rollbacks is 0 with on_nan='rollback'", "1 or more"],
    ),
    ({"train__grad_accum": 3}, ["grad_accum is 3", "batch of 32", "mbstd_group=4", "use one of [1, 2, 4, 8]"]),
    ({"train__grad_accum": 16}, ["grad_accum is 16", "use one of [1, 2, 4, 8]"]),
    ({"train__grad_accum": 8, "loss__pl_batch_shrink": 8}, ["grad_accum is 8", "batch / 8 = 4 images"]),
    # data
    ({"data__source": "folder"}, ["config.data.path is empty", "'folder' needs it", "--config.data.path="]),
    ({"data__labels": "subfolders"}, ["'subfolders' needs data.source='folder'", "'synthetic'"]),
    (
        {"data__source": "tfds", "data__path": "x", "data__cache": "device"},
        ["data.cache='device'", "use 'host' or 'off'"],
    ),
]


@pytest.mark.parametrize(
    ("changes", "parts"), RULES, ids=[" ".join(f"{k}={v}" for k, v in c.items()) for c, _ in RULES]
)
def test_a_broken_rule_is_named_with_its_value_and_a_fix(changes, parts):
    text = error(**changes)
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    "changes",
    [
        {"loss__d_reg": "none", "loss__d_reg_interval": 0},
        {"loss__pl_weight": 0, "loss__g_reg_interval": 0},
        {"train__batch_size": 2},  # a group larger than the batch shrinks to it
        {"model__base_size": (4, 6), "model__mbstd_channels": 0},
        {"model__conv_clamp": 0, "model__compute_dtype": "bfloat16"},
        {"train__grad_accum": 32, "model__mbstd_channels": 0, "loss__pl_weight": 0},
        {"train__grad_accum": 8, "loss__pl_batch_shrink": 4},
        {"train__on_nan": "skip", "train__max_rollbacks": 0},
    ],
    ids=str,
)
def test_these_are_allowed(changes):
    values = flatten(dataclasses.asdict(config_lib.from_dict(make_tree(**changes))), ".")
    assert {key: values[key.replace("__", ".")] for key in changes} == changes


def test_whole_numbers_and_lists_are_taken_for_their_type():
    config = config_lib.from_dict(make_tree(train__batch_size=16.0, train__g_lr=1, model__base_size=[4, 8]))
    assert config.train.batch_size == 16
    assert type(config.train.batch_size) is int
    assert type(config.train.g_lr) is float
    assert config.model.base_size == (4, 8)
    assert config.model.image_shape == (256, 512, 3)


def test_a_config_is_frozen_and_survives_json():
    config = config_lib.from_dict(make_tree())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.batch_size = 1
    assert config_lib.from_dict(config.to_dict()) == config
    assert config_lib.model_from_dict(config.to_dict()["model"]) == config.model


def test_a_model_alone_is_checked_too():
    with pytest.raises(ConfigError, match=r"config\.model\.resolution is 6"):
        config_lib.model_from_dict(make_tree(model__resolution=6)["model"])
    with pytest.raises(ConfigError, match=r"config\.model\.g_arch is 'skpi'; did you mean 'skip'"):
        config_lib.model_from_dict(make_tree(model__g_arch="skpi")["model"])


def test_check_devices():
    config = config_lib.from_dict(make_tree(train__batch_size=24))
    for devices in (1, 2, 4, 12):
        config_lib.check_devices(config, devices)
    with pytest.raises(ConfigError, match=r"batch_size is 24; the 5 devices .* use 20 or 25, or set"):
        config_lib.check_devices(config, 5)
    with pytest.raises(ConfigError, match=r"24 / 2 = 12|24; path length uses batch / 2 = 12 images.* use batch 16 or"):
        config_lib.check_devices(config, 8)
    config_lib.check_devices(config_lib.from_dict(make_tree(train__batch_size=24, loss__pl_weight=0)), 8)
    parts = config_lib.from_dict(make_tree(train__batch_size=32, train__grad_accum=4))
    config_lib.check_devices(parts, 4)
    with pytest.raises(ConfigError, match=r"grad_accum is 4, which cuts 16 images into micro-batches of 4; the 8"):
        config_lib.check_devices(parts, 8)


def test_suggest_names_near_ones_or_lists_all():
    assert config_lib.suggest("skpi", ["skip", "orig"]) == "did you mean 'skip'? known: skip, orig"
    assert config_lib.suggest("zzz", ["skip", "orig"]) == "known: skip, orig"


def test_resume_conflicts_tell_what_changes_the_result():
    saved = config_lib.from_dict(make_tree()).to_dict()
    harmless = {"name": "b", "train__total_kimg": 1.0, "train__num_devices": 4, "data__path": "q", "data__workers": 9}
    harmless |= {"data__cache": "off", "log__tick_kimg": 1.0, "log__grid_rows": 2}
    harmful = {
        "train__batch_size": 64,
        "train__seed": 5,
        "model__w_dim": 16,
        "loss__r1_gamma": 1.0,
        "data__xflip": True,
    }
    now = config_lib.from_dict(make_tree(**harmless, **harmful)).to_dict()
    bad, fine = config_lib.resume_conflicts(saved, now)
    assert {line.split(":")[0] for line in bad} == {k.replace("__", ".") for k in harmful}
    assert {line.split(":")[0] for line in fine} == {k.replace("__", ".") for k in harmless}
    assert "train.batch_size: 32 -> 64" in bad
    assert config_lib.resume_conflicts(saved, saved) == ([], [])


FIRST_RUNS = {  # keys that came after the first checkpoints were written -> what these runs did
    "model.grows": False,
    "model.stylegan1.use_styles": True,
    "model.stylegan1.const_input": True,
    "model.stylegan1.use_pixel_norm": False,
    "model.stylegan1.use_instance_norm": True,
    "model.stylegan1.blur_filter": (1.0, 2.0, 1.0),
    "loss.drift_weight": 0.0,
    "growing.start": 0,
    "growing.train_kimg": 600.0,
    "growing.fade_kimg": 600.0,
    "growing.batch_sizes": (),
    "growing.learning_rates": (),
    "growing.reset_moments": True,
    "eval.metrics": "",
    "eval.ticks": 50,
    "eval.num_images": 0,
    "eval.features": "",
    "eval.features_path": "",
    "eval.batch": 16,
    "eval.cache": "auto",
}


def test_a_configuration_from_before_a_key_was_added_is_the_same_run():
    config = config_lib.from_dict(tiny.get_config())
    before = json.loads(json.dumps(config.to_dict()))
    del before["growing"], before["eval"], before["model"]["stylegan1"]
    del before["model"]["grows"], before["loss"]["drift_weight"]
    assert config_lib.resume_conflicts(before, config.to_dict()) == ([], [])
    assert config_lib.from_dict(before) == config
    assert config_lib.model_from_dict(before["model"]) == config.model
    values = flatten(dataclasses.asdict(config_lib.from_dict(before)), ".")
    assert {key: values[key] for key in FIRST_RUNS} == FIRST_RUNS


def fields_of(values, prefix=""):
    """Return {dotted key: field} of a dataclass and those inside it."""
    out = {}
    for f in dataclasses.fields(values):
        inner = getattr(values, f.name)
        out |= {prefix + f.name: f}
        out |= fields_of(inner, f"{prefix}{f.name}.") if dataclasses.is_dataclass(inner) else {}
    return out


def test_every_key_has_its_default_and_its_meaning_on_its_field():
    found = fields_of(config_lib.ExperimentConfig())
    assert common.get_config().to_dict() == dataclasses.asdict(config_lib.ExperimentConfig())
    for key, f in found.items():
        assert f.metadata["doc"], key
    for group in {type(f.default) for f in found.values() if dataclasses.is_dataclass(f.default)}:
        assert group.__doc__ and not group.__doc__.startswith(group.__name__ + "("), group
    names = {key for key, f in found.items() if f.metadata["choices"]}
    assert names.isdisjoint(REGISTRIES) and found.keys() >= set(REGISTRIES)


def test_a_new_key_is_one_field(monkeypatch):
    added = [("strictness", float, field(0.5, "how strict, per image", least=0, below=1))]
    larger = dataclasses.make_dataclass("LossConfig", added, bases=(config_lib.LossConfig,), frozen=True)
    entry = [("loss", larger, field(larger(), "with the new key"))]
    whole = dataclasses.make_dataclass("ExperimentConfig", entry, bases=(config_lib.ExperimentConfig,), frozen=True)
    for module in (build, resume):
        monkeypatch.setattr(module, "ExperimentConfig", whole)
    stored = make_tree()  # without the key
    config = config_lib.from_dict(stored)
    assert config.loss.strictness == 0.5
    assert config_lib.resume_conflicts(stored, config.to_dict()) == ([], [])
    assert error(loss__strictness=1) == "config.loss.strictness is 1.0; it must be in [0, 1) (how strict, per image)"


NAMES = [  # (changes, what the text must name) for keys whose values are the names of a registry
    ({"model__activation": "gelu"}, ["config.model.activation is 'gelu'", "lrelu"]),
    ({"data__source": "npz"}, ["config.data.source is 'npz'", "memory"]),
    ({"data__resize_filter": "cubic"}, ["config.data.resize_filter is 'cubic'", "lanczos"]),
    (
        {"loss__d_reg": "r1+r3"},
        ["config.loss.d_reg is 'r1+r3'; 'r3' is not a penalty", "join several with +, as in 'r1+r2'"],
    ),
    ({"log__trackers": ("tensorboard", "wand")}, ["config.log.trackers is ('tensorboard', 'wand')", "mean 'wandb'"]),
    ({"loss__adversarial": "logistics"}, ["config.loss.adversarial is 'logistics'", "did you mean 'logistic'?"]),
]


@pytest.mark.parametrize(("changes", "parts"), NAMES, ids=[next(iter(changes)) for changes, _ in NAMES])
def test_an_unknown_name_of_a_registry_is_an_error_at_the_start(changes, parts, tmp_path):
    config = config_lib.from_dict(make_tree(**changes))
    for start in (check_config, dry_run, lambda config: train(config, tmp_path / "run")):
        with pytest.raises(ConfigError) as raised:
            start(config)
        assert all(part in str(raised.value) for part in parts)
    assert not (tmp_path / "run").exists()


def test_a_new_loss_is_one_entry_in_its_registry(monkeypatch):
    monkeypatch.setitem(LOSSES, "mine", LOSSES["hinge"])
    check_config(config_lib.from_dict(make_tree(loss__adversarial="mine")))


def test_what_is_named_twice_for_lack_of_an_import_is_the_same():
    assert set(config_lib.ARCH_RULES) == set(models.ARCHS)
    assert set(shared.ACTIVATIONS) <= set(ACTIVATIONS)


def test_resume_names_keys_that_only_one_side_has():
    bad, fine = config_lib.resume_conflicts({"loss": {"old": 1}}, {"loss": {"new": 2}})
    assert bad == ["loss.new: '(absent)' -> 2", "loss.old: 1 -> '(absent)'"]
    assert fine == []


def load(name):
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def count(init):
    shapes = jax.eval_shape(init, jax.random.key(0))["params"]
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_builds_and_keeps_what_its_docstring_promises(name):
    module = load(name)
    tree = module.get_config()
    assert set(flatten(tree.to_dict())) == set(flatten(common.get_config().to_dict()))
    tree.data.path = tree.data.path or "given-by-the-user"
    tree.encoder.model = "given-by-the-user" if tree.task == "encoder" else ""
    tree.model.label_dim = max(tree.model.label_dim, 0)
    gan = models.build(config_lib.from_dict(tree).model)
    counts = count(gan.init_g), count(gan.init_d)
    assert f"configs/{name}.py" in module.__doc__
    for part in ("Command:", "Hardware:", "Expected:"):
        assert part in module.__doc__
    promise = re.search(r"generator ([\d,]+); discriminator ([\d,]+)", module.__doc__)
    if promise:
        assert counts == tuple(int(v.replace(",", "")) for v in promise.groups())


def test_no_network_is_built_while_the_label_length_is_the_datas():
    with pytest.raises(ConfigError, match=r"label_dim is -1, which leaves it to the data; .* set it, to 0 for no"):
        models.build(config_lib.from_dict(make_tree()).model)


@pytest.mark.parametrize(("argument", "resolution"), [("128,8", 128), ("1024,4", 1024), ("32,1", 32)])
def test_auto_is_valid_for_any_resolution_and_devices(argument, resolution):
    tree = load("auto").get_config(argument)
    tree.data.path = "given-by-the-user"
    config = config_lib.from_dict(tree)
    config_lib.check_devices(config, int(argument.split(",")[1]))
    assert config.model.resolution == resolution


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_are_finite(value):
    tree = common.get_config()
    tree.augment.p_max = value
    with pytest.raises(ConfigError, match=r"config.augment.p_max is .*; it must be finite"):
        config_lib.from_dict(tree)


def test_a_stddev_group_that_is_off_asks_nothing_of_the_batch():
    tree = common.get_config()
    tree.data.path, tree.loss.pl_weight = "x.zip", 0.0
    tree.train.batch_size, tree.model.mbstd_channels = 6, 0
    assert config_lib.from_dict(tree).train.batch_size == 6


R3GAN = {"model__arch": "r3gan", "model__mbstd_channels": 0, "loss__style_mixing_prob": 0.0, "model__resolution": 8}
STAGES = {"widths": (8, 8), "groups": (4, 4), "blocks": (1, 1)}
R3GAN |= {"model__r3gan": STAGES}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model__r3gan": STAGES | {"groups": (4, 5)}}, "5 must divide expansion x width = 2 x 8 = 16, as 4 does"),
        (
            {"model__r3gan": STAGES | {"widths": (8, 8, 8)}},
            r"widths has 3 entries, .* resolution 8 has 2 stages, of heights 4, 8",
        ),
        ({"loss__style_mixing_prob": 0.9}, "r3gan has one style slot, so there is nothing to mix: set it to 0"),
        ({"model__mbstd_channels": 1}, "r3gan has no minibatch stddev: set it to 0"),
        ({"model__grows": True}, "r3gan cannot grow: set it to False"),
        ({"schedule__end_kimg": 5.0, "schedule__start_kimg": 6.0, "schedule__g_lr": 0.1}, "must end after it starts"),
        ({"schedule__end_kimg": 5.0}, "the final values that are set are none; set end_kimg and at least one of g_lr"),
        ({"schedule__g_lr": 0.1}, r"end_kimg is 0 and the final values that are set are \['g_lr'\]"),
        ({"schedule__g_lr": 0.0, "schedule__end_kimg": 5.0}, "must be above 0, or -1 for a constant rate"),
        ({"schedule__beta2": -0.5, "schedule__end_kimg": 5.0}, "must be at least 0, or -1"),
        ({"schedule__augment_p": 0.5, "schedule__end_kimg": 5.0}, "only the strength of mode 'fixed' is scheduled"),
        (
            {"schedule__augment_p": 2.0, "schedule__end_kimg": 5.0, "augment__mode": "fixed"},
            "at most config.augment.p_max=1",
        ),
    ],
)
def test_r3gan_and_schedules_name_the_rule_and_the_fix(changes, text):
    assert re.search(text, error(**(R3GAN | changes)))
    config_lib.from_dict(make_tree(**R3GAN))
