"""The contract between the loop and what it trains: a `Task`, whose phases form a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from stylegan_jax.base.spec import Batch, Tree, Variables
from stylegan_jax.config import ClipRule, Level
from stylegan_jax.train.optim import Optimizer
from stylegan_jax.train.state import TrainState


class Rates(NamedTuple):
    """Everything that follows a schedule: pure functions of the images shown, traced if they change.

    Attributes:
        lr: learning rate by network, before the correction for lazy regularisation.
        beta2: second-moment decay by network, before that correction.
        gamma: weight of R1 and R2.
        ema_beta: decay of the exponential averages in this iteration.
        blur_sigma: blur of the discriminator's images, in pixels.
        fade: float[] in [0, 1], how far the newest layers are faded in; None: no layers are being faded in.
        augment_p: strength of the augmentation; None: the one in the state.
        stage: int32[], the last style slot that a progressive encoder trains; None: it trains all.
    """

    lr: Mapping[str, Any]
    beta2: Mapping[str, Any]
    gamma: Any = 0.0
    ema_beta: Any = 0.0
    blur_sigma: Any = 0.0
    fade: jax.Array | None = None
    augment_p: jax.Array | None = None
    stage: jax.Array | None = None


class Context(NamedTuple):
    """What a loss reads besides its rows.

    Attributes:
        nets: variables by network, including the parameters to differentiate with respect to.
        moving: `TrainState.moving`.
        frozen: pretrained networks by name.
        rates: the rates of this iteration.
    """

    nets: Mapping[str, Variables]
    moving: Mapping[str, Any]
    frozen: Mapping[str, Tree]
    rates: Rates


class Aux(NamedTuple):
    """What a loss returns besides its value; the field determines how micro-batches are combined.

    Attributes:
        rows: arrays with one row per example, concatenated in the order of the batch; for `Phase.after`.
        means: scalars float[], averaged; those named in `Phase.reports` are reported.
        moved: collections, except 'params', that the call updated, by network; averaged leaf by leaf.
    """

    rows: dict[str, jax.Array]
    means: dict[str, jax.Array]
    moved: dict[str, Variables]


Loss = Callable[[Context, Tree], Any]
"""(context, rows) -> (scalar, `Aux`); if the phase has `couple`, -> values float[n]."""


def keep(moving: Mapping[str, Any], context: Context, aux: Aux) -> dict[str, Any]:
    """Return `moving` unchanged: the `after` of a phase that updates nothing."""
    return dict(moving)


class Phase(NamedTuple):
    """One row of the table of phases, which an iteration runs in order.

    Attributes:
        name: names its program and its random streams.
        net: the network that it trains.
        draw: (state, batch, root key) -> rows, a tree of arrays with one row per example, or scalars that all examples
            share. All randomness is drawn here, so that the rest can be split into micro-batches.
        loss: (context, rows) -> (mean over the rows, `Aux`).
        couple: (values float[n], context) -> (scalar, `Aux`), for a loss that is not a mean over examples: `loss` then
            returns one value per example, and `couple` combines them. None: the loss is a mean.
        after: (moving, context, aux) -> moving, updated after the step.
        every: iterations from one run of the phase to the next (lazy regularisation, SG2 App. B).
        start_nimg: images shown before the phase first runs.
        end_nimg: images shown after which it no longer runs; None: it runs to the end.
        is_whole: False for a regulariser: the optimiser skips the parameters on which it does not depend.
        reports: names in `Aux.means` that are reported.
    """

    name: str
    net: str
    draw: Callable[[TrainState, Batch, jax.Array], Tree]
    loss: Loss
    couple: Callable[[jax.Array, Context], tuple[jax.Array, Aux]] | None = None
    after: Callable[[Mapping[str, Any], Context, Aux], dict[str, Any]] = keep
    every: int = 1
    start_nimg: int = 0
    end_nimg: int | None = None
    is_whole: bool = True
    reports: tuple[str, ...] = ()


class Plan(NamedTuple):
    """What a level of a run executes.

    Attributes:
        phases: the table.
        rates: images shown before the iteration -> `Rates`.
        optimizers: optimiser by network.
        finish: (state, rates) -> (state, values to report), called once after an iteration's phases to update what they
            all read, such as the averages; the caller updates `step` and `nimg`.
        batch: the abstract global batch, without shardings.
        draws: which draws of labels the phases read, in the order of `Batch.gen_label`.
        finish_reports: names of the values that `finish` reports.
        frames: number of images that one example counts as.
        rule: how clips are taken from videos; None: examples are images.
    """

    phases: tuple[Phase, ...]
    rates: Callable[[Any], Rates]
    optimizers: Mapping[str, Optimizer]
    finish: Callable[[TrainState, Rates], tuple[TrainState, dict[str, jax.Array]]]
    batch: Batch
    draws: tuple[int, ...]
    finish_reports: tuple[str, ...] = ()
    frames: int = 1
    rule: ClipRule | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the level's images."""
        h, w, c = self.batch.pixels.shape[-3:]
        return h, w, c


