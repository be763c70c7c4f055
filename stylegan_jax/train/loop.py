"""`train(config, workdir)`: one run from start, or from where it stopped, to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stylegan_jax import __version__, models, rng
from stylegan_jax.config import ConfigError, ExperimentConfig, ModelConfig, check_devices, resume_conflicts, validate
from stylegan_jax.data import FittedSource, describe_data, open_batches, open_source
from stylegan_jax.load import LoadedModel, load_model
from stylegan_jax.spec import SourceInfo
from stylegan_jax.train import report, schedule, step as steps, terms, transfer
from stylegan_jax.train.checkpoint import Checkpointer
from stylegan_jax.train.grid import Grid, grid_size
from stylegan_jax.train.restore import committed_steps
from stylegan_jax.train.sharding import Layout, make_layout
from stylegan_jax.train.signals import StopSignal
from stylegan_jax.train.state import TrainState, ema_model
from stylegan_jax.train.workdir import WorkdirLock

_log = logging.getLogger(__name__)


class DivergedError(Exception):
    """A loss became NaN or infinite; the text names the term, the step and the last good checkpoint."""


def train(config: ExperimentConfig, workdir: str | os.PathLike[str], source: FittedSource | None = None) -> TrainState:
    """Train until `config.train.total_kimg`, resuming from `workdir` when it holds a checkpoint.

    SIGTERM, SIGINT and SIGUSR1 finish the step, save and return.

    Args:
        config: the whole experiment.
        workdir: folder of the run; created if absent.
        source: images to train on, in place of `config.data` (see `data.fit_source`); the caller closes it.

    Returns:
        The last state, on the devices.

    Raises:
        ConfigError, DataError: something does not fit; nothing has been compiled or written over.
        WorkdirBusyError: another live process trains in `workdir`.
        DivergedError: a loss is NaN or infinite.
        CheckpointError: a checkpoint could not be written or none can be read.
    """
    validate(config)
    use_compilation_cache(config.train.compilation_cache)
    folder = Path(workdir)
    layout = make_layout(config.train.num_devices)
    check_devices(config, layout.mesh.size)
    make_folder(folder)
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            stack.enter_context(WorkdirLock(folder))
        if source is None:
            source = stack.enter_context(contextlib.closing(open_source(config.data, config.model.image_shape)))
        config = resolve_labels(config, source.info())
        check_workdir(folder, config)
        return Run(config, folder, layout, source).go()


class Run:
    """What one call of `train` holds; `go` is the loop."""

    def __init__(self, config: ExperimentConfig, folder: Path, layout: Layout, source: FittedSource):
        self.config, self.folder, self.layout, self.source = config, folder, layout, source
        self.gan = models.build(config.model)
        self.root_key = jax.device_put(rng.root(config.train.seed), layout.replicated)
        self.is_chief = jax.process_index() == 0
        self.grid = Grid(self.gan, config, layout, self.root_key)
        log, batch = config.log, config.train.batch_size
        every = round(log.keep_every_kimg * 1000 / batch) if log.keep_every_kimg else None
        self.checkpoints = Checkpointer(folder, keep_latest=log.keep_latest, keep_every_steps=every)

    def go(self) -> TrainState:
        """Compile, initialise or restore, and train to the end or to a signal."""
        config, batch_size = self.config, self.config.train.batch_size
        print(describe(config, self.source.info(), self.layout), flush=True)
        with StopSignal() as stop, self.checkpoints:  # signals are held until the last checkpoint is on the disk
            total = schedule.total_steps(config)
            restored = self._restore()
            if restored is not None and restored[1] >= total:
                print(f"nothing to do: {config.train.total_kimg:g} kimg are done; raise config.train.total_kimg")
                return restored[0]
            source = self._transfer_source() if restored is None else None
            with ThreadPoolExecutor(1) as pool:  # the programs compile while the state is made
                compiling = pool.submit(self._compile)
                state, first = restored or (self._create(source), 0)
                programs = compiling.result()
            with contextlib.ExitStack() as reports:
                self._open_reports(first, total, reports)
                if first == 0:
                    self._draw_grids(state, first)
                batches = open_batches(
                    self.source,
                    config.data,
                    config.model.image_shape,
                    batch_size=batch_size,
                    seed=config.train.seed,
                    start=first * batch_size,
                    sharding=self.layout.batch,
                    shard_index=jax.process_index(),
                    shard_count=jax.process_count(),
                )
                reports.callback(batches.close)
                return self._loop(state, first, total, programs, batches, stop)

    def _loop(self, state: TrainState, first: int, total: int, programs: dict, batches: Any, stop: StopSignal):
        for step in range(first, total):
            batch = next(batches)
            with jax.transfer_guard_device_to_host("disallow"):  # a step never waits for the host
                for name in schedule.phases(self.config, step):
                    state = programs[name](state, batch, self.root_key)
            if step == first:
                jax.block_until_ready(state.step)
                self.bar.line(f"first step done {report.process_seconds():.1f} s after the start of the process")
            self.bar.update(self.config.train.batch_size / 1000)
            due = schedule.due(self.config, step + 1)
            if due.report:
                state = self._report(state, step + 1, due.tick)
            if due.grid:
                self._draw_grids(state, step + 1)
            stopped = stop.requested is not None if jax.process_count() == 1 else due.report and stop.agreed()
            if due.checkpoint or stopped:
                self._save(state, step + 1)
            if stopped:
                self.checkpoints.wait()
                self.bar.line(f"{stop.requested or 'a signal elsewhere'}: saved step {step + 1}; run again to go on")
                break
        return state

    def _restore(self) -> tuple[TrainState, int] | None:
        """Restore the newest good checkpoint, if there is one; check the room on disk first.

        Raises:
            ConfigError: no room, or the checkpoint was made with another configuration or data set.
        """
        target = steps.state_shapes(self.gan, self.config, self.layout)
        check_space(self.folder, target, self.config.log.keep_latest)
        restored = self.checkpoints.restore(target)
        if restored is None:
            return None
        state, meta, step = restored
        bad, _ = resume_conflicts(meta["config"], self.config.to_dict())
        info = self.source.info()
        if meta["num_images"] != info.num_images:
            bad.append(f"images in the data set: {meta['num_images']} -> {info.num_images}")
        elif meta.get("labels", info.label_digest) != info.label_digest:
            bad.append(f"labels of the images: {meta['labels']} -> {info.label_digest} (digests)")
        refuse(self.folder, bad)
        print(f"resuming from step {step} ({meta['nimg'] / 1000:.2f} kimg) of {self.folder}", flush=True)
        return state, step

    def _transfer_source(self) -> LoadedModel | None:
        """Load the model to start from and check that it fits, before anything is compiled."""
        path = self.config.train.init_from
        if not path:
            return None
        source = load_model(path, whole=True)
        transfer.transfer(steps.state_shapes(self.gan, self.config, self.layout), self.config.model, source, path)
        return source

    def _create(self, source: LoadedModel | None) -> TrainState:
        """Initialise the state, from another model where one is given."""
        state = steps.create_state(self.gan, self.config, self.layout, self.root_key)
        if source is None:
            return state
        state, lines = transfer.transfer(state, self.config.model, source, self.config.train.init_from)
        print("\n".join(lines), flush=True)
        return jax.device_put(state, self.layout.replicated)

    def _compile(self) -> dict:
        """Compile every program of the run, several at a time."""
        jitted = steps.jit_programs(steps.make_programs(self.gan, self.config, self.layout), self.layout)
        batch = steps.batch_shapes(self.gan, self.config, self.layout)
        names = schedule.used_programs(self.config)
        shapes = steps.state_shapes(self.gan, self.config, self.layout)
        with ThreadPoolExecutor(1) as pool:
            grid = pool.submit(self.grid.compile, shapes)
            programs = steps.compile_programs(jitted, names, shapes, batch, self.root_key)
            grid.result()
        return programs

    def _open_reports(self, first: int, total: int, stack: contextlib.ExitStack) -> None:
        log, batch = self.config.log, self.config.train.batch_size
        self.clock = report.Clock(first * batch, total * batch)
        self.bar = report.Bar(log.progress_bar and self.is_chief, total * batch / 1000, first * batch / 1000)
        self.stats = report.StatsFile(self.folder / "stats.jsonl", first) if self.is_chief else None
        self.board = report.TensorBoard(self.folder / "tensorboard") if log.tensorboard and self.is_chief else None
        for opened in (self.board, self.stats, self.bar):
            if opened is not None:
                stack.callback(opened.close)

    def _check_finite(self, stats: terms.Stats, step: int) -> None:
        bad = terms.first_bad(stats)
        if bad is None:
            return
        kept = self.checkpoints.steps()
        raise DivergedError(
            f"{bad[0]} is not finite at step {bad[1]} ({bad[1] * self.config.train.batch_size / 1000:.2f} kimg); "
            f"the last good checkpoint is {f'step {kept[-1]}' if kept else 'none yet'}. Lower config.train.g_lr and "
            "d_lr, raise config.loss.r1_gamma, or set config.model.compute_dtype='float32', and run in a new workdir"
            + (f" with config.train.init_from={self.folder}" if kept else "")
        )

    def _report(self, state: TrainState, step: int, tick: int) -> TrainState:
        """Fetch the sums of the tick, write them, and return the state with empty sums."""
        stats = jax.device_get(state.stats)
        self._check_finite(stats, step)
        nimg = step * self.config.train.batch_size
        timing, memory = self.clock.tick(nimg), report.memory_gib()
        means = terms.means(stats)
        if self.is_chief:
            row = {"step": step, "nimg": nimg, "tick": tick, "mean": means, "std": terms.stds(stats)}
            assert self.stats is not None
            self.stats.write(row | {"timing": timing, "memory": memory})
            if self.board is not None:
                self.board.scalars(step, means | {f"timing/{k}": v for k, v in timing.items()} | {"kimg": nimg / 1000})
            self.bar.line(report.progress_line(tick, nimg, timing, memory, means))
        return state.replace(stats=jax.device_put(terms.empty(), self.layout.replicated))

    def _draw_grids(self, state: TrainState, step: int) -> None:
        pixels = self.grid.draw(state)
        if not self.is_chief:
            return
        nimg, columns = step * self.config.train.batch_size, self.config.log.grid_columns
        folder = self.folder / "grids"
        grids = {"fakes": report.save_grid(folder, f"fakes_{nimg:09d}", pixels, columns)}
        if step == 0:
            reals = self.source.gather(np.arange(min(grid_size(self.config), self.source.info().num_images)))
            grids["reals"] = report.save_grid(folder, "reals", reals, columns)
        if self.board is not None:
            self.board.images(step, grids)

    def _save(self, state: TrainState, step: int) -> None:
        self._check_finite(jax.device_get(state.stats), step)
        if step in self.checkpoints.steps():
            return
        meta = {
            "nimg": step * self.config.train.batch_size,
            "config": self.config.to_dict(),
            "num_images": self.source.info().num_images,
            "labels": self.source.info().label_digest,
            "versions": {"stylegan_jax": __version__, "jax": jax.__version__},
        }
        self.checkpoints.save(step, state, ema_model(state), meta)


def use_compilation_cache(where: str) -> None:
    """Keep compiled programs on disk: 'auto' in the user's cache folder, 'off' not at all, else in that folder."""
    if where == "off":
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "stylegan_jax" / "xla" if where == "auto" else Path(where)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def make_folder(folder: Path) -> None:
    """Create the run's folder.

    Raises:
        ConfigError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--workdir={folder} cannot be created: {error}; choose a folder you can write to") from None


def resolve_labels(config: ExperimentConfig, info: SourceInfo) -> ExperimentConfig:
    """Fill in `model.label_dim` from the data.

    Raises:
        ConfigError: the data's labels have another length than the configuration says.
    """
    wanted = config.model.label_dim
    if wanted not in (-1, info.label_dim):
        raise ConfigError(
            f"config.model.label_dim is {wanted}; the labels of {info.name} have length {info.label_dim}; "
            "use -1 to take it from the data, or set config.data.labels"
        )
    return dataclasses.replace(config, model=with_labels(config.model, info.label_dim))


def with_labels(model: ModelConfig, label_dim: int) -> ModelConfig:
    """Return the model with its label length decided (an undecided -1 becomes `label_dim`)."""
    return dataclasses.replace(model, label_dim=label_dim) if model.label_dim == -1 else model


def check_workdir(folder: Path, config: ExperimentConfig) -> None:
    """Compare with the config.json of an earlier run here, then write ours.

    Raises:
        ConfigError: there is a checkpoint, made with another model, loss, data or optimiser; the text shows the diff.
    """
    path = folder / "config.json"
    if path.exists() and committed_steps(folder / "checkpoints"):
        try:
            bad, fine = resume_conflicts(json.loads(path.read_text()), config.to_dict())
        except ValueError:
            bad, fine = [], []  # a damaged file; the checkpoint holds the configuration too
        refuse(folder, bad)
        for line in fine:
            print(f"changed since the last start: {line}", flush=True)
    if jax.process_index() == 0:
        part = path.with_name("config.json.part")
        part.write_text(json.dumps(config.to_dict(), indent=2) + "\n")
        part.replace(path)


def refuse(folder: Path, differences: list[str]) -> None:
    """Raise ConfigError with the list, if there are differences to what `folder` was made with."""
    if differences:
        raise ConfigError(
            f"{folder} holds a run made with another configuration:\n  " + "\n  ".join(differences) + "\nUse the same "
            "values to resume it, or another --workdir to start anew"
        )


def check_space(folder: Path, state: TrainState, keep: int) -> None:
    """Refuse to start without room for the checkpoints.

    Raises:
        ConfigError: less free space than `keep` + 1 checkpoints need.
    """
    one = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) * 1.3
    free = shutil.disk_usage(folder).free
    if free < one * (keep + 1):
        raise ConfigError(
            f"{folder} has {free / 2**20:.0f} MiB free; {keep} + 1 checkpoints need {one * (keep + 1) / 2**20:.0f} "
            "MiB; free some, choose another --workdir, or lower config.log.keep_latest"
        )


def describe(config: ExperimentConfig, info: SourceInfo, layout: Layout) -> str:
    """Return the lines printed at the start of a run."""
    h, w, c = config.model.image_shape
    device = layout.mesh.devices.flat[0]
    lines = [
        f"{config.name}: {config.model.arch} {h}x{w}x{c}, labels {config.model.label_dim}, "
        f"batch {config.train.batch_size}, {config.train.total_kimg:g} kimg",
        f"data: {describe_data(config.data, info)}",
        f"devices: {layout.mesh.size} x {device.device_kind} ({device.platform})",
    ]
    lines += [f"  skipped {name}: {why}" for name, why in info.skipped[:20]]
    return "\n".join(lines)
