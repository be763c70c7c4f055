"""Eight CPU devices for every test, and cheap compilation, which is where the tests' time goes."""

import importlib
import os
from importlib import metadata

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
if metadata.version("jaxlib").startswith("0.10."):  # other versions may not know it, and abort on what they do not know
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}"


def pytest_addoption(parser):
    parser.addoption("--golden-dir", help="folder of golden cases for tests/parity (default: tests/golden)")
    parser.addoption("--lowerings", default="", help="of operations, as conv=library,fir=banded,filtered_lrelu=lean")


def pytest_configure(config):
    for choice in filter(None, config.getoption("--lowerings").split(",")):
        name, _, lowering = choice.partition("=")
        operation = importlib.import_module(f"stylegan_jax.ops.{name}")
        if lowering not in operation.LOWERINGS:
            raise pytest.UsageError(f"--lowerings={choice}: ops.{name} has {', '.join(operation.LOWERINGS)}")
        operation.DEFAULT = lowering
