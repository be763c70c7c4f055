"""Every feature network against another implementation, whose results lie in peers/results.npz."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import features
from stylegan_jax.features import FeatureError, deit, dinov2, load_features, random_features, vgg
from stylegan_jax.features.network import build, random_tensors
from stylegan_jax.metrics import definitions

from . import inputs

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def results():
    with np.load(inputs.RESULTS) as archive:
        return dict(archive)


def run(net, images, *outputs):
    """Return the outputs of a network, compiled."""
    apply = jax.jit(net.apply, static_argnums=2)
    return {k: np.asarray(v) for k, v in apply(net.params, images, outputs or tuple(net.outputs)).items()}


def assert_close(got, expected):
    """Assert equality to 1e-4 of the largest value."""
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < TOLERANCE * np.abs(expected).max()


def published(name):
    """Load published weights, or skip."""
    try:
        return load_features(name)
    except FeatureError as error:
        pytest.skip(f"{str(error).splitlines()[0]} (pip install -e '.[features]')")


@pytest.fixture(scope="module")
def inception():
    net = random_features("inception", inputs.SEED)
    return net, run(net, inputs.images("inception"))


def test_inception_equals_torch_fidelity(inception, results):
    net, got = inception
    for name, length in net.outputs.items():
        assert got[name].shape == (2, length)
        assert_close(got[name], results[f"inception/{name}"])


def test_inception_equals_the_module_tree_of_the_official_archive(inception, results):
    """There images are resized by an affine grid, and the weights have other names."""
    for name in ("pool", "probs_no_bias"):
        assert_close(inception[1][name], results[f"official/{name}"])


def test_only_what_is_asked_for_comes_out(inception):
    net, _ = inception
    shapes = jax.eval_shape(lambda p: net.apply(p, inputs.images("inception"), ("spatial", "pool")), net.params)
    assert {name: value.shape for name, value in shapes.items()} == {"spatial": (2, 2023), "pool": (2, 2048)}


def test_a_batch_that_is_split_over_devices_stays_split():
    """No device needs another one's images: the compiled program communicates nothing."""
    net = random_features("alexnet_lpips", inputs.SEED)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, whole = (jax.sharding.NamedSharding(mesh, jax.P(*axes)) for axes in (("data",), ()))
    apply = jax.jit(lambda p, x: net.apply(p, x, ("lpips",)), in_shardings=(whole, rows), out_shardings=rows)
    text = apply.lower(net.params, np.zeros((8, 160, 150, 3), np.float32)).compile().as_text()
    assert not [word for word in ("all-gather", "all-reduce", "all-to-all", "collective-permute") if word in text]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "vgg16"])
def test_classifier_equals_its_peer(name, results):
    net = random_features(name, inputs.SEED)
    got = run(net, inputs.images(name))
    for output, length in net.outputs.items():
        assert got[output].shape == (2, length)
        assert_close(got[output], results[f"{name}/{output}"])


def distance(net, first, second):
    """Return the squared distances of the features of two batches of pixels."""
    both = run(net, np.concatenate([first, second]))["lpips"]
    return ((both[: len(first)] - both[len(first) :]) ** 2).sum(1)


@pytest.mark.parametrize("name", ["vgg16_lpips", "alexnet_lpips"])
def test_lpips_equals_the_lpips_package(name, results):
    images = inputs.images(name)
    got = distance(random_features(name, inputs.SEED), images[:1], images[1:])
    np.testing.assert_allclose(got, results[f"{name}/distance"], rtol=TOLERANCE)


