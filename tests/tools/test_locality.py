"""Pivotal tuning with a term that keeps the images of other styles."""

from __future__ import annotations

import numpy as np
from test_project import NET

from stylegan_jax import load_model
from stylegan_jax.base import images
from stylegan_jax.sampling import tuner


def test_locality_keeps_the_images_of_other_styles(classes_model):
    model = load_model(classes_model)
    pivot, target = model.map([3], 1, psi=0.5), images.to_pixels(model.synthesize(model.map([7], 1, psi=0.5)))
    beside = tuner.neighbours(model, pivot, 2)
    distance = np.square(beside - pivot).sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(distance, tuner.DISTANCE**2, rtol=1e-4)
    options = {"steps": 40, "rate": 1e-3, "net": NET}
    free, kept = (tuner.tune(model, target[0], pivot[0], locality=x, **options).model for x in (0.0, 10.0))
    before = model.synthesize(beside)
    changed = [np.square(tuned.synthesize(beside) - before).mean() for tuned in (free, kept)]
    assert 0 < changed[1] < 0.2 * changed[0]
