"""`benchmark(config, options)`: measure everything requested in one process, and return one record."""

from __future__ import annotations

import contextlib
import datetime
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stylegan_jax.base.trees import flatten
from stylegan_jax.config import ExperimentConfig, check_devices
from stylegan_jax.runtime.compiling import use_compilation_cache
from stylegan_jax.runtime.mesh import layout_of
from stylegan_jax.tools.benchmark import data, machine, programs
from stylegan_jax.tools.benchmark.measure import Measurement, Options, compute_dtype
from stylegan_jax.train.names import check_config

WHAT = ("train", "sample", "data", "compile")


def progress() -> Callable[[str], None]:
    """Return a function that prints a line to standard error, with the seconds since now."""
    start = time.monotonic()
    return lambda text: print(f"[{time.monotonic() - start:6.1f} s] {text}", file=sys.stderr, flush=True)


def benchmark(
    config: ExperimentConfig,
    options: Options,
    devices: Sequence[Any] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure a configuration; no data set is needed except for 'data'.

    Args:
        config: the whole experiment; training uses its batch size, loss and cadence with synthetic images.
        options: what to measure.
        devices: the devices of which config.train.num_devices are used; None: all.
        say: called with a line of progress.

    Returns:
        A record of plain values, as `--json` writes it; `report.table` prints it.

    Raises:
        ConfigError: the devices do not divide a batch, the length of labels is unknown, or a program does not fit in
            memory.
        DataError: the source of 'data' cannot be opened.
    """
    layout = layout_of(config, devices)
    check_config(config)
    check_devices(config, layout.shards)
    record: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "what": list(options.what),
        "repeats": options.repeats,
        "machine": machine.describe(layout.mesh.devices.flat[0], layout.mesh.size),
        "config": config.to_dict(),
        "compute_dtype": compute_dtype(config).name,
    }
    if set(options.what) != {"data"}:
        cold = "compile" in options.what
        if not cold:
            use_compilation_cache(config.train.compilation_cache)
        with programs.no_compilation_cache() if cold else contextlib.nullcontext():
            record |= Measurement(config, options, layout, say).go()
    if "data" in options.what:
        record["data"] = data.time_data(config, layout, options.repeats, say)
    return record


def config_diff(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, list]:
    """Return {key: [default, value]} of the keys that differ."""
    old, new = flatten(defaults, "."), flatten(config, ".")
    plain = lambda value: list(value) if isinstance(value, tuple) else value
    return {key: [plain(old.get(key)), new[key]] for key in new if plain(old.get(key)) != new[key]}
