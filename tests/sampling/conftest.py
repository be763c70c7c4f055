"""A model folder that the tests of this folder share."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from configs import tiny
from stylegan_jax import models
from stylegan_jax.config import from_dict
from stylegan_jax.convert import write_model_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return the folder of an untrained StyleGAN2 of the tiny recipe, without labels."""
    tree = tiny.get_config()
    tree.model.label_dim = 0
    config = from_dict(tree).model
    g = jax.device_get(jax.jit(models.build(config).init_g)(jax.random.key(1)))
    g["w_avg"] = np.ones(config.w_dim, np.float32)
    path = tmp_path_factory.mktemp("folder") / "model"
    write_model_folder(path, dataclasses.asdict(config), {"g_ema": g}, {"label_kind": "none", "note": "random"})
    return path
