"""JAX programs as ONNX graphs, with a batch of any size; knows arrays and primitives, and nothing of networks."""

from stylegan_jax.onnx.convert import OnnxError, to_onnx

__all__ = ["OnnxError", "to_onnx"]
