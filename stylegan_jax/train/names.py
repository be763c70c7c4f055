"""Check a whole configuration at the start of a run: its rules, and its names against the registries."""

from __future__ import annotations

from collections.abc import Collection

from stylegan_jax.augment import PIPES, diffaugment
from stylegan_jax.config import ConfigError, ExperimentConfig, check_names, suggest, validate
from stylegan_jax.data import SOURCES
from stylegan_jax.data.images import FILTERS
from stylegan_jax.losses import regularizers
from stylegan_jax.losses.adversarial import LOSSES
from stylegan_jax.ops.bias_act import ACTIVATIONS
from stylegan_jax.train.trackers import TRACKERS

REGISTRIES: dict[str, Collection[str]] = {
    "model.activation": ACTIVATIONS,
    "data.source": SOURCES,
    "data.resize_filter": FILTERS,
    "loss.adversarial": LOSSES,
    "augment.pipe": PIPES,
}
"""Configuration key -> the registry whose names are its values."""


def check_config(config: ExperimentConfig) -> None:
    """Check a configuration before any data are read or anything is compiled.

    Raises:
        ConfigError: a rule is broken, or a name is not in its registry.
    """
    validate(config)
    check_names(config, REGISTRIES)
    named = regularizers.split(config.loss.d_reg)
    if len(set(named)) < len(named):
        raise ConfigError(f"config.loss.d_reg is {config.loss.d_reg!r}; name each penalty once")
    for name in named:
        if name not in regularizers.PENALTIES:
            raise ConfigError(
                f"config.loss.d_reg is {config.loss.d_reg!r}; {name!r} is not a penalty; "
                f"{suggest(name, ['none', *regularizers.PENALTIES])}; join several with +, as in 'r1+r2'"
            )
    loss, apa = config.loss, config.augment.apa.mode
    single = {"loss.lecam_weight": loss.lecam_weight, "augment.apa.mode": apa if apa != "none" else ""}
    for key, value in single.items():
        if value and LOSSES[loss.adversarial].needs_real:
            raise ConfigError(
                f"config.{key} is {value!r} with loss.adversarial={loss.adversarial!r}, which compares each fake with "
                f"a real; {key} needs a loss of single logits, such as 'logistic'"
            )
    for name in config.log.trackers:
        if name not in TRACKERS:
            raise ConfigError(f"config.log.trackers is {config.log.trackers}; {suggest(name, list(TRACKERS))}")
    diffaugment.policies(config.augment.diffaugment)
