"""Which platform a program is traced for: the one it runs on, unless it is exported for another."""

from __future__ import annotations

import jax

tracing_for = jax.make_user_context(None)
"""`with tracing_for('gpu'):` traces with the lowerings and precision of 'cpu', 'gpu' or 'tpu', which need not be here.

It is part of the key of JAX's caches, so that nothing traced for one platform is used for another.
"""


def platform() -> str:
    """Return 'cpu', 'gpu' or 'tpu': whose lowerings and precision a trace takes where no caller names them."""
    return tracing_for.value or jax.default_backend()
