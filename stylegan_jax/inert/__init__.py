"""Read pickles as data: nothing in them is imported, looked up or called, and time and memory are bounded.

`machine` runs the opcodes, `stream` bounds the bytes, `arrays` knows how NumPy pickles arrays, and `plain` combines
them for files of containers, numbers, strings and arrays. `tensors` and `standins` add PyTorch's tensors and the names
in official files, and `weights` the containers in which weights are published.
"""

from stylegan_jax.inert.plain import load_plain
from stylegan_jax.inert.stream import RefusedError

__all__ = ["RefusedError", "load_plain"]
