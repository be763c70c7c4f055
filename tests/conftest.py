"""Eight CPU devices for every test, and cheap compilation, which is where the tests' time goes."""

import os
from importlib import metadata

os.environ["JAX_PLATFORMS"] = "cpu"
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
if metadata.version("jaxlib").startswith("0.10."):  # other versions may not know it, and abort on what they do not know
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}"


def pytest_addoption(parser):
    parser.addoption("--golden-dir", help="folder of golden cases for tests/parity (default: tests/golden)")
