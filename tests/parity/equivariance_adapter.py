"""Family 'metrics': the image operators of the equivariance metrics."""

from __future__ import annotations

import jax.numpy as jnp

from stylegan_jax.metrics import equivariance

from .layout import nchw, nhwc


def operators(meta, arrays, constants):
    x = nhwc(arrays["in/x"])
    out = {}
    for sub in meta["subcases"]:
        name = str(sub["id"])
        if name.startswith("rot"):
            i, angle = name.removeprefix("rot"), sub["angle"]
            found = {"rot": equivariance.rotate(x, angle), "pseudo": equivariance.pseudo_rotate(x, angle)}
        else:
            i, move = name, (sub["tx"], sub["ty"])
            found = {"int": equivariance.translate_whole(x, *move), "frac": equivariance.translate(x, *move)}
        for kind, (image, mask) in found.items():
            out[f"out/{kind}{i}"] = nchw(image)
            mask_name = f"out/{kind}_mask{i}"
            out[mask_name] = jnp.broadcast_to(mask, arrays["in/x"].shape)
    return out


ADAPTERS = {"metrics/equivariance image operators": operators}
