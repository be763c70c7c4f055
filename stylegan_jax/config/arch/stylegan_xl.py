"""StyleGAN-XL (Sauer et al. 2022): its keys, their rules, and the plan of a stem with super-resolution stages on top.

The stem is a StyleGAN3 generator with the keys `model.stylegan3`. A stage replaces the critically sampled layers of the
previous stage by a head whose images are larger. The configuration determines the whole generator: the last stage ends
at `model.resolution`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config.arch import stylegan3
from stylegan_jax.config.arch.stylegan2 import check_mapping
from stylegan_jax.config.arch.stylegan3 import LayerPlan, Plan, format_plan, make_layers, make_signals
from stylegan_jax.config.documented import check_fields, field

if TYPE_CHECKING:
    from stylegan_jax.config.fields import ModelConfig

NAME = "stylegan_xl"
"""Its value of `model.arch`."""
UP_FACTORS = (2, 4, 8, 16)
MOST_VALUES = 2**31
"""A feature map of one image with this many values or more cannot be indexed with 32 bits."""


@dataclasses.dataclass(frozen=True)
class StyleGANXLConfig:
    """Keys of arch 'stylegan_xl' only, besides those of `model.stylegan3`.

    `channel_base` and `channel_max` there are final values; the published commands double (T) or quadruple (R) theirs.
    """

    up_factors: tuple[int, ...] = field(
        (),
        "upsampling factor of each super-resolution stage: 2, 4, 8 or 16; the stem's resolution is model.resolution "
        "divided by all of them; (): the stem alone",
    )
    head_layers: tuple[int, ...] = field(
        (), "layers that each stage adds before the RGB layer: at least 3 (published: 7, for small data sets 4)"
    )
    embed_rows: int = field(
        1000, "rows of the table of class embeddings; labels use the first; it exists without labels too", least=1
    )
    embed_dim: int = field(320, "size of an embedding: channels of the last stage of EfficientNet-Lite0", least=1)


def stem_of(model: ModelConfig, stages: int = 0) -> ModelConfig:
    """Return the model with only its first stages."""
    own = model.stylegan_xl
    resolution = model.resolution // math.prod(own.up_factors[stages:])
    fewer = dataclasses.replace(own, up_factors=own.up_factors[:stages], head_layers=own.head_layers[:stages])
    return dataclasses.replace(model, resolution=resolution, stylegan_xl=fewer)


@functools.cache
def make_plan(model: ModelConfig) -> Plan:
    """Return the layer plan of a StyleGAN-XL configuration (XL §3.2).

    A head continues from the last layer that is kept: its first layer has the same rate, cutoff and channels. As in
    official files, the numbering of layers skips one number where the first head begins.

    Raises:
        ConfigError: the values permit no plan.
    """
    *below, head_layers = (0, *model.stylegan_xl.head_layers)
    if not below:
        return stylegan3.make_plan(model)
    plan = make_plan(stem_of(model, len(below) - 1))
    kept = [layer for layer in plan.layers if not layer.is_critical]
    last = kept[-1].out
    signals = make_signals(model, head_layers, last.cutoff, last.half_width + last.cutoff, last)
    head = make_layers(model, len(kept) + 1, [last, *signals[:-1]], signals)
    return Plan(plan.input, (*kept, *head))


def split_plan(model: ModelConfig) -> tuple[tuple[LayerPlan, ...], tuple[LayerPlan, ...]]:
    """Return (layers kept from earlier stages, layers of the last stage); without stages, all are the last's."""
    layers, heads = make_plan(model).layers, model.stylegan_xl.head_layers
    count = len(layers) - heads[-1] - 1 if heads else 0
    return layers[:count], layers[count:]


def largest_map(plan: Plan) -> tuple[LayerPlan, tuple[int, int, int]]:
    """Return (layer, (h, w, c)) of a generator's largest feature map, which lies between a layer's two filters."""

    def shape(p: LayerPlan) -> tuple[int, int, int]:
        height, width = ((size - 1) * p.down + p.down_taps for size in p.out.size)
        return height, width, p.out.channels

    layer = max(plan.layers, key=lambda p: math.prod(shape(p)))
    return layer, shape(layer)


def check(model: ModelConfig) -> None:
    """Check that the keys permit a layer plan and that every class has an embedding; raises ConfigError if not."""
    own = model.stylegan_xl
    check_mapping(model)
    check_fields(own, "model.stylegan_xl.")
    if model.grows:
        raise ConfigError(
            "config.model.grows is True, but arch 'stylegan_xl' grows by stages of its own; set it to False, and use "
            "config.model.stylegan_xl.up_factors"
        )
    if model.label_dim > own.embed_rows:
        raise ConfigError(
            f"config.model.label_dim is {model.label_dim}; the table of embeddings has {own.embed_rows} rows; set "
            f"config.model.stylegan_xl.embed_rows to at least {model.label_dim}"
        )
    _check_stages(model)
    layer, shape = largest_map(make_plan(model))
    if math.prod(shape) >= MOST_VALUES:
        raise ConfigError(
            f"config.model.stylegan_xl.up_factors is {own.up_factors} with head_layers={own.head_layers}; layer "
            f"L{layer.index} upsamples by {layer.up}, and its feature map of one image, {'x'.join(map(str, shape))}, "
            f"has 2^31 values or more; {_what_fits(model)}"
        )


