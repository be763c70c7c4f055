"""TPU slices by accelerator type: chips, topology, hosts, runtime version.

Source: Google's pages on TPU versions (v4, v5e, v5p, v6e), on software versions and on TPUs in GKE, 2026.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from launch.commands import LaunchError


class Family(NamedTuple):
    """What the types of one generation share.

    Attributes:
        runtime: image of the TPU VM.
        cores_per_chip: cores per chip if the number in a type counts cores; 1 if it counts chips (v5e, v6e).
        selector: GKE's label `cloud.google.com/gke-tpu-accelerator`; '' if GKE does not offer it.
        topologies: {chips: topology} of whole slices.
    """

    runtime: str
    cores_per_chip: int
    selector: str
    topologies: dict[int, str]


_FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_CUBE = {
    4: "2x2x1",
    8: "2x2x2",
    16: "2x2x4",
    32: "2x4x4",
    64: "4x4x4",
    128: "4x4x8",
    256: "4x8x8",
    512: "8x8x8",
    1024: "8x8x16",
}
FAMILIES = {
    "v2": Family("tpu-ubuntu2204-base", 2, "", {}),
    "v3": Family("tpu-ubuntu2204-base", 2, "", {}),
    "v4": Family("tpu-ubuntu2204-base", 2, "tpu-v4-podslice", _CUBE),
    "v5litepod": Family("v2-alpha-tpuv5-lite", 1, "tpu-v5-lite-podslice", _FLAT),
    "v5p": Family("v2-alpha-tpuv5", 2, "tpu-v5p-slice", _CUBE),
    "v6e": Family("v2-alpha-tpuv6e", 1, "tpu-v6e-slice", _FLAT),
}


class Slice(NamedTuple):
    """How GKE describes a slice."""

    selector: str
    topology: str
    hosts: int
    chips_per_host: int


def family(accelerator: str) -> Family:
    """Return the family of a type such as 'v5litepod-64'.

    Raises:
        LaunchError: the type is unknown.
    """
    name, size = _split(accelerator)
    if name == "v5e":
        raise LaunchError(f"--type={accelerator}: Google's name for v5e slices is v5litepod-{size}")
    if name not in FAMILIES:
        known = ", ".join(f"{name}-N" for name in FAMILIES)
        raise LaunchError(f"--type={accelerator} is not a known slice; known: {known}, such as v5litepod-64 or v5p-256")
    return FAMILIES[name]


def gke_slice(accelerator: str) -> Slice:
    """Return how GKE describes a slice; slices of several hosts have 4 chips per host.

    Raises:
        LaunchError: the type is unknown, or GKE does not offer it.
    """
    kind, size = family(accelerator), _split(accelerator)[1]
    chips, rest = divmod(size, kind.cores_per_chip)
    if rest or chips not in kind.topologies:
        name = _split(accelerator)[0]
        known = ", ".join(f"{name}-{chips * kind.cores_per_chip}" for chips in kind.topologies)
        raise LaunchError(f"--type={accelerator} is not a slice on GKE; known: {known or f'none of {name}'}")
    per_host = chips if kind.cores_per_chip == 1 and chips <= 8 else 4
    return Slice(kind.selector, kind.topologies[chips], chips // per_host, per_host)


def _split(accelerator: str) -> tuple[str, int]:
    match = re.fullmatch(r"([a-z0-9]+)-([1-9][0-9]*)", accelerator)
    if match is None:
        raise LaunchError(f"--type={accelerator} is not a slice; write generation and size, such as v5litepod-64")
    return match[1], int(match[2])
