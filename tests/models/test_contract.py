"""What every architecture owes the rest of the project, over all of ARCHS, the layouts and the toys."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import partial_eval
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from stylegan_jax import models
from stylegan_jax.config import ConfigError
from stylegan_jax.losses import regularizers
from stylegan_jax.models.stylegan3 import without_margin

from . import variants

each = pytest.mark.parametrize(("arch", "variant"), variants.CASES)
each_arch = pytest.mark.parametrize("arch", models.ARCHS)
each_gan = pytest.mark.parametrize("arch", variants.MAIN)
noisy_arch = pytest.mark.parametrize("arch", variants.NOISY)
KEYS = jax.random.split(jax.random.key(2), variants.N)


@functools.cache
def results(arch, variant):
    b = variants.build(arch, variant)
    return jax.device_get(b.run(b.g, b.d, b.inputs, b.cond))


def close(got, want, tolerance=2e-5):
    """Compare relative to the largest value."""
    scale = np.max(np.abs(want)) + 1e-12
    np.testing.assert_allclose(np.asarray(got) / scale, np.asarray(want) / scale, atol=tolerance)


@each
def test_shapes_and_dtypes(arch, variant):
    b, (_, (ws, image, logits)) = variants.build(arch, variant), results(arch, variant)
    spec = b.gan.spec
    assert ws.shape == (variants.N, spec.num_ws, spec.w_dim)
    assert image.shape == (variants.N, *spec.sample["image"])
    assert logits.ndim == 2
    assert logits.shape[0] == variants.N
    assert {x.dtype for x in (ws, image, logits)} == {np.dtype(np.float32)}
    assert {x.dtype for x in jax.tree.leaves((b.g, b.d))} == {jnp.dtype(jnp.float32)}


@each_gan
def test_jit_equals_eager(arch):
    b, (_, compiled) = variants.build(arch, variants.MAIN[arch]), results(arch, variants.MAIN[arch])
    for got, want in zip(variants.forward(b.gan, b.g, b.d, b.inputs, b.cond, b.frozen), compiled, strict=True):
        close(got, want)


@each
def test_same_inputs_give_the_same_bits(arch, variant):
    b = variants.build(arch, variant)
    again = b.run(*jax.tree.map(jnp.copy, (b.g, b.d, b.inputs, b.cond)))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(again), results(arch, variant))


@each
def test_gradients_are_finite_and_reach_every_parameter(arch, variant):
    gradients, _ = results(arch, variant)
    for path, x in jax.tree.leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.all(np.isfinite(x)), name
        if "noise_strength" not in name:
            assert np.any(x != 0), f"{name} has no gradient"


@each_gan
def test_initialisation_is_a_function_of_the_key(arch):
    b = variants.build(arch, variants.MAIN[arch])
    init = jax.jit(b.gan.init_d)
    first, same, other = (init(jax.random.key(seed), b.frozen) for seed in (5, 5, 6))
    jax.tree.map(np.testing.assert_array_equal, first, same)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), first["params"], other["params"])
    rare = {"out", "basis"}  # a toy's second layer; r3gan's filters
    rare |= {"bias"} if arch == "judged" else set()  # drawn as PyTorch does
    assert {p[-1].key for p, v in jax.tree.leaves_with_path(moved) if v} - rare == {"weight"}


@each
def test_an_image_depends_on_its_own_latent_only(arch, variant):
    b, (_, (ws, image, _)) = variants.build(arch, variant), results(arch, variant)
    order = np.array([3, 0, 7, 1, 2, 6, 5, 4])
    _, (ws2, image2, _) = b.run(b.g, b.d, jax.tree.map(lambda x: x[order], b.inputs), b.cond[order])
    close(ws2, ws[order])
    close(image2, image[order])


@each_gan
def test_eight_devices_equal_one(arch):
    variant = variants.LABELS.get(arch, variants.MAIN[arch])
    b, (_, want) = variants.build(arch, variant), results(arch, variant)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    put = lambda x, *spec: jax.device_put(x, NamedSharding(mesh, PartitionSpec(*spec)))
    forward = jax.jit(functools.partial(variants.forward, b.gan))
    split = jax.tree.map(lambda x: put(x, "data"), (b.inputs, b.cond))
    got = forward(*jax.tree.map(put, (b.g, b.d)), *split, jax.tree.map(put, b.frozen))
    assert len(got[1].sharding.device_set) == 8
    jax.tree.map(close, jax.device_get(got), want)


@pytest.mark.parametrize("arch", variants.LABELS)
def test_labels_matter_to_both_networks(arch):
    b, (_, (ws, image, logits)) = variants.build(arch, variants.LABELS[arch]), results(arch, variants.LABELS[arch])
    other = jnp.roll(b.cond, 1, axis=1)
    _, (ws2, _, _) = b.run(b.g, b.d, b.inputs, other)
    assert np.all(np.any(np.asarray(ws2) != ws, axis=(1, 2)))
    moved = jax.jit(functools.partial(variants.logits, b.gan))(b.d, jnp.asarray(image), other, b.frozen, b.rest)
    assert np.all(np.asarray(moved) != logits)


@each_arch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_blocks_stay_near_float32(arch, dtype):
    b, (_, (ws, image, logits)) = variants.build(arch, variants.MAIN[arch]), results(arch, variants.MAIN[arch])
    gan = models.build(variants.make_config(arch, compute_dtype=dtype, num_lowp_res=1))
    ws2, image2, logits2 = jax.jit(functools.partial(variants.forward, gan))(b.g, b.d, b.inputs, b.cond)
    assert {x.dtype for x in (ws2, image2, logits2)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(ws2, ws, rtol=1e-5, atol=1e-6)  # the mapping network is never in low precision
    assert np.any(np.asarray(image2) != image)
    # Layers of a stem keep their own precision: four of StyleGAN-XL's five are low, one above another. Rounding alone
    # adds up: float16, which rounds eight times as finely, is eight times as near (0.006 and 0.048).
    stage = {"bfloat16": 0.06, "float16": 0.01}
    close(image2, image, stage[dtype] if arch == "stylegan_xl" else 0.02)
    close(logits2, logits, 0.1)  # both networks together


def rows(shapes, n, dtype=np.float32):
    """Return the abstract arrays of n examples of a spec's shapes."""
    return {name: jax.ShapeDtypeStruct((n, *shape), dtype) for name, shape in shapes.items()}


