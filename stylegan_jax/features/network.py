"""A feature network as the rest of the project sees it: parameters, a pure function, a digest; seeded weights for
tests."""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from stylegan_jax.base.errors import StyleganError
from stylegan_jax.base.trees import array_bytes

Params = Any
"""{layer: {part: float32 array}}."""
Tensors = Mapping[str, np.ndarray]
"""Tensors of a weights file by name."""
Apply = Callable[[Params, jax.Array, tuple[str, ...]], dict[str, jax.Array]]


class FeatureError(StyleganError, ValueError):
    """A feature network is unavailable: the name is unknown, or the weights file is missing or does not fit."""


class FeatureNet(NamedTuple):
    """A frozen feature network.

    Attributes:
        name: one of `FEATURES`.
        outputs: output -> its length; -1 if that depends on the size of the images.
        params: float32 arrays.
        apply: (params, images float[n, h, w, 3] in [0, 255], names of outputs) -> {output: float32[n, k]}. Pure; the
            names are static; images are resized inside, by the network's own rule. 'i3d' takes clips
            float[n, t, h, w, 3].
        digest: SHA-256 of names, shapes, dtypes and bytes of the parameters.
        source: where the weights came from, as text.
        revision: as in `Network`.
    """

    name: str
    outputs: Mapping[str, int]
    params: Params
    apply: Apply
    digest: str
    source: str
    revision: int = 1


class Network(NamedTuple):
    """An architecture before it has weights.

    Attributes:
        shapes: tensors of a weights file in the layout that `convert` reads; those of random weights.
        canonical: maps any known layout to that one.
        convert: maps such tensors to parameters; raises KeyError or FeatureError if they do not fit.
        apply: as in `FeatureNet`.
        outputs: of parameters, as in `FeatureNet`.
        revision: of its code; incremented with every change after which the same weights give other features, so that
            statistics stored before it are not used.
    """

    shapes: Callable[[], dict[str, tuple[int, ...]]]
    canonical: Callable[[Tensors], Tensors]
    convert: Callable[[Tensors], Params]
    apply: Apply
    outputs: Callable[[Params], Mapping[str, int]]
    revision: int = 1


def full_precision(apply: Apply) -> Apply:
    """Return `apply` with products in full float32, as in the official metrics; accelerators default to less."""

    @functools.wraps(apply)
    def run(params: Params, images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
        with jax.default_matmul_precision("highest"):
            return apply(params, images, outputs)

    return run


def build(name: str, network: Network, tensors: Tensors, source: str) -> FeatureNet:
    """Return the network with the weights of a file.

    Raises:
        FeatureError: a tensor is missing, has another shape, or is not finite.
    """
    params = network.convert(network.canonical(tensors))
    return FeatureNet(name, network.outputs(params), params, network.apply, digest(params), source, network.revision)


def check(tensors: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that a network's tensors are there and fit; there may be others.

    Raises:
        FeatureError: one is missing, has another shape, or is not finite.
    """
    if missing := [name for name in shapes if name not in tensors]:
        raise FeatureError(
            f"the file lacks {len(missing)} of the {len(shapes)} tensors of this network, as {missing[0]!r}; "
            f"it holds {len(tensors)}: {', '.join(list(tensors)[:3]) or 'none'} …"
        )
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise FeatureError(f"tensor {name!r} has the shape {tensors[name].shape}; this network needs {shape}")
        if not np.isfinite(tensors[name]).all():
            raise FeatureError(f"tensor {name!r} holds NaN or infinity; the file is damaged")


def digest(params: Params) -> str:
    """Return the SHA-256 of the names, shapes, dtypes and bytes of all arrays."""
    sha = hashlib.sha256()
    for path, leaf in sorted((jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(params)):
        sha.update(f"{path} {leaf.shape} {leaf.dtype}\n".encode())
        sha.update(array_bytes(leaf))
    return sha.hexdigest()


def random_tensors(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Return seeded weights, the same on every machine.

    The tensor `name` is drawn from numpy.random.default_rng([seed, crc32(name)]): one with two or more axes normal with
    variance 2 / (product of all axes but the first), one called '*var' uniform in [0.5, 1.5], '*gamma', '*weight' and
    'lin*' of one axis uniform in [0.8, 1.2], any other normal with deviation 0.1.
    """
    out = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        if name.endswith("var"):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            value = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif name.endswith(("weight", "gamma")) or name.startswith("lin"):
            value = rng.uniform(0.8, 1.2, shape)
        else:
            value = 0.1 * rng.standard_normal(shape)
        out[name] = value.astype(np.float32)
    return out
