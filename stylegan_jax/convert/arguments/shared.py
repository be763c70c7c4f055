"""From the constructor arguments of official networks to model configuration keys: the parts that architectures share.

Each architecture adds a file of its own. Three sources must agree: the constructor arguments (without defaults), the
attributes stored on the modules (with defaults), and the array shapes (checked on import).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from stylegan_jax.config import ConfigError, ExperimentConfig, ModelConfig, model_from_dict
from stylegan_jax.config.arch import stylegan_xl
from stylegan_jax.config.arch.projected import NAME as PROJECTED
from stylegan_jax.config.arch.stylegan3 import count_taps, make_plan
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet, listing

ARCHITECTURES: tuple[str, ...] = ModelConfig.__dataclass_fields__["g_arch"].metadata["choices"]
# Activations of official files; all are in ops.bias_act.ACTIVATIONS, which needs JAX.
ACTIVATIONS = ("lrelu", "relu", "linear", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")
WHOLE_BATCH = 1 << 20  # a minibatch-stddev group larger than any batch: the official None

DEFAULTS: dict[str, Any] = ExperimentConfig().to_dict()["model"] | {"resolution": 0, "label_dim": 0}
"""The model configuration without arguments; a file always sets resolution and labels."""
SHARED = (
    "resolution",
    "base_size",
    "img_channels",
    "label_dim",
    "activation",
    "conv_clamp",
    "resample_filter",
    "grows",
)
LIMITS = {
    "stylegan3": {"num_layers": 100, "filter_size": 32, "lrelu_upsampling": 8, "margin_size": 1000, "conv_kernel": 31},
    "stylegan_xl": {"up_factors": 16, "head_layers": 100, "embed_rows": 1 << 20, "embed_dim": 1 << 14},
    PROJECTED: {"channels": 1 << 14, "widths": 1 << 14, "embed_rows": 1 << 20, "embed_dim": 1 << 14},
    "r3gan": {"widths": 1 << 14, "groups": 1 << 14, "blocks": 100, "expansion": 16, "embed_dim": 1 << 14},
    "stylegan_v": {
        "frames": 256,
        "max_num_frames": 1 << 20,
        "motion_z_dim": 1 << 14,
        "motion_v_dim": 1 << 14,
        "motion_kernel": 1 << 10,
        "time_dim": 1 << 14,
    },
}
"""Largest values that a file may set for an architecture's own keys."""
MAX_SIZE = 1 << 14
"""Largest height and width of images that a file may set."""
MAX_TAPS = 64
"""Largest number of taps of a resampling filter that a file may set."""
FILTER_TAPS: dict[str, Callable[[ModelConfig], int]] = {
    "stylegan3": lambda model: count_taps(make_plan(model)),
    "stylegan_xl": lambda model: count_taps(stylegan_xl.make_plan(model)),
}
"""Architecture -> number of taps of all filters that it designs from its configuration."""
MAX_FILTER_TAPS = 1 << 13
"""Largest such number; StyleGAN3 at 1024x1024 has 410 (T) and 1994 (R)."""
HARMLESS = ("class_name", "fp16_channels_last", "fused_modconv_default", "freeze_layers", "num_ws", "use_fp16")
HARMLESS += ("freeze_embed", "verbose")  # stylegan3-fun: layers frozen in training are stored like the others
MAX_FLOAT = 1e38
"""Largest number that a file may set; float32 reaches three times as far."""
_MISSING = object()


STAGES = ("widths", "groups", "blocks", "expansion")
"""Keys of R3GAN's stages, which both networks share."""
CLIPS = ("frames", "max_num_frames", "sampling", "max_dist", "total_dists")
"""Keys of StyleGAN-V's clips, which both networks share."""
JOINING = ("concat_res", "frames_divisor", "dummy_cond")
"""StyleGAN-V's keys that only the discriminator has."""


