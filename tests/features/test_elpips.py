"""E-LPIPS: its file, its transformations, and distances that do not depend on the batch. Values: the golden cases."""

import jax
import numpy as np
import pytest

from stylegan_jax.features import FeatureError, elpips, load_features, random_features, weights
from stylegan_jax.metrics import ensemble
from stylegan_jax.metrics.images import Extractor
from stylegan_jax.runtime.mesh import make_layout

from . import inputs


def heads(**changes):
    """Return weights of the layers as the authors' file has them."""
    rng = np.random.default_rng(3)
    return {name: rng.random(shape).astype(np.float32) for name, shape in elpips.head_shapes().items()} | changes


def write(path, content):
    with open(path, "wb") as file:
        np.save(file, np.array(content, dtype=object), allow_pickle=True)
    return path


def test_the_authors_kind_of_file_is_read_as_data(tmp_path):
    found, source = weights.read_weights("elpips", write(tmp_path / "own.npy", heads()))
    assert found.keys() == heads().keys() and "own.npy" in source
    np.testing.assert_array_equal(found["lin7.model.1.weight"], heads()["lin7.model.1.weight"])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([1, 2], "does not contain one dict of arrays"),
        (heads(**{"lin3.model.1.weight": -np.ones((1, 1, 128, 1), np.float32)}), "lin3.* negative weights"),
        (heads(**{"lin13.model.1.weight": np.ones((1, 1, 64, 1), np.float32)}), "has the shape"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path, content, text):
    path = write(tmp_path / "own.npy", content)
    with pytest.raises(FeatureError, match=text):
        elpips.network(random_features("vgg16_lpips", 0), *weights.read_weights("elpips", path))


def test_another_file_of_the_known_name_is_damaged(tmp_path):
    with pytest.raises(FeatureError, match="SHA-256"):
        weights.read_weights("elpips", write(tmp_path / "vgg_full_avg.npy", heads()))
    with pytest.raises(FeatureError, match=r"vgg_full_avg\.npy  from  the repository mkettune/elpips"):
        load_features("elpips", tmp_path / "absent.npy")


@pytest.fixture(scope="module")
def net():
    return elpips.network(random_features("vgg16_lpips", inputs.SEED), heads(), "made up")


def test_distances_do_not_depend_on_the_batch(net):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 24, 24, 3)).astype(np.uint8)
    images[1, 1] = images[0, 1]
    chunks = {}
    for chunk in (1, 3):
        compare = ensemble.of_pairs(Extractor({"elpips": net}, make_layout(1), chunk), ensemble.COPIES, seed=5)
        parts = [compare(index, *images[:, index]) for index in np.arange(3).reshape(-1, chunk)]
        chunks[chunk] = np.concatenate([np.asarray(part)[:, 0] for part in parts])
    np.testing.assert_allclose(chunks[1], chunks[3], rtol=1e-4, atol=1e-7)
    assert chunks[1][1] == 0 and chunks[1][[0, 2]].min() > 0.01 and chunks[1][0] != chunks[1][2]


def test_the_gradient_is_finite_where_all_features_are_0(net):
    dark = {key: {part: 0 * x for part, x in layer.items()} for key, layer in net.params.items()}
    x = np.random.default_rng(1).random((1, 16, 16, 3), np.float32)
    params = dark | {"lin0": net.params["lin0"]}
    found = jax.jit(jax.grad(lambda image: elpips.distance(params, image, 1 - x).sum()))(x)
    assert np.isfinite(found).all() and np.abs(found).max() > 0


def test_copies_of_an_image_are_spread_over_all_cases():
    drawn = elpips.draw_own(np.random.default_rng(0), 12)
    assert np.bincount(drawn["flips"]).tolist() == [3, 3, 3, 3]
    assert sorted(map(tuple, drawn["permutations"].tolist())) == sorted(
        2 * list(map(tuple, elpips.PERMUTATIONS.tolist()))
    )
    strata = np.sort(np.floor((drawn["colours"] - 0.2) / 0.8 * 12), axis=0)
    np.testing.assert_array_equal(strata, np.tile(np.arange(12), (3, 1)).T)
    assert elpips.levels_for(64, 64) == 1 and elpips.levels_for(1024, 512) == 8 and elpips.levels_for(200, 900) == 3
