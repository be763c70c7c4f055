"""The interface for notebooks: what may be given, one program per shape, pictures that depend on their seed only."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import stylegan_jax
from configs import tiny
from stylegan_jax import models
from stylegan_jax.config import from_dict
from stylegan_jax.sampling import labels, model as trained
from stylegan_jax.sampling.model import LoadedModel

CLASSES = 3


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    tree = tiny.get_config()
    tree.model.update({"label_dim": CLASSES, "compute_dtype": "float32"})
    config = from_dict(tree).model
    gan = models.build(config)
    g = jax.device_get(jax.jit(gan.init_g)(jax.random.key(1)))
    g = jax.tree.map_with_path(lambda k, x: x + 0.5 if "noise_strength" in str(k[-1]) else x, g)
    w_avg = np.random.default_rng(0).standard_normal(config.w_dim).astype(np.float32)
    return LoadedModel(config, gan, g, w_avg, None, None, {}, "classes")


def test_the_package_offers_it():
    assert stylegan_jax.load_model.__module__ == "stylegan_jax.sampling.load"


def test_seeds_latents_and_styles_lead_to_the_same_picture(model):
    z = trained.latents([7, 8], model.gan.spec.z_dim)
    np.testing.assert_array_equal(z[:1], np.random.RandomState(7).randn(1, z.shape[1]).astype(np.float32))
    ws = model.map([7, 8], 1, psi=0.5)
    np.testing.assert_array_equal(ws, model.map(z, [1, 1], psi=0.5))
    image = model.synthesize(ws)
    assert image.shape == (2, *model.gan.spec.image_shape) and image.dtype == np.float32
    pixels = model.sample(iter([7, 8]), psi=0.5, label=np.eye(CLASSES)[1])
    np.testing.assert_array_equal(pixels, np.clip(image * 127.5 + 128, 0, 255).astype(np.uint8))
    assert pixels[0].std() > 1 and (pixels[0] != pixels[1]).any()


def test_labels_and_truncation_reach_the_picture(model):
    each = model.sample([3, 3, 3], label=[0, 1, 2])
    assert all((each[0] != other).any() for other in each[1:])
    np.testing.assert_array_equal(each[2:], model.sample([3], label=2))
    ws = model.map([3, 4], 0, psi=0.0)
    np.testing.assert_allclose(ws, np.broadcast_to(model.w_avg, ws.shape), atol=1e-6)
    whole, half = model.map([3], 0), model.map([3], 0, psi=0.0, cutoff=1)
    np.testing.assert_allclose(half[:, :1], ws[:1, :1], atol=1e-6)
    np.testing.assert_allclose(half[:, 1:], whole[:, 1:], atol=1e-6)


def test_any_number_of_seeds_runs_one_program_and_changes_nothing(model):
    alone = model.sample([5], label=0, noise="random", chunk=4)
    before = trained._mapper(model.gan)._cache_size(), trained._drawer(model.gan, "random")._cache_size()
    many = model.sample(range(7), label=0, noise="random", chunk=4)
    again = model.replace(w_avg=model.w_avg + 1).sample([5, 6], label=0, noise="random", chunk=4)
    assert (trained._mapper(model.gan)._cache_size(), trained._drawer(model.gan, "random")._cache_size()) == before
    np.testing.assert_array_equal(alone[0], many[5])
    assert np.abs(alone.astype(int) - again[:1]).max() <= 1  # psi 1 leaves the average out
    assert (model.sample([5], label=0, chunk=4) != alone).any()  # constant noise
    model.sample([5], label=0, psi=1, noise="random", chunk=4)
    assert trained._mapper(model.gan)._cache_size() == before[0]


def test_one_style_for_all_slots_and_noise_by_seed(model):
    w = model.map([1], 0)[:, 0]
    np.testing.assert_array_equal(model.synthesize(w), model.synthesize(model.map([1], 0)))
    a, b = model.synthesize(np.concatenate([w, w]), noise="random", seeds=[4, 4])
    np.testing.assert_array_equal(a, b)
    first, second = model.synthesize(np.concatenate([w, w]), noise="random")
    assert np.abs(first - second).max() > 0.01
    parts = list(model.stream(np.repeat(w, 5, axis=0), chunk=2))
    assert [len(p) for p in parts] == [2, 2, 1]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: m.map([1]), r"this model is class-conditional; pass label \(0 to 2\)"),
        (lambda m: m.map([1], 3), "label=3: this model has the classes 0 to 2; choose one"),
        (lambda m: m.map([1, 2], [0]), r"label=\[0\]: 1 labels for 2 images"),
        (lambda m: m.map([-1], 0), "pass seeds"),
        (lambda m: m.map([], 0), "pass seeds"),
        (lambda m: m.map(np.zeros((2, 5)), 0), r"latents of shape \(2, 5\)"),
        (lambda m: m.map([1], 0, psi=float("nan")), "psi is nan"),
        (lambda m: m.map([1], 0, cutoff=99), "cutoff is 99; this model has"),
        (lambda m: m.synthesize(np.zeros((1, 2, 3))), r"styles of shape \(1, 2, 3\); this model takes \[n, "),
        (lambda m: m.synthesize(m.map([1], 0), noise="loud"), "noise is 'loud'; known: random, const, none"),
        (lambda m: m.synthesize(m.map([1], 0), seeds=[1, 2]), "2 seeds for 1 images"),
        (lambda m: m.moved(np.eye(3)), "cannot translate or rotate its output; use a model such as"),
        (lambda m: m.map([1], 0, chunk=0), "0 images per call; it must be at least 1"),
        (lambda m: m.synthesize(m.map([1], 0), seeds=[-1]), "one integer from 0 each"),
        (lambda m: m.map([1], [np.nan, 0.0, 1.0]), "have 3 finite entries"),
        (lambda m: m.replace(label_kind="vectors").map([1], 1), "are vectors, not classes; pass all 3 numbers"),
        (lambda m: m._replace(label_kind="multi-hot").map([1, 2, 3], [1, 0, 1]), "are multi-hot, not classes"),
    ],
)
def test_what_does_not_fit(model, call, text):
    with pytest.raises(ValueError, match=text):
        call(model)


def test_classes_by_name(model):
    named = model.replace(label_names=("cat", "dog", "7"))
    want = labels.as_labels([1, 2, 0], 3, 3)
    np.testing.assert_array_equal(labels.as_labels(["DOG", "2", "c"], 3, 3, "", named.label_names), want)
    np.testing.assert_array_equal(named.map([1, 2], "dog"), named.map([1, 2], 1))
    with pytest.raises(ValueError, match="label=7: this model has the classes 0 to 2"):
        named.map([1], "7")
    with pytest.raises(
        ValueError, match="label=dog: 'dog' is not a number, and the classes of this model have numbers"
    ):
        model.map([1], "dog")
    with pytest.raises(ValueError, match=r"class-conditional; pass label \(0 cat, 1 dog, 2 7\)"):
        named.map([1])


def test_names_that_do_not_fit_are_none():
    assert labels.read_names(["a", "b"], 2) == ("a", "b")
    for odd in (None, "ab", ["a"], ["a", 1], {"a": "b", "c": "d"}, ["a", "b" * labels.MAX_JSON]):
        assert labels.read_names(odd, 2) == ()


def test_a_label_for_a_model_without():
    with pytest.raises(ValueError, match="this model has no labels"):
        labels.as_labels(0, 1, 0)


def test_weights_are_placed_once_and_models_compare_by_identity(model):
    fresh = model.replace(label_kind="")
    assert fresh != model and fresh == fresh and "g_ema" not in repr(fresh)
    fresh.sample([1], label=0)
    placed = fresh._placed
    fresh.sample([2], label=1)
    assert fresh._placed is placed
    held, again = (jax.tree.leaves(m.on_device().g_ema) for m in (fresh, fresh.on_device()))
    assert all(a is b is c for a, b, c in zip(held, again, jax.tree.leaves(placed[0]), strict=True))
    np.testing.assert_array_equal(model._replace(label_kind="").sample([2], label=1), fresh.sample([2], label=1))
    with pytest.raises(AttributeError):
        fresh.label_kind = "classes"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("label", "kind", "text"),
    [
        (3, "", "label=3: this model has the classes 0 to 2; choose one"),
        (-1, "classes", "label=-1: this model has the classes 0 to 2"),
        (None, "vectors", r"conditional on labels \(vectors\); pass all 3 numbers, as label=\[0,0,0\]"),
        ([0.5, 0.5], "vectors", "the labels of this model have 3 finite entries"),
        (np.zeros((4, 3)), "vectors", "4 labels for 2 images; pass one for all, or one each"),
    ],
)
def test_labels_that_do_not_fit(label, kind, text):
    with pytest.raises(ValueError, match=text):
        labels.as_labels(label, 2, 3, kind)


def test_labels_in_every_form():
    want = np.eye(3, dtype=np.float32)[[1, 1]]
    for label in (1, [1, 1], [0.0, 1, 0], want.astype(np.float64)):
        got = labels.as_labels(label, 2, 3)
        np.testing.assert_array_equal(got, want)
        assert got.dtype == np.float32
    assert labels.as_labels(None, 2, 0).shape == (2, 0)
