"""Prepare a run: create its folder, check its settings against data, earlier runs and disk space, describe it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from stylegan_jax.base.errors import printable
from stylegan_jax.base.files import write_whole
from stylegan_jax.base.spec import SourceInfo
from stylegan_jax.checkpoints.restore import committed_steps
from stylegan_jax.config import (
    ConfigError,
    ExperimentConfig,
    ModelConfig,
    check_model,
    describe_levels,
    resume_conflicts,
    suggest,
)
from stylegan_jax.data import describe_contents, describe_data
from stylegan_jax.runtime.mesh import Layout
from stylegan_jax.train import schedule
from stylegan_jax.train.state import TrainState
from stylegan_jax.train.task import Plan

RECORD = "config.json"


def make_folder(folder: Path) -> None:
    """Create the run's folder.

    Raises:
        ConfigError: it is a model folder, it cannot be created or written to, or its name is not valid UTF-8.
    """
    if (folder / "model.json").exists():
        raise ConfigError(
            f"--workdir={printable(str(folder))} is a model folder (it contains model.json), not the folder of a run; "
            f"choose another folder, and to start from its weights pass config.train.init_from={folder}"
        )
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"--workdir={printable(str(folder))}: the name is not valid UTF-8, as checkpoints require; choose another"
        ) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        file = next((p for p in (folder, *folder.parents) if p.is_file()), None)
        why = f"{file} is a file" if file else error.strerror or error
        raise ConfigError(f"--workdir={folder} cannot be created: {why}; choose a folder you can write to") from None
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"--workdir={folder} cannot be written to; choose a folder you can write to")


def resolve_labels(config: ExperimentConfig, info: SourceInfo) -> ExperimentConfig:
    """Replace a `model.label_dim` of -1 by the length of the data's labels.

    Raises:
        ConfigError: the configuration sets another length.
    """
    wanted = config.model.label_dim
    if wanted not in (-1, info.label_dim):
        raise ConfigError(
            f"config.model.label_dim is {wanted}; the labels of {info.name} have length {info.label_dim}; "
            "use -1 to take it from the data, or set config.data.labels"
        )
    model = with_labels(config.model, info.label_dim)
    check_model(model)
    return dataclasses.replace(config, model=model)


def with_labels(model: ModelConfig, label_dim: int) -> ModelConfig:
    """Return the model with a label length of -1 replaced by `label_dim`."""
    return dataclasses.replace(model, label_dim=label_dim) if model.label_dim == -1 else model


def check_workdir(folder: Path, config: ExperimentConfig) -> None:
    """Compare the configuration with config.json of an earlier run in `folder`.

    Raises:
        ConfigError: the folder has a checkpoint whose model, loss, data or optimiser differ; the message lists the
            differences.
    """
    refuse(folder, _differences(folder, config)[0])


def record_config(folder: Path, config: ExperimentConfig) -> None:
    """Write config.json on the first process and print what has changed; call it after all checks."""
    if jax.process_index():
        return
    for line in _differences(folder, config)[1]:
        print(f"changed since the last start: {line}", flush=True)
    write_whole(folder / RECORD, json.dumps(config.to_dict(), indent=2) + "\n")


def _differences(folder: Path, config: ExperimentConfig) -> tuple[list[str], list[str]]:
    path = folder / RECORD
    if not path.exists() or not committed_steps(folder / "checkpoints"):
        return [], []
    try:
        return resume_conflicts(json.loads(path.read_text()), config.to_dict())
    except (ValueError, TypeError, AttributeError):
        return [], []  # the file is damaged; the checkpoint contains the configuration too


def refuse(folder: Path, differences: list[str]) -> None:
    """Raise ConfigError that lists how settings differ from those of the run in `folder`, if they do."""
    if differences:
        raise ConfigError(
            f"{folder} holds a run with another configuration:\n  " + "\n  ".join(differences) + "\nUse the same "
            "values to resume it, or another --workdir to start over"
        )


def check_frozen(folder: Path, saved: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Check that a run resumes with the same pretrained networks as it began with.

    Args:
        folder: the run's folder.
        saved: SHA-256 of their weights by name, from the checkpoint.
        now: SHA-256 of the loaded weights by name.

    Raises:
        ConfigError: they differ; the message has both digests.
    """
    differ = [name for name in sorted(saved.keys() | now.keys()) if saved.get(name) != now.get(name)]
    if differ:
        lines = [f"{n}: SHA-256 {saved.get(n, '(none)')} at the start, {now.get(n, '(none)')} now" for n in differ]
        raise ConfigError(
            f"{folder} holds a run that began with other weights of its frozen networks:\n  "
            + "\n  ".join(lines)
            + "\nRestore the original files to resume it, or use another --workdir to start over"
        )


