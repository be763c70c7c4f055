"""The rules that involve several keys. Rules of a single key are on its field, those of an architecture in `arch`."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config.arch import ARCH_RULES, clips_of, projected
from stylegan_jax.config.augmentation import AugmentConfig
from stylegan_jax.config.documented import check_choice, check_fields
from stylegan_jax.config.encoder_training import check_encoder_run
from stylegan_jax.config.fields import (
    DataConfig,
    DistributedConfig,
    ExperimentConfig,
    ModelConfig,
    ScheduleConfig,
)
from stylegan_jax.config.levels import at_level, check_growing, levels


def validate(config: ExperimentConfig) -> None:
    """Check a whole configuration, except for names in registries.

    Raises:
        ConfigError: a rule is broken; the message is on the first.
    """
    check_model(config.model)
    check_fields(config)
    if config.task == "encoder":
        check_encoder_run(config)
    else:
        _check_gan(config)
    _check_run(config)
    _check_data(config.data)
    _check_distributed(config.distributed)


def _check_gan(config: ExperimentConfig) -> None:
    """Check the rules of a run that trains a generator and a discriminator."""
    ARCH_RULES[config.model.arch].check_run(config)
    if config.data.source == "video" and clips_of(config.model) is None:
        raise ConfigError(
            f"config.data.source is 'video', but arch {config.model.arch!r} is trained on images; use "
            "--config.data.source=zip or folder, where every frame is an image, or arch 'stylegan_v'"
        )
    check_growing(config)
    _at_each_level(config, _check_batch)
    _check_options(config)
    _check_augment(config.augment, config.schedule)
    _check_schedule(config)


def _at_each_level(config: ExperimentConfig, check: Callable[[ExperimentConfig], None]) -> None:
    """Check the configuration of every level; the error names the height unless it is the last."""
    *below, last = levels(config)
    for level in below:
        try:
            check(at_level(config, level))
        except ConfigError as error:
            raise ConfigError(f"{error} (at height {level.height}, by config.growing.batch_sizes)") from None
    check(at_level(config, last))


def check_model(model: ModelConfig) -> None:
    """Check the rules of `config.model`; raises ConfigError if one is broken."""
    check_choice("model.arch", model.arch, ARCH_RULES)
    check_fields(model, "model.")
    if not model.resample_filter or sum(model.resample_filter) == 0:
        raise ConfigError(f"config.model.resample_filter is {model.resample_filter}; its taps must not sum to zero")
    base_h, base_w = model.base_size
    blocks = model.resolution / base_h
    if blocks < 2 or not math.log2(blocks).is_integer():
        near = base_h * 2 ** max(1, round(math.log2(max(blocks, 2))))
        raise ConfigError(
            f"config.model.resolution is {model.resolution}; it must be the base height {base_h} "
            f"(config.model.base_size={model.base_size}) times a power of two; the nearest is {near}"
        )
    if (model.resolution * base_w) % base_h:
        raise ConfigError(f"config.model.base_size is {model.base_size}; resolution * width / height must be whole")
    if model.remat_from > model.resolution:
        raise ConfigError(
            f"config.model.remat_from is {model.remat_from}; it must be 0 (none) or a height up to the resolution "
            f"{model.resolution}, such as {model.resolution // 2}"
        )
    nominal = 4 * 2 ** (model.num_blocks - 1)  # blocks count from 4, whatever the base height
    if model.channel_base < nominal:
        raise ConfigError(
            f"config.model.channel_base is {model.channel_base}; at resolution {model.resolution} that leaves no "
            f"channel; use at least {nominal}"
        )
    first = min(model.channel_base // 4, model.channel_max)
    if model.mbstd_channels and first % model.mbstd_channels:
        raise ConfigError(f"config.model.mbstd_channels is {model.mbstd_channels}; it must divide {first} channels")
    ARCH_RULES[model.arch].check(model)
    if model.d_arch == projected.NAME:
        projected.check(model)


def _check_batch(config: ExperimentConfig) -> None:
    """Check that the batch, and path length's part of it, divide into statistics groups and micro-batches."""
    t, loss = config.train, config.loss
    key, group = config.model.stats_group
    group = min(group, t.batch_size)
    what = "statistics" if config.model.d_arch == projected.NAME else "minibatch-stddev"
    if t.batch_size % group:
        raise ConfigError(
            f"config.train.batch_size is {t.batch_size}; the {what} group (config.model.{key}={group}) must divide "
            f"it; use {t.batch_size // group * group or group} or {(t.batch_size // group + 1) * group}"
        )
    if loss.pl_weight and t.batch_size < loss.pl_batch_shrink:
        raise ConfigError(
            f"config.train.batch_size is {t.batch_size}; with path length it must be at least "
            f"config.loss.pl_batch_shrink={loss.pl_batch_shrink}"
        )
    if t.batch_size % t.grad_accum or (t.batch_size // t.grad_accum) % group:
        whole = t.batch_size // group
        fitting = [k for k in range(1, whole + 1) if whole % k == 0]
        raise ConfigError(
            f"config.train.grad_accum is {t.grad_accum}; it must cut the batch of {t.batch_size} into micro-batches of "
            f"whole {what} groups (config.model.{key}={group}); use one of {fitting}"
        )
    if loss.pl_weight and (t.batch_size // loss.pl_batch_shrink) % t.grad_accum:
        raise ConfigError(
            f"config.train.grad_accum is {t.grad_accum}; path length uses batch / {loss.pl_batch_shrink} = "
            f"{t.batch_size // loss.pl_batch_shrink} images, which it must divide"
        )


def _check_options(config: ExperimentConfig) -> None:
    """Check path length, float16, the loss and blur."""
    t, loss = config.train, config.loss
    if loss.pl_weight and loss.g_reg_interval == 0:
        raise ConfigError("config.loss.g_reg_interval is 0 with pl_weight > 0; use 4, or set pl_weight=0")
    if config.model.conv_clamp == 0 and config.model.compute_dtype == "float16":
        raise ConfigError("config.model.compute_dtype='float16' overflows without conv_clamp; set conv_clamp=256")
    if (loss.adv_reduction == "sum") != (loss.adv_batch > 0):
        raise ConfigError(
            f"config.loss.adv_reduction is {loss.adv_reduction!r} and adv_batch is {loss.adv_batch}; set it to "
            f"the number of examples of 'sum', such as adv_batch={t.batch_size} (published: one device's), 0 for 'mean'"
        )
    if (loss.blur_init_sigma > 0) != (loss.blur_fade_kimg > 0):
        raise ConfigError(
            f"config.loss.blur_init_sigma is {loss.blur_init_sigma} and blur_fade_kimg is {loss.blur_fade_kimg}; set "
            "both (StyleGAN3-R: 10 pixels over 200 kimg), or both to 0"
        )
    if len(set(t.posthoc_ema)) < len(t.posthoc_ema):
        raise ConfigError(f"config.train.posthoc_ema is {t.posthoc_ema}; widths must differ: remove repeated ones")


def _check_run(config: ExperimentConfig) -> None:
    """Check the rules on keeping the best checkpoint, early stopping and rollbacks."""
    t = config.train
    if t.early_stop_kimg and not config.log.keep_best:
        raise ConfigError(
            f"config.train.early_stop_kimg is {t.early_stop_kimg} without config.log.keep_best; set it to the value "
            "that has to improve"
        )
    if config.log.keep_best.startswith("metric/") and config.log.checkpoint_ticks % config.eval.ticks:
        raise ConfigError(
            f"config.log.keep_best is {config.log.keep_best!r} with checkpoint_ticks={config.log.checkpoint_ticks} and "
            f"config.eval.ticks={config.eval.ticks}; checkpoints are compared by a value of their own step: make "
            "checkpoint_ticks a multiple of eval.ticks"
        )
    if t.on_nan == "rollback" and t.max_rollbacks < 1:
        raise ConfigError("config.train.max_rollbacks is 0 with on_nan='rollback'; use 1 or more, or on_nan='halt'")


NEED_PATH = ("zip", "folder", "tfds", "tiles")
"""Sources that `config.data.path` has to name."""


def _check_data(data: DataConfig) -> None:
    if data.source in NEED_PATH and not data.path:
        raise ConfigError(f"config.data.path is empty; data.source={data.source!r} needs it: --config.data.path=…")
    if data.labels == "subfolders" and data.source not in ("folder", "zip"):
        raise ConfigError(f"config.data.labels='subfolders' needs data.source='folder' or 'zip', not {data.source!r}")
    if data.source == "tfds" and data.cache == "device":
        raise ConfigError("config.data.cache='device' does not work with data.source='tfds'; use 'host' or 'off'")


def _check_schedule(config: ExperimentConfig) -> None:
    """Check that a schedule changes something, ends after it starts, and ends at allowed values."""
    schedule = config.schedule
    ends = {key: getattr(schedule, key) for key in ("g_lr", "d_lr", "beta2", "r1_gamma", "ema_kimg", "augment_p")}
    moving = [key for key, value in ends.items() if value != schedule.STAYS]
    for key in moving:
        if not ends[key] >= 0 or (key in ("g_lr", "d_lr") and ends[key] == 0):
            raise ConfigError(
                f"config.schedule.{key} is {ends[key]}; it must be {'above' if key.endswith('lr') else 'at least'} 0, "
                "or -1 for a constant rate"
            )
    if bool(schedule.end_kimg) != bool(moving):
        raise ConfigError(
            f"config.schedule.end_kimg is {schedule.end_kimg:g} and the final values that are set are "
            f"{moving or 'none'}; set end_kimg and at least one of " + ", ".join(ends) + ", or none of them"
        )
    if moving and schedule.end_kimg <= schedule.start_kimg:
        raise ConfigError(
            f"config.schedule.end_kimg is {schedule.end_kimg:g} and start_kimg {schedule.start_kimg:g}; a schedule "
            f"must end after it starts: make end_kimg larger, such as train.total_kimg={config.train.total_kimg:g}"
        )
    if "augment_p" in moving and config.augment.mode != "fixed":
        raise ConfigError(
            f"config.schedule.augment_p is {schedule.augment_p} with config.augment.mode={config.augment.mode!r}; only "
            "the strength of mode 'fixed' is scheduled"
        )
    if "augment_p" in moving and schedule.augment_p > config.augment.p_max:
        raise ConfigError(
            f"config.schedule.augment_p is {schedule.augment_p}; it must be at most config.augment.p_max="
            f"{config.augment.p_max}"
        )


def _check_augment(augment: AugmentConfig, schedule: ScheduleConfig) -> None:
    if not 0 <= augment.p <= augment.p_max:
        raise ConfigError(f"config.augment.p is {augment.p}; it must be in [0, config.augment.p_max={augment.p_max}]")
    if not -1 < augment.target < 1:
        raise ConfigError(f"config.augment.target is {augment.target}; it must be in (-1, 1); ADA uses 0.6")
    if augment.mode == "fixed" and augment.p == 0 and not schedule.augment_p > 0:
        raise ConfigError(
            "config.augment.p is 0 with mode='fixed', which augments nothing; set it (DiffAugment as published: 1), or "
            "mode='none'"
        )
    for key, value in dataclasses.asdict(augment.ops).items():
        if value != -1 and not value >= 0:
            raise ConfigError(
                f"config.augment.ops.{key} is {value}; it must be -1 (the pipe's value), 0 (off) or a multiplier"
            )
    apa = augment.apa
    if apa.p > apa.p_max:
        raise ConfigError(f"config.augment.apa.p is {apa.p}; it must be in [0, config.augment.apa.p_max={apa.p_max}]")
    if apa.mode == "fixed" and apa.p == 0:
        raise ConfigError("config.augment.apa.p is 0 with mode='fixed', which replaces nothing; set it, or mode='none'")
    if apa.mode == "none" and apa.p:
        raise ConfigError(f"config.augment.apa.p is {apa.p} with mode='none'; set mode='fixed' or 'apa', or p=0")
    bands = augment.strength.imgfilter_bands
    if len(bands) != 4:
        raise ConfigError(f"config.augment.strength.imgfilter_bands is {bands}; it must have 4 multipliers")


def _check_distributed(d: DistributedConfig) -> None:
    """Check that the keys that identify processes are all set, or none."""
    if not (d.coordinator or d.num_processes or d.process_id != -1):
        return
    if d.mode == "off":
        raise ConfigError(
            "config.distributed.mode is 'off', but other keys of the group are set; use 'auto', or remove them"
        )
    if not d.coordinator:
        raise ConfigError(
            f"config.distributed.coordinator is empty with num_processes={d.num_processes}, process_id={d.process_id}; "
            "set it to host:port of process 0, the same on every process"
        )
    port = d.coordinator.rpartition(":")[2]
    if ":" not in d.coordinator or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"config.distributed.coordinator is {d.coordinator!r}; it must be host:port, such as 10.0.0.2:8476"
        )
    if d.num_processes < 1 or not 0 <= d.process_id < d.num_processes:
        raise ConfigError(
            f"config.distributed.process_id is {d.process_id} of num_processes={d.num_processes}; processes are "
            "numbered from 0 to num_processes - 1"
        )


def check_devices(config: ExperimentConfig, num_devices: int) -> None:
    """Check that the batch, path length's part of it, and their micro-batches split evenly over the devices.

    Raises:
        ConfigError: one of them does not.
    """
    _at_each_level(config, functools.partial(_check_shares, num_devices=num_devices))


def _check_shares(config: ExperimentConfig, num_devices: int) -> None:
    batch, shrink, accum = config.train.batch_size, config.loss.pl_batch_shrink, config.train.grad_accum
    if batch % num_devices:
        near = sorted({max(batch // num_devices, 1) * num_devices, (batch // num_devices + 1) * num_devices})
        raise ConfigError(
            f"config.train.batch_size is {batch}; the {num_devices} devices must divide it; use "
            f"{' or '.join(map(str, near))}, or set config.train.num_devices"
        )
    parts = [batch // shrink] if config.loss.pl_weight and config.task == "gan" else []
    if parts and parts[0] % num_devices:
        raise ConfigError(
            f"config.train.batch_size is {batch}; path length uses batch / {shrink} = {batch // shrink} images, which "
            f"the {num_devices} devices must divide; use batch {num_devices * shrink} or a multiple of it"
        )
    for part in [batch, *parts]:
        if part // accum % num_devices:
            raise ConfigError(
                f"config.train.grad_accum is {accum}, which cuts {part} images into micro-batches of {part // accum}; "
                f"the {num_devices} devices must divide that; use fewer micro-batches or a larger batch"
            )
