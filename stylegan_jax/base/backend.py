"""Which platform a program is traced for: the one it runs on, unless it is exported for another."""

from __future__ import annotations

import jax
import jax.numpy as jnp

tracing_for = jax.make_user_context(None)
"""`with tracing_for('gpu'):` traces with the lowerings and precision of 'cpu', 'gpu' or 'tpu', which need not be
present.

'onnx' is not one of JAX's platforms; what is traced for it is written as an ONNX graph.

It is part of the key of JAX's caches, so that nothing traced for one platform is used for another.
"""


rows_are_split = jax.make_user_context(False)
"""`with rows_are_split(True):` traces for images whose rows lie on several devices: no operation may mix all of them.

Also part of the key of JAX's caches.
"""


def platform() -> str:
    """Return 'cpu', 'gpu', 'tpu' or 'onnx': the platform whose lowerings and precision a trace uses unless the caller
    names one."""
    return tracing_for.value or jax.default_backend()


def stored(x: jax.Array, certain: jax.Array) -> jax.Array:
    """Return x, computed once no matter how many fusions read it.

    XLA may compute an array anew in each fusion that reads it, and round products before a sum in one and not in
    another. So floor(x) in one and x - floor(x) in another may belong to different whole numbers. On CPU a barrier is
    gone before fusions are made, but nothing is fused with the result of a conditional.

    Args:
        x: any shape.
        certain: bool[], true, in a way that the compiler cannot know.
    """
    if platform() != "cpu":
        return jax.lax.optimization_barrier(x)
    return jax.lax.cond(certain, lambda x: x, jnp.zeros_like, x)