def check_origin(
    folder: Path, meta: Mapping[str, Any], config: ExperimentConfig, digest_of: Callable[[str], str]
) -> None:
    """Check that a changed `train.init_from` has the weights that the run began from; resuming does not load them.

    Args:
        folder: the run's folder.
        meta: metadata of its checkpoint; 'origin' is the digest of the weights that it began from, '' if random.
        config: the current one. Nothing is checked if its path is empty or unchanged, so the original may be gone.
        digest_of: path -> digest of the weights there.

    Raises:
        ConfigError: the weights differ.
    """
    before, t = meta["config"]["train"], config.train
    is_same = (t.init_from, t.init_step) == (before["init_from"], before.get("init_step", 0))
    if is_same or not t.init_from or "origin" not in meta or digest_of(t.init_from) == meta["origin"]:
        return
    began = before["init_from"] or "another model" if meta["origin"] else "random weights"
    raise ConfigError(
        f"config.train.init_from is {t.init_from} (init_step={t.init_step}), whose weights are not those that the run "
        f"in {folder} began from ({began}); a resumed run loads none, so keep or remove init_from, or use another "
        "--workdir to start over (a super-resolution stage loads a newer stem with config.train.reload_stem=True)"
    )


def check_keep_best(config: ExperimentConfig, plan: Plan, metrics: Sequence[str] = ()) -> None:
    """Check that this run reports `log.keep_best`.

    Args:
        config: the experiment.
        plan: the plan of its last level.
        metrics: names under which its metrics are reported.

    Raises:
        ConfigError: it does not; the message suggests names that it does report.
    """
    name, known = config.log.keep_best, [*schedule.reported_terms(config, plan), *metrics]
    if name and name not in known:
        raise ConfigError(f"config.log.keep_best is {name!r}, which this run does not report; {suggest(name, known)}")


def check_meta(folder: Path, meta: Mapping[str, Any], config: ExperimentConfig, info: SourceInfo) -> None:
    """Compare the metadata of a checkpoint with the configuration and the data.

    Raises:
        ConfigError: the configuration, the number of images or their labels differ.
    """
    bad, _ = resume_conflicts(meta["config"], config.to_dict())
    if meta["num_images"] != info.num_images:
        bad.append(f"images in the data set: {meta['num_images']} -> {info.num_images}")
    elif meta.get("labels", info.label_digest) != info.label_digest:
        bad.append(f"labels of the images: {meta['labels']} -> {info.label_digest} (digests)")
    refuse(folder, bad)


def check_space(folder: Path, state: TrainState, keep: int) -> None:
    """Check that the disk has space for the checkpoints.

    Raises:
        ConfigError: less space is free than `keep` + 1 checkpoints need.
    """
    need = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) * 1.3 * (keep + 1)
    free = shutil.disk_usage(folder).free
    if free < need:
        shown = (tuple(f"{size / 2**20:.{digits}f}" for size in (free, need)) for digits in range(8))
        has, needs = next(pair for pair in shown if pair[0] != pair[1])
        raise ConfigError(
            f"{folder} has {has} MiB free; {keep} + 1 checkpoints need {needs} MiB; free some, choose another "
            "--workdir, or lower config.log.keep_latest"
        )


def facts_of(info: SourceInfo) -> dict[str, Any]:
    """Return the facts about the data that must agree on all processes, by their names in messages."""
    return {"images in the data set": info.num_images, "labels of the images (digest)": info.label_digest}


def describe(config: ExperimentConfig, info: SourceInfo, layout: Layout) -> str:
    """Return the lines printed at the start of a run."""
    h, w, c = config.model.image_shape
    device = layout.mesh.devices.flat[0]
    lines = [
        f"{config.name}: {config.model.arch} {h}x{w}x{c}, labels {config.model.label_dim}, "
        f"batch {config.train.batch_size}, {config.train.total_kimg:g} kimg",
        *describe_levels(config),
        f"data: {describe_data(config.data, info)}",
        *(f"  {line}" for line in describe_contents(info)),
        f"devices: {layout.mesh.size} x {device.device_kind} ({device.platform})",
    ]
    lines += [f"  skipped {printable(name)}: {why}" for name, why in info.skipped[:20]]
    return "\n".join(lines)