def _what_fits(model: ModelConfig) -> str:
    """Return advice: which factors would fit for the first stage whose largest map is too large."""
    own = model.stylegan_xl
    fits = lambda plan: math.prod(largest_map(make_plan(plan))[1]) < MOST_VALUES
    stage = next(k for k in range(len(own.up_factors) + 1) if not fits(stem_of(model, k)))
    if not stage:
        return "the stem alone is too large: use fewer channels"
    below = stem_of(model, stage - 1)
    with_factor = lambda factor: dataclasses.replace(
        model,
        resolution=below.resolution * factor,
        stylegan_xl=dataclasses.replace(
            own, up_factors=(*own.up_factors[: stage - 1], factor), head_layers=own.head_layers[:stage]
        ),
    )
    fitting = [factor for factor in UP_FACTORS if fits(with_factor(factor))]
    return (
        f"with {own.head_layers[stage - 1]} head layers at height {below.resolution} these factors fit: "
        f"{', '.join(map(str, fitting)) or 'none'}; use one of them and more stages, more head layers or fewer channels"
    )


def _check_stages(model: ModelConfig) -> None:
    own, c = model.stylegan_xl, model.stylegan3
    if len(own.up_factors) != len(own.head_layers):
        raise ConfigError(
            f"config.model.stylegan_xl.head_layers is {own.head_layers} and up_factors is {own.up_factors}; each stage "
            "needs an entry in both"
        )
    least = max(3, c.num_critical + 1)
    for factor, layers in zip(own.up_factors, own.head_layers, strict=True):
        if factor not in UP_FACTORS:
            raise ConfigError(
                f"config.model.stylegan_xl.up_factors is {own.up_factors}; each must be one of {UP_FACTORS}"
            )
        if layers < least:
            raise ConfigError(
                f"config.model.stylegan_xl.head_layers is {own.head_layers}; each must be at least {least}, because "
                f"num_critical={c.num_critical} of them are critically sampled (published: 7)"
            )
    stem = model.resolution // math.prod(own.up_factors)
    if stem * math.prod(own.up_factors) != model.resolution or stem < 2 * model.base_size[0]:
        raise ConfigError(
            f"config.model.resolution is {model.resolution} with up_factors {own.up_factors}, so the stem's resolution "
            f"is {model.resolution / math.prod(own.up_factors):g}; it must be whole and at least "
            f"{2 * model.base_size[0]} (published: 16), so the factors' product must divide the resolution and be at "
            f"most {model.resolution // (2 * model.base_size[0])}"
        )


def starts_stage(ours: ModelConfig, theirs: ModelConfig, path: str) -> bool:
    """Return whether `theirs`, the model of the weights at `path`, is the stage before ours; False: it is the same.

    Raises:
        ConfigError: it is neither, or its layers differ from the ones that we would load.
    """
    own = ours.stylegan_xl
    if not own.up_factors:
        return False
    start = f"config.train.init_from={path}"
    if theirs.arch != ours.arch:
        raise ConfigError(
            f"{start} has arch {theirs.arch!r}; a super-resolution stage starts from the previous stage, of arch "
            "'stylegan_xl'"
        )
    stages = lambda model: (model.stylegan_xl.up_factors, model.stylegan_xl.head_layers)
    if stages(theirs) == stages(ours):
        return False
    before = stem_of(ours, len(own.up_factors) - 1)
    if stages(theirs) != stages(before):
        raise ConfigError(
            f"{start} has up_factors={theirs.stylegan_xl.up_factors}, head_layers={theirs.stylegan_xl.head_layers}; "
            f"start from the previous stage, with {before.stylegan_xl.up_factors} and "
            f"{before.stylegan_xl.head_layers}, or from the same stage"
        )
    bare = lambda model: [p._replace(is_lowp=False) for p in make_plan(model).layers]
    for want, have in zip(bare(before), bare(theirs), strict=False):
        if want != have:
            raise ConfigError(
                f"{start} has another layer plan: {have.official_name} ({have.out}) instead of {want.official_name} "
                f"({want.out}); use its resolution and its keys of config.model.stylegan3"
            )
    return True


def describe(model: ModelConfig) -> str:
    """Return the stages and the layer plan as text, for a dry run."""
    own, plan = model.stylegan_xl, make_plan(model)
    lines = []
    for stage in range(len(own.up_factors) + 1):
        below, new = split_plan(stem_of(model, stage))
        height = stem_of(model, stage).resolution
        name = f"stage {stage}, x{own.up_factors[stage - 1]}" if stage else "stem"
        ends = f"L{new[0].index} to L{new[-1].index}"
        lines.append(f"  {name}: to height {height}, {len(below)} layers kept, {len(new)} new ({ends})")
    layer, shape = largest_map(plan)
    size = math.prod(shape) * 4 / 2**20
    lines.append(f"  largest map: {'x'.join(map(str, shape))} in L{layer.index}, {size:.1f} MiB per image in float32")
    return "\n".join(["stages", *lines, format_plan(plan)])
