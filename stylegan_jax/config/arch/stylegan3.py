"""StyleGAN3: its keys, their rules, and the plan that they imply: rates, cutoffs, sizes, padding (SG3 §3.2, App. C).

`model.g_arch` and `use_noise` have no effect here. It is plain arithmetic, without JAX. Frequencies and sampling rates
are per image height: an image of height 256 has 256 samples per unit and spans [-1/2, 1/2] vertically; its horizontal
span follows from its width.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config.arch.stylegan2 import check_mapping
from stylegan_jax.config.documented import check_fields, field

if TYPE_CHECKING:
    from stylegan_jax.config.fields import ModelConfig


@dataclasses.dataclass(frozen=True)
class StyleGAN3Config:
    """Keys of arch 'stylegan3', and of the stem of 'stylegan_xl'; the defaults are StyleGAN3-T."""

    num_layers: int = field(14, "synthesis layers before the RGB layer", least=1)
    num_critical: int = field(2, "how many of them, at the end, are critically sampled", least=1)
    first_cutoff: float = field(2.0, "cutoff frequency of the first layer, in cycles per image height", above=0)
    first_stopband: float = field(2**2.1, "frequency at which the first layer's filters reach full attenuation")
    last_stopband_rel: float = field(
        2**0.3, "the same for the last layer, relative to its cutoff (half the image height)", above=1
    )
    margin_size: int = field(10, "extra samples on each side of all but the last layers", least=0)
    output_scale: float = field(0.25, "factor by which the output is multiplied", above=0)
    conv_kernel: int = field(3, "kernel size of the convolutions: 3 (T) or 1 (R)", least=1)
    filter_size: int = field(6, "number of taps of a filter, per unit of its resampling factor", least=1)
    lrelu_upsampling: int = field(
        2, "sampling rate around the leaky ReLU, relative to the higher of a layer's rates", least=1
    )
    use_radial_filters: bool = field(
        False, "radially symmetric downsampling filters (R), except in critically sampled layers"
    )
    channel_base: int = field(
        0,
        "generator: channels(cutoff) = min(channel_base / 2 / cutoff, channel_max); 0: model.channel_base",
        least=0,
    )
    channel_max: int = field(0, "generator: largest number of channels of a layer; 0: model.channel_max", least=0)
    magnitude_ema_kimg: float = field(20.0, "half-life of the moving average of input magnitudes, in kimg", above=0)


class InputPlan(NamedTuple):
    """The Fourier features.

    Attributes:
        channels: number of features.
        size: (h, w) in samples, including the margin.
        rate: sampling rate, per unit.
        bandwidth: highest frequency.
    """

    channels: int
    size: tuple[int, int]
    rate: int
    bandwidth: float


class Signal(NamedTuple):
    """A feature map as a sampled signal (SG3 §3.2).

    Attributes:
        channels: number of channels.
        size: (h, w) in samples, including the margin.
        rate: sampling rate s.
        cutoff: cutoff frequency f_c of its low-pass filter.
        half_width: half-width f_h of the filter's transition band.
    """

    channels: int
    size: tuple[int, int]
    rate: int
    cutoff: float
    half_width: float


class LayerPlan(NamedTuple):
    """One synthesis layer: a convolution and a leaky ReLU at the rate `tmp_rate`, between two filters.

    Attributes:
        index: 0 for the first layer after the Fourier features.
        source: its input signal.
        out: its output signal.
        kernel: height and width of the convolution.
        tmp_rate: sampling rate around the leaky ReLU.
        up: tmp_rate / source.rate.
        down: tmp_rate / out.rate.
        up_taps: taps of the upsampling filter; 1: none.
        down_taps: taps of the downsampling filter per axis; 1: none.
        radial: whether the downsampling filter is radially symmetric instead of separable.
        padding: (x_before, x_after, y_before, y_after) of the upsampled image.
        is_critical: whether it is critically sampled: its cutoff is half its rate.
        is_rgb: whether it is the last layer, without filters, non-linearity and demodulation.
        is_lowp: whether it may compute in the low-precision dtype.
    """

    index: int
    source: Signal
    out: Signal
    kernel: int
    tmp_rate: int
    up: int
    down: int
    up_taps: int
    down_taps: int
    radial: bool
    padding: tuple[int, int, int, int]
    is_critical: bool
    is_rgb: bool
    is_lowp: bool

    @property
    def up_design(self) -> tuple[int, float, float, float]:
        """Arguments of `ops.lowpass.design_lowpass` for the upsampling filter, which band-limits the input."""
        return self.up_taps, self.source.cutoff, 2 * self.source.half_width, self.tmp_rate

    @property
    def down_design(self) -> tuple[int, float, float, float, bool]:
        """Arguments of `ops.lowpass.design_lowpass` for the downsampling filter, which band-limits the output."""
        return self.down_taps, self.out.cutoff, 2 * self.out.half_width, self.tmp_rate, self.radial

    @property
    def official_name(self) -> str:
        """Name of the layer in NVIDIA's checkpoints."""
        return f"L{self.index}_{self.out.size[1]}_{self.out.channels}"


