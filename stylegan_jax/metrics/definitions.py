"""The metrics under their published names, and the names of their variants. No JAX.

A number is printed under a published name only when it is computed by that definition. Another feature network, number
of images or truncation changes the name (`choose`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from stylegan_jax.config import suggest
from stylegan_jax.metrics.errors import MetricError

OUTPUTS: dict[str, dict[str, str]] = {
    "pool": {
        "inception": "pool",
        "vgg16": "fc2",
        "vgg16_lpips": "pool",
        "efficientnet_lite0": "pool",
        "dinov2": "cls",
    },
    "probs": {"inception": "probs_no_bias", "efficientnet_lite0": "probs"},
    "spatial": {"inception": "spatial"},
    "random": {"inception_random": "pool"},
    "lpips": {"vgg16_lpips": "lpips", "alexnet_lpips": "lpips"},
    "elpips": {"elpips": "distance"},
    "embedding": {"face": "embedding", "ir_se50": "crop", "curricularface": "embedding"},
    "attributes": {"celeba_attributes": "logits"},
    "motion": {"i3d": "logits"},
    "actions": {"c3d_ucf101": "probs"},
}
"""{what a metric needs: {network that has it: the name of that output}}."""

PIXELWISE = ("lpips", "elpips", "pixels")
"""Needs of metrics whose two images must have the same size."""


class Clip(NamedTuple):
    """The frames that a metric of videos takes from one, whatever its frame rate.

    Attributes:
        frames: number of frames.
        every: steps between them; 1: consecutive frames.
    """

    frames: int
    every: int = 1

    @property
    def least(self) -> int:
        """Fewest frames of a real video by the published rule, which also counts a step after the last frame."""
        return self.frames * self.every


class Metric(NamedTuple):
    """A definition; docs/metrics.md has them in words, with sources.

    Attributes:
        template: the printed name; {n} stands for the number of images.
        family: how it is computed (`families.FAMILIES`, or a pass of its own).
        need: what it needs of a feature network, a key of `OUTPUTS`; '' for none.
        net: the network of the definition.
        count: images, clips, steps, pairs or latents that are evaluated.
        real: limit of the real ones; 0: none needed, -1: as many as are evaluated.
        mirrors: whether mirrored copies count as reals if the run trains with them.
        other: the template with a network other than the definition's; '': the same.
        variant: which member of the family.
        higher_is_better: whether higher values are better.
        clip: the clips that it evaluates; None: images, or single frames of videos.
        published: whether a paper or its code has it; the others are smaller forms, for development.
    """

    template: str
    family: str
    need: str
    net: str
    count: int = 50_000
    real: int = 0
    mirrors: bool = False
    other: str = ""
    variant: str = ""
    higher_is_better: bool = False
    clip: Clip | None = None
    published: bool = True


ALL = 1 << 62
"""Every real image."""


def _fid(template: str, count: int, real: int, mirrors: bool = False) -> Metric:
    return Metric(template, "frechet", "pool", "inception", count, real, mirrors, template.replace("fid", "fd"))


def _kid(template: str, count: int, real: int, mirrors: bool = False) -> Metric:
    return Metric(template, "kernel", "pool", "inception", count, real, mirrors, template.replace("kid", "kd"))


def _pr(template: str, count: int, real: int, mirrors: bool = False) -> Metric:
    return Metric(template, "precision_recall", "pool", "vgg16", count, real, mirrors, higher_is_better=True)


def _dc(template: str, count: int, real: int) -> Metric:
    return Metric(template, "density_coverage", "pool", "vgg16", count, real, higher_is_better=True)


def _ppl(template: str) -> Metric:
    return Metric(template, "path", "lpips", "vgg16_lpips", variant=template)


def _eq(template: str, variant: str) -> Metric:
    return Metric(template, "equivariance", "", "", variant=variant, higher_is_better=True)


def _fvd(template: str, count: int, clip: Clip) -> Metric:
    return Metric(template, "frechet", "motion", "i3d", count, -1, clip=clip)


METRICS: dict[str, Metric] = {
    "fid50k_full": _fid("fid{n}_full", 50_000, ALL),
    "fid50k": _fid("fid{n}", 50_000, -1, mirrors=True),
    "fid10k_full": _fid("fid{n}_full", 10_000, ALL),
    "fid5k": _fid("fid{n}", 5_000, -1, mirrors=True)._replace(published=False),
    "kid50k_full": _kid("kid{n}_full", 50_000, 1_000_000),
    "kid50k": _kid("kid{n}", 50_000, -1, mirrors=True),
    "kid1k": _kid("kid{n}", 1_000, -1, mirrors=True)._replace(published=False),
    "pr50k3_full": _pr("pr{n}3_full", 50_000, 200_000),
    "pr50k3": _pr("pr{n}3", 50_000, -1, mirrors=True),
    "dc50k5_full": _dc("dc{n}5_full", 50_000, 200_000),
    "dc10k5": _dc("dc{n}5", 10_000, -1),
    "is50k": Metric(
        "is{n}", "inception_score", "probs", "inception", other="classifier_score{n}", higher_is_better=True
    ),
    "ppl2_wend": _ppl("ppl2_wend"),
    "ppl_wend": _ppl("ppl_wend"),
    "ppl_zend": _ppl("ppl_zend"),
    "ppl_wfull": _ppl("ppl_wfull"),
    "ppl_zfull": _ppl("ppl_zfull"),
    "ls": Metric("ls", "separability", "attributes", "celeba_attributes", 200_000),
    "eqt50k_int": _eq("eqt{n}_int", "eqt_int"),
    "eqt50k_frac": _eq("eqt{n}_frac", "eqt_frac"),
    "eqr50k": _eq("eqr{n}", "eqr"),
    "sfid50k_full": Metric("sfid{n}_full", "frechet", "spatial", "inception", 50_000, ALL),
    "rfid50k_full": Metric("rfid{n}_full", "frechet", "random", "inception_random", 50_000, ALL),
    "fvd2048_16f": _fvd("fvd{n}_16f", 2048, Clip(16)),
    "fvd2048_128f": _fvd("fvd{n}_128f", 2048, Clip(128)),
    "fvd2048_128f_subsample8f": _fvd("fvd{n}_128f_subsample8f", 2048, Clip(16, 8)),
    "fvd256_16f": _fvd("fvd{n}_16f", 256, Clip(16))._replace(published=False),
    "isv2048_ucf": Metric(
        "isv{n}_ucf", "shuffled_score", "actions", "c3d_ucf101", 2048, clip=Clip(16), higher_is_better=True
    ),
    "l2": Metric("l2", "pairs", "pixels", "", ALL, -1),
    "lpips": Metric("lpips", "pairs", "lpips", "vgg16_lpips", ALL, -1),
    "elpips": Metric("elpips", "pairs", "elpips", "elpips", ALL, -1, variant="200"),
    "elpips20": Metric("elpips20", "pairs", "elpips", "elpips", ALL, -1, variant="20"),
    "id_similarity": Metric(
        "id_similarity_face", "pairs", "embedding", "face", ALL, -1, other="id_similarity", higher_is_better=True
    ),
}

_PUBLISHED = {(m.template, m.count) for m in METRICS.values() if m.published}

RESULTS = {"precision_recall": ("_precision", "_recall"), "inception_score": ("_mean", "_std")}
RESULTS |= {"shuffled_score": ("_mean", "_std")}
RESULTS |= {"density_coverage": ("_density", "_coverage")}
RESULTS |= {"separability": ("_z", "_w")}
"""Suffixes of the metric's name, for families with several values."""

