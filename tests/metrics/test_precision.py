"""Which metrics compute in low precision where the model does."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from configs import common
from stylegan_jax import models
from stylegan_jax.config import model_from_dict
from stylegan_jax.features import random_features
from stylegan_jax.metrics import fakes
from stylegan_jax.metrics.definitions import choose
from stylegan_jax.metrics.images import Extractor
from stylegan_jax.runtime.mesh import make_layout


def model():
    """Return a StyleGAN3 that computes in bfloat16."""
    tree = common.get_config().model.to_dict() | {"resolution": 16, "label_dim": 0, "arch": "stylegan3"}
    tree |= {"channel_base": 256, "channel_max": 8, "z_dim": 8, "w_dim": 8}
    return dataclasses.replace(model_from_dict(tree), compute_dtype="bfloat16")


@pytest.fixture(scope="module")
def program():
    """Return a function from the name of a metric to its program as text, of products in it."""
    config = model()
    gan = models.build(config)
    variables = jax.eval_shape(lambda key: gan.init_g(key), jax.random.key(0))
    variables = {**variables, "w_avg": np.zeros(gan.spec.w_dim, np.float32)}
    generator = fakes.make_generator(config, gan, None, 1.0, 0, {})
    net = random_features("alexnet_lpips", 0)
    extractor = Extractor({net.name: net}, make_layout(1), 1)

    def trace(name: str) -> str:
        (chosen,) = choose([name], [net.name] if name == "ppl2_wend" else [])
        if chosen.metric.family == "path":
            fakes.make_distances(generator, variables, extractor, chosen)
        elif chosen.metric.family == "equivariance":
            fakes.make_moves(generator, variables, extractor, (chosen.metric.variant,))
        else:
            fakes.make_features(generator, variables, extractor, {net.name: ["lpips"]})
        *_, compiled = extractor._programs.values()
        label = np.zeros((1, 4, 0) if chosen.metric.family == "equivariance" else (1, 0), np.float32)
        return str(jax.make_jaxpr(compiled)(variables, extractor.params, np.zeros(1, np.int32), label))

    return trace


@pytest.mark.parametrize("name", ["ppl2_wend", "eqt50k_frac"])
def test_path_length_and_equivariance_are_in_full_float32(program, name):
    """On accelerators products of float32 are in less by default, and steps of 1e-4 drown in the rounding."""
    text = program(name)
    assert "Precision.HIGHEST" in text and "precision=None" not in text and "bf16" not in text


def test_metrics_of_images_compute_as_the_model_does(program):
    text = program("fid50k_full")
    assert "bf16" in text and "precision=None" in text
