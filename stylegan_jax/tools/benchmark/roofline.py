"""`--target`: the programs of a recipe, compiled for a TPU that need not be present, and their computed costs."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Callable
from typing import Any

import jax

from stylegan_jax import models, roofline
from stylegan_jax.base import backend
from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config import ExperimentConfig, check_devices
from stylegan_jax.runtime.mesh import layout_of
from stylegan_jax.tools.benchmark import machine, programs
from stylegan_jax.tools.benchmark.measure import Options, compute_dtype, make_jobs
from stylegan_jax.train import estimate
from stylegan_jax.train.names import check_config
from stylegan_jax.train.task import shapes_of_frozen
from stylegan_jax.train.tasks import make_task


def examine(
    config: ExperimentConfig,
    options: Options,
    target: str,
    count: int,
    effort: float = 0.0,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Compile the programs of training and sampling for `count` chips of a target; nothing is executed.

    Args:
        config: the whole experiment; its batch is split over the chips.
        options: only `what`, `batches`, `noise` and `programs` are used.
        target: a key of `roofline.CHIPS`.
        count: number of chips.
        effort: of the compiler, -1 to 1; 0 is its default.
        say: called with a line of progress.

    Returns:
        A record of plain values, as `--json` writes it; `roofline_report.text` prints it. Everything in it is computed.

    Raises:
        ConfigError: the target is unknown, the package is missing, the chips do not divide the batch, or a program does
            not fit.
    """
    devices = roofline.compile_devices(target, count)
    layout = layout_of(config, devices)
    check_config(config)
    check_devices(config, layout.shards)
    config = estimate.without_data(config, "a roofline")
    with backend.tracing_for("tpu"), programs.no_compilation_cache():
        task, gan = make_task(config, layout), models.build(config.model)
        jobs = make_jobs(task, gan, config, layout, shapes_of_frozen(task), options)
        record: dict[str, Any] = {
            "computed": True,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "target": target,
            "devices": count,
            "effort": effort,
            "chip": roofline.CHIPS[target]._asdict(),
            "versions": machine.versions("jax", "jaxlib", roofline.PACKAGE),
            "config": config.to_dict(),
            "compute_dtype": compute_dtype(config).name,
            "programs": {},
        }
        for name, job in jobs.items():
            say(f"compiling {name} for {count} x {target}")
            record["programs"][name] = _program(name, job, roofline.CHIPS[target], effort, config)
    training = {name: cost for name, cost in record["programs"].items() if cost["kind"] == "train"}
    if training and not options.programs:
        shares = {name: cost["runs_per_step"] for name, cost in training.items()}
        record["train"] = roofline.iteration(training, shares, config.train.batch_size)
    return record


def _program(
    name: str, job: programs.Job, chip: roofline.Chip, effort: float, config: ExperimentConfig
) -> dict[str, Any]:
    lowered, help_ = job.jitted.trace(*job.arguments).lower(), what_helps(job.kind, config)
    start = time.perf_counter()
    try:
        options = dict.fromkeys(("exec_time_optimization_effort", "memory_fitting_effort"), effort) if effort else None
        compiled = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        raise ConfigError(too_large(name, str(error), help_)) from error
    cost, memory = compiled.cost_analysis() or {}, programs.memory_of(compiled)
    needs, has = memory["peak"] / programs.GIB if memory else 0.0, chip.memory / programs.GIB
    return {
        "kind": job.kind,
        "images": job.images,
        "runs_per_step": job.per_step,
        "seconds_to_compile": time.perf_counter() - start,
        "memory": memory,
        "does_not_fit": shortfall(name, needs, has, help_) if needs > has else "",
        "cost_analysis": {key: float(cost.get(key, 0.0)) for key in ("flops", "bytes accessed")},
        **roofline.program(roofline.parse(compiled.as_text()), chip),
    }


_SIZE = r"([\d.]+)([KMGT])"
_OUT_OF_MEMORY = (f"Used {_SIZE} of {_SIZE} hbm", rf"\({_SIZE}\) exceeds available HBM \({_SIZE}\)")


def too_large(name: str, error: str, help_: str) -> str:
    """Return the text of a compiler's error; if memory is short, how much is missing, and what helps."""
    used = next(filter(None, (re.search(form, error) for form in _OUT_OF_MEMORY)), None)
    if used is None:
        return f"{name} could not be compiled: {error.strip().splitlines()[0]}"
    gib = lambda number, unit: float(number) * 2.0 ** (10 * "KMGT".index(unit) - 20)
    return shortfall(name, gib(used[1], used[2]), gib(used[3], used[4]), help_)


def shortfall(name: str, needs: float, has: float, help_: str) -> str:
    """Return by how much a program is too large, in GiB, and what helps."""
    return (
        f"{name} needs {needs:.2f} GiB of the chip's {has:.2f} GiB: {needs - has:.2f} GiB too much (computed). {help_}"
    )


def what_helps(kind: str, config: ExperimentConfig) -> str:
    """Return the flags that make a program of this kind smaller and are not at their end yet."""
    if kind == "sample":
        return "Lower --batch"
    train = config.train
    helps = ["lower config.train.batch_size, or use more --devices"]
    helps += [f"set config.train.grad_accum={2 * train.grad_accum} (fewer images at a time)"]
    helps += [] if config.model.remat_from else ["set config.model.remat_from=64 (activations are recomputed)"]
    helps += [f"split images with config.mesh.spatial={2 * config.mesh.spatial}, on as many more --devices"]
    return "One of these helps: " + "; ".join(helps)
