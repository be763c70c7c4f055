"""Install this checkout for the machine of a notebook: python -m notebooks.install [EXTRA ...], at its top.

Chooses the build of JAX by what is there, keeps a TensorFlow that is installed, and says which devices JAX then finds.
Standard library only.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TPUS = ("0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076")
"""PCI numbers of Google's TPUs, whose network cards have the same vendor."""
OLDEST_TENSORFLOW = (2, 19)
PLATFORMS = {"cuda": "gpu", "tpu": "tpu", "": "cpu"}
"""Extra -> what JAX calls its devices."""


def find_accelerator(pci: Path = Path("/sys/bus/pci/devices")) -> str:
    """Return the extra for what this machine has: 'cuda', 'tpu', or '' for CPUs alone."""
    smi = shutil.which("nvidia-smi")
    if smi:
        found = subprocess.run([smi, "--list-gpus"], capture_output=True, text=True, check=False)
        if found.returncode == 0 and "GPU" in found.stdout:
            return "cuda"
    for vendor in pci.glob("*/vendor"):
        if vendor.read_text().strip() == "0x1ae0" and (vendor.parent / "device").read_text().strip() in TPUS:
            return "tpu"
    return ""


def has_tensorflow() -> bool:
    """Return whether a TensorFlow of our oldest version or newer is here, of a build other than tensorflow-cpu."""
    try:
        version = importlib.metadata.version("tensorflow")
        return tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_TENSORFLOW
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False


def command(extras: Sequence[str], keeps_tensorflow: bool) -> tuple[list[str], dict[str, str]]:
    """Return the call of pip, and its environment; see setup.py for the variable."""
    chosen = [extra for extra in extras if extra]
    target = f".[{','.join(chosen)}]" if chosen else "."
    own = {"STYLEGAN_JAX_TENSORFLOW": "own"} if keeps_tensorflow else {}
    return [sys.executable, "-m", "pip", "install", "-q", "-e", target], {**os.environ, **own}


def judge(extra: str, platform: str) -> str:
    """Return what to say about the platform that JAX chose on a machine with an accelerator, or ''."""
    if PLATFORMS[extra] == platform:
        return ""
    return (
        f"warning: this machine has a {PLATFORMS[extra].upper()}, and JAX does not use it (it uses {platform}). See "
        "what `python -c 'import jax; jax.devices()'` prints, and whether `pip list` has a plugin of JAX of another "
        "version than jaxlib; then restart the session and run this cell again"
    )


def main(extras: Sequence[str]) -> int:
    """Install, look; return the exit code."""
    accelerator, keeps = find_accelerator(), has_tensorflow()
    call, environment = command([*extras, accelerator], keeps)
    print(f"installing {call[-1]}{', with the TensorFlow that is here' if keeps else ''}", flush=True)
    code = subprocess.run(call, env=environment, check=False).returncode
    if code:
        return code
    look = "import jax; print(jax.default_backend(), jax.devices())"  # a new process, which finds what is new
    done = subprocess.run([sys.executable, "-c", look], stdout=subprocess.PIPE, text=True, check=False)
    platform, _, devices = done.stdout.strip().partition(" ")
    print(f"devices of JAX: {devices or 'none; the error is above'}")
    if said := judge(accelerator, platform or "nothing"):
        print(said)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
