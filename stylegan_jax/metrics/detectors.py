"""The feature networks that metrics use: loaded by name, and what a result says of them."""

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
        MetricError: weights that are not there or damaged; the text says which file, where from and where to put it.
    """
    wanted = sorted({name for name in names if name})
    if not wanted:
        return {}
    if "celeba_attributes" in wanted:
        raise MetricError(
            "ls needs the 40 CelebA-HQ attribute classifiers of the StyleGAN release, which this version cannot read; "
            "fit your own to a labelled data set by tools.attributes, and pass them as --classifiers=FILE; or from "
            "Python, pass `evaluate.Evaluation` a network 'celeba_attributes' whose output 'logits' has one per "
            "attribute"
        )
    if "c3d_ucf101" in wanted:
        raise MetricError(
            "isv2048_ucf needs the file c3d_ucf101.pt, the C3D network of UCF-101 to which StyleGAN-V's code links; "
            "we could not get it, because no package registry has it, so this version does not read it; from Python, "
            "pass `evaluate.Evaluation` a network 'c3d_ucf101' whose output 'probs' has the probabilities of the 101 "
            "classes"
        )
    try:
        return {name: features.load_features(name, paths.get(name)) for name in wanted}
    except features.FeatureError as error:
        raise MetricError(str(error)) from error


def record(net: FeatureNet) -> dict[str, str | int]:
    """Return what a result says of its network."""
    return {"name": net.name, "digest": net.digest, "revision": net.revision, "source": net.source}
