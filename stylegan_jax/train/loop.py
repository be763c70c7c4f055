"""`train(config, workdir)`: start a run, or resume it where it stopped, and train to the end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from stylegan_jax import __version__
from stylegan_jax.base import bundled
from stylegan_jax.base.errors import printable
from stylegan_jax.checkpoints import averages
from stylegan_jax.checkpoints.checkpointer import Checkpointer, NonFiniteError
from stylegan_jax.config import (
    ExperimentConfig,
    check_devices,
    images_shown,
    is_grown,
    level_at,
    levels,
)
from stylegan_jax.data import Batches, FittedSource, check_examples, open_batches, open_source
from stylegan_jax.data.fingerprint import quick_fingerprint
from stylegan_jax.runtime import records
from stylegan_jax.runtime.ahead import Ahead
from stylegan_jax.runtime.compiling import use_compilation_cache
from stylegan_jax.runtime.lock import WorkdirLock
from stylegan_jax.runtime.mesh import Layout, layout_of
from stylegan_jax.runtime.processes import check_agreement, check_shared, run_on_all_processes
from stylegan_jax.runtime.signals import StopSignal
from stylegan_jax.train import guard, programs, report, schedule, terms
from stylegan_jax.train.cells import grid_images
from stylegan_jax.train.guard import DivergedError
from stylegan_jax.train.names import check_config
from stylegan_jax.train.startup import (
    check_frozen,
    check_keep_best,
    check_meta,
    check_origin,
    check_space,
    check_workdir,
    describe,
    facts_of,
    make_folder,
    record_config,
)
from stylegan_jax.train.state import TrainState
from stylegan_jax.train.task import Frozen, Task
from stylegan_jax.train.tasks import make_task, resolve, with_data
from stylegan_jax.train.trackers import Trackers, check_trackers

if TYPE_CHECKING:
    from stylegan_jax.metrics.training import Evaluator


def default_evaluator(config: ExperimentConfig, source: FittedSource, layout: Layout, folder: Path) -> Evaluator:
    """Return the evaluator of `config.eval` during training (`metrics.training`)."""
    from stylegan_jax.metrics.training import make_evaluator  # here because SciPy takes a second to import

    return make_evaluator(config, source, layout, folder)


def train(
    config: ExperimentConfig,
    workdir: str | os.PathLike[str],
    source: FittedSource | None = None,
    make_evaluator: Callable[[ExperimentConfig, FittedSource, Layout, Path], Evaluator] = default_evaluator,
) -> TrainState:
    """Train until `config.train.total_kimg`, resuming from `workdir` if it contains a checkpoint.

    On SIGTERM, SIGINT or SIGUSR1 the current step is finished, a checkpoint is saved, and the function returns.

    Args:
        config: the whole experiment.
        workdir: folder of the run; created if absent.
        source: images to train on instead of those of `config.data` (see `data.fit_source`); the caller closes it.
        make_evaluator: (config, source, layout, folder) -> the evaluator; called if `config.eval.metrics` names any.

    Returns:
        The last state, on the devices.

    Raises:
        ConfigError, DataError: the configuration, the data or the workdir do not fit together; nothing has been
            compiled or overwritten.
        WorkdirBusyError: another live process trains in `workdir`.
        WorkdirMovedError: `workdir` was moved or replaced during the run.
        DivergedError: a loss is NaN or infinite.
        CheckpointError: a checkpoint could not be written, or none can be read.
    """
    config = resolve(config)
    check_config(config)
    use_compilation_cache(config.train.compilation_cache)
    folder = Path(workdir).expanduser()
    layout = layout_of(config)
    check_devices(config, layout.shards)
    lock = WorkdirLock(folder)
    with contextlib.ExitStack() as stack:

        def prepare() -> tuple[ExperimentConfig, FittedSource, Task, dict[str, Frozen], Evaluator | None]:
            make_folder(folder)
            if jax.process_index() == 0:
                stack.enter_context(lock)
                check_trackers(config)
            opened = source or stack.enter_context(
                contextlib.closing(open_source(config.data, config.model.image_shape))
            )
            resolved = with_data(config, opened.info())
            task = make_task(resolved, layout, opened)
            first, last = levels(resolved)[0], levels(resolved)[-1]
            check_examples(opened, resolved.data, task.plan(last).rule)
            opened.leave_out_bad(task.plan(first).image_shape, resolved.data)
            evaluator = make_evaluator(resolved, opened, layout, folder) if resolved.eval.metrics else None
            check_keep_best(resolved, task.plan(last), evaluator.names if evaluator else ())
            frozen = {name: load() for name, load in task.frozen.items()}
            check_workdir(folder, resolved)
            return resolved, opened, task, frozen, evaluator

        whole, opened, task, frozen, evaluator = run_on_all_processes(prepare)
        check_shared(folder)
        facts = facts_of(opened.info()) | {f"weights of {name} (SHA-256)": net.digest for name, net in frozen.items()}
        check_agreement(whole, facts | (evaluator.facts if evaluator else {}))
        return Run(whole, folder, lock, layout, opened, task, frozen, evaluator).run()


class Equipment(NamedTuple):
    """What a level runs with: its compiled programs, and the images at its size."""

    programs: dict[str, programs.Program]
    source: FittedSource


class Run:
    """One call of `train`. A run that does not grow has a single level."""

    def __init__(
        self,
        config: ExperimentConfig,
        folder: Path,
        lock: WorkdirLock,
        layout: Layout,
        source: FittedSource,
        task: Task,
        frozen: Mapping[str, Frozen],
        evaluator: Evaluator | None = None,
    ):
        self.config, self.folder, self.lock, self.layout, self.source = config, folder, lock, layout, source
        self.task, self.evaluator = task, evaluator
        self.root_key = layout.root_key(config.train.seed)
        self.is_chief = jax.process_index() == 0
        self.images = quick_fingerprint(source)
        commit = bundled.commit()
        self.versions = {"stylegan_jax": __version__, "jax": jax.__version__} | ({"commit": commit} if commit else {})
        self.levels = levels(config)
        self.previews = [task.preview(level) for level in self.levels]
        self.restart = programs.jit_restart(task, config, layout)
        self.frozen = {name: layout.place(network.tree) for name, network in frozen.items()}
        self.digests = {name: network.digest for name, network in frozen.items()}
        self.state_shapes = programs.state_shapes(task, layout, self.frozen)
        self.ahead = Ahead(self._equip, len(self.levels))
        self.rollbacks = 0
        self.origin: str | None = None  # digest of the weights that the run began from; '': random, None: unknown
        self.bad_streak: dict[str, int] = {}
        self.reported: tuple[int, dict[str, float]] = (-1, {})  # step and values of the last report
        log = config.log
        period = lambda step: int(self._nimg(step) / (log.keep_every_kimg * 1000))
        best = {"keep_best": log.keep_best or None, "best_mode": log.best_mode}
        every = period if log.keep_every_kimg else None
        self.checkpoints = Checkpointer(folder, keep_latest=log.keep_latest, keep_every=every, **best)

    def log(self, text: str) -> None:
        """Print on the first process only."""
        if self.is_chief:
            print(text, flush=True)

    def run(self) -> TrainState:
        """Compile, initialise or restore the state, and train until the end or a signal."""
        config = self.config
        self.log(describe(config, self.source.info(), self.layout))
        with StopSignal() as stop, self.checkpoints, self.ahead:  # a signal waits until the last checkpoint is saved
            total = schedule.total_steps(config)
            restored = self._restore()
            if restored is not None and restored[1] >= total:
                reached = f"the run has already reached {config.train.total_kimg:g} kimg"
                self.log(f"nothing to do: {reached}; raise config.train.total_kimg")
                return restored[0]
            if restored is not None and self._is_stale(restored[1]):
                self.log(f"nothing to do: {self._stale_line()}; raise config.train.early_stop_kimg, or set it to 0")
                return restored[0]
            reload = self.task.reload if restored else None
            source = run_on_all_processes(self._transfer_source) if restored is None or reload else None
            number = level_at(config, restored[1] if restored else 0)
            self.ahead.start(number)  # the programs compile while the state is initialised
            state, first = restored or (self._create(source), 0)
            state = self._take(reload, state, source) if reload else state
            self.ahead.get(number)
            run_on_all_processes(lambda: record_config(self.folder, config))  # every check has passed
            while True:
                try:
                    return self._train_from(state, first, total, stop)
                except (DivergedError, NonFiniteError) as error:
                    if config.train.on_nan != "rollback":
                        raise
                    if self.rollbacks >= config.train.max_rollbacks:
                        raise DivergedError(f"{error} (after {self.rollbacks} rollbacks)") from None
                    problem = str(error)
                del state  # frees the failed state: the exception that also referred to it is gone
                state, first = self._roll_back(problem)

    def _train_from(self, state: TrainState, first: int, total: int, stop: StopSignal) -> TrainState:
        """Open the reports and train level after level, starting at step `first`."""
        with contextlib.ExitStack() as reports:
            self._open_reports(first, total, reports)
            if first == 0:
                self._draw_grids(state, first)
            seed = schedule.after_rollbacks(self.config.train.seed, self.rollbacks)
            root_key = self.layout.root_key(seed)
            for number in range(level_at(self.config, first), len(self.levels)):
                with self._open_batches(first, number, seed) as batches:
                    state, is_over = self._loop(state, first, number, batches, root_key, stop)
                if is_over:
                    break
                first = self.levels[number].end
            return state

    def _open_batches(self, first: int, number: int, seed: int) -> Batches:
        """Open a level's data at step `first`, and begin to compile the next level's programs."""
        config, level = self.config, self.levels[number]
        source, plan = self.ahead.get(number).source, self.task.plan(level)
        self.ahead.start(number + 1)
        self.ahead.drop_below(number)
        if len(self.levels) > 1:
            self.bar.line(f"images of height {level.height} starting at step {first}, in batches of {level.batch_size}")
        return open_batches(
            source,
            config.data,
            plan.image_shape,
            batch_size=level.batch_size,
            seed=seed,
            start=level.examples(first),
            sharding=self.layout.batch,
            shard_index=jax.process_index(),
            shard_count=jax.process_count(),
            draws=plan.draws,
            has_second=plan.batch.second is not None,
            rule=plan.rule,
        )

    def _loop(
        self, state: TrainState, first: int, number: int, batches: Batches, root_key: jax.Array, stop: StopSignal
    ) -> tuple[TrainState, bool]:
        """Train from step `first` to the end of a level; return (state, whether the run is over)."""
        level, compiled = self.levels[number], self.ahead.get(number).programs
        phases = self.task.plan(level).phases
        for step in range(first, level.end):
            if step in level.restarts:
                state = self.restart(state)
            with self.clock.waiting():
                batch = next(batches)
            with jax.transfer_guard_device_to_host("disallow"):  # the loop never waits for a step's results
                due_phases = schedule.due_phases(phases, step, level.nimg(step))
                state = programs.run_step(compiled, due_phases, state, self.frozen, batch, root_key)
            if step == self.first:
                jax.block_until_ready(state.step)
                self.bar.line(f"first step done {report.seconds_since_start():.1f} s after the start of the program")
                self.trackers.start()
            self.bar.update(level.batch_size / 1000)
            due = schedule.due(self.config, step + 1)
            metrics = self._evaluate(state, step + 1, stop) if due.metrics and is_grown(self.config, step + 1) else {}
            if due.report:
                state = self._report(state, step + 1, due.tick, metrics)
            if due.grid:
                self._draw_grids(state, step + 1)
            stopped = stop.agreed()
            if due.averages:
                self._store_averages(state, step + 1)
            if due.checkpoint or stopped:
                self._save(state, step + 1)
            if stopped:
                self.checkpoints.wait()
                self.bar.line(f"{stop.reason()}: saved step {step + 1}; run again to continue")
                return state, True
            if due.checkpoint and self._is_stale(step + 1):
                self.bar.line(f"stopped at step {step + 1}: {self._stale_line()}")
                return state, True
        return state, False

    def _nimg(self, step: int) -> int:
        return images_shown(self.config, step)

    def _is_stale(self, step: int) -> bool:
        """Return whether `log.keep_best` has gone without improvement for `train.early_stop_kimg`."""
        limit, best = self.config.train.early_stop_kimg, self.checkpoints.best()
        return bool(limit) and best is not None and self._nimg(step) - self._nimg(best[0]) >= limit * 1000

    def _stale_line(self) -> str:
        best = self.checkpoints.best()
        assert best is not None
        return (
            f"{self.config.log.keep_best} has not been better than {best[1]:.6g} (checkpoint of step {best[0]}, kept) "
            f"for {self.config.train.early_stop_kimg:g} kimg"
        )

    def _roll_back(self, problem: str) -> tuple[TrainState, int]:
        """Return (state, step) of the newest good checkpoint, or of the start; seed and data order change from here."""
        used = self.rollbacks + 1
        state, first = self._restore() or (self._create(self._transfer_source()), 0)
        self.rollbacks, self.bad_streak = used, {}
        self.log(
            f"rollback {used} of {self.config.train.max_rollbacks}: {problem}\n"
            f"continuing from step {first} with other random numbers"
        )
        return state, first

    def _restore(self) -> tuple[TrainState, int] | None:
        """Check the free disk space, then restore (state, step) from the newest good checkpoint, if there is one.

        Raises:
            ConfigError: too little space, or the checkpoint was made with another configuration or data set.
        """
        log = self.config.log
        run_on_all_processes(lambda: check_space(self.folder, self.state_shapes, log.keep_latest + bool(log.keep_best)))

        def check(meta: Mapping[str, Any]) -> None:
            check_meta(self.folder, meta, self.config, self.source.info())
            check_frozen(self.folder, meta.get("frozen", {}), self.digests)
            if not self.task.reload:
                check_origin(self.folder, meta, self.config, lambda path: self.task.open_source(path).digest)

        restored = self.checkpoints.restore(self.state_shapes, check=check)
        if restored is None:
            return None
        state, meta, step = restored
        self.rollbacks, self.origin = meta.get("rollbacks", 0), meta.get("origin")
        self.log(f"resuming from step {step} ({meta['nimg'] / 1000:.2f} kimg) of {self.folder}")
        before = meta.get("images")
        if before and self.images and before != self.images:  # '' if they could not be read
            name = printable(self.source.info().name)
            self.log(f"warning: the images of {name} have changed since the last start")
            self._draw_reals()
        return state, step

    def _transfer_source(self) -> Any:
        """Load the model of `train.init_from`, if any, and check that it fits, before anything is compiled."""
        source = self.task.open_source(self.config.train.init_from)
        self.origin = ""
        if source is not None:
            self.task.transfer(self.state_shapes, source)
            self.origin = source.digest
        return source

    def _create(self, source: Any) -> TrainState:
        """Initialise the state; copy weights from `source`, if there is one."""
        state = programs.create_state(self.task, self.layout, self.root_key, self.frozen)
        return state if source is None else self._take(self.task.transfer, state, source)

    def _take(self, copy: Callable[..., Any], state: TrainState, source: Any) -> TrainState:
        """Copy another model's weights into the state with `copy`, a task's `transfer` or `reload`."""
        state, lines = copy(state, source)
        self.log("\n".join(lines))
        return self.layout.place(state, self.layout.state(state))

    def _equip(self, number: int) -> Equipment:
        """Compile a level's programs and fit the images to its size; runs in a thread."""
        level, data = self.levels[number], self.config.data
        with ThreadPoolExecutor(1) as pool:
            source = pool.submit(self.source.at, self.task.plan(level).image_shape, data)
            return Equipment(self._compile(number), source.result())

    def _compile(self, number: int) -> dict[str, programs.Program]:
        """Compile every program of a level, several at once."""
        level, shapes = self.levels[number], self.state_shapes
        jitted = programs.jit_programs(programs.make_programs(self.task, self.config, self.layout, level), self.layout)
        batch = programs.batch_shapes(self.task, self.config, self.layout, level)
        with ThreadPoolExecutor(1) as pool:
            preview = pool.submit(self.previews[number].compile, shapes, self.frozen)
            compiled = programs.compile_programs(jitted, shapes, self.frozen, batch, self.root_key)
            preview.result()
        return compiled

    def _open_reports(self, first: int, total: int, stack: contextlib.ExitStack) -> None:
        log, done, end = self.config.log, self._nimg(first), self._nimg(total)
        self.first = first
        if self.is_chief:
            averages.remove_newer(self.folder, done)
        self.clock = report.Clock(done, end)
        self.bar = report.Bar(log.progress_bar, self.is_chief, end / 1000, done / 1000)
        self.stats = None
        self.trackers = Trackers(self.folder, first, self.config, self.is_chief)
        if self.is_chief:
            self.stats = records.StatsFile(self.folder / "stats.jsonl", first)
            if (self.folder / "metrics.jsonl").exists():
                records.StatsFile(self.folder / "metrics.jsonl", first).close()
        for opened in (self.trackers, self.stats, self.bar):
            if opened is not None:
                stack.callback(opened.close)

    def _check_finite(self, stats: terms.Stats, step: int) -> None:
        bad = terms.first_bad(stats, self.task.terms)
        if bad is None:
            return
        kept = self.checkpoints.steps()
        raise DivergedError(
            f"{bad[0]} is not finite at step {bad[1]} ({self._nimg(bad[1]) / 1000:.2f} kimg); "
            f"the last good checkpoint is {f'step {kept[-1]}' if kept else 'none yet'}. {self.task.advice}, "
            "and run in a new workdir" + (f" with config.train.init_from={self.folder}" if kept else "")
        )

    def _evaluate(self, state: TrainState, step: int, stop: StopSignal) -> dict[str, float]:
        """Return the metrics of the averaged generator by name, equal on all processes; {} if the evaluation fails."""
        assert self.evaluator is not None
        with self.clock.apart():
            values, lines = self.evaluator(self.task.export(state), step, self._nimg(step), stop)
        for line in lines:
            self.bar.line(line)
        return values

    def _report(self, state: TrainState, step: int, tick: int, metrics: dict[str, float]) -> TrainState:
        """Fetch and write the statistics of a tick; return the state with empty ones."""
        stats = jax.device_get(state.stats)
        self._check_finite(stats, step)
        for line in guard.check_steps(stats, self.task, self.config.train.on_nan, self.bad_streak, step):
            self.bar.line(line)
        nimg = self._nimg(step)
        timing, memory = self.clock.tick(nimg), report.memory_gib()
        means = terms.means(stats, self.task.terms)
        self.reported = step, means | metrics
        for line in self.task.warnings(means):
            self.bar.line(line)
        if self.is_chief:
            row = {"step": step, "nimg": nimg, "tick": tick, "mean": means, "std": terms.stds(stats, self.task.terms)}
            row |= {"rollbacks": self.rollbacks} if self.rollbacks else {}
            row |= {"metrics": metrics} if metrics else {}
            assert self.stats is not None
            self.stats.write(row | {"timing": timing, "memory": memory})
            shown = means | metrics | {f"timing/{k}": v for k, v in timing.items()} | {"kimg": nimg / 1000}
            self.trackers.scalars(step, shown)
            self.bar.line(report.progress_line(tick, nimg, timing, memory, means, self.task.short))
        return state.replace(stats=self.layout.place(terms.empty(len(self.task.terms))))

    def _draw_grids(self, state: TrainState, step: int) -> None:
        pixels = self.previews[level_at(self.config, max(step - 1, 0))].draw(state, self.frozen)
        if not self.is_chief:
            return
        nimg, columns = self._nimg(step), self.config.log.grid_columns
        folder = self.folder / "grids"
        grids = {"fakes": report.save_grid(folder, f"fakes_{nimg:09d}", pixels, columns, self.config.data.fps)}
        if step == 0:
            grids["reals"] = self._draw_reals()
        self.trackers.images(step, grids)

    def _draw_reals(self) -> Any:
        """Write and return the grid of real images, on the first process only."""
        if not self.is_chief:
            return None
        reals = self.source.gather(grid_images(self.config, self.source))
        return report.save_grid(self.folder / "grids", "reals", reals, self.config.log.grid_columns)

    def _save(self, state: TrainState, step: int) -> None:
        self._check_finite(jax.device_get(state.stats), step)
        if step in self.checkpoints.steps():
            return
        is_of_this = self.reported[0] == step and is_grown(self.config, step)  # levels are not comparable
        values = self.reported[1] if is_of_this else {}
        with self.lock.in_place():
            self.checkpoints.save(step, state, self.task.export(state), self._meta(step), metrics=values)

    def _store_averages(self, state: TrainState, step: int) -> None:
        """Write a snapshot of the averages, before the step's checkpoint: a resumed run finds all earlier ones."""
        with self.lock.in_place():
            averages.write_snapshot(self.folder, step, self.task.averages(state), self._meta(step))

    def _meta(self, step: int) -> dict[str, Any]:
        info = self.source.info()
        return {
            "nimg": self._nimg(step),
            "config": self.config.to_dict(),
            "num_images": info.num_images,
            "labels": info.label_digest,
            "images": self.images,
            "label_kind": info.label_kind,
            "label_names": [str(name) for name in info.label_names],
            "rollbacks": self.rollbacks,
            "frozen": self.digests,
            **({} if self.origin is None else {"origin": self.origin}),
            "terms": self.task.terms,
            "versions": self.versions,
        }
