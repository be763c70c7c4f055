"""Checkpoints of other code bases: reading pickles as data, name tables and model folders."""

from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.folder import model_config, read_model_folder, write_model_folder
from stylegan_jax.convert.importer import convert_pickle, official_state_dicts
from stylegan_jax.convert.pickles import OfficialNet, OfficialPickle, read_official_pickle, read_plain_pickle

__all__ = [
    "BadCheckpointError",
    "OfficialNet",
    "OfficialPickle",
    "convert_pickle",
    "model_config",
    "official_state_dicts",
    "read_model_folder",
    "read_official_pickle",
    "read_plain_pickle",
    "write_model_folder",
]
