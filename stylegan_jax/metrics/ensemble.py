"""E-LPIPS of pairs of images: the mean over random transformations, the same for any batch size."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.features import elpips
from stylegan_jax.metrics.images import Extractor

COPIES = 10
"""Copies of a pair over which flips, channels and colours are stratified; they share the draws of
`elpips.draw_shared`."""
NET = "elpips"

Compare = Callable[[np.ndarray, np.ndarray, np.ndarray], jax.Array]


def of_pairs(extractor: Extractor, count: int, seed: int) -> Compare:
    """Return (numbers of the pairs int[m], pixels, pixels, each uint8[m, h, w, 3]) -> float32[chunk, 1].

    Args:
        extractor: has the network 'elpips'.
        count: transformations per pair, a multiple of `COPIES`.
        seed: determines, with the number of a pair, that pair's transformations.
    """
    params = extractor.params[NET]

    def compare(index: np.ndarray, first: np.ndarray, second: np.ndarray) -> jax.Array:
        size = first.shape[1:3]
        levels, a, b = elpips.levels_for(*size), extractor.place(first), extractor.place(second)
        total = jnp.zeros((extractor.chunk,), jnp.float32)
        for group in range(count // COPIES):
            level, offset, transposed = elpips.draw_shared(np.random.default_rng([seed, group]), levels)
            rngs = [np.random.default_rng([seed, group, 1 + int(i)]) for i in index]
            own = [elpips.draw_own(rng, COPIES) for rng in rngs]
            keys = np.array([rng.integers(0, 1 << 32, (COPIES, 2), np.uint32) for rng in rngs])
            key, make = (NET, level, transposed, size), functools.partial(_program, level, transposed)
            program = extractor.program(key, make, trees=2, arrays=4)
            for k in range(COPIES):
                drawn = {name: extractor.place(np.stack([x[name][k] for x in own])) for name in own[0]}
                total += program(params, offset, a, b, drawn, extractor.place(keys[:, k]))
        return (total / count)[:, None]

    return compare


def _program(level: int, transposed: bool) -> Callable:
    """Return the comparison of pairs by one transformation each, at a level."""

    def run(
        params: Any, offset: Any, a: jax.Array, b: jax.Array, drawn: dict[str, jax.Array], keys: jax.Array
    ) -> jax.Array:
        moved = elpips.Draw(level=level, scale_offset=offset, transposed=transposed, **drawn)
        a, b = (elpips.transform(x.astype(jnp.float32) / 255, moved) for x in (a, b))
        keep = jax.vmap(lambda key: elpips.masks(jax.random.wrap_key_data(key), (a.shape[1], a.shape[2]), 1))(keys)
        return elpips.distance(params, a, b, [x[:, 0] for x in keep])

    return run
