"""Family 'encoder': what is measured of encoders, with linear maps in place of networks."""

from __future__ import annotations

import numpy as np

from stylegan_jax.metrics.consistency import editing_consistency, published_mean
from stylegan_jax.ops.resize import area_matrix


def consistency(meta, arrays, constants):
    images, step = constants["in/x"], 3 * constants["in/direction"]
    batch = images.shape[1]
    mean = constants["state/latent_avg"]

    def encode(x):  # as flattened channels first
        return (x.reshape(len(x), -1) @ constants["state/encoder"]).reshape(len(x), *mean.shape) + mean

    def draw(ws):
        small = (ws.reshape(len(ws), -1) @ constants["state/generator"]).reshape(len(ws), 3, 4, 4)
        pool = area_matrix(4, images.shape[-1]).astype(small.dtype)
        return np.einsum("nchw,ih,jw->ncij", small, pool, pool)

    distances, _ = editing_consistency(encode, draw, images.reshape(-1, *images.shape[2:]), step)
    means = distances.reshape(-1, batch).mean(axis=1)
    low, high = np.percentile(means, 1, method="lower"), np.percentile(means, 99, method="higher")
    return {
        "out/batch_distances": means,
        "out/kept": means[(means >= low) & (means <= high)],
        "out/lec": np.array([published_mean(distances, batch)]),
    }


ADAPTERS = {"encoder/latent editing consistency": consistency}
