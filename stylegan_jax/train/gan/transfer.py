"""Start training from existing weights, and report of every array whether it is loaded, new or dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from stylegan_jax import models
from stylegan_jax.base.errors import visible
from stylegan_jax.base.trees import digest_of, flatten, unflatten
from stylegan_jax.checkpoints.restore import best_step, committed_steps
from stylegan_jax.config import ARCH_RULES, ConfigError, ExperimentConfig, ModelConfig
from stylegan_jax.sampling.load import load_model
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.train.state import TrainState

LABEL_LAYERS = ("mapping/embed/weight",)
"""Arrays whose shape depends on the number of classes; if it differs, they are newly initialised."""


class Source(NamedTuple):
    """A model to copy from; its path and checkpoint (`which`) are shown in messages."""

    model: LoadedModel
    path: str
    which: str = ""

    @property
    def digest(self) -> str:
        """Digest of the averaged weights and mean styles, which also identify the checkpoint of G and D."""
        return digest_of({"g_ema": self.model.g_ema, "w_avg": self.model.w_avg}, {})


def open_source(config: ExperimentConfig, path: str) -> Source | None:
    """Load the model to start from: of a run, checkpoint `train.init_step`, or its best. Return None for path ''.

    Raises:
        ConfigError: the path is '' and `train.freeze_g` would freeze random layers.
        ConfigError, BadCheckpointError, CheckpointError: as `load_model`.
    """
    if not path:
        if config.train.freeze_g != "none":
            raise ConfigError(
                f"config.train.init_from is empty with freeze_g={config.train.freeze_g!r}, so the layers of earlier "
                "stages would stay random; set init_from to the run of the previous stage, or freeze_g='none' to train "
                "all layers"
            )
        return None
    step, which = config.train.init_step or None, ""
    if step is None and (found := _best_step(path)):
        step, which = found[0], f", checkpoint {found[0]}, the best by {found[1]}"
    try:
        model = load_model(path, step, whole=True)
    except ConfigError as error:
        raise ConfigError(f"config.train.init_from: {error}") from None
    return Source(model, path, which or (f", checkpoint {step}" if step else ""))


def _best_step(path: str) -> tuple[int, str] | None:
    """Return (step, term that it is the best by) of a run's best checkpoint; None if there is none."""
    folder = Path(path).expanduser()
    return best_step(folder) if committed_steps(folder / "checkpoints") else None


def transfer(config: ExperimentConfig, state: TrainState, source: Source) -> tuple[TrainState, list[str]]:
    """Copy G, D and the averaged generator into a fresh state.

    Blocks are matched by resolution, so a model can grow or shrink: new blocks keep their initial values, and blocks
    that do not exist here are dropped. If the source lacks G, its average is used; if it lacks D, D keeps its initial
    values.

    Args:
        config: the experiment of `state`.
        state: a fresh state, or its abstract shapes to only check.
        source: the model to copy from.

    Returns:
        (state, lines of the report).

    Raises:
        ConfigError: arrays have other shapes here, or none match; the message lists them.
    """
    model, path, which = source
    _check_same(config.model, model, path)
    if ARCH_RULES[config.model.arch].starts_stage(config.model, model.config, path):
        return _begin_stage(config, state, source)
    problems: list[str] = []
    lines = [f"initialised from {path}{which}"]
    g = _merge_network("G", state.nets["g"], model.g or model.g_ema, lines, problems)
    average = _merge("G average", state.ema["g"], model.g_ema["params"], lines, problems)
    d = state.nets["d"]
    if model.d is None:
        left = model.provenance.get("left_out")
        why = f" ({left['d']})" if isinstance(left, dict) and "d" in left else ""
        lines.append(visible(f"  D: not in the source{why}; newly initialised"))
    else:
        d = _merge_network("D", d, model.d, lines, problems)
    have = state.moving["w_avg"]
    w_avg = _mean_styles(jnp.array(model.w_avg), have, lines, problems)
    moving = state.moving | {"w_avg": w_avg.astype(have.dtype)}
    new = state.replace(nets=state.nets | {"g": g, "d": d}, ema=state.ema | {"g": average}, moving=moving)
    return _unless(problems, config, source, new), lines


def _begin_stage(config: ExperimentConfig, state: TrainState, source: Source) -> tuple[TrainState, list[str]]:
    """Start a super-resolution stage: copy the averaged generator of the previous stage into G and its average.

    This includes the Fourier input; the head and D are newly initialised.
    """
    model, path, which = source
    groups, problems = models.build(config.model).spec.groups, []
    frozen = {"none": (), "stem": ("stem",), "stem_input": ("stem", "input")}[config.train.freeze_g]
    lines = [f"initialised from {path}{which}, the average of the previous stage"]
    want = flatten(state.ema["g"])
    for name in ("stem", "input", "head"):
        paths = [path for path in want if _is_below(path, groups[name])]
        size, is_new = sum(want[path].size for path in paths), name == "head"
        how = "new" if is_new else "loaded"
        fate = "frozen (config.train.freeze_g)" if name in frozen else "trained"
        lines.append(f"  {name}: {len(paths)} arrays {how} ({size:,d} numbers), {fate}")
        lines += [f"    new: {path}" for path in paths if is_new]
    below = (*groups["stem"], *groups["input"])
    state = _take(state, model, below, lines, problems)
    left = [path for path in flatten(model.g_ema["params"]) if not _is_below(path, below)]
    lines += [f"    dropped: {path}" for path in left] + ["  D: newly initialised"]
    return _unless(problems, config, source, state), lines


