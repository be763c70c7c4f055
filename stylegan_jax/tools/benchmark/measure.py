"""Timings of the programs of one configuration, and the rates that follow from them."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from stylegan_jax import models
from stylegan_jax.base import rng
from stylegan_jax.base.spec import Variables
from stylegan_jax.config import ConfigError, ExperimentConfig, suggest
from stylegan_jax.models import Gan
from stylegan_jax.models.stylegan2 import lowp_dtype
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.tools.benchmark import machine, peaks, programs
from stylegan_jax.tools.benchmark.timing import spread, time_in_turn
from stylegan_jax.train import estimate, programs as training
from stylegan_jax.train.task import Task
from stylegan_jax.train.tasks import make_task


class Options(NamedTuple):
    """What to measure.

    Attributes:
        what: some of `WHAT`. 'compile' alone executes nothing; with it, nothing comes from the compilation cache.
        repeats: number of timings of each program; median, min and max are reported.
        steps: iterations of the training loop, rounded up to a whole cycle of the regularisers.
        batches: images per call of sampling; empty: config.train.batch_size.
        noise: of sampling: const, random or none.
        force: compile and run programs that seem too large.
        programs: names of the only programs to compile and time; empty: all, and the rates of training.
    """

    what: Sequence[str] = ("train", "sample", "compile")
    repeats: int = 3
    steps: int = 32
    batches: Sequence[int] = ()
    noise: str = "const"
    force: bool = False
    programs: Sequence[str] = ()


class Measurement:
    """One benchmark; `go` runs it and returns the record.

    Args:
        config: the whole experiment.
        options: what to measure.
        layout: the devices to use.
        say: called with a line of progress.

    Raises:
        ConfigError: the devices do not divide a batch, the length of labels is unknown, or a program is.
    """

    def __init__(self, config: ExperimentConfig, options: Options, layout: Layout, say: Callable[[str], None]):
        self.config = estimate.without_data(config, "the benchmark of programs")
        self.options, self.layout, self.say = options, layout, say
        self.gan, self.device = models.build(self.config.model), layout.mesh.devices.flat[0]
        self.shared = layout.mesh.size if self.device.platform == "cpu" else 1  # CPU devices share memory and cores
        self.key = jax.device_put(rng.root(config.train.seed), layout.replicated)
        self.task = make_task(self.config, layout)
        self.frozen = {name: layout.place(load().tree) for name, load in self.task.frozen.items()}
        self.jobs = make_jobs(self.task, self.gan, self.config, layout, self.frozen, options)
        self.kinds = {job.kind for job in self.jobs.values()} & set(options.what)
        self.compiled: dict[str, Any] = {}
        self.costs: dict[str, dict[str, Any]] = {}

    def go(self) -> dict[str, Any]:
        """Trace, compile and time; return this part of the record.

        Raises:
            ConfigError: a program does not fit in memory.
        """
        size = lambda init: estimate.count(jax.eval_shape(init, self.key, self.frozen)["params"])
        record: dict[str, Any] = {
            "parameters": {"generator": size(self.gan.init_g), "discriminator": size(self.gan.init_d)},
            "noise": self.options.noise,
            "programs": self.costs,
        }
        traced = programs.trace(self.jobs, self.layout, self.say)
        self._refuse_large({name: t.estimate for name, t in traced.items()}, "estimated before compiling")
        if self.kinds:
            self.say("measuring the peaks of this machine")
            dtype = compute_dtype(self.config)
            record["peaks"] = peaks.measure(self.device, dtype, machine.free_bytes(self.device))
        for name, job in self.jobs.items():
            self.say(f"compiling {name}")
            cold = "compile" in self.options.what
            self.compiled[name], self.costs[name] = programs.compile_one(job, traced[name], cold)
        if self.kinds:
            needs = {name: cost.get("memory", {}).get("peak", 0) for name, cost in self.costs.items()}
            self._refuse_large(needs, "after compiling")
            model, others = None, machine.OtherWork()
            if "train" in self.kinds:
                rates, model = self._train()
                record |= rates
            if "sample" in self.kinds:
                self._sample(model or programs.new_generator(self.gan, self.layout, self.key, self.frozen))
            record["other_work"] = others.fraction()
            for cost in self.costs.values():
                add_rates(cost, record["peaks"], self.layout.mesh.size, self.shared)
        if stats := self.device.memory_stats():
            record["device_memory"] = {k: int(v) for k, v in stats.items() if isinstance(v, int | float)}
        return record

    def _refuse_large(self, needs: Mapping[str, int], what: str) -> None:
        needs = {name: size * self.shared for name, size in needs.items()}
        go_on = self.options.force or not self.kinds  # compiling alone needs no device memory
        programs.refuse_large(needs, machine.free_bytes(self.device), what, go_on, self.say)

    def _train(self) -> tuple[dict[str, Any], Variables]:
        """Time the training programs and, if all are there, the loop; return the rates and the averaged generator."""
        config, names = self.config, [name for name, job in self.jobs.items() if job.kind == "train"]
        self.say("initialising the state")
        state = training.create_state(self.task, self.layout, self.key, self.frozen)
        shapes = training.batch_shapes(self.task, config, self.layout)
        batch = programs.synthetic(shapes, rng.stream(self.key, "benchmark/batch"))
        call = lambda name, state: self.compiled[name](
            *training.arguments_of(name, state, self.frozen, batch, self.key)
        )
        calls = {name: functools.partial(call, name) for name in names}
        state = self._time(calls, state)
        if self.options.programs:
            return {}, self.task.export(state)
        intervals = {name: round(1 / self.jobs[name].per_step) for name in names}
        length = loop_length(intervals, self.options.steps)
        self.say(f"training loop: {self.options.repeats} x {length} iterations")
        speeds, state = time_loop(config.train.batch_size, intervals, calls, state, length, self.options.repeats)
        rates = {
            "batch": config.train.batch_size,
            "img_per_sec_cadence": cadence_speed({name: self.costs[name] for name in names}),
            "img_per_sec_loop": spread(speeds),
            "loop_steps": length,
        }
        return {"train": rates}, self.task.export(state)

    def _sample(self, model: Variables) -> None:
        """Time the sampling programs, waiting for every call, because independent calls could overlap."""
        calls = {}
        for name, job in self.jobs.items():
            if job.kind == "sample":
                inputs, cond = programs.synthetic(job.arguments[1:3], rng.stream(self.key, "benchmark/latents"))
                own = {collection: model[collection] for collection in job.arguments[0]}  # an export may have more
                call = lambda run, own, inputs, cond, _: jax.block_until_ready(run(own, inputs, cond, self.key))
                calls[name] = functools.partial(call, self.compiled[name], own, inputs, cond)
        self._time(calls, None)

    def _time(self, calls: Mapping[str, Callable[[Any], Any]], state: Any) -> Any:
        """Add milliseconds per call and images per second to the records; return the last state."""
        times, state = time_in_turn(calls, state, self.options.repeats, self.say)
        for name, (seconds, count) in times.items():
            cost = self.costs[name]
            cost["ms"] = spread([1000 * s for s in seconds])
            cost["img_per_sec"] = 1000 * cost["images"] / cost["ms"]["median"]
            cost["calls_per_repeat"] = count
        return state


def make_jobs(
    task: Task, gan: Gan, config: ExperimentConfig, layout: Layout, frozen: Mapping[str, Any], options: Options
) -> dict[str, programs.Job]:
    """Return the chosen programs: of training and sampling if `options.what` names neither.

    Raises:
        ConfigError: the devices do not divide a batch, or there is no program of a name in `options.programs`.
    """
    kinds, jobs = {"train", "sample"} & set(options.what) or {"train", "sample"}, {}
    if "train" in kinds:
        jobs |= programs.training_jobs(task, config, layout, frozen)
    if "sample" in kinds:
        batches = options.batches or [config.train.batch_size]
        jobs |= programs.sampling_jobs(gan, layout, frozen, batches, options.noise)
    for name in options.programs:
        if name not in jobs:
            raise ConfigError(f"--programs={','.join(options.programs)}: {name!r} is not known; {suggest(name, jobs)}")
    return {name: job for name, job in jobs.items() if not options.programs or name in options.programs}


def compute_dtype(config: ExperimentConfig) -> jnp.dtype:
    """Return the dtype of the most expensive block, that of the highest resolution."""
    return lowp_dtype(config.model, 4 * 2 ** (config.model.num_blocks - 1)) or jnp.dtype("float32")


def loop_length(intervals: Mapping[str, int], least: int) -> int:
    """Return the iterations of a timed loop: whole cycles of the regularisers, so that each has its share."""
    cycle = math.lcm(*intervals.values())
    return -(-least // cycle) * cycle


def time_loop(
    batch_size: int, intervals: Mapping[str, int], calls: Mapping[str, Callable], state: Any, length: int, repeats: int
) -> tuple[list[float], Any]:
    """Run iterations as training does, on one batch that stays on the devices; return (img/s per repeat, state)."""
    speeds = []
    for _ in range(repeats):
        start = time.perf_counter()
        for step in range(length):
            for name, interval in intervals.items():
                if step % interval == 0:
                    state = calls[name](state)
        jax.block_until_ready(state)
        speeds.append(length * batch_size / (time.perf_counter() - start))
    return speeds, state


def cadence_speed(costs: Mapping[str, Mapping[str, Any]]) -> float:
    """Return images per second from the median times of the programs and how often each runs."""
    seconds = sum(cost["runs_per_step"] * cost["ms"]["median"] / 1000 for cost in costs.values())
    return next(iter(costs.values()))["images"] / seconds


def add_rates(cost: dict[str, Any], peak: Mapping[str, Any], devices: int, shared: int) -> None:
    """Add to a timed program's record the fractions of the machine's peaks that it reaches.

    Args:
        cost: the record.
        peak: peaks of one device.
        devices: number of devices that the program ran on.
        shared: how many of them share one piece of hardware.
    """
    seconds, machines = cost["ms"]["median"] / 1000, devices / shared
    cost["fraction_of_matmul"] = cost["flops"] / seconds / (peak["matmul_flops"] * machines)
    cost["fraction_of_copy"] = cost["bytes_accessed"] * devices / seconds / (peak["copy_bytes"] * machines)
