"""What a StyleGAN3 configuration implies: rates, cutoffs, sizes, channels, padding of each layer (SG3 §3.2, App. C).

Pure arithmetic, without JAX. Frequencies and sampling rates count per image height: an image of height 256 has 256
samples per unit and spans [-1/2, 1/2] vertically, and as much of the horizontal axis as its width asks for.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config.keys import ModelConfig


class InputPlan(NamedTuple):
    """The Fourier features.

    Attributes:
        channels: their number.
        size: (h, w) in samples, margin included.
        rate: samples per unit.
        bandwidth: largest frequency.
    """

    channels: int
    size: tuple[int, int]
    rate: int
    bandwidth: float


class Signal(NamedTuple):
    """A feature map as a sampled signal (SG3 §3.2).

    Attributes:
        channels: number of maps.
        size: (h, w) in samples, margin included.
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
        index: 0 for the first after the Fourier features.
        source: what it reads.
        out: what it makes.
        kernel: height and width of the convolution.
        tmp_rate: sampling rate around the leaky ReLU.
        up: tmp_rate / source.rate.
        down: tmp_rate / out.rate.
        up_taps: taps of the upsampling filter; 1: none.
        down_taps: taps of the downsampling filter per axis; 1: none.
        radial: the downsampling filter is radially symmetric, not separable.
        padding: (x_before, x_after, y_before, y_after) of the upsampled image.
        is_critical: sampled critically: its cutoff is half its rate.
        is_rgb: the last layer; no filters, no non-linearity, no demodulation.
        is_lowp: may compute in the low-precision dtype.
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
        """Arguments of `ops.lowpass.design_lowpass` for the upsampling filter: it limits what the layer reads."""
        return self.up_taps, self.source.cutoff, 2 * self.source.half_width, self.tmp_rate

    @property
    def down_design(self) -> tuple[int, float, float, float, bool]:
        """Arguments of `ops.lowpass.design_lowpass` for the downsampling filter: it limits what the layer makes."""
        return self.down_taps, self.out.cutoff, 2 * self.out.half_width, self.tmp_rate, self.radial

    @property
    def official_name(self) -> str:
        """Name of this layer in NVIDIA's checkpoints."""
        return f"L{self.index}_{self.out.size[1]}_{self.out.channels}"


class Plan(NamedTuple):
    """All of a generator: the Fourier features and the layers, the RGB one last."""

    input: InputPlan
    layers: tuple[LayerPlan, ...]


@functools.cache
def make_plan(config: ModelConfig) -> Plan:
    """Return the layer plan of a StyleGAN3 configuration.

    Cutoffs and stopbands are geometric progressions up to the first critically sampled layer. The sampling rate of a
    layer is the smallest image height / 2^j that its stopband allows and that gives whole sizes on both axes; at
    heights that are powers of two this is the published rule.

    Raises:
        ConfigError: a value does not permit a plan.
    """
    _check(config)
    c = config.stylegan3
    height, width = config.image_shape[:2]
    last_cutoff = height / 2
    last_stopband = last_cutoff * c.last_stopband_rel
    exponents = np.minimum(np.arange(c.num_layers + 1) / (c.num_layers - c.num_critical), 1)
    cutoffs = c.first_cutoff * (last_cutoff / c.first_cutoff) ** exponents
    stopbands = c.first_stopband * (last_stopband / c.first_stopband) ** exponents
    rates = _rates(stopbands, height, width)
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    base, most = c.channel_base or config.channel_base, c.channel_max or config.channel_max
    channels = np.rint(np.minimum(base / 2 / cutoffs, most)).astype(int)
    if channels.min() < 1:
        raise ConfigError(
            f"config.model.channel_base is {base}; at cutoff {cutoffs[-1]:g} that leaves no channel; use at least "
            f"{int(np.ceil(2 * cutoffs[-1]))}"
        )
    channels[-1] = config.img_channels
    signals = []
    for i in range(c.num_layers + 1):
        rate, margin = int(rates[i]), 0 if i >= c.num_layers - 1 else 2 * c.margin_size
        size = (rate + margin, rate * width // height + margin)
        signals.append(Signal(int(channels[i]), size, rate, float(cutoffs[i]), float(half_widths[i])))
    first = signals[0]
    layers = [_layer(config, i, signals[max(i - 1, 0)], signals[i]) for i in range(c.num_layers + 1)]
    return Plan(InputPlan(first.channels, first.size, first.rate, first.cutoff), tuple(layers))


def _check(config: ModelConfig) -> None:
    c = config.stylegan3
    positive = ("first_cutoff", "output_scale", "magnitude_ema_kimg")
    at_least_one = ("num_layers", "num_critical", "conv_kernel", "filter_size", "lrelu_upsampling")
    not_negative = ("margin_size", "channel_base", "channel_max")
    for keys, fits, rule in (
        (positive, lambda v: v > 0, "greater than 0"),
        (at_least_one, lambda v: v >= 1, "at least 1"),
        (not_negative, lambda v: v >= 0, "not negative"),
    ):
        for key in keys:
            if not fits(getattr(c, key)):
                raise ConfigError(f"config.model.stylegan3.{key} is {getattr(c, key)}; it must be {rule}")
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
    if c.last_stopband_rel <= 1:
        raise ConfigError(f"config.model.stylegan3.last_stopband_rel is {c.last_stopband_rel}; it must be above 1")
    if config.resolution <= 2 * c.first_cutoff:
        raise ConfigError(
            f"config.model.resolution is {config.resolution}; it must be greater than twice "
            f"config.model.stylegan3.first_cutoff={c.first_cutoff}"
        )


def _rates(stopbands: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return int[l]: per stopband the smallest height / 2^j above twice of it, with whole sizes on both axes."""
    twos = lambda n: (n & -n).bit_length() - 1  # how often 2 divides n
    odd, top = height >> twos(height), twos(height)
    wanted = np.ceil(np.log2(np.minimum(stopbands * 2, height) / odd)).astype(int)
    return odd << np.clip(wanted, max(top - twos(width), 0), top)


def _layer(config: ModelConfig, index: int, source: Signal, out: Signal) -> LayerPlan:
    c = config.stylegan3
    is_rgb = index == c.num_layers
    kernel = 1 if is_rgb else c.conv_kernel
    tmp_rate = max(source.rate, out.rate) * (1 if is_rgb else c.lrelu_upsampling)
    up, down = tmp_rate // source.rate, tmp_rate // out.rate
    up_taps, down_taps = (1 if is_rgb or f == 1 else c.filter_size * f for f in (up, down))
    sides = []
    for axis in (1, 0):
        full = source.size[axis] + kernel - 1  # the convolution pads to the full size
        total = (out.size[axis] - 1) * down + 1 - full * up + up_taps + down_taps - 2
        before = (total + up) // 2  # samples lie at the centres of their cells (SG3 App. C.3)
        sides += [before, total - before]
    is_critical = index >= c.num_layers - c.num_critical
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


def format_plan(config: ModelConfig) -> str:
    """Return the layer plan as a table."""
    plan = make_plan(config)
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
