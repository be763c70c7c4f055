"""A small random StyleGAN-V at 16x16 with visible motion, as a model folder, for the library and the tools."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np

from configs import stylegan_v_quickstart
from stylegan_jax import models
from stylegan_jax.config import model_from_dict
from stylegan_jax.convert import write_model_folder

SIZE, FPS, CLASSES = 16, 12.0, 2
MOTION = {"motion_z_dim": 4, "motion_v_dim": 4, "motion_kernel": 2, "motion_distance": 4, "time_dim": 3}
MOTION |= {"min_period": 4, "max_period": 16, "max_num_frames": 20, "max_dist": 8}


def write(folder: Path, label_dim: int = 0, resolution: int = SIZE, cond_type: str = "concat_const") -> None:
    """Write the model."""
    tree = stylegan_v_quickstart.get_config().model
    tree.update({"resolution": resolution, "channel_base": 64, "channel_max": 4, "z_dim": 6, "w_dim": 6})
    tree.update({"label_dim": label_dim, "compute_dtype": "float32"})
    tree.stylegan_v.update(MOTION | {"cond_type": cond_type})
    config = model_from_dict(tree.to_dict())
    draw = np.random.default_rng(0)

    def leaf(path, x):
        names = [p.key for p in path]
        if names[0] == "buffers":  # frequencies and phases, which are no random numbers
            own = models.stylegan_v.motion.waves(config)
            return own[names[-1] == "phase_scales"]
        loud = 100 if "trajectory" in names or "fc" in names[-2] else 1
        scale = loud if names[-1] == "weight" else 0.2
        return (scale * draw.standard_normal(x.shape) + (names[-2:] == ["affine", "bias"])).astype(np.float32)

    gan = models.build(config)
    g = jax.tree.map_with_path(leaf, jax.eval_shape(gan.init_g, jax.random.key(0)))
    g["w_avg"] = draw.standard_normal(gan.spec.w_avg).astype(np.float32)
    kind = "classes" if label_dim else "none"
    write_model_folder(folder, dataclasses.asdict(config), {"g_ema": g}, {"fps": FPS, "label_kind": kind})
