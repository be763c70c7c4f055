"""Forges files of StyleGAN-V from golden networks: modules below `src.`, and settings as OmegaConf pickles them."""

from __future__ import annotations

import functools
from typing import Any

import forge
import numpy as np
from forge import Call, Name, New

from tests.parity import cases

BUFFERS = ("resample_filter", "w_avg", "freqs", "phase_scales", "fourier_coefs")
CLASSES = {"time_encoder": "src.training.layers.TemporalDifferenceEncoder"}
CLASSES["time_encoder.const_embed"] = "torch.nn.modules.sparse.Embedding"
"""Modules of a discriminator that are pickled by the names of their classes."""
GENERATORS = {
    "concat_const": "sgv_generator_cond_wplus",
    "concat_w": "sgv_generator_concat_w",
    "sum_w": "sgv_generator_sum_w",
}
DISCRIMINATORS = ["sgv_discriminator", *(f"sgv_discriminator_{k}" for k in ("1f", "2f_cond", "3f_late", "4f"))]
DISCRIMINATORS.append("sgv_discriminator_uniform")
easy = functools.partial(forge.easy, place="src.")
persistent = functools.partial(forge.persistent, place="src.")


def case(name: str) -> cases.Case:
    return cases.load(cases.DEFAULT_DIR, name)


def node(value: Any, key: Any = None, parent: Any = None) -> New:
    """A value as OmegaConf 2.0 pickles it: each node with the one above it, so that one branch carries the whole."""
    kinds = {dict: ("dictconfig", "DictConfig"), list: ("listconfig", "ListConfig")}
    module, name = kinds.get(type(value), ("nodes", "AnyNode"))
    made = New(Name(f"omegaconf.{module}", name))
    kept = Call(Name("collections", "defaultdict"), Name("builtins", "dict"))
    facts = {"ref_type": Name("typing", "Any"), "object_type": None, "optional": True, "key": key, "flags": {}}
    made.state = {"_metadata": New(Name("omegaconf.base", "ContainerMetadata"), state=facts | {"resolver_cache": kept})}
    made.state["_parent"] = parent
    if isinstance(value, dict):
        made.state["_content"] = {k: node(item, k, made) for k, item in value.items()}
    elif isinstance(value, list):
        made.state["_content"] = [node(item, i, made) for i, item in enumerate(value)]
    else:
        made.state["_val"] = value
    return made


def settings(cfg: dict[str, Any], net: str) -> New:
    """The settings of a network as a branch of the whole tree, with the references of the official files in it."""
    motion = {"motion_z_distance": "${model.generator.time_enc.min_period_len}"}
    own = cfg | {"sampling": "${sampling}"}
    if cfg.get("motion", {}).get("motion_z_distance") == cfg.get("time_enc", {}).get("min_period_len"):
        own |= {"motion": cfg["motion"] | motion} if "motion" in cfg else {}
    if "c_dim" in cfg:
        own["c_dim"] = "${dataset.c_dim}"
    sampling = cfg["sampling"] | {"max_num_frames": "${dataset.max_num_frames}", "fps": "${dataset.fps}"}
    sampling["name"] = "random${sampling.num_frames_per_video}"
    dataset = {"max_num_frames": cfg["sampling"]["max_num_frames"], "c_dim": cfg.get("c_dim", 0), "fps": 25}
    root = node({"model": {net: own}, "sampling": sampling, "dataset": dataset})
    return root.state["_content"]["model"].state["_content"][net]


def arrays_of(name: str, prefix: str = "state/") -> dict[str, np.ndarray]:
    """The arrays of a golden network."""
    return {key.removeprefix(prefix): x for key, x in case(name).arrays.items() if key.startswith(prefix)}


def generator(config: dict[str, Any], arrays: dict[str, np.ndarray], cfg: Any = None, **attributes: Any) -> Any:
    """A module of a generator; `cfg`: settings in place of the golden ones."""
    cfg = settings(config["cfg"], "generator") if cfg is None else cfg
    kwargs = {key: config[key] for key in ("c_dim", "w_dim", "img_resolution", "img_channels")}
    kwargs |= {"mapping_kwargs": easy(config["mapping_kwargs"] | {"cfg": cfg})}
    kwargs |= {"synthesis_kwargs": easy(config["synthesis_kwargs"]), "cfg": cfg}
    own = {"": {"cfg": cfg, "sampling_dict": config["cfg"]["sampling"], "z_dim": config["cfg"]["z_dim"]} | attributes}
    own["synthesis"] = {"cfg": cfg, "w_dim": config["w_dim"]}
    own["mapping"] = {"num_layers": config["mapping_kwargs"]["num_layers"], "w_avg_beta": 0.995}
    return forge.network("Generator", arrays, kwargs, buffers=BUFFERS, module=persistent, attributes=own)


def discriminator(config: dict[str, Any], arrays: dict[str, np.ndarray], cfg: Any = None, **changes: Any) -> Any:
    """A module of a discriminator, with further constructor arguments."""
    cfg = settings(config["cfg"], "discriminator") if cfg is None else cfg
    parts = {key: easy(config.get(key, {})) for key in ("block_kwargs", "mapping_kwargs", "epilogue_kwargs")}
    kwargs = {key: value for key, value in config.items() if key not in parts} | parts | {"cfg": cfg} | changes
    own = {"": {"cfg": cfg}, "b4.mbstd": {"group_size": config["epilogue_kwargs"]["mbstd_group_size"]}}
    return forge.network(
        "Discriminator", arrays, kwargs, buffers=BUFFERS, module=persistent, classes=CLASSES, attributes=own
    )


def optimiser(weight: Any) -> New:
    """Adam with one parameter, which is the key of what is known of it."""
    known = Call(Name("collections", "defaultdict"), Name("builtins", "dict"), items=[(weight, {"step": 3})])
    group = {"params": [weight], "lr": 0.0025, "betas": node([0, 0.99])}
    return New(Name("torch.optim.adam", "Adam"), state={"defaults": {}, "state": known, "param_groups": [group]})


def snapshot(g: Any, d: Any = None, g_ema: Any = None) -> dict[str, Any]:
    """The dict of a training snapshot."""
    weight = forge.parameter(np.ones((2, 3), np.float32))
    data = {"class_name": "training.dataset.VideoFramesFolderDataset", "path": "videos.zip", "cfg": node({"c_dim": 0})}
    vis = {"grid_size": (2, 2), "grid_z": (forge.tensor(np.ones((4, 5), np.float32)),), "video_len": 32}
    nets = {"G": g, "D": d, "G_ema": g if g_ema is None else g_ema}
    rest = {"augment_pipe": None, "G_opt": optimiser(weight), "D_opt": optimiser(weight), "vis": vis}
    return {"training_set_kwargs": data, **nets, **rest, "stats": {"cur_nimg": 480, "cur_tick": 2, "batch_idx": 4}}
