"""How state and batches lie on the devices: state replicated, batch split over the `data` axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from stylegan_jax.config import ConfigError
from stylegan_jax.spec import Batch


class Layout(NamedTuple):
    """A mesh and the shardings used on it.

    Attributes:
        mesh: one axis, 'data'.
        replicated: every device holds the whole array.
        batch: axis 0 split over 'data'.
        phases: axis 1 split over 'data' (for `Batch.gen_label`).
    """

    mesh: Mesh
    replicated: NamedSharding
    batch: NamedSharding
    phases: NamedSharding

    def batch_shardings(self) -> Batch:
        """Return the shardings of a `Batch`."""
        return Batch(self.batch, self.batch, self.phases)

    def split(self, x: jax.Array) -> jax.Array:
        """Ask inside jit for axis 0 of `x` to be split over the devices."""
        return jax.lax.with_sharding_constraint(x, self.batch)


def make_layout(num_devices: int = 0, among: Sequence[Any] | None = None) -> Layout:
    """Return the layout over all devices (or those of `among`), or over the first `num_devices`.

    Raises:
        ConfigError: more devices asked for than there are.
    """
    devices = jax.devices() if among is None else among
    if num_devices > len(devices):
        have = "this machine has" if among is None else "chosen are"
        raise ConfigError(f"config.train.num_devices is {num_devices}; {have} {len(devices)}; use 0 for all")
    devices = devices[: num_devices or len(devices)]
    mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)
    named = lambda *spec: NamedSharding(mesh, PartitionSpec(*spec))
    return Layout(mesh, named(), named("data"), named(None, "data"))
