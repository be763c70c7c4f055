"""ConfigDict in, frozen dataclasses out: once, at start-up, with every cross-field check.

`configs/common.py` holds every key with its default, unit and meaning; the classes here hold the types and the rules.
An error names the value, the rule and the fix, before anything is compiled.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any


class ConfigError(ValueError):
    """A configuration value breaks a rule; the text says which, why and what to write instead."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture; see `configs/common.py` for units and meanings."""

    arch: str
    resolution: int
    base_size: tuple[int, int]
    img_channels: int
    label_dim: int
    z_dim: int
    w_dim: int
    mapping_layers: int
    mapping_lr_mult: float
    mapping_embed_dim: int
    mapping_layer_dim: int
    channel_base: int
    channel_max: int
    g_arch: str
    d_arch: str
    use_noise: bool
    activation: str
    resample_filter: tuple[float, ...]
    conv_clamp: float
    compute_dtype: str
    num_lowp_res: int
    d_mapping_layers: int
    d_mapping_lr_mult: float
    cmap_dim: int
    mbstd_group: int
    mbstd_channels: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image."""
        return (self.resolution, self.resolution * self.base_size[1] // self.base_size[0], self.img_channels)

    @property
    def num_blocks(self) -> int:
        """Number of resolutions, the base one included."""
        return int(math.log2(self.resolution // self.base_size[0])) + 1


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images come from; see `configs/common.py`."""

    source: str
    path: str
    split: str
    labels: str
    xflip: bool
    on_bad_image: str
    resize_filter: str
    cache: str
    cache_limit_mb: int
    workers: int
    synthetic_images: int
    synthetic_labels: int


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Adversarial loss and regularisers; see `configs/common.py`."""

    adversarial: str
    d_reg: str
    r1_gamma: float
    gp_weight: float
    d_reg_interval: int
    pl_weight: float
    pl_decay: float
    pl_batch_shrink: int
    g_reg_interval: int
    style_mixing_prob: float


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length, optimisers and averages; see `configs/common.py`."""

    batch_size: int
    total_kimg: float
    seed: int
    g_lr: float
    d_lr: float
    beta1: float
    beta2: float
    eps: float
    ema_kimg: float
    ema_rampup: float
    w_avg_beta: float
    init_from: str
    num_devices: int
    compilation_cache: str


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Reports, grids and checkpoints; see `configs/common.py`."""

    tick_kimg: float
    grid_ticks: int
    checkpoint_ticks: int
    keep_latest: int
    keep_every_kimg: float
    tensorboard: bool
    grid_columns: int
    grid_rows: int
    progress_bar: bool


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything a run depends on."""

    name: str
    model: ModelConfig
    data: DataConfig
    loss: LossConfig
    train: TrainConfig
    log: LogConfig

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain dicts, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