@each
def test_inputs_and_samples_are_those_of_the_spec(arch, variant):
    b = variants.build(arch, variant)
    gan, spec = b.gan, b.gan.spec
    inputs = jax.eval_shape(lambda cond: gan.draw_inputs(jax.random.key(0), variants.N, cond), b.cond)
    assert inputs == rows(spec.inputs, variants.N)
    assert inputs["z"].shape[-1] == spec.z_dim == b.config.z_dim
    ws = jax.ShapeDtypeStruct((variants.N, spec.num_ws, spec.w_dim), jnp.float32)
    for train in (False, True):
        assert jax.eval_shape(lambda i, c, t=train: gan.map_latents(b.g, i, c, train=t), inputs, b.cond) == ws
        for given in (inputs, {name: x for name, x in inputs.items() if name != "z"}):  # the styles say what z does
            sample, _ = jax.eval_shape(lambda ws, i, t=train: gan.synthesize(b.g, ws, i, train=t), ws, given)
            assert sample == rows(spec.sample, variants.N)
        judge = lambda s, c, key, t=train: gan.discriminate(b.d, b.frozen, s, c, key=key, train=t)
        logits, _ = jax.eval_shape(judge, sample, b.cond, KEYS if spec.is_d_random and train else None)
        assert (logits.shape, logits.dtype) == ((variants.N, spec.heads), jnp.float32)
    assert spec.image_shape == spec.sample["image"][-3:] == b.config.image_shape
    assert spec.slots == () or (len(spec.slots) == spec.num_ws and list(spec.slots) == sorted(spec.slots))


@each_gan
def test_a_row_of_the_inputs_does_not_depend_on_how_many_are_drawn(arch):
    b = variants.build(arch, variants.LABELS.get(arch, variants.MAIN[arch]))
    draw = lambda seed, n: jax.device_get(b.gan.draw_inputs(jax.random.key(seed), n, b.cond[:n]))
    few, many, other = draw(0, 3), draw(0, variants.N), draw(1, variants.N)
    for name in b.gan.spec.inputs:
        np.testing.assert_array_equal(few[name], many[name][:3])
        if name == "label":  # not drawn
            continue
        assert len(np.unique(many[name], axis=0)) == variants.N
        assert np.all(many[name] != other[name])


