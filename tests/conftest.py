"""Eight CPU devices for every test, cheap compilation, and no writes outside the test's own folders."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}"


def pytest_addoption(parser):
    parser.addoption("--golden-dir", help="folder of golden cases for tests/parity (default: tests/golden)")
