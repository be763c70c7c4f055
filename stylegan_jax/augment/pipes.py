"""The operations of a pipe, and how often and how strongly each acts (ADA App. B)."""

from __future__ import annotations

import dataclasses

from stylegan_jax.config import AugmentConfig, ConfigError

GROUPS: dict[str, tuple[str, ...]] = {
    "blit": ("xflip", "rotate90", "xint"),
    "geom": ("scale", "rotate", "aniso", "xfrac"),
    "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
    "filter": ("imgfilter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
}
"""The operations by group, in the order of execution."""

PIPES: dict[str, tuple[str, ...]] = {name: (name,) for name in GROUPS} | {
    "bg": ("blit", "geom"),
    "bgc": ("blit", "geom", "color"),
    "bgcf": ("blit", "geom", "color", "filter"),
    "bgcfn": ("blit", "geom", "color", "filter", "noise"),
    "bgcfnc": ("blit", "geom", "color", "filter", "noise", "cutout"),
}
"""The published pipes: groups whose operations have the multiplier 1."""

COLOR = GROUPS["color"]
GEOMETRY = GROUPS["blit"] + GROUPS["geom"]
RGB_ONLY = ("hue", "saturation")


def multipliers(config: AugmentConfig, channels: int) -> dict[str, float]:
    """Return {operation: multiplier of p} of the operations that are on, in the order of execution.

    A key of `config.augment.ops` that is not negative replaces the pipe's value. Images of one channel have no hue
    and no saturation.

    Raises:
        ConfigError: no operation is on, or one changes the colours of two-channel images.
    """
    of_pipe = {op for group in PIPES[config.pipe] for op in GROUPS[group]}
    chosen = {k: float(k in of_pipe) if v < 0 else v for k, v in dataclasses.asdict(config.ops).items()}
    order = [op for group in GROUPS.values() for op in group if not (channels == 1 and op in RGB_ONLY)]
    on = {op: chosen[op] for op in order if chosen[op] > 0}
    if not on:
        raise ConfigError(
            f"config.augment.pipe={config.pipe!r} with config.augment.ops leaves no operation for images of {channels} "
            "channel(s); set a multiplier above 0, or config.augment.mode='none'"
        )
    if channels == 2 and (colors := [op for op in on if op in COLOR]):
        raise ConfigError(two_channels(colors, "pipe='bg'"))
    return on


def two_channels(what: list[str], instead: str) -> str:
    """Return the text of the error for colours of two-channel images."""
    return (
        f"config.model.img_channels is 2; {', '.join(what)} need 1 (grey), 3 (RGB) or more (RGB first); "
        f"use config.augment.{instead}"
    )
