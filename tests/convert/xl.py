"""Forges files of StyleGAN-XL from the golden tables of its full-size networks, with fewer channels."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import dilled
import forge
import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden"
W, Z, ROWS, DIM = 5, 6, 7, 4
BUFFERS = ("freqs", "phases", "transform", "magnitude_ema", "up_filter", "down_filter", "w_avg")
ARRAYS = ("in_size", "out_size")
STEM, TWICE, SIX, LARGE, RADIAL = 0, 1, 2, 4, 5
"""Tables: a stem of 16x16, one stage on it, six; a large factor without labels; R."""


@functools.cache
def design(number: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A golden layer plan, and its filters by name."""
    table = json.loads((GOLDEN / "xl_design_tables.json").read_text())["subcases"][number]
    with np.load(GOLDEN / "xl_design_tables.npz") as arrays:
        prefix = f"out/cfg{number}/"
        return table, {name.removeprefix(prefix): arrays[name] for name in arrays.files if name.startswith(prefix)}


class Forged:
    """The parts of a generator's file.

    Attributes:
        names: of the layers, in order.
        arrays: by official name.
        attributes: of modules by path.
        kwargs: what the stem was built with.
    """

    def __init__(self, number: int, c_dim: int = 3, most: int = 8, seed: int = 0):
        table, filters = design(number)
        scale = table["config"]["channel_max"] // most
        self.c_dim, self.base, self.most = c_dim, table["config"]["channel_base"] // scale, most
        self.names: list[str] = []
        self.attributes: dict[str, dict[str, Any]] = {}
        shapes: dict[str, tuple[int, ...]] = {"mapping.embed.weight": (ROWS, DIM)}
        if c_dim:
            shapes |= {"mapping.embed_proj.weight": (Z, DIM), "mapping.embed_proj.bias": (Z,)}
        shapes |= {"mapping.fc0.weight": (W, Z * (1 + bool(c_dim))), "mapping.fc0.bias": (W,)}
        shapes |= {
            "mapping.fc1.weight": (W, W),
            "mapping.fc1.bias": (W,),
            "mapping.w_avg": (c_dim, W) if c_dim else (W,),
        }
        i, fixed = most, {}
        shapes |= {f"synthesis.input.{k}": s for k, s in {"weight": (i, i), "freqs": (i, 2), "phases": (i,)}.items()}
        shapes |= {"synthesis.input.transform": (3, 3), "synthesis.input.affine.weight": (4, W)}
        shapes["synthesis.input.affine.bias"] = (4,)
        for layer in table["layers"]:
            full = table["config"]["channel_max"]
            o = 3 if layer["is_torgb"] else most if layer["out_channels"] == full else self._width(layer)
            o = i if layer["name"] in self._first(table) else o
            official = f"L{layer['idx']}_{layer['out_size'][0]}_{o}"
            name, k = f"synthesis.{official}", layer["conv_kernel"]
            shapes |= {f"{name}.weight": (o, i, k, k), f"{name}.bias": (o,), f"{name}.magnitude_ema": ()}
            shapes |= {f"{name}.affine.weight": (i, W), f"{name}.affine.bias": (i,)}
            for side in ("up_filter", "down_filter"):
                if f"{layer['name']}_{side}" in filters:
                    fixed[f"{name}.{side}"] = filters[f"{layer['name']}_{side}"]
            own = {key: value for key, value in layer.items() if key not in ("name", "idx")}
            own |= {"in_channels": i, "out_channels": o, "conv_clamp": 256, "magnitude_ema_beta": 0.999}
            self.attributes[name] = own | {key: forge.ndarray(np.array(layer[key])) for key in ARRAYS}
            self.names.append(official)
            i = o
        rng = np.random.default_rng(seed)
        made = {name: np.asarray(rng.standard_normal(shape), np.float32) for name, shape in shapes.items()}
        self.arrays = made | fixed
        self.attributes["synthesis"] = {"layer_names": self.names, "num_fp16_res": 4, "num_critical": 2}
        self.attributes["synthesis"] |= {"margin_size": 10, "output_scale": 0.25, "img_resolution": 16}
        self.attributes["mapping"] = {"w_avg_beta": 0.998, "z_dim": Z, "c_dim": c_dim, "num_layers": 2}
        self.attributes["mapping.fc0"] = {"bias_gain": 0.01, "activation": "lrelu"}
        self.attributes[""] = {"img_resolution": table["img_resolution"], "c_dim": c_dim, "num_ws": table["num_ws"]}
        if table["config"]["stages"]:
            self.attributes[""] |= {"path_stem": "stem.pkl", "up_factor": table["config"]["stages"][-1]["up_factor"]}
        config = table["config"]
        self.kwargs = {"z_dim": Z, "c_dim": c_dim, "w_dim": W, "img_resolution": 16, "img_channels": 3}
        self.kwargs |= {"channel_base": self.base, "channel_max": most, "num_layers": config["num_layers"]}
        self.kwargs |= {"conv_kernel": config["conv_kernel"], "use_radial_filters": config["use_radial_filters"]}

    def _width(self, layer: dict[str, Any]) -> int:
        return int(np.rint(min(self.base / 2 / layer["out_cutoff"], self.most)))

    @staticmethod
    def _first(table: dict[str, Any]) -> set[str]:
        """Names of the first layers of heads, which keep the channels of what is below."""
        layers = table["layers"]
        same = lambda layer: layer["in_cutoff"] == layer["out_cutoff"] and not layer["is_critically_sampled"]
        return {layer["name"] for layer in layers[1:] if same(layer)}

    def network(self, **changes: Any) -> Any:
        """The module; the table of embeddings is a plain one of PyTorch."""
        arrays = {name: value for name, value in (self.arrays | changes).items() if value is not None}
        name = "SuperresGenerator" if "path_stem" in self.attributes[""] else "Generator"
        return forge.network(
            name,
            arrays,
            self.kwargs,
            buffers=BUFFERS,
            attributes=self.attributes,
            classes={"mapping.embed": "torch.nn.modules.sparse.Embedding"},
            form=dilled.ON_GPU,
        )


