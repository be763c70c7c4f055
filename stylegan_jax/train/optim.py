"""Adam, corrected for lazy regularisation (SG2 App. B)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import optax

from stylegan_jax.base.spec import Tree


def lazy_ratio(interval: int) -> float:
    """Return k / (k + 1) for a regulariser that runs every k-th iteration; 1 without one (interval 0)."""
    return interval / (interval + 1) if interval else 1.0


class Optimizer(NamedTuple):
    """The optimiser of a network that takes main and regularisation steps.

    Attributes:
        init: params -> state.
        update: (grads, state, params, lr, beta2, is_whole) -> (updates, state). `lr` and `beta2` are uncorrected and
            may be traced; `is_whole=False` skips the parameters on which regularisers do not depend.
        hold: params -> params, with gradients to frozen parameters stopped so that they are never computed.
    """

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree, Any, Any, bool], tuple[Tree, Tree]]
    hold: Callable[[Tree], Tree]


def adam(
    beta1: float,
    eps: float,
    interval: int,
    untouched: tuple[str, ...] = (),
    frozen: tuple[str, ...] = (),
) -> Optimizer:
    """Return Adam for a network whose regulariser takes an extra step every `interval` iterations.

    With r = k / (k + 1), the learning rate becomes lr * r and each beta becomes beta ** r, so that k main steps and one
    regularisation step together change the parameters as much as k uncorrected steps. All share one optimiser state.

    Args:
        beta1: first-moment decay.
        eps: added to the square root of the second moment.
        interval: iterations between regularisation steps; 0: there are none.
        untouched: paths ('synthesis/b8/torgb/bias') of parameters on which the regulariser does not depend. As in the
            official optimiser, its steps skip them entirely, including step count and moment decay, rather than apply
            a zero gradient.
        frozen: paths, or prefixes of paths ('b8/conv0'), of parameters that are not trained; they have no moments.
    """
    r = lazy_ratio(interval)

    def label(path: Any, _: Any) -> str:
        name = _name(path)
        if any(f"{name}/".startswith(f"{start}/") for start in frozen):
            return "frozen"
        return "main" if name in untouched else "both"

    def hold(params: Tree) -> Tree:
        stop = lambda path, x: jax.lax.stop_gradient(x) if label(path, x) == "frozen" else x
        return jax.tree_util.tree_map_with_path(stop, params)

    def transform(lr: Any, beta2: Any) -> optax.GradientTransformation:
        plain = lambda: optax.adam(lr * r, b1=beta1**r, b2=beta2**r, eps=eps)
        parts: dict[Hashable, optax.GradientTransformation] = {"both": plain(), "main": plain()}
        if frozen:
            parts["frozen"] = optax.set_to_zero()
        return optax.partition(parts, lambda params: jax.tree_util.tree_map_with_path(label, params))

    def update(grads: Tree, state: Tree, params: Tree, lr: Any, beta2: Any, is_whole: bool = True) -> tuple[Tree, Tree]:
        new: Any
        updates, new = transform(lr, beta2).update(grads, state, params)
        if is_whole:
            return updates, new
        keep = lambda path, u: jax.numpy.zeros_like(u) if _name(path) in untouched else u
        inner = {**new.inner_states, "main": state.inner_states["main"]}
        return jax.tree_util.tree_map_with_path(keep, updates), new._replace(inner_states=inner)

    return Optimizer(lambda params: transform(0.0, 0.0).init(params), update, hold)


def _name(path: Any) -> str:
    return "/".join(str(key.key) for key in path)
