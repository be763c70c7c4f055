"""`load_model(path)`: a run's workdir, a model folder, here or on the Hub, or an official .pkl, to sample from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stylegan_jax import models
from stylegan_jax.checkpoints.restore import committed_steps, restore_g_ema, restore_nets
from stylegan_jax.config import ConfigError, ModelConfig, from_dict, is_grown, model_from_dict
from stylegan_jax.models import grown
from stylegan_jax.sampling import hub
from stylegan_jax.sampling.model import LoadedModel


def load_model(path: str | os.PathLike[str], step: int | None = None, *, whole: bool = False) -> LoadedModel:
    """Load a model.

    Args:
        path: a workdir of `train`, a model folder (`model.json`), the address of one on the Hugging Face Hub
            ('hf://user/name', 'hf://user/name@revision'), or an official `.pkl`, which is read without running
            anything in it.
        step: which checkpoint of a workdir; None: the newest.
        whole: of a workdir, read G and D as well as the averaged generator.

    Raises:
        ConfigError: nothing of these is at `path`.
        BadCheckpointError: the file or folder is damaged, hostile, or of an architecture that does not exist here.
        CheckpointError: the workdir's checkpoint is damaged.
    """
    path = hub.pull(path) if step is None and hub.is_address(path) else Path(path)
    if step is not None and not (path / "checkpoints").is_dir():
        raise ConfigError(f"step {step} of {path}: only a run's workdir has steps; leave it out")
    if path.is_file():
        from stylegan_jax.convert import convert_pickle

        config, nets, provenance = convert_pickle(path)
        return _from_nets(model_from_dict(config), nets, provenance)
    if (path / "model.json").exists():
        from stylegan_jax.convert import model_config, read_model_folder

        model, nets = read_model_folder(path)
        provenance = model.get("provenance", {})
        found = _from_nets(model_from_dict(model_config(model)), nets, provenance)
        return found.replace(label_kind=str(provenance.get("label_kind", "")))
    if committed_steps(path / "checkpoints"):
        return _from_workdir(path, step, whole)
    what = "contains no model" if path.exists() else "does not exist"
    raise ConfigError(f"{path} {what}; pass a run's workdir with a checkpoint, a model folder, or an official .pkl")


def _from_workdir(path: Path, step: int | None, whole: bool) -> LoadedModel:
    g_ema, meta, step = restore_g_ema(path, step=step)
    config = model_from_dict(meta["config"]["model"])
    nets = {"g_ema": g_ema}
    if whole:
        state, _, _ = restore_nets(path, ("nets", "moving"), step)
        nets |= {"g": state["nets"]["g"] | {"w_avg": state["moving"]["w_avg"]}, "d": state["nets"]["d"]}
    model = _from_nets(config, nets, {"workdir": str(path), "step": step, "nimg": meta["nimg"]})
    model = model.replace(label_kind=meta.get("label_kind", ""))
    experiment = from_dict(meta["config"]) if config.grows else None
    if experiment is None or is_grown(experiment, step):
        return model
    return model.replace(gan=grown.after(model.gan, experiment, step), is_grown=False)


def _from_nets(config: ModelConfig, nets: dict[str, Any], provenance: dict[str, Any]) -> LoadedModel:
    chosen = nets.get("g_ema") or nets.get("g")
    if chosen is None:
        raise ConfigError(f"no generator among {sorted(nets)}; nothing to sample from")
    split = lambda net: None if net is None else {k: v for k, v in net.items() if k != "w_avg"}
    g_ema = split(chosen)
    assert g_ema is not None
    g_ema.setdefault("buffers", {})
    gan = models.build(config)
    return LoadedModel(config, gan, g_ema, chosen["w_avg"], split(nets.get("g")), nets.get("d"), provenance)
