"""JAX programs as ONNX graphs, with a batch of any size. It deals with arrays and primitives, not with networks."""

from stylegan_jax.onnx.convert import OnnxError, to_onnx

__all__ = ["OnnxError", "to_onnx"]
