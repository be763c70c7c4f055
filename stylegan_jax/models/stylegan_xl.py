"""StyleGAN-XL (Sauer et al. 2022): StyleGAN3's synthesis with a stem and heads, class embeddings, small latents.

The averages of input magnitudes are read in every layer and never move, as published: they stay 1 in training.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from stylegan_jax.config import ModelConfig
from stylegan_jax.config.arch.stylegan_xl import make_plan, split_plan
from stylegan_jax.layers.dense import Dense, scaled_normal
from stylegan_jax.layers.mapping import Mapping
from stylegan_jax.models import stylegan3
from stylegan_jax.models.gan import (
    Gan,
    centre_per_class,
    make_spec,
    move_centre_per_class,
    move_one_centre,
    one_centre,
)
from stylegan_jax.models.stylegan2 import Discriminator, discriminator_layers
from stylegan_jax.models.stylegan3 import Synthesis, num_ws


class ClassEmbedding(nn.Module):
    """A row of a table, and a dense layer with leaky ReLU (XL §3.3).

    The table starts from unit normals; the published one has features of EfficientNet-Lite0, averaged per class.

    Attributes:
        rows: classes in the table.
        size: of a row.
        features: output size.
    """

    rows: int
    size: int
    features: int

    @nn.compact
    def __call__(self, cond: jax.Array) -> jax.Array:
        """Map one-hot labels float[n, k], k <= rows, to float[n, features]."""
        table = self.param("weight", scaled_normal(1), (self.rows, self.size))
        return Dense(self.features, activation="lrelu", name="proj")(table[jnp.argmax(cond, axis=1)])


class Generator(stylegan3.Generator):
    """Mapping and synthesis networks under one tree."""

    def setup(self) -> None:
        config, own = self.config, self.config.stylegan_xl
        self.mapping = Mapping(
            config.w_dim,
            config.mapping_layers,
            label_dim=config.label_dim,
            layer_dim=config.mapping_layer_dim,
            lr_mult=config.mapping_lr_mult,
            embedding=functools.partial(
                ClassEmbedding, own.embed_rows, own.embed_dim, config.mapping_embed_dim or config.z_dim
            ),
        )
        self.synthesis = Synthesis(config, make_plan(config))


def build(config: ModelConfig) -> Gan:
    """Return the StyleGAN-XL bundle of a model configuration; the discriminator is StyleGAN2's.

    Without labels the table of embeddings is a parameter that nothing reads, as in official files.
    """
    plan, own, k = make_plan(config), config.stylegan_xl, config.label_dim
    below, new = split_plan(config)
    names = lambda layers: tuple(f"synthesis/L{p.index}" for p in layers)
    groups = {
        "freeze_d": discriminator_layers(config),
        "no_penalty": ("b4/out/bias",),
        "mapping": ("mapping",),
        "embed": ("mapping/embed",),
    }
    if below:
        groups |= {"stem": ("mapping", *names(below)), "input": ("synthesis/input",), "head": names(new)}
    w_avg = (k, config.w_dim) if k else (config.w_dim,)
    spec = make_spec(config.image_shape, config.z_dim, num_ws(plan), config.w_dim, k, groups=groups, w_avg=w_avg)
    gan = stylegan3.make_gan(spec, plan, Generator(config), Discriminator(config), moves=False)

    def init_g(key, frozen=()):
        variables = gan.init_g(key, frozen)
        if k:
            return variables
        draw, params = jax.random.fold_in(key, 1), variables["params"]
        table = {"weight": jax.random.normal(draw, (own.embed_rows, own.embed_dim))}
        return variables | {"params": params | {"mapping": params["mapping"] | {"embed": table}}}

    centre, move = (centre_per_class, move_centre_per_class) if k else (one_centre, move_one_centre)
    return gan._replace(init_g=init_g, centre=centre, move_centre=move)
