"""The programs of a configuration: tracing, memory estimates, compiling, and costs as the compiler counts them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache

from stylegan_jax.base import rng
from stylegan_jax.base.spec import Variables
from stylegan_jax.config import ConfigError, ExperimentConfig, levels
from stylegan_jax.models import Gan
from stylegan_jax.runtime import compiling
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.sampling import drawing
from stylegan_jax.train import estimate, programs, schedule
from stylegan_jax.train.task import Task

GIB = 2**30


class Job(NamedTuple):
    """A program to compile.

    Attributes:
        kind: 'train' or 'sample'.
        jitted: the function under `jax.jit`.
        arguments: abstract arrays, with shardings.
        images: images of one call, on all devices together.
        per_step: calls per training iteration; 0 for sampling.
    """

    kind: str
    jitted: Any
    arguments: tuple
    images: int
    per_step: float


def training_jobs(task: Task, config: ExperimentConfig, layout: Layout, frozen: Mapping[str, Any]) -> dict[str, Job]:
    """Return the training programs that a run of this configuration uses."""
    jitted = programs.jit_programs(programs.make_programs(task, config, layout), layout)
    arguments = (
        programs.state_shapes(task, layout, frozen),
        programs.frozen_shapes(frozen, layout),
        programs.batch_shapes(task, config, layout),
        jax.eval_shape(lambda: rng.root(0)),
    )
    phases = task.plan(levels(config)[-1]).phases
    return {
        name: Job("train", jitted[name], programs.arguments_of(name, *arguments), config.train.batch_size, share)
        for name, share in schedule.cadence(phases, config.train.total_kimg * 1000).items()
    }


def sampling_jobs(
    gan: Gan, layout: Layout, frozen: Mapping[str, Any], batches: Sequence[int], noise: str
) -> dict[str, Job]:
    """Return one program per batch size: mapping without truncation, and synthesis.

    Raises:
        ConfigError: the devices do not divide a batch.
    """
    for n in batches:
        if n % layout.mesh.size:
            raise ConfigError(f"--batch={n} must be a multiple of the {layout.mesh.size} devices")
    replicated, split = layout.replicated, layout.batch

    def draw(model, inputs, cond, key):
        ws = drawing.map_styles(gan, model, None, inputs, cond)
        return drawing.draw(gan, model, ws, inputs, noise=noise, key=key)

    jitted = jax.jit(draw, in_shardings=(replicated, split, split, replicated), out_shardings=split)
    key = jax.eval_shape(lambda: rng.root(0))
    model = jax.tree.map(lambda x: shaped(x.shape, x.dtype, replicated), jax.eval_shape(gan.init_g, key, frozen))
    jobs = {}
    for n in batches:
        inputs = {name: shaped((n, *shape), jnp.float32, split) for name, shape in gan.spec.inputs.items()}
        cond = shaped((n, gan.spec.label_dim), jnp.float32, split)
        jobs[f"sample_{n}"] = Job("sample", jitted, (model, inputs, cond, key), n, 0.0)
    return jobs


def shaped(shape: tuple[int, ...], dtype: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    """Return an abstract array."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


class Traced(NamedTuple):
    """A traced program, the seconds it took, and its memory estimate in bytes per device."""

    traced: Any
    seconds: float
    estimate: int


def trace(jobs: dict[str, Job], layout: Layout, say: Callable[[str], None]) -> dict[str, Traced]:
    """Trace every job; estimate its memory as `--dry_run` does: arguments, plus what is live at once without fusion."""
    traced = {}
    for name, job in jobs.items():
        say(f"tracing {name}")
        start = time.perf_counter()
        made = job.jitted.trace(*job.arguments)
        seconds = time.perf_counter() - start
        live = estimate.peak_live_bytes(made.jaxpr.jaxpr) // layout.mesh.size
        traced[name] = Traced(made, seconds, estimate.tree_bytes(job.arguments) + live)
    return traced


def refuse_large(needs: dict[str, int], free: int | None, what: str, force: bool, say: Callable[[str], None]) -> None:
    """Stop if a program needs more bytes than the device has free; with `force`, only print a warning.

    Raises:
        ConfigError: it does not fit; the message has the numbers.
    """
    name, most = max(needs.items(), key=lambda item: item[1])
    if free is None or most <= free:
        return
    fact = f"{name} needs about {most / GIB:.2f} GiB on each device ({what}); {free / GIB:.2f} GiB are free"
    if not force:
        raise ConfigError(
            f"{fact}. Lower config.train.batch_size or --batch, use more devices or a smaller model, or pass --force"
        )
    say(f"warning: {fact}")


@contextlib.contextmanager
def no_compilation_cache() -> Iterator[None]:
    """Compile without the compilation cache, whatever is configured."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # JAX decides only once, at the first compilation, whether to use it
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def compile_one(job: Job, traced: Traced, cold: bool) -> tuple[Any, dict[str, Any]]:
    """Compile a traced job; return it with its record of seconds, operations and bytes."""
    start = time.perf_counter()
    lowered = traced.traced.lower()
    lowering = time.perf_counter() - start
    start = time.perf_counter()
    compiled = lowered.compile()
    compiling = time.perf_counter() - start
    cost = compiled.cost_analysis() or {}
    record = {
        "kind": job.kind,
        "images": job.images,
        "runs_per_step": job.per_step,
        "trace_lower_seconds": traced.seconds + lowering,
        "compile_seconds": compiling,
        "compile_cold": cold,
        "flops": estimate.program_flops(traced.traced, lowered),
        "flops_compiled": float(cost.get("flops", 0.0)),
        "bytes_accessed": float(cost.get("bytes accessed", 0.0)),
        "memory_estimate": traced.estimate,
    }
    if memory := memory_of(compiled):
        record["memory"] = memory
    return compiled, record


def memory_of(compiled: Any) -> dict[str, int]:
    """Return the bytes that a compiled program needs on each device, by purpose, and their 'peak'; {} if unknown."""
    memory = compiled.memory_analysis()
    if memory is None:
        return {}
    kinds = ("argument", "output", "alias", "temp", "generated_code")
    sizes = {kind: getattr(memory, f"{kind}_size_in_bytes") for kind in kinds}
    return sizes | {"peak": sizes["argument"] + sizes["output"] - sizes["alias"] + sizes["temp"]}


def synthetic(shapes: Any, key: jax.Array) -> Any:
    """Return a tree of arrays on the devices for a tree of abstract ones.

    Unsigned integers are random bits (pixels), signed ones 0 (classes), floats normally distributed (latents, labels).
    """

    def fill(key, like):
        if jnp.issubdtype(like.dtype, jnp.unsignedinteger):
            return jax.random.bits(key, like.shape, like.dtype)
        if jnp.issubdtype(like.dtype, jnp.integer):
            return jnp.zeros(like.shape, like.dtype)
        return jax.random.normal(key, like.shape, like.dtype)

    leaves, tree = jax.tree.flatten(shapes)
    make = lambda key: [fill(k, x) for k, x in zip(jax.random.split(key, len(leaves)), leaves, strict=True)]
    return tree.unflatten(jax.jit(make, out_shardings=[x.sharding for x in leaves])(key))


def new_generator(gan: Gan, layout: Layout, key: jax.Array, frozen: Mapping[str, Any]) -> Variables:
    """Return an untrained generator on the devices."""
    lowered = jax.jit(gan.init_g, out_shardings=layout.replicated).lower(key, frozen)
    return lowered.compile(compiler_options=compiling.quick_options())(key, frozen)
