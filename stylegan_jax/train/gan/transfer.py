"""Start training from existing weights, with a report of every array: loaded, left as initialised, or dropped."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from stylegan_jax.base.errors import visible
from stylegan_jax.base.trees import flatten, unflatten
from stylegan_jax.config import ARCH_RULES, ConfigError, ExperimentConfig, ModelConfig
from stylegan_jax.sampling.load import load_model
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.train.state import TrainState

LABEL_LAYERS = ("mapping/embed/weight",)
"""Arrays whose shape depends on the number of classes; they start anew when it differs."""


class Source(NamedTuple):
    """A model to copy from, and where it comes from, for messages."""

    model: LoadedModel
    path: str


def open_source(config: ExperimentConfig, path: str) -> Source:
    """Load the model to start from.

    Raises:
        ConfigError, BadCheckpointError, CheckpointError: as `load_model`.
    """
    return Source(load_model(path, whole=True), path)


def transfer(config: ExperimentConfig, state: TrainState, source: Source) -> tuple[TrainState, list[str]]:
    """Copy G, D and the averaged generator into a fresh state.

    Blocks are matched by resolution, so that a model can grow or shrink: new blocks keep their initial values, blocks
    that do not exist here are dropped. A G or D that the source lacks keeps its initial values; a missing G is taken
    from the average.

    Args:
        config: the experiment of `state`.
        state: a fresh state; or its abstract shapes, to check only.
        source: the model to copy from.

    Returns:
        (state, lines of the report).

    Raises:
        ConfigError: an array has another shape here, or nothing fits; the text lists them.
    """
    model, path = source
    _check_same(config.model, model, path)
    problems: list[str] = []
    lines = [f"initialised from {path}"]
    g = _merge_network("G", state.nets["g"], model.g or model.g_ema, lines, problems)
    average = _merge("G average", state.ema["g"], model.g_ema["params"], lines, problems)
    d = state.nets["d"]
    if model.d is None:
        left = model.provenance.get("left_out")
        why = f" ({left['d']})" if isinstance(left, dict) and "d" in left else ""
        lines.append(visible(f"  D: not in the source{why}; starts anew"))
    else:
        d = _merge_network("D", d, model.d, lines, problems)
    have = state.moving["w_avg"]
    w_avg = _mean_styles(jnp.array(model.w_avg), have, lines, problems)
    if problems:
        raise ConfigError(
            f"config.train.init_from={path} does not fit this model:\n  "
            + "\n  ".join(problems)
            + "\nUse the source's channel_base, channel_max, w_dim, mapping_layers and layouts: "
            + _differences(model, config.model)
        )
    moving = state.moving | {"w_avg": w_avg.astype(have.dtype)}
    return state.replace(nets=state.nets | {"g": g, "d": d}, ema=state.ema | {"g": average}, moving=moving), lines


def _mean_styles(w_avg: Any, have: Any, lines: list[str], problems: list[str]) -> Any:
    """Return the mean style or styles of a source; with other classes, the mean over its own for each."""
    if w_avg.shape == have.shape:
        return w_avg
    if w_avg.shape[-1] != have.shape[-1]:
        problems.append(f"w_avg: {w_avg.shape} in the source, {have.shape} here")
        return w_avg
    lines.append(f"  w_avg: {w_avg.shape} in the source, {have.shape} here; its mean is taken")
    return jnp.broadcast_to(w_avg.reshape(-1, w_avg.shape[-1]).mean(axis=0), have.shape)


def _check_same(config: ModelConfig, model: LoadedModel, path: str) -> None:
    """Check what no shape tells of: the resampling filter, and what the architecture names."""
    same = ARCH_RULES[config.arch].same if model.config.arch == config.arch else ()
    for key in ("resample_filter", *same):
        theirs, ours = getattr(model.config, key), getattr(config, key)
        if theirs != ours:
            raise ConfigError(
                f"config.train.init_from={path}: its {key} is {theirs}, ours is {ours}; set config.model.{key} to the "
                "same"
            )


def _merge_network(title: str, target: Any, source: Any, lines: list[str], problems: list[str]) -> dict[str, Any]:
    """Merge all collections of a network; those that the source lacks keep their initial values."""
    names = {"params": title, "buffers": f"{title} noise maps"}
    out = {}
    for collection, tree in target.items():
        name = names.get(collection, f"{title} {collection}")
        if tree and not source.get(collection):
            lines.append(f"  {name}: not in the source; start anew")
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
        problems.append(f"{title}: nothing in the source has the name of an array here")
    dropped = [name for name in have if name not in want]
    size = sum(out[n].size for n in loaded)
    lines.append(f"  {title}: {len(loaded)} arrays loaded ({size:,d} numbers), {len(kept)} new, {len(dropped)} dropped")
    lines += [f"    new: {name}" for name in kept] + [f"    dropped: {name}" for name in dropped]
    return unflatten(out)


def _differences(source: LoadedModel, config: ModelConfig) -> str:
    theirs, ours = vars(source.config), vars(config)
    return ", ".join(f"{k}={theirs[k]!r} (here {ours[k]!r})" for k in theirs if theirs[k] != ours[k]) or "(same keys)"
