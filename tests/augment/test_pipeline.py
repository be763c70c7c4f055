"""The whole augmentation as a training step uses it: pipes, channels, clips, strength 0, one compilation, memory."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from stylegan_jax.augment import GROUPS, PIPES, make_augment, pipes
from stylegan_jax.config import ConfigError
from stylegan_jax.losses.regularizers import squared_norm

from .helpers import configure

SHAPE = (6, 8, 3)


@functools.cache
def program(pipe="bgc", shape=SHAPE, **changes):
    return make_augment(configure(pipe=pipe, **changes), shape)


@functools.cache
def compiled(pipe="bgc", shape=SHAPE):
    """Return the compiled (key, p, images) -> images."""
    augment = program(pipe, shape)
    return jax.jit(lambda key, p, images: augment(key, p, images))


def test_the_published_pipes():
    for name, groups in PIPES.items():
        assert groups == ((name,) if name in GROUPS else tuple(GROUPS)[: len(name)])  # initials in order
        on = pipes.multipliers(configure(pipe=name), 3)
        assert on == {op: 1.0 for group in groups for op in GROUPS[group]}


def test_multipliers_replace_what_the_pipe_says():
    tree = dataclasses.replace(configure().ops, hue=0.0, noise=0.25, xflip=2.0)
    on = pipes.multipliers(dataclasses.replace(configure(pipe="bgc"), ops=tree), 3)
    assert on["noise"] == 0.25 and on["xflip"] == 2.0 and "hue" not in on and on["scale"] == 1.0
    assert list(on) == [op for group in GROUPS.values() for op in group if op in on]  # the order of execution


def test_errors_come_before_anything_is_compiled():
    with pytest.raises(ConfigError, match=r"leaves no operation for images of 3 channel.* config.augment.mode='none'"):
        make_augment(configure(ops={}), SHAPE)
    with pytest.raises(ConfigError, match=r"img_channels is 2; brightness, .*saturation need .*pipe='bg'"):
        make_augment(configure(), (8, 8, 2))
    with pytest.raises(ConfigError, match=r"policy='translation,cutout'"):
        make_augment(configure(method="diffaugment"), (8, 8, 2))
    assert make_augment(configure(pipe="bg"), (8, 8, 2))
    with pytest.raises(ConfigError, match="leaves no operation for images of 1 channel"):
        make_augment(configure(ops={"hue": 1.0}), (8, 8, 1))
    with pytest.raises(ValueError, match=r"images have shape \(8, 8, 3\)"):
        program().apply(program().draw(jax.random.key(0), 8, 0.5), jnp.zeros((8, 8, 3)))


def test_mode_none_leaves_images_and_program_alone():
    augment, x = make_augment(configure("none"), SHAPE), jnp.ones((2, *SHAPE))
    assert augment(jax.random.key(0), 1.0, x) is x
    assert augment.draw(jax.random.key(0), 2, 1.0) == ()


def test_strength_0_changes_nothing_and_p_is_traced(normal):
    run, x, key = compiled(), normal((3, *SHAPE)).astype(np.float32), jax.random.key(0)
    np.testing.assert_allclose(run(key, jnp.float32(0.0), x), x, atol=3e-5)  # the float32 taps sum to 1 + 1e-6
    strong = run(key, jnp.float32(1.0), x)
    assert np.abs(strong - x).mean() > 0.1
    assert run._cache_size() == 1
    np.testing.assert_array_equal(strong, run(key, jnp.float32(1.0), x))
    assert np.abs(strong - run(jax.random.key(1), jnp.float32(1.0), x)).mean() > 0.1


def test_jit_equals_eager(normal):
    x, key, augment = normal((2, *SHAPE)), jax.random.key(4), program("bgcfnc")
    want = augment.apply(jax.jit(lambda key: augment.draw(key, 2, 0.8))(key), x)
    np.testing.assert_allclose(compiled("bgcfnc")(key, 0.8, x), want, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_rgba(channels, normal):
    x = normal((2, *SHAPE[:2], channels))
    y = compiled("bgcfnc", (*SHAPE[:2], channels))(jax.random.key(0), 0.9, x)
    assert y.shape == x.shape and np.all(np.isfinite(y)) and np.abs(y - x).max() > 0.1


def test_frames_of_a_clip_get_the_same(normal):
    x, key = normal((2, *SHAPE)), jax.random.key(2)
    clip = np.repeat(x[:, None], 3, axis=1)
    clip[:, 1] += 1  # a frame of its own
    got = compiled("bgcfnc")(key, 0.7, clip)
    assert got.shape == clip.shape
    want = compiled("bgcfnc")(key, 0.7, x)
    np.testing.assert_allclose(got[:, 0], want, atol=1e-12)
    np.testing.assert_allclose(got[:, 2], want, atol=1e-12)
    assert np.abs(got[:, 1] - want).max() > 0.1


def test_low_precision_images_come_back_as_they_were(normal):
    x = normal((2, *SHAPE)).astype(jnp.bfloat16)
    y = compiled()(jax.random.key(0), jnp.float32(0.9), x)
    exact = compiled()(jax.random.key(0), jnp.float32(0.9), x.astype(np.float32))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(np.float32), exact, rtol=0.01, atol=1e-3)


def test_r1_passes_through_to_second_order(normal):
    """For D(x) = w |x|^2 / 2, R1 of a linear map A is |A'A x|^2 w^2, with the gradient 2 w |A'A x|^2 by w."""
    x, augment = normal((2, *SHAPE)), program("bg")
    params = jax.jit(lambda key: augment.draw(key, 2, 0.9))(jax.random.key(1))

    def penalty(w):
        logits = lambda image: jnp.sum(augment.apply(params, image) ** 2, axis=(1, 2, 3))[:, None] * w / 2
        return jnp.sum(squared_norm(lambda image: (logits(image), {}), x)[0])

    def there_and_back(x):
        y, pull = jax.vjp(lambda v: augment.apply(params, v), x)
        return jnp.sum(pull(y)[0] ** 2)

    (value, slope), squares = jax.jit(lambda w, x: (jax.value_and_grad(penalty)(w), there_and_back(x)))(3.0, x)
    np.testing.assert_allclose(value, 9 * squares, rtol=1e-10)
    np.testing.assert_allclose(slope, 6 * squares, rtol=1e-10)


def test_eight_devices_agree_with_one(normal):
    x, key = normal((8, *SHAPE)), jax.random.key(3)
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    augment = make_augment(configure(pipe="bgcfnc"), SHAPE, shards=8)
    got = jax.jit(lambda key, p, x: augment(key, p, x), out_shardings=sharding)(key, 0.8, jax.device_put(x, sharding))
    np.testing.assert_allclose(got, compiled("bgcfnc")(key, 0.8, x), atol=1e-12)


def test_scratch_memory_is_about_twice_the_images():
    augment, images = program("bgc", (64, 64, 3)), jax.ShapeDtypeStruct((8, 64, 64, 3), jnp.float32)
    with jax.enable_x64(False):
        key, p = jax.eval_shape(lambda: jax.random.key(0)), jax.ShapeDtypeStruct((), jnp.float32)
        memory = jax.jit(lambda *args: augment(*args)).lower(key, p, images).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2.2 * 4 * images.size  # twice, and the positions that the warp stores once