class Preview(Protocol):
    """Sample grids of a state, with the same latents every time."""

    def compile(self, state: Any, frozen: Any) -> None:
        """Compile the program for arguments that are arrays or abstract shapes."""

    def draw(self, state: TrainState, frozen: Any) -> np.ndarray:
        """Return uint8[cells, h, w, c], or uint8[cells, t, h, w, c] for clips."""
        ...


class Frozen(NamedTuple):
    """A pretrained network, which is never trained, donated or saved.

    Attributes:
        tree: its arrays.
        digest: SHA-256 of their names, shapes, dtypes and bytes; stored in checkpoints.
    """

    tree: Tree
    digest: str


class Task(NamedTuple):
    """Everything that the loop knows about what it trains.

    Attributes:
        plan: level -> `Plan`.
        create: (key, frozen) -> the state before the first step; pure.
        terms: names of everything that the phases and `finish` may report, in the order of `TrainState.stats`.
        frozen: loaders of pretrained networks by name; each is called once per run.
        preview: level -> `Preview`.
        export: state -> nested dicts that sampling reads, saved next to the state.
        averages: state -> nested dicts of the averages of `config.train.posthoc_ema`, stored as snapshots
            (`checkpoints.averages`).
        open_source: path -> what `transfer` copies from, with the `digest` of its weights. For '' it returns None, or
            raises ConfigError if the run cannot start from random weights.
        transfer: (fresh state or its abstract shapes, source) -> (state, lines of a report).
        frozen_shapes: functions that return the abstract arrays of pretrained networks without reading a file, by name;
            `shapes_of_frozen` loads the networks that have none.
        reload: like `transfer`, for a restored state before training continues; None: it is used unchanged.
        advice: what to change if training diverges, for error messages.
        warnings: means of a tick -> lines to show.
        short: reported term -> its name in the progress line.
        titles: network -> its name in tables.
    """

    plan: Callable[[Level], Plan]
    create: Callable[[jax.Array, Mapping[str, Tree]], TrainState]
    terms: tuple[str, ...]
    frozen: Mapping[str, Callable[[], Frozen]]
    preview: Callable[[Level], Preview]
    export: Callable[[TrainState], dict[str, Any]]
    averages: Callable[[TrainState], dict[str, Any]]
    open_source: Callable[[str], Any]
    transfer: Callable[[TrainState, Any], tuple[TrainState, list[str]]]
    frozen_shapes: Mapping[str, Callable[[], Tree]] = MappingProxyType({})
    reload: Callable[[TrainState, Any], tuple[TrainState, list[str]]] | None = None
    advice: str = "lower the learning rates"
    warnings: Callable[[Mapping[str, float]], list[str]] = lambda means: []
    short: Mapping[str, str] = MappingProxyType({})
    titles: Mapping[str, str] = MappingProxyType({})


def shapes_of_frozen(task: Task) -> dict[str, Tree]:
    """Return the abstract arrays of a task's pretrained networks, by name."""
    loaded = lambda name: jax.eval_shape(lambda: task.frozen[name]().tree)
    return {name: task.frozen_shapes[name]() if name in task.frozen_shapes else loaded(name) for name in task.frozen}
