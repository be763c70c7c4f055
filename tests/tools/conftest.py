"""Small random models as model folders; StyleGAN2 with loud noise and visible styles, a StyleGAN3-T, and others."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from configs import common, tiny
from stylegan_jax import models
from stylegan_jax.config import model_from_dict
from stylegan_jax.convert import write_model_folder

NAMES = ("cats", "dogs", "Big birds")
CLASSES = len(NAMES)
ZOO = {
    "grey": {"img_channels": 1},
    "rgba": {"img_channels": 4},
    "stylegan1": {"arch": "stylegan1", "w_dim": 8},
    "r3gan": {
        "arch": "r3gan",
        "mbstd_channels": 0,
        "r3gan": {"widths": (8, 6), "groups": (4, 3), "blocks": (1, 1)},
    },
}


def write_random(folder, initial: bool = False, names: tuple[str, ...] = (), **changes) -> None:
    """Write a StyleGAN or StyleGAN2 with loud noise and visible styles, of random or, compiled, of initial values."""
    tree = tiny.get_config()
    tree.model.update({"compute_dtype": "float32", "label_dim": 0, **changes})
    config = model_from_dict(tree.model.to_dict())
    gan = models.build(config)

    draw = np.random.default_rng(1)

    def values(path, x):  # without compiling anything
        loud = "noise_strength" in str(path[-1])
        return np.full(x.shape, 0.5, x.dtype) if loud else draw.standard_normal(x.shape, x.dtype)

    def louder(path, x):
        return np.full_like(x, 0.5) if "noise_strength" in str(path[-1]) else np.asarray(x)

    if initial:
        g = jax.tree.map_with_path(louder, jax.device_get(jax.jit(gan.init_g)(jax.random.key(1))))
    else:
        g = jax.tree.map_with_path(values, jax.eval_shape(gan.init_g, jax.random.key(1)))
    g["w_avg"] = np.random.default_rng(0).standard_normal(gan.spec.w_avg).astype(np.float32)
    facts = {"label_names": names} if names else {}
    write_model_folder(folder, dataclasses.asdict(config), {"g_ema": g}, facts)


@pytest.fixture(scope="session")
def classes_model(tmp_path_factory):
    """Return the folder of a StyleGAN2 with named classes; of initial values, whose pictures are not saturated."""
    folder = tmp_path_factory.mktemp("classes") / "model"
    write_random(folder, initial=True, names=NAMES, label_dim=CLASSES)
    return folder


@pytest.fixture(scope="session")
def stage_model(tmp_path_factory):
    """Return the folder of a StyleGAN-XL at 16x16 with classes: a stem at 8x8 and a stage; of initial values."""
    folder = tmp_path_factory.mktemp("stage") / "model"
    small = {"num_layers": 3, "num_critical": 1, "margin_size": 2, "filter_size": 2}
    stage = {"up_factors": (2,), "head_layers": (3,), "embed_rows": 4, "embed_dim": 5}
    own = {"arch": "stylegan_xl", "resolution": 16, "stylegan3": small, "stylegan_xl": stage, "z_dim": 6, "w_dim": 8}
    write_random(folder, initial=True, label_dim=CLASSES, **own)
    return folder


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """Return the folder of a random StyleGAN3-T at 16x16."""
    folder = tmp_path_factory.mktemp("real") / "model"
    write_filtered(folder, arch="stylegan3", resolution=16)
    return folder


@pytest.fixture(scope="session")
def staged(tmp_path_factory):
    """Return the folder of a random StyleGAN-XL at 32x32, one stage on a stem of 16x16, with a mean style per class."""
    folder = tmp_path_factory.mktemp("staged") / "model"
    own = {"up_factors": (2,), "head_layers": (3,), "embed_rows": 4, "embed_dim": 5}
    write_filtered(folder, arch="stylegan_xl", resolution=32, stylegan_xl=own)
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Return the folder of a StyleGAN-V at 16x16 with classes, of initial values."""
    folder = tmp_path_factory.mktemp("clips") / "model"
    own = {"max_num_frames": 20, "max_dist": 8, "motion_z_dim": 5, "motion_v_dim": 6, "motion_kernel": 2}
    own |= {"motion_distance": 4, "time_dim": 4, "min_period": 4, "max_period": 16, "concat_res": 8}
    small = {"arch": "stylegan_v", "use_noise": False, "resolution": 16, "label_dim": 2, "stylegan_v": own}
    write_random(folder, initial=True, **small)
    return folder


def write_filtered(folder, **changes) -> None:
    """Write a random StyleGAN3-T or StyleGAN-XL with two classes."""
    small = {"channel_base": 128, "channel_max": 8, "z_dim": 4, "w_dim": 4, "mapping_layers": 1}
    small |= {"d_mapping_layers": 1, "label_dim": 2, "compute_dtype": "float32"}
    tree = common.get_config().model.to_dict()
    tree |= small | {key: tree[key] | own if isinstance(own, dict) else own for key, own in changes.items()}
    tree["stylegan3"] = tree["stylegan3"] | {"num_layers": 3, "num_critical": 1, "margin_size": 2, "filter_size": 3}
    tree["base_size"], tree["resample_filter"] = [4, 4], [1, 3, 3, 1]
    gan = models.build(model_from_dict(tree))
    rng = np.random.default_rng(0)

    def drawn(path, x):
        names = [p.key for p in path]
        if names[-1] == "transform":
            return np.eye(3, dtype=np.float32)
        still = names[-2:] == ["affine", "weight"] and "input" in names
        if names[-1] in ("bias", "magnitude_ema"):  # styles near one, and a canvas that w does not turn
            return (
                np.array([1, 0, 0, 0], np.float32)
                if "input" in names
                else np.ones(x.shape, np.float32) * ("fc0" not in names)
            )
        return (0 if still else 100 if "fc0" in names else 1) * rng.standard_normal(x.shape).astype(np.float32)

    g = jax.tree.map_with_path(drawn, jax.eval_shape(gan.init_g, jax.random.key(0)))
    centre = np.zeros(gan.spec.w_avg, np.float32)
    if centre.ndim == 2:
        centre += np.arange(len(centre), dtype=np.float32)[:, None]
    write_model_folder(folder, tree, {"g_ema": g | {"w_avg": centre}}, {})


@pytest.fixture(scope="session")
def zoo(tmp_path_factory, real):
    """Return {name: folder} of `ZOO` and of the StyleGAN3."""
    root = tmp_path_factory.mktemp("zoo")
    for name, changes in ZOO.items():
        write_random(root / name, **changes)
    return {name: root / name for name in ZOO} | {"stylegan3": real}
