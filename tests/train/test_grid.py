"""Labels of the sample grid, and that each cell is drawn with its own."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import toy

from stylegan_jax import data
from stylegan_jax.runtime import mesh as sharding
from stylegan_jax.train import cells as grid
from stylegan_jax.train.gan.preview import GanPreview

VECTORS = np.random.default_rng(0).standard_normal((5, 3))
DRAWN = data.order.shuffled(np.arange(5), 5)


def source_of(labels, count=0) -> data.FittedSource:
    config, count = toy.make_config(), count or len(labels)
    pixels = np.zeros((count, *toy.SHAPE), np.uint8)
    return data.fit_source(data.MemorySource(pixels, labels), config.data, config.model.image_shape)


@pytest.mark.parametrize(
    ("labels", "cells"),
    [
        (np.arange(20) % 3, np.eye(3)[[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]]),  # a row per class
        (np.arange(20) % 2, np.eye(2)[[0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]]),
        (VECTORS > 0, (VECTORS > 0)[np.resize(DRAWN, 12)]),  # as the reals in the same cells
        (VECTORS, VECTORS[np.resize(DRAWN, 12)]),
    ],
)
def test_classes_go_by_rows_and_other_labels_are_those_of_the_reals(labels, cells):
    config = toy.make_config(log__grid_columns=4, log__grid_rows=3)
    labels = labels.astype(np.float32) if labels.ndim == 2 else labels
    got = grid.grid_labels(config, source_of(labels))
    np.testing.assert_array_equal(got, cells.astype(np.float32))
    assert got.dtype == np.float32


def test_reals_are_drawn_from_the_whole_set_and_have_the_classes_of_the_rows():
    config = toy.make_config(log__grid_columns=4, log__grid_rows=3)
    labels = np.repeat([0, 1, 3], [50, 40, 2])  # ordered, as many sets are; class 2 has none
    shown = grid.grid_images(config, source_of(labels)).reshape(3, 4)
    assert (labels[shown[:2]] == [[0], [1]]).all() and shown[2].max() > 4
    assert len(set(shown[:2].ravel())) == 8 and shown[0].max() > 4
    shown = grid.grid_images(toy.make_config(log__grid_columns=4, log__grid_rows=4), source_of(labels))
    assert sorted(shown[12:]) == [90, 90, 91, 91]  # too few, so shown again
    plain = grid.grid_images(config, source_of(None, 92))
    assert len(set(plain)) == 12 and plain.max() > 50
    assert len(grid.grid_images(config, source_of(None, 5))) == 5


def test_each_cell_is_drawn_with_its_label():
    values = np.linspace(-1, 1, 21, dtype=np.float32)[:, None]  # more than one chunk, and a rest
    paint = lambda ws: jax.numpy.broadcast_to(ws[:, :1, :1, None], (len(ws), *toy.SHAPE))
    gan = toy.PLAIN._replace(
        spec=toy.SPEC._replace(label_dim=1),
        map_latents=lambda g, inputs, cond, **_: jax.numpy.broadcast_to(cond[:, None], (len(cond), 2, 16)),
        synthesize=lambda g, ws, inputs, **_: ({"image": paint(ws)}, {}),
    )
    r = toy.Run(toy.make_config(), gan)
    for devices in (1, 8):
        drawn = GanPreview(gan, sharding.make_layout(devices), r.config, values).draw(r.start())
        assert drawn.shape == (21, *toy.SHAPE)
        np.testing.assert_allclose(drawn[:, 0, 0, 0], (values[:, 0] + 1) * 127.5, atol=1)


@pytest.mark.parametrize("name", toy.TOYS)
def test_every_toy_has_a_picture_per_cell(name):
    r = toy.Run(toy.make_config(), toy.TOYS[name])
    label = np.eye(max(r.gan.spec.label_dim, 1), dtype=np.float32)[np.zeros(6, int)][:, : r.gan.spec.label_dim]
    preview = GanPreview(r.gan, r.layout, r.config, label)
    state = r.start()
    before = preview.draw(state, r.frozen)
    preview.compile(state, r.frozen)
    frames = before.shape[1:-3]
    assert before.shape == (6, *frames, *toy.SHAPE) and before.dtype == np.uint8
    assert len(frames) == (name == "clips")  # a clip of consecutive frames for every cell
    np.testing.assert_array_equal(preview.draw(state, r.frozen), before)
