"""Equivariance: a canvas of waves that is equivariant by construction, one that is not, and the official figures."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from stylegan_jax import models
from stylegan_jax.config import model_from_dict
from stylegan_jax.config.arch.stylegan3 import make_plan
from stylegan_jax.metrics import equivariance as eq

N = 4


def waves(key, transform, shape=(24, 20)):
    """Draw sums of low plane waves, sampled where the transform says: equivariant by construction."""
    h, w = shape
    draw = jax.random.split(key)
    freqs = jax.random.uniform(draw[0], (N, 5, 2), minval=-2.0, maxval=2.0)
    phases = jax.random.uniform(draw[1], (N, 5))
    x, y = (np.arange(w) + 0.5 - w / 2) / h, (np.arange(h) + 0.5 - h / 2) / h
    points = jnp.stack(jnp.broadcast_arrays(x[None], y[:, None], jnp.ones((1, 1))), axis=-1)
    moved = (points @ transform.T)[..., :2]
    turns = jnp.einsum("hwi,nki->nhwk", moved, freqs, precision="highest") + phases[:, None, None]
    return jnp.sin(2 * jnp.pi * turns).mean(axis=-1, keepdims=True) * 2


@functools.cache
def step():
    """Return the compiled sums of errors of `waves` under a transform that is right (0), ignored (1), mirrored (2)."""
    flip = jnp.diag(jnp.array([1.0, -1.0, 1.0]))

    def of(key, fault):
        draw = lambda t: waves(key, jnp.stack([t, jnp.eye(3), flip @ t @ flip])[fault])
        return eq.errors(draw, eq.draw_moves(key, 24, 20), (N, 24, 20, 1))

    return jax.jit(of)


def figures(fault):
    sums = [jax.device_get(step()(jax.random.key(seed), fault)) for seed in range(3)]
    return {kind: eq.psnr(*sum(s[kind] for s in sums)) for kind in eq.KINDS}


def test_a_canvas_that_moves_is_equivariant():
    found = figures(0)
    assert found["eqt_int"] > 90 and found["eqt_frac"] > 40 and found["eqr"] > 40, found


@pytest.mark.parametrize("fault", [1, 2])
def test_a_fixed_canvas_and_one_that_moves_the_wrong_way_are_not(fault):
    found = figures(fault)
    assert max(found.values()) < 25, found


def test_the_metric_covers_all_images_and_follows_its_key():
    drawn = []

    def generate(key, transform):
        jax.debug.callback(lambda k: drawn.append(k.tobytes()), jax.random.key_data(key))
        return waves(key, transform) + 0.1 * jnp.sign(transform[0, 2])  # an error of the size 0.1, never 0

    measure = functools.partial(eq.equivariance, generate, num_images=5, batch=N, kinds=["eqt_int"])
    found = measure(jax.random.key(3))
    assert set(found) == {"eqt_int"} and len(set(drawn)) == 2  # two batches
    assert found["eqt_int"] == pytest.approx(20 * np.log10(2 / 0.1), abs=0.01)
    with pytest.raises(ValueError, match="num_images is 0"):
        eq.equivariance(waves, jax.random.key(0), num_images=0)
    with pytest.raises(ValueError, match="kind 'eqt': did you mean"):
        eq.equivariance(waves, jax.random.key(0), kinds=["eqt"])


def test_translations_move_right_and_down_and_say_what_is_known():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 8, 3)), jnp.float32)
    out, mask = jax.jit(eq.translate_whole)(x, 2 / 8, -1 / 6)
    np.testing.assert_array_equal(out[:, :5, 2:], x[:, 1:, :6])
    assert not np.any(out[:, 5]) and not np.any(out[:, :, :2])
    np.testing.assert_array_equal(mask, np.pad(np.ones((5, 6)), ((0, 1), (2, 0))))
    far, none = eq.translate_whole(x, 2.0, 0.0)
    assert not np.any(far) and not np.any(none)
    part, known = jax.jit(eq.translate)(x, 2 / 8, -1 / 6)  # whole steps of the fractional operator are exact
    inside = np.asarray(known, bool)
    assert inside.sum() > 0 and not np.any(inside & ~np.asarray(mask, bool))
    np.testing.assert_allclose(np.asarray(part)[:, inside], np.asarray(out)[:, inside], atol=1e-5)


def test_psnr_of_images_in_minus_one_to_one():
    assert eq.psnr(4.0, 1.0) == pytest.approx(0)  # an error of the whole range
    assert eq.psnr(0.04, 4.0) == pytest.approx(20 * np.log10(2) + 20)


# Figures of NVlabs/stylegan3 at c233a91 (its networks_stylegan3.Generator and the operators of metrics/equivariance.py,
# PyTorch on CPU), with the weights of `weights` and the draws of `moves`: 4 batches of 4 images.
OFFICIAL = {"t": [44.234, 47.375, 31.271], "r": [54.120, 56.578, 64.839]}
OWN = {"num_layers": 6, "margin_size": 2, "filter_size": 3, "first_cutoff": 4.0, "first_stopband": 6.0}
RADIAL = {"conv_kernel": 1, "use_radial_filters": True, "channel_base": 1024, "channel_max": 32}


def model(kind):
    tree = common.get_config().model.to_dict()
    tree |= {"arch": "stylegan3", "resolution": 32, "z_dim": 8, "w_dim": 8, "mapping_layers": 1, "label_dim": 0}
    tree |= {"channel_base": 512, "channel_max": 16, "compute_dtype": "float32"}
    tree["stylegan3"] |= OWN | (RADIAL if kind == "r" else {})
    return model_from_dict(tree)


def weights(config):
    """Draw variables in the order of the official names, in the official layouts."""
    draw = np.random.RandomState(0)
    plan = make_plan(config)
    c, w = plan.input.channels, config.w_dim
    shapes = {"mapping.fc0.weight": (w, 8), "mapping.fc0.bias": (w,)}
    shapes |= {f"synthesis.input.{k}": s for k, s in {"weight": (c, c), "freqs": (c, 2), "phases": (c,)}.items()}
    shapes |= {"synthesis.input.affine.weight": (4, w), "synthesis.input.affine.bias": (4,)}
    for p in plan.layers:
        name, i, o = f"synthesis.{p.official_name}", p.source.channels, p.out.channels
        shapes |= {f"{name}.weight": (o, i, p.kernel, p.kernel), f"{name}.bias": (o,)}
        shapes |= {f"{name}.affine.weight": (i, w), f"{name}.affine.bias": (i,)}
    out = {"params": {}, "buffers": {}}
    for name in sorted(shapes):
        x = draw.randn(*shapes[name]).astype(np.float32)
        *path, leaf = name.split(".")
        if leaf == "freqs":
            radius = np.sqrt((x**2).sum(1, keepdims=True))
            x = x / radius * np.exp(-(radius**2) / 4) * 4
        elif leaf == "phases":
            x = np.clip(x / 4, -0.5, 0.5)
        elif "input.affine" in name:
            x = 0 * x if leaf == "weight" else np.array([1, 0, 0, 0], np.float32)
        elif leaf == "bias":
            x = 0 * x + (path[-1] == "affine")
        elif path[0] == "mapping":
            x = 100 * x
        tree = out["buffers" if leaf in ("freqs", "phases") else "params"]
        for key in path:
            tree = tree.setdefault(key.split("_")[0], {})
        tree[leaf] = x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T if leaf == "weight" else x
    synthesis = out["buffers"]["synthesis"]
    synthesis |= {f"L{p.index}": {"magnitude_ema": np.ones((), np.float32)} for p in plan.layers}
    synthesis["input"]["transform"] = np.eye(3, dtype=np.float32)
    return out


def moves(i):
    draw = np.random.RandomState(100 + i)
    z = draw.randn(N, 8).astype(np.float32)
    whole, part = ((draw.rand(2) * 0.25 - 0.125).astype(np.float32) for _ in range(2))
    return z, eq.Moves(np.round(whole * 32) / 32, part, np.float32((draw.rand() * 2 - 1) * np.pi))


compare = jax.jit(eq.compare)


@pytest.mark.parametrize("kind", OFFICIAL)
def test_random_networks_have_the_official_figures(kind):
    config = model(kind)
    gan, g = models.build(config), weights(config)

    @jax.jit
    def draw(z, transforms):
        ws = gan.map_latents(g, {"z": z}, jnp.zeros((N, 0)))
        return jax.lax.map(lambda t: gan.synthesize(gan.with_transform(g, t), ws, {})[0]["image"], transforms)

    sums = []
    for z, by in map(moves, range(4)):
        part = lambda t: np.array([[1, 0, t[0]], [0, 1, t[1]], [0, 0, 1]], np.float32)
        turned = np.asarray(eq.rotation_matrix(-by.angle))
        plain, *moved = draw(z, np.stack([np.eye(3, dtype=np.float32), part(-by.whole), part(-by.part), turned]))
        sums.append(jax.device_get(compare(plain, dict(zip(eq.KINDS, moved, strict=True)), by)))
    found = [eq.psnr(*np.sum([s[kind] for s in sums], axis=0, dtype=np.float64)) for kind in eq.KINDS]
    print(found)
    np.testing.assert_allclose(found, OFFICIAL[kind], atol=0.1)


def test_a_model_as_generator_draws_by_its_key_and_refuses_what_it_cannot():
    config = model("t")
    gan, g = models.build(config), weights(config)
    generate = eq.from_gan(gan, g, batch=2)
    shape = functools.partial(jax.eval_shape, generate)
    assert shape(jax.random.key(0), jnp.eye(3)).shape == (2, 32, 32, 3)
    with pytest.raises(ValueError, match="draws 2 images per call, and batch is 4"):
        eq.equivariance(generate, jax.random.key(0), num_images=4, batch=4)
    with pytest.raises(ValueError, match="cannot translate or rotate its output"):
        eq.from_gan(gan._replace(with_transform=None), g)
    with pytest.raises(ValueError, match="labels of length 3"):
        eq.from_gan(gan._replace(spec=gan.spec._replace(label_dim=3)), g)
