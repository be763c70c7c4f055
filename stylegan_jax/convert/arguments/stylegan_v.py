"""Arguments of official StyleGAN-V networks, in both directions: those of StyleGAN2, and a tree of settings, `cfg`.

Settings may refer to others that the file lacks. Those are inferred from arrays if possible; the distance of motion
codes is then the shortest period, as in the published settings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from stylegan_jax.config import ModelConfig
from stylegan_jax.convert.arguments import stylegan2
from stylegan_jax.convert.arguments.shared import DEFAULTS, check_arguments
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet, listing
from stylegan_jax.inert.settings import refers

OWN: Mapping[str, Any] = DEFAULTS["stylegan_v"]
G_NAMES = ("c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs", "cfg")
D_NAMES = ("c_dim", "img_resolution", "img_channels", "architecture", "channel_base", "channel_max", "num_fp16_res")
D_NAMES += ("conv_clamp", "cmap_dim", "block_kwargs", "mapping_kwargs", "epilogue_kwargs", "cfg")
"""Positional arguments."""
KNOWN = {
    "input": ("type",),
    "motion": ("z_dim", "v_dim", "motion_z_distance", "gen_strategy", "kernel_size", "use_fractional_t", "fourier"),
    "time_enc": ("cond_type", "dim", "min_period_len", "max_period_len", "phase_dropout_std"),
}
"""Settings that determine how a frame is drawn, by branch; the official code never reads `phase_dropout_std`."""
CONDITIONS = ("concat_const", "concat_w", "sum_w")
MOTION = "synthesis.motion_encoder"
LEAST_JOINED = 16
"""The smallest image size at which a discriminator joins frames."""


class Settings:
    """The tree of settings of a network, and the values inferred from its arrays.

    Args:
        net: the network.
        names: names of its positional arguments.
    """

    def __init__(self, net: OfficialNet, names: tuple[str, ...]):
        kwargs = dict(zip(names, net.init_args, strict=False)) | net.init_kwargs
        tree = kwargs.pop("cfg", None)
        if not isinstance(tree, dict):
            raise BadCheckpointError(
                "",
                "its constructor has no cfg, the tree of settings; pass the whole network, as official files store it, "
                "not only its arrays",
            )
        self.tree, self.kwargs = tree, kwargs
        self.shapes = {name: value.shape for name, value in net.tensors.items()}
        sampling = net.attributes.get("", {}).get("sampling_dict")
        if not isinstance(tree.get("sampling"), dict) and isinstance(sampling, dict):
            self.tree = {**tree, "sampling": sampling}  # the generator's copy, which has no references

    def get(self, path: str, told: Any = None) -> Any:
        """Return a setting, or `told`, inferred from arrays, if it is missing or refers to a missing one."""
        value: Any = self.tree
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        value = told if value is None or refers(value) else value
        if value is None:
            raise BadCheckpointError("", f"cfg.{path} is missing, and no array determines it")
        return value

    def whole(self, path: str, told: Any = None) -> int:
        """Return a setting that is a count."""
        value = self.get(path, told)
        if type(value) is not int or not 0 <= value < 1 << 31:
            raise BadCheckpointError("", f"cfg.{path} is {value!r:.80}, not a count")
        return value

    def flag(self, path: str, told: bool) -> bool:
        """Return a setting that is true or false."""
        value = self.get(path, told)
        if type(value) is not bool:
            raise BadCheckpointError("", f"cfg.{path} is {value!r:.80}, neither true nor false")
        return value

    def choice(self, path: str, known: tuple[Any, ...], told: Any = None) -> Any:
        """Return a setting that is one of `known`."""
        value = self.get(path, told)
        if not any(type(value) is type(one) and value == one for one in known):
            raise BadCheckpointError("", f"cfg.{path} is {value!r:.80}; known here: {', '.join(map(str, known))}")
        return value

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """Return the shape of a required array."""
        shape = self.shapes.get(name)
        if shape is None:
            raise BadCheckpointError("", f"missing: {name}")
        if len(shape) != rank or not all(shape):
            raise BadCheckpointError("", f"{name} is {list(shape)}; it must have {rank} axes and be not empty")
        return shape

    def part(self, name: str) -> dict[str, Any]:
        """Return a dict of further arguments without its copy of the settings."""
        value = self.kwargs.get(name) or {}
        if not isinstance(value, dict):
            raise BadCheckpointError("", f"{name} is a {type(value).__name__}, not a dict")
        return {key: item for key, item in value.items() if key != "cfg"}


def is_discriminator(net: OfficialNet) -> bool:
    """Return whether a network has a discriminator's settings; for single frames its arrays are StyleGAN2's."""
    tree = net.init_kwargs.get("cfg")
    return isinstance(tree, dict) and "concat_res" in tree


def generator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of an official generator.

    Args:
        net: a whole module, with its constructor arguments.

    Returns:
        The keys that a generator determines, and notes: facts worth keeping that do not change the network.

    Raises:
        BadCheckpointError: an argument or setting is unknown, or belongs to another network, such as MoCoGAN's.
    """
    settings = Settings(net, G_NAMES)
    _check_known(settings)
    plain = settings.kwargs | {key: settings.part(key) for key in ("mapping_kwargs", "synthesis_kwargs")}
    plain |= {"z_dim": settings.whole("z_dim"), "use_noise": settings.choice("use_noise", (False,), False)}
    out, notes = stylegan2.generator_arguments(_with(net, plain))
    own = _clips(settings, OWN["frames"]) | _motion(settings, net)
    own |= _joining(out["resolution"], out["channel_base"], out["channel_max"])
    if out["resolution"] < LEAST_JOINED:
        own["frames"] = 1  # the generator draws frames independently, so any number will do
    out |= {"arch": "stylegan_v", "stylegan_v": {**OWN, **own}}
    model = check_arguments(out)
    _check_waves(net, model)
    return out, notes


