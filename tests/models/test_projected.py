"""The projected discriminator: its rules, its normalisations, and training with it on meshes, in parts and resumed."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from helpers import same_bits

from stylegan_jax import models
from stylegan_jax.checkpoints.restore import committed_steps
from stylegan_jax.config import ConfigError
from stylegan_jax.features.backbones import BACKBONES
from stylegan_jax.layers.initial import draw
from stylegan_jax.models import projected
from stylegan_jax.models.guidance import guided
from stylegan_jax.ops.norm import batch_norm
from stylegan_jax.train import loop
from stylegan_jax.train.gan import objective, task as gan_task
from stylegan_jax.train.gan.task import make_task

from . import variants

PHASES = ("g_main", "d_main")
N = 8


def size(tree) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def model(**changes):
    return toy.make_config(**(toy.JUDGED_KEYS | changes)).model


def test_published_sizes_have_the_published_numbers_of_parameters():
    """Two frozen networks: 20,662,656 without labels, 27,515,776 with them, 64 logits each."""
    own = {"model__projected__backbones": ("deit_base", "efficientnet_lite0")}
    for labels, want in ((0, 20_662_656), (10, 27_515_776)):
        config = toy.make_config(model__d_arch="projected", model__label_dim=labels, **own).model
        gan = models.build(config)
        assert size(jax.eval_shape(gan.init_d, toy.KEY)["params"]) == want
        assert gan.spec.critics == (64, 64) and gan.spec.heads == 128
        assert gan.spec.frozen == ("deit_base", "efficientnet_lite0")


@pytest.mark.parametrize("arch", [name for name in models.ARCHS if name != "stylegan_v"])
def test_every_generator_of_images_can_have_it(arch):
    own = {key: x for key, x in toy.make_config(**toy.JUDGED_KEYS).to_dict()["model"].items() if key == "projected"}
    config = variants.make_config(arch, variants.LABELS[arch], d_arch="projected", img_channels=3, **own)
    gan = projected.compose(models.ARCHS[arch](config), config, {"tiny": toy.TINY})

    def judge(key):
        frozen, cond = {"tiny": toy.load_tiny().tree}, jnp.eye(3)
        inputs = gan.draw_inputs(key, 3, cond)
        ws = gan.map_latents(g := gan.init_g(key, frozen), inputs, cond)
        sample, _ = gan.synthesize(g, ws, inputs, noise="none")
        return gan.discriminate(gan.init_d(key, frozen), frozen, sample, cond, key=jax.random.split(key, 3))[0]

    assert gan.spec.heads > 1 and jax.eval_shape(judge, toy.KEY).shape == (3, gan.spec.heads)


@pytest.mark.parametrize(("height", "places"), [(256, 5), (512, 13), (1024, 29)])
def test_images_from_224_on_are_seen_as_they_are(height, places):
    config = toy.make_config(model__d_arch="projected", model__resolution=height, model__channel_base=8192).model
    assert projected.logit_count(config, BACKBONES["efficientnet_lite0"]) == 4 * places**2
    assert projected.logit_count(config, BACKBONES["deit_base"]) == 64


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("backbone", ["tiny", "deit"])
def test_every_kind_of_projection_gives_the_logits_of_the_spec(kind, backbone):
    net = toy.TINY if backbone == "tiny" else BACKBONES["deit_small"]._replace(channels=(16,) * 4)
    config = model(model__projected__projections=kind, model__projected__heads=4)
    buffers = jax.eval_shape(lambda: draw(toy.KEY, projected.init_projections(config, net)))
    sides = (8, 8, 8, 8) if net.reads_out else (32, 16, 8, 4)
    maps = [jnp.zeros((2, side, side, c)) for side, c in zip(sides, net.channels, strict=True)]
    seen = jax.eval_shape(lambda b: projected.project(b, list(maps)), buffers)
    assert tuple(x.shape[3] for x in seen) == projected.map_widths(config, net)
    total = 0
    for k, x in enumerate(seen):
        widths = projected.head_widths(config, net, k)
        params, stats = draw(toy.KEY, projected.init_head(config, widths))
        stats = projected.started(params, stats)
        judge = functools.partial(projected.head, params, stats, cond=jnp.zeros((2, 2)), group=2, train=True)
        out, _ = jax.eval_shape(judge, x)
        total += out.shape[1] * out.shape[2]
    assert total == projected.logit_count(config, net)


def test_statistics_are_those_of_groups_of_images():
    x = jax.random.normal(toy.KEY, (8, 3, 3, 2)) * 3 + 1
    params, stats = {"weight": jnp.ones(2), "bias": jnp.zeros(2)}, {"mean": jnp.zeros(2), "var": jnp.ones(2)}
    y, moved = batch_norm(x, params, stats, 4, True)
    for first in (0, 1):  # groups of images two apart
        part = np.asarray(x[first::2], np.float64)
        want = (part - part.mean((0, 1, 2))) / np.sqrt(part.var((0, 1, 2)) + 1e-5)
        np.testing.assert_allclose(y[first::2], want, atol=1e-5)
    parts = [np.asarray(x[k::2], np.float64).reshape(-1, 2) for k in (0, 1)]
    np.testing.assert_allclose(moved["mean"], 0.1 * np.mean([p.mean(0) for p in parts], axis=0), rtol=1e-5)
    np.testing.assert_allclose(moved["var"], 0.9 + 0.1 * np.mean([p.var(0, ddof=1) for p in parts], axis=0), rtol=1e-5)


def test_spectral_norm_converges_to_the_largest_singular_value():
    weight = jax.random.normal(toy.KEY, (4, 4, 3, 5))
    stats = {"u": jnp.ones(5) / np.sqrt(5), "v": jnp.ones((4, 4, 3)) / np.sqrt(48)}
    for _ in range(200):
        divided, stats = projected._spectral(weight, stats, True)
    assert np.linalg.svd(np.asarray(divided).reshape(-1, 5), compute_uv=False)[0] == pytest.approx(1, rel=1e-4)
    still, same = projected._spectral(weight, stats, False)
    jax.tree.map(np.testing.assert_array_equal, same, stats)
    np.testing.assert_allclose(still, divided, rtol=1e-5)


def test_a_row_and_a_network_have_draws_of_their_own():
    config = projected.DiffAugmentConfig("color,translation,cutout", 0.125, 0.2)
    image, keys = jnp.ones((4, 16, 16, 3)) * 0.5, jax.random.split(toy.KEY, 4)
    apply = jax.jit(lambda keys, image, name: projected.augmented(keys, name, config, image), static_argnums=2)
    whole = apply(keys, image, "one")
    assert len(np.unique(np.asarray(whole).reshape(4, -1), axis=0)) == 4
    np.testing.assert_array_equal(apply(keys[2:], image[2:], "one"), whole[2:])
    assert np.all(np.any(np.asarray(apply(keys, image, "other")) != whole, axis=(1, 2, 3)))


def test_a_sum_is_over_the_critics_and_a_mean_over_them_too():
    """By hand: two critics of 2 and 1 logits. Hinge of the generator: minus the logits."""
    fake = jnp.asarray([[1.0, 3.0, 5.0], [0.0, 0.0, 1.0]])
    loss = toy.make_config().loss
    generator = objective.LOSSES["hinge"].generator
    each = lambda **keys: objective.per_example(
        objective.Setting(lambda _: None, dataclasses.replace(loss, **keys)), (2, 1), generator, fake, None
    )
    np.testing.assert_allclose(each(), [-3.5, -0.5])
    np.testing.assert_allclose(each(adv_reduction="sum", adv_batch=4), [-28.0, -4.0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__projected__input_size": 100}, "multiple of 32, at least 128, such as 128"),
        ({"model__projected__input_size": 96}, "at least 128"),
        (
            {
                "model__projected__input_size": 0,
                "model__resolution": 256,
                "model__base_size": (4, 1),
                "model__channel_base": 8192,
            },
            "at their size, 256x64",
        ),
        ({"model__img_channels": 4}, "img_channels is 4"),
        ({"model__label_dim": 4}, "embed_rows=3"),
        ({"model__projected__backbones": ()}, "at least one"),
        ({"model__projected__widths": (4, 4)}, "must have 9"),
        ({"train__grad_accum": 4}, r"stats_group=4\); use one of \[1, 2\]"),
        ({"train__batch_size": 6}, "the statistics group"),
        ({"loss__adv_reduction": "sum"}, "adv_batch=8"),
        ({"model__grows": True}, "grows"),
    ],
)
def test_what_cannot_be_built_is_named(changes, words):
    with pytest.raises(ConfigError, match=words):
        toy.make_config(**(toy.JUDGED_KEYS | changes))


def test_unknown_networks_and_missing_weights_are_named(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="'tiny' is not one of them; known: efficientnet_lite0, deit_base"):
        models.build(model())
    with pytest.raises(ConfigError, match="labels that are its classes"):
        guided(toy.PLAIN, "deit_small", 8.0)
    with pytest.raises(ConfigError, match=r"loss\.guidance is 'deit'"):
        guided(toy.PROJECTED, "deit", 8.0)
    monkeypatch.setenv("STYLEGAN_JAX_FEATURES", str(tmp_path))
    config = toy.make_config(model__d_arch="projected", model__projected__backbones=("deit_base",))
    task = make_task(config, toy.sharding.make_layout(1))
    with pytest.raises(ConfigError, match=r"(?s)deit_base_distilled_patch16_224-df68dfff.pth.*Without a file, .*lite0"):
        task.frozen["deit_base"]()


def test_guidance_is_the_weighted_cross_entropy_of_the_class():
    gan = guided(toy.PROJECTED._replace(guide=None), "tiny", 3.0, {"tiny": toy.TINY})
    net, image, cond = toy.load_tiny().tree, jax.random.normal(toy.KEY, (2, 8, 8, 3)), jnp.eye(2)
    got = gan.guide({"tiny": net}, {"image": image}, cond)
    large = jax.image.resize(image, (2, 224, 224, 3), "linear", antialias=False)
    logits = np.asarray(toy.tiny_classify(net, large), np.float64)
    want = [3 * (np.log(np.exp(row).sum()) - row[k]) for k, row in enumerate(logits)]
    np.testing.assert_allclose(got, want, rtol=1e-4)
    assert gan.spec.frozen == ("backbone", "tiny")


# Training


@functools.cache
def after(devices: int = 1, mesh=None, **changes):
    """Return the state on the host after both phases of an iteration."""
    config = toy.make_config(**(toy.JUDGED_KEYS | changes))
    run = toy.Run(config, toy.judged(**changes), devices, mesh)
    return run.after(run.start(), *PHASES)


def close(got, want, tolerance):
    """Compare networks relative to the largest value of each array."""
    for (path, a), b in zip(jax.tree.leaves_with_path(got.nets), jax.tree.leaves(want.nets), strict=True):
        scale = np.abs(b).max() + 1e-12
        np.testing.assert_allclose(a / scale, b / scale, atol=tolerance, err_msg=jax.tree_util.keystr(path))


def without_biases(state):
    """Return a state without the biases before batch normalisation: rounding alone moves them (no gradient)."""
    is_idle = lambda path: path[-1].key == "bias" and path[-2].key == "conv"
    drop = lambda path, x: np.zeros_like(x) if is_idle(path) else x
    return state.replace(nets=jax.tree_util.tree_map_with_path(drop, state.nets))


@pytest.mark.parametrize(
    ("devices", "mesh", "changes"),
    [(8, None, {}), (8, (2, 4, 1), {}), (1, None, {"train__grad_accum": 2})],
    ids=["8 devices", "fsdp", "micro-batches"],
)
def test_devices_and_micro_batches_change_nothing_with_the_group_fixed(devices, mesh, changes):
    close(without_biases(after(devices, mesh, **changes)), without_biases(after()), 2e-4)


def test_another_group_of_statistics_is_another_model():
    other, own = (after(**keys).nets["g"]["params"]["mapping"] for keys in ({"model__projected__stats_group": 8}, {}))
    assert np.abs(other["fc0"]["weight"] - own["fc0"]["weight"]).max() > 1e-4


def test_both_phases_move_statistics_and_vectors_and_nothing_moves_projections():
    config = toy.make_config(**toy.JUDGED_KEYS)
    run = toy.Run(config, toy.JUDGED)
    start = run.start()
    first, both = run.after(start, "g_main"), run.after(start, *PHASES)
    stats = [dict(jax.tree.leaves_with_path(jax.device_get(s.nets["d"]["batch_stats"]))) for s in (start, first, both)]
    for i, (old, new) in enumerate(itertools.pairwise(stats)):
        for path, x in old.items():  # a fresh right vector belongs to the left one: the first step finds the same
            assert np.all(x != new[path]) or (i == 0 and path[-1].key == "v"), path
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(start.nets["d"]["buffers"]), both.nets["d"]["buffers"])
    assert set(both.nets["d"]["buffers"]["tiny"]) == {f"{kind}{k}" for kind in ("ccm", "csm") for k in range(4)}


def test_low_precision_features_stay_near_float32():
    own = toy.judged()
    keys = {"model__projected__lowp": True, "model__compute_dtype": "bfloat16"}
    low, net = toy.judged(**keys), {"tiny": toy.load_tiny().tree}
    d, image, cond = own.init_d(toy.KEY), jax.random.normal(toy.KEY, (4, 8, 8, 3)), jnp.eye(2)[jnp.arange(4) % 2]
    want, got = (jax.jit(gan.discriminate)(d, net, {"image": image}, cond)[0] for gan in (own, low))
    assert got.dtype == want.dtype == np.float32 and np.any(got != want)
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_a_run_resumes_bit_for_bit_without_saving_the_frozen_network(tmp_path, monkeypatch):
    changes = toy.JUDGED_KEYS | {"data__labels": "file", "data__synthetic_labels": toy.CLASSES}
    changes |= {"train__total_kimg": 0.128}
    config = toy.make_loop_config("auto", **changes)
    monkeypatch.setattr(models, "build", lambda _: toy.JUDGED)
    loaded = {name: load() for name, load in toy.LOADERS.items()}
    loaded["tiny"] = loaded["tiny"]._replace(tree=loaded["tiny"].tree | {"unread": np.ones(1 << 20, np.float32)})
    monkeypatch.setattr(gan_task, "_load", loaded.__getitem__)
    state = loop.train(config, tmp_path / "straight")
    half = dataclasses.replace(config, train=dataclasses.replace(config.train, total_kimg=0.064))
    loop.train(half, tmp_path / "resumed")
    assert same_bits(loop.train(config, tmp_path / "resumed"), state)
    folder = tmp_path / "straight" / "checkpoints"
    last = folder / str(committed_steps(folder)[-1])
    assert sum(path.stat().st_size for path in last.rglob("*") if path.is_file()) < 1 << 20
    monkeypatch.setattr(gan_task, "_load", (loaded | {"tiny": toy.load_tiny(8)}).__getitem__)
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, total_kimg=0.192))
    with pytest.raises(ConfigError, match=r"tiny: SHA-256 tiny7 at the start, tiny8 now"):
        loop.train(longer, tmp_path / "straight")
