"""Metrics of a generator, or of a set of images, compared with real images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base import agreement
from stylegan_jax.base.spec import Variables
from stylegan_jax.data import order
from stylegan_jax.metrics import engine, fakes, families, pairs
from stylegan_jax.metrics.clips import Clips, make_clips
from stylegan_jax.metrics.collect import Collector, Rows, restore
from stylegan_jax.metrics.definitions import MODEL_ONLY, PIXELWISE, UNIFORM, Chosen, Clip
from stylegan_jax.metrics.detectors import FeatureNet
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.metrics.fakes import Generator
from stylegan_jax.metrics.images import Extractor, Images
from stylegan_jax.metrics.intervals import Interval
from stylegan_jax.metrics.store import Store


class Result(NamedTuple):
    """A value of a metric.

    Attributes:
        name: printed name, which says how it differs from the published metric.
        value: the number.
        interval: 95% interval over draws of the evaluated images; None if unknown.
        seconds: time of its passes, which metrics of one call share, and of its own computation.
        net: the feature network; '' for none.
        counts: images, or clips, of each kind; with `…_drawn_from`, the size of the set from which they are drawn.
    """

    name: str
    value: float
    interval: Interval
    seconds: float
    net: str
    counts: dict[str, int]


class Evaluation:
    """Metrics of one subject; each `run` reuses the compiled programs of the one before.

    Args:
        chosen: the metrics.
        subject: the generator, or the images, to evaluate; for metrics of clips, the frames of videos.
        reals: images, or frames, to compare with; None if no metric needs them.
        nets: the networks of `chosen`.
        extractor: the programs of these networks.
        store: keeps statistics and unfinished passes.
        seed: determines subsets and resampling; of pairs, the transformations of E-LPIPS.
        progress: show bars.

    Raises:
        MetricError: too few images, or a metric that does not fit the subject.
    """

    def __init__(
        self,
        chosen: Sequence[Chosen],
        subject: Generator | Images,
        reals: Images | None,
        nets: Mapping[str, FeatureNet],
        extractor: Extractor,
        store: Store,
        *,
        seed: int = 0,
        progress: bool = True,
    ):
        self.chosen, self.subject, self.reals, self.nets = chosen, subject, reals, nets
        self.extractor, self.store, self.seed = extractor, store, seed
        if engine.is_first():
            store.sweep()
        self.options: dict[str, Any] = {"progress": progress}
        self._sets: dict[Clip | None, tuple[Generator | Images | Clips, Images | Clips | None]] = {
            None: (subject, reals)
        }
        for c in chosen:
            if isinstance(subject, Generator):
                fakes.check_kind(c, subject.gan)
            if c.metric.clip not in self._sets:
                self._sets[c.metric.clip] = _clips(c, subject, reals)
            _check(c, *self._sets[c.metric.clip])

    def run(self, variables: Variables | None = None, stop: Callable[[], bool] = lambda: False) -> Iterator[Result]:
        """Compute everything, and yield results as they come; only the first process of a run yields any.

        Args:
            variables: of the generator, with 'w_avg'.
            stop: as of `engine.run`.

        Raises:
            MetricError: an output of a network is NaN or infinite; or, in a run of several processes, one failed.
            DataError, OSError, …: in a run of one process, images cannot be read.
            StoppedError: `stop` returned True.
        """
        self.options["stop"] = stop
        comparing = [c for c in self.chosen if c.metric.family in families.FAMILIES]
        moving = [c for c in self.chosen if c.metric.family == "equivariance"]
        single = {"path": self._path, "separability": self._attributes, "pairs": self._pairs}
        for own in _grouped(comparing, lambda c: (c.metric.clip, self._drawn_from(c))):
            yield from self._compare(own, variables)
        for c in self.chosen:
            if c.metric.family in single:
                yield from single[c.metric.family](c, variables)
        if moving:
            yield from self._move(moving, variables)

    def _compare(self, chosen: Sequence[Chosen], variables: Variables | None) -> Iterator[Result]:
        """Collect features of the reals and of the evaluated images or clips, each once, and compare.

        All metrics look at the same kind of clips, or all at images, and see those of a set in the same order.
        """
        of_reals, orders, seconds = self._collect_reals(chosen)
        of_fakes = {c.name: families.FAMILIES[c.metric.family].fake(c.count) for c in chosen}
        job = self._subject_job(chosen, of_fakes, variables)
        seconds += engine.run(job, _by_output(chosen, of_fakes), self.store, **self.options)
        for c in chosen:
            began, real = time.monotonic(), of_reals.get(c.name)
            family, fake = families.FAMILIES[c.metric.family], of_fakes[c.name]
            values = engine.run_on_first(c.name, lambda: family.compute(real, fake, self.seed))  # noqa: B023
            counts = {"evaluated": c.count} | _how("evaluated_drawn_from", self._drawn_from(c))
            counts |= {} if real is None else {"real": real.count} | _how("real_drawn_from", orders[c.name])
            yield from self._results(c, values, seconds + time.monotonic() - began, counts)
        engine.forget(job, self.store)

    def _collect_reals(self, chosen: Sequence[Chosen]) -> tuple[dict[str, Collector], dict[str, int], float]:
        """Collect the features of the reals.

        Returns:
            (features by metric, from the store or computed; the size of the set from which its reals are drawn, by
            metric, 0: they are the first; seconds that it took).
        """
        out: dict[str, Collector] = {}
        identities: dict[str, dict[str, Any]] = {}
        orders: dict[str, int] = {}
        missing: list[Chosen] = []
        for c in chosen:
            make = families.FAMILIES[c.metric.family].real
            if make is None:
                continue
            reals = self._sets[c.metric.clip][1]
            assert reals is not None
            mirrors = c.metric.mirrors and any(reals.flips)
            out[c.name] = make(min(c.real, reals.count(mirrors)))
            is_part = c.draws and c.metric.real == -1 and c.real < reals.count(mirrors)
            orders[c.name] = reals.count(mirrors) if is_part else 0
            identities[c.name] = self._identity_of_reals(c, reals, out[c.name], mirrors)
            identities[c.name] |= _how("drawn from", orders[c.name])
            stored = self.store.load("real", identities[c.name]) if engine.is_first() else None
            if not agreement.number_from_first(stored is not None and restore([(out[c.name], stored)], "real images")):
                missing.append(c)
        seconds = 0.0
        for own in _grouped(missing, lambda c: orders[c.name]):
            wanted = {c.name: out[c.name] for c in own}
            identity = {"reals": [identities[c.name] for c in _by_name(own)]}
            reals = self._sets[own[0].metric.clip][1]
            job = self._images_job("reals", reals, wanted, own, identity, orders[own[0].name])
            seconds += engine.run(job, _by_output(own, wanted), self.store, **self.options)
            for c in own if engine.is_first() else ():
                self.store.save("real", identities[c.name], out[c.name].arrays())
            engine.forget(job, self.store)
        return out, orders, seconds

    def _identity_of_reals(
        self, c: Chosen, reals: Images | Clips, collector: Collector, mirrors: bool
    ) -> dict[str, Any]:
        flips = list(reals.flips) if mirrors else [False, False]
        own = {"flips": flips, "count": collector.count, "kept": collector.kind, "output": c.output}
        return reals.identity | own | {"net": c.net, "weights": self._weights(c)}

    def _weights(self, c: Chosen) -> list[Any]:
        """Return what determines the features: the network's parameters, and the revision of its code."""
        return [self.nets[c.net].digest, self.nets[c.net].revision]

    def _subject_job(
        self, chosen: Sequence[Chosen], collectors: Mapping[str, Collector], variables: Variables | None
    ) -> engine.Job:
        kept = [[c.name, collectors[c.name].kind, c.count, c.output, *self._weights(c)] for c in _by_name(chosen)]
        clip = chosen[0].metric.clip
        subject, what = self._sets[clip][0], "clips" if clip else "images"
        if not isinstance(subject, Generator):
            size = self._drawn_from(chosen[0])
            identity = {"evaluated": subject.identity, "kept": kept} | _how("drawn from", size)
            return self._images_job(f"evaluated {what}", subject, collectors, chosen, identity, size)
        assert variables is not None
        compute = fakes.make_features(subject, variables, self._extractor(clip), _wanted(chosen), clip)
        count, classes = max(c.count for c in chosen), subject.classes
        return self._drawing_job(f"generated {what}", count, {"kept": kept}, compute, classes=classes, clip=clip)

    def _drawn_from(self, c: Chosen) -> int:
        """Return the size of the set from which the evaluated images, or clips, are drawn; 0: they are the first.

        All of a set are drawn too, in another order: intervals compare groups of consecutive ones.
        """
        subject = self._sets[c.metric.clip][0]
        return subject.count(False) if c.draws and not isinstance(subject, Generator) else 0

    def _extractor(self, clip: Clip | None) -> Extractor:
        return self.extractor if clip is None else self.extractor.of_clips(clip.frames)

    def _images_job(
        self,
        title: str,
        images: Images | Clips | None,
        collectors: Mapping[str, Collector],
        chosen: Sequence[Chosen],
        identity: dict[str, Any],
        size: int = 0,
    ) -> engine.Job:
        """Return a pass over the first images, or clips, of a set; with `size`, over its first `size`, shuffled."""
        assert images is not None
        wanted, clip = _wanted(chosen), chosen[0].metric.clip
        extractor = self._extractor(clip)

        def load(index: np.ndarray) -> np.ndarray:
            own = extractor.own(index)
            return images.pixels(order.shuffled(own, size) if size else own)

        return engine.Job(
            title,
            identity,
            max(collectors[c.name].count for c in chosen),
            extractor.chunk,
            load,
            lambda pixels: extractor.of_pixels(wanted, pixels),
            "clip" if clip else "img",
        )

    def _drawing_job(
        self,
        title: str,
        count: int,
        kept: dict[str, Any],
        compute: fakes.Compute,
        per: int = 0,
        classes: str = "data",
        clip: Clip | None = None,
    ) -> engine.Job:
        """Return a pass over what a generator draws; an item is an image, `per` images, or a clip."""
        model, extractor, reals = self.subject, self._extractor(clip), self._sets[clip][1]
        assert isinstance(model, Generator)
        heads = reals.frames[:, 0] if isinstance(reals, Clips) else None
        identity = {}
        if model.identity:
            labels = model.labels.info().label_digest if model.labels is not None else ""
            labels = classes if classes == UNIFORM else labels
            identity = {"model": model.identity, "psi": model.psi, "seed": model.seed, "labels": labels} | kept

        def load(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            own = extractor.own(index)
            images = own[:, None] * per + np.arange(per) if per else own
            labels = model.label(images if clip else model.clips(images), classes, heads)
            return own.astype(np.int32), labels

        return engine.Job(title, identity, count, extractor.chunk, load, compute, "clip" if clip else "img")

    def _path(self, c: Chosen, variables: Variables | None) -> list[Result]:
        assert isinstance(self.subject, Generator) and variables is not None
        compute, rows = fakes.make_distances(self.subject, variables, self.extractor, c), Rows(c.count)
        job = self._drawing_job(c.name, c.count, {"path": c.name, "weights": self._weights(c)}, compute)
        seconds = engine.run(job, {"distance": [rows]}, self.store, **self.options)
        values = engine.run_on_first(c.name, lambda: families.measure_path_length(rows.rows[:, 0], self.seed))
        engine.forget(job, self.store)
        return self._results(c, values, seconds, {"evaluated": c.count})

    def _attributes(self, c: Chosen, variables: Variables | None) -> list[Result]:
        assert isinstance(self.subject, Generator) and variables is not None
        compute = fakes.make_attributes(self.subject, variables, self.extractor, c)
        rows = {name: Rows(c.count) for name in ("z", "w", "logits")}
        job = self._drawing_job(c.name, c.count, {"ls": c.name, "weights": self._weights(c)}, compute)
        seconds = engine.run(job, {name: [x] for name, x in rows.items()}, self.store, **self.options)
        began = time.monotonic()
        values = engine.run_on_first(c.name, lambda: families.measure_separability(*(x.rows for x in rows.values())))
        engine.forget(job, self.store)
        return self._results(c, values, seconds + time.monotonic() - began, {"evaluated": c.count})

    def _move(self, chosen: Sequence[Chosen], variables: Variables | None) -> Iterator[Result]:
        assert isinstance(self.subject, Generator) and variables is not None
        batch, kinds = fakes.EQUIVARIANCE_BATCH, tuple(c.metric.variant for c in chosen)
        compute = fakes.make_moves(self.subject, variables, self.extractor, kinds)
        rows = {c.metric.variant: Rows(-(-c.count // batch)) for c in chosen}
        count = max(x.count for x in rows.values())
        kept = {"equivariance": {kind: x.count for kind, x in rows.items()}}
        job = self._drawing_job("equivariance", count, kept, compute, per=batch)
        seconds = engine.run(job, {name: [x] for name, x in rows.items()}, self.store, **self.options)
        for c in chosen:
            sums = rows[c.metric.variant].rows
            values = engine.run_on_first(c.name, lambda: families.measure_equivariance(sums, self.seed))  # noqa: B023
            yield from self._results(c, values, seconds, {"evaluated": len(sums) * batch})
        engine.forget(job, self.store)

    def _pairs(self, c: Chosen, variables: Variables | None) -> list[Result]:
        first, second = self.reals, self.subject
        assert isinstance(second, Images) and first is not None
        count = first.count(False)
        found, seconds = pairs.measure(
            c, count, first.pixels, second.pixels, self.extractor, seed=self.seed, **self.options
        )
        average = lambda: families.average_pairs(found, is_distance=pairs.is_distance(c))
        values = engine.run_on_first(c.name, average)
        return self._results(c, values, seconds, {"pairs": count})

    def _results(self, c: Chosen, values: families.Values, seconds: float, counts: dict[str, int]) -> list[Result]:
        ends = zip(c.results, values, strict=True) if values else ()
        return [Result(name, value, interval, seconds, c.net, counts) for name, (value, interval) in ends]


def _how(key: str, size: int) -> dict[str, int]:
    """Return what a drawn order adds to an identity or a record; nothing for the first ones."""
    return {key: size} if size else {}


def _grouped(chosen: Sequence[Chosen], key: Callable[[Chosen], Any]) -> list[list[Chosen]]:
    """Return the metrics in groups of equal keys, in the order in which the keys first occur."""
    groups: dict[Any, list[Chosen]] = {}
    for c in chosen:
        groups.setdefault(key(c), []).append(c)
    return list(groups.values())


def _by_name(chosen: Sequence[Chosen]) -> list[Chosen]:
    return sorted(chosen, key=lambda c: c.name)


def _wanted(chosen: Sequence[Chosen]) -> dict[str, list[str]]:
    return {net: sorted({c.output for c in chosen if c.net == net}) for net in sorted({c.net for c in chosen})}


def _by_output(chosen: Sequence[Chosen], collectors: Mapping[str, Collector]) -> dict[str, list[Collector]]:
    """Return {output: its collectors}, in an order that the order of `chosen` does not change."""
    out: dict[str, list[Collector]] = {}
    for c in _by_name(chosen):
        out.setdefault(f"{c.net}/{c.output}", []).append(collectors[c.name])
    return out


def _clips(c: Chosen, subject: Generator | Images, reals: Images | None) -> tuple[Any, Clips | None]:
    """Return (subject, reals) as clips; reals begin anywhere in a video, the subject's clips at the first frame."""
    clip = c.metric.clip
    assert clip is not None
    real = None if reals is None else make_clips(reals, clip, c.name, is_random=True)
    return subject if isinstance(subject, Generator) else make_clips(subject, clip, c.name, is_random=False), real


def _check(c: Chosen, subject: Generator | Images | Clips, reals: Images | Clips | None) -> None:
    family = c.metric.family
    drawn = isinstance(subject, Generator)
    if family in MODEL_ONLY and not drawn:
        raise MetricError(f"{c.name} needs the generator itself; pass --model instead of a second set of images")
    if family == "equivariance" and isinstance(subject, Generator) and subject.exact.with_transform is None:
        raise MetricError(
            f"{c.name} needs a generator that can translate or rotate its output, such as stylegan3; "
            f"{subject.config.arch!r} cannot"
        )
    if c.metric.real and reals is None:
        raise MetricError(f"{c.name} compares with real images; pass --data")
    if family == "pairs":
        if drawn:
            raise MetricError(f"{c.name} compares pairs of images; pass them as --data and --data2, in the same order")
        assert isinstance(subject, Images) and isinstance(reals, Images)
        _check_pairs(c, subject, reals)
    if family not in families.FAMILIES:
        return
    least, clip = families.FAMILIES[family].least, c.metric.clip
    what, one = ("clips, one of each video", f" videos of at least {clip.least} frames") if clip else ("images", "")
    if c.count < least:
        raise MetricError(f"{c.name} of {c.count} {what}; {family} needs at least {least}")
    if not drawn and subject.count(False) < c.count:
        have, name = subject.count(False), subject.source.info().name
        raise MetricError(
            f"{c.name} evaluates {c.count} {what}; {name} has {have}{one}; add --num_images={have} (which changes the "
            "printed name), or pass more"
        )
    if c.metric.real and reals is not None and reals.count(False) < least:
        raise MetricError(f"{c.name} needs at least {least} real{one or ' images'}; there are {reals.count(False)}")


def _check_pairs(c: Chosen, second: Images, first: Images) -> None:
    counts = first.count(False), second.count(False)
    if counts[0] != counts[1]:
        raise MetricError(f"{c.name} compares pairs; --data has {counts[0]} images and --data2 {counts[1]}")
    if c.metric.need in PIXELWISE and first.source.size != second.source.size:
        (h, w), (h2, w2) = first.source.size, second.source.size
        raise MetricError(f"{c.name} compares pixel by pixel; --data has {w}x{h} images and --data2 {w2}x{h2}")