def discriminator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of an official discriminator; see `generator_arguments`."""
    settings = Settings(net, D_NAMES)
    parts = {key: settings.part(key) for key in ("block_kwargs", "mapping_kwargs", "epilogue_kwargs")}
    clamp = settings.kwargs.get("conv_clamp")
    out, notes = stylegan2.discriminator_arguments(
        _with(net, {"num_fp16_res": 0} | settings.kwargs | parts | {"conv_clamp": clamp})
    )
    settings.choice("skip_small_t_freqs", (0,), 0)
    joined, divisor = settings.whole("concat_res"), settings.whole("num_frames_div_factor")
    own = {"concat_res": joined, "frames_divisor": divisor, "dummy_cond": settings.flag("dummy_c", False)}
    own |= _clips(settings, _frames(settings, joined))
    cmap = settings.kwargs.get("cmap_dim")
    if own["frames"] > 1 and type(cmap) is int and cmap != settings.shape("b4.fc.bias", 1)[0]:
        out["cmap_dim"] = cmap  # without labels, gaps are still mapped
    out |= {"arch": "stylegan_v", "use_noise": False, "stylegan_v": {**OWN, **own}}
    check_arguments(out)
    return out, notes


def official_kwargs(arguments: Mapping[str, Any], net: str, w_avg_beta: float = 0.998) -> dict[str, Any]:
    """Return the constructor arguments of the official network, with `cfg` as plain dicts.

    Args:
        arguments: a full model configuration.
        net: 'g', 'g_ema' or 'd'.
        w_avg_beta: decay of the running mean of w.
    """
    own, flat = arguments["stylegan_v"], stylegan2.official_kwargs(arguments, net, w_avg_beta)
    sampling = {"type": own["sampling"], "num_frames_per_video": own["frames"], "max_num_frames": own["max_num_frames"]}
    sampling |= {"max_dist": own["max_dist"]}
    if own["sampling"] == "random":
        sampling["total_dists"] = list(own["total_dists"]) or None
    if net == "d":
        joined = {"concat_res": own["concat_res"], "num_frames_div_factor": own["frames_divisor"]}
        return flat | {"cfg": {"sampling": sampling, **joined, "dummy_c": own["dummy_cond"]}}
    top = ("c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs")
    inner = {key: value for key, value in flat.items() if key not in (*top, "z_dim", "use_noise")}
    cfg = {
        "sampling": sampling,
        "use_noise": arguments["use_noise"],
        "input": {"type": "temporal" if own["cond_type"] == "concat_const" else "const"},
        "w_dim": arguments["w_dim"],
        "z_dim": arguments["z_dim"],
        "c_dim": arguments["label_dim"],
        "motion": {
            "z_dim": own["motion_z_dim"],
            "v_dim": own["motion_v_dim"],
            "motion_z_distance": own["motion_distance"],
            "gen_strategy": "conv",
            "kernel_size": own["motion_kernel"],
            "use_fractional_t": own["fractional_starts"],
            "fourier": True,
        },
        "time_enc": {
            "cond_type": own["cond_type"],
            "dim": own["time_dim"],
            "min_period_len": own["min_period"],
            "max_period_len": own["max_period"],
        },
    }
    return {key: flat[key] for key in top} | {"synthesis_kwargs": inner, "cfg": cfg}


def _with(net: OfficialNet, kwargs: dict[str, Any]) -> OfficialNet:
    return dataclasses.replace(net, init_args=(), init_kwargs=kwargs)


def _check_known(settings: Settings) -> None:
    for branch, known in KNOWN.items():
        given = settings.tree.get(branch)
        given = given if isinstance(given, dict) else {}
        more = [key for key, value in given.items() if key not in known and value not in (None, {}, False, 0)]
        if more:
            raise BadCheckpointError("", f"cfg.{branch} has unknown settings: {listing(more)}")


def _clips(settings: Settings, frames: int) -> dict[str, Any]:
    """Return the keys that say how clips are sampled; a clip has `frames` frames unless a setting says otherwise."""
    table = settings.shapes.get("time_encoder.const_embed.weight", (None,))
    longest = settings.whole("sampling.max_num_frames", table[0] or OWN["max_num_frames"])
    kind = settings.choice("sampling.type", ("random", "uniform"), OWN["sampling"])
    own = {
        "frames": settings.whole("sampling.num_frames_per_video", frames),
        "max_num_frames": longest,
        "sampling": kind,
    }
    most = OWN["max_dist"]
    if kind == "uniform":
        most = settings.whole("sampling.max_dist_between_frames", settings.whole("sampling.max_dist", most))
    else:
        most = settings.whole("sampling.max_dist", most)
        listed: Any = settings.get("sampling.total_dists", ())
        if not isinstance(listed, list | tuple) or not all(type(d) is int and 0 < d < 1 << 31 for d in listed):
            raise BadCheckpointError("", f"cfg.sampling.total_dists is {listed!r:.80}, not a list of distances")
        own["total_dists"] = list(listed)
    return own | {"max_dist": max(1, min(most, longest - 1))}  # no clip is longer than a video


def _motion(settings: Settings, net: OfficialNet) -> dict[str, Any]:
    """Return the keys of motion and time."""
    has_motion = any(name.startswith(f"{MOTION}.") for name in settings.shapes)
    if not settings.whole("motion.v_dim", int(has_motion)):
        is_appended = "synthesis.b4.input.input.const" in settings.shapes
        return {"motion_v_dim": 0, "cond_type": "concat_const" if is_appended else "concat_w"}
    settings.choice("motion.gen_strategy", ("conv",), "conv")
    settings.choice("motion.fourier", (True,), True)
    size, _, kernel = settings.shape(f"{MOTION}.conv.0.weight", 3)
    code = settings.shape(f"{MOTION}.conv.1.weight", 3)[0]
    dim = settings.shape(f"{MOTION}.time_encoder.freqs", 2)[1]
    freqs = np.asarray(net.tensors[f"{MOTION}.time_encoder.freqs"], np.float64)[0]
    longest, shortest = (round(2 * math.pi / f) if 1e-6 < f < 1e6 else None for f in (freqs[0], freqs[-1]))
    period = settings.whole("time_enc.min_period_len", shortest)
    condition = settings.choice("time_enc.cond_type", CONDITIONS, _condition(settings))
    needed = "temporal" if condition == "concat_const" else "const"
    if (kind := settings.get("input.type", needed)) != needed:
        reason = f"cfg.input.type is {kind!r:.80}; time_enc.cond_type {condition!r} draws motion with {needed!r} alone"
        raise BadCheckpointError("", reason)
    return {
        "motion_z_dim": settings.whole("motion.z_dim", size),
        "motion_v_dim": settings.whole("motion.v_dim", code),
        "motion_kernel": settings.whole("motion.kernel_size", kernel),
        "motion_distance": settings.whole("motion.motion_z_distance", period),
        "fractional_starts": settings.flag("motion.use_fractional_t", OWN["fractional_starts"]),
        "cond_type": condition,
        "time_dim": settings.whole("time_enc.dim", dim),
        "min_period": period,
        "max_period": settings.whole("time_enc.max_period_len", longest),
    }


def _condition(settings: Settings) -> str:
    """Return where the motion code enters, inferred from the arrays."""
    if "synthesis.b4.input.input.const" in settings.shapes:
        return "concat_const"
    styles = settings.shape("synthesis.b4.conv1.affine.weight", 2)[1]
    return "concat_w" if styles > settings.shape("mapping.w_avg", 1)[0] else "sum_w"


def _joining(resolution: int, base: int, most: int) -> dict[str, Any]:
    """Return the discriminator's keys for a file without one: as published, or at half the height of a small image."""
    joined = max(8, min(OWN["concat_res"], resolution // 2))
    divisor = OWN["frames_divisor"]
    return {"concat_res": joined, "frames_divisor": 1 if min(base // joined, most) % divisor else divisor}


def _frames(settings: Settings, joined: int) -> int:
    """Return how many frames the discriminator joins at a resolution, inferred from its arrays."""
    before, after = (settings.shapes.get(f"b{joined * k}.conv{k - 1}.weight") for k in (2, 1))
    if not before or not after or len(before) != 4 or len(after) != 4 or not before[0] or after[1] % before[0]:
        return 1
    return after[1] // before[0]


def _check_waves(net: OfficialNet, model: ModelConfig) -> None:
    """Check that a file's frequencies are those that follow from its settings.

    Raises:
        BadCheckpointError: they differ.
    """
    from stylegan_jax.models.stylegan_v.motion import waves  # imports JAX

    for name, wanted in zip(("freqs", "phase_scales"), waves(model), strict=True):
        have = net.tensors.get(f"{MOTION}.time_encoder.{name}")
        is_same = have is None or have.shape != (1, *wanted.shape) or np.allclose(have[0], wanted, rtol=1e-4, atol=0)
        if not is_same:  # the tables report other shapes
            own = model.stylegan_v
            raise BadCheckpointError(
                "",
                f"{MOTION}.time_encoder.{name} does not fit the periods of its settings, {own.min_period} to "
                f"{own.max_period} frames",
            )