def reload(config: ExperimentConfig, state: TrainState, source: Source) -> tuple[TrainState, list[str]]:
    """Load the layers of the earlier stages again, except the Fourier input, as the published code does at every start.

    The mean styles are loaded too. Arguments, returned values and errors are those of `transfer`.
    """
    groups, problems = models.build(config.model).spec.groups, []
    _check_same(config.model, source.model, source.path)
    ARCH_RULES[config.model.arch].starts_stage(config.model, source.model.config, source.path)
    lines = [f"stem loaded again from {source.path}{source.which} (config.train.reload_stem)"]
    state = _take(state, source.model, groups["stem"], lines, problems)
    return _unless(problems, config, source, state), lines


def _take(
    state: TrainState, model: LoadedModel, starts: tuple[str, ...], lines: list[str], problems: list[str]
) -> TrainState:
    """Copy the averaged arrays below the paths `starts`, and the mean styles, into G and its average."""
    g = {name: take(tree, model.g_ema.get(name, {}), starts, problems) for name, tree in state.nets["g"].items()}
    average = take(state.ema["g"], model.g_ema["params"], starts, [])
    have = state.moving["w_avg"]
    w_avg = _mean_styles(jnp.array(model.w_avg), have, lines, problems).astype(have.dtype)
    moving = state.moving | {"w_avg": w_avg}
    return state.replace(nets=state.nets | {"g": g}, ema=state.ema | {"g": average}, moving=moving)


def take(target: Any, source: Any, starts: tuple[str, ...], problems: list[str]) -> Any:
    """Return `target` with the arrays of `source` below the paths `starts`; what does not fit joins `problems`."""
    out, have = flatten(target), flatten(source)
    for name, leaf in out.items():
        if not _is_below(name, starts):
            continue
        if name not in have or jnp.shape(have[name]) != leaf.shape:
            found = jnp.shape(have[name]) if name in have else "missing"
            problems.append(f"{name}: {found} in the source, {leaf.shape} here")
        else:
            out[name] = jnp.array(have[name], leaf.dtype)  # a copy: the state is donated
    return unflatten(out)


def _is_below(path: str, starts: tuple[str, ...]) -> bool:
    return any(f"{path}/".startswith(f"{start}/") for start in starts)


def _unless(problems: list[str], config: ExperimentConfig, source: Source, state: TrainState) -> TrainState:
    """Return the state, or raise ConfigError if there are problems."""
    if problems:
        raise ConfigError(
            f"config.train.init_from={source.path} does not fit this model:\n  "
            + "\n  ".join(problems)
            + "\nUse the source's channel_base, channel_max, w_dim, mapping_layers and layouts. Keys that differ: "
            + _differences(source.model, config.model)
        )
    return state


def _mean_styles(w_avg: Any, have: Any, lines: list[str], problems: list[str]) -> Any:
    """Return the source's mean styles; if the classes differ, each one here gets the mean of the source's."""
    if w_avg.shape == have.shape:
        return w_avg
    if w_avg.shape[-1] != have.shape[-1]:
        problems.append(f"w_avg: {w_avg.shape} in the source, {have.shape} here")
        return w_avg
    lines.append(f"  w_avg: {w_avg.shape} in the source, {have.shape} here; its mean is used")
    return jnp.broadcast_to(w_avg.reshape(-1, w_avg.shape[-1]).mean(axis=0), have.shape)


def _check_same(config: ModelConfig, model: LoadedModel, path: str) -> None:
    """Check the keys that shapes do not reveal: the resampling filter, and those that the architecture names."""
    same = ARCH_RULES[config.arch].same if model.config.arch == config.arch else ()
    for key in ("resample_filter", *same):
        theirs, ours = getattr(model.config, key), getattr(config, key)
        if theirs != ours:
            raise ConfigError(
                f"config.train.init_from={path} has {key}={theirs}, but config.model.{key} is {ours}; set it to the "
                "same value"
            )


def _merge_network(title: str, target: Any, source: Any, lines: list[str], problems: list[str]) -> dict[str, Any]:
    """Copy all collections of a network; those that the source lacks keep their initial values."""
    names = {"params": title, "buffers": f"{title} noise maps"}
    out = {}
    for collection, tree in target.items():
        name = names.get(collection, f"{title} {collection}")
        if tree and not source.get(collection):
            lines.append(f"  {name}: not in the source; newly initialised")
            out[collection] = tree
        else:
            out[collection] = _merge(name, tree, source.get(collection, {}), lines, problems)
    return out


def _merge(title: str, target: Any, source: Any, lines: list[str], problems: list[str]) -> Any:
    want, have = flatten(target), flatten(source)
    loaded, kept = [], []
    out = dict(want)
    for name, leaf in want.items():
        if name not in have:
            kept.append(name)
        elif jnp.shape(have[name]) == leaf.shape:
            out[name] = jnp.array(have[name], leaf.dtype)  # a copy: the state is donated
            loaded.append(name)
        elif name in LABEL_LAYERS:
            kept.append(f"{name} (other classes)")
        else:
            problems.append(f"{title} {name}: {jnp.shape(have[name])} in the source, {leaf.shape} here")
    if want and not loaded:
        problems.append(f"{title}: no array of the source has the name of one here")
    dropped = [name for name in have if name not in want]
    size = sum(out[n].size for n in loaded)
    lines.append(f"  {title}: {len(loaded)} arrays loaded ({size:,d} numbers), {len(kept)} new, {len(dropped)} dropped")
    lines += [f"    new: {name}" for name in kept] + [f"    dropped: {name}" for name in dropped]
    return unflatten(out)


def _differences(source: LoadedModel, config: ModelConfig) -> str:
    theirs, ours = vars(source.config), vars(config)
    return ", ".join(f"{k}={theirs[k]!r} (here {ours[k]!r})" for k in theirs if theirs[k] != ours[k]) or "(same keys)"