@each_gan
def test_clips_have_a_time_that_can_be_chosen(arch):
    b = variants.build(arch, variants.LABELS.get(arch, variants.MAIN[arch]))
    assert (b.gan.draw_at is not None) == ("times" in b.gan.spec.sample)
    if b.gan.draw_at is None:
        return
    drawn = b.gan.draw_inputs(jax.random.key(5), 3, b.cond[:3])
    chosen = b.gan.draw_at(jax.random.key(5), drawn["times"], b.cond[:3])
    assert drawn.keys() - chosen.keys() == {"z"}
    ws = b.gan.map_latents(b.g, drawn, b.cond[:3])
    want, got = (variants.image(b.gan, b.g, ws, inputs) for inputs in (drawn, chosen))
    close(got, want)
    later = b.gan.draw_at(jax.random.key(5), drawn["times"][:, :1] + 500.5, b.cond[:3])
    far = variants.image(b.gan, b.g, ws, later)
    assert far.shape == (3, 1, *b.gan.spec.image_shape) and np.all(np.isfinite(far))


@each_gan
def test_only_training_moves_collections_and_halves_of_a_batch_move_them_as_the_whole(arch):
    b, (_, (ws, image, _)) = variants.build(arch, variants.MAIN[arch]), results(arch, variants.MAIN[arch])

    @jax.jit
    def calls(ws, image):
        def both(part, train):
            options = {"train": train, "batch": variants.N if train else None}
            made, moved_g = b.gan.synthesize(b.g, ws[part], jax.tree.map(lambda x: x[part], b.rest), **options)
            sample, key = made | {"image": image[part]}, KEYS[part] if b.gan.spec.is_d_random and train else None
            _, moved_d = b.gan.discriminate(b.d, b.frozen, sample, b.cond[part], key=key, train=train)
            return moved_g, moved_d, made["image"]

        parts = slice(None), slice(0, None, 2), slice(1, None, 2)  # as micro-batches are taken
        return [both(part, True) for part in parts], both(parts[0], False)

    (whole, first, second), still = jax.device_get(calls(jnp.asarray(ws), jnp.asarray(image)))
    assert still[:2] == ({}, {})
    close(still[2], image)
    for variables, moved, one, two in zip((b.g, b.d), whole[:2], first[:2], second[:2], strict=True):
        assert "params" not in moved
        assert jax.tree.structure(models.merge(variables, moved)) == jax.tree.structure(variables)
        mean = jax.tree.map(lambda x, y: (x + y) / 2, one, two)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), mean, moved)
        before = dict(jax.tree.leaves_with_path(variables))
        # A fresh right singular vector belongs to the left one, so that the first step finds the same.
        moved_paths = ((path, x) for path, x in jax.tree.leaves_with_path(moved) if path[-1].key != "v")
        assert all(np.all(x != before[path]) for path, x in moved_paths)
    assert bool(jax.tree.leaves(whole[:2])) == (arch in variants.MOVING)


@each
def test_feature_maps_show_the_whole_picture_from_coarse_to_fine(arch, variant):
    b = variants.build(arch, variant)
    if b.gan.features is None:
        assert arch in variants.TOYS
        return
    spec, features = b.gan.spec, b.gan.features
    ws = jnp.zeros((2, spec.num_ws, spec.w_dim))
    rest = {name: jnp.zeros((2, *shape)) for name, shape in spec.inputs.items() if name != "z"}
    sample, maps = jax.eval_shape(lambda g: features(g, ws, rest), b.g)
    h, w, _ = spec.image_shape
    front = (2, *spec.sample["image"][:-3])
    assert sample["image"].shape == (*front, *spec.image_shape)
    sizes = [x.shape[-3:-1] for x in maps.values()]
    assert max(sizes) == (h, w) and all(x * h == y * w for y, x in sizes) and len(maps) >= 2
    assert all(x.shape[:-3] == front and y <= h for x, (y, _) in zip(maps.values(), sizes, strict=True))


