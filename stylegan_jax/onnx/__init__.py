"""JAX programs as ONNX graphs, with a batch of any size. This folder knows arrays and primitives, but no networks."""

from stylegan_jax.onnx.convert import OnnxError, to_onnx

__all__ = ["OnnxError", "to_onnx"]
