"""StyleGAN-V (Skorokhodov et al. 2022): its keys on clips, motion and time, and their rules."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config.arch.stylegan2 import check_mapping
from stylegan_jax.config.clips import ClipRule, distances, least_frames
from stylegan_jax.config.documented import field

if TYPE_CHECKING:
    from stylegan_jax.config.fields import ExperimentConfig, ModelConfig


@dataclasses.dataclass(frozen=True)
class StyleGANVConfig:
    """Keys of arch 'stylegan_v' only, for both networks and the data's clips; defaults are published ones at 256x256.

    Times and distances are in frames of the data set, whatever its frame rate.
    """

    frames: int = field(3, "number of frames in a clip, which the discriminator sees together", least=1)
    max_num_frames: int = field(1024, "longer videos are cut to a random window of this many frames", least=2)
    sampling: str = field(
        "random",
        "frames of a clip: random ones between its ends, or at uniform distances",
        choices=("random", "uniform"),
    )
    max_dist: int = field(
        32, "largest distance between the first and last frame; sampling='uniform': between neighbours", least=1
    )
    total_dists: tuple[int, ...] = field(
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048),
        "sampling='random': possible distances between the first and last frame; (): any below max_dist",
        least=1,
    )
    fractional_starts: bool = field(True, "generated clips may begin between two frames (the data's never do)")
    cond_type: str = field(
        "concat_const",
        "where the motion code enters: concatenated to the learned constant or to every style, or added to every style",
        choices=("concat_const", "concat_w", "sum_w"),
    )
    motion_z_dim: int = field(512, "size of a row of motion noise", least=1)
    motion_v_dim: int = field(512, "size of a motion code; 0: no motion, an image GAN", least=0)
    motion_kernel: int = field(11, "kernel size of the two convolutions over the rows of motion noise", least=1)
    motion_distance: int = field(16, "frames between two motion codes", least=1)
    time_dim: int = field(256, "frequencies of the time encoding, a sine and a cosine each", least=1)
    min_period: int = field(16, "period of its highest frequency, in frames; controls the speed of motion", least=1)
    max_period: int = field(1024, "period of its lowest frequency, in frames", least=1)
    concat_res: int = field(16, "D: resolution at which the features of all frames are concatenated", least=8)
    frames_divisor: int = field(2, "D: the channels of the block before that are divided by this", least=1)
    dummy_cond: bool = field(False, "D: multiply the label and the gaps between frames by 0 (an ablation)")


def gap_count(own: StyleGANVConfig) -> int:
    """Return how many gaps between neighbouring frames D reads: one if they are all equal (sampling 'uniform')."""
    return min(own.frames - 1, 1) if own.sampling == "uniform" else own.frames - 1


def clip_rule(model: ModelConfig) -> ClipRule:
    """Return how a model's clips are taken from videos."""
    own = model.stylegan_v
    return ClipRule(*(getattr(own, key) for key in ClipRule._fields))


def motion_rows(own: StyleGANVConfig, last_time: float) -> int:
    """Return the number of rows of motion noise on which the frames up to a time depend."""
    codes = math.floor(last_time / own.motion_distance) + 2
    return codes + 2 * (own.motion_kernel - 1)


def gap_frequencies(own: StyleGANVConfig) -> tuple[float, ...]:
    """Return the frequencies of the gaps' encoding, in radians per frame: pi / 2^f, …, pi / 2."""
    count = math.ceil(math.log2(own.max_num_frames))
    return tuple(math.pi * 2.0 ** (i - count) for i in range(count))


def check(model: ModelConfig) -> None:
    """Check the model's keys; raises ConfigError if a rule is broken."""
    own, group = model.stylegan_v, "config.model.stylegan_v"
    check_mapping(model)
    fixed = {"use_noise": (model.use_noise, False), "grows": (model.grows, False), "d_arch": (model.d_arch, "resnet")}
    for key, (value, needed) in fixed.items():
        if value != needed:
            raise ConfigError(f"config.model.{key} is {value!r}; stylegan_v needs {needed!r}: set {key}={needed!r}")
    if own.cond_type == "sum_w" and own.motion_v_dim and 2 * own.time_dim != model.w_dim:
        raise ConfigError(
            f"{group}.cond_type is 'sum_w' and {group}.time_dim is {own.time_dim}; a motion code has 2 x time_dim "
            f"numbers, and is added to styles of size config.model.w_dim={model.w_dim}, so set time_dim="
            f"{model.w_dim // 2}, or another cond_type"
        )
    if own.min_period > own.max_period:
        raise ConfigError(f"{group}.min_period is {own.min_period}; it must not exceed max_period={own.max_period}")
    longest = own.max_dist
    if longest >= own.max_num_frames:
        raise ConfigError(
            f"{group}.max_dist is {longest}; it must be less than max_num_frames={own.max_num_frames}, the size of the "
            "discriminator's table of gaps"
        )
    if least_frames(clip_rule(model)) > own.max_num_frames:
        raise ConfigError(
            f"{group}.frames is {own.frames}; no distance in total_dists={own.total_dists} up to max_dist="
            f"{own.max_dist} has room for that many frames: allow a distance of at least {own.frames - 1}"
        )
    if own.frames > 1:
        _check_joining(model)


def _check_joining(model: ModelConfig) -> None:
    own = model.stylegan_v
    known = [4 * 2**i for i in range(1, model.num_blocks - 1)]
    if own.concat_res not in known:
        raise ConfigError(
            f"config.model.stylegan_v.concat_res is {own.concat_res}; it must lie between the resolution of the last "
            f"block and that of the images: one of {known}"
        )
    joined = min(model.channel_base // own.concat_res, model.channel_max)
    if joined % own.frames_divisor or not joined // own.frames_divisor:
        raise ConfigError(
            f"config.model.stylegan_v.frames_divisor is {own.frames_divisor}; it must divide the {joined} channels at "
            f"resolution {own.concat_res}"
        )


def check_run(config: ExperimentConfig) -> None:
    """Check that the data are videos."""
    if config.data.source != "video":
        raise ConfigError(
            f"config.data.source is {config.data.source!r}, but arch 'stylegan_v' is trained on clips; use "
            "--config.data.source=video, with a zip or folder that contains a folder of frames for each video"
        )


def describe(model: ModelConfig) -> str:
    """Return a description of clips and motion for a dry run."""
    own = model.stylegan_v
    rule = clip_rule(model)
    known = distances(rule, own.max_num_frames)
    what = "gaps" if own.sampling == "uniform" else "first and last frame apart by"
    ends = ", ".join(map(str, known if len(known) < 12 else (*known[:4], "…", known[-1])))
    lines = [f"clips of {own.frames} frames, {what} {ends}; a video needs at least {least_frames(rule)} frames"]
    if own.motion_v_dim:
        rows = motion_rows(own, own.max_num_frames - 1)
        span = 2 * own.motion_kernel * own.motion_distance
        lines.append(
            f"motion: a code every {own.motion_distance} frames, from {rows} rows of noise in {own.max_num_frames} "
            f"frames; a frame depends on rows over {span} frames; periods of {own.min_period} to {own.max_period}"
        )
    lines.append("kimg count frames, not clips")
    return "\n".join(lines)
