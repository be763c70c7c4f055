"""Estimate what a configuration costs, without images, accelerator or compilation: `--dry_run`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp

from stylegan_jax.base import bundled
from stylegan_jax.checkpoints.averages import AVERAGE
from stylegan_jax.config import ARCH_RULES, ConfigError, ExperimentConfig, describe_levels, levels
from stylegan_jax.data import open_source
from stylegan_jax.runtime.mesh import Layout, make_layout
from stylegan_jax.train import programs, schedule
from stylegan_jax.train.names import check_config
from stylegan_jax.train.startup import with_labels
from stylegan_jax.train.task import Task, shapes_of_frozen
from stylegan_jax.train.tasks import make_task, resolve


def dry_run(config: ExperimentConfig) -> str:
    """Return the resolved config, parameter tables, FLOPs and a memory estimate as text.

    FLOPs are XLA's count for the lowered programs, before optimisation. Memory is the state plus the largest set of
    intermediate arrays that are alive at the same time if operations run in order and unfused. A compiled program may
    need less (fusion) or more (copies; on CPU, bfloat16 widened to float32); `tools.benchmark` reports what the
    compiler says. No weights are read: frozen networks are counted by their shapes.

    Raises:
        ConfigError: a rule is broken, or the model has labels whose length is not set.
    """
    config = without_data(config, "a dry run")
    layout = make_layout(1)
    task = make_task(config, layout)
    frozen = shapes_of_frozen(task)
    state = programs.state_shapes(task, layout, frozen)
    nets = dict.fromkeys(phase.net for phase in task.plan(levels(config)[-1]).phases)  # in the order of training
    parts = [
        json.dumps(config.to_dict(), indent=2),
        *filter(None, [ARCH_RULES[config.model.arch].describe(config.model), "\n".join(describe_levels(config))]),
        *(parameter_table(task.titles.get(name, name), state.nets[name]["params"]) for name in nets),
        cost_table(task, config, layout, state, frozen),
    ]
    return "\n\n".join(parts)


def without_data(config: ExperimentConfig, who: str) -> ExperimentConfig:
    """Check the config and decide its label length for a caller that reads no images; `who` names it in the error.

    Only the labels of data that come with the package are read.

    Raises:
        ConfigError: a rule is broken, or the model has labels whose length is not set.
    """
    config = resolve(config)
    check_config(config)
    label_dim = 0
    if config.model.label_dim == -1 and config.data.labels != "none":
        if not bundled.is_data(config.data.path):
            raise ConfigError(
                f"config.model.label_dim is -1 and config.data.labels={config.data.labels!r}; {who} reads only data "
                "that come with the package, so set config.model.label_dim to the number of classes"
            )
        uncached = dataclasses.replace(config.data, cache="off")
        with contextlib.closing(open_source(uncached, config.model.image_shape)) as source:
            label_dim = source.info().label_dim
    return dataclasses.replace(config, model=with_labels(config.model, label_dim))


def count(tree: Any) -> int:
    """Return the number of elements in a tree of arrays."""
    return sum(x.size for x in jax.tree.leaves(tree))


def tree_bytes(tree: Any) -> int:
    """Return the size in bytes of a tree of arrays or abstract shapes; a random key counts as 8."""
    return sum(_bytes(x.shape, x.dtype) for x in jax.tree.leaves(tree))


def parameter_table(title: str, params: Any) -> str:
    """Return a table with the name, shape and size of every parameter, and the total."""
    lines = [f"{title} parameters"]
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = "/".join(str(key.key) for key in path)
        lines.append(f"  {name:<44s} {'x'.join(map(str, leaf.shape)) or '1':<18s} {leaf.size:>12,d}")
    lines.append(f"  {'total':<63s} {count(params):>12,d}")
    return "\n".join(lines)


def cost_table(task: Task, config: ExperimentConfig, layout: Layout, state: Any, frozen: Any) -> str:
    """Return a table of FLOPs and memory per program, followed by totals per image and for the whole run."""
    jitted = programs.jit_programs(programs.make_programs(task, config, layout), layout)
    batch, plan = programs.batch_shapes(task, config, layout), task.plan(levels(config)[-1])
    key = jax.eval_shape(lambda: jax.random.key(0))
    n = config.train.batch_size * plan.frames
    clips = f" ({config.train.batch_size} clips)" if plan.frames > 1 else ""
    state_bytes = tree_bytes(state)
    lines = [
        f"cost per iteration of {n} images{clips}, on one device",
        f"  {'program':<10s}{'GFLOP':>12s}{'memory, unfused':>20s}",
    ]
    total = peak = 0.0
    for name, share in schedule.cadence(plan.phases, config.train.total_kimg * 1000).items():
        arguments = programs.arguments_of(name, state, programs.frozen_shapes(frozen, layout), batch, key)
        traced = jitted[name].trace(*arguments)
        flops, live = program_flops(traced, traced.lower()), peak_live_bytes(traced.jaxpr.jaxpr)
        total, peak = total + flops * share, max(peak, live)
        lines.append(f"  {name:<10s}{flops / 1e9:>12,.1f}{live / 2**30:>16,.2f} GiB")
    images = config.train.total_kimg * 1000
    if len(levels(config)) > 1:
        lines[0] += f", at the final height of {config.model.image_shape[0]}; smaller heights are not in this table"
    lines += [
        f"  state (parameters, average, Adam, noise): {state_bytes / 2**30:.3f} GiB; a checkpoint is about "
        f"{state_bytes * 1.3 / 2**20:,.0f} MiB",
        *_describe_averages(config, state),
        *(
            f"  frozen {name}: {tree_bytes(tree) / 2**20:,.1f} MiB on every device, in no checkpoint"
            for name, tree in frozen.items()
        ),
        f"  per image shown, including regularisers' share: {total / n / 1e9:,.2f} GFLOP",
        f"  whole run of {images / 1000:,.0f} kimg: {'less than ' * (len(levels(config)) > 1)}"
        f"{total / n * images / 1e18:,.4g} EFLOP",
        f"  estimate for one device: {(state_bytes + tree_bytes(frozen) + peak) / 2**30:.2f} GiB before fusion; the "
        "batch part divides by the number of devices",
    ]
    return "\n".join(lines)


def _describe_averages(config: ExperimentConfig, state: Any) -> list[str]:
    """Return a line on the averages of `train.posthoc_ema`, if there are any."""
    own = [tree for name, tree in state.ema.items() if name.startswith(AVERAGE)]
    if not own:
        return []
    size, count = tree_bytes(own) / 2**20, schedule.count_snapshots(config)
    return [
        f"    of which {len(own)} averages of train.posthoc_ema: {size:,.1f} MiB; {count} snapshots of about that size "
        f"take {size * count:,.0f} MiB on disk"
    ]


def program_flops(traced: jax.stages.Traced, lowered: jax.stages.Lowered) -> float:
    """Return XLA's count of a program's floating-point operations, over all devices.

    They are counted before compilation, because the compiler may turn convolutions and matrix products into library
    calls that its own count omits. XLA counts the body of a loop once; here `scan` and `fori_loop` of known length are
    counted in full.
    """
    return _xla_flops(lowered) + _repeated_flops(traced.jaxpr.jaxpr)


def _xla_flops(lowered: jax.stages.Lowered) -> float:
    return float((lowered.cost_analysis() or {}).get("flops", 0.0))


def _repeated_flops(jaxpr: Any) -> float:
    """Return the FLOPs of all iterations of loops except the first, which XLA counts."""
    total = 0.0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name != "scan":
            total += sum(_repeated_flops(inner) for inner in _inner(eqn))
            continue
        body, length = eqn.params["jaxpr"], eqn.params["length"]
        arguments = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in body.in_avals]
        once = _xla_flops(jax.jit(jex.jaxpr_as_fun(body)).lower(*arguments))
        total += (length - 1) * once + length * _repeated_flops(body.jaxpr)
    return total


def peak_live_bytes(jaxpr: Any) -> int:
    """Return the peak bytes of intermediate arrays if a jaxpr runs in order and unfused; inputs are not counted."""
    last: dict[Any, int] = {}
    for i, eqn in enumerate(jaxpr.eqns):
        for v in eqn.invars:
            if isinstance(v, jex.Var):
                last[v] = i
    for v in jaxpr.outvars:
        if isinstance(v, jex.Var):
            last[v] = len(jaxpr.eqns)
    alive = peak = 0
    made: set[Any] = set()
    for i, eqn in enumerate(jaxpr.eqns):
        inner = max((peak_live_bytes(j) for j in _inner(eqn)), default=0)
        outs = [v for v in eqn.outvars if v in last]
        alive += sum(_aval_bytes(v) for v in outs)
        made.update(outs)
        peak = max(peak, alive + inner)
        for v in {v for v in eqn.invars if isinstance(v, jex.Var)}:
            if last[v] == i and v in made:
                alive -= _aval_bytes(v)
                made.discard(v)
    return peak


def _inner(eqn: Any) -> list[Any]:
    found = []
    for value in eqn.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, jex.ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, jex.Jaxpr):
                found.append(item)
    return found


def _aval_bytes(v: Any) -> int:
    return _bytes(getattr(v.aval, "shape", ()), getattr(v.aval, "dtype", jnp.float32))


def _bytes(shape: Any, dtype: Any) -> int:
    return math.prod(shape) * (8 if jnp.issubdtype(dtype, jax.dtypes.prng_key) else jnp.dtype(dtype).itemsize)
