"""StyleGAN3 (Karras et al. 2021), configurations T and R; the discriminator is StyleGAN2's.

Every feature map is a sampled, band-limited signal, so that details move with the surfaces they belong to. The rates,
cutoffs
and sizes come from `config.stylegan3.make_plan`.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import ModelConfig
from stylegan_jax.config.arch.stylegan3 import InputPlan, LayerPlan, Plan, make_plan
from stylegan_jax.layers.dense import Dense, scaled_normal
from stylegan_jax.models.gan import Gan, GanSpec, check_noise, draw_z, make_spec, merge, shown
from stylegan_jax.models.precision import cast, low_dtype
from stylegan_jax.models.stylegan2 import Discriminator, discriminator_layers, make_mapping
from stylegan_jax.ops.filtered_lrelu import filtered_lrelu
from stylegan_jax.ops.lowpass import design_lowpass
from stylegan_jax.ops.modconv import modulated_conv2d_prenorm


class FourierFeatures(nn.Module):
    """The input of the synthesis network: plane waves under a transform that depends on w (SG3 §3.2, App. F).

    Buffers: `freqs` float[c, 2] and `phases` float[c], drawn once; `transform` float[3, 3], the user's, applied after
        the learned one (see `Gan.with_transform`).
    """

    plan: InputPlan

    @nn.compact
    def __call__(self, w: jax.Array) -> jax.Array:
        """Map styles float[n, w] to features float[n, h, w, c]."""
        p = self.plan
        freqs = self.variable("buffers", "freqs", self._draw_freqs).value
        phases = self.variable("buffers", "phases", self._draw_phases).value
        user = self.variable("buffers", "transform", jnp.eye, 3).value
        weight = self.param("weight", scaled_normal(1), (p.channels, p.channels))
        t = Dense(4, weight_std=0.0, bias_init=(1.0, 0.0, 0.0, 0.0), name="affine")(w)
        t = t / jnp.linalg.norm(t[:, :2], axis=1, keepdims=True)
        transform = jnp.matmul(_rotate_and_shift(t), user, precision="highest")
        phases = phases[None] + jnp.einsum("ci,ni->nc", freqs, transform[:, :2, 2], precision="highest")
        freqs = jnp.einsum("ci,nij->ncj", freqs, transform[:, :2, :2], precision="highest")
        room = p.rate / 2 - p.bandwidth  # a user's transform may push frequencies beyond what the rate can carry
        amplitude = jnp.clip(1 - (jnp.linalg.norm(freqs, axis=2) - p.bandwidth) / room, 0, 1)
        ys, xs = (jnp.asarray((np.arange(size) + 0.5 - size / 2) / p.rate, w.dtype) for size in p.size)
        fx, fy = freqs[:, None, None, :, 0], freqs[:, None, None, :, 1]
        turns = xs[None, None, :, None] * fx + ys[None, :, None, None] * fy + phases[:, None, None]
        x = jnp.sin(2 * np.pi * turns) * amplitude[:, None, None]
        return x @ (weight / math.sqrt(p.channels)).astype(x.dtype)

    def _draw_freqs(self) -> jax.Array:
        """Draw float32[c, 2], uniform in the disc of radius `bandwidth`."""
        f = jax.random.normal(self.make_rng("params"), (self.plan.channels, 2))
        radius = jnp.linalg.norm(f, axis=1, keepdims=True)
        return f / radius * jnp.exp(-jnp.square(radius) / 4) * self.plan.bandwidth

    def _draw_phases(self) -> jax.Array:
        return jax.random.uniform(self.make_rng("params"), (self.plan.channels,), minval=-0.5, maxval=0.5)


def _rotate_and_shift(t: jax.Array) -> jax.Array:
    """Return float[n, 3, 3], the rotation by (cos, sin) = t[:, :2] after the translation by -t[:, 2:]."""
    cos, sin, x, y = jnp.moveaxis(t, 1, 0)
    zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
    rows = [(cos, -sin, sin * y - cos * x), (sin, cos, -sin * x - cos * y), (zero, zero, one)]
    return jnp.stack([jnp.stack(row, axis=1) for row in rows], axis=1)


class SynthesisLayer(nn.Module):
    """A modulated convolution and a leaky ReLU between two low-pass filters (SG3 fig. 4b).

    Buffer: `magnitude_ema` float[], the average of the squared input; the convolution divides by its root.
    """

    config: ModelConfig
    plan: LayerPlan

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, batch: int = 0) -> jax.Array:
        """Map features float[n, h, w, c] and styles float[n, w] to the plan's output.

        With `batch`, the average is updated first, as a batch of this many images would update it.
        """
        p, config = self.plan, self.config
        magnitude = self.variable("buffers", "magnitude_ema", jnp.ones, ())
        if batch:
            mean = jax.lax.stop_gradient(jnp.mean(jnp.square(cast(x, None))))
            beta = 0.5 ** (batch / (config.stylegan3.magnitude_ema_kimg * 1000))
            magnitude.value = mean + (magnitude.value - mean) * beta
        style = Dense(p.source.channels, bias_init=1.0, name="affine")(w)
        weight = self.param("weight", scaled_normal(1), (p.kernel, p.kernel, p.source.channels, p.out.channels))
        bias = self.param("bias", nn.initializers.zeros, (p.out.channels,))
        x = modulated_conv2d_prenorm(
            cast(x, low_dtype(config) if p.is_lowp else None),
            weight,
            style / math.sqrt(p.source.channels) if p.is_rgb else style,
            demodulate=not p.is_rgb,
            padding=p.kernel - 1,
            input_gain=jax.lax.rsqrt(magnitude.value),
        )
        return filtered_lrelu(
            x,
            bias,
            design_lowpass(*p.up_design),
            design_lowpass(*p.down_design),
            up=p.up,
            down=p.down,
            padding=p.padding,
            gain=1.0 if p.is_rgb else math.sqrt(2),
            slope=1.0 if p.is_rgb else 0.2,
            clamp=config.conv_clamp or None,
        )


class Synthesis(nn.Module):
    """The synthesis network of a plan: styles to an image."""

    config: ModelConfig
    plan: Plan

    @nn.compact
    def __call__(self, ws: jax.Array, batch: int = 0) -> jax.Array:
        """Map ws float[n, l, w] to float32[n, h, w, c]; slot 0 belongs to the Fourier features."""
        x = FourierFeatures(self.plan.input, name="input")(ws[:, 0])
        self.sow("intermediates", "features", x)
        for slot, layer in enumerate(self.plan.layers, 1):
            recomputed = 0 < self.config.remat_from <= layer.out.rate  # the gradient keeps the layer's input only
            make: Any = nn.remat(SynthesisLayer, static_argnums=(3,)) if recomputed else SynthesisLayer
            x = make(self.config, layer, name=f"L{layer.index}")(x, ws[:, slot], batch)
            self.sow("intermediates", f"x{layer.index}", x)  # "L…" names the layer itself
        return cast(x, None) * self.config.stylegan3.output_scale


class Generator(nn.Module):
    """Mapping and synthesis networks under one tree."""

    config: ModelConfig

    def setup(self) -> None:
        self.mapping = make_mapping(self.config)
        self.synthesis = Synthesis(self.config, make_plan(self.config))

    def map_latents(self, z: jax.Array, cond: jax.Array) -> jax.Array:
        """Map z float[n, z] and cond float[n, k] to ws float[n, l, w]."""
        w = self.mapping(z, cond)
        return jnp.broadcast_to(w[:, None], (w.shape[0], num_ws(self.synthesis.plan), w.shape[1]))

    def synthesize(self, ws: jax.Array, batch: int = 0) -> jax.Array:
        """Map ws float[n, l, w] to images float32[n, h, w, c]; with `batch`, statistics are updated."""
        return self.synthesis(ws, batch)

    def __call__(self, z: jax.Array, cond: jax.Array) -> jax.Array:
        return self.synthesize(self.map_latents(z, cond))


def num_ws(plan: Plan) -> int:
    """Return the number of style slots: Fourier features, layers and the RGB layer (16 with 14 layers)."""
    return len(plan.layers) + 1


def build(config: ModelConfig) -> Gan:
    """Return the StyleGAN3 bundle of a model configuration."""
    groups = {"freeze_d": discriminator_layers(config), "mapping": ("mapping",), "embed": ("mapping/embed",)}
    groups["no_penalty"] = ("b4/out/bias",)
    plan = make_plan(config)
    spec = make_spec(config.image_shape, config.z_dim, num_ws(plan), config.w_dim, config.label_dim, groups=groups)
    return make_gan(spec, plan, Generator(config), Discriminator(config))


def make_gan(
    spec: GanSpec, plan: Plan, generator: Generator, discriminator: Discriminator, *, moves: bool = True
) -> Gan:
    """Return the bundle of two networks; without `moves`, training leaves the averages of input magnitudes alone.

    The generator has no noise inputs: `noise` and `key` are accepted and ignored.
    """
    label_dim = spec.label_dim

    def init_g(key, frozen=()):
        return dict(generator.init(key, jnp.zeros((1, spec.z_dim)), jnp.zeros((1, label_dim))))

    def init_d(key, frozen=()):
        return dict(discriminator.init(key, jnp.zeros((1, *spec.image_shape)), jnp.zeros((1, label_dim))))

    def map_latents(g, inputs, cond, *, train=False) -> Any:
        return generator.apply(g, inputs["z"], cond, method="map_latents")

    def synthesize(g, ws, inputs, *, noise="const", key=None, train=False, batch=None) -> Any:
        check_noise(noise)
        if not (train and moves):
            return {"image": generator.apply(g, ws, method="synthesize")}, {}
        image, new = generator.apply(g, ws, batch or ws.shape[0], method="synthesize", mutable=["buffers"])
        layers: Any = {k: v for k, v in new["buffers"]["synthesis"].items() if k != "input"}
        return {"image": image}, {"buffers": {"synthesis": layers}}

    def discriminate(d, frozen, sample, cond, *, key=None, train=False) -> Any:
        return discriminator.apply(d, sample["image"], cond), {}

    def features(g, ws, inputs, *, noise="const") -> Any:
        check_noise(noise)
        image, seen = generator.apply(g, ws, method="synthesize", mutable=["intermediates"])
        h, w, _ = spec.image_shape
        rates = {"features": plan.input.rate} | {f"x{layer.index}": layer.out.rate for layer in plan.layers}
        inner = lambda name, x: without_margin(x, (rates[name], rates[name] * w // h))
        return {"image": image}, {name: inner(name, x) for name, x in shown(seen).items()}

    def with_transform(variables, transform):
        buffers = variables["buffers"]
        transform = jnp.asarray(transform, buffers["synthesis"]["input"]["freqs"].dtype)
        return merge(variables, {"buffers": {"synthesis": {"input": {"transform": transform}}}})

    more: Any = {"with_transform": with_transform, "features": features}
    return Gan(spec, init_g, init_d, draw_z(spec), map_latents, synthesize, discriminate, **more)


def without_margin(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Return the centre float[n, *size, c] of a feature map, the part that the picture shows."""
    top, left = ((have - want) // 2 for have, want in zip(x.shape[1:3], size, strict=True))
    return x[:, top : top + size[0], left : left + size[1]]
