"""Which task a configuration is for."""

from __future__ import annotations

from stylegan_jax.train.gan.task import make_task

__all__ = ["make_task"]
