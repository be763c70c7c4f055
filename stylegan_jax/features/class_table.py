"""StyleGAN-XL's class embeddings: a table of one vector per class, from a user's file."""

from __future__ import annotations

import os

import numpy as np

from stylegan_jax.features.network import FeatureError
from stylegan_jax.features.weights import read_weights

NAME = "class_table"
"""Key of `weights.SOURCES`."""


def read_class_table(
    path: str | os.PathLike[str] | None = None, rows: int = 1000, dim: int = 320
) -> tuple[np.ndarray, str]:
    """Read a table of class embeddings (XL §3.1).

    The published one holds spatial means of EfficientNet-Lite0's last stage, averaged over the images of each ImageNet
    class, in the usual order of classes. Any file of one table will do: a pickle (dill's too), torch.save, safetensors.

    Args:
        path: a file or a folder with the published one; None: `weights.cache_folder`.
        rows: classes that the network has.
        dim: size of an embedding that it has.

    Returns:
        float32[rows, dim], and where it came from: place and SHA-256.

    Raises:
        FeatureError: no file, an unreadable one, or one of another table.
    """
    tensors, source = read_weights(NAME, path)
    if len(tensors) != 1:
        raise FeatureError(f"{source} has {len(tensors)} arrays; a file of class embeddings has one")
    table = next(iter(tensors.values()))
    if table.shape != (rows, dim) or table.dtype.kind != "f":
        raise FeatureError(
            f"{source} has a table {table.dtype}{list(table.shape)}, and the network needs float[{rows}, {dim}]; set "
            "config.model.stylegan_xl.embed_rows and embed_dim to the table's, or pass another file"
        )
    if not np.isfinite(table).all():
        raise FeatureError(f"{source} has NaN or infinity; download it again")
    return table.astype(np.float32), source
