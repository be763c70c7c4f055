"""What a configuration costs, without data, accelerator or compilation: `--dry_run`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp

from stylegan_jax import models
from stylegan_jax.config import ConfigError, ExperimentConfig
from stylegan_jax.train import schedule, step as steps
from stylegan_jax.train.sharding import Layout, make_layout
from stylegan_jax.train.startup import with_labels


def dry_run(config: ExperimentConfig) -> str:
    """Return the resolved config, parameter tables, FLOPs and memory estimate as text.

    FLOPs are XLA's count for the lowered programs, before optimisation. Memory is the state plus the largest set of
    intermediate arrays alive at once if nothing were fused, so compiled programs need less.

    Raises:
        ConfigError: labels are wanted and their length is neither set nor known without the data.
    """
    if config.model.label_dim == -1 and config.data.labels != "none":
        raise ConfigError(
            f"config.model.label_dim is -1 and config.data.labels={config.data.labels!r}; a dry run reads no data, so "
            "set config.model.label_dim to the number of classes"
        )
    config = dataclasses.replace(config, model=with_labels(config.model, 0))
    gan, layout = models.build(config.model), make_layout(1)
    state = steps.state_shapes(gan, config, layout)
    parts = [
        json.dumps(config.to_dict(), indent=2),
        parameter_table("generator", state.g["params"]),
        parameter_table("discriminator", state.d["params"]),
        cost_table(gan, config, layout, state),
    ]
    return "\n\n".join(parts)


def count(tree: Any) -> int:
    """Return the number of elements in a tree of arrays."""
    return sum(x.size for x in jax.tree.leaves(tree))


def parameter_table(title: str, params: Any) -> str:
    """Return one line per parameter: name, shape, size; then the total."""
    lines = [f"{title} parameters"]
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = "/".join(str(key.key) for key in path)
        lines.append(f"  {name:<44s} {'x'.join(map(str, leaf.shape)) or '1':<18s} {leaf.size:>12,d}")
    lines.append(f"  {'total':<63s} {count(params):>12,d}")
    return "\n".join(lines)


def cost_table(gan: models.Gan, config: ExperimentConfig, layout: Layout, state: Any) -> str:
    """Return FLOPs and memory per program, per image and for the whole run."""
    programs = steps.make_programs(gan, config, layout)
    jitted = steps.jit_programs(programs, layout)
    batch = steps.batch_shapes(gan, config, layout)
    key = jax.eval_shape(lambda: jax.random.key(0))
    n, loss = config.train.batch_size, config.loss
    share = {
        "g_main": 1.0,
        "d_main": 1.0,
        "g_reg": 1 / max(loss.g_reg_interval, 1),
        "d_reg": 1 / max(loss.d_reg_interval, 1),
    }
    state_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    lines = [
        f"cost per iteration of {n} images, on one device",
        f"  {'program':<10s}{'GFLOP':>12s}{'memory, unfused':>20s}",
    ]
    total = peak = 0.0
    for name in schedule.used_programs(config):
        cost = jitted[name].lower(state, batch, key).cost_analysis() or {}
        flops = float(cost.get("flops", 0.0))
        live = peak_live_bytes(jax.make_jaxpr(programs[name])(state, batch, key).jaxpr)
        total, peak = total + flops * share[name], max(peak, live)
        lines.append(f"  {name:<10s}{flops / 1e9:>12,.1f}{live / 2**30:>16,.2f} GiB")
    images = config.train.total_kimg * 1000
    lines += [
        f"  state (parameters, average, Adam, noise): {state_bytes / 2**30:.3f} GiB; a checkpoint is about "
        f"{state_bytes * 1.3 / 2**20:,.0f} MiB",
        f"  per image shown, regularisers at their share: {total / n / 1e9:,.2f} GFLOP",
        f"  whole run of {images / 1000:,.0f} kimg: {total / n * images / 1e18:,.4f} EFLOP",
        f"  estimate for one device: {(state_bytes + peak) / 2**30:.2f} GiB before fusion; the batch "
        "part divides by the number of devices",
    ]
    return "\n".join(lines)


def peak_live_bytes(jaxpr: Any) -> int:
    """Return the most bytes alive at once while a jaxpr runs in order, its inputs not counted, nothing fused."""
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
        alive += sum(_bytes(v) for v in outs)
        made.update(outs)
        peak = max(peak, alive + inner)
        for v in {v for v in eqn.invars if isinstance(v, jex.Var)}:
            if last[v] == i and v in made:
                alive -= _bytes(v)
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


def _bytes(v: Any) -> int:
    shape, dtype = getattr(v.aval, "shape", ()), getattr(v.aval, "dtype", jnp.float32)
    size = 1
    for s in shape:
        size *= s
    return size * (8 if jnp.issubdtype(dtype, jax.dtypes.prng_key) else jnp.dtype(dtype).itemsize)
