"""Small random models as model folders; with loud noise and visible styles."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from configs import tiny
from stylegan_jax import models
from stylegan_jax.config import from_dict
from stylegan_jax.convert import write_model_folder

CLASSES = 3
SMALL3 = {"num_layers": 2, "num_critical": 1, "margin_size": 2, "filter_size": 3, "channel_base": 64, "channel_max": 4}
ZOO = {
    "grey": {"img_channels": 1},
    "rgba": {"img_channels": 4},
    "stylegan1": {"arch": "stylegan1", "w_dim": 8},
    "stylegan3": {"arch": "stylegan3", "resolution": 16, "label_dim": 2, "stylegan3": SMALL3},
}


def write_random(folder, **changes) -> None:
    tree = tiny.get_config()
    tree.model.update({"compute_dtype": "float32", "label_dim": 0, **changes})
    config = from_dict(tree).model
    gan = models.build(config)

    draw = np.random.default_rng(1)
    if config.arch == "stylegan3":  # its buffers are computed
        g = jax.device_get(jax.jit(gan.init_g)(jax.random.key(1)))
    else:  # without compiling anything

        def values(path, x):
            loud = "noise_strength" in str(path[-1])
            return np.full(x.shape, 0.5, x.dtype) if loud else draw.standard_normal(x.shape, x.dtype)

        g = jax.tree.map_with_path(values, jax.eval_shape(gan.init_g, jax.random.key(1)))
    g["w_avg"] = np.random.default_rng(0).standard_normal(config.w_dim).astype(np.float32)
    write_model_folder(folder, dataclasses.asdict(config), {"g_ema": g}, {})


@pytest.fixture(scope="session")
def classes_model(tmp_path_factory):
    """Return the folder of a StyleGAN2 with classes."""
    folder = tmp_path_factory.mktemp("classes") / "model"
    write_random(folder, label_dim=CLASSES)
    return folder


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """Return {name: folder} of `ZOO`."""
    root = tmp_path_factory.mktemp("zoo")
    for name, changes in ZOO.items():
        write_random(root / name, **changes)
    return {name: root / name for name in ZOO}