CHOICES = {
    "model.g_arch": ("skip", "resnet", "orig"),
    "model.d_arch": ("resnet", "skip", "orig"),
    "model.activation": ("lrelu", "relu", "linear", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"),
    "model.compute_dtype": ("auto", "float32", "bfloat16", "float16"),
    "data.source": ("zip", "folder", "tfds", "memory", "synthetic"),
    "data.labels": ("none", "file", "subfolders"),
    "data.on_bad_image": ("error", "skip"),
    "data.resize_filter": ("box", "lanczos"),
    "data.cache": ("auto", "off", "host", "device"),
    "loss.adversarial": ("logistic", "hinge", "minimax", "wasserstein"),
    "loss.d_reg": ("r1", "wgan_gp", "none"),
}

# Keys that may differ between a checkpoint and the command that resumes it; all others decide what is computed.
RESUMABLE_KEYS = (
    "name",
    "train.total_kimg",
    "train.init_from",
    "train.num_devices",
    "train.compilation_cache",
    "data.path",
    "data.cache",
    "data.cache_limit_mb",
    "data.workers",
    "log.",
)


def from_dict(tree: Any) -> ExperimentConfig:
    """Build and check an `ExperimentConfig` from a ConfigDict or nested dict.

    Raises:
        ConfigError: unknown or missing key, wrong type, or a value that breaks a rule.
    """
    plain = tree.to_dict() if hasattr(tree, "to_dict") else tree
    config = _build(ExperimentConfig, plain, "")
    validate(config)
    return config


def model_from_dict(tree: Mapping[str, Any]) -> ModelConfig:
    """Build and check a `ModelConfig` from a nested dict (of a config.json or a model.json)."""
    model = _build(ModelConfig, tree, "model.")
    check_model(model)
    return model


def _build(cls: type, tree: Mapping[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    for key in tree:
        if key not in known:
            raise ConfigError(f"unknown config key {prefix}{key!s}; {suggest(str(key), known)}")
    missing = [k for k in known if k not in tree]
    if missing:
        raise ConfigError(f"missing config key {prefix}{missing[0]}; start from configs/common.py, which has every key")
    return cls(**{k: _convert(tree[k], hints[k], prefix + k) for k in known})


def _convert(value: Any, hint: Any, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"config.{key} is {value!r}; it must be a group of keys")
        return _build(typing.cast(type, hint), value, key + ".")
    origin = typing.get_origin(hint)
    if origin is tuple:
        items = value if isinstance(value, (tuple, list)) else (value,)
        args = typing.get_args(hint)
        if len(args) == 2 and args[1] is not Ellipsis and len(items) != 2:
            raise ConfigError(f"config.{key} is {value!r}; it must have 2 entries, such as (4, 4)")
        return tuple(_convert(v, args[0], key) for v in items)
    assert not isinstance(hint, types.UnionType), key
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is not hint:
        raise ConfigError(f"config.{key} is {value!r} ({type(value).__name__}); it must be {hint.__name__}")
    return value


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """Return 'did you mean …' when a known name is near, else the list of known names."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + "known: " + ", ".join(known)


def validate(config: ExperimentConfig) -> None:
    """Check the rules that involve one or more keys.

    Raises:
        ConfigError: the first rule broken.
    """
    check_model(config.model)
    _check_choices("data", config.data)
    _check_choices("loss", config.loss)
    _check_numbers(config)
    _check_data(config.data)


def _check_choices(group: str, values: Any) -> None:
    for key, choices in CHOICES.items():
        owner, leaf = key.split(".")
        if owner == group and getattr(values, leaf) not in choices:
            raise ConfigError(f"config.{key} is {getattr(values, leaf)!r}; {suggest(getattr(values, leaf), choices)}")


def check_model(model: ModelConfig) -> None:
    """Check the rules of the architecture keys."""
    _check_choices("model", model)
    if min(model.base_size) < 1:
        raise ConfigError(f"config.model.base_size is {model.base_size}; every entry must be at least 1")
    if not model.resample_filter or sum(model.resample_filter) == 0:
        raise ConfigError(f"config.model.resample_filter is {model.resample_filter}; its taps must not sum to zero")
    if model.mbstd_channels < 0:
        raise ConfigError(f"config.model.mbstd_channels is {model.mbstd_channels}; 0 means no minibatch stddev")
    base_h, base_w = model.base_size
    blocks = model.resolution / base_h
    if blocks < 2 or not math.log2(blocks).is_integer():
        near = base_h * 2 ** max(1, round(math.log2(max(blocks, 2))))
        raise ConfigError(
            f"config.model.resolution is {model.resolution}; it must be the base height {base_h} "
            f"(config.model.base_size={model.base_size}) times a power of two; the nearest is {near}"
        )
    if (model.resolution * base_w) % base_h:
        raise ConfigError(f"config.model.base_size is {model.base_size}; resolution * width / height must be whole")
    for key in ("img_channels", "z_dim", "w_dim", "mapping_layers", "channel_base", "channel_max", "mbstd_group"):
        if getattr(model, key) < 1:
            raise ConfigError(f"config.model.{key} is {getattr(model, key)}; it must be at least 1")
    for key in ("mapping_embed_dim", "mapping_layer_dim", "num_lowp_res", "d_mapping_layers", "cmap_dim"):
        if getattr(model, key) < 0:
            raise ConfigError(f"config.model.{key} is {getattr(model, key)}; it must not be negative")
    if model.label_dim < -1:
        raise ConfigError(f"config.model.label_dim is {model.label_dim}; -1 (from the data), 0 (none) or a length")
    if model.conv_clamp < 0:
        raise ConfigError(f"config.model.conv_clamp is {model.conv_clamp}; 0 means none, else a positive bound")
    nominal = 4 * 2 ** (model.num_blocks - 1)  # blocks count from 4, whatever the base height
    if model.channel_base < nominal:
        raise ConfigError(
            f"config.model.channel_base is {model.channel_base}; at resolution {model.resolution} that leaves no "
            f"channel; use at least {nominal}"
        )
    first = min(model.channel_base // 4, model.channel_max)
    if model.mbstd_channels and first % model.mbstd_channels:
        raise ConfigError(f"config.model.mbstd_channels is {model.mbstd_channels}; it must divide {first} channels")


def _check_numbers(config: ExperimentConfig) -> None:
    t, loss, log = config.train, config.loss, config.log
    positive = {
        "train.batch_size": t.batch_size,
        "train.total_kimg": t.total_kimg,
        "train.g_lr": t.g_lr,
        "train.d_lr": t.d_lr,
        "train.eps": t.eps,
        "loss.pl_batch_shrink": loss.pl_batch_shrink,
        "data.workers": config.data.workers,
        "data.synthetic_images": config.data.synthetic_images,
        "log.tick_kimg": log.tick_kimg,
        "log.grid_ticks": log.grid_ticks,
        "log.checkpoint_ticks": log.checkpoint_ticks,
        "log.keep_latest": log.keep_latest,
        "log.grid_columns": log.grid_columns,
        "log.grid_rows": log.grid_rows,
    }
    for key, value in positive.items():
        if not value > 0:
            raise ConfigError(f"config.{key} is {value}; it must be greater than 0")
    for key, value in {"beta1": t.beta1, "beta2": t.beta2, "w_avg_beta": t.w_avg_beta}.items():
        if not 0 <= value < 1:
            raise ConfigError(f"config.train.{key} is {value}; it must be in [0, 1)")
    not_negative = {
        "loss": ("r1_gamma", "gp_weight", "d_reg_interval", "pl_weight", "g_reg_interval", "style_mixing_prob"),
        "train": ("ema_kimg", "ema_rampup", "num_devices"),
        "data": ("cache_limit_mb", "synthetic_labels"),
        "log": ("keep_every_kimg",),
    }
    for group, keys in not_negative.items():
        for key in keys:
            value = getattr(getattr(config, group), key)
            if value < 0:
                raise ConfigError(f"config.{group}.{key} is {value}; it must not be negative")
    if not 0 <= loss.pl_decay <= 1:
        raise ConfigError(f"config.loss.pl_decay is {loss.pl_decay}; it must be in [0, 1]; SG2 uses 0.01")
    if loss.style_mixing_prob > 1:
        raise ConfigError(f"config.loss.style_mixing_prob is {loss.style_mixing_prob}; it is a probability")
    if loss.pl_weight and loss.g_reg_interval == 0:
        raise ConfigError("config.loss.g_reg_interval is 0 with pl_weight > 0; use 4, or set pl_weight=0")
    if loss.d_reg != "none" and loss.d_reg_interval == 0:
        raise ConfigError("config.loss.d_reg_interval is 0; use 16, or set d_reg='none'")
    group = min(config.model.mbstd_group, t.batch_size)
    if t.batch_size % group:
        raise ConfigError(
            f"config.train.batch_size is {t.batch_size}; the minibatch-stddev group (config.model.mbstd_group={group}) "
            f"must divide it; use {t.batch_size // group * group or group} or {(t.batch_size // group + 1) * group}"
        )
    if loss.pl_weight and t.batch_size < loss.pl_batch_shrink:
        raise ConfigError(
            f"config.train.batch_size is {t.batch_size}; with path length it must be at least "
            f"config.loss.pl_batch_shrink={loss.pl_batch_shrink}"
        )
    if config.model.conv_clamp == 0 and config.model.compute_dtype == "float16":
        raise ConfigError("config.model.compute_dtype='float16' overflows without conv_clamp; set conv_clamp=256")


def _check_data(data: DataConfig) -> None:
    if data.source in ("zip", "folder", "tfds") and not data.path:
        raise ConfigError(f"config.data.path is empty; data.source={data.source!r} needs it: --config.data.path=…")
    if data.labels == "subfolders" and data.source != "folder":
        raise ConfigError(f"config.data.labels='subfolders' needs data.source='folder', not {data.source!r}")
    if data.source == "tfds" and data.cache == "device":
        raise ConfigError("config.data.cache='device' does not work with data.source='tfds'; use 'host' or 'off'")


def check_devices(config: ExperimentConfig, num_devices: int) -> None:
    """Check that the batch splits evenly over the devices, path-length part included.

    Raises:
        ConfigError: the batch, or its path-length part, does not divide.
    """
    batch, shrink = config.train.batch_size, config.loss.pl_batch_shrink
    if batch % num_devices:
        raise ConfigError(
            f"config.train.batch_size is {batch}; the {num_devices} devices must divide it; use "
            f"{max(batch // num_devices, 1) * num_devices} or {(batch // num_devices + 1) * num_devices}, or set "
            "config.train.num_devices"
        )
    if config.loss.pl_weight and (batch // shrink) % num_devices:
        raise ConfigError(
            f"config.train.batch_size is {batch}; path length uses batch / {shrink} = {batch // shrink} images, which "
            f"the {num_devices} devices must divide; use batch {num_devices * shrink} or a multiple of it"
        )


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {'a.b.c': value} of nested dicts."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def resume_conflicts(saved: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Compare two `to_dict` trees; return (lines of changes that forbid a resume, lines of harmless changes)."""
    old, new = flatten(saved), flatten(now)
    bad, fine = [], []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key, "(absent)"), new.get(key, "(absent)")
        if a == b:
            continue
        harmless = any(key == k or (k.endswith(".") and key.startswith(k)) for k in RESUMABLE_KEYS)
        (fine if harmless else bad).append(f"{key}: {a!r} -> {b!r}")
    return bad, fine
