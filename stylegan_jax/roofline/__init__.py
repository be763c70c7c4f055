"""What a compiled TPU program costs by its text: the parser, the counts, the chips. Computed, never measured."""

from stylegan_jax.roofline.analysis import iteration, program
from stylegan_jax.roofline.chips import CHIPS, PACKAGE, Chip, compile_devices
from stylegan_jax.roofline.hlo import parse

__all__ = ["CHIPS", "PACKAGE", "Chip", "compile_devices", "iteration", "parse", "program"]
