"""Between the golden files' layouts (NCHW, OIHW, [out, in]) and the project's (NHWC, HWIO, [in, out])."""

from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np


def part(arrays: dict, prefix: str = "state/") -> dict:
    """Return the arrays whose names begin so, without that beginning."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def nhwc(x):
    return jnp.transpose(x, (0, 2, 3, 1))


def nchw(x):
    return jnp.transpose(x, (0, 3, 1, 2))


def hwio(w):
    return jnp.transpose(w, (2, 3, 1, 0))


def probe(shape, dtype):
    """Return cos(0.37 i) over the flat index of an array in its stored layout."""
    return jnp.asarray(np.cos(0.37 * np.arange(int(np.prod(shape)))).reshape(shape), dtype)


def leaf_to_ours(name: str, x, base=4):
    """Turn one official array into the project's layout, by its official name."""
    if name.endswith("b4.fc.weight"):
        out, flat = x.shape
        c = flat // base**2
        return x.reshape(out, c, base, base).transpose(2, 3, 1, 0).reshape(flat, out)
    if name.endswith("const") and x.ndim == 3:
        return x.transpose(1, 2, 0)
    if x.ndim == 4:
        return x.transpose(2, 3, 1, 0)
    if name.endswith("weight") and x.ndim == 2:
        return x.transpose(1, 0)
    return x


def leaf_to_official(name: str, x, base=4):
    """Turn one array of the project into the official layout."""
    if name.endswith("b4.fc.weight"):
        flat, out = x.shape
        c = flat // base**2
        return x.reshape(base, base, c, out).transpose(3, 2, 0, 1).reshape(out, flat)
    if name.endswith("const") and x.ndim == 3:
        return x.transpose(2, 0, 1)
    if x.ndim == 4:
        return x.transpose(3, 2, 0, 1)
    if name.endswith("weight") and x.ndim == 2:
        return x.transpose(1, 0)
    return x


BUFFERS = ("noise_const", "magnitude_ema", "freqs", "phases", "transform")
FILTERS = ("resample_filter", "up_filter", "down_filter")


def variables_of(state: dict) -> dict:
    """Build linen variables from official names; resampling filters and w_avg are not variables.

    StyleGAN3's layers are called L0_36_512 and so on officially, L0 here.
    """
    out: dict = {"params": {}}
    for name, x in state.items():
        parts = [re.sub(r"^(L\d+)_\d+_\d+$", r"\1", part) for part in name.split(".")]
        if parts[-1] in (*FILTERS, "w_avg"):
            continue
        tree = out.setdefault("buffers", {}) if parts[-1] in BUFFERS else out["params"]
        for part in parts[:-1]:
            tree = tree.setdefault(part, {})
        tree[parts[-1]] = leaf_to_ours(name, x)
    return out


def official_names(params: dict, prefix: str = "") -> dict:
    """Flatten a parameter tree (or its gradients) to official names and layouts."""
    out = {}
    for key, value in params.items():
        name = prefix + key
        if isinstance(value, dict):
            out |= official_names(value, name + ".")
        else:
            out[name] = leaf_to_official(name, value)
    return out