def channels(arguments: Mapping[str, Any], resolution: int) -> int:
    """Return the number of channels at `resolution` (SG2-ADA App. C)."""
    return min(arguments["channel_base"] // resolution, arguments["channel_max"])


def resolutions(arguments: Mapping[str, Any]) -> list[int]:
    """Return the nominal block resolutions, 4 first."""
    blocks = int(math.log2(arguments["resolution"] // arguments.get("base_size", (4, 4))[0])) + 1
    return [4 * 2**i for i in range(blocks)]


def merge_arguments(g: Mapping[str, Any] | None, d: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return one model configuration for both networks.

    Args:
        g: keys of the generator, or None.
        d: keys of the discriminator, or None.

    Returns:
        Every key of a model configuration, JSON-ready.

    Raises:
        BadCheckpointError: the two describe images or blocks that do not fit into one configuration.
    """
    if d and d.get("d_arch") == PROJECTED:
        return _merge_projected(g, d)
    if g and d:
        clash = [key for key in SHARED if key in g and g[key] != d.get(key, DEFAULTS[key])]
        clash += ["stylegan1"] * ("stylegan1" in g and _blur(g) != _blur(d))
        clash += ["r3gan"] * ("r3gan" in g and any(g["r3gan"][key] != d["r3gan"][key] for key in STAGES))
        if "channel_base" in g and any(channels(g, r) != channels(d, r) for r in resolutions(g)):
            clash.append("channel_base")
        pairs = [f"{key} ({g[key]} and {d.get(key, DEFAULTS[key])})" for key in clash]
        if "stylegan_v" in g:
            own, other = g["stylegan_v"], d["stylegan_v"]
            pairs += [f"stylegan_v.{key} ({own[key]} and {other[key]})" for key in CLIPS if own[key] != other[key]]
        if pairs:
            raise BadCheckpointError("", f"generator and discriminator differ in {', '.join(pairs)}")
    merged = {**DEFAULTS, **(d or {}), **(g or {})}
    if g and d and "stylegan_v" in g:
        merged["stylegan_v"] = {**g["stylegan_v"], **{key: d["stylegan_v"][key] for key in JOINING}}
    return merged


def _merge_projected(g: Mapping[str, Any] | None, d: Mapping[str, Any]) -> dict[str, Any]:
    """Return one model configuration of a generator and a projected discriminator, which sees images of any size."""
    if g is None:
        advice = "convert it with a generator: --nets=g_ema,d"
        raise BadCheckpointError("", f"a projected discriminator does not determine the size of its images; {advice}")
    own = {key: value for key, value in d.items() if key != "has_labels"}
    if d["has_labels"] != bool(g["label_dim"]):
        texts = [("with" if has_labels else "without") + " labels" for has_labels in (g["label_dim"], d["has_labels"])]
        raise BadCheckpointError("", f"generator and discriminator differ: one is {texts[0]}, the other {texts[1]}")
    return {**DEFAULTS, **own, **g}


def _blur(arguments: Mapping[str, Any]) -> list[float]:
    return arguments["stylegan1"]["blur_filter"]


class Arguments:
    """Constructor arguments, which record which of them were used.

    Args:
        net: the official network.
        names: names of its positional arguments.
        nested: names of arguments that are dicts of further arguments.
    """

    def __init__(self, net: OfficialNet, names: tuple[str, ...], nested: tuple[str, ...] = ()):
        self.attributes = net.attributes
        self.label = net.class_name
        self.left = dict(zip(names, net.init_args, strict=False))
        if len(net.init_args) > len(names):
            raise BadCheckpointError("", f"{self.label} was built with {len(net.init_args)} positional arguments")
        self._take(dict(net.init_kwargs))
        for key in nested:
            self._take(self._dict(key))
        self.harmless: dict[str, Any] = {key: self.left.pop(key) for key in HARMLESS if key in self.left}

    def _dict(self, key: str) -> dict[str, Any]:
        value = self.left.pop(key, None) or {}
        if not isinstance(value, dict):
            raise BadCheckpointError("", f"{self.label}: {key} is a {type(value).__name__}, not a dict")
        return value

    def _take(self, more: dict[str, Any]) -> None:
        twice = sorted(set(more) & set(self.left))
        if twice:
            raise BadCheckpointError("", f"{self.label} has the argument {twice[0]} twice")
        self.left.update(more)

    def part(self, key: str, label: str) -> Arguments:
        """Return the arguments of a sub-network, which are in a dict of their own."""
        return Arguments(OfficialNet(f"{self.label}.{label}", 0, (), self._dict(key), {}, {}, self.attributes), ())

    def get(self, name: str, default: Any, module: str | None = None, attribute: str = "") -> Any:
        """Return an argument; `module` is the module of the built network that repeats it."""
        given = self.left.pop(name, _MISSING)
        stored = self.attributes.get(module, {}).get(attribute or name, _MISSING) if module is not None else _MISSING
        if given is not _MISSING and stored is not _MISSING and given != stored:
            raise BadCheckpointError(
                "", f"{self.label}: {name} is {given!r:.80} but the network was built with {stored!r:.80}"
            )
        return next((v for v in (given, stored) if v is not _MISSING), default)

    def whole(self, name: str, default: int, module: str | None = None, attribute: str = "") -> int:
        """Return an argument that is a count."""
        value = self.get(name, default, module, attribute)
        if type(value) is not int or not 0 <= value < 1 << 31:
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}, not a count")
        return value

    def optional(self, name: str, default: int | None, module: str | None = None, attribute: str = "") -> int | None:
        """Return an argument that is a count or None."""
        value = self.get(name, default, module, attribute)
        if value is not None and (type(value) is not int or not 0 <= value < 1 << 31):
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}, neither a count nor None")
        return value

    def number(self, name: str, default: float, module: str, attribute: str) -> float:
        """Return an argument that is a number."""
        value = self.get(name, default, module, attribute)
        if type(value) not in (int, float):
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}, not a number")
        return float(value)

    def choice(self, name: str, default: str, module: str, known: tuple[str, ...]) -> str:
        """Return an argument that must be one of `known`."""
        value = self.get(name, default, module)
        if value not in known:
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}; known are {', '.join(known)}")
        return value

    def fixed(self, name: str, value: Any) -> None:
        """Require `value`, which is also the default."""
        if self.get(name, value) != value:
            raise BadCheckpointError("", f"{self.label}: {name} differs from {value!r}, which is not supported")


def mapping_widths(mapping: Arguments, w_dim: int) -> dict[str, int]:
    """Return the widths of a mapping network; 0 stands for that of w."""
    keys = {"embed_features": "mapping_embed_dim", "layer_features": "mapping_layer_dim"}
    found = {key: mapping.optional(name, None) for name, key in keys.items()}
    return {key: 0 if width in (None, w_dim) else width for key, width in found.items()}


def fir_taps(value: Any) -> list[float]:
    """Return the taps of a resampling filter, checked."""
    if not isinstance(value, list | tuple) or not value or not all(isinstance(t, int | float) for t in value):
        raise BadCheckpointError("", f"resample_filter is {value!r:.80}; only a list of taps is supported")
    if not all(abs(t) <= 1e6 for t in value):
        raise BadCheckpointError("", f"resample_filter is {value!r:.80}; a tap is at most a million")
    return [int(t) if float(t).is_integer() else float(t) for t in value]


def clamp_bound(value: Any) -> float:
    """Return the clamp after a check; 0 for None."""
    if value is not None and (not isinstance(value, int | float) or not value > 0):
        raise BadCheckpointError("", f"conv_clamp is {value!r:.80}; it must be a positive number or None")
    return float(value or 0)


def canvas(kwargs: Arguments) -> dict[str, Any]:
    """Return the keys for the size of the images; forks use other base sizes than 4x4.

    eps696's stylegan2ada has `init_res`, (h, w); StyleGAN-Human has `square`, without which w is h / 2. Both name their
    blocks by `img_resolution`, as if the base were 4x4.
    """
    nominal, is_square = kwargs.whole("img_resolution", 0, ""), kwargs.get("square", True)
    base = kwargs.get("init_res", [4, 4] if is_square else [4, 2])
    if type(is_square) is not bool or type(base) not in (list, tuple) or len(base) != 2:
        raise BadCheckpointError("", f"{kwargs.label}: square or init_res is not as the forks write them")
    if not all(type(size) is int and 1 <= size <= 1024 for size in base):
        raise BadCheckpointError("", f"{kwargs.label}: init_res is {list(base)!r:.80}, not (height, width)")
    if list(base) == [4, 4]:
        return {"resolution": nominal, "base_size": [4, 4]}
    if not 8 <= nominal <= MAX_SIZE or nominal & (nominal - 1):
        raise BadCheckpointError("", f"img_resolution {nominal} is not a power of two between 8 and {MAX_SIZE}")
    return {"resolution": nominal // 4 * base[0], "base_size": list(base)}


def finish(out: dict[str, Any], *parts: Arguments) -> dict[str, Any]:
    """Check the numbers that the tables rely on, and that no argument was ignored."""
    for part in parts:
        part.left = {name: value for name, value in part.left.items() if value is not None}  # a fork's, unused
        if part.left:
            raise BadCheckpointError(
                "", f"{part.label} has arguments that change the network and are not known: {listing(part.left)}"
            )
    if out.get("z_dim") == 0:
        raise BadCheckpointError("", "z_dim is 0: it draws from the label alone, and here every image needs a latent")
    check_arguments(out)
    return out


def check_arguments(arguments: Mapping[str, Any]) -> ModelConfig:
    """Return the model configuration of these keys; missing keys have their defaults.

    Raises:
        BadCheckpointError: a key has a value that no network of a reasonable size can have; the message names the key.
    """
    _check_types(arguments, DEFAULTS, "")
    full = {**DEFAULTS, **arguments}
    resolution, base = full["resolution"], list(full["base_size"])
    if base == [4, 4] and (not 8 <= resolution <= MAX_SIZE or resolution & (resolution - 1)):
        raise BadCheckpointError("", f"resolution {resolution} is not a power of two between 8 and {MAX_SIZE}")
    if base == [4, 4] and channels(full, resolution) < 1:
        raise BadCheckpointError("", f"channel_base {full['channel_base']} leaves no channels at {resolution}")
    if max(full["mapping_layers"], full["d_mapping_layers"]) > 1000:
        raise BadCheckpointError("", "more than 1000 mapping layers")
    choices = {"g_arch": ARCHITECTURES, "d_arch": (*ARCHITECTURES, PROJECTED), "activation": ACTIVATIONS}
    for key, known in choices.items():
        if full[key] not in known:
            raise BadCheckpointError("", f"{key} is {full[key]!r:.80}; known are {', '.join(known)}")
    fir_taps(full["resample_filter"])
    for key, taps in {"resample_filter": full["resample_filter"], **full["stylegan1"]}.items():
        if isinstance(taps, list | tuple) and len(taps) > MAX_TAPS:
            raise BadCheckpointError("", f"argument {key} has {len(taps)} taps; at most {MAX_TAPS}")
    arch = full["arch"]
    parts = ("stylegan3", arch) if arch == "stylegan_xl" else (arch,)
    for part in (*parts, *([PROJECTED] if full["d_arch"] == PROJECTED else [])):
        _check_limits(full, part)
    try:
        model = model_from_dict(full)
    except ConfigError as error:
        raise BadCheckpointError("", str(error).replace("config.model.", "")) from None
    if max(model.image_shape[:2]) > MAX_SIZE:
        raise BadCheckpointError("", f"images of {model.image_shape} are larger than {MAX_SIZE} on a side")
    taps = FILTER_TAPS[arch](model) if arch in FILTER_TAPS else 0
    if taps > MAX_FILTER_TAPS:
        raise BadCheckpointError("", f"the filters of {arch} have {taps} taps in all; at most {MAX_FILTER_TAPS}")
    return model


def _check_limits(arguments: Mapping[str, Any], part: str) -> None:
    """Check the numbers among the keys of a group against `LIMITS`."""
    for key, limit in LIMITS.get(part, {}).items():
        value = arguments[part][key]
        if (max(value, default=0) if isinstance(value, list | tuple) else value) > limit:
            raise BadCheckpointError("", f"argument {part}.{key} is {value}; at most {limit}")


def _check_types(arguments: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str) -> None:
    for key, default in defaults.items():
        value: Any = arguments.get(key, default)
        want = type(default)
        value = list(value) if isinstance(value, tuple) else value
        if type(value) is not want and not (want is float and type(value) is int):
            raise BadCheckpointError("", f"argument {prefix}{key} is {value!r:.80}, not of the type {want.__name__}")
        if (want is int and not 0 <= value < 1 << 31) or (want is float and not abs(value) <= MAX_FLOAT):
            raise BadCheckpointError("", f"argument {prefix}{key} is {value!s:.80}, which is out of range")
        if isinstance(value, dict):
            _check_types(value, default, f"{prefix}{key}.")
