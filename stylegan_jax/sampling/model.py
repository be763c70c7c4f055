"""Sampling from a trained model. Programs are compiled once per shape."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from stylegan_jax import models
from stylegan_jax.base import images, rng
from stylegan_jax.base.spec import Array, Variables
from stylegan_jax.base.trees import named_leaves
from stylegan_jax.config import ModelConfig
from stylegan_jax.models.gan import check_noise
from stylegan_jax.sampling import drawing
from stylegan_jax.sampling.labels import Label, as_labels

Latents = Iterable[int] | Array
"""Seeds (integers from 0), or latents float[n, z]."""
CHUNK = 8
"""Images per call where the caller does not say."""


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A trained model.

    Images are generated in fixed-size chunks, of which the last is padded, so that any number of images runs the same
    program. An image depends on its latent, label, truncation and noise only, not on the others of its chunk. The first
    call puts the weights on the default device, where they stay as long as the model.

    Attributes:
        config: its architecture.
        gan: its functions; of a run that grows, at the height and fade of the checkpoint.
        g_ema: averaged generator variables {'params', 'buffers'}.
        w_avg: float32[w], centre of truncation.
        g: generator that was being trained, or None (a workdir's sampling checkpoint and many files lack it).
        d: discriminator variables, or None.
        provenance: where it comes from, as text to print or store.
        label_kind: what labels a workdir's data has: 'none', 'classes', 'multi-hot', 'vectors'; '' when unknown.
        is_grown: False for a checkpoint whose last layers are missing or fading in (progressive growing).
    """

    config: ModelConfig = dataclasses.field(repr=False)
    gan: models.Gan = dataclasses.field(repr=False)
    g_ema: Variables = dataclasses.field(repr=False)
    w_avg: np.ndarray = dataclasses.field(repr=False)
    g: Variables | None = dataclasses.field(repr=False)
    d: Variables | None = dataclasses.field(repr=False)
    provenance: dict[str, Any]
    label_kind: str = ""
    is_grown: bool = True

    def replace(self, **changes: Any) -> LoadedModel:
        """Return the model with other attributes."""
        return dataclasses.replace(self, **changes)

    _replace = replace  # its name in version 0.1

    @functools.cached_property
    def _placed(self) -> tuple[Variables, jax.Array]:
        """(g_ema, w_avg) on the default device."""
        return jax.device_put((self.g_ema, self.w_avg))

    def map(
        self,
        z: Latents,
        label: Label = None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        chunk: int = CHUNK,
    ) -> np.ndarray:
        """Return the styles of latents, truncated.

        Args:
            z: seeds (integers), or latents float[n, z].
            label: see `Label`.
            psi: truncation; 1 none, 0 the average.
            cutoff: truncate the first so many style slots only; None: all.
            chunk: latents per call.

        Returns:
            ws float32[n, l, w].

        Raises:
            ValueError: a shape or a label that does not fit the model.
        """
        z = as_latents(z, self.gan.spec.z_dim)
        cond = as_labels(label, len(z), self.gan.spec.label_dim, self.label_kind)
        check_truncation(psi, cutoff, self.gan.spec.num_ws)
        run, (g, w_avg) = _mapper(self.gan), self._placed
        parts = [
            jax.device_get(run(g, w_avg, z_part, cond_part, np.float32(psi), cutoff))[:n]
            for (z_part, n), (cond_part, _) in zip(in_chunks(z, chunk), in_chunks(cond, chunk), strict=True)
        ]
        return np.concatenate(parts)

    def synthesize(
        self,
        ws: Array,
        *,
        noise: str = "const",
        seeds: Sequence[int] | np.ndarray | None = None,
        transform: Array | None = None,
        chunk: int = CHUNK,
    ) -> np.ndarray:
        """Return the images of styles.

        Args:
            ws: float[n, l, w], or float[n, w] for the same style in every slot.
            noise: 'const' (the model's own maps), 'random' (fresh per image) or 'none'.
            seeds: of random noise, one per image; None: 0, 1, …
            transform: float[3, 3], or float[n, 3, 3] for one per image, of an architecture that can translate and
                rotate its output; see `Gan.with_transform` and `paths.make_transform`.
            chunk: images per call.

        Returns:
            float32[n, h, w, c], about [-1, 1]; `images.to_pixels` makes uint8 of it.

        Raises:
            ValueError: a shape or a kind of noise that does not fit, or a transform that the architecture cannot take.
        """
        return np.concatenate(list(self.stream(ws, noise=noise, seeds=seeds, transform=transform, chunk=chunk)))

    def stream(
        self,
        ws: Array,
        *,
        noise: str = "const",
        seeds: Sequence[int] | np.ndarray | None = None,
        transform: Array | None = None,
        chunk: int = CHUNK,
    ) -> Iterator[np.ndarray]:
        """Yield the images of `synthesize` chunk by chunk, for more than fit into memory."""
        check_noise(noise)
        ws = as_styles(ws, self.gan.spec)
        numbers = np.arange(len(ws)) if seeds is None else np.asarray(seeds)
        if len(numbers) != len(ws) or not is_seeds(numbers):
            raise ValueError(f"{len(numbers)} seeds for {len(ws)} images; pass one integer from 0 each")
        rows = [ws, numbers.astype(np.uint32)]
        if transform is not None:
            self.check_moves()
            rows.append(np.broadcast_to(np.asarray(transform, np.float32), (len(ws), 3, 3)))
        run, (g, _) = _drawer(self.gan, noise), self._placed
        for parts in zip(*(in_chunks(x, chunk) for x in rows), strict=True):
            yield jax.device_get(run(g, *(x for x, _ in parts)))[: parts[0][1]]

    def sample(
        self,
        seeds: Latents,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        label: Label = None,
        noise: str = "const",
        chunk: int = CHUNK,
    ) -> np.ndarray:
        """Return pictures uint8[n, h, w, c] of seeds (or latents float[n, z]); see `map` and `synthesize`.

        The latent of a seed is `numpy.random.RandomState(seed).randn(1, z)`, as in the official tools, so that official
        weights give the known pictures.
        """
        given = to_array(seeds)
        ws = self.map(given, label, psi=psi, cutoff=cutoff, chunk=chunk)
        own = given if given.ndim == 1 else None
        return np.concatenate([images.to_pixels(x) for x in self.stream(ws, noise=noise, seeds=own, chunk=chunk)])

    def on_device(self) -> LoadedModel:
        """Return the model with `g_ema` on the default device, for calls of its functions: methods do so themselves."""
        return self.replace(g_ema=self._placed[0])

    @property
    def has_noise(self) -> bool:
        """Whether its images depend on noise."""
        return any("noise" in name for name in named_leaves(self.g_ema))

    def check_moves(self) -> None:
        """Raise ValueError unless the architecture can translate and rotate its output."""
        if self.gan.with_transform is None:
            raise ValueError(
                f"arch {self.config.arch!r} cannot translate or rotate its output; use a model such as stylegan3"
            )

    def moved(self, transform: Array) -> LoadedModel:
        """Return the model drawing under a transform float[3, 3]; see `Gan.with_transform`.

        Raises:
            ValueError: the architecture cannot translate or rotate its output.
        """
        self.check_moves()
        assert self.gan.with_transform is not None
        return self.replace(g_ema=self.gan.with_transform(self._placed[0], transform))


