"""Start training from existing weights, with a report of every array: loaded, left as initialised, or dropped."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from stylegan_jax.base.trees import flatten, unflatten
from stylegan_jax.config import ConfigError, ModelConfig
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.train.gan.state import TrainState

LABEL_LAYERS = ("mapping/embed/weight",)
"""Arrays whose shape depends on the number of classes; they start anew when it differs."""


def transfer(state: TrainState, config: ModelConfig, source: LoadedModel, path: str) -> tuple[TrainState, list[str]]:
    """Copy G, D and the averaged generator into a fresh state.

    Blocks are matched by resolution, so that a model can grow or shrink: new blocks keep their initial values, blocks
    that do not exist here are dropped. A G or D that the source lacks keeps its initial values; a missing G is taken
    from the average.

    Args:
        state: a fresh state; or its abstract shapes, to check only.
        config: the architecture of `state`.
        source: the model to copy from.
        path: where it comes from, for messages.

    Returns:
        (state, lines of the report).

    Raises:
        ConfigError: an array has another shape here, or nothing fits; the text lists them.
    """
    if source.config.resample_filter != config.resample_filter:
        raise ConfigError(
            f"config.train.init_from={path}: its resampling filter is {source.config.resample_filter}, ours is "
            f"{config.resample_filter}; set config.model.resample_filter to the same"
        )
    if config.arch == source.config.arch == "stylegan1" and source.config.stylegan1 != config.stylegan1:
        raise ConfigError(
            f"config.train.init_from={path}: its switches are {source.config.stylegan1}, ours are {config.stylegan1}; "
            "set config.model.stylegan1 to the same"
        )
    problems: list[str] = []
    lines = [f"initialised from {path}"]
    g_from = source.g or source.g_ema
    g = {
        "params": _merge("G", state.g["params"], g_from["params"], lines, problems),
        "buffers": _merge("G noise maps", state.g.get("buffers", {}), g_from.get("buffers", {}), lines, problems),
    }
    g_ema = _merge("G average", state.g_ema, source.g_ema["params"], lines, problems)
    d = state.d
    if source.d is None:
        lines.append("  D: not in the source; starts anew")
    else:
        d = {"params": _merge("D", state.d["params"], source.d["params"], lines, problems)}
    w_avg = jnp.array(source.w_avg)
    if w_avg.shape != state.w_avg.shape:
        problems.append(f"w_avg: {w_avg.shape} in the source, {state.w_avg.shape} here")
    if problems:
        raise ConfigError(
            f"config.train.init_from={path} does not fit this model:\n  "
            + "\n  ".join(problems)
            + "\nUse the source's "
            "channel_base, channel_max, w_dim, mapping_layers and layouts: " + _differences(source, config)
        )
    return state.replace(g=g, g_ema=g_ema, d=d, w_avg=w_avg.astype(state.w_avg.dtype)), lines


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
