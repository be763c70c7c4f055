"""StyleGAN-XL's class embeddings: a table with a vector per class, from a user's file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from stylegan_jax.features.network import FeatureError
from stylegan_jax.features.weights import read_weights

NAME = "class_table"
"""Key of `weights.SOURCES`."""


def read_class_table(
    path: str | os.PathLike[str] | None = None, rows: int = 1000, dim: int = 320, classes: int = 0
) -> tuple[np.ndarray, str]:
    """Read a table of class embeddings (XL §3.1).

    The published table contains spatial means of EfficientNet-Lite0's last stage, averaged over the images of each
    ImageNet class, in the usual order of classes. Any file with a single table works: a pickle (dill's too),
    torch.save, safetensors.

    Args:
        path: a file, or a folder with the published one; None: `weights.cache_folder`.
        rows: number of classes of the network.
        dim: size of the network's embeddings.
        classes: number of classes of the labels, which use the first rows.

    Returns:
        (float32[rows, dim], its origin: path and SHA-256).

    Raises:
        FeatureError: the file is missing or unreadable, or its table does not fit.
    """
    tensors, source = read_weights(NAME, path)
    if len(tensors) != 1:
        raise FeatureError(f"{source} has {len(tensors)} arrays; a file of class embeddings has one")
    table = next(iter(tensors.values()))
    if table.ndim == 2 and len(table) < classes:
        raise FeatureError(
            f"{source} has a table of {len(table)} classes, but the labels have {classes}; it must have a row for each"
        )
    if table.shape != (rows, dim) or table.dtype.kind != "f":
        raise FeatureError(
            f"{source} has a table {table.dtype}{list(table.shape)}, but the network needs float[{rows}, {dim}]; set "
            "embed_rows and embed_dim of config.model.stylegan_xl and config.model.projected to the table's, or pass "
            "another file"
        )
    if not np.isfinite(table).all():
        raise FeatureError(f"{source} has NaN or infinity; download it again")
    return table.astype(np.float32), source


def place(tree: Mapping[str, Any], table: Any) -> dict[str, Any]:
    """Return a network's tree with the table in every layer that embeds classes: one in G, one per head in D.

    Args:
        tree: nested dicts of arrays; layers that embed classes are called 'embed' and have 'weight', float[rows, dim].
        table: float[rows, dim].

    Raises:
        FeatureError: no layer embeds classes, or one has another shape.
    """
    found: list[tuple[int, ...]] = []

    def inner(key: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if key == "embed" and "weight" in value:
            found.append(tuple(value["weight"].shape))
            return {**value, "weight": table}
        return {name: inner(name, part) for name, part in value.items()}

    out = inner("", tree)
    if not found or set(found) != {tuple(table.shape)}:
        shapes = ", ".join(str(list(shape)) for shape in dict.fromkeys(found)) or "none"
        raise FeatureError(f"the table of class embeddings is {list(table.shape)}; the network's are {shapes}")
    return out
