"""Adam, corrected once for lazy regularisation (SG2 App. B)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import optax


def lazy_ratio(interval: int) -> float:
    """Return k / (k + 1) for a regulariser that runs every k-th iteration; 1 for none (interval 0)."""
    return interval / (interval + 1) if interval else 1.0


class LazyAdam(NamedTuple):
    """Adam for a network with main and regularisation steps.

    Attributes:
        init: params -> state.
        update_main: (grads, state, params) -> (updates, state).
        update_reg: the same, for a regularisation step.
        hold: params -> params that pass no gradient to what is frozen, so that none is computed for it.
    """

    init: Callable[[Any], Any]
    update_main: Callable[[Any, Any, Any], tuple[Any, Any]]
    update_reg: Callable[[Any, Any, Any], tuple[Any, Any]]
    hold: Callable[[Any], Any]


def adam(
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    interval: int,
    untouched: tuple[str, ...] = (),
    frozen: tuple[str, ...] = (),
) -> LazyAdam:
    """Return Adam for a network whose regulariser takes an extra step every `interval` iterations.

    With r = k / (k + 1), the learning rate becomes lr * r and the betas beta ** r, so that main and regularisation
    steps together move as far as k plain steps. Both share one optimiser state. eps is added outside the root.

    Args:
        lr: learning rate of the network.
        beta1: first-moment decay.
        beta2: second-moment decay.
        eps: added to the root of the second moment.
        interval: iterations between regularisations; 0: never.
        untouched: ends of the paths ('torgb/bias') of parameters that the regulariser does not depend on. They are left
            out of its steps entirely, step count and decay included, as in the official optimiser, rather than being
            given a gradient of zero.
        frozen: beginnings of the paths ('b8/conv0') of parameters that are not trained; they have no moments.
    """
    r = lazy_ratio(interval)
    plain = lambda: optax.adam(lr * r, b1=beta1**r, b2=beta2**r, eps=eps)

    def label(path: Any, _: Any) -> str:
        name = _name(path)
        if any(name.startswith(f"/{start}/") for start in frozen):
            return "frozen"
        return "main" if name.endswith(untouched) else "both"

    def hold(params: Any) -> Any:
        stop = lambda path, x: jax.lax.stop_gradient(x) if label(path, x) == "frozen" else x
        return jax.tree_util.tree_map_with_path(stop, params)

    transforms: dict[Hashable, optax.GradientTransformation] = {"both": plain(), "main": plain()}
    if frozen:
        transforms["frozen"] = optax.set_to_zero()
    transform = optax.partition(transforms, lambda params: jax.tree_util.tree_map_with_path(label, params))

    def update_reg(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        new: Any
        updates, new = transform.update(grads, state, params)
        keep = lambda path, u: jax.numpy.zeros_like(u) if _name(path).endswith(untouched) else u
        inner = {**new.inner_states, "main": state.inner_states["main"]}
        return jax.tree_util.tree_map_with_path(keep, updates), new._replace(inner_states=inner)

    return LazyAdam(transform.init, transform.update, update_reg, hold)


def _name(path: Any) -> str:
    return "/" + "/".join(str(key.key) for key in path)