MODEL_ONLY = ("path", "separability", "equivariance")
"""Families that need the generator itself, not only its images."""

UNIFORM = "uniform"
"""Labels of generated images: every class equally often, as in XL, instead of as in the data set ('data')."""


class Chosen(NamedTuple):
    """A metric to compute.

    Attributes:
        metric: its definition.
        name: its printed name.
        net: feature network.
        output: of the network.
        count: images that are evaluated; `ALL` for pairs.
    """

    metric: Metric
    name: str
    net: str
    output: str
    count: int

    @property
    def real(self) -> int:
        """Limit of the reals."""
        return self.count if self.metric.real == -1 else self.metric.real

    @property
    def draws(self) -> bool:
        """Whether images are drawn from a larger set, because nothing published says that they are its first ones.

        Data sets are often ordered by class, so that their first images have only some of the classes. What has a
        published name is computed as published, also if another metric was asked for with that number of images.
        """
        return (self.metric.template, self.count) not in _PUBLISHED

    @property
    def results(self) -> list[str]:
        """The names of its values."""
        return [self.name + end for end in RESULTS.get(self.metric.family, ("",))]


def choose(
    names: Sequence[str],
    features: Sequence[str] = (),
    num_images: int = 0,
    psi: float = 1.0,
    classes: str = "data",
    centroids: str = "",
    classifiers: str = "",
) -> list[Chosen]:
    """Look up metrics, and decide on their networks and printed names.

    Args:
        names: keys of `METRICS`.
        features: networks to use instead of the definitions'; each metric takes the first that has what it needs.
        num_images: evaluate this many images instead of the definitions' number; 0: theirs.
        psi: truncation of what is evaluated.
        classes: `UNIFORM` or 'data'; families of `MODEL_ONLY` always take them from the data, as in StyleGAN-XL.
        centroids: file of the styles towards which to truncate; '': the mean style.
        classifiers: name of the attribute classifiers of `ls` (`attributes.Classifiers`); '': the published ones.

    Raises:
        MetricError: `names` is empty or has an unknown metric; no chosen metric can use a network, uniform classes or
            the classifiers; there are centroids but no truncation.
    """
    if not names:
        raise MetricError(f"metrics is empty: name at least one; known: {', '.join(METRICS)}")
    if centroids and psi == 1:
        raise MetricError(f"centroids={centroids} with psi=1, which does not truncate; pass a psi such as 0.7 too")
    for name in features:
        if not any(name in nets for nets in OUTPUTS.values()):
            known = sorted({net for nets in OUTPUTS.values() for net in nets})
            raise MetricError(f"feature network {name!r}: {suggest(name, known)}")
    chosen: dict[str, Chosen] = {}
    for name in names:
        if name not in METRICS:
            raise MetricError(f"metric {name!r}: {suggest(name, METRICS)}")
        metric = METRICS[name]
        nets = OUTPUTS.get(metric.need, {})
        net = next((f for f in features if f in nets), metric.net)
        if classifiers and metric.need == "attributes":
            nets, net = {classifiers: "logits"}, classifiers
        count = num_images if num_images and metric.count != ALL else metric.count
        printed = _printed(metric, net, count, psi, classes, bool(centroids))
        chosen[printed] = Chosen(metric, printed, net, nets.get(net, ""), count)
    unused = [f for f in features if f not in {c.net for c in chosen.values()}]
    if unused:
        able = [n for n, m in METRICS.items() if unused[0] in OUTPUTS.get(m.need, {})]
        raise MetricError(
            f"feature network {unused[0]!r} is used by none of the metrics {', '.join(names)}; metrics that can use "
            f"it: {', '.join(able)}"
        )
    if classifiers and not any(c.metric.need == "attributes" for c in chosen.values()):
        raise MetricError(f"the classifiers {classifiers} are used by none of the metrics {', '.join(names)}; add ls")
    if classes == UNIFORM and not any(_has_own_classes(c.metric) for c in chosen.values()):
        raise MetricError(
            f"uniform classes change none of the metrics {', '.join(names)}, which compare pairs, or take labels from "
            "the data as in StyleGAN-XL; omit --classes, or add a metric such as fid50k_full"
        )
    return list(chosen.values())


