"""Encoders: what each body owes, weights to start from, ReStyle's iterations, and configurations that do not fit."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from stylegan_jax import encoders
from stylegan_jax.base.trees import flatten
from stylegan_jax.config import ConfigError, EncoderConfig
from stylegan_jax.encoders import bodies, restyle
from stylegan_jax.features import efficientnet, irse
from stylegan_jax.features.network import random_tensors

SMALL = {"body_units": (1, 1, 1, 1), "body_widths": (8, 8, 12, 16), "body_squeeze": 4}
NUM_WS, W_DIM, SIZE = 8, 6, 32


def config_of(body: str, **changes) -> EncoderConfig:
    own = {} if body == "efficientnet_lite0" else SMALL
    return EncoderConfig(body=body, **({"image_size": (SIZE, SIZE), "width": 10} | own | changes))


@functools.cache
def encoder_of(body: str, **changes) -> encoders.Encoder:
    return encoders.build(config_of(body, **changes), num_ws=NUM_WS, w_dim=W_DIM, channels=3)


@pytest.mark.parametrize("body", ["ir_se50", "resnet34", "efficientnet_lite0"])
def test_what_every_body_owes(body):
    encoder = encoder_of(body)
    variables = jax.jit(encoder.init)(jax.random.key(0))
    average = jnp.arange(W_DIM, dtype=jnp.float32)
    variables = encoders.with_average(variables, average)
    images = jax.random.normal(jax.random.key(1), (3, 2 * SIZE, 2 * SIZE, 3))

    @jax.jit
    def run(variables, images, stage):
        still, nothing = encoder.encode(variables, images, stage=stage)
        assert nothing == {}
        return still, encoder.encode(variables, images, train=True)

    ws, (trained, moved) = run(variables, images, jnp.asarray(NUM_WS))
    assert ws.shape == trained.shape == (3, NUM_WS, W_DIM) and ws.dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    # what moves is the running statistics of each normalisation, all of them
    before, after = flatten(variables["batch_stats"]), flatten(moved["batch_stats"])
    assert moved.keys() == {"batch_stats"} and {k: x.shape for k, x in before.items()} == {
        k: x.shape for k, x in after.items()
    }
    assert all(np.any(before[name] != after[name]) for name in before)
    # without training an image does not depend on its batch; in training it does
    other = images.at[2].set(0.3)
    again, (trained_again, _) = run(variables, other, jnp.asarray(NUM_WS))
    np.testing.assert_allclose(again[:2], ws[:2], atol=1e-6)
    assert np.abs(again[2] - ws[2]).max() > 2e-5 and np.abs(trained_again[:2] - trained[:2]).max() > 2e-5
    # at stage 0 all slots have one style; the average is beside it
    first, _ = run(variables, images, jnp.asarray(0))
    np.testing.assert_array_equal(first, np.repeat(first[:, :1], NUM_WS, axis=1))
    np.testing.assert_array_equal(first[:, 0], ws[:, 0])
    plain, _ = run(variables | {"average": {"w": jnp.zeros((NUM_WS, W_DIM))}}, images, jnp.asarray(0))
    np.testing.assert_allclose(plain + average[None, None], first, atol=1e-5)


def test_every_parameter_that_is_asked_for_trains():
    encoder = encoder_of("ir_se50")
    variables = jax.eval_shape(encoder.init, jax.random.key(0))
    names = set(variables["params"]["styles"])
    assert names == {f"style{i}" for i in range(NUM_WS)}
    # 32 pixels are 2, 4 and 8 in the maps: one, two and three halvings
    counts = [len(variables["params"]["styles"][f"style{i}"]) - 1 for i in range(NUM_WS)]
    assert counts == [1, 1, 1, 2, 2, 2, 2, 3] and encoder.spec.halvings == (1, 2, 3)
    published = encoders.make_spec(EncoderConfig(), num_ws=18, w_dim=512, channels=3)
    assert published.halvings == (4, 5, 6) and published.width == 512
    flat = EncoderConfig(pyramid=False, residual=True, iterations=5, image_size=(192, 256))
    assert encoders.make_spec(flat, num_ws=18, w_dim=512, channels=3).halvings[0] == 4


def test_published_parameter_counts():
    """Of encoder4editing at 1024 and 32, and of its encoder into W (computed with that code)."""
    counts = {}
    for name, kind, slots in (("1024", "e4e", 18), ("32", "e4e", 8), ("w", "w", 18)):
        encoder = encoders.build(EncoderConfig(kind=kind), num_ws=slots, w_dim=512, channels=3)
        shapes = jax.eval_shape(encoder.init, jax.random.key(0))["params"]
        counts[name] = sum(x.size for x in jax.tree.leaves(shapes)) / 1e6
    assert counts == pytest.approx({"1024": 267.1, "32": 122.9, "w": 31.2}, abs=0.06)


def test_lite0_sees_what_the_classifier_sees(tmp_path):
    tensors = random_tensors(efficientnet.shapes(), 5)
    safetensors.numpy.save_file(tensors, tmp_path / "weights.safetensors")
    config = config_of("efficientnet_lite0", weights=str(tmp_path / "weights.safetensors"))
    encoder = encoders.build(config, num_ws=NUM_WS, w_dim=W_DIM, channels=3)
    start = encoders.load_start(config, encoder)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    assert set(flatten(start["params"]["body"])) == set(flatten(shapes["params"]["body"]))
    params, stats = start["params"]["body"], start["batch_stats"]["body"]

    def norm(x, layer, part):
        own, running = params[layer][part], stats[layer][part]
        scale = own["weight"] / np.sqrt(running["var"] + efficientnet.EPS)
        return (x - running["mean"][None, None, None]) * scale[None, None, None] + own["bias"][None, None, None]

    x = jax.random.uniform(jax.random.key(2), (1, SIZE, SIZE, 3), minval=-1)
    folded = efficientnet.convert(tensors)
    got, want = jax.jit(lambda x: (bodies.lite0(config).maps(params, x, norm), efficientnet.stages(folded, x)))(x)
    for one, other in zip(got, want[::-1], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4 * np.abs(other).max())


def saved_body(encoder, path, channels=3) -> dict[str, np.ndarray]:
    """Write random IR-SE weights under their published names, as for a body that sees `channels`."""
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    rng, out = np.random.default_rng(0), {}
    for kind in ("params", "batch_stats"):
        for name, leaf in flatten(shapes[kind]["body"]).items():
            shape = leaf.shape if name != "input/conv" else (*leaf.shape[:2], channels, leaf.shape[3])
            shape = (
                shape[::-1] if len(shape) == 2 else tuple(shape[i] for i in (3, 2, 0, 1)) if len(shape) == 4 else shape
            )
            shape = (*shape, 1, 1) if len(shape) == 2 else shape
            out[irse.tensor_name(name.split("/"))] = rng.standard_normal(shape).astype(np.float32)
    safetensors.numpy.save_file(out | {"output_layer.3.bias": np.ones(3, np.float32)}, path)
    return out


def test_bodies_start_from_face_weights_whatever_they_see(tmp_path):
    path = tmp_path / "face.safetensors"
    for residual, seen in ((True, 6), (False, 3), (False, 1)):
        config = config_of("ir_se50", weights=str(path), residual=residual)
        encoder = encoders.build(config, num_ws=NUM_WS, w_dim=W_DIM, channels=1 if seen == 1 else 3)
        tensors = saved_body(encoder, path)
        start = encoders.load_start(config, encoder)
        begun = jax.jit(encoder.init)(jax.random.key(3), start)
        kernel, theirs = begun["params"]["body"]["input"]["conv"], tensors["input_layer.0.weight"].transpose(2, 3, 1, 0)
        assert kernel.shape[2] == seen
        np.testing.assert_array_equal(kernel[:, :, :3], theirs.sum(2, keepdims=True) if seen == 1 else theirs)
        assert np.abs(kernel[:, :, 3:]).max(initial=0.1) < 0.2 < np.abs(kernel[:, :, :3]).max()  # the others are drawn
        down = begun["params"]["body"]["unit2"]["down"]
        np.testing.assert_array_equal(down, tensors["body.2.res_layer.5.fc1.weight"][:, :, 0, 0].T)
        var = begun["batch_stats"]["body"]["unit1"]["norm2"]["var"]
        np.testing.assert_array_equal(var, tensors["body.1.res_layer.4.running_var"])


def test_resnet34_starts_from_torchvision_s_file(tmp_path):
    config = EncoderConfig(body="resnet34", body_widths=(4, 4, 6, 8), weights=str(tmp_path / "x.safetensors"))
    encoder = encoders.build(config, num_ws=NUM_WS, w_dim=W_DIM, channels=3)
    norm = lambda name, count: {
        f"{name}.{part}": (count,) for part in ("weight", "bias", "running_mean", "running_var")
    }
    shapes, inside = {"conv1.weight": (4, 3, 7, 7), **norm("bn1", 4), "fc.weight": (10, 8)}, 4
    for group, (count, width) in enumerate(zip((3, 4, 6, 3), (4, 4, 6, 8), strict=True), 1):
        for k in range(count):
            p = f"layer{group}.{k}"
            shapes |= {f"{p}.conv1.weight": (width, inside, 3, 3), f"{p}.conv2.weight": (width, width, 3, 3)}
            shapes |= norm(f"{p}.bn1", width) | norm(f"{p}.bn2", width)
            if group > 1 and k == 0:
                shapes |= {f"{p}.downsample.0.weight": (width, inside, 1, 1)} | norm(f"{p}.downsample.1", width)
            inside = width
    tensors = {name: np.full(shape, i, np.float32) for i, (name, shape) in enumerate(shapes.items())}
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors")
    start = flatten(encoders.load_start(config, encoder))
    assert {float(x.flat[0]) for x in start.values()} == {
        float(x.flat[0]) for n, x in tensors.items() if n != "fc.weight"
    }
    assert start["params/body/block7/conv1"].flat[0] == tensors["layer3.0.conv1.weight"].flat[0]
    assert start["params/body/block7/shortcut"].flat[0] == tensors["layer3.0.downsample.0.weight"].flat[0]
    drawn = set(flatten(jax.eval_shape(encoder.init, jax.random.key(0))["params"]["body"]))
    assert {f"params/body/{name}" for name in drawn} - set(start) == {"params/body/input/prelu"}


def test_weights_that_do_not_fit(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLEGAN_JAX_FEATURES", str(tmp_path))
    load = lambda config: encoders.load_start(config, encoders.build(config, num_ws=8, w_dim=6, channels=3))
    assert load(config_of("ir_se50")) == {}
    with pytest.raises(ConfigError, match=r"(?s)'published': no weights for 'ir_se50'.*\n  model_ir_se50\.pth"):
        load(config_of("ir_se50", weights="published"))
    with pytest.raises(ConfigError, match="no published file"):
        load(config_of("ir_se100", weights="published"))
    saved_body(encoder_of("ir_se50"), tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="shape"):
        load(config_of("ir_se50", weights=str(tmp_path / "x.safetensors"), body_widths=(8, 8, 12, 20)))
    with pytest.raises(ConfigError, match=r"lacks the tensor 'body\.4"):
        load(config_of("ir_se50", weights=str(tmp_path / "x.safetensors"), body_units=(1, 1, 1, 2)))


def test_configurations_that_do_not_fit():
    build = lambda body="ir_se50", channels=3, **changes: encoders.build(
        config_of(body, **changes), num_ws=8, w_dim=6, channels=channels
    )
    bad = {
        "did you mean 'ir_se50'": lambda: build("ir_se5"),
        "encoder.kind": lambda: build(kind="w+"),
        "must have 4 entries": lambda: build(body_units=(1, 2)),
        "it must divide every width": lambda: build(body_widths=(8, 8, 10, 16)),
        "only a residual encoder makes several passes": lambda: build(iterations=5),
        "reads 1 .grey. or 3": lambda: build("efficientnet_lite0", channels=4),
        "encoder.image_size": lambda: build(image_size=(0, 32)),
    }
    for words, make in bad.items():
        with pytest.raises(ConfigError, match=words):
            make()


def test_only_residual_encoders_repeat():
    encoder = encoder_of("ir_se50")
    for count in (0, 2):
        with pytest.raises(ValueError, match=f"iterations is {count}; it must be 1"):
            restyle.iterate(encoder, {}, lambda ws: ws, jnp.zeros((1, 8, 8, 3)), count)
