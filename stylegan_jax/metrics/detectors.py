"""The feature networks that metrics use; what is needed of one is the interface `FeatureNet` here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import jax

from stylegan_jax.metrics.errors import MetricError


class FeatureNet(Protocol):
    """A frozen network (`models.features`).

    Attributes:
        name: as in `definitions.OUTPUTS`.
        outputs: output name -> length.
        params: pytree of arrays.
        apply: (params, images float[n, h, w, 3] in [0, 255], names of outputs) -> {name: float32[n, k]}; resizes as the
            network's own rule says.
        digest: changes when the parameters do.
        source: where they come from.
    """

    @property
    def name(self) -> str: ...
    @property
    def outputs(self) -> Mapping[str, int]: ...
    @property
    def params(self) -> Any: ...
    @property
    def apply(self) -> Callable[[Any, jax.Array, tuple[str, ...]], dict[str, jax.Array]]: ...
    @property
    def digest(self) -> str: ...
    @property
    def source(self) -> str: ...


def load(names: Iterable[str], paths: Mapping[str, str]) -> dict[str, FeatureNet]:
    """Load feature networks.

    Args:
        names: which; '' stands for none.
        paths: {name: file or folder to load it from}.

    Raises:
        MetricError: weights that are not there or damaged; the text says which file, where from and where to put it.
    """
    wanted = sorted({name for name in names if name})
    if not wanted:
        return {}
    if "celeba_attributes" in wanted:
        raise MetricError(
            "ls needs the 40 CelebA-HQ attribute classifiers of the StyleGAN release, which this version cannot read; "
            "from Python, give evaluate() a network 'celeba_attributes' whose output 'logits' has one per attribute"
        )
    from stylegan_jax.models import features  # pyright: ignore[reportAttributeAccessIssue]

    try:
        return {name: features.load_features(name, paths.get(name)) for name in wanted}
    except features.FeatureError as error:
        raise MetricError(str(error)) from error


def record(net: FeatureNet) -> dict[str, str]:
    """Return what a result says of its network."""
    return {"name": net.name, "digest": net.digest, "source": net.source}
