"""The mesh of devices = data x fsdp x spatial, and how arrays are sharded over it.

The batch is split over `data` and `fsdp`. Parameters, optimiser moments and averages are replicated, or, with `fsdp` >
1, split over `fsdp` and gathered where they are used (ZeRO; Rajbhandari et al. 2020). With `spatial` > 1, the height of
images and of their activations is split, for images whose activations do not fit on one device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from stylegan_jax.base import rng
from stylegan_jax.base.spec import Batch
from stylegan_jax.config import ConfigError, ExperimentConfig

AXES = ("data", "fsdp", "spatial")
ROWS = ("data", "fsdp")
"""The axes over which the batch is split."""
WHOLE_BELOW = 1 << 12
"""Arrays with fewer elements, such as biases and counters, are not split over `fsdp`."""


class Layout(NamedTuple):
    """A mesh and the shardings used on it.

    Attributes:
        mesh: the devices, with axes `AXES`.
        replicated: every device holds the whole array.
        batch: axis 0 is split over `ROWS`.
        phases: axis 1 is split over `ROWS` (for `Batch.gen_label`).
    """

    mesh: Mesh
    replicated: NamedSharding
    batch: NamedSharding
    phases: NamedSharding

    @property
    def shards(self) -> int:
        """Number of parts into which the batch is split."""
        return self.mesh.size // self.mesh.shape["spatial"]

    def batch_shardings(self) -> Batch:
        """Return the shardings of a `Batch`; that of the sample applies to every array in it."""
        return Batch(self.batch, self.batch, self.phases, self.batch, self.phases)  # pyright: ignore[reportArgumentType]

    def split(self, x: jax.Array) -> jax.Array:
        """Constrain axis 0 of `x`, inside jit, to be split over the devices."""
        return jax.lax.with_sharding_constraint(x, self.batch)

    def split_second(self, x: jax.Array) -> jax.Array:
        """Constrain axis 1 of `x`, inside jit, to be split over the devices."""
        return jax.lax.with_sharding_constraint(x, self.phases)

    def spread(self, image: jax.Array) -> jax.Array:
        """Constrain images [n, h, w, c] or clips [n, t, h, w, c], inside jit, to be split by height too."""
        if self.mesh.shape["spatial"] == 1:
            return image
        spec = PartitionSpec(ROWS, *[None] * (image.ndim - 4), "spatial")
        return jax.lax.with_sharding_constraint(image, NamedSharding(self.mesh, spec))

    def state(self, tree: Any) -> Any:
        """Return a tree with the sharding of every array (or abstract array) of a state."""
        return jax.tree.map(self._of, tree)

    def place(self, tree: Any, shardings: Any = None) -> Any:
        """Return global arrays, replicated or sharded by a tree; every process passes the same values."""

        def put(x: Any, sharding: NamedSharding) -> jax.Array:
            if isinstance(x, jax.Array) and x.sharding == sharding:
                return x
            host = np.asarray(x)
            return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

        return jax.tree.map(put, tree, shardings or jax.tree.map(lambda _: self.replicated, tree))

    def root_key(self, seed: int) -> jax.Array:
        """Return the root key of a run, replicated on every device."""
        return jax.jit(lambda: rng.root(seed), out_shardings=self.replicated)()

    def hold(self, tree: Any) -> Any:
        """Constrain a state, inside jit, to the shardings that `state` returns."""
        return jax.lax.with_sharding_constraint(tree, self.state(tree)) if self.mesh.shape["fsdp"] > 1 else tree

    def _of(self, x: Any) -> NamedSharding:
        parts = self.mesh.shape["fsdp"]
        fitting = [axis for axis, size in enumerate(x.shape) if size % parts == 0]
        if parts == 1 or math.prod(x.shape) < WHOLE_BELOW or not fitting:
            return self.replicated
        axis = max(fitting, key=lambda a: x.shape[a])
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, "fsdp"))


def make_layout(num_devices: int = 0, among: Sequence[Any] | None = None, *, fsdp: int = 1, spatial: int = 1) -> Layout:
    """Return the layout over the first `num_devices` of `among` (None: of all devices); 0: over all of them.

    Raises:
        ConfigError: there are fewer devices than requested; a run of several processes requests fewer than all;
            `fsdp` x `spatial` does not divide their number; or devices of several processes would share an image.
    """
    devices = jax.devices() if among is None else among
    if num_devices > len(devices):
        have = "this machine has" if among is None else "chosen are"
        raise ConfigError(f"config.train.num_devices is {num_devices}; {have} {len(devices)}; use 0 for all")
    if among is None and 0 < num_devices < len(devices) and jax.process_count() > 1:
        raise ConfigError(
            f"config.train.num_devices is {num_devices}; a run of several processes ({jax.process_count()}) uses all "
            f"of their devices ({len(devices)}); use 0"
        )
    devices = devices[: num_devices or len(devices)]
    data, rest = divmod(len(devices), fsdp * spatial)
    if rest:
        raise ConfigError(
            f"config.mesh.fsdp={fsdp} times config.mesh.spatial={spatial} is {fsdp * spatial}, which must divide the "
            f"{len(devices)} devices"
        )
    mesh = jax.make_mesh((data, fsdp, spatial), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)
    owners = np.vectorize(lambda d: d.process_index)(mesh.devices)
    if (owners != owners[:, :, :1]).any():
        local = int(np.bincount(owners.flat).min())
        raise ConfigError(
            f"config.mesh.spatial is {spatial}; an image must stay within one process; use at most {local}"
        )
    named = lambda *spec: NamedSharding(mesh, PartitionSpec(*spec))
    return Layout(mesh, named(), named(ROWS), named(None, ROWS))


def layout_of(config: ExperimentConfig, among: Sequence[Any] | None = None) -> Layout:
    """Return the layout of an experiment.

    Raises:
        ConfigError: as `make_layout`, or `spatial` does not divide the image height.
    """
    x, height = config.mesh, config.model.image_shape[0]
    if height % x.spatial:
        raise ConfigError(f"config.mesh.spatial is {x.spatial}; it must divide the image height {height}")
    return make_layout(config.train.num_devices, among, fsdp=x.fsdp, spatial=x.spatial)
