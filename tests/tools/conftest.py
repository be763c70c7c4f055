"""A small random StyleGAN2 with classes, loud noise and visible styles, as a model folder."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from configs import tiny
from stylegan_jax import models
from stylegan_jax.config import from_dict
from stylegan_jax.convert import write_model_folder

CLASSES = 3


@pytest.fixture(scope="session")
def classes_model(tmp_path_factory):
    """Return the folder."""
    tree = tiny.get_config()
    tree.model.update({"label_dim": CLASSES, "compute_dtype": "float32"})
    config = from_dict(tree)
    gan = models.build(config.model)

    def louder(path, x):
        return np.full_like(x, 0.5) if "noise_strength" in str(path[-1]) else np.asarray(x)

    g = jax.tree.map_with_path(louder, jax.device_get(jax.jit(gan.init_g)(jax.random.key(1))))
    g["w_avg"] = np.random.default_rng(0).standard_normal(config.model.w_dim).astype(np.float32)
    folder = tmp_path_factory.mktemp("classes") / "model"
    write_model_folder(folder, config.to_dict()["model"], {"g_ema": g}, {})
    return folder