@pytest.mark.parametrize("arch", ["stylegan2", "stylegan3"])
def test_feature_maps_are_those_of_the_image(arch):
    b, (_, (ws, want, _)) = variants.build(arch, variants.MAIN[arch]), results(arch, variants.MAIN[arch])
    sample, maps = jax.jit(lambda g, ws: b.gan.features(g, ws, b.rest))(b.g, jnp.asarray(ws))
    close(sample["image"], want)
    last = np.asarray(maps["x8" if arch == "stylegan2" else "x3"])
    if arch == "stylegan3":
        close(last * b.config.stylegan3.output_scale, want)
        grid = lambda size, rate: (np.arange(size) + 0.5 - size / 2) / rate
        wide = np.asarray(without_margin(jnp.asarray(np.stack([[grid(12, 8)] * 12] * 2, axis=-1)[None]), (8, 8)))
        np.testing.assert_allclose(wide[0, 0, :, 0], grid(8, 8))  # the centre stays the centre
    assert last.shape[0] == len(ws) and np.ptp(last) > 0


@each
def test_mean_styles_have_the_shape_of_the_spec(arch, variant):
    b, (_, (ws, _, _)) = variants.build(arch, variant), results(arch, variant)
    gan, spec = b.gan, b.gan.spec
    w_avg = jnp.asarray(np.random.default_rng(2).standard_normal(spec.w_avg), jnp.float32)
    centre = gan.centre(w_avg, b.cond)
    assert (centre.shape, centre.dtype) == ((variants.N, spec.w_dim), jnp.float32)
    w = jnp.asarray(ws[:, 0])
    moved = gan.move_centre(w_avg, w, b.cond, 0.75)
    assert (moved.shape, moved.dtype) == (spec.w_avg, jnp.float32)
    np.testing.assert_allclose(gan.move_centre(w_avg, w, b.cond, 1.0), w_avg, atol=1e-5)
    # A quarter of the way towards the batch, or for every row of a class; rows of one style are their own mean.
    same, rest = (jnp.broadcast_to(x[:1], x.shape) for x in (b.cond, w))
    step = gan.centre(gan.move_centre(w_avg, rest, same, 0.75), same) - gan.centre(w_avg, same)
    moves = variants.N if len(spec.w_avg) == 2 else 1
    close(step, (1 - 0.75**moves) * (rest - gan.centre(w_avg, same)))
    assert not np.any(jax.grad(lambda w: jnp.sum(gan.move_centre(w_avg, w, b.cond, 0.75)))(w))


def paths(params):
    return {"/".join(key.key for key in path) for path, _ in jax.tree.leaves_with_path(params)}


@each
def test_paths_of_the_groups_exist(arch, variant):
    b = variants.build(arch, variant)
    groups, config, nets = b.gan.spec.groups, b.config, {"g": paths(b.g["params"]), "d": paths(b.d["params"])}
    found = lambda net, start: [name for name in nets[net] if f"{name}/".startswith(f"{start}/")]
    assert {"freeze_d", "mapping", "embed", "no_penalty"} <= set(groups)
    is_there = {"mapping": config.mapping_layers > 0 or config.label_dim > 0, "embed": config.label_dim > 0}
    for group, names in groups.items():
        net = "d" if group in ("freeze_d", "no_penalty") else "g"
        for name in names:
            assert bool(found(net, name)) == is_there.get(group, True), (group, name)
    assert len(set(groups["freeze_d"])) == len(groups["freeze_d"])
    assert all(set(names) <= nets["g"] | nets["d"] for group, names in groups.items() if group.startswith("no_"))


def unread(function, params):
    """Return the paths of the parameters that the values of function(params) do not depend on."""
    jaxpr = jax.make_jaxpr(function)(params).jaxpr
    _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    names = ["/".join(key.key for key in path) for path, _ in jax.tree.leaves_with_path(params)]
    return {name for name, is_used in zip(names, used, strict=True) if not is_used}


@each
def test_the_groups_of_the_optimisers_are_what_regularisers_do_not_read(arch, variant):
    b = variants.build(arch, variant)
    gan = b.gan
    if arch in models.ARCHS:
        gan = models.build(variants.make_config(arch, variant, conv_clamp=0.0))  # where to clamp depends on all biases
    image = jnp.ones((variants.N, *gan.spec.sample["image"]))

    def lengths(params):
        g = b.g | {"params": params}
        ws = gan.map_latents(g, b.inputs, b.cond)
        return regularizers.path_lengths(lambda w: variants.image(gan, g, w, b.rest), ws, image)

    def penalty(params):
        sample = {name: b.inputs[name] for name in gan.spec.sample if name != "image"}  # a clip's times
        critic = lambda x: gan.discriminate(b.d | {"params": params}, b.frozen, sample | {"image": x}, b.cond)
        return regularizers.squared_norm(critic, image)[0]

    groups = gan.spec.groups
    assert unread(penalty, b.d["params"]) == set(groups["no_penalty"])
    if "no_path_length" in groups:
        assert unread(lengths, b.g["params"]) == set(groups["no_path_length"])


