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


def source_of(labels) -> data.FittedSource:
    config, count = toy.make_config(), len(labels)
    pixels = np.zeros((count, *toy.SHAPE), np.uint8)
    return data.fit_source(data.MemorySource(pixels, labels), config.data, config.model.image_shape)


@pytest.mark.parametrize(
    ("labels", "cells"),
    [
        (np.arange(20) % 3, np.eye(3)[[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]]),  # a row per class
        (np.arange(20) % 2, np.eye(2)[[0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]]),
        (VECTORS > 0, (VECTORS > 0)[[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]]),  # as the reals in the same cells
        (VECTORS, VECTORS[[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]]),
    ],
)
def test_classes_go_by_rows_and_other_labels_are_those_of_the_reals(labels, cells):
    config = toy.make_config(log__grid_columns=4, log__grid_rows=3)
    labels = labels.astype(np.float32) if labels.ndim == 2 else labels
    got = grid.grid_labels(config, source_of(labels))
    np.testing.assert_array_equal(got, cells.astype(np.float32))
    assert got.dtype == np.float32


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
