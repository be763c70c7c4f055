"""The four training programs: pure functions (state, batch, root key) -> state, compiled once each.

Keys come from (root key, phase, state.step). `d_main` is the phase that ends an iteration's accounting: it also moves
w_avg and the generator's average and counts the step; `d_reg`, when due, follows on the same batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import optax

from stylegan_jax import rng
from stylegan_jax.config import ExperimentConfig
from stylegan_jax.models import Gan
from stylegan_jax.spec import PHASES, Batch
from stylegan_jax.train import ema, objective, state as states, terms
from stylegan_jax.train.sharding import Layout
from stylegan_jax.train.state import TrainState

Program = Callable[[TrainState, Batch, jax.Array], TrainState]


def to_image(pixels: jax.Array) -> jax.Array:
    """Map uint8 pixels to float32 images in [-1, 1]."""
    return pixels.astype(jnp.float32) / 127.5 - 1


def draw_latents(
    gan: Gan, layout: Layout, root_key: jax.Array, phase: str, step: jax.Array, cond: jax.Array
) -> objective.Latents:
    """Return the latents of a phase of a step; `cond` float[n, k] gives the batch size."""
    draw, mix, noise = jax.random.split(rng.stream(root_key, phase, step), 3)
    z, z_mix = rng.normal(draw, (2, cond.shape[0], gan.spec.z_dim))
    return objective.Latents(layout.split(z), layout.split(z_mix), cond, mix, noise)


def make_programs(gan: Gan, config: ExperimentConfig, layout: Layout) -> dict[str, Program]:
    """Return the uncompiled programs by phase name."""
    loss, g_tx, d_tx = config.loss, states.g_optimizer(config), states.d_optimizer(config)

    def gen_label(batch: Batch, phase: str) -> jax.Array:
        return batch.gen_label[PHASES.index(phase)]

    def finish(state, values, report, step=None):
        report = {name: jnp.mean(x) for name, x in report.items()}
        return values | {"stats": terms.add(state.stats, report, state.step if step is None else step)}

    def g_update(state, grads, update):
        updates, opt = update(grads, state.g_opt, state.g["params"])
        return {"g": state.g | {"params": optax.apply_updates(state.g["params"], updates)}, "g_opt": opt}

    def d_update(state, grads, update):
        updates, opt = update(grads, state.d_opt, state.d["params"])
        return {"d": state.d | {"params": optax.apply_updates(state.d["params"], updates)}, "d_opt": opt}

    def g_main(state: TrainState, batch: Batch, root_key: jax.Array) -> TrainState:
        latents = draw_latents(gan, layout, root_key, "g_main", state.step, gen_label(batch, "g_main"))
        of = lambda params: objective.g_main(gan, loss, state.g | {"params": params}, state.d, latents)
        grads, aux = jax.grad(of, has_aux=True)(state.g["params"])
        aux.report.pop("scores/fake")  # reported by d_main, after the generator's step
        return state.replace(**finish(state, g_update(state, grads, g_tx.update_main), aux.report))

    def g_reg(state: TrainState, batch: Batch, root_key: jax.Array) -> TrainState:
        cond = gen_label(batch, "g_reg")
        cond = cond[: cond.shape[0] // loss.pl_batch_shrink]
        latents = draw_latents(gan, layout, root_key, "g_reg", state.step, layout.split(cond))
        noise = rng.normal(rng.stream(root_key, "g_reg/image", state.step), (cond.shape[0], *gan.spec.image_shape))
        noise = layout.split(noise)
        of = lambda p: objective.g_reg(gan, loss, state.g | {"params": p}, latents, noise, state.pl_mean)
        grads, aux = jax.grad(of, has_aux=True)(state.g["params"])
        values = g_update(state, grads, g_tx.update_reg) | {"pl_mean": aux.store["pl_mean"]}
        return state.replace(**finish(state, values, aux.report))

    def d_main(state: TrainState, batch: Batch, root_key: jax.Array) -> TrainState:
        latents = draw_latents(gan, layout, root_key, "d_main", state.step, gen_label(batch, "d_main"))
        image = to_image(batch.pixels)
        of = lambda p: objective.d_main(gan, loss, state.d | {"params": p}, state.g, latents, image, batch.label)
        grads, aux = jax.grad(of, has_aux=True)(state.d["params"])
        t, size = config.train, batch.pixels.shape[0]
        beta = ema.ema_beta(size, state.nimg, t.ema_kimg, t.ema_rampup)
        values = d_update(state, grads, d_tx.update_main) | {
            "w_avg": ema.update_w_avg(state.w_avg, aux.store["w"], t.w_avg_beta),
            "g_ema": ema.update(state.g_ema, state.g["params"], beta),
            "step": state.step + 1,
            "nimg": state.nimg + size,
        }
        return state.replace(**finish(state, values, aux.report))

    def d_reg(state: TrainState, batch: Batch, root_key: jax.Array) -> TrainState:
        latents = draw_latents(gan, layout, root_key, "d_reg", state.step, gen_label(batch, "d_reg"))
        image = to_image(batch.pixels)
        of = lambda p: objective.d_reg(gan, loss, state.d | {"params": p}, state.g, latents, image, batch.label)
        grads, aux = jax.grad(of, has_aux=True)(state.d["params"])
        return state.replace(**finish(state, d_update(state, grads, d_tx.update_reg), aux.report, state.step - 1))

    return {"g_main": g_main, "g_reg": g_reg, "d_main": d_main, "d_reg": d_reg}


def jit_programs(programs: Mapping[str, Program], layout: Layout) -> dict[str, Program]:
    """Return the programs under `jax.jit`: state replicated and donated, batch split over the devices."""
    shardings = (layout.replicated, layout.batch_shardings(), layout.replicated)
    return {
        name: jax.jit(program, in_shardings=shardings, out_shardings=layout.replicated, donate_argnums=(0,))
        for name, program in programs.items()
    }


def compile_programs(jitted: Mapping[str, Program], names: list[str], state, batch, root_key) -> dict:
    """Compile the named programs, several at a time, from arrays or their abstract shapes."""

    def compile_one(name: str):
        return name, jitted[name].lower(state, batch, root_key).compile()

    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(pool.map(compile_one, names))


def batch_shapes(gan: Gan, config: ExperimentConfig, layout: Layout) -> Batch:
    """Return the abstract global batch of a run."""
    n, k = config.train.batch_size, gan.spec.label_dim
    make = lambda shape, dtype, sharding: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
    return Batch(
        make((n, *gan.spec.image_shape), jnp.uint8, layout.batch),
        make((n, k), jnp.float32, layout.batch),
        make((len(PHASES), n, k), jnp.float32, layout.phases),
    )


@functools.lru_cache(maxsize=8)
def _creation(gan: Gan, config: ExperimentConfig, layout: Layout) -> Any:
    """Return the initialisation of a run under `jax.jit`: one object, so that it is traced once."""
    return jax.jit(lambda key: states.create(gan, config, key), out_shardings=layout.replicated)


def create_state(gan: Gan, config: ExperimentConfig, layout: Layout, root_key: jax.Array) -> TrainState:
    """Initialise the state on the devices, already laid out.

    It runs once, so on CPU it is compiled without optimisation, in a quarter of the time.
    """
    lowered = _creation(gan, config, layout).lower(root_key)
    return lowered.compile(compiler_options=quick_options())(root_key)


def quick_options() -> dict[str, Any] | None:
    """Return compiler options for programs that run rarely: on CPU, compile fast rather than well."""
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def state_shapes(gan: Gan, config: ExperimentConfig, layout: Layout) -> TrainState:
    """Return the abstract state with its shardings: the target of a restore."""
    shapes = _creation(gan, config, layout).eval_shape(jax.random.key(0))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout.replicated), shapes)
