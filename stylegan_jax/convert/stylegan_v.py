"""The names of StyleGAN-V's official files: StyleGAN2's, and those of motion and time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from stylegan_jax.config import ModelConfig
from stylegan_jax.config.arch.stylegan_v import gap_frequencies
from stylegan_jax.convert import stylegan2
from stylegan_jax.convert.stylegan2 import dotted
from stylegan_jax.convert.tables import LAYOUTS, Fixed, Layout, Names, Path

ROW = Layout(lambda x: x[0], lambda x: x[None], lambda s: (1, *s))
"""A vector that official files store as a matrix of one row."""
ROWS = Layout(lambda x: x.transpose(2, 1, 0), lambda x: x.transpose(2, 1, 0), lambda s: s[::-1])
"""A convolution over rows."""
MOTION: dict[Path, str] = {
    ("trajectory", "conv0"): "conv.0",
    ("trajectory", "conv1"): "conv.1",
    ("time", "periods"): "time_encoder.periods_predictor",
    ("time", "phases"): "time_encoder.phase_predictor",
    ("time", "aligners"): "time_encoder.aligners_predictor",
}
"""Layers of the motion network."""


def generator(config: ModelConfig, paths: Iterable[Path]) -> Names:
    """Return the names of a generator with leaves at these paths."""
    paths, is_appended = list(paths), config.stylegan_v.cond_type == "concat_const"

    def official(path: Path) -> str:
        if path[1:2] == ("motion",):
            inside = MOTION.get(path[2:4], "time_encoder")
            return f"synthesis.motion_encoder.{inside}.{path[-1]}"
        if path[-1] == "const":
            return "synthesis.b4.input.input" + (".const" if is_appended else "")
        return dotted(path)

    exceptions = {path: ROW for path in paths if path[0] == "buffers"}
    exceptions |= {path: ROWS for path in paths if path[2:3] == ("trajectory",) and path[-1] == "weight"}
    exceptions |= {("params", "synthesis", "b4", "const"): LAYOUTS["tf_const"]} if is_appended else {}
    blocks = stylegan2.generator(config, [path for path in paths if path[1:2] == ("synthesis",)])
    return Names(official, exceptions=exceptions, fixed=blocks.fixed)


def discriminator(config: ModelConfig, paths: Iterable[Path]) -> Names:
    """Return the names of a discriminator; see `generator`."""
    paths, table = list(paths), ("params", "gaps", "weight")
    plain = stylegan2.discriminator(config, paths)
    fixed = dict(plain.fixed)
    if table in paths:
        waves = np.asarray([gap_frequencies(config.stylegan_v)], np.float32)
        fixed["time_encoder.time_encoder.fourier_coefs"] = Fixed(waves, "the frequencies that max_num_frames sets")

    def official(path: Path) -> str:
        return "time_encoder.const_embed.weight" if path == table else dotted(path)

    return Names(official, exceptions={**plain.exceptions, table: LAYOUTS["same"]}, fixed=fixed)
