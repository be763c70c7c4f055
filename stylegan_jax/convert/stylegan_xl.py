"""The names of StyleGAN-XL's official files: StyleGAN3's for stem and heads, with a table of class embeddings.

The table is stored untransposed, unlike the weights of dense layers. Layer numbers skip one where the first head
begins.
"""

from __future__ import annotations

from collections.abc import Iterable

from stylegan_jax.config import ModelConfig
from stylegan_jax.config.arch.stylegan_xl import make_plan
from stylegan_jax.convert.stylegan2 import discriminator
from stylegan_jax.convert.stylegan3 import names_of
from stylegan_jax.convert.tables import LAYOUTS, Names, Path

__all__ = ["discriminator", "generator"]

TABLE: Path = ("params", "mapping", "embed", "weight")


def generator(config: ModelConfig, paths: Iterable[Path]) -> Names:
    """Return the names of a generator."""
    names = names_of(make_plan(config))
    official = lambda path: names.official(path).replace("mapping.embed.proj.", "mapping.embed_proj.")
    return names._replace(official=official, exceptions={TABLE: LAYOUTS["same"]})