def test_what_comes_out_of_the_convolutions_is_averaged_over_positions():
    net, x = random_features("vgg16_lpips", inputs.SEED), inputs.images("vgg16_lpips")
    want = jnp.asarray((x - np.asarray(vgg.MEAN)) / np.asarray(vgg.STD), jnp.float32)
    tensors = random_tensors(vgg.VGG16_LPIPS.shapes(), inputs.SEED)
    for step in vgg.VGG16:
        if isinstance(step, vgg.Pool):
            want = jax.lax.reduce_window(want, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            continue
        kernel, bias = (tensors[f"features.{step.index}.{part}"] for part in ("weight", "bias"))
        want = jax.lax.conv_general_dilated(
            want, kernel.transpose(2, 3, 1, 0), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        want = jax.nn.relu(want + bias)
    got = jax.jit(lambda p: net.apply(p, x, ("pool",)))(net.params)["pool"]
    assert got.shape == (2, net.outputs["pool"]) == (2, 512) and np.asarray(got).std() > 0
    assert_close(np.asarray(got), np.asarray(want).mean((1, 2)))


@pytest.mark.parametrize("name", ["vgg16_lpips", "alexnet_lpips"])
def test_lpips_of_real_pairs_equals_the_lpips_package(name, results):
    got = distance(published(name), *inputs.emoji_pairs())
    assert len(got) == 20 and got.min() > 0.01
    np.testing.assert_allclose(got, results[f"{name}/emoji"], rtol=TOLERANCE)


def test_published_efficientnet_equals_its_package(results):
    got = run(published("efficientnet_lite0"), inputs.images("efficientnet_lite0"))
    for output in ("pool", "probs"):
        assert_close(got[output], results[f"efficientnet_lite0_published/{output}"])


def test_published_face_descriptor_equals_face_api(results):
    got = run(published("face"), inputs.images("face"))
    assert_close(got["embedding"], results["face/embedding"])


@pytest.mark.parametrize("name", ["dinov2", "dinov2_small"])
def test_transformer_equals_its_publishers_code(name, results):
    tensors = random_tensors(dinov2.shapes(**inputs.VIT), inputs.SEED)
    net = build("dinov2", dinov2.NETWORK, tensors, "a small one")
    assert net.outputs == {"cls": 128}
    assert_close(run(net, inputs.images(name))["cls"], results[f"{name}/cls"])


def test_transformer_with_registers_has_more_tokens():
    tensors = random_tensors(dinov2.shapes(**inputs.VIT), inputs.SEED)
    tensors["register_tokens"] = np.full((1, 4, 128), 0.5, np.float32)
    params = dinov2.convert(tensors)
    assert params["tokens"].shape == (5, 128)
    shape = jax.eval_shape(lambda p: dinov2.apply(p, inputs.images("dinov2"), ("cls",)), params)
    assert shape["cls"].shape == (2, 128)


def test_deit_reads_the_layout_of_its_publisher_and_names_another_size():
    """The golden cases have its arithmetic; here the names of the file, with and without its key 'model'."""
    tensors = random_tensors(deit.shapes(width=128, depth=2, grid=2, classes=5), inputs.SEED)
    params = deit.convert(deit.canonical({f"model.{name}": x for name, x in tensors.items()}))
    jax.tree.map(np.testing.assert_array_equal, params, deit.convert(tensors))
    np.testing.assert_array_equal(params["tokens"][1], tensors["dist_token"][0, 0] + tensors["pos_embed"][0, 1])
    shapes = jax.eval_shape(lambda p: deit.apply(p, inputs.images("dinov2"), ("cls", "probs")), params)
    assert {name: x.shape for name, x in shapes.items()} == {"cls": (2, 128), "probs": (2, 5)}
    with pytest.raises(FeatureError, match=r"width is 128; this network has 768"):
        deit.NETWORKS["deit_base"].convert(tensors)
    with pytest.raises(FeatureError, match=r"lacks 1 of the .*'dist_token'"):
        deit.convert({name: x for name, x in tensors.items() if name != "dist_token"})


@pytest.mark.parametrize("name", ["alexnet_lpips", "efficientnet_lite0", "face", "i3d"])
def test_products_are_in_full_precision(name):
    """On accelerators the default is less, which a metric would show."""
    net, shape = random_features(name, 0), (1, 9, 64, 64, 3) if name == "i3d" else (1, 64, 64, 3)
    program = str(jax.make_jaxpr(lambda p: net.apply(p, np.zeros(shape), tuple(net.outputs)))(net.params))
    assert "Precision.HIGHEST" in program and "precision=None" not in program


def test_i3d_takes_clips_of_nine_frames_and_more():
    """Its features are compared with a peer's in tests/metrics/test_clips.py, where a program of it is compiled."""
    net = random_features("i3d", 0)
    run_on = lambda *shape: jax.eval_shape(lambda p: net.apply(p, np.zeros(shape), ("logits",)), net.params)
    assert run_on(2, 9, 20, 30, 3)["logits"].shape == (2, 400) and net.outputs == {"logits": 400}
    assert sum(x.size for x in jax.tree.leaves(net.params)) == 12_704_544 - 2 * 7_280, "means and variances are folded"
    for shape in ((2, 8, 20, 30, 3), (2, 20, 30, 3)):
        with pytest.raises(FeatureError, match=r"takes clips \[n, t, h, w, 3\] of at least 9 frames"):
            run_on(*shape)


def test_face_network_shapes():
    net = random_features("face", 0)
    shape = jax.eval_shape(lambda p: net.apply(p, inputs.images("face"), ("embedding",)), net.params)
    assert shape["embedding"].shape == (2, 128) and net.outputs == {"embedding": 128}


def test_weights_decide_the_digest():
    one, same, other = (random_features("alexnet_lpips", seed) for seed in (0, 0, 1))
    assert len(one.digest) == 64 and one.digest == same.digest != other.digest


def test_metrics_ask_for_outputs_that_exist():
    for nets in definitions.OUTPUTS.values():
        for name, output in nets.items():
            if name not in ("celeba_attributes", "c3d_ucf101", "elpips"):  # from Python only; one that compares pairs
                assert output in features.FEATURES[name].outputs({"positions": np.zeros((256, 384))})


@pytest.mark.parametrize("name", [pytest.param("curricularface", marks=pytest.mark.nightly), "ir_se50"])
def test_face_networks_equal_the_authors_class(name, results):
    tensors = inputs.tamed(random_tensors(features.FEATURES[name].shapes(), inputs.SEED))
    net = build(name, features.FEATURES[name], tensors, "random")
    assert_close(run(net, inputs.images(name), "embedding")["embedding"], results[f"{name}/embedding"])
