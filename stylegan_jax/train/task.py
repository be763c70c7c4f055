"""What the loop knows of what it trains: a `Task`, whose phases are rows of a table."""

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
    """Everything that a schedule moves: pure functions of the images shown, traced where they change.

    Attributes:
        lr: learning rate by network, before the correction for lazy regularisation.
        beta2: second-moment decay by network, before that correction.
        gamma: weight of R1 and R2.
        ema_beta: decay of the averages for this iteration.
        blur_sigma: blur of what the discriminator sees, in pixels.
        fade: float[] in [0, 1], how far the newest layers are faded in; None: nothing is being faded in.
        augment_p: strength of the augmentation; None: the one in the state.
        stage: int32[], the last style slot in training of a progressive encoder; None: all of them.
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
        nets: variables by network, with the parameters to differentiate by.
        moving: `TrainState.moving`.
        frozen: pretrained networks by name.
        rates: of this iteration.
    """

    nets: Mapping[str, Variables]
    moving: Mapping[str, Any]
    frozen: Mapping[str, Tree]
    rates: Rates


class Aux(NamedTuple):
    """What a loss returns besides its value; the field says how micro-batches are joined.

    Attributes:
        rows: arrays with one row per example, joined in their order; for `Phase.after`.
        means: scalars float[], averaged; those that the phase names in `reports` are reported.
        moved: collections by network that this call moved, without 'params'; averaged leaf by leaf.
    """

    rows: dict[str, jax.Array]
    means: dict[str, jax.Array]
    moved: dict[str, Variables]


Loss = Callable[[Context, Tree], Any]
"""(context, rows) -> (scalar, Aux), or values float[n] where the phase has `couple`."""


def keep(moving: Mapping[str, Any], context: Context, aux: Aux) -> dict[str, Any]:
    """Return `moving` as it is: the `after` of a phase that moves nothing."""
    return dict(moving)


class Phase(NamedTuple):
    """A row of the table of what one iteration runs, in order.

    Attributes:
        name: of its program, its random streams and its line in reports.
        net: the network that it trains.
        draw: (state, batch, root key) -> rows, a tree of arrays with one row per example, or scalars that all examples
            share. All randomness is drawn here, so that the rest can be split into micro-batches.
        loss: (context, rows) -> (mean over the rows, `Aux`).
        couple: (values float[n], context) -> (scalar, `Aux`), for a loss that is not a mean over examples: `loss` then
            returns values, one per example, and this couples all of them. None: no coupling.
        after: (moving, context, aux) -> moving.
        every: runs every so many iterations (lazy regularisation, SG2 App. B).
        start_nimg: runs once so many images have been shown.
        end_nimg: runs no more once so many have; None: to the end.
        is_whole: False for a regulariser: the optimiser skips the parameters that it does not depend on.
        reports: names of `aux.means` that are reported.
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
        optimizers: by network.
        finish: (state, rates) -> (state, values to report), once per iteration after its phases: averages and what else
            all phases see as it was; `step` and `nimg` are moved by the caller.
        finish_reports: names of the values that it reports.
        frames: images that an example counts as.
        rule: how clips are taken from videos; None: examples are images.
        batch: the abstract global batch, without shardings.
        draws: numbers of the draws of labels that the phases read, in the order of `Batch.gen_label`.
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
        """(h, w, c) of the images of the level."""
        h, w, c = self.batch.pixels.shape[-3:]
        return h, w, c


class Preview(Protocol):
    """Pictures of a state, the same latents at every snapshot."""

    def compile(self, state: Any, frozen: Any) -> None:
        """Compile its program from arrays or abstract shapes."""

    def draw(self, state: TrainState, frozen: Any) -> np.ndarray:
        """Return uint8[cells, h, w, c], of clips uint8[cells, t, h, w, c]."""
        ...


class Frozen(NamedTuple):
    """A pretrained network that is read and never trained, donated or saved.

    Attributes:
        tree: its arrays.
        digest: SHA-256 of names, shapes, types and bytes; stored in checkpoints.
    """

    tree: Tree
    digest: str


class Task(NamedTuple):
    """All that the loop knows of what it trains.

    Attributes:
        plan: level -> `Plan`.
        create: (key, frozen) -> the state before the first step; pure.
        terms: names of everything that its phases and `finish` may report, in the order of `TrainState.stats`.
        frozen: loaders of pretrained networks by name; each is called once per run.
        frozen_shapes: of the same networks, what returns their abstract arrays and reads no file; those that are
            missing here have to be loaded for that (`shapes_of_frozen`).
        preview: level -> `Preview`.
        export: state -> nested dicts that sampling reads, saved beside the state.
        averages: state -> nested dicts of the averages of `config.train.posthoc_ema`, stored as snapshots
            (`checkpoints.averages`).
        open_source: path -> what `transfer` copies from, checked against abstract shapes of the state, with the
            `digest` of its weights; of '' None, or an error where the run needs something to start from.
        transfer: (fresh state, source) -> (state, lines of a report).
        reload: the same of a state that has been restored, before training goes on; None: it stays as it is.
        advice: what to change where training diverges, for an error message.
        warnings: means of a tick -> lines to show.
        short: reported term -> its name in the progress line.
        titles: network -> what it is called in tables.
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
    """Return the abstract arrays of the pretrained networks of a task, by name."""
    loaded = lambda name: jax.eval_shape(lambda: task.frozen[name]().tree)
    return {name: task.frozen_shapes[name]() if name in task.frozen_shapes else loaded(name) for name in task.frozen}
