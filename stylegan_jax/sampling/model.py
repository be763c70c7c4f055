"""Sampling from a trained model. Programs are compiled once per shape."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from stylegan_jax import models
from stylegan_jax.base import images, rng
from stylegan_jax.base.spec import Array, Inputs, Tree, Variables
from stylegan_jax.base.trees import named_leaves
from stylegan_jax.config import ModelConfig
from stylegan_jax.models.gan import check_noise
from stylegan_jax.sampling import drawing
from stylegan_jax.sampling.labels import Label, as_labels

Latents = Iterable[int] | Array
"""Seeds (integers from 0), or latents float[n, z]."""
CHUNK = 8
"""Default number of images per call."""


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A trained model.

    Images are generated in fixed-size chunks, of which the last is padded, so any number of images runs the same
    program. An image depends only on its latent, label, truncation and noise, not on other images of its chunk. The
    first call copies the weights to the default device, where they stay as long as the model lives.

    Attributes:
        config: its architecture.
        gan: its functions; for a growing run, at the height and fade of the checkpoint.
        g_ema: averaged generator variables {'params', 'buffers', …}, all collections.
        w_avg: float32[w], centre of truncation, or float32[k, w] with one per class.
        g: generator that was being trained, or None (a workdir's sampling checkpoint and many files lack it).
        d: discriminator variables, or None.
        provenance: where the model comes from, as text to print or store.
        label_kind: the kind of labels in a workdir's data: 'none', 'classes', 'multi-hot', 'vectors'; '' if unknown.
        label_names: names of the classes, in the order of their numbers; () if unknown.
        centroids: float32[m, w], truncate towards the nearest of them, whatever the class; None: towards `w_avg`.
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
    label_names: tuple[str, ...] = ()
    is_grown: bool = True
    centroids: np.ndarray | None = dataclasses.field(default=None, repr=False)

    def replace(self, **changes: Any) -> LoadedModel:
        """Return the model with other attributes."""
        return dataclasses.replace(self, **changes)

    _replace = replace  # its name in version 0.1

    @functools.cached_property
    def _placed(self) -> tuple[Variables, jax.Array, jax.Array | None]:
        """(g_ema, w_avg, centroids) on the default device."""
        return jax.device_put((self.g_ema, self.w_avg, self.centroids))

    def draw_inputs(self, seeds: Latents, label: Label = None, *, chunk: int = CHUNK) -> dict[str, np.ndarray]:
        """Return the generator's inputs, as in `gan.spec.inputs`, one row per seed.

        The latent 'z' is that of `latents`. Other inputs, such as the motion and the times of a clip, are drawn with a
        key derived from the seed.

        Args:
            seeds: integers from 0.
            label: see `Label`.
            chunk: rows per call.

        Raises:
            ValueError: there are no seeds, or a label does not fit the model.
        """
        seeds, spec = to_array(seeds), self.gan.spec
        if not is_seeds(seeds):
            raise ValueError(f"seeds of shape {seeds.shape} and type {seeds.dtype}; pass integers from 0")
        z = latents(seeds, spec.z_dim)
        if not further_inputs(spec):
            return {"z": z}
        cond = as_labels(label, len(z), spec.label_dim, self.label_kind, self.label_names)
        drawn = _in_parts(lambda part: _starter(self.gan)(*part), (seeds.astype(np.uint32), cond), chunk)
        return {**drawn, "z": z}

    def _as_inputs(self, z: Latents | Inputs, label: Label, chunk: int) -> Inputs:
        """Return the inputs for seeds, latents or a dict of inputs; for latents, only 'z'."""
        if isinstance(z, dict):
            return as_inputs(z, self.gan.spec)
        z = to_array(z)
        if is_seeds(z):
            return self.draw_inputs(z, label, chunk=chunk)
        return {"z": as_latents(z, self.gan.spec.z_dim)}

    def map(
        self,
        z: Latents | Inputs,
        label: Label = None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        chunk: int = CHUNK,
    ) -> np.ndarray:
        """Return the styles of latents, truncated.

        Args:
            z: seeds (integers), latents float[n, z], or what `draw_inputs` returns.
            label: see `Label`.
            psi: truncation; 1: none, 0: the average style.
            cutoff: truncate only the first `cutoff` style slots; None: all.
            chunk: latents per call.

        Returns:
            ws float32[n, l, w].

        Raises:
            ValueError: a shape or a label does not fit the model, or styles are not finite.
        """
        inputs = self._as_inputs(z, label, chunk)
        cond = as_labels(label, len(inputs["z"]), self.gan.spec.label_dim, self.label_kind, self.label_names)
        check_truncation(psi, cutoff, self.gan.spec.num_ws)
        check_classes(cond, self.gan.spec)
        run, (g, *centres) = _mapper(self.gan), self._placed
        ws = _in_parts(lambda part: run(g, *centres, *part, np.float32(psi), cutoff), (inputs, cond), chunk)
        check_finite(ws, "styles", f"the model's weights are not finite, or psi={psi:g} makes them too large")
        return ws

    def synthesize(
        self,
        ws: Array,
        inputs: Inputs | None = None,
        *,
        noise: str = "const",
        seeds: Sequence[int] | np.ndarray | None = None,
        transform: Array | None = None,
        chunk: int = CHUNK,
    ) -> np.ndarray:
        """Return the images of styles.

        Args:
            ws: float[n, l, w], or float[n, w] for the same style in every slot.
            inputs: for an architecture that draws more than z, what `draw_inputs` returns; others ignore it.
            noise: 'const' (the model's own maps), 'random' (fresh per image) or 'none'.
            seeds: for random noise, one per image; None: 0, 1, …
            transform: float[3, 3], or float[n, 3, 3] for one per image, for an architecture that can translate and
                rotate its output; see `Gan.with_transform` and `paths.make_transform`.
            chunk: images per call.

        Returns:
            float32[n, h, w, c], for clips float32[n, t, h, w, c], about [-1, 1]; `images.to_pixels` converts it to
            uint8.

        Raises:
            ValueError: a shape or kind of noise does not fit, inputs are missing, the architecture does not support a
                transform, or images are not finite, so that their pixels would be black.
        """
        return np.concatenate(list(self.stream(ws, inputs, noise=noise, seeds=seeds, transform=transform, chunk=chunk)))

    def stream(
        self,
        ws: Array,
        inputs: Inputs | None = None,
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
        if transform is not None:
            self.check_moves()
            transform = np.broadcast_to(np.asarray(transform, np.float32), (len(ws), 3, 3))
        rows = (ws, synthesis_inputs(inputs, self.gan.spec, len(ws)), numbers.astype(np.uint32), transform)
        run, (g, *_) = _drawer(self.gan, noise), self._placed
        for part, n in in_chunks(rows, chunk):
            image = jax.device_get(run(g, *part))[:n]
            check_finite(image, "images", "the model's weights are not finite, or its styles are too large")
            yield image

    def sample(
        self,
        seeds: Latents | Inputs,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        label: Label = None,
        noise: str = "const",
        chunk: int = CHUNK,
    ) -> np.ndarray:
        """Return pictures uint8[n, h, w, c], or clips uint8[n, t, h, w, c], of seeds.

        Latents float[n, z], or what `draw_inputs` returns, can be passed instead; see `map` and `synthesize`.

        The latent of a seed is `numpy.random.RandomState(seed).randn(1, z)`, as in the official tools, so official
        weights produce the same images as there.
        """
        given = seeds if isinstance(seeds, dict) else to_array(seeds)
        inputs = self._as_inputs(given, label, chunk)
        ws = self.map(inputs, label, psi=psi, cutoff=cutoff, chunk=chunk)
        own = given if isinstance(given, np.ndarray) and given.ndim == 1 else None
        parts = self.stream(ws, inputs, noise=noise, seeds=own, chunk=chunk)
        return np.concatenate([images.to_pixels(x) for x in parts])

    def video(
        self,
        seeds: Latents = (),
        frames: int = 64,
        fps: float | None = None,
        start: float = 0.0,
        motion_seeds: int | Sequence[int] | np.ndarray | None = None,
        *,
        speed: float = 1.0,
        label: Label = None,
        styles: Array | None = None,
        psi: float = 1.0,
        cutoff: int | None = None,
        chunk: int = CHUNK,
    ) -> Iterator[np.ndarray]:
        """Return the frames of videos, for a model that was trained on videos; memory does not grow with their number.

        Frame i is at time start + i * step, where a time of 1 is a frame of the training data and step is `speed`, or
        with `fps` speed * self.fps / fps. A frame depends only on its seeds, label, truncation and time: it has the
        same pixels in videos of other lengths and in chunks of the same size; in chunks of another size they differ by
        up to 1 of 255, because the compiler rounds differently.

        Args:
            seeds: the content of n videos: seeds (integers from 0), or latents float[n, z].
            frames: number of frames of each.
            fps: frames per second at which they will be shown, to move as fast as the data; None: each frame is `speed`
                later than the previous one, whatever the frame rate.
            start: time of the first frame, at least 0.
            motion_seeds: their motion: one seed for all, or one each; None: `seeds`, or 0 for latents and styles.
            speed: 1 is as fast as the data, 0.5 half as fast, with times between those of the data.
            label: see `Label`.
            styles: float[n, l, w] instead of `seeds`, not truncated.
            psi: truncation of the styles; 1: none, 0: the average. Motion is not truncated.
            cutoff: truncate only the first `cutoff` style slots; None: all.
            chunk: images per call.

        Returns:
            An iterator over `frames` arrays uint8[n, h, w, c], a frame of every video; `np.stack(list(…), axis=1)` is
            uint8[n, t, h, w, c].

        Raises:
            ValueError: it is an image model, a time is negative, or a number, seed or label does not fit; raised before
                the first frame is drawn.
        """
        from stylegan_jax.sampling import videos

        options: Any = {"speed": speed, "label": label, "styles": styles, "psi": psi, "cutoff": cutoff, "chunk": chunk}
        return videos.video(self, seeds, frames, fps, start, motion_seeds, **options)

    def still(self, time: float = 0.0, motion_seed: int | None = None, label: Label = None) -> LoadedModel:
        """Return an image model that draws the frames of this video model at one time.

        Args:
            time: time of the frame, at least 0, in frames of the training data.
            motion_seed: seed of all images' motion; None: each image has the motion of its own seed, so `sample`
                returns frames of `video`, and `synthesize` needs the result of `draw_inputs`.
            label: label of all images' motion; None: each image's own, as for `motion_seed`.

        Raises:
            ValueError: it is an image model, the time is negative, or a seed or label does not fit.
        """
        from stylegan_jax.sampling import videos

        return videos.still(self, time, motion_seed, label)

    @property
    def fps(self) -> float | None:
        """Frames per second of the videos that the model was trained on; None: images, or unknown."""
        found = self.provenance.get("fps")
        if not isinstance(found, int | float) or isinstance(found, bool) or not 0 < found < 1e6:
            return None
        return float(found)

    def on_device(self) -> LoadedModel:
        """Return the model with `g_ema` on the default device, for direct calls of its functions."""
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
        """Return the model with a transform float[3, 3] of its canvas; see `Gan.with_transform`.

        Raises:
            ValueError: the architecture cannot translate or rotate its output.
        """
        self.check_moves()
        assert self.gan.with_transform is not None
        return self.replace(g_ema=self.gan.with_transform(self._placed[0], transform))


@functools.lru_cache(maxsize=64)
def _mapper(gan: models.Gan) -> Any:
    def run(g, w_avg, centroids, inputs, cond, psi, cutoff):  # weights are arguments: constants would be compiled in
        return drawing.map_styles(gan, g, w_avg, inputs, cond, psi, cutoff, centroids)

    return jax.jit(run, static_argnums=6)


@functools.lru_cache(maxsize=64)
def _drawer(gan: models.Gan, noise: str) -> Any:
    def run(g, ws, inputs, seeds, transform):
        keys = jax.vmap(lambda s: rng.stream(rng.root(0), "sample/noise", s))(seeds)
        return drawing.draw(gan, g, ws, inputs, noise=noise, key=keys, transform=transform)

    return jax.jit(run)


@functools.lru_cache(maxsize=64)
def _starter(gan: models.Gan) -> Any:
    def one(seed, cond):  # each row has a key of its own, so it depends only on its seed and label
        drawn = gan.draw_inputs(seed_key(seed), 1, cond[None])
        return {name: drawn[name][0] for name in further_inputs(gan.spec)}

    return jax.jit(jax.vmap(one))


def seed_key(seed: int | jax.Array) -> jax.Array:
    """Return the key of a seed, traced or not, for draws besides its latent."""
    return rng.stream(rng.root(0), "sample/inputs", seed)


def _in_parts(run: Callable[[Any], Tree], rows: Tree, size: int) -> Any:
    """Return a function's results for rows on the host, with `size` rows per call."""
    parts = [jax.tree.map(lambda x, n=n: x[:n], jax.device_get(run(part))) for part, n in in_chunks(rows, size)]
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def further_inputs(spec: models.GanSpec) -> list[str]:
    """Return the names of a generator's inputs besides 'z', such as the times of a clip."""
    return [name for name in spec.inputs if name != "z"]


def check_styles_draw(spec: models.GanSpec) -> None:
    """Raise ValueError if styles alone do not determine an image, as for a video model."""
    if further := further_inputs(spec):
        raise ValueError(
            f"this model draws {', '.join(further)} besides styles; for a video model pass "
            "model.still(time, motion_seed, label), whose images are its frames"
        )


def as_inputs(inputs: dict[Any, Any], spec: models.GanSpec) -> Inputs:
    """Return inputs as float32 arrays with the same number of rows.

    Raises:
        ValueError: 'z' is missing, the model lacks a name, or a shape does not fit.
    """
    found = {name: np.asarray(x, np.float32) for name, x in inputs.items()}
    known = ", ".join(f"{name} {['n', *shape]}".replace("'", "") for name, shape in spec.inputs.items())
    n = len(found["z"]) if "z" in found and found["z"].ndim else 0
    for name, x in found.items():
        if not n or name not in spec.inputs or x.shape != (n, *spec.inputs[name]):
            raise ValueError(f"inputs have {name} of shape {x.shape}; this model takes {known}, one n for all")
    if not n:
        raise ValueError(f"inputs are empty; this model takes {known}")
    return found


def synthesis_inputs(inputs: Inputs | None, spec: models.GanSpec, n: int) -> Inputs:
    """Return the part of `inputs` that a synthesis network reads besides styles; {} if the model draws only z.

    Raises:
        ValueError: something is missing or does not have n rows, or a time is negative.
    """
    names = further_inputs(spec)
    if not names:
        return {}
    found = {name: np.asarray(x, np.float32) for name, x in (inputs or {}).items()}
    for name in names:
        if name not in found or found[name].shape != (n, *spec.inputs[name]):
            what = f"inputs have {name} of shape {found[name].shape}" if name in found else f"inputs lack {name}"
            raise ValueError(f"{what}, which {n} images need as {[n, *spec.inputs[name]]}; see LoadedModel.draw_inputs")
    if "times" in found and not (found["times"] >= 0).all():
        raise ValueError(f"inputs have the time {found['times'].min():g}; times are frames, starting at 0")
    return {name: found[name] for name in spec.inputs if name in found}


def latents(seeds: Iterable[int], z_dim: int) -> np.ndarray:
    """Return float32[n, z_dim] of seeds, `numpy.random.RandomState(seed).randn(1, z_dim)`, as official tools do."""
    return np.concatenate([np.random.RandomState(s).randn(1, z_dim) for s in seeds]).astype(np.float32)


def to_array(z: Latents) -> np.ndarray:
    """Return seeds or latents as an array, from any iterable."""
    return np.asarray(z if isinstance(z, np.ndarray | jax.Array) else list(z))


def as_latents(z: Latents, z_dim: int) -> np.ndarray:
    """Return float32[n, z_dim] of seeds or of latents.

    Raises:
        ValueError: they are neither.
    """
    z = to_array(z)
    if is_seeds(z):
        return latents(z, z_dim)
    if z.ndim != 2 or z.shape[1] != z_dim or not len(z):
        raise ValueError(f"latents of shape {z.shape}; pass seeds (integers from 0) or latents [n, {z_dim}]")
    check_finite(z, "latents", "draw them from a normal distribution")
    return z.astype(np.float32)


def is_seeds(x: np.ndarray) -> bool:
    """Return whether an array is seeds: integers [n] from 0 and below 2**32."""
    return x.ndim == 1 and np.issubdtype(x.dtype, np.integer) and x.size > 0 and x.min() >= 0 and x.max() < 2**32


def as_styles(ws: Array, spec: models.GanSpec) -> np.ndarray:
    """Return float32[n, l, w] of styles [n, l, w] or [n, w].

    Raises:
        ValueError: the shape is another, or numbers are not real and finite.
    """
    ws = np.asarray(ws)
    if ws.dtype.kind in "cOSU":
        raise ValueError(f"styles of type {ws.dtype}; pass real numbers")
    with np.errstate(over="ignore"):
        ws = ws.astype(np.float32)
    if ws.ndim == 2 and ws.shape[1] == spec.w_dim:
        ws = np.repeat(ws[:, None], spec.num_ws, axis=1)
    if ws.ndim != 3 or ws.shape[1:] != (spec.num_ws, spec.w_dim) or not len(ws):
        raise ValueError(f"styles of shape {ws.shape}; this model takes [n, {spec.num_ws}, {spec.w_dim}]")
    check_finite(ws, "styles", "they cannot be drawn")
    return ws


def check_finite(rows: np.ndarray, what: str, why: str) -> None:
    """Raise ValueError if rows [n, …] have NaN or infinity; `why` ends the sentence that counts them."""
    bad = len(rows) - np.count_nonzero(np.isfinite(rows.reshape(len(rows), -1)).all(axis=1))
    if bad:
        raise ValueError(f"{bad} of {len(rows)} {what} are not finite (NaN or infinity): {why}")


def check_classes(cond: np.ndarray, spec: models.GanSpec) -> None:
    """Raise ValueError for labels float[n, k] that are not classes if the model has a mean style per class."""
    if spec.label_dim and len(spec.w_avg) == 2:
        is_class = (np.sort(cond, axis=1)[:, :-1] == 0).all(axis=1) & (cond.max(axis=1) == 1)
        if not is_class.all():
            raise ValueError(
                f"label={cond[~is_class][0].tolist()[:8]}: this architecture has a mean style per class, and takes one "
                f"class at a time, as label={int(cond[~is_class][0].argmax())} (--class)"
            )


def check_truncation(psi: float, cutoff: int | None, num_ws: int) -> None:
    """Check the truncation of a model with `num_ws` style slots.

    Raises:
        ValueError: psi is not finite, or cutoff is not a number of slots.
    """
    if not abs(psi) <= float(np.finfo(np.float32).max):
        raise ValueError(f"psi is {psi}; pass a number: 1 for no truncation, 0 for the average")
    if cutoff is not None and not 0 <= cutoff <= num_ws:
        raise ValueError(f"cutoff is {cutoff}; this model has {num_ws} style slots: pass 0 to {num_ws}")


def in_chunks(rows: Tree, size: int) -> Iterator[tuple[Any, int]]:
    """Yield (`size` rows of all arrays of a tree, how many of them count); the last chunk repeats its last row."""
    if size < 1:
        raise ValueError(f"{size} images per call; it must be at least 1")

    def part(x: np.ndarray) -> np.ndarray:
        own = x[start : start + size]
        return np.concatenate([own, np.repeat(own[-1:], size - len(own), axis=0)])

    total = len(jax.tree.leaves(rows)[0])
    for start in range(0, total, size):
        yield jax.tree.map(part, rows), min(size, total - start)
