"""`load_model(path)`: load a run's workdir, a model folder (local or on the Hub), or an official .pkl."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax import models
from stylegan_jax.base import bundled
from stylegan_jax.base.errors import StyleganError, visible
from stylegan_jax.base.trees import named_leaves
from stylegan_jax.checkpoints.restore import committed_steps, read_meta, restore_g_ema, restore_nets
from stylegan_jax.config import ConfigError, ModelConfig, from_dict, is_grown, model_from_dict
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import listing
from stylegan_jax.inert.ordinary import foreign_folder, is_url, newest_file, url_advice
from stylegan_jax.models import grown
from stylegan_jax.sampling import hub
from stylegan_jax.sampling.labels import read_names
from stylegan_jax.sampling.model import LoadedModel

_log = logging.getLogger(__name__)


def load_model(path: str | os.PathLike[str], step: int | None = None, *, whole: bool = False) -> LoadedModel:
    """Load a model.

    Args:
        path: a workdir of `train`, a model folder (`model.json`), 'demo' for the one that comes with the package, the
            address of one on the Hugging Face Hub ('hf://user/name', 'hf://user/name@revision'), or a third-party
            network file, such as an official `.pkl`, which is read without executing anything in it.
        step: which checkpoint of a workdir; None: the newest.
        whole: read G and D as well as the averaged generator. A G or D that is not of this model's kind is skipped, and
            `provenance['left_out']` says why.

    Raises:
        ConfigError: `path` is none of these, or 'demo' is missing from the installation.
        BadCheckpointError: the file or folder is damaged or hostile, its architecture is unknown, or its numbers are
            not finite.
        CheckpointError: the workdir's checkpoint is damaged.
    """
    if not os.fspath(path):
        raise ConfigError("the path of the model is empty; pass a run's workdir, a model folder, or a network file")
    if is_url(path):
        raise ConfigError(url_advice(path))
    path = os.path.expanduser(bundled.find_model(path))
    given, path = os.fspath(path), hub.pull(path) if step is None and hub.is_address(path) else Path(path)
    if step is not None and not (path / "checkpoints").is_dir():
        raise ConfigError(f"step {step} of {path}: only a run's workdir has steps; leave it out")
    if path.is_file():
        from stylegan_jax.convert import convert_pickle

        options: dict[str, Any] = {"optional": ("G", "D")} if whole else {"nets": ("G_ema", "G"), "first": True}
        config, nets, provenance = convert_pickle(path, **options)
        return _from_nets(given, _config(path, config), nets, provenance)
    if (path / "model.json").exists():
        from stylegan_jax.convert import model_config, read_model_folder

        model, nets = read_model_folder(path, () if whole else ("g_ema", "g"))
        provenance = model.get("provenance", {})
        found = _from_nets(given, _config(path, model_config(model)), nets, provenance)
        names = read_names(provenance.get("label_names"), found.gan.spec.label_dim)
        return found.replace(label_kind=str(provenance.get("label_kind", "")), label_names=names)
    if committed_steps(path / "checkpoints"):
        return _from_workdir(path, step, whole)
    absence = _absence(path, given)
    advice = "" if "; " in absence else "; pass a run's workdir with a checkpoint, a model folder, or a network file"
    raise ConfigError(f"{path} {absence}{advice}")


def _config(path: Path, config: dict[str, Any]) -> ModelConfig:
    """Return the configuration of a file or folder; an error names the path."""
    try:
        return model_from_dict(config)
    except ConfigError as error:
        raise BadCheckpointError(path, str(error).replace("config.model.", "")) from None


def _absence(path: Path, given: str) -> str:
    """Return what is at a path instead of a model."""
    if not path.exists():
        from stylegan_jax.convert.published import advice

        if published := advice(path):
            return f"does not exist{published}"
        on_hub = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", given) is not None and not path.suffix
        return "does not exist" + (f"; if it is on the Hugging Face Hub, write hf://{given}" if on_hub else "")
    newest = newest_file(path)
    if newest:
        return f"is a folder of network files, of which {newest} is the newest; pass {path / newest}"
    if foreign := foreign_folder(path):
        return foreign
    above = next((folder for folder in path.resolve().parents[:3] if committed_steps(folder / "checkpoints")), None)
    return f"is a part of the workdir {above}" if above else "contains no model"


def _from_workdir(path: Path, step: int | None, whole: bool) -> LoadedModel:
    g_ema, meta, step = restore_g_ema(path, step=step)
    if meta["config"].get("task", "gan") != "gan":
        raise ConfigError(
            f"{path} is a run of an encoder, which generates nothing; pass its generator, "
            f"{meta['config']['encoder']['model']}"
        )
    nets = {"g_ema": g_ema}
    bad = [name for name, x in named_leaves(g_ema).items() if not np.isfinite(x).all()]
    if bad:
        raise BadCheckpointError(
            path, f"NaN or infinity at step {step} in {listing(bad)}: nothing can be drawn; pass an earlier --step"
        )
    if whole:
        state, _, _ = restore_nets(path, ("nets", "moving"), step)
        nets |= {"g": state["nets"]["g"] | {"w_avg": state["moving"]["w_avg"]}, "d": state["nets"]["d"]}
    return from_run(str(path), nets, meta, step, {"workdir": str(path), "step": step, "nimg": meta["nimg"]})


def from_run(
    path: str, nets: dict[str, Any], meta: Mapping[str, Any], step: int, provenance: dict[str, Any]
) -> LoadedModel:
    """Return the model of a run at a step.

    Args:
        path: its workdir, for messages.
        nets: {'g_ema' | 'g' | 'd': all collections}, generators with 'w_avg'.
        meta: metadata of a checkpoint of this step.
        step: iterations done.
        provenance: where it comes from, JSON-ready.
    """
    config, data = model_from_dict(meta["config"]["model"]), meta["config"]["data"]
    provenance = provenance | ({"fps": data["fps"]} if data["source"] == "video" else {})
    names = read_names(meta.get("label_names"), config.label_dim)  # older runs did not record them
    model = _from_nets(path, config, nets, provenance)
    model = model.replace(label_kind=meta.get("label_kind", ""), label_names=names)
    experiment = from_dict(meta["config"]) if config.grows else None
    if experiment is None or is_grown(experiment, step):
        return model
    return model.replace(gan=grown.after(model.gan, experiment, step), is_grown=False)


def name_classes(model: LoadedModel) -> LoadedModel:
    """Return a model with the names of its classes, if its run did not record them and its data set knows them.

    The data set is that of the run's configuration. It is opened, but no image is decoded. The model is returned
    unchanged unless the labels in the data set are exactly those of the run.
    """
    if model.label_names or model.label_kind != "classes" or "workdir" not in model.provenance:
        return model
    from stylegan_jax.data.sources import open_source

    meta = read_meta(model.provenance["workdir"], model.provenance["step"])
    try:
        config = from_dict(meta["config"])
        data = dataclasses.replace(config.data, cache="off", subset=0)
        source = open_source(data, config.model.image_shape)
    except (StyleganError, OSError) as error:
        _log.info("the classes have no names, because the data of the run cannot be opened: %s", error)
        return model
    info = source.info()
    source.close()
    if info.label_digest != meta.get("labels"):
        return model
    return model.replace(label_names=read_names(info.label_names, info.label_dim))


def _from_nets(path: str, config: ModelConfig, nets: dict[str, Any], provenance: dict[str, Any]) -> LoadedModel:
    chosen = nets.get("g_ema") or nets.get("g")
    if chosen is None:
        raise ConfigError(f"{path}: no generator among {', '.join(sorted(nets))}; nothing to sample from")
    provenance = dict(provenance)
    if not nets.get("g_ema"):
        provenance["drawn"] = "G"
        _say(path, "it has no averaged generator (G_ema), so G is used")
    if provenance.get("note") and "era" in provenance and "g_ema" in nets:
        _say(path, provenance["note"])
    split = lambda net: None if net is None else {k: v for k, v in net.items() if k != "w_avg"}
    g_ema = split(chosen)
    assert g_ema is not None
    g_ema.setdefault("buffers", {})
    gan = models.build(config)
    return LoadedModel(config, gan, g_ema, chosen["w_avg"], split(nets.get("g")), nets.get("d"), provenance)


def _say(path: str, note: Any) -> None:
    _log.warning("%s", visible(f"note: {path}: {str(note)[:200]}"))
