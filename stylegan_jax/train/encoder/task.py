"""An encoder as a `Task`: it learns to invert a frozen generator (Tov et al. 2021; Richardson et al. 2021)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax import encoders
from stylegan_jax.base import images, rng
from stylegan_jax.base.spec import Batch, Tree
from stylegan_jax.base.trees import digest_of
from stylegan_jax.config import ExperimentConfig, Level
from stylegan_jax.encoders import Encoder, critic
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.train import optim, terms
from stylegan_jax.train.cells import grid_size
from stylegan_jax.train.encoder import compare, generator as frozen_one, pools, transfer
from stylegan_jax.train.encoder.objective import GENERATOR, D, E, Setting, image_of
from stylegan_jax.train.encoder.phases import PHASES, make_phases
from stylegan_jax.train.encoder.preview import ROWS, EncoderPreview
from stylegan_jax.train.encoder.rates import rates_at
from stylegan_jax.train.ranger import ranger
from stylegan_jax.train.state import TrainState
from stylegan_jax.train.task import Frozen, Plan, Task

START = "start"
"""Name of the frozen weights that the body starts from."""
D_BETAS, D_EPS = (0.9, 0.999), 1e-8
"""Adam of the latent discriminator; R1 takes additional steps with it, without correcting for lazy regularisation."""
ADVICE = "Lower config.encoder.training.lr, or set config.model.compute_dtype='float32'"
SHORT = {
    "loss/l2": "L2",
    "loss/alexnet_lpips": "LPIPS",
    "loss/vgg16_lpips": "LPIPS",
    "loss/w": "w",
    "loss/adversarial": "adv",
    "loss/delta": "delta",
    "loss/d_adversarial": "D",
}
"""The terms in the progress line, and their names there."""


def make_task(
    config: ExperimentConfig,
    layout: Layout,
    *,
    label_kind: str = "none",
    grid_label: np.ndarray | None = None,
    targets: np.ndarray | None = None,
    model: LoadedModel | None = None,
    encoder: Encoder | None = None,
    loaders: Mapping[str, Callable[[], Frozen]] | None = None,
) -> Task:
    """Return the task of training an encoder.

    Args:
        config: the experiment, with the generator's configuration as `model` (`generator.resolve`).
        layout: sharding of the state and batches.
        label_kind: `SourceInfo.label_kind`, for the shape of batches; training does not read labels.
        grid_label: float32[cells, k], for k.
        targets: uint8[m, h, w, c] at the generator's size, for the preview; None: samples.
        model: the generator; None: that of `config.encoder.model`.
        encoder: the bundle; None: that of `config.encoder`.
        loaders: loaders of feature networks by name; None: those of `compare.loaders`.

    Raises:
        ConfigError: the encoder does not fit the generator.
    """
    model = model or frozen_one.open_generator(config)
    gan, spec, t = model.gan, model.gan.spec, config.encoder.training
    sizes = {"num_ws": spec.num_ws, "w_dim": spec.w_dim, "channels": spec.image_shape[2]}
    encoder = encoder or encoders.build(config.encoder, **sizes)
    setting = Setting(encoder, gan, t, compare.comparisons(t))
    phases = make_phases(setting, layout)
    names = tuple(dict.fromkeys(name for phase in phases for name in phase.reports))
    names += tuple(f"{terms.NONFINITE}{name}" for name in PHASES)
    optimizers = {E: ranger(), D: optim.adam(D_BETAS[0], D_EPS, 0)}
    size = frozen_one.image_shape(gan, encoder.spec.image[:2])
    batch = _batch(config.train.batch_size, size, label_kind, 0 if grid_label is None else grid_label.shape[1])
    plan = Plan(phases, functools.partial(rates_at, encoder, t), optimizers, _finish, batch, draws=())
    known = loaders if loaders is not None else compare.loaders(config)
    own = {GENERATOR: functools.partial(frozen_one.frozen_generator, model)}
    start = encoders.load_start(config.encoder, encoder)
    own |= {START: lambda: Frozen(start, digest_of(start, {}))} if start else {}

    @functools.lru_cache(maxsize=1)
    def preview(level: Level) -> EncoderPreview:
        pixels = _samples(config, model) if targets is None or t.images == "samples" else targets
        wanted = config.log.grid_columns * (config.log.grid_rows // ROWS)
        return EncoderPreview(encoder, gan, layout, pixels[np.arange(wanted) % len(pixels)], config.log.grid_columns)

    return Task(
        plan=lambda level: plan,
        create=functools.partial(_create, setting, plan, config.train.batch_size, len(names)),
        terms=names,
        frozen={**own, **known},
        frozen_shapes={GENERATOR: functools.partial(frozen_one.frozen_shapes, model)},
        preview=preview,
        export=lambda state: dict(state.nets[E]),
        averages=lambda state: {},
        open_source=functools.partial(transfer.open_source, config),
        transfer=transfer.transfer,
        advice=ADVICE,
        short=SHORT,
        titles={E: "encoder", D: "latent discriminator"},
    )


def _batch(n: int, shape: tuple[int, int, int], label_kind: str, label_dim: int) -> Batch:
    """Return the abstract batch: images uint8[n, h, w, c], and the data's labels, which training does not read."""
    make = jax.ShapeDtypeStruct
    label = make((n,), jnp.int32) if label_kind == "classes" and label_dim else make((n, label_dim), jnp.float32)
    return Batch({"image": make((n, *shape), jnp.uint8)}, label, make((0, *label.shape), label.dtype))


def _samples(config: ExperimentConfig, model: LoadedModel) -> np.ndarray:
    """Return uint8[m, h, w, c], samples of the generator for the preview, not drawn in training."""
    n, k = grid_size(config), model.gan.spec.label_dim
    z = np.asarray(rng.normal(rng.stream(rng.root(config.train.seed), "grid"), (n, model.gan.spec.z_dim)))
    label = np.arange(n) % k if k else None
    return images.to_pixels(model.synthesize(model.map(z, label)))


def _finish(state: TrainState, rates: Any) -> tuple[TrainState, dict[str, jax.Array]]:
    return state, {}


def _create(
    s: Setting, plan: Plan, batch_size: int, num_terms: int, root_key: jax.Array, frozen: Mapping[str, Tree]
) -> TrainState:
    spec, t = s.encoder.spec, s.training
    e = s.encoder.init(rng.stream(root_key, "init_e"), frozen.get(START))
    w = jnp.broadcast_to(frozen[GENERATOR]["w_avg"], (spec.num_ws, spec.w_dim))
    image = image_of(s.gan, frozen, w[None], None)[0] if spec.residual else None
    nets: dict[str, Any] = {E: encoders.with_average(e, w, image)}
    moving: dict[str, Any] = {}
    if t.has_critic:
        nets[D] = critic.init(rng.stream(root_key, "init_d"), spec.w_dim)
        moving["shown"] = jnp.zeros([batch_size, spec.w_dim])
        if t.pool:
            moving["pools"] = {name: pools.empty(t.pool, spec.w_dim) for name in ("real", "fake")}
    return TrainState(
        step=jnp.zeros([], jnp.int32),
        nimg=jnp.zeros([], jnp.int32),
        nets=nets,
        opt={name: plan.optimizers[name].init(net["params"]) for name, net in nets.items()},
        ema={},
        moving=moving,
        stats=terms.empty(num_terms),
    )
