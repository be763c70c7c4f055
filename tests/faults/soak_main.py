"""The training command with a made-up feature network, so that metrics need no weights; for soak.py."""

from __future__ import annotations

import ctypes
import os
import pathlib
import sys
import threading
import time

sys.path[:0] = [str(pathlib.Path(__file__).parents[2])]

import metrics_run  # noqa: E402

from stylegan_jax import main  # noqa: E402
from stylegan_jax.base.files import write_whole  # noqa: E402
from stylegan_jax.metrics import detectors  # noqa: E402


class Heap(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]


def tell_used(path: pathlib.Path) -> None:
    """Write the MiB that are allocated, every second: the training keeps what it frees, which hides what it loses."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Heap
    while True:
        heap = mallinfo()
        write_whole(path, f"{(heap.uordblks + heap.hblkhd) / 2**20:.2f}")
        time.sleep(1)


if __name__ == "__main__":
    detectors.load = lambda names, paths: {name: metrics_run.net(name) for name in names}
    threading.Thread(target=tell_used, args=(pathlib.Path(os.environ["SOAK_USED"]),), daemon=True).start()
    main.main()
