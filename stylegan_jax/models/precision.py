"""Which activations are in low precision (design decision 6, ADA App. C)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from stylegan_jax.base import backend
from stylegan_jax.config import ModelConfig


def low_dtype(config: ModelConfig) -> jnp.dtype | None:
    """Return the dtype of the layers that may use low precision; None: none does."""
    dtype = config.compute_dtype
    if dtype == "auto":
        dtype = "float32" if backend.platform() == "cpu" else "bfloat16"
    return jnp.dtype(dtype) if dtype != "float32" else None


def cast(x: jax.Array, dtype: jnp.dtype | None) -> jax.Array:
    """Cast to a low-precision dtype, or back to at least float32."""
    return x.astype(dtype or jnp.promote_types(x.dtype, jnp.float32))
