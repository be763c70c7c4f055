"""The four training programs: pure functions (state, batch, root key) -> state, compiled once each.

Keys come from (root key, phase, state.step). `d_main` is the phase that ends an iteration's accounting: it also moves
w_avg and the generator's average and counts the step; `d_reg`, when due, follows on the same batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from stylegan_jax.augment import controller
from stylegan_jax.base import images, rng
from stylegan_jax.base.spec import PHASES, Batch
from stylegan_jax.config import ExperimentConfig, Level, at_level, levels
from stylegan_jax.models import Gan, grown, merge
from stylegan_jax.runtime import compiling
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train import accumulate, ema, guard, terms
from stylegan_jax.train.gan import objective, state as states
from stylegan_jax.train.gan.state import TrainState
from stylegan_jax.train.gan.views import Views
from stylegan_jax.train.optim import LazyAdam
from stylegan_jax.train.schedule import d_reg_is_lazy

Program = Callable[[TrainState, Batch, jax.Array], TrainState]


def draw_latents(
    gan: Gan, layout: Layout, root_key: jax.Array, phase: str, step: jax.Array, cond: jax.Array
) -> objective.Latents:
    """Return the latents of a phase of a step; `cond` float[n, k] gives the batch size."""
    draw, mix, noise = jax.random.split(rng.stream(root_key, phase, step), 3)
    n = cond.shape[0]
    z, z_mix = rng.normal(draw, (2, n, gan.spec.z_dim))
    noise = layout.split(rng.per_example(noise, jnp.arange(n)))  # an image's noise does not depend on its micro-batch
    return objective.Latents(layout.split(z), layout.split(z_mix), cond, mix, noise)


class Network:
    """One network's part in the programs: its optimiser, and how a gradient becomes new parameters.

    Args:
        name: 'g' or 'd', the field of the state.
        config: the experiment.
        tx: its optimiser.
    """

    def __init__(self, name: str, config: ExperimentConfig, tx: LazyAdam):
        self.name, self.config, self.tx = name, config, tx

    def variables(self, state: TrainState, params: Any) -> dict[str, Any]:
        """Return the network's variables with `params` in place of the state's, and nothing frozen differentiated."""
        return getattr(state, self.name) | {"params": self.tx.hold(params)}

    def updated(self, state: TrainState, phase: str, shown: jax.Array, grads: Any) -> dict[str, Any]:
        """Return the network's new fields of the state; `shown` images were shown before this iteration."""
        t = self.config.train
        if t.on_nan == "scrub":
            grads = guard.scrub(grads)
        network, opt = getattr(state, self.name), f"{self.name}_opt"
        update = self.tx.update_main if phase.endswith("main") else self.tx.update_reg
        updates, moments = update(grads, getattr(state, opt), network["params"])
        if t.lr_warmup_kimg:  # Adam's step is its learning rate times a direction
            rate = optax.linear_schedule(0.0, 1.0, max(1, round(t.lr_warmup_kimg * 1000)))(shown + t.batch_size)
            updates = jax.tree.map(lambda u: u * rate, updates)
        return {self.name: network | {"params": optax.apply_updates(network["params"], updates)}, opt: moments}


def settle(
    config: ExperimentConfig,
    state: TrainState,
    phase: str,
    grads: Any,
    report: Mapping[str, jax.Array],
    new: dict[str, Any],
    counters: Mapping[str, jax.Array] | None = None,
) -> TrainState:
    """Return the next state: the new fields unless the policy on bad values says otherwise, counters and statistics.

    Args:
        config: the experiment.
        state: the state before.
        phase: the program's name.
        grads: its gradient, before any repair.
        report: its reported values; averaged here.
        new: fields that a bad step may not touch.
        counters: fields that always move.
    """
    policy = config.train.on_nan
    report = {name: jnp.mean(x) for name, x in report.items()}
    if policy in ("skip", "scrub"):
        good = guard.all_finite((grads, report))
        report[f"nonfinite/{phase}"] = 1 - good.astype(jnp.float32)
        for field, value in new.items():
            before = getattr(state, field)
            new[field] = guard.choose(good if policy == "skip" else guard.all_finite(value), value, before)
    step = state.step - 1 if phase == "d_reg" else state.step  # d_main has counted the step
    stats = terms.add(state.stats, report, step, drop_bad=policy in ("skip", "scrub"))
    return state.replace(**new, **(counters or {}), stats=stats)


