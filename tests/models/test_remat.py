"""Recomputing activations: the same numbers to second order, less to keep."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import models
from stylegan_jax.losses.regularizers import path_lengths, squared_norm
from stylegan_jax.train.estimate import peak_live_bytes

from . import variants

KEYS = jax.random.split(jax.random.key(4), variants.N)


@functools.cache
def second_order(variant: str, remat_from: int):
    """Return (path-length gradient by G, R1 gradient by D) of a model, compiled."""
    b = variants.build("stylegan2", variant)
    config = variants.make_config("stylegan2", variant, remat_from=remat_from)
    gan = models.build(config)

    @jax.jit
    def run(g, d, ws, image, cond):
        synthesize = lambda p: lambda w: variants.image(gan, g | {"params": p}, w, noise="random", key=KEYS)
        lengths = lambda p: jnp.sum(path_lengths(synthesize(p), ws, image) ** 2)
        critic = lambda p: lambda x: gan.discriminate({"params": p}, {}, {"image": x}, cond)
        penalty = lambda p: jnp.sum(squared_norm(critic(p), image)[0])
        return jax.value_and_grad(lengths)(g["params"]), jax.value_and_grad(penalty)(d["params"])

    rng = np.random.default_rng(1)
    ws = rng.standard_normal((variants.N, gan.spec.num_ws, gan.spec.w_dim)).astype(np.float32)
    image = rng.standard_normal((variants.N, *gan.spec.image_shape)).astype(np.float32)
    return jax.device_get(run(b.g, b.d, ws, image, b.cond))


@pytest.mark.parametrize("variant", ["skip", "resnet_labels"])
def test_second_derivatives_stay(variant):
    for got, want in zip(*(jax.tree.leaves(second_order(variant, r)) for r in (8, 0)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * (np.max(np.abs(want)) + 1e-12))


def test_stylegan3_keeps_its_gradients_and_statistics():
    b = variants.build("stylegan3", "t")
    again = models.build(variants.make_config("stylegan3", "t", remat_from=8))
    ws = jnp.asarray(np.random.default_rng(1).standard_normal((2, b.gan.spec.num_ws, 10)), jnp.float32)

    def loss(gan, params):
        sample, moved = gan.synthesize(b.g | {"params": params}, ws, {}, train=True)
        return jnp.sum(jnp.sin(sample["image"])), moved

    both = jax.jit(lambda p: [jax.grad(functools.partial(loss, gan), has_aux=True)(p) for gan in (again, b.gan)])
    got, want = jax.device_get(both(b.g["params"]))
    assert jax.tree.structure(got) == jax.tree.structure(want) and jax.tree.leaves(got[1])
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4 * (np.max(np.abs(y)) + 1e-12))


@pytest.mark.parametrize("noise", ["const", "none"])
def test_without_fresh_noise_it_works_too(noise):
    b = variants.build("stylegan2", "skip")
    gan = models.build(variants.make_config("stylegan2", "skip", remat_from=4))
    ws = jnp.ones((2, gan.spec.num_ws, gan.spec.w_dim))
    images = [variants.image(m, b.g, ws, noise=noise) for m in (gan, b.gan)]
    np.testing.assert_allclose(*images, rtol=1e-5, atol=1e-5)
    assert jax.tree.structure(jax.eval_shape(gan.init_g, KEYS[0])) == jax.tree.structure(b.g)


def kept(arch: str, remat_from: int) -> int:
    """Return the bytes alive at once in the gradient of G through D, if nothing is fused."""
    deep = {"stylegan3": {"num_layers": 7}} if arch == "stylegan3" else {}  # so that no layer alone decides
    gan = models.build(variants.make_config(arch, resolution=32, channel_base=512, remat_from=remat_from, **deep))
    g, d = (jax.eval_shape(init, KEYS[0]) for init in (gan.init_g, gan.init_d))

    def loss(params, rest, d, ws):
        image = variants.image(gan, rest | {"params": params}, ws)
        return jnp.sum(variants.logits(gan, d, image, jnp.zeros((8, 0))))

    ws = jax.ShapeDtypeStruct((8, gan.spec.num_ws, gan.spec.w_dim), jnp.float32)
    return peak_live_bytes(jax.make_jaxpr(jax.grad(loss))(g["params"], g, d, ws).jaxpr)


@pytest.mark.parametrize("arch", ["stylegan2", "stylegan3"])
def test_less_is_kept_the_lower_it_begins(arch):
    whole, upper, all_ = (kept(arch, r) for r in (0, 32, 8))
    print(whole, upper, all_)
    assert all_ < upper < 0.8 * whole