def _has_own_classes(metric: Metric) -> bool:
    return metric.family not in (*MODEL_ONLY, "pairs")


def _printed(metric: Metric, net: str, count: int, psi: float, classes: str, has_centroids: bool) -> str:
    template = metric.template if net == metric.net else metric.other or metric.template
    number = short(count)
    if number[-1].isdigit():  # 'pr120_3', in which the 3 is not a digit of the number
        template = re.sub(r"(?<=})(?=\d)", "_", template)
    name = template.format(n=number)
    if "{n}" not in template and count != metric.count:
        name += f"_{short(count)}"
    if net != metric.net:
        name += "_" + (net.removesuffix("_lpips") if metric.need == "lpips" else net)
    if classes == UNIFORM and _has_own_classes(metric):
        name += "_uniform_classes"
    if psi == 1 or metric.family == "pairs":
        return name
    return f"{name}_psi{psi:g}" + "_centroids" * has_centroids


def short(count: int) -> str:
    """Return 50000 as '50k', 1234 as '1234'."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


def split(text: str) -> list[str]:
    """Return the parts of 'a,b'."""
    return [part.strip() for part in text.split(",") if part.strip()]


def paths_of(text: str, nets: Sequence[str]) -> dict[str, str]:
    """Return {network: path} of `features_path`, which is 'PATH' or 'NET=PATH,…'. A path may have '=' in it.

    Raises:
        MetricError: one path for several networks, a part without a network, or a network that is not used.
    """
    if not re.match(r"\s*\w+=", text):
        if text and len(nets) > 1:
            raise MetricError(f"features_path={text}: the metrics use {', '.join(nets)}; write {nets[0]}=PATH,…")
        return dict.fromkeys(nets, text) if text else {}
    parts = [part.partition("=") for part in split(text)]
    if bare := [name for name, equals, _ in parts if not equals]:
        raise MetricError(f"features_path={text}: {bare[0]!r} names no network; write NET=PATH,…")
    found = {name: path for name, _, path in parts}
    for name in found:
        if name not in nets:
            raise MetricError(f"features_path names {name!r}, which is not used; used: {', '.join(nets)}")
    return found
