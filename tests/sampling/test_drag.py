"""Dragging: a picture whose motion is known, steps in pieces, what is kept, arguments that do not fit."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from configs import common
from stylegan_jax import models
from stylegan_jax.config import model_from_dict
from stylegan_jax.sampling import drag, supervision
from stylegan_jax.sampling.model import LoadedModel

SIZE, GAIN = 32, 2.0
HANDLE, TARGET = (14, 12), (20, 17)


@pytest.fixture(scope="module")
def model():
    """Return a random StyleGAN3 whose first two style numbers move the whole picture, and whose others change it."""
    small = {"resolution": SIZE, "channel_base": 256, "channel_max": 8, "z_dim": 4, "w_dim": 4, "mapping_layers": 1}
    small |= {"arch": "stylegan3", "d_mapping_layers": 1, "label_dim": 0, "compute_dtype": "float32"}
    tree = common.get_config().model.to_dict() | small
    tree["stylegan3"] = tree["stylegan3"] | {"num_layers": 3, "num_critical": 1, "margin_size": 2, "filter_size": 3}
    config = model_from_dict(tree)
    gan, rng = models.build(config), np.random.default_rng(0)

    def drawn(path, x):
        names = [p.key for p in path]
        value = rng.standard_normal(x.shape)
        if names[-1] == "transform":
            value = np.eye(3)
        elif names[-2:] == ["affine", "weight"]:
            value = 0.1 * value
            if "input" in names:
                value = np.zeros((4, 4))
                value[0, 2] = value[1, 3] = GAIN
        elif names[-1] == "bias":
            value = np.array([1, 0, 0, 0]) if "input" in names else np.ones(x.shape)
        elif names[-1] == "magnitude_ema":
            value = np.ones(x.shape)
        return value.astype(np.float32)

    g = jax.tree.map_with_path(drawn, jax.eval_shape(gan.init_g, jax.random.key(0)))
    return LoadedModel(config, gan, g, np.zeros(4, np.float32), None, None, {"path": "random"})


@pytest.fixture(scope="module")
def start(model):
    return np.zeros((model.gan.spec.num_ws, 4), np.float32)


@pytest.fixture(scope="module")
def begun(model, start):
    """Return a drag of one point that has not begun."""
    return drag.begin(model, start, [HANDLE], [TARGET], rate=0.01)


def motion(ws, start):
    """Return how far (x, y) the Fourier input has moved the picture, in pixels."""
    return (np.asarray(ws)[0, :2] - start[0, :2]) * GAIN / np.sqrt(4) * SIZE


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def test_the_picture_moves_as_far_as_its_point_is_dragged(model, start):
    found = drag.drag_points(model, start, [HANDLE], [TARGET], steps=200, every=20)
    moved = motion(found.ws, start)
    assert found.is_done and len(found.path) - 1 < 200
    assert np.linalg.norm(moved - np.subtract(TARGET, HANDLE)) < 2  # what the network did, whatever was tracked
    assert np.linalg.norm(found.path[-1, 0] - HANDLE - moved) < 1.5
    assert found.distances[0] <= 1 and found.distances[0] == np.linalg.norm(found.path[-1, 0] - TARGET)
    is_near = np.linalg.norm(found.path[:, 0] - TARGET, axis=1) <= 1
    assert is_near[-drag.SETTLE - 1 :].all() and not is_near[-drag.SETTLE - 2]  # it pulled on
    assert (found.ws[drag.SLOTS :] == start[drag.SLOTS :]).all()
    assert found.frame_steps.tolist() == [*range(0, len(found.path) - 1, 20), len(found.path) - 1]
    np.testing.assert_array_equal(found.frames[0], drag.pictures.to_pixels(model.synthesize(start[None])[0]))
    np.testing.assert_allclose(found.image, model.synthesize(found.ws[None])[0], atol=1e-5)
    assert 0 < found.seconds < 60


def test_steps_are_the_same_in_pieces_and_an_earlier_state_can_be_gone_on_from(model, begun):
    before = jax.device_get(begun)
    whole, seen = drag.advance(model, begun, 12)
    first, seen1 = drag.advance(model, begun, 5)
    kept = jax.device_get(first)
    second, seen2 = drag.advance(model, first, 7)
    same(second, whole)
    same(begun, before)
    same(first, kept)
    np.testing.assert_array_equal(np.concatenate([seen1.path, seen2.path[1:]]), seen.path)
    np.testing.assert_array_equal(seen2.image, seen.image)
    again, _ = drag.advance(model, first, 7)  # undone and taken again
    same(again, whole)
    assert int(whole.step) == 12 and np.any(whole.ws != begun.ws)


def test_one_program_serves_other_points_numbers_and_steps(model, start, begun):
    drag.advance(model, begun, 1)
    program = drag._program(model.gan)
    count = program._cache_size()
    three = [(5, 5), (20, 9), (9, 22)], [(6, 8), (20, 12), (9, 22)]
    state = drag.begin(model, start + 0.1, *three, rate=0.03, stop=0.5, plus=False, slots=[0, 2], radius=3.2, stay=0.1)
    state, seen = drag.advance(model, state, 40)  # more than a call of the program takes
    assert program._cache_size() == count
    assert seen.path.shape == (41, 3, 2) and int(state.step) == 40
    change = np.asarray(state.ws) - (start + np.float32(0.1))
    assert (change[[1, *range(3, len(change))]] == 0).all() and np.abs(change[0]).max() > 0.01
    np.testing.assert_allclose(change[0], change[2], atol=1e-6)  # W: all that move do so alike


def test_other_targets_are_gone_to_without_a_new_start(model, start, begun):
    state, _ = drag.advance(model, begun, 4)
    back = drag.retarget(state, [HANDLE])
    same(back.references, state.references)
    state, _ = drag.advance(model, back, 100)
    assert bool(state.is_done) and np.linalg.norm(motion(state.ws, start)) < 2
    with pytest.raises(ValueError, match="2 targets for 1 points; pass one each"):
        drag.retarget(state, [HANDLE, TARGET])


def test_what_the_mask_keeps_holds_the_picture(model, start):
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[8:17, 10:19] = 1
    far = {}
    for keep in (0.0, 1000.0):
        state = drag.begin(model, start, [HANDLE], [TARGET], mask=mask, keep=keep, rate=0.01)
        state, _ = drag.advance(model, state, 10)
        far[keep] = np.linalg.norm(motion(state.ws, start))
    assert far[0.0] > 1.5 > 4 * far[1000.0]


def test_what_is_looked_at_is_the_map_resized_to_the_image():
    rng = np.random.default_rng(0)
    features, size = rng.standard_normal((8, 6, 3)).astype(np.float32), (16, 24)
    rules = supervision.Rules("", size, 2, 2, True)
    whole = np.asarray(jax.image.resize(features, (*size, 3), "linear", antialias=False))
    points, shift = np.array([[1, 14], [20, 3], [23, 0]], np.float32), np.array([[0.3, -0.6], [-1, 0], [0.5, 0.5]])
    got = np.asarray(supervision._at(features, points, np.arange(-2, 3), rules, shift.astype(np.float32)))
    padded = np.pad(whole, ((4, 4), (4, 4), (0, 0)))  # zeros outside
    for i, ((x, y), (dx, dy)) in enumerate(zip(points, shift, strict=True)):
        for row in range(-2, 3):
            for column in range(-2, 3):
                u, v = x + column + dx + 4, y + row + dy + 4
                a, b = int(np.floor(u)), int(np.floor(v))
                p, q = u - a, v - b
                corners = padded[b : b + 2, a : a + 2]
                want = (1 - q) * ((1 - p) * corners[0, 0] + p * corners[0, 1])
                want += q * ((1 - p) * corners[1, 0] + p * corners[1, 1])
                np.testing.assert_allclose(got[i, row + 2, column + 2], want, atol=1e-5)
    mask = rng.random(size).astype(np.float32)
    change = supervision._change(jnp.asarray(features), jnp.asarray(mask), rules)
    assert float(change) == pytest.approx(np.abs(whole * mask[..., None]).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("size", "pull", "radius", "search", "patch"),
    [
        *[(32, None, 4, 2, 3), (64, None, 4, 2, 3), (254, None, 4, 6, 3), (32, "now", 4, 2, 2)],
        *[(256, None, 2, 6, 0), (512, None, 3, 12, 0), (1024, None, 6, 24, 0), (256, "first", 4, 6, 3)],
    ],
)
def test_radii_follow_the_size(model, start, size, pull, radius, search, patch):
    gan = model.gan._replace(
        spec=model.gan.spec._replace(sample=FrozenDict({"image": (size, size, 3)})),
        features=lambda g, ws, inputs: ({}, {f"x{n}": jnp.zeros((1, n, n, 2)) for n in (4, size // 2, size)}),
    )
    begun = drag.begin(model.replace(gan=gan), start, [(1, 1)], [(9, 9)], pull=pull)
    assert (float(begun.settings.radius), int(begun.settings.search)) == (radius, search)
    assert begun.rules.reach >= radius and begun.rules.window >= search
    is_first = size < 256 if pull is None else pull == "first"
    assert begun.rules.layer == ("picture" if is_first else f"x{size // 2}") and begun.rules.patch == patch
    assert begun.rules.is_first == is_first
    assert float(begun.settings.rate) == np.float32(0.005 if size < 256 else 0.002)
    assert int(begun.settings.settle) == (drag.SETTLE if is_first else 0)


def test_the_slots_that_move_are_much_coarser_than_the_picture():
    of = lambda *slots: drag._default_slots(models.GanSpec({}, {}, len(slots), 4, 0, slots=slots)).nonzero()[0].tolist()
    assert of(4, 4, 8, 8, 16, 16, 32, 32) == [0, 1, 2, 3]
    assert of(4, 4, 8, 8, 16, 16, 32, 32, 64, 64) == [0, 1, 2, 3, 4, 5]  # from here on as published
    assert of(*np.repeat(4 * 2 ** np.arange(9), 2).tolist()) == [0, 1, 2, 3, 4, 5]
    assert of(4, 4, 8, 8) == [0, 1, 2, 3]  # nothing is as coarse: all


def test_a_patch_is_recognised_where_one_pixel_is_not():
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 3, (16, 16, 1)).astype(np.float32)  # few values: a pixel has many doubles near it
    later = np.roll(whole, (1, -2), axis=(0, 1))
    points = np.array([[6, 7], [9, 8], [7, 10], [10, 6]], np.float32)
    found = {}
    for patch in (0, 2):
        rules = supervision.Rules("", (16, 16), 2, 2, False, patch)
        near = supervision._at(jnp.asarray(whole), jnp.asarray(points), np.arange(-patch, patch + 1), rules)
        moved = supervision._nearest(jnp.asarray(later), jnp.asarray(points), near, 2.0, rules)
        found[patch] = np.asarray(moved) - points
    assert (found[2] == [-2, 1]).all() and not (found[0] == [-2, 1]).all(axis=1).any()


def shifted(by, given):
    """Return where the points are once the picture is shifted by (x, y) = by, their losses, and the gradient."""
    whole = np.random.default_rng(0).random((16, 16, 1)).astype(np.float32)
    rules = dataclasses.replace(given, rules=given.rules._replace(size=(16, 16), layer="picture"))
    first = supervision.tracked(rules, jnp.asarray(whole))
    later = jnp.asarray(np.roll(whole, by[::-1], axis=(0, 1)))
    found = supervision.tracked(dataclasses.replace(first, is_tracked=jnp.zeros((), bool)), later)
    gradient, losses = jax.grad(supervision._pull, has_aux=True)(later, found)
    return np.asarray(found.points), np.asarray(losses.motion), np.asarray(gradient)[..., 0]


def test_the_first_picture_is_pulled_a_pixel_on_and_holds_what_is_there(model, start):
    given = drag.begin(model, start, [(6, 7), (2, 9)], [(10, 7), (3.4, 9)], search=4)
    points, motion, _ = shifted((1, 0), given)
    assert points[:2].tolist() == [[7, 7], [3, 9]]
    assert motion[0] > 0.1 and motion[1] > 0.01  # the second is near enough, and a part of a pixel off
    points, motion, gradient = shifted((4, 0), given)
    assert points[0].tolist() == [10, 7] and motion[0] == 0 and motion[2] == 0
    assert np.any(gradient != 0)


def test_nothing_beyond_the_first_picture_is_pulled(model, start):
    given = drag.begin(model, start, [(0, 8)], [(8, 8)])
    _, motion, gradient = shifted((0, 0), given)
    assert motion[0] > 0 and (gradient[:, 0] == 0).all() and np.any(gradient[:, 1] != 0)


INSIDE = "outside the picture; x goes from 0 to 31, y to 31"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"handles": [(3, 32)]}, f"handle 0 is at (3, 32), {INSIDE}"),
        ({"targets": [(-1, 3)]}, f"target 0 is at (-1, 3), {INSIDE}"),
        ({"targets": [(float("nan"), 3)]}, f"target 0 is at (nan, 3), {INSIDE}"),
        ({"handles": [], "targets": []}, "no handles; pass at least one (x, y)"),
        ({"handles": [(1, 2, 3)]}, "handles of shape [1, 3]; pass one (x, y) per point"),
        ({"handles": ["here"]}, "handles of shape []; pass one (x, y) per point"),
        ({"targets": [(1, 2), (3, 4)]}, "1 handles and 2 targets; pass as many of both"),
        ({"targets": [HANDLE]}, "every target is where its handle is, as (14, 12); move at least one of them"),
        ({"handles": [HANDLE] * 2, "targets": [TARGET] * 2}, "handle 1 is at (14, 12), as another is; leave one of"),
        ({"mask": np.ones((32, 16))}, "mask of shape [32, 16]; the picture is [32, 32] (height, width)"),
        ({"mask": np.full((32, 32), 255)}, "the mask has numbers outside 0 to 1; 1 is what may change"),
        ({"mask": np.zeros((32, 32))}, "handle 0 at (14, 12) is where the mask is 0, which keeps it; let it change"),
        ({"layer": "x9"}, "layer='x9' is not known; this model has features, x0, x1, x2, x3, picture"),
        ({"pull": "later"}, "pull='later' must be 'first' or 'now'"),
        ({"slots": [9]}, "slots=[9]; this model has style slots 0 to 4"),
        ({"rate": float("inf")}, "rate=inf must be above 0"),
        ({"patch": -1}, "patch=-1 must be a number from 0"),
        ({"stop": -1.0}, "stop=-1.0 must be a number from 0"),
        ({"radius": 99}, "radius=99 search=2 patch=3: the picture's shorter side is 32 pixels"),
        ({"ws": np.zeros((5, 3))}, "styles of shape (1, 5, 3); this model takes [n, 5, 4]"),
        ({"steps": 0}, "steps=0 every=0: at least 1 step"),
    ],
)
def test_arguments_that_do_not_fit(model, start, change, message):
    given = {"ws": start, "handles": [HANDLE], "targets": [TARGET]} | change
    with pytest.raises(ValueError) as error:
        drag.drag_points(model, **given)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_rate_that_breaks_the_picture_is_an_error(model, start):
    state = drag.begin(model, start, [HANDLE], [TARGET], rate=3e38)
    with pytest.raises(ValueError, match=r"not finite after \d steps at rate=3e\+38: lower it"):
        drag.advance(model, state, 3)


def test_a_mask_of_ones_keeps_nothing_and_a_point_may_hold_its_place(model, start):
    begun = drag.begin(model, start, [HANDLE, (3, 3)], [TARGET, (3, 3)], mask=np.ones((SIZE, SIZE)))
    assert not begun.rules.is_masked and begun.is_used.tolist() == [True, True, False, False]
    many = [(i, i) for i in range(6)]
    begun = drag.begin(model, start, many, [(9, 9)] * 6)
    assert len(begun.points) == 8 and float(begun.settings.stop) == 2
    assert dataclasses.replace(begun, step=begun.step + 1).rules == begun.rules