@functools.cache
def noisy(arch):
    """Return (synthesize of a key or keys and a style batch, styles)."""
    b, (_, (ws, _, _)) = variants.build(arch, variants.MAIN[arch]), results(arch, variants.MAIN[arch])
    draw = lambda ws, key, rest=b.rest: variants.image(b.gan, b.g, ws, rest, noise="random", key=key)
    return jax.jit(draw), jnp.asarray(ws)


@noisy_arch
def test_random_noise_follows_its_key(arch):
    draw, ws = noisy(arch)
    one, same, other = (np.asarray(draw(ws, jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.mean(one != other) > 0.99


@noisy_arch
def test_noise_differs_between_images_of_one_key(arch):
    draw, ws = noisy(arch)
    images = np.asarray(draw(jnp.tile(ws[:1], (len(ws), 1, 1)), jax.random.key(0)))
    assert len(np.unique(images.reshape(len(ws), -1), axis=0)) == len(ws)


@pytest.mark.parametrize("arch", [*variants.NOISY, *variants.TOYS])
def test_with_a_key_per_image_the_batch_does_not_matter(arch):
    draw, ws = noisy(arch)
    whole = np.asarray(draw(ws, KEYS))
    order = np.array([6, 1, 7])
    rest = jax.tree.map(lambda x: x[order], variants.build(arch, variants.MAIN[arch]).rest)
    close(draw(ws[order], KEYS[order], rest), whole[order], 1e-6)
    changed = KEYS.at[0].set(jax.random.key(9))
    again = np.asarray(draw(ws, changed))
    assert np.mean(again[0] != whole[0]) > 0.99
    close(again[1:], whole[1:], 1e-6)


@noisy_arch
def test_const_and_none_ignore_the_key(arch):
    b, (_, (ws, image, _)) = variants.build(arch, variants.MAIN[arch]), results(arch, variants.MAIN[arch])
    both = jax.jit(
        lambda ws, key: [variants.image(b.gan, b.g, ws, noise=noise, key=key) for noise in ("const", "none")]
    )
    const, none = both(jnp.asarray(ws), jax.random.key(0))
    const2, none2 = both(jnp.asarray(ws), jax.random.key(1))
    np.testing.assert_array_equal(const, const2)
    np.testing.assert_array_equal(none, none2)
    close(const, image)
    assert np.mean(np.asarray(none) != image) > 0.99


@noisy_arch
def test_a_model_without_noise_has_no_noise_variables_and_needs_no_key(arch):
    b = variants.build(arch, "grey_no_noise")
    assert "buffers" not in b.g
    assert not [p for p, _ in jax.tree.leaves_with_path(b.g) if "noise" in jax.tree_util.keystr(p)]
    shape = jax.eval_shape(
        lambda ws: variants.image(b.gan, b.g, ws, noise="random"), jnp.zeros((1, b.gan.spec.num_ws, b.gan.spec.w_dim))
    )
    assert shape.shape == (1, *b.gan.spec.image_shape)


@noisy_arch
def test_noise_errors_name_the_fix(arch):
    b = variants.build(arch, variants.MAIN[arch])
    ws = jnp.zeros((1, b.gan.spec.num_ws, b.gan.spec.w_dim))
    with pytest.raises(ValueError, match="needs a key; pass one, or use noise='const'"):
        jax.eval_shape(lambda ws: b.gan.synthesize(b.g, ws, {}, noise="random"), ws)


@each_arch
def test_an_unknown_way_of_noise_lists_the_known_ones(arch):
    b = variants.build(arch, variants.MAIN[arch])
    ws = jnp.zeros((1, b.gan.spec.num_ws, b.gan.spec.w_dim))
    with pytest.raises(ValueError, match="'fresh'; known: random, const, none"):
        jax.eval_shape(lambda ws: b.gan.synthesize(b.g, ws, {}, noise="fresh"), ws)


def test_an_unknown_architecture_is_answered_with_the_known_ones():
    config = variants.make_config("stylegan2")
    with pytest.raises(ConfigError, match="'stylegam2'; did you mean 'stylegan2'"):
        models.build(type(config)(**(vars(config) | {"arch": "stylegam2"})))
