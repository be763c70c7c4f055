"""Attribute classifiers for linear separability (`ls`): linear heads on features of a frozen network.

They are fitted to a labelled data set. The published `ls` uses forty convolutional classifiers of faces. Values from
other classifiers cannot be compared with it, so they are printed under the classifiers' name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stylegan_jax.base import arrays
from stylegan_jax.data import order
from stylegan_jax.metrics.errors import MetricError

if TYPE_CHECKING:
    from stylegan_jax.features import FeatureNet

HELD_OUT = 5
"""One in so many images of each label is held out to measure the accuracy."""
FEWEST = 10
"""Least number of images with an attribute, and of images without it."""
DECAY = 1.0
"""Weight of half the squared norm of a head, relative to the sum of the losses of all images."""


class Classifiers(NamedTuple):
    """Linear classifiers of k attributes.

    Attributes:
        name: part of the printed name of metrics that use them.
        net: the network whose features they read.
        output: of the network.
        digest: of the network's parameters.
        attributes: their names.
        weight: float32[d, k].
        bias: float32[k]; features @ weight + bias is above 0 where an image has the attribute.
        accuracy: float32[k], balanced accuracy on the images held out: 0.5 is chance.
    """

    name: str
    net: str
    output: str
    digest: str
    attributes: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    accuracy: np.ndarray


def truths(labels: np.ndarray, kind: str, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert labels float[n, m] to k attributes: bool[n, k], and their names.

    An attribute is an entry of multi-hot labels, or a class against the others; two classes make one attribute.

    Raises:
        MetricError: the labels are of another kind, or too few images have or lack an attribute.
    """
    if kind not in ("classes", "multi-hot"):
        raise MetricError(f"labels are of the kind {kind!r}; attributes are classes or multi-hot entries of 0 and 1")
    names = tuple(names) or tuple(str(k) for k in range(labels.shape[1]))
    truth = labels > 0.5
    if kind == "classes" and len(names) == 2:
        truth, names = truth[:, 1:], names[1:]
    for name, have in zip(names, truth.sum(axis=0), strict=True):
        if not FEWEST <= have <= len(truth) - FEWEST:
            raise MetricError(
                f"{have} of {len(truth)} images have the attribute {name!r}; a classifier needs {FEWEST} with it and "
                f"{FEWEST} without"
            )
    return truth, names


def fit(features: np.ndarray, truth: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a logistic regression to each attribute.

    Args:
        features: float[n, d].
        truth: bool[n, k].
        seed: determines which images are held out.

    Returns:
        `weight`, `bias` and `accuracy` of `Classifiers`.

    Raises:
        MetricError: all images that are held out have an attribute, or all lack it.
    """
    held = np.zeros(len(features), bool)
    held[np.lexsort([order.uniform(len(features), seed), *truth.T])[::HELD_OUT]] = True
    if (truth[held].all(axis=0) | ~truth[held].any(axis=0)).any():
        raise MetricError(f"with seed {seed}, the images held out all have or all lack an attribute; use another seed")
    x = features.astype(np.float64)
    mean, scale = x[~held].mean(axis=0), x[~held].std(axis=0)
    x = (x - mean) / np.where(scale > 0, scale, 1)
    heads = np.stack([_logistic(x[~held], own) for own in truth[~held].T], axis=1)
    guess = x[held] @ heads[:-1] + heads[-1] > 0
    rates = [[np.mean(guess[own == want, i] == want) for want in (True, False)] for i, own in enumerate(truth[held].T)]
    weight = heads[:-1] / np.where(scale > 0, scale, 1)[:, None]
    bias = heads[-1] - mean @ weight
    return weight.astype(np.float32), bias.astype(np.float32), np.mean(rates, axis=1).astype(np.float32)


def _logistic(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return weights and bias float64[d + 1] of a regularised logistic regression of bool[n] on float64[n, d]."""
    import scipy.optimize

    sign = np.where(truth, 1.0, -1.0)

    def loss(head: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ head[:-1] + head[-1])
        slope = -sign / (1 + np.exp(np.clip(margin, -500, 500)))
        value = np.logaddexp(0, -margin).sum() + DECAY / 2 * np.square(head[:-1]).sum()
        return value, np.append(x.T @ slope + DECAY * head[:-1], slope.sum())

    return scipy.optimize.minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x


def check_name(name: str) -> str:
    """Return a name, checked, that becomes part of a metric's.

    Raises:
        MetricError: it has characters other than letters, digits, '_', '-' and '.', or is empty or too long.
    """
    if not re.fullmatch(r"[\w.-]{1,80}", name, re.ASCII):
        raise MetricError(f"--name={name!r}: use 1 to 80 letters, digits, '_', '-' and '.'")
    return name


def save(path: Path, found: Classifiers) -> None:
    """Write classifiers as .npz; a reader never sees a partial file."""
    about = {key: value for key, value in found._asdict().items() if not isinstance(value, np.ndarray)}
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    arrays.write_npz(path, about=text, weight=found.weight, bias=found.bias, accuracy=found.accuracy)


def load(path: str | Path) -> Classifiers:
    """Read classifiers that `save` wrote.

    Raises:
        MetricError: the file is damaged, or `save` did not write it.
    """
    try:
        found = arrays.load(path, ("about", "weight", "bias", "accuracy"))
        about = json.loads(found.pop("about").tobytes())
        about["attributes"] = tuple(about["attributes"])
        out = Classifiers(**(about | found))
        check_name(out.name)
        shapes = {"weight": (len(out.weight), len(out.attributes)), "bias": (len(out.attributes),)}
        for name, shape in (shapes | {"accuracy": shapes["bias"]}).items():
            if found[name].shape != shape or not np.isfinite(found[name]).all():
                raise ValueError(f"{name} is {list(found[name].shape)}, or not finite")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MetricError(f"--classifiers={path}: not a file that tools.attributes wrote ({error})") from None
    return out


def as_network(found: Classifiers, net: FeatureNet) -> FeatureNet:
    """Combine classifiers with the network that they read into one that has the output 'logits', float32[n, k].

    Raises:
        MetricError: they were fitted to features of other weights.
    """
    from stylegan_jax.features import network

    if net.digest != found.digest:
        raise MetricError(
            f"the classifiers {found.name} were fitted to features of {found.net} with other weights "
            f"({found.digest[:12]}…, not {net.digest[:12]}…); pass --features_path with those weights, or fit again"
        )

    def apply(params: Any, images: Any, outputs: tuple[str, ...]) -> dict[str, Any]:
        import jax.numpy as jnp

        seen = net.apply(params["net"], images, (found.output,))[found.output]
        return {name: jnp.matmul(seen, params["weight"], precision="highest") + params["bias"] for name in outputs}

    params = {"net": net.params, "weight": found.weight, "bias": found.bias}
    told = ", ".join(f"{name} {x:.3f}" for name, x in zip(found.attributes, found.accuracy.tolist(), strict=True))
    source = f"linear classifiers of {len(found.attributes)} attributes (balanced accuracy {told}) on {net.source}"
    outputs = {"logits": len(found.attributes)}
    return network.FeatureNet(found.name, outputs, params, apply, network.digest(params), source, net.revision)
