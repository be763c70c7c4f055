"""TPU chips: their peak rates, and devices to compile for that need not be present."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from stylegan_jax.base.errors import ConfigError, suggest


class Chip(NamedTuple):
    """Peaks of one chip, which is one device of JAX.

    Attributes:
        flops: operations per second of bfloat16 matrix products.
        memory: bytes of HBM that a program may use, as the compiler (libtpu 0.0.42.1) states them.
        bandwidth: bytes per second from or to HBM.
        link: bytes per second between neighbours, in one direction: half of a chip's documented rate over its ports.
        lanes: side of the matrix unit.
        clock: cycles per second, which convert the compiler's cycles to seconds; None if it does not follow from the
            documented rate and matrix units.
        axes: number of axes of the torus.
    """

    flops: float
    memory: float
    bandwidth: float
    link: float
    lanes: int
    clock: float | None
    axes: int


CHIPS = {
    "v5e": Chip(197e12, 15.75 * 2**30, 819e9, 50e9, 128, 197e12 / (4 * 2 * 128**2), 2),
    "v6e": Chip(918e12, 31.25 * 2**30, 1638e9, 100e9, 256, None, 2),
    "v5p": Chip(459e12, 95.74 * 2**30, 2765e9, 100e9, 128, 459e12 / (8 * 2 * 128**2), 3),
}
"""Source: Google's pages "TPU v5e", "TPU v6e" and "TPU v5p" of the Cloud TPU documentation, except for the memory."""

MOST = 256
PACKAGE = "libtpu"
QUIET = {
    "TPU_SKIP_MDS_QUERY": "1",  # do not ask the metadata server which machine this is
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several processes may compile
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",  # any type will do; the slice is an argument
    "TPU_STDERR_LOG_LEVEL": "3",
}
"""Settings of the package for a process that only compiles."""


def compile_devices(target: str, count: int) -> list[Any]:
    """Return the devices of a slice, to compile programs for; none of them need be present.

    Args:
        target: a key of `CHIPS`.
        count: chips, a power of two.

    Raises:
        ConfigError: the target is unknown, the count is impossible, or the compiler's package is not installed.
    """
    if target not in CHIPS:
        raise ConfigError(f"--target={target}: {suggest(target, CHIPS)}")
    if count < 1 or count > MOST or count & (count - 1):
        raise ConfigError(f"--devices={count}: a slice of {target} has 1, 2, 4, ... or {MOST} chips; write one of them")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    shape = slice_shape(count, CHIPS[target].axes)
    own = {"chips_per_host_bounds": (*shape, *[1] * (3 - len(shape)))} if count < 4 else {}
    try:
        return topologies.get_topology_desc(f"{target}:{'x'.join(map(str, shape))}", "tpu", **own).devices
    except Exception as error:
        if "not installed" in str(error):
            raise ConfigError(
                f"--target={target} needs the TPU's compiler, the package {PACKAGE}: "
                "pip install 'stylegan_jax[roofline]' (a TPU itself is not needed)"
            ) from error
        raise ConfigError(f"--target={target} --devices={count}: {PACKAGE} has no such slice: {error}") from error


def slice_shape(count: int, axes: int) -> tuple[int, ...]:
    """Return the sides of a slice of 2^k chips, as equal as possible, the smallest first; 4 chips are always flat."""
    shape = [1] * axes
    while count > 1:
        place = max(range(axes), key=lambda axis: (-shape[axis], axis))
        shape[place] *= 2
        count //= 2
    shape.sort()
    return (2, 2, 1) if shape == [1, 2, 2] else tuple(shape)
