"""Metrics of a run during training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from stylegan_jax import models
from stylegan_jax.base.agreement import from_first
from stylegan_jax.base.spec import Variables
from stylegan_jax.config import ConfigError, ExperimentConfig
from stylegan_jax.data import FittedSource
from stylegan_jax.metrics import detectors, engine, fakes, opening, report
from stylegan_jax.metrics.definitions import choose, paths_of, split
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.metrics.evaluate import Evaluation
from stylegan_jax.metrics.images import Extractor, make_images
from stylegan_jax.metrics.store import Store, default_folder
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.runtime.records import StatsFile, duration
from stylegan_jax.runtime.signals import StopSignal

_AGREED = (MetricError, engine.StoppedError)
"""Failures that all processes raise together."""
_ALONE = (*_AGREED, OSError, ValueError, MemoryError, jax.errors.JaxRuntimeError)
"""Also failures of one process, which cost only a warning if no other process waits; DataError and LinAlgError are
ValueErrors."""


class Evaluator:
    """Computes `config.eval.metrics`; its programs are compiled by the first call.

    Attributes:
        names: of the reported values, 'metric/fid5k'.
        facts: values that must be equal on every process, by the name to show.
    """

    def __init__(self, config: ExperimentConfig, source: FittedSource, layout: Layout, folder: Path):
        """Load networks and check the data; see `make_evaluator`."""
        e = config.eval
        chosen = choose(split(e.metrics), split(e.features), e.num_images)
        for c in chosen:
            wanted = "max" if c.metric.higher_is_better else "min"
            best = config.log.keep_best.removeprefix("metric/")
            if best in c.results and config.log.best_mode != wanted:
                raise MetricError(f"config.log.best_mode is {config.log.best_mode!r}; for {best}, use {wanted!r}")
        nets = sorted({c.net for c in chosen if c.net})
        self._nets = detectors.load(nets, paths_of(e.features_path, nets))
        source = opening.whole(source) if config.data.subset and source.keep is not None else source
        reals = make_images(source, (config.data.xflip, config.data.yflip))
        subject = fakes.make_generator(config.model, models.build(config.model), source, 1.0, 0, {})
        extractor = Extractor(self._nets, layout, e.batch * layout.shards)
        store = Store({"auto": default_folder(), "off": None}.get(e.cache, e.cache))
        self._evaluation = Evaluation(chosen, subject, reals, self._nets, extractor, store, progress=False)
        self._path = folder / "metrics.jsonl"
        self._about = {"data": report.describe(reals, config.data.path), "psi": 1.0, "seed": 0} | report.machine()
        self.facts = {"feature networks (digests)": {name: net.digest for name, net in self._nets.items()}}
        self.names = [f"metric/{name}" for c in chosen for name in c.results]

    def __call__(
        self, variables: Variables, step: int, nimg: int, stop: StopSignal
    ) -> tuple[dict[str, float], Sequence[str]]:
        """Evaluate the averaged generator.

        Args:
            variables: of the generator, with 'w_avg', as they are on the devices.
            step: iterations done.
            nimg: images shown.
            stop: in a run of one process, a signal ends the evaluation.

        Returns:
            (values by name, the same on all processes; lines to show). An evaluation that fails (a generator whose
            images break a metric, images that cannot be read, memory) raises no error: the lines say so, and there are
            no values. A full disk costs only the record in metrics.jsonl.
        """
        began, alone = time.monotonic(), jax.process_count() == 1
        failures = _ALONE if alone else _AGREED
        try:
            results = list(self._evaluation.run(variables, lambda: alone and stop.requested is not None))
        except failures as error:
            kind = "" if isinstance(error, _AGREED) else f"{type(error).__name__}: "
            return {}, [f"warning: no metrics at step {step}: {kind}{error}"]
        found = {f"metric/{r.name}": r.value for r in results}
        own = np.array([found.get(name, 0.0) for name in self.names])  # the first process has them
        values = dict(zip(self.names, from_first(own).tolist(), strict=True))
        shown = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
        lines = [f"step {step}: {shown} in {duration(time.monotonic() - began)}"]
        try:
            self._write(results, step, nimg)
        except OSError as error:  # the values are still good
            lines.append(f"warning: {self._path} lacks the metrics of step {step}: {error}")
        return values, lines

    def _write(self, results: Sequence, step: int, nimg: int) -> None:
        if not engine.is_first():
            return
        file = StatsFile(self._path, step - 1)  # drops records of later steps, which a resumed run repeats
        try:
            for result in results:
                file.write({"step": step, "nimg": nimg} | report.record(result, self._nets, self._about))
        finally:
            file.close()


def make_evaluator(config: ExperimentConfig, source: FittedSource, layout: Layout, folder: Path) -> Evaluator:
    """Return the evaluator of a run's metrics.

    Raises:
        ConfigError: a metric is unknown or does not fit model or data, or the weights of a network are missing.
    """
    try:
        return Evaluator(config, source, layout, folder)
    except MetricError as error:
        raise ConfigError(f"config.eval.metrics={config.eval.metrics}: {error}") from None
