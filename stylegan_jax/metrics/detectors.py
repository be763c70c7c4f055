"""The feature networks of metrics: loading them by name, and recording them in results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stylegan_jax import features
from stylegan_jax.features import FeatureNet
from stylegan_jax.metrics.errors import MetricError


def load(names: Iterable[str], paths: Mapping[str, str]) -> dict[str, FeatureNet]:
    """Load feature networks.

    Args:
        names: which; '' stands for none.
        paths: {name: file or folder to load it from}.

    Raises:
        MetricError: weights are missing or damaged; the message names the file, its source and where to put it.
    """
    wanted = sorted({name for name in names if name})
    if not wanted:
        return {}
    if "celeba_attributes" in wanted:
        raise MetricError(
            "ls needs the 40 CelebA-HQ attribute classifiers of the StyleGAN release, which this version cannot read; "
            "fit your own to a labelled data set with tools.attributes, and pass --classifiers=FILE; or in Python, "
            "pass `evaluate.Evaluation` a network 'celeba_attributes' whose output 'logits' has a value per attribute"
        )
    if "c3d_ucf101" in wanted:
        raise MetricError(
            "isv2048_ucf needs the file c3d_ucf101.pt, the C3D network of UCF-101 to which StyleGAN-V's code links; "
            "we could not obtain it, so this version cannot read it; in Python, pass `evaluate.Evaluation` a network "
            "'c3d_ucf101' whose output 'probs' has the probabilities of the 101 classes"
        )
    try:
        return {name: features.load_features(name, paths.get(name)) for name in wanted}
    except features.FeatureError as error:
        raise MetricError(str(error)) from error


def record(net: FeatureNet) -> dict[str, str | int]:
    """Return the entry of a result's network in its record."""
    return {"name": net.name, "digest": net.digest, "revision": net.revision, "source": net.source}
