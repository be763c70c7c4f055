"""Gradient accumulation: the gradient of the whole batch, in less memory, without moving rows between devices."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from configs import tiny
from stylegan_jax import models
from stylegan_jax.base.spec import PHASES
from stylegan_jax.config import from_dict
from stylegan_jax.ops.norm import minibatch_std
from stylegan_jax.runtime import mesh as sharding
from stylegan_jax.train import accumulate, terms
from stylegan_jax.train.gan import step


@functools.cache
def run(count: int, devices: int, d_reg: str = "r1") -> toy.Run:
    return toy.Run(toy.make_config(train__grad_accum=count, train__batch_size=32, loss__d_reg=d_reg), devices=devices)


def gradient(state, phase):
    """Adam's first moment, which is the gradient because beta1 is 0."""
    moments = optax.tree.get(
        state.g_opt if phase[0] == "g" else state.d_opt, "mu", filtering=lambda path, _: "both" in str(path)
    )
    return jax.tree.leaves(moments)


@pytest.mark.parametrize(("phase", "d_reg"), [(p, "r1") for p in PHASES] + [("d_reg", "wgan_gp")])
def test_micro_batches_give_the_gradient_of_the_whole_batch(phase, d_reg):
    start = jax.device_get(run(1, 1).start()).replace(pl_mean=np.float32(0.3))
    whole = run(1, 1, d_reg).after(start, phase)
    assert max(np.abs(x).max() for x in gradient(whole, phase)) > 1e-3
    for count, devices in ((4, 1), (2, 8)):
        parts = run(count, devices, d_reg).after(start, phase)
        for a, b in zip(gradient(parts, phase), gradient(whole, phase), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
        for name, value in terms.means(whole.stats).items():
            assert terms.means(parts.stats)[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name
        np.testing.assert_allclose(parts.w_avg, whole.w_avg, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(parts.pl_mean, whole.pl_mean, rtol=1e-6)


def test_rows_come_back_in_order_and_groups_stay_whole():
    layout = sharding.make_layout(1)
    x = jnp.arange(24.0).reshape(24, 1) ** 2
    stds = lambda rows: minibatch_std(rows[:, None, None], 4)[:, 0, 0, 1]
    of = lambda scale, part: (
        scale * part.sum(),
        accumulate.Aux({}, {"rows": part, "std": stds(part), "one": part.mean()}),
    )
    grads, aux = jax.jit(lambda x: accumulate.gradients(of, jnp.float32(1), x, 3, layout))(x)
    np.testing.assert_array_equal(aux.store["rows"], x)
    np.testing.assert_allclose(aux.store["std"], stds(x), rtol=1e-5)
    np.testing.assert_allclose(aux.store["one"], x.mean(), rtol=1e-6)
    np.testing.assert_allclose(grads, x.sum() / 3, rtol=1e-6)


def test_no_row_changes_its_device():
    r = run(2, 8)
    shapes = step.state_shapes(r.gan, r.config, r.layout), step.batch_shapes(r.gan, r.config, r.layout), toy.KEY
    text = r.programs["d_main"].lower(*shapes).compile().as_text()
    assert "all-reduce" in text
    for moving in ("all-to-all", "collective-permute", "all-gather"):
        assert moving not in text


def test_less_memory_than_the_whole_batch():
    sizes = {}
    for count in (1, 4):
        tree = tiny.get_config()
        tree.model.label_dim, tree.train.batch_size, tree.train.grad_accum = 0, 64, count
        config, layout = from_dict(tree), sharding.make_layout(1)
        gan = models.build(config.model)
        programs = step.jit_programs(step.make_programs(gan, config, layout), layout)
        shapes = step.state_shapes(gan, config, layout), step.batch_shapes(gan, config, layout), toy.KEY
        memory = programs["d_reg"].lower(*shapes).compile().memory_analysis()
        sizes[count] = memory.temp_size_in_bytes
    assert sizes[4] < 0.5 * sizes[1]
