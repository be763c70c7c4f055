"""Family 'drag': DragGAN's steps on the cases' stand-in generator, features of Gaussian spots that the styles move."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.sampling.supervision import Drag, Rules, Settings, take_step


def spots(state: dict, start: jax.Array, ws: jax.Array) -> jax.Array:
    """Return the stand-in's features float[h, w, c] of styles float[l, w]."""
    moved = [state[p] + jnp.einsum("kld,ld->k", state[u], ws - start, precision="highest") for p, u in (PY, PX)]
    h, w = state["base"].shape[1:]
    ys, xs = (np.arange(size) - at[:, None] for size, at in zip((h, w), moved, strict=True))
    away = jnp.square(ys)[:, :, None] + jnp.square(xs)[:, None]
    spot = jnp.exp(-away / (2 * jnp.square(state["sd"])[:, None, None]))
    return jnp.moveaxis(state["base"], 0, -1) + jnp.einsum("ck,kyx->yxc", state["amp"], spot, precision="highest")


PY, PX = ("py", "uy"), ("px", "ux")


def steps(meta: dict[str, Any], arrays: dict, given: dict) -> dict:
    """Take the case's steps."""
    c, start = meta["config"], arrays["in/w0"][0]
    state = {name.removeprefix("state/"): x for name, x in arrays.items() if name.startswith("state/")}
    size, slots = c["img_resolution"], np.arange(c["slots"]) < c["optimised_slots"]
    xy = lambda name: jnp.asarray(np.array(c[name])[:, ::-1], start.dtype)
    mask = arrays.get("in/mask", jnp.zeros((size, size), start.dtype))
    number = lambda value: jnp.asarray(value, start.dtype)
    look = lambda ws: spots(state, start, ws)
    features = jax.eval_shape(look, start)
    points = xy("points_y_x")
    drag = Drag(
        ws=start,
        points=points,
        moments=(jnp.zeros_like(start), jnp.zeros_like(start)),
        step=jnp.zeros((), int),
        rested=jnp.zeros((), int),
        is_new=jnp.ones((), bool),
        is_tracked=jnp.zeros((), bool),
        is_done=jnp.zeros((), bool),
        targets=xy("targets_y_x"),
        is_used=jnp.ones(len(points), bool),
        is_free=jnp.asarray(slots),
        is_one=jnp.asarray(not c["w_plus"]),
        handles=points,
        references=jnp.zeros((len(points), 1, 1, features.shape[2]), start.dtype),
        first=jnp.zeros(features.shape, start.dtype),
        start=start,
        mask=mask,
        settings=Settings(
            *map(number, (c["lr"], c["radius_in_pixels"], c["search_in_pixels"], c["stop_distance"])),
            *map(number, (0, c["lambda_mask"], c["reg"])),
        ),
        rules=Rules("", (size, size), 5, 9, "in/mask" in arrays, stretch=size / (size - 1)),
    )
    own = slice(None) if c["w_plus"] else slice(1)  # where one style moves, that of the first slot

    def step(drag, _):
        drag, losses, gradient = take_step(drag, look)
        return drag, {
            "out/{}/points": drag.points[:, ::-1],
            "out/{}/stop": drag.is_done,
            "out/{}/motion_losses": losses.motion,
            "out/{}/mask_loss": losses.mask,
            "out/{}/reg_loss": losses.stay,
            "grad/{}/w": gradient[own],
            "out/{}/w": drag.ws[own],
        }

    _, rows = jax.lax.scan(step, drag, length=c["steps"])
    return {name.format(i): x[i] for name, x in rows.items() for i in range(c["steps"])}


ADAPTERS = {"drag/DragGAN steps": steps}