class Programs:
    """The four programs as methods; what they close over is static.

    Args:
        gan: the model.
        config: the experiment.
        layout: spreads batches over the devices.
        level: the part of the run that they are for; None: the last.
    """

    def __init__(self, gan: Gan, config: ExperimentConfig, layout: Layout, level: Level | None = None):
        self._whole, self._level = gan, level or levels(config)[-1]
        gan, config = grown.plain(gan, self._level), at_level(config, self._level)
        self.gan, self.config, self.layout = gan, config, layout
        self.g_net = Network("g", config, states.g_optimizer(config, gan.spec))
        self.d_net = Network("d", config, states.d_optimizer(config, gan.spec))
        self.views = Views(config, gan.spec.image_shape, layout)

    def g_main(self, state: TrainState, batch: Batch, root_key: jax.Array) -> TrainState:
        """Take a step of the generator against the discriminator."""
        data: dict[str, Any] = {"latents": self._latents("g_main", state, root_key, gen_label(batch, "g_main"))}
        data["fake"] = self._drawn("g_main/augment/fake", state, root_key)

        def of(params, part):
            g, view = self.g_net.variables(state, params), self.views.of(part["fake"], state.nimg)
            return objective.g_main(self._gan(state.nimg), self.config.loss, g, state.d, part["latents"], view)

        grads, aux = self._gradients(of, state.g["params"], data)
        aux.report.pop("scores/fake")  # reported by d_main, after the generator's step
        new = self.g_net.updated(state, "g_main", state.nimg, grads)
        return settle(self.config, state, "g_main", grads, aux.report, new)

    def g_reg(self, state: TrainState, batch: Batch, root_key: jax.Array) -> TrainState:
        """Take a path-length step of the generator."""
        gan, loss = self._gan(state.nimg), self.config.loss
        cond = gen_label(batch, "g_reg")
        cond = self.layout.split(cond[: cond.shape[0] // loss.pl_batch_shrink])
        shape = (cond.shape[0], *gan.spec.image_shape)
        noise = self.layout.split(rng.normal(rng.stream(root_key, "g_reg/image", state.step), shape))
        data: dict[str, Any] = {"latents": self._latents("g_reg", state, root_key, cond), "noise": noise}

        def lengths(params, part):
            g = self.g_net.variables(state, params)
            return objective.path_lengths(gan, loss, g, part["latents"], part["noise"])

        penalty = lambda values: objective.path_length_loss(loss, values, state.pl_mean)
        count = self.config.train.grad_accum
        grads, aux = accumulate.path_length_gradients(lengths, penalty, state.g["params"], data, count, self.layout)
        new = self.g_net.updated(state, "g_reg", state.nimg, grads) | {"pl_mean": aux.store["pl_mean"]}
        return settle(self.config, state, "g_reg", grads, aux.report, new)

    def d_main(self, state: TrainState, batch: Batch, root_key: jax.Array) -> TrainState:
        """Take a step of the discriminator and end the iteration's accounting."""
        t, steered = self.config.train, self.config.augment
        data: dict[str, Any] = {"latents": self._latents("d_main", state, root_key, gen_label(batch, "d_main"))}
        data |= {"pixels": batch.pixels, "label": batch.label}
        data |= {side: self._drawn(f"d_main/augment/{side}", state, root_key) for side in ("fake", "real")}

        def of(params, part):
            fake_view, real_view = (self.views.of(part[side], state.nimg) for side in ("fake", "real"))
            image = self._image(part["pixels"], state.nimg)
            rest = part["latents"], image, part["label"], fake_view, real_view, t.batch_size
            variables = functools.partial(self.d_net.variables, state)
            return objective.d_main(self._gan(state.nimg), self.config.loss, variables, params, state.g, *rest)

        grads, aux = accumulate.average(of, state.d["params"], data, t.grad_accum, self.layout)
        if self.config.loss.d_reg != "none" and not d_reg_is_lazy(self.config):
            more, penalty = self._penalty(state, batch, root_key, state.nimg)
            grads = jax.tree.map(jnp.add, grads, more)
            aux.report.update(penalty.report)
        control = state.augment
        if steered.mode != "none":
            control = controller.observe(control, aux.store["real"])
            aux.report["augment/p"], aux.report["augment/r_t"] = control.p, control.sign_sum / control.count
        beta = ema.ema_beta(t.batch_size, state.nimg, t.ema_kimg, t.ema_rampup)
        new = self.d_net.updated(state, "d_main", state.nimg, grads) | {
            "g": merge(state.g, {"buffers": moved}) if (moved := aux.store["moved"]) else state.g,
            "w_avg": ema.update_w_avg(state.w_avg, aux.store["w"], t.w_avg_beta),
            "g_ema": ema.update(state.g_ema, state.g["params"], beta),
            "augment": controller.update(steered, control, state.step + 1, t.batch_size),
        }
        counters = {"step": state.step + 1, "nimg": state.nimg + t.batch_size}
        return settle(self.config, state, "d_main", grads, aux.report, new, counters)

    def d_reg(self, state: TrainState, batch: Batch, root_key: jax.Array) -> TrainState:
        """Take a gradient-penalty step of the discriminator, on the batch of `d_main`."""
        shown = state.nimg - self.config.train.batch_size  # d_main has counted this iteration's
        grads, aux = self._penalty(state, batch, root_key, shown)
        new = self.d_net.updated(state, "d_reg", shown, grads)
        if self.config.augment.mode == "ada" and self.config.loss.d_reg == "r1":
            new["augment"] = controller.observe(state.augment, aux.store["logits"])
        return settle(self.config, state, "d_reg", grads, aux.report, new)

    def _penalty(
        self, state: TrainState, batch: Batch, root_key: jax.Array, shown: jax.Array
    ) -> tuple[Any, objective.Aux]:
        """Return (gradient of the discriminator's regulariser, aux)."""
        loss = self.config.loss
        # Fakes that are mixed with reals have their labels.
        cond = batch.label if loss.d_reg == "wgan_gp" else gen_label(batch, "d_reg")
        data: dict[str, Any] = {"latents": self._latents("d_reg", state, root_key, cond)}
        data |= {"pixels": batch.pixels, "label": batch.label}
        if loss.d_reg == "wgan_gp":
            mix = jax.random.uniform(rng.stream(root_key, "d_reg/mix", state.step), batch.label.shape[:1])
            data["mix"] = self.layout.split(mix)
        data["real"] = self._drawn("d_reg/augment/real", state, root_key)

        def of(params, part):
            d, image = self.d_net.variables(state, params), self._image(part["pixels"], shown)
            rest = part["latents"], image, part["label"], self.views.of(part["real"], shown), part.get("mix")
            return objective.d_reg(self._gan(shown), loss, d, state.g, *rest)

        return self._gradients(of, state.d["params"], data)

    def _gan(self, nimg: jax.Array) -> Gan:
        """Return the model once `nimg` images have been shown."""
        return grown.at(self._whole, self._level, nimg)

    def _latents(self, phase: str, state: TrainState, root_key: jax.Array, cond: jax.Array) -> objective.Latents:
        return draw_latents(self.gan, self.layout, root_key, phase, state.step, cond)

    def _image(self, pixels: jax.Array, nimg: jax.Array) -> jax.Array:
        return grown.fade_reals(self.layout.spread(images.from_pixels(pixels)), self._level, nimg)

    def _drawn(self, name: str, state: TrainState, root_key: jax.Array) -> Any:
        return self.views.draw(root_key, name, state, self.config.train.batch_size)

    def _gradients(self, of: accumulate.Objective, params: Any, data: Any) -> tuple[Any, objective.Aux]:
        return accumulate.gradients(of, params, data, self.config.train.grad_accum, self.layout)


def gen_label(batch: Batch, phase: str) -> jax.Array:
    """Return the labels float[n, k] of a phase's latents."""
    return batch.gen_label[PHASES.index(phase)]


def make_programs(gan: Gan, config: ExperimentConfig, layout: Layout, level: Level | None = None) -> dict[str, Program]:
    """Return the uncompiled programs of a level (None: the last) by phase name."""
    programs = Programs(gan, config, layout, level)
    return {phase: getattr(programs, phase) for phase in PHASES}


def jit_programs(programs: Mapping[str, Program], layout: Layout) -> dict[str, Program]:
    """Return the programs under `jax.jit`: state laid out by `layout` and donated, batch split over the devices."""
    whole = layout.mesh.shape["fsdp"] == 1
    state = layout.replicated if whole else None  # None: as the given state lies
    shardings = (state, layout.batch_shardings(), layout.replicated)

    def held(program: Program) -> Program:
        return program if whole else lambda *args: layout.hold(program(*args))

    return {
        name: jax.jit(held(program), in_shardings=shardings, out_shardings=state, donate_argnums=(0,))
        for name, program in programs.items()
    }


def jit_restart(gan: Gan, config: ExperimentConfig, layout: Layout) -> Callable[[TrainState], TrainState]:
    """Return state -> state with both optimisers as they start, under `jax.jit`; the state is donated."""
    restarted = lambda state: layout.hold(states.restarted(state, gan, config))
    whole = layout.replicated if layout.mesh.shape["fsdp"] == 1 else None
    return jax.jit(restarted, out_shardings=whole, donate_argnums=(0,))


def batch_shapes(gan: Gan, config: ExperimentConfig, layout: Layout, level: Level | None = None) -> Batch:
    """Return the abstract global batch of a level (None: the last)."""
    level = level or levels(config)[-1]
    n, k = level.batch_size, gan.spec.label_dim
    make = lambda shape, dtype, sharding: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
    return Batch(
        make((n, *grown.plain(gan, level).spec.image_shape), jnp.uint8, layout.batch),
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
    lowered = compiling.lower(_creation(gan, config, layout), root_key)
    state = lowered.compile(compiler_options=compiling.quick_options())(root_key)
    return state if layout.mesh.shape["fsdp"] == 1 else jax.jit(layout.hold)(state)


def state_shapes(gan: Gan, config: ExperimentConfig, layout: Layout) -> TrainState:
    """Return the abstract state with its shardings: the target of a restore."""
    with compiling.tracing():
        shapes = _creation(gan, config, layout).eval_shape(jax.random.key(0))
    place = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    return jax.tree.map(place, shapes, layout.state(shapes))
