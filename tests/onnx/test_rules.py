"""Functions of JAX as ONNX graphs compute what JAX computes, for any batch; what cannot be written is named."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from stylegan_jax.onnx import OnnxError, to_onnx
from stylegan_jax.ops import fir

IMAGE = ("b", 6, 5, 4)
W = np.random.default_rng(0).standard_normal((3, 3, 4, 6)).astype(np.float32)
TABLE = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32)
TAPS = fir.setup_filter([1, 3, 3, 1])
RADIAL = np.outer([1, 2, 4, 2, 1], [1, 3, 4, 3, 1]).astype(np.float32)


def conv(x, w, strides=(1, 1), padding=((1, 1), (1, 1)), **more):
    spec = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=spec, **more)


def resample(x, **options):
    return fir.upfirdn2d(x, options.pop("f", TAPS), lowering="depthwise", **options)


FUNCTIONS = {
    "arithmetic": lambda w, x: (-x + 2) * x - x / (x * x + 1) + x**3 + jnp.square(x) + 1 / (2 + x**2),
    "roots": lambda w, x: jnp.sqrt(x * x + 1) * jax.lax.rsqrt(x * x + 2) + jnp.abs(x) ** 1.5,
    "transcendental": lambda w, x: jnp.exp(x) + jnp.log(x * x + 1) + jnp.tanh(x) + jnp.sin(x) + jnp.cos(x),
    "sigmoids": lambda w, x: jax.nn.sigmoid(x) + jax.lax.erf(x) + jax.nn.silu(x),
    "comparisons": lambda w, x: jnp.where((x > 0.2) & ~(x >= 1) | (x < -1), x, jnp.where(x == x, 0.5, x)),
    "not_equal": lambda w, x: jnp.where(x != jnp.round(x), x, 1.0),
    "rounding": lambda w, x: jnp.floor(x) + jnp.ceil(2 * x) + jnp.round(3 * x) + jnp.sign(x) + jax.lax.rem(x, 0.7),
    "limits": lambda w, x: jnp.clip(x, -0.5, 0.5) + jnp.maximum(x, 0) + jnp.minimum(x, jnp.mean(x)),
    "pixels": lambda w, x: jnp.clip(jnp.round(x * 127.5 + 128), 0, 255).astype(jnp.uint8),
    "batch_mean": lambda w, x: x - 0.5 * x.mean(axis=0, keepdims=True),
    "reductions": lambda w, x: x.sum(axis=(1, 2)) + x.max(axis=(1, 2)) - x.min(axis=(1, 2)) + x[:, :, 0].prod(axis=1),
    "slices": lambda w, x: jax.lax.slice(x, (0, 1, 0, 1), (x.shape[0], 5, 5, 3), (1, 2, 1, 1))[..., ::-1],
    "one_row": lambda w, x: x[:, 2] + x[:, -1],
    "turned": lambda w, x: x.transpose(0, 3, 1, 2).reshape(x.shape[0], 4, 30)[:, ::-1],
    "joined": lambda w, x: jnp.concatenate([x, x * 2, jnp.ones_like(x)], axis=1),
    "stacked": lambda w, x: jnp.stack([x, -x], axis=2),
    "parts": lambda w, x: sum(jnp.split(x, [2, 3], axis=3)[i].sum(axis=3) for i in range(3)),
    "padded": lambda w, x: jax.lax.pad(x, 1.5, ((0, 0, 0), (2, -1, 0), (-1, 3, 0), (0, 0, 0))),
    "sums": lambda w, x: jnp.cumsum(x, axis=2),
    "numbers": lambda w, x: x * jnp.arange(5)[:, None] + jnp.eye(5, 4),
    "constant_over_the_batch": lambda w, x: jnp.broadcast_to(w["const"], (x.shape[0], 4)) + 0 * x[:, 0, 0],
    "rows_by_number": lambda w, x: w["table"][jnp.argmax(x[:, 0, 0], axis=1)],
    "rows_of_each_by_number": lambda w, x: jax.vmap(lambda x, i: x.at[i].get(mode="fill", fill_value=0))(
        x, jnp.argmax(x[:, :, :3], axis=3)
    ),
    "product": lambda w, x: x @ w["square"] + jnp.einsum("nhwi,hj->nijw", x, jnp.ones((6, 2))).mean(),
    "product_in_front": lambda w, x: jnp.tensordot(w["front"], x, axes=(1, 1)).transpose(1, 0, 2, 3),
    "product_of_batches": lambda w, x: jnp.einsum("nhwi,nhvi->nhwv", x, x),
    "convolution": lambda w, x: conv(x, w["kernel"]),
    "convolution_with_stride": lambda w, x: conv(x, w["kernel"], (2, 2), ((1, 0), (-1, 2))),
    "convolution_in_groups": lambda w, x: conv(x, w["kernel"][:, :, :2], feature_group_count=2),
    "convolution_with_holes": lambda w, x: conv(x, w["kernel"], rhs_dilation=(2, 1), padding=((2, 2), (1, 1))),
    "transposed": lambda w, x: conv(x, w["kernel"], padding=((2, 2), (2, 1)), lhs_dilation=(2, 2)),
    "transposed_beyond": lambda w, x: conv(x, w["kernel"], padding=((4, 3), (0, 1)), lhs_dilation=(2, 3)),
    "transposed_in_groups": lambda w, x: conv(
        x, w["kernel"][:, :, :2], padding=((2, 2), (1, 1)), lhs_dilation=(2, 2), feature_group_count=2
    ),
    "kernel_at_run_time": lambda w, x: conv(x, w["kernel"] * x.mean()),
    "enlarged": lambda w, x: resample(x, up=2, padding=(2, 1)),
    "shrunk": lambda w, x: resample(x, down=2, padding=(1, 1)),
    "both": lambda w, x: resample(x, up=(3, 2), down=(2, 3), padding=(2, 3, 1, 2), gain=2.0),
    "radial": lambda w, x: resample(x, f=RADIAL, up=2, padding=(-1, 3)),
    "inner_program": lambda w, x: jax.jit(jnp.tanh)(x) + jax.checkpoint(jax.nn.relu)(x),
}
WEIGHTS = {
    "const": np.arange(4, dtype=np.float32),
    "front": W[0, :, 0, :].reshape(3, 6),
    "kernel": W,
    "square": W[0, 0, :, :4].copy(),
    "table": np.concatenate([TABLE, TABLE + 1])[:4],
}


def run(model, *inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]
    (got,) = session.run(None, dict(zip(names, inputs, strict=True)))
    return got


@pytest.fixture(scope="module")
def together():
    """Return one model of all functions, the same in one program of JAX, and their names and sizes."""
    names = list(FUNCTIONS)

    def every(weights, x):
        outs = [FUNCTIONS[name](weights, x).astype(jnp.float32) for name in names]
        return jnp.concatenate([out.reshape(x.shape[0], -1) for out in outs], axis=1)

    like = jax.ShapeDtypeStruct((1, *IMAGE[1:]), jnp.float32)
    with jax.numpy_rank_promotion("allow"):
        sizes = [int(np.prod(jax.eval_shape(FUNCTIONS[name], WEIGHTS, like).shape)) for name in names]
        model = to_onnx(every, WEIGHTS, {"x": IMAGE}, "out")
        return model, jax.jit(every), dict(zip(names, np.cumsum([0, *sizes[:-1]]), strict=True), end=sum(sizes))


@pytest.mark.parametrize("count", [1, 3])
def test_every_rule_computes_what_jax_computes(together, count):
    model, function, starts = together
    x = np.random.default_rng(count).standard_normal((count, *IMAGE[1:])).astype(np.float32)
    with jax.numpy_rank_promotion("allow"):
        want = np.asarray(function(WEIGHTS, x))
    got = run(model, x)
    assert got.shape == want.shape
    ends = [*list(starts.values())[1:], starts["end"]]
    for (name, start), end in zip(list(starts.items())[:-1], ends, strict=False):
        a, b = got[:, start:end], want[:, start:end]
        assert np.ptp(b) > 0, name
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5, err_msg=name)


def test_a_batch_stays_symbolic_and_weights_keep_their_names():
    model = to_onnx(lambda w, x: x @ w["a/b"], {"a/b": WEIGHTS["square"]}, {"x": ("b", 4)}, "out")
    (shape,) = [[d.dim_param or d.dim_value for d in out.type.tensor_type.shape.dim] for out in model.graph.output]
    assert shape == ["batch", 4]
    assert [x.name for x in model.graph.initializer] == ["a/b"]


def test_what_is_known_at_export_is_computed_there():
    weights = {"a": WEIGHTS["square"]}
    model = to_onnx(lambda w, x: x * jnp.tanh(w["a"] * 2).sum(axis=0), weights, {"x": ("b", 1, 4)}, "out")
    assert [node.op_type for node in model.graph.node] == ["Mul", "Identity"]


def test_weights_in_float16_take_half_the_space():
    big = {"w": np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)}
    plain, half = (to_onnx(lambda w, x: x @ w["w"], big, {"x": ("b", 64)}, "out", half=h) for h in (False, True))
    assert half.ByteSize() < 0.52 * plain.ByteSize()
    x = np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)
    want = x @ big["w"].astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(run(half, x), want, rtol=1e-5, atol=1e-5)
    with pytest.raises(OnnxError, match="values above 65504"):
        to_onnx(lambda w, x: x @ w["w"], {"w": big["w"] * 1e6}, {"x": ("b", 64)}, "out", half=True)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda w, x: jnp.sort(x), "'sort' of JAX has no rule for ONNX"),
        (lambda w, x: jax.lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1))), "'pad': padding between elements"),
        (lambda w, x: x[:2], "'gather': a size depends on the batch"),
        (lambda w, x: x * jnp.arange(x.shape[0])[:, None], "'iota' counts along the batch"),
    ],
)
def test_what_cannot_be_written_is_named(function, text):
    with pytest.raises(OnnxError, match=text):
        to_onnx(function, {}, {"x": ("b", 4)}, "out")


def test_the_checker_of_the_format_accepts_every_rule(together):
    onnx.checker.check_model(together[0], full_check=True)
