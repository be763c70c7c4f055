"""Networks that grow: what a fade starts from and ends in, on one tree of variables."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import models
from stylegan_jax.config import ConfigError
from stylegan_jax.models import growing

from . import variants

GROWING = {
    "stylegan1": {"grows": True, "resolution": 16, "channel_base": 128, "base_size": (4, 6)},
    "stylegan2": {"grows": True, "resolution": 16, "channel_base": 128, "g_arch": "orig", "d_arch": "orig"},
}
each_grown = pytest.mark.parametrize("arch", GROWING)


@functools.cache
def grown(arch):
    """Return (gan, its variables, and images and logits of every height: plain, and by how far they are faded in)."""
    gan, rng = models.build(variants.make_config(arch, **GROWING[arch])), np.random.default_rng(0)
    g, d = variants.draw(gan.init_g, rng), variants.draw(gan.init_d, rng)
    z = jnp.asarray(rng.standard_normal((4, gan.spec.z_dim)), jnp.float32)
    shape = gan.spec.image_shape
    reals = jnp.asarray(rng.standard_normal((4, *shape)), jnp.float32)

    @functools.partial(jax.jit, static_argnames=("height", "fading"))
    def run(alpha, height, fading):
        at = gan.grown(height, alpha if fading else None)
        image = variants.image(at, g, at.map_latents(g, {"z": z}, jnp.zeros((4, 0))))
        seen = reals
        while seen.shape[1] > height:
            seen = growing.halve(seen)
        return image, variants.logits(at, d, seen, jnp.zeros((4, 0)))

    return gan, g, d, lambda height, alpha=None: jax.device_get(run(alpha or 0.0, height, alpha is not None))


@each_grown
def test_a_fade_starts_from_the_level_below_and_ends_in_its_own(arch):
    at = grown(arch)[3]
    for height in (8, 16):
        below, plain = at(height // 2), at(height)
        start, half, end = at(height, 0.0), at(height, 0.5), at(height, 1.0)
        repeated = np.repeat(np.repeat(below[0], 2, axis=1), 2, axis=2)
        for got, want in ((start, (repeated, below[1])), (end, plain)):
            for mine, theirs in zip(got, want, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6 * np.abs(theirs).max())
        np.testing.assert_allclose(half[0], (repeated + plain[0]) / 2, atol=1e-6 * np.abs(plain[0]).max())
        assert np.abs(half[1] - start[1]).min() > 1e-3 and np.abs(half[1] - end[1]).min() > 1e-3


@each_grown
def test_the_last_height_is_the_model_and_lower_ones_have_their_own_facts(arch):
    gan, g, d, at = grown(arch)
    spec, low = gan.spec, gan.grown(8).spec
    assert (spec.num_ws, low.num_ws, gan.grown(4).spec.num_ws) == (6, 4, 2)
    assert (spec.slots, low.slots) == ((4, 4, 8, 8, 16, 16), (4, 4, 8, 8))
    assert low.image_shape == (8, 8 * spec.image_shape[1] // spec.image_shape[0], 3) == at(8)[0].shape[1:]
    assert gan.grown(16).spec == spec
    for name in ("b4", "b8", "b16"):
        assert {"torgb", "fromrgb"} <= g["params"]["synthesis"][name].keys() | d["params"][name].keys()


@each_grown
def test_only_what_a_level_uses_has_a_gradient(arch):
    gan, g, d, _ = grown(arch)
    at = gan.grown(8, 0.3)
    z = jax.random.normal(jax.random.key(1), (4, gan.spec.z_dim))

    def loss(g, d):
        return jnp.sum(variants.forward(at, g, d, {"z": z}, jnp.zeros((4, 0)))[2])

    by_g, by_d = jax.jit(jax.grad(loss, argnums=(0, 1)))(g, d)
    for tree in (by_g["params"]["synthesis"], by_d["params"]):
        for path, x in jax.tree.leaves_with_path(tree):
            used = path[0].key in ("b4", "b8")
            assert np.any(x != 0) == used, jax.tree_util.keystr(path)


def test_reals_are_faded_between_themselves_and_half_their_resolution():
    image = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 6, 3)), jnp.float32)
    low = np.asarray(image).reshape(2, 2, 2, 3, 2, 3).mean(axis=(2, 4))
    low = np.repeat(np.repeat(low, 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(growing.fade_image(image, 0.0), low, atol=1e-6)
    np.testing.assert_array_equal(growing.fade_image(image, 1.0), image)
    np.testing.assert_allclose(growing.fade_image(image, 0.25), 0.75 * low + 0.25 * np.asarray(image), atol=1e-6)


def test_heights_that_do_not_exist_are_refused():
    gan = grown("stylegan1")[0]
    for height, alpha, message in (
        (32, None, r"height is 32; this model grows through \[4, 8, 16\]"),
        (4, 0.5, "first"),
    ):
        with pytest.raises(ValueError, match=message):
            gan.grown(height, alpha)
    assert models.build(variants.make_config("stylegan1")).grown is None


@pytest.mark.parametrize(
    ("arch", "changes", "message"),
    [
        (
            "stylegan2",
            {"grows": True},
            "g_arch='skip' and d_arch='resnet'; stylegan2 grows with g_arch='orig' and d_arch='orig'",
        ),
        (
            "stylegan3",
            {"grows": True},
            "arch='stylegan3', which cannot grow; use arch='stylegan1', or 'stylegan2' with",
        ),
        ("stylegan2", {"mapping_layers": 0}, "mapping_layers is 0; it must be at least 1"),
        ("stylegan1", {"mapping_layers": 0}, "w_dim is 10; with mapping_layers=0 w is z, so set w_dim=6"),
        ("stylegan1", {"mapping_layers": 0, "label_dim": 3}, "w is z and the embedded label, so set w_dim=12"),
        ("stylegan1", {"stylegan1": {"blur_filter": ()}}, r"blur_filter is \(\); .* \(1,\) is no blur"),
    ],
)
def test_models_that_cannot_be_are_refused(arch, changes, message):
    with pytest.raises(ConfigError, match=message):
        variants.make_config(arch, **changes)
