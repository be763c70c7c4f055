"""Convert a ConfigDict or nested dict into the frozen dataclasses."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from stylegan_jax.base.errors import ConfigError, suggest
from stylegan_jax.base.flags import expand_home
from stylegan_jax.config.fields import ExperimentConfig, ModelConfig
from stylegan_jax.config.older import renewed
from stylegan_jax.config.rules import check_model, validate


def from_dict(tree: Any) -> ExperimentConfig:
    """Build and check an `ExperimentConfig` from a ConfigDict or nested dict; missing keys have their defaults.

    Raises:
        ConfigError: a key is unknown, a type is wrong, or a value breaks a rule.
    """
    plain = tree.to_dict() if hasattr(tree, "to_dict") else tree
    config = _build(ExperimentConfig, renewed(plain), "")
    validate(config)
    return config


def model_from_dict(tree: Mapping[str, Any]) -> ModelConfig:
    """Build and check a `ModelConfig` from the nested dict of a config.json or model.json; errors as in `from_dict`."""
    model = _build(ModelConfig, tree, "model.")
    check_model(model)
    return model


def _build(cls: type, tree: Mapping[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    for key in tree:
        if key not in known:
            raise ConfigError(f"unknown config key {prefix}{key!s}; {suggest(str(key), known)}")
    made = cls(**{key: _convert(value, hints[key], prefix + key) for key, value in tree.items()})
    paths = {f.name: expand_home(getattr(made, f.name)) for f in dataclasses.fields(made) if f.metadata["is_path"]}
    return dataclasses.replace(made, **paths)


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
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"config.{key} is {value!r}; it must be finite; use a large number for no limit")
    if type(value) is not hint:
        raise ConfigError(f"config.{key} is {value!r} ({type(value).__name__}); it must be {hint.__name__}")
    return value
