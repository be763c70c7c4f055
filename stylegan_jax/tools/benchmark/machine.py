"""The machine: its devices, their free memory, and what to record about them."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from stylegan_jax import __version__
from stylegan_jax.config import ConfigError, suggest

PLATFORMS = ("cpu", "gpu", "tpu")


def find_devices(wanted: str) -> list[Any]:
    """Return the devices named 'cpu', 'gpu', 'tpu', or a single one such as 'gpu:1'; all default devices for ''.

    Call this before JAX is used: on a machine with an accelerator, 'cpu' keeps JAX from claiming it.

    Raises:
        ConfigError: there is no such platform or device; the message lists those that are present.
    """
    name, colon, index = wanted.partition(":")
    if name and name not in PLATFORMS:
        raise ConfigError(f"--device={wanted}: {suggest(name, PLATFORMS)}")
    if colon and not (index.isascii() and index.isdecimal() and len(index) < 10):
        raise ConfigError(f"--device={wanted}: write {name}:0 for the first one, or {name} for all")
    if name == "cpu":
        jax.config.update("jax_platforms", "cpu")
    devices = jax.devices()
    present = f"{devices[0].platform} ({len(devices)}: {devices[0].device_kind})"
    if name and devices[0].platform != name:
        raise ConfigError(f"--device={wanted} is not present; JAX has {present}")
    if not colon:
        return devices
    if int(index) >= len(devices):
        raise ConfigError(f"--device={wanted} is not present; JAX has {present}, counted from 0")
    return [devices[int(index)]]


def free_bytes(device: Any) -> int | None:
    """Return a device's free memory in bytes: of the machine for a CPU; None if unknown."""
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0) if "bytes_limit" in stats else None
    free = []
    if found := re.search(r"^MemAvailable: *(\d+) kB", _read("/proc/meminfo"), re.MULTILINE):
        free.append(int(found[1]) * 1024)
    elif "SC_PHYS_PAGES" in os.sysconf_names:
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit, used = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    if limit.isdigit() and used.isdigit():  # a container's share
        free.append(int(limit) - int(used))
    return min(free, default=None)


def describe(device: Any, count: int) -> dict[str, Any]:
    """Return the facts on which measurements depend: devices, CPU, memory, versions."""
    cpu = re.search(r"^model name\s*: (.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "platform": device.platform,
        "device_kind": device.device_kind,
        "devices": count,
        "cpu": cpu[1] if cpu else platform.processor() or platform.machine(),
        "cores": cores,
        "memory_free_bytes": free_bytes(device),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions("jax", "jaxlib", "flax", "numpy"),
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of this package, of Python and of installed packages."""
    own = {"stylegan_jax": __version__, "python": platform.python_version()}
    return own | {name: metadata.version(name) for name in packages}


class OtherWork:
    """Share of the CPUs that others have taken since this was created: other processes, or guests of a hypervisor."""

    def __init__(self):
        self._start = self._now()

    def fraction(self) -> float | None:
        """Return their share of all CPU time, 0 to 1; None if unknown."""
        start, now = self._start, self._now()
        if start is None or now is None or now[1] <= start[1]:
            return None
        busy, whole, own = (after - before for before, after in zip(start, now, strict=True))
        return min(max((busy - own) / whole, 0.0), 1.0)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Return CPU seconds since boot: busy, total, and of this process."""
        found = re.match(r"cpu +((?:\d+ ?){8})", _read("/proc/stat"))
        if not found:
            return None
        spent = [int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in found[1].split()]
        own = os.times()
        return sum(spent) - spent[3] - spent[4], sum(spent), own.user + own.system


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
