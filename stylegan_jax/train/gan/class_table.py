"""Class embeddings initialised from a table in a file (`config.train.class_table`), as in StyleGAN-XL (§3.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax

from stylegan_jax.base.spec import Tree, Variables
from stylegan_jax.config import ConfigError, ExperimentConfig, ModelConfig
from stylegan_jax.features import FeatureError
from stylegan_jax.features.class_table import NAME, place, read_class_table
from stylegan_jax.features.network import digest
from stylegan_jax.models import Gan
from stylegan_jax.train.task import Frozen


def from_class_table(gan: Gan, config: ExperimentConfig) -> Gan:
    """Return a bundle whose class embeddings, in G and D, are initialised from the frozen network `NAME`.

    Raises:
        ConfigError: neither network has a table of embeddings, or their tables have different shapes.
    """
    tables = config.model.class_tables
    table_shape(config)

    def started(init: Callable[..., Variables]) -> Callable[..., Variables]:
        def init_with_table(key: jax.Array, frozen: Mapping[str, Tree]) -> Variables:
            return place(init(key, frozen), frozen[NAME])

        return init_with_table

    return gan._replace(
        spec=gan.spec._replace(frozen=(*gan.spec.frozen, NAME)),
        init_g=started(gan.init_g) if "g" in tables else gan.init_g,
        init_d=started(gan.init_d) if "d" in tables else gan.init_d,
    )


def load_class_table(config: ExperimentConfig) -> Frozen:
    """Read the table of `config.train.class_table`.

    Raises:
        ConfigError: the file is missing or unreadable, or its table does not fit the networks or the labels.
    """
    path = config.train.class_table
    try:
        table, _ = read_class_table(path, *table_shape(config), classes=config.model.label_dim)
    except FeatureError as error:
        raise ConfigError(
            f"config.train.class_table={path}: {error}\nWithout a file, config.train.class_table='' initialises the "
            "embeddings at random, unlike the published models"
        ) from None
    return Frozen(table, digest(table))


def table_shape(config: ExperimentConfig) -> tuple[int, int]:
    """Return (rows, size) of the tables to initialise from the file; raises the errors of `from_class_table`."""
    model, path = config.model, config.train.class_table
    shapes = set(model.class_tables.values())
    if not shapes:
        raise ConfigError(
            f"config.train.class_table is {path!r}, but neither network has a table of class embeddings; use arch "
            "'stylegan_xl' or, with labels, d_arch 'projected', which have one, or class_table=''"
        )
    if len(shapes) > 1:
        raise ConfigError(
            f"config.train.class_table is {path!r}, but the tables differ: {_described(model)}; one file initialises "
            "both, so set the same embed_rows and embed_dim in both groups"
        )
    return shapes.pop()


def _described(model: ModelConfig) -> str:
    groups = {"g": "config.model.stylegan_xl", "d": "config.model.projected"}
    return ", ".join(f"{groups[net]} has {rows} rows of {size}" for net, (rows, size) in model.class_tables.items())
