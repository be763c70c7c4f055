"""One process of a toy training with metrics: python metrics_run.py WORKDIR ADDRESS COUNT NUMBER."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from stylegan_jax import models  # noqa: E402
from stylegan_jax.features import FeatureNet  # noqa: E402
from stylegan_jax.metrics import detectors  # noqa: E402
from stylegan_jax.metrics.images import Images  # noqa: E402
from stylegan_jax.train import loop  # noqa: E402

MATRIX = np.random.default_rng(0).standard_normal((192, 6)).astype(np.float32) / 14


def net(name):
    def apply(params, images, outputs):
        return {key: jnp.tanh(images.reshape(-1, 192) / 127.5 - 1) @ params for key in outputs}

    return FeatureNet(name, {}, MATRIX, apply, "x", "made up")


def refuse(self, index):
    raise OSError("the disk is gone")


def main(workdir: str, address: str, count: str, number: str) -> None:
    if int(count) > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, int(count), int(number))
    import toy  # makes a key, which must not come before the other processes

    models.build = lambda config: toy.GAN
    if os.environ.get("METRICS_RUN_FAILS") == number:
        Images.pixels = refuse
    detectors.load = lambda names, paths: {name: net(name) for name in names}
    own = {"loss__pl_weight": 0.0, "loss__d_reg": "none", "train__total_kimg": 0.128, "log__progress_bar": False}
    own |= {"train__compilation_cache": "off", "log__keep_best": "metric/fid40"}
    own |= {"eval__metrics": "fid50k_full,pr50k3,fid5k", "eval__num_images": 40, "eval__batch": 3}
    # Of the caches of two processes, only that of the first counts: each has one of its own.
    config = toy.make_config(**own, eval__ticks=1, eval__cache=f"{workdir}-cache{number}")
    state = loop.train(config, workdir)
    print("done", int(jax.device_get(state.step)))


if __name__ == "__main__":
    main(*sys.argv[1:])
