"""Directions in the style space W: found without labels (SeFa, GANSpace), or from two groups of styles."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base import arrays
from stylegan_jax.sampling.styles import read_array


class Directions(NamedTuple):
    """Directions to move styles along.

    Attributes:
        vectors: float32[k, w], of length 1, the most important first.
        values: float32[k], eigenvalues (SeFa), variances (GANSpace), or ones.
        unit: float32[k], length of the step of strength 1.
    """

    vectors: np.ndarray
    values: np.ndarray
    unit: np.ndarray


def affine_slots(model: Any) -> dict[tuple[str, ...], int]:
    """Return {path of an affine layer of the synthesis network: its style slot}, in the order of the slots.

    Raises:
        ValueError: the generator has no affine layers that read styles.
    """
    import jax
    from flax import linen as nn

    from stylegan_jax import models
    from stylegan_jax.sampling import drawing

    gan = models.build(dataclasses.replace(model.config, remat_from=0))  # values cannot leave rematerialised layers
    rest = {name: np.zeros((1, *shape), np.float32) for name, shape in gan.spec.inputs.items() if name != "z"}

    @jax.jit
    def inputs_of_affines(g, ws):
        found = {}

        def note(call, args, kwargs, context):
            if context.module.name == "affine" and context.method_name == "__call__":
                found["/".join(context.module.path)] = args[0]
            return call(*args, **kwargs)

        with nn.intercept_methods(note):
            drawing.draw(gan, g, ws, rest, noise="none")
        return found

    numbered = np.broadcast_to(np.arange(gan.spec.num_ws, dtype=np.float32)[:, None], (gan.spec.num_ws, gan.spec.w_dim))
    found, still = (jax.device_get(inputs_of_affines(model.g_ema, ws)) for ws in (numbered[None], 0 * numbered[None]))
    slots = {tuple(path.split("/")): round(float(w.flat[0] - still[path].flat[0])) for path, w in found.items()}
    if not slots:
        raise ValueError(
            f"the generator of arch {model.config.arch!r} has no affine layers that read styles, so SeFa cannot find "
            "directions; use --method=ganspace, boundary or difference"
        )
    return dict(sorted(slots.items(), key=lambda item: item[1]))


def stacked_affines(model: Any, layers: Sequence[int]) -> np.ndarray:
    """Return the stacked weights float64[rows, w] of the affine layers that read the style slots `layers`."""
    found = []
    for path, slot in affine_slots(model).items():
        if slot in layers:
            node = model.g_ema["params"]
            for part in path if path[0] in node else ("synthesis", *path):
                node = node[part]
            weight = np.asarray(node["weight"], np.float64)[: model.gan.spec.w_dim]  # further rows read the motion code
            found.append(weight.T)
    if not found:
        raise ValueError(f"no affine layer reads the style slots {list(layers)}")
    return np.concatenate(found)


def sefa(model: Any, layers: Sequence[int], count: int) -> Directions:
    """Return the directions that change the styles of `layers` most (Shen and Zhou 2021, "SeFa", equation 6).

    They are the eigenvectors of A^T A with the largest eigenvalues, where A are the stacked affine weights; strength 1
    is a step of length 1.

    Raises:
        ValueError: `count` is out of range, or no affine layer reads these slots.
    """
    a = stacked_affines(model, layers)
    values, vectors = np.linalg.eigh(a.T @ a)
    order = np.argsort(values)[::-1][: _check_count(count, len(values))]
    return _made(_largest_positive(vectors.T[order]), values[order], np.ones(len(order)))


def ganspace(model: Any, label: Any, count: int, samples: int = 10_000, seed: int = 0, chunk: int = 256) -> Directions:
    """Return the principal components of W (Härkönen et al. 2020, "GANSpace", section 2.1).

    They are computed from `samples` latents of one random stream; strength 1 is a step of one standard deviation along
    the component.

    Raises:
        ValueError: `count` or `samples` is out of range, or the label does not fit.
    """
    if samples < 2:
        raise ValueError(f"{samples} samples have no principal components; take at least 2, such as 10000")
    z = np.random.RandomState(seed).randn(samples, model.gan.spec.z_dim).astype(np.float32)
    w = model.map(z, label, chunk=min(chunk, samples))[:, 0].astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(w, rowvar=False))
    order = np.argsort(values)[::-1][: _check_count(count, len(values))]
    values = np.maximum(values[order], 0)
    return _made(_largest_positive(vectors.T[order]), values, np.sqrt(values))


def boundary(positive: np.ndarray, negative: np.ndarray) -> Directions:
    """Return the normal of the linear boundary between two groups of styles (Shen et al. 2020, "InterFaceGAN").

    A linear support vector machine finds it; it points to the positive group. Strength 1 is the standard deviation of
    all styles along it.

    Args:
        positive: float[n, w].
        negative: float[m, w].

    Raises:
        ValueError: scikit-learn is not installed, or the groups do not differ.
    """
    try:
        from sklearn.svm import LinearSVC
    except ImportError:
        raise ValueError("--method=boundary needs scikit-learn: pip install 'stylegan_jax[metrics]'") from None
    x = np.concatenate([positive, negative]).astype(np.float64)
    y = np.repeat([1, 0], [len(positive), len(negative)])
    scale = x.std() or 1.0  # one number, because a scale per axis would turn the normal
    normal = LinearSVC(dual="auto", max_iter=100_000, random_state=0).fit((x - x.mean(axis=0)) / scale, y).coef_[0]
    return _single(normal, x)


def difference(positive: np.ndarray, negative: np.ndarray) -> Directions:
    """Return the direction from the mean of the negative styles float[m, w] to that of the positive, float[n, w]."""
    between = positive.mean(axis=0) - negative.mean(axis=0)
    return _single(between, np.concatenate([positive, negative]))


VECTORS = ("vectors", "directions", "direction", "boundary", "w", "arr_0")
"""Possible names of the array of directions in an .npz file, in order of preference."""


def load(path: str, w_dim: int) -> Directions:
    """Read directions that `save` or other tools wrote.

    Files of other tools are .npy, or .npz with an array named in `VECTORS`, of shape [w], [1, w] as for linear
    boundaries, or [k, w]; there, strength 1 moves by a vector's length.

    Raises:
        ValueError: the file is missing or damaged, or has no directions or those of styles of another length.
    """
    try:
        vectors = read_array(Path(path), VECTORS, "directions")
        if set(Directions._fields) <= set(arrays.read_headers(path)):
            found = Directions(vectors, *(read_array(Path(path), (n,), "directions") for n in Directions._fields[1:]))
        else:
            vectors = vectors[None] if vectors.ndim == 1 else vectors
            length = np.sqrt(np.sum(vectors.astype(np.float64) ** 2, axis=-1, keepdims=True))
            if not length.all():
                raise ValueError("it has a direction of length 0")
            found = _made(vectors / length, np.ones(len(vectors)), length[..., 0])
        k = len(found.vectors)
        if found.vectors.shape != (k, w_dim) or {found.values.shape, found.unit.shape} != {(k,)} or not k:
            raise ValueError(f"its vectors are {list(found.vectors.shape)}; this model takes [k, {w_dim}]")
    except ValueError as error:
        raise ValueError(f"--directions={path}: {error}") from None
    return found


def save(path: Path, found: Directions) -> None:
    """Write directions as .npz; a reader never sees a partial file."""
    arrays.write_npz(path, **found._asdict())


def _check_count(count: int, most: int) -> int:
    if not 1 <= count <= most:
        raise ValueError(f"--count={count}: choose 1 to {most} directions")
    return count


def _single(vector: np.ndarray, styles: np.ndarray) -> Directions:
    if not np.linalg.norm(vector):
        raise ValueError("the two groups of styles have no difference, so there is no direction; pass other groups")
    vector = vector / np.linalg.norm(vector)
    return _made(vector[None], np.ones(1), np.array([np.std(styles @ vector)]))


def _made(vectors: np.ndarray, values: np.ndarray, unit: np.ndarray) -> Directions:
    return Directions(*(np.asarray(x, np.float32) for x in (vectors, values, unit)))


def _largest_positive(vectors: np.ndarray) -> np.ndarray:
    """Return vectors [k, w], whose signs are arbitrary, with signs that make the largest entry of each positive."""
    return vectors * np.sign(np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1))