class Plan(NamedTuple):
    """A whole generator: the Fourier features, then the layers, of which the last is the RGB layer."""

    input: InputPlan
    layers: tuple[LayerPlan, ...]


@functools.cache
def make_plan(config: ModelConfig) -> Plan:
    """Return the layer plan of a StyleGAN3 configuration.

    Cutoffs and stopbands are geometric progressions up to the first critically sampled layer. The sampling rate of a
    layer is the smallest image height / 2^j that its stopband allows and that makes both sizes whole numbers; for
    heights that are powers of two this is the published rule.

    Raises:
        ConfigError: the values permit no plan.
    """
    _check_bands(config)
    c = config.stylegan3
    signals = make_signals(config, c.num_layers, c.first_cutoff, c.first_stopband)
    first = signals[0]
    layers = make_layers(config, 0, [first, *signals[:-1]], signals)
    return Plan(InputPlan(first.channels, first.size, first.rate, first.cutoff), layers)


def make_signals(
    config: ModelConfig, count: int, cutoff: float, stopband: float, source: Signal | None = None
) -> list[Signal]:
    """Return the output signals of `count` layers and the RGB layer; their cutoffs end at half the image height.

    Args:
        config: the model.
        count: number of layers before the RGB layer.
        cutoff: cutoff of the first layer.
        stopband: stopband of the first layer.
        source: the first layer keeps its rate and channels; None: they follow from the stopband and cutoff.

    Raises:
        ConfigError: a layer has no channels.
    """
    c = config.stylegan3
    height, width = config.image_shape[:2]
    last_cutoff = height / 2
    last_stopband = last_cutoff * c.last_stopband_rel
    exponents = np.minimum(np.arange(count + 1) / (count - c.num_critical), 1)
    cutoffs = cutoff * (last_cutoff / cutoff) ** exponents
    stopbands = stopband * (last_stopband / stopband) ** exponents
    rates = _rates(stopbands, height, width)
    base, most = c.channel_base or config.channel_base, c.channel_max or config.channel_max
    channels = np.rint(np.minimum(base / 2 / cutoffs, most)).astype(int)
    if channels.min() < 1:
        raise ConfigError(
            f"config.model.channel_base is {base}; at cutoff {cutoffs[-1]:g} that leaves no channel; use at least "
            f"{int(np.ceil(2 * cutoffs[-1]))}"
        )
    if source is not None:
        rates[0], channels[0] = source.rate, source.channels
    channels[-1] = config.img_channels
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    signals = []
    for i in range(count + 1):
        rate, margin = int(rates[i]), 0 if i >= count - 1 else 2 * c.margin_size
        size = (rate + margin, rate * width // height + margin)
        signals.append(Signal(int(channels[i]), size, rate, float(cutoffs[i]), float(half_widths[i])))
    return signals


def make_layers(
    config: ModelConfig, first: int, sources: Sequence[Signal], signals: Sequence[Signal]
) -> tuple[LayerPlan, ...]:
    """Return the layers that map each source to its signal, numbered from `first`; the last is the RGB layer."""
    last, critical = len(signals) - 1, len(signals) - 1 - config.stylegan3.num_critical
    pairs = enumerate(zip(sources, signals, strict=True))
    return tuple(_layer(config, first + i, a, b, is_critical=i >= critical, is_rgb=i == last) for i, (a, b) in pairs)


def check(model: ModelConfig) -> None:
    """Check that the keys permit a layer plan; raises ConfigError if not."""
    check_mapping(model)
    if model.grows:
        raise ConfigError(
            "config.model.grows is True with arch='stylegan3', which cannot grow; use arch='stylegan1', or 'stylegan2' "
            "with g_arch='orig' and d_arch='orig'"
        )
    make_plan(model)


def _check_bands(config: ModelConfig) -> None:
    c = config.stylegan3
    check_fields(c, "model.stylegan3.")
    if c.num_critical >= c.num_layers:
        raise ConfigError(
            f"config.model.stylegan3.num_critical is {c.num_critical}; it must be less than num_layers={c.num_layers}"
        )
    if c.conv_kernel % 2 == 0:
        raise ConfigError(f"config.model.stylegan3.conv_kernel is {c.conv_kernel}; it must be odd: 3 (T) or 1 (R)")
    if c.first_stopband <= c.first_cutoff:
        raise ConfigError(
            f"config.model.stylegan3.first_stopband is {c.first_stopband}; it must be greater than "
            f"first_cutoff={c.first_cutoff}"
        )
    if config.resolution <= 2 * c.first_cutoff:
        raise ConfigError(
            f"config.model.resolution is {config.resolution}; it must be greater than twice "
            f"config.model.stylegan3.first_cutoff={c.first_cutoff}"
        )


def _rates(stopbands: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return int[l], for each stopband the smallest height / 2^j of at least twice the stopband (at most the height)
    that makes both sizes whole numbers."""
    twos = lambda n: (n & -n).bit_length() - 1  # how often 2 divides n
    odd, top = height >> twos(height), twos(height)
    wanted = np.ceil(np.log2(np.minimum(stopbands * 2, height) / odd)).astype(int)
    return odd << np.clip(wanted, max(top - twos(width), 0), top)


def _layer(
    config: ModelConfig, index: int, source: Signal, out: Signal, *, is_critical: bool, is_rgb: bool
) -> LayerPlan:
    c = config.stylegan3
    kernel = 1 if is_rgb else c.conv_kernel
    tmp_rate = max(source.rate, out.rate) * (1 if is_rgb else c.lrelu_upsampling)
    up, down = tmp_rate // source.rate, tmp_rate // out.rate
    up_taps, down_taps = (1 if is_rgb or f == 1 else c.filter_size * f for f in (up, down))
    sides = []
    for axis in (1, 0):
        full = source.size[axis] + kernel - 1  # the convolution's padding is 'full'
        total = (out.size[axis] - 1) * down + 1 - full * up + up_taps + down_taps - 2
        before = (total + up) // 2  # samples lie at the centres of their cells (SG3 App. C.3)
        sides += [before, total - before]
    return LayerPlan(
        index=index,
        source=source,
        out=out,
        kernel=kernel,
        tmp_rate=tmp_rate,
        up=up,
        down=down,
        up_taps=up_taps,
        down_taps=down_taps,
        radial=c.use_radial_filters and not is_critical,
        padding=(sides[0], sides[1], sides[2], sides[3]),
        is_critical=is_critical,
        is_rgb=is_rgb,
        is_lowp=out.rate * 2**config.num_lowp_res > config.resolution,
    )


def count_taps(plan: Plan) -> int:
    """Return the number of taps of all filters."""
    return sum(p.up_taps + p.down_taps ** (1 + p.radial) for p in plan.layers)


def describe(config: ModelConfig) -> str:
    """Return the layer plan of a configuration as a table."""
    return format_plan(make_plan(config))


def format_plan(plan: Plan) -> str:
    """Return a layer plan as a table."""
    size = lambda s: f"{s[0]}x{s[1]}"
    head = ("layer", "channels", "size", "rate", "cutoff", "half-width", "kernel", "up/down", "taps", "filter", "lowp")
    first = plan.input
    rows = [head, ("input", str(first.channels), size(first.size), str(first.rate), f"{first.bandwidth:.4g}")]
    for p in plan.layers:
        kind = "-" if p.is_rgb else ("radial" if p.radial else "separable") + (", critical" if p.is_critical else "")
        rows.append(
            (
                "rgb" if p.is_rgb else f"L{p.index}",
                f"{p.source.channels} -> {p.out.channels}",
                size(p.out.size),
                str(p.out.rate),
                f"{p.out.cutoff:.4g}",
                f"{p.out.half_width:.4g}",
                str(p.kernel),
                f"{p.up}/{p.down}",
                f"{p.up_taps}/{p.down_taps}",
                kind,
                "yes" if p.is_lowp else "",
            )
        )
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(head))]
    lines = ["  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=False)).rstrip() for row in rows]
    return "\n".join(["layer plan (sizes h x w with margin; rates and frequencies per image height)", *lines])
