"""Float64 and no implicit rank promotion, so that a wrong formula cannot hide behind rounding or broadcasting."""

import jax
import numpy as np
import pytest

from .helpers import configure


@pytest.fixture(autouse=True)
def _strict():
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def normal():
    """Return normal(shape) in float64 from a fixed seed."""
    return np.random.default_rng(0).standard_normal


@pytest.fixture
def strength():
    """Return the published strengths."""
    return configure().strength
