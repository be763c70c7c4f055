"""StyleGAN-V (Skorokhodov et al. 2022): StyleGAN2 with a continuous time, for videos of any length.

The generator draws each frame on its own, from a style, motion noise and a time; the discriminator sees a few frames of
a clip together. Frames are rows of a batch inside the networks, and nowhere else.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from stylegan_jax.base import rng
from stylegan_jax.base.spec import Inputs
from stylegan_jax.config import ModelConfig
from stylegan_jax.config.arch.stylegan_v import motion_rows
from stylegan_jax.models import stylegan2
from stylegan_jax.models.gan import Gan, GanSpec, check_noise, shown
from stylegan_jax.models.stylegan_v.discriminator import Discriminator
from stylegan_jax.models.stylegan_v.motion import Motion, locate, window_rows
from stylegan_jax.models.stylegan_v.times import draw_times


class Generator(nn.Module):
    """Mapping, motion and synthesis networks under one tree."""

    config: ModelConfig

    def setup(self) -> None:
        self.mapping = stylegan2.make_mapping(self.config)
        self.synthesis = stylegan2.Synthesis(self.config)
        if self.config.stylegan_v.motion_v_dim:
            self.motion = Motion(self.config)

    def map_latents(self, z: jax.Array, cond: jax.Array) -> jax.Array:
        """Map z float[n, z] and cond float[n, k] to ws float[n, l, w]."""
        w = self.mapping(z, cond)
        return jnp.broadcast_to(w[:, None], (w.shape[0], stylegan2.num_ws(self.config), w.shape[1]))

    def synthesize(self, ws: jax.Array, inputs: Inputs) -> jax.Array:
        """Map ws float[n, l, w], motion noise, times float[n, t] and labels to images float32[n, t, h, w, c]."""
        config, times = self.config, inputs["times"]
        n, t = times.shape
        ws, appended = jnp.repeat(ws, t, axis=0), None
        if config.stylegan_v.motion_v_dim:
            code = self.motion(inputs["motion"], inputs.get("label"), times).reshape(n * t, -1)
            beside = jnp.broadcast_to(code[:, None], (n * t, ws.shape[1], code.shape[1]))
            match config.stylegan_v.cond_type:
                case "concat_w":
                    ws = jnp.concatenate([ws, beside], axis=-1)
                case "sum_w":
                    ws = ws + beside
                case _:
                    appended = code
        image = self.synthesis(ws, "none", None, config.num_blocks, None, appended)
        return image.reshape(n, t, *image.shape[1:])

    def __call__(self, z: jax.Array, cond: jax.Array, inputs: Inputs) -> jax.Array:
        """Map latents to images, for initialisation."""
        return self.synthesize(self.map_latents(z, cond), inputs)


def spec_of(config: ModelConfig) -> GanSpec:
    """Return the facts of the model."""
    own, k = config.stylegan_v, config.label_dim
    plain = stylegan2.block_spec(
        config, stylegan2.num_ws(config), stylegan2.discriminator_layers(config), config.g_arch == "skip"
    )
    inputs: dict[str, tuple[int, ...]] = {"z": (config.z_dim,), "times": (own.frames,)}
    if own.motion_v_dim:
        inputs["motion"] = (motion_rows(own, own.max_num_frames - 1), own.motion_z_dim)
        inputs |= {"label": (k,)} if k else {}
    sample = {"image": (own.frames, *config.image_shape), "times": (own.frames,)}
    slots = tuple(4 * 2 ** (i // 2) for i in range(plain.num_ws))
    return plain._replace(sample=FrozenDict(sample), inputs=FrozenDict(inputs), slots=slots)


def draw_motion(key: jax.Array, rows: jax.Array, size: int) -> jax.Array:
    """Return motion noise float32[rows, size] of one clip for rows of these numbers int32[rows].

    A row depends only on the key and its own number, so a video is the same in any chunks and at any length.
    """
    return jax.vmap(lambda k: jax.random.normal(k, (size,)))(rng.per_example(key, rows))


def build(config: ModelConfig) -> Gan:
    """Return the StyleGAN-V bundle of a model configuration."""
    spec, generator, discriminator = spec_of(config), Generator(config), Discriminator(config)

    def zeros(shapes: Any) -> dict[str, Any]:
        return {name: jnp.zeros((1, *shape)) for name, shape in shapes.items()}

    def init_g(key, frozen=()):
        given = zeros(spec.inputs)
        return dict(generator.init(key, given.pop("z"), jnp.zeros((1, spec.label_dim)), given))

    def init_d(key, frozen=()):
        given = zeros(spec.sample)
        return dict(discriminator.init(key, given["image"], given["times"], jnp.zeros((1, spec.label_dim))))

    def draw_inputs(key: jax.Array, n: int, cond: jax.Array) -> Inputs:
        latent, motion, times = jax.random.split(key, 3)
        each = lambda key: rng.per_example(key, jnp.arange(n))
        inputs = {
            "z": rng.normal(latent, (n, spec.z_dim)),
            "times": jax.vmap(lambda k: draw_times(config, k))(each(times)),
        }
        if "motion" in spec.inputs:
            rows, size = spec.inputs["motion"]
            drawn = jax.vmap(lambda k: draw_motion(k, jnp.arange(rows), size))(each(motion))
            inputs["motion"] = drawn
        return inputs | ({"label": cond} if "label" in spec.inputs else {})

    def draw_at(key: jax.Array, times: jax.Array, cond: jax.Array) -> Inputs:
        inputs = {"times": times} | ({"label": cond} if "label" in spec.inputs else {})
        if "motion" not in spec.inputs:
            return inputs
        own, keys = config.stylegan_v, rng.per_example(jax.random.split(key, 3)[1], jnp.arange(times.shape[0]))
        rows = window_rows(own, locate(times, own.motion_distance).index)
        drawn = jax.vmap(lambda k, i: draw_motion(k, i.reshape(-1), own.motion_z_dim))(keys, rows)
        return inputs | {"motion": drawn.reshape(*rows.shape, own.motion_z_dim)}

    def map_latents(g, inputs, cond, *, train=False) -> Any:
        return generator.apply(g, inputs["z"], cond, method="map_latents")

    def synthesize(g, ws, inputs, *, noise="const", key=None, train=False, batch=None) -> Any:
        check_noise(noise)
        return {"image": generator.apply(g, ws, inputs, method="synthesize"), "times": inputs["times"]}, {}

    def features(g, ws, inputs, *, noise="const") -> Any:
        check_noise(noise)
        image, seen = generator.apply(g, ws, inputs, method="synthesize", mutable=["intermediates"])
        maps = {name: x.reshape(*image.shape[:2], *x.shape[1:]) for name, x in shown(seen).items()}
        return {"image": image, "times": inputs["times"]}, maps

    def discriminate(d, frozen, sample, cond, *, key=None, train=False) -> Any:
        return discriminator.apply(d, sample["image"], sample["times"], cond), {}

    more: Any = {"draw_at": draw_at, "features": features}
    return Gan(spec, init_g, init_d, draw_inputs, map_latents, synthesize, discriminate, **more)
