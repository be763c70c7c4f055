"""The cost of a compiled TPU program, computed from its text, never measured: the parser, the counts, the chips."""

from stylegan_jax.roofline.analysis import iteration, program
from stylegan_jax.roofline.chips import CHIPS, PACKAGE, Chip, compile_devices
from stylegan_jax.roofline.hlo import parse

__all__ = ["CHIPS", "PACKAGE", "Chip", "compile_devices", "iteration", "parse", "program"]
