"""Which task a configuration is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stylegan_jax.config import ExperimentConfig, check_choice
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train.gan import task as gan
from stylegan_jax.train.task import Task

TASKS: dict[str, Callable[..., Task]] = {"gan": gan.make_task}
"""`config.task` -> (config, layout, and what the GAN's `make_task` has) -> Task."""


def make_task(config: ExperimentConfig, layout: Layout, **options: Any) -> Task:
    """Return the task of a configuration; options as of the GAN's.

    Raises:
        ConfigError: an unknown task, or what that task raises.
    """
    check_choice("task", config.task, TASKS)
    return TASKS[config.task](config, layout, **options)
