"""One of two processes of a run with a checkpoint that gets damaged; run by test_checkpoint_processes.py."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import time

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from stylegan_jax.checkpoints.checkpointer import Checkpointer, NonFiniteError, restore_g_ema
from stylegan_jax.runtime.signals import StopSignal

VALUES = np.arange(4096, dtype=np.float32).reshape(64, 64)


def main() -> None:
    """Save twice, damage the newest, restore, save again; print what happened as JSON."""
    process, port, directory = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, process)
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))

    def spread(values: np.ndarray, spec: PartitionSpec) -> jax.Array:
        return jax.make_array_from_callback(values.shape, NamedSharding(mesh, spec), lambda index: values[index])

    def state_of(step: int) -> dict[str, jax.Array]:
        return {"whole": spread(VALUES * step, PartitionSpec()), "split": spread(VALUES + step, PartitionSpec("data"))}

    report: dict[str, object] = {}
    with Checkpointer(directory) as checkpointer:
        for step in (1, 2):
            state = state_of(step)
            checkpointer.save(step, state, {"w": state["whole"]}, {"nimg": step})
        checkpointer.wait()
        if process == 0:
            files = (path for path in (directory / "checkpoints/2/state").rglob("*") if path.parent.name == "d")
            largest = max(files, key=lambda path: path.stat().st_size)
            data = bytearray(largest.read_bytes())
            data[len(data) // 2] ^= 1
            largest.write_bytes(data)
        multihost_utils.sync_global_devices("damaged")
        found = checkpointer.restore(state_of(0))
        assert found is not None
        state, meta, step = found
        whole, split = (multihost_utils.process_allgather(state[name], tiled=True) for name in ("whole", "split"))
        report |= {"step": step, "nimg": meta["nimg"], "left": checkpointer.steps()}
        report["equal"] = bool(np.array_equal(whole, VALUES * step) and np.array_equal(split, VALUES + step))
        try:
            broken = VALUES.copy()
            broken[-1] = np.nan
            checkpointer.save(2, state | {"split": spread(broken, PartitionSpec("data"))}, {"w": state["whole"]}, {})
        except NonFiniteError as error:
            report["refused"] = "'split'" in str(error)
        checkpointer.save(2, state, {"w": state["whole"]}, {})
        checkpointer.wait()
        report["saved"] = checkpointer.steps()
    if process == 0:
        report["sampled"] = restore_g_ema(directory)[2]  # by one process alone
    with StopSignal() as stop:
        if process == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        step = 0
        while not stop.agreed():  # it takes the coordination service about a second
            step, _ = step + 1, time.sleep(0.05)
        report["stop"] = step == int(multihost_utils.broadcast_one_to_all(np.asarray(step)))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