@functools.lru_cache(maxsize=64)
def _mapper(gan: models.Gan) -> Any:
    def run(g, w_avg, z, cond, psi, cutoff):  # weights as arguments: as constants they would be compiled in
        return drawing.map_styles(gan, g, w_avg, z, cond, psi, cutoff)

    return jax.jit(run, static_argnums=5)


@functools.lru_cache(maxsize=64)
def _drawer(gan: models.Gan, noise: str) -> Any:
    def run(g, ws, seeds, transform=None):
        keys = jax.vmap(lambda s: rng.stream(rng.root(0), "sample/noise", s))(seeds)
        return drawing.draw(gan, g, ws, noise=noise, key=keys, transform=transform)

    return jax.jit(run)


def latents(seeds: Iterable[int], z_dim: int) -> np.ndarray:
    """Return float32[n, z_dim] of seeds, `numpy.random.RandomState(seed).randn(1, z_dim)`, as official tools do."""
    return np.concatenate([np.random.RandomState(s).randn(1, z_dim) for s in seeds]).astype(np.float32)


def to_array(z: Latents) -> np.ndarray:
    """Return seeds or latents as an array, from any iterable."""
    return np.asarray(z if isinstance(z, np.ndarray | jax.Array) else list(z))


def as_latents(z: Latents, z_dim: int) -> np.ndarray:
    """Return float32[n, z_dim] of seeds or of latents.

    Raises:
        ValueError: neither.
    """
    z = to_array(z)
    if is_seeds(z):
        return latents(z, z_dim)
    if z.ndim != 2 or z.shape[1] != z_dim or not len(z):
        raise ValueError(f"latents of shape {z.shape}; pass seeds (integers from 0) or latents [n, {z_dim}]")
    return z.astype(np.float32)


def is_seeds(x: np.ndarray) -> bool:
    """Return whether an array is seeds: integers [n] from 0 and below 2**32."""
    return x.ndim == 1 and np.issubdtype(x.dtype, np.integer) and x.size > 0 and x.min() >= 0 and x.max() < 2**32


def as_styles(ws: Array, spec: models.GanSpec) -> np.ndarray:
    """Return float32[n, l, w] of styles [n, l, w] or [n, w].

    Raises:
        ValueError: another shape.
    """
    ws = np.asarray(ws, np.float32)
    if ws.ndim == 2 and ws.shape[1] == spec.w_dim:
        ws = np.repeat(ws[:, None], spec.num_ws, axis=1)
    if ws.ndim != 3 or ws.shape[1:] != (spec.num_ws, spec.w_dim) or not len(ws):
        raise ValueError(f"styles of shape {ws.shape}; this model takes [n, {spec.num_ws}, {spec.w_dim}]")
    return ws


def check_truncation(psi: float, cutoff: int | None, num_ws: int) -> None:
    """Check the truncation of a model with `num_ws` style slots.

    Raises:
        ValueError: psi is not finite, or cutoff is no number of slots.
    """
    if not np.isfinite(psi):
        raise ValueError(f"psi is {psi}; pass a number: 1 for no truncation, 0 for the average")
    if cutoff is not None and not 0 <= cutoff <= num_ws:
        raise ValueError(f"cutoff is {cutoff}; this model has {num_ws} style slots: 0 to {num_ws}")


def in_chunks(x: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (rows of x, how many of them count): always `size` rows, the last chunk filled up with its last row."""
    if size < 1:
        raise ValueError(f"{size} images per call; at least 1")
    for start in range(0, len(x), size):
        part = x[start : start + size]
        yield np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)]), len(part)