def snapshot(g: Any, d: Any = None) -> dict[str, Any]:
    """A file of whole networks."""
    progress = {"cur_nimg": forge.tensor(np.array([7]), form=dilled.ON_GPU), "best_fid": 2.5, "pl_mean": 0.5}
    content = {"G": g, "D": d, "G_ema": g, "augment_pipe": None, "training_set_kwargs": {}, "progress": progress}
    return {key: value for key, value in content.items() if value is not None or key == "augment_pipe"}


# ---- the projected discriminator ----

LITE0, DEIT = "tf_efficientnet_lite0", "deit_base_distilled_patch16_224"
D_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "weight_u", "weight_v")
SHRINK, WIDTH = 32, 64
"""Small discriminators and projections have so many times fewer channels; the width of the transformer, once 768."""


@functools.cache
def state_shapes(is_cond: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a full-size discriminator: with labels of two frozen networks, else of one."""
    tables = json.loads((GOLDEN / "xl_state_tables.json").read_text())["subcases"]
    table = next(t for t in tables if t["kind"] == "discriminator" and t["config"]["cond"] is is_cond)
    return {name: tuple(shape) for name, shape in (table["parameters"] | table["buffers"]).items()}


def small(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an array of D with fewer channels; EfficientNet-Lite0 stays as it is."""
    narrow = lambda size: max(1, size // SHRINK)
    thin = lambda size: size * WIDTH // 768 if size % 96 == 0 and size >= 96 else size
    if ".embed.weight" in name:
        return ROWS, DIM
    if ".embed_proj." in name:
        return (narrow(shape[0]), DIM)[: len(shape)]
    if ".pretrained." in name:
        return tuple(map(thin, shape)) if DEIT in name else shape
    if "_ccm.weight" in name:
        return narrow(shape[0]), thin(shape[1]) if DEIT in name else shape[1], 1, 1
    return tuple(size if size in (1, 4) and i > 1 else narrow(size) for i, size in enumerate(shape))


def without_scales(table: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """A table of D without the mixing of scales: what was discriminator k + 1 is k, and the last has no blocks."""
    out = {}
    for name, shape in table.items():
        for k in (1, 2, 3):
            if f"mini_discs.{k}." in name:
                out[name.replace(f"mini_discs.{k}.", f"mini_discs.{k - 1}.")] = shape
        if "mini_discs.3." in name and (".mini_discs.3.main.1." in name or ".main." not in name):
            out[name.replace(".main.1.", ".main.0.")] = shape
        if "mini_discs." not in name and "_csm." not in name:
            out[name] = shape
    return out


@functools.cache
def values(count: int, seed: int) -> np.ndarray:
    """Normal numbers, drawn once."""
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def discriminator_arrays(
    is_cond: bool, backbones: dict[str, str], seed: int = 3, proj: int = 2
) -> dict[str, np.ndarray]:
    """Arrays of D.

    Args:
        is_cond: with labels.
        backbones: official name -> name in this file, of the frozen networks to keep, in this order.
        seed: of the values.
        proj: 2, or 1 without the mixing of scales.
    """
    table, used = state_shapes(is_cond), 0
    table = without_scales(table) if proj == 1 else table
    made, pool = {}, values(5_000_000, seed)
    for group in ("feature_networks", "discriminators"):
        for official, name in backbones.items():
            for full, shape in table.items():
                if full.startswith(f"{group}.{official}."):
                    shape, is_counter = small(full, shape), full.endswith("num_batches_tracked")
                    count = math.prod(shape)
                    value = np.array(94, np.int64) if is_counter else pool[used : used + count].reshape(shape)
                    made[full.replace(official, name)] = value
                    used += count
    return made


def discriminator(arrays: dict[str, np.ndarray]) -> Any:
    """The module, of classes that are only named, with what dill puts on its frozen networks."""
    names = dict.fromkeys(name.split(".")[1] for name in arrays)
    attributes = {
        f"feature_networks.{name}.pretrained": dilled.additions(np.zeros((2, 197, 8), np.float32)) for name in names
    }
    return forge.network(
        "pg_modules.discriminator.ProjectedDiscriminator",
        arrays,
        {},
        buffers=D_BUFFERS,
        attributes=attributes,
        module=forge.by_name,
        form=dilled.ON_GPU,
    )
