"""The programs of a task: pure functions (state, frozen, batch, root key) -> state, each compiled once.

There is one program per phase, and `finish`, which ends an iteration, so that all its phases see the same `step` and
`nimg`. The state is donated; frozen networks are not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from stylegan_jax.base import backend
from stylegan_jax.base.spec import Batch, Tree
from stylegan_jax.config import ExperimentConfig, Level, levels
from stylegan_jax.models import merge
from stylegan_jax.runtime import compiling
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train import accumulate, guard, terms
from stylegan_jax.train.state import TrainState
from stylegan_jax.train.task import Context, Phase, Plan, Task

Program = Callable[..., TrainState]

FINISH = "finish"
"""The program that ends an iteration."""


def run_phase(
    task: Task,
    plan: Plan,
    phase: Phase,
    config: ExperimentConfig,
    layout: Layout,
    state: TrainState,
    frozen: Mapping[str, Tree],
    batch: Batch,
    root_key: jax.Array,
) -> TrainState:
    """Take one step of a phase: draw, differentiate, guard, optimise, update what follows, add to the statistics."""
    t, net, optimizer = config.train, phase.net, plan.optimizers[phase.net]
    context = Context(state.nets, state.moving, frozen, plan.rates(state.nimg))
    params = state.nets[net]["params"]

    def loss_of(p: Tree, rows: Tree) -> Any:
        variables = state.nets[net] | {"params": optimizer.hold(p)}
        return phase.loss(context._replace(nets=state.nets | {net: variables}), rows)

    rows = phase.draw(state, batch, root_key)
    if couple := phase.couple:
        coupled = lambda values: couple(values, context)
        grads, aux = accumulate.coupled_gradients(loss_of, coupled, params, rows, t.grad_accum, layout)
    else:
        grads, aux = accumulate.gradients(loss_of, params, rows, t.grad_accum, layout)
    used = guard.scrub(grads) if t.on_nan == "scrub" else grads
    lr, beta2 = context.rates.lr[net], context.rates.beta2[net]
    updates, moments = optimizer.update(used, state.opt[net], params, lr, beta2, phase.is_whole)
    nets = {name: merge(state.nets[name], moved) for name, moved in aux.moved.items() if moved}
    nets[net] = nets.get(net, state.nets[net]) | {"params": optax.apply_updates(params, updates)}
    moving = phase.after(state.moving, context, aux)
    report = {name: aux.means[name] for name in phase.reports}
    return _apply(
        task, config, state, phase.name, grads, report, {"nets": nets, "opt": {net: moments}, "moving": moving}
    )


def _apply(
    task: Task,
    config: ExperimentConfig,
    state: TrainState,
    name: str,
    grads: Tree,
    report: dict[str, jax.Array],
    new: dict[str, dict[str, Any]],
) -> TrainState:
    """Return the next state, with the `new` entries of its fields where `train.on_nan` accepts them."""
    policy = config.train.on_nan
    if policy in ("skip", "scrub"):
        good = guard.all_finite((grads, report))
        report[f"{terms.NONFINITE}{name}"] = 1 - good.astype(jnp.float32)
        for field, entries in new.items():
            for key, value in entries.items():
                entries[key] = _guarded(policy, good, value, getattr(state, field)[key])
    stats = terms.add(state.stats, task.terms, report, state.step, drop_bad=policy in ("skip", "scrub"))
    fields = {field: getattr(state, field) | entries for field, entries in new.items()}
    return state.replace(**fields, stats=stats)


def _guarded(policy: str, good: jax.Array, new: Any, old: Any) -> Any:
    """Return the new entry or the old: 'skip' decides for the whole step, 'scrub' per entry or collection."""
    is_kept = lambda part: good if policy == "skip" else guard.all_finite(part)
    if isinstance(new, dict):
        return {name: guard.choose(is_kept(part), part, old[name]) if part else part for name, part in new.items()}
    return guard.choose(is_kept(new), new, old)


def finish(task: Task, plan: Plan, config: ExperimentConfig, state: TrainState) -> TrainState:
    """End an iteration: update the averages and the counters."""
    new, report = plan.finish(state, plan.rates(state.nimg))
    drop_bad = config.train.on_nan in ("skip", "scrub")
    stats = terms.add(state.stats, task.terms, report, state.step, drop_bad=drop_bad)
    return new.replace(step=state.step + 1, nimg=state.nimg + plan.batch.label.shape[0] * plan.frames, stats=stats)


def make_programs(
    task: Task, config: ExperimentConfig, layout: Layout, level: Level | None = None
) -> dict[str, Program]:
    """Return the uncompiled programs of a level (None: the last) by phase name, in order, then `FINISH`.

    Each maps (state, frozen, batch, root key) to the next state; `FINISH` takes only the state.
    """
    plan = task.plan(level or levels(config)[-1])
    programs = {
        phase.name: functools.partial(run_phase, task, plan, phase, config, layout) for phase in plan.phases
    } | {FINISH: functools.partial(finish, task, plan, config)}
    split = layout.mesh.shape["spatial"] > 1
    return {name: _named(name, program, split) for name, program in programs.items()}


def _named(name: str, program: Program, split: bool = False) -> Program:
    """Return the program as a function called `name`, as logs and profiles show it.

    With `split`, the rows of an image are on several devices.
    """

    def run(*args: Any) -> TrainState:
        with backend.rows_are_split(split):
            return program(*args)

    run.__name__ = run.__qualname__ = name
    return run


def jit_programs(programs: Mapping[str, Program], layout: Layout) -> dict[str, Any]:
    """Wrap the programs in `jax.jit`: the state is sharded by `layout` and donated, the batch split over devices."""
    whole = layout.mesh.shape["fsdp"] == 1
    state = layout.replicated if whole else None  # None: keep the sharding of the argument
    shardings = (state, layout.replicated, layout.batch_shardings(), layout.replicated)

    def held(name: str, program: Program) -> Program:
        return program if whole else _named(name, lambda *args: layout.hold(program(*args)))

    return {
        name: jax.jit(
            held(name, program),
            in_shardings=(state,) if name == FINISH else shardings,
            out_shardings=state,
            donate_argnums=(0,),
        )
        for name, program in programs.items()
    }


def compile_programs(
    jitted: Mapping[str, Any], state: Any, frozen: Any, batch: Any, root_key: jax.Array
) -> dict[str, Any]:
    """Compile programs, several at a time, for arguments that are arrays or abstract shapes."""
    return compiling.compile_programs(
        jitted, {name: arguments_of(name, state, frozen, batch, root_key) for name in jitted}
    )


def arguments_of(name: str, state: Any, frozen: Any, batch: Any, root_key: jax.Array) -> tuple:
    """Return the arguments of a program; `FINISH` takes only the state."""
    return (state,) if name == FINISH else (state, frozen, batch, root_key)


def run_step(
    programs: Mapping[str, Program],
    names: list[str],
    state: TrainState,
    frozen: Mapping[str, Tree],
    batch: Batch,
    root_key: jax.Array,
) -> TrainState:
    """Run one iteration: the named phases, then `FINISH`; the state is donated."""
    for name in names:
        state = programs[name](state, frozen, batch, root_key)
    return programs[FINISH](state)


def jit_restart(task: Task, config: ExperimentConfig, layout: Layout) -> Callable[[TrainState], TrainState]:
    """Return a jitted function that resets every optimiser of a state; the state is donated."""
    optimizers = task.plan(levels(config)[-1]).optimizers

    def restarted(state: TrainState) -> TrainState:
        fresh = {net: optimizer.init(state.nets[net]["params"]) for net, optimizer in optimizers.items()}
        return layout.hold(state.replace(opt=state.opt | fresh))

    whole = layout.replicated if layout.mesh.shape["fsdp"] == 1 else None
    return jax.jit(restarted, out_shardings=whole, donate_argnums=(0,))


def batch_shapes(task: Task, config: ExperimentConfig, layout: Layout, level: Level | None = None) -> Batch:
    """Return the abstract global batch of a level (None: the last), with shardings."""
    batch = task.plan(level or levels(config)[-1]).batch
    place = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    shardings = layout.batch_shardings()
    sample = {name: place(x, shardings.sample) for name, x in batch.sample.items()}
    label = place(batch.label, shardings.label)
    second = None if batch.second is None else (sample, label)
    given = batch.given and {name: place(x, shardings.given) for name, x in batch.given.items()}
    return Batch(sample, label, place(batch.gen_label, shardings.gen_label), second, given)


def frozen_shapes(frozen: Mapping[str, Tree], layout: Layout) -> Tree:
    """Return the abstract arrays of frozen networks, replicated on every device."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout.replicated), dict(frozen))


@functools.lru_cache(maxsize=8)
def _creation(create: Callable, layout: Layout) -> Any:
    """Return `create` wrapped in `jax.jit`; cached, so that it is traced once."""
    return jax.jit(create, out_shardings=layout.replicated)


def create_state(
    task: Task, layout: Layout, root_key: jax.Array, frozen: Mapping[str, Tree] | None = None
) -> TrainState:
    """Initialise the state on the devices, sharded by `layout`.

    Because the program runs only once, on CPU it is compiled without optimisation, in a quarter of the time.
    """
    arguments = root_key, dict(frozen or {})
    lowered = compiling.lower(_creation(task.create, layout), *arguments)
    state = lowered.compile(compiler_options=compiling.quick_options())(*arguments)
    return state if layout.mesh.shape["fsdp"] == 1 else jax.jit(layout.hold)(state)


def state_shapes(task: Task, layout: Layout, frozen: Mapping[str, Tree] | None = None) -> TrainState:
    """Return the abstract state with its shardings, as restoring a checkpoint needs it."""
    with compiling.tracing():
        shapes = _creation(task.create, layout).eval_shape(jax.random.key(0), dict(frozen or {}))
    place = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    return jax.tree.map(place, shapes, layout.state(shapes))
