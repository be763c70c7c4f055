"""Sets of images to pass over: the reals, or a folder that is evaluated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.data import FittedSource
from stylegan_jax.data.fingerprint import fingerprint
from stylegan_jax.metrics.detectors import FeatureNet
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.runtime.mesh import Layout

THREADS = 4

Wanted = Mapping[str, Sequence[str]]
"""{network: its outputs}."""


class Images(NamedTuple):
    """A set of images.

    Attributes:
        source: 1 or 3 channels.
        flips: (xflip, yflip); mirrored copies are numbered after the images themselves.
        identity: plain dict of everything that determines the pixels.
    """

    source: FittedSource
    flips: tuple[bool, bool]
    identity: dict[str, Any]

    def count(self, mirrored: bool) -> int:
        """Return how many images there are, with or without the copies."""
        n = self._num_images()
        return n * (1 + self.flips[0]) * (1 + self.flips[1]) if mirrored else n

    def _num_images(self) -> int:
        """Return how many images there are, or how many represent a source that has far more."""
        source = self.source
        most = getattr(source.inner, "representative", 0) if source.keep is None else 0
        return min(source.info().num_images, most or source.info().num_images)

    def pixels(self, index: np.ndarray) -> np.ndarray:
        """Return uint8[m, h, w, 3] for int64[m]; grey is repeated."""
        copy, number = np.divmod(index, self._num_images())
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(lambda i: self.source.pixels(int(i)), number))
        axes = [a for a, on in ((1, self.flips[0]), (0, self.flips[1])) if on]
        for i, c in enumerate(copy):
            along = tuple(axis for bit, axis in enumerate(axes) if c >> bit & 1)
            found[i] = np.flip(found[i], along) if along else found[i]
        pixels = np.stack(found)
        return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def make_images(source: FittedSource, flips: tuple[bool, bool] = (False, False)) -> Images:
    """Return a set of images.

    Raises:
        MetricError: the images have transparency.
    """
    info = source.info()
    if info.image_shape[2] not in (1, 3):
        raise MetricError(
            f"{info.name}: images have {info.image_shape[2]} channels; feature networks see grey or RGB; convert them, "
            "for example with python -m stylegan_jax.data.prepare --channels=3"
        )
    size, resized = list(source.size), tuple(source.size) != info.image_shape[:2]
    identity = {"images": fingerprint(source), "size": size, "resize": source.resize_filter if resized else "none"}
    return Images(source, flips, identity)


class Extractor:
    """Compiled programs from pixels to features, one per set of outputs.

    Args:
        nets: the networks.
        layout: images are split over its devices.
        chunk: images, or frames of clips, per call.
    """

    def __init__(self, nets: Mapping[str, FeatureNet], layout: Layout, chunk: int):
        self.nets, self.layout, self.chunk = nets, layout, chunk
        self.params = layout.place({name: net.params for name, net in nets.items()})
        self._programs: dict[Any, Callable] = {}

    def of_clips(self, frames: int) -> Extractor:
        """Return an extractor of clips: as many per call as have the frames of a chunk, but at least one per device."""
        other, shards = copy.copy(self), self.layout.shards
        other.chunk = max(self.chunk // shards // frames, 1) * shards
        return other

    def features(self, wanted: Wanted) -> Callable[[Any, jax.Array], dict[str, jax.Array]]:
        """Return the pure function (params, float[n, h, w, 3] in [0, 255]) -> {'network/output': float32[n, k]}.

        Networks of clips take float[n, t, h, w, 3].
        """

        def apply(params: Any, image: jax.Array) -> dict[str, jax.Array]:
            out = {}
            for name, outputs in wanted.items():
                found = self.nets[name].apply(params[name], image, tuple(outputs))
                out |= {f"{name}/{key}": x for key, x in found.items()}
            return out

        return apply

    def program(self, key: Any, make: Callable[[], Callable], *, trees: int, arrays: int) -> Callable:
        """Return a compiled function, which is made once per key.

        Args:
            key: distinguishes programs.
            make: returns the function; its results are replicated on all devices.
            trees: number of leading arguments, which are trees and keep their sharding.
            arrays: number of the other arguments, which are arrays split over the devices by their first axis.
        """
        if key not in self._programs:
            split = (*[None] * trees, *[self.layout.batch] * arrays)
            self._programs[key] = jax.jit(make(), in_shardings=split, out_shardings=self.layout.replicated)
        return self._programs[key]

    def of_pixels(self, wanted: Wanted, pixels: np.ndarray) -> dict[str, jax.Array]:
        """Return the features of a chunk, from this process's rows of it, uint8[chunk / processes, …, h, w, 3]."""

        def make() -> Callable:
            apply = self.features(wanted)
            return lambda params, x: apply(params, x.astype(jnp.float32))

        program = self.program(("pixels", key_of(wanted)), make, trees=1, arrays=1)
        return program(self.params, self.place(pixels))

    def of_pairs(
        self, net: str, output: str, compare: Callable[[jax.Array, jax.Array], jax.Array]
    ) -> Callable[[np.ndarray, np.ndarray], jax.Array]:
        """Return (pixels, pixels), each as for `of_pixels` -> float32[chunk, 1]: `compare` of their features.

        The features, float32[n, d], stay on the device that has the pair. Without a network (''), `compare` takes the
        images themselves, float32[n, h, w, 3] in [0, 255].
        """

        def make() -> Callable:
            apply = self.features({net: [output]}) if net else None
            embed = lambda params, x: apply(params, x)[f"{net}/{output}"] if apply else x
            see = lambda params, x: embed(params, x.astype(jnp.float32))
            return lambda params, a, b: compare(see(params, a), see(params, b))[:, None]

        program = self.program(("pairs", net, output, compare), make, trees=1, arrays=2)
        return lambda a, b: program(self.params, self.place(a), self.place(b))

    def place(self, rows: np.ndarray) -> jax.Array:
        """Return the global array whose part on this process is `rows`."""
        shape = (self.chunk, *rows.shape[1:])
        return jax.make_array_from_process_local_data(self.layout.batch, rows, shape)

    def own(self, index: np.ndarray) -> np.ndarray:
        """Return this process's part of a chunk's numbers, in the order that `place` takes."""
        parts = self.layout.batch.addressable_devices_indices_map(index.shape).values()
        at = {part[0].start or 0: part[0] for part in parts if part}  # devices that share rows have the same part
        return np.concatenate([index[at[start]] for start in sorted(at)])


def key_of(wanted: Wanted) -> tuple:
    """Return outputs as a hashable key."""
    return tuple((name, tuple(outputs)) for name, outputs in wanted.items())
