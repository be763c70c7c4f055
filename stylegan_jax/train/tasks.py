"""The registry of tasks, and the task of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from stylegan_jax.base.spec import SourceInfo
from stylegan_jax.config import ExperimentConfig, check_choice
from stylegan_jax.data import FittedSource
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train.cells import grid_images, grid_labels
from stylegan_jax.train.encoder import generator as encoded, task as encoder
from stylegan_jax.train.gan import task as gan
from stylegan_jax.train.startup import resolve_labels
from stylegan_jax.train.task import Task


class Kind(NamedTuple):
    """A kind of task.

    Attributes:
        make: (config, layout, **arguments from `of_data`) -> the task.
        resolve: config -> config completed from other runs, before anything is checked or opened.
        with_data: (config, `SourceInfo`) -> config completed from the data.
        of_data: (config, data) -> the arguments of `make` that depend on the data.
    """

    make: Callable[..., Task]
    resolve: Callable[[ExperimentConfig], ExperimentConfig]
    with_data: Callable[[ExperimentConfig, SourceInfo], ExperimentConfig]
    of_data: Callable[[ExperimentConfig, FittedSource], dict[str, Any]]


def _labels(config: ExperimentConfig, source: FittedSource) -> dict[str, Any]:
    return {"label_kind": source.info().label_kind, "grid_label": grid_labels(config, source)}


def _targets(config: ExperimentConfig, source: FittedSource) -> dict[str, Any]:
    return {"targets": source.gather(grid_images(config, source))}


TASKS: dict[str, Kind] = {
    "gan": Kind(gan.make_task, lambda config: config, resolve_labels, _labels),
    "encoder": Kind(
        encoder.make_task,
        encoded.resolve,
        lambda config, info: config,
        lambda config, source: _labels(config, source) | _targets(config, source),
    ),
}
"""Value of `config.task` -> its kind."""


def resolve(config: ExperimentConfig) -> ExperimentConfig:
    """Complete a configuration from other runs: for an encoder, with the architecture of its generator.

    Raises:
        ConfigError: there is no such task or no such generator, or an encoder cannot invert it.
    """
    check_choice("task", config.task, TASKS)
    return TASKS[config.task].resolve(config)


def with_data(config: ExperimentConfig, info: SourceInfo) -> ExperimentConfig:
    """Complete a configuration from the data: for a GAN, with the length of its labels."""
    return TASKS[config.task].with_data(config, info)


def make_task(config: ExperimentConfig, layout: Layout, source: FittedSource | None = None) -> Task:
    """Return the task of a resolved configuration; without `source`, labels have the length that it sets.

    Raises:
        ConfigError: something that the task needs is missing or does not fit.
    """
    check_choice("task", config.task, TASKS)
    kind = TASKS[config.task]
    return kind.make(config, layout, **(kind.of_data(config, source) if source else {}))
