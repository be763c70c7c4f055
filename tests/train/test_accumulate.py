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
from stylegan_jax.config import from_dict
from stylegan_jax.losses import lecam
from stylegan_jax.ops.norm import minibatch_std
from stylegan_jax.runtime import mesh as sharding
from stylegan_jax.train import accumulate, programs
from stylegan_jax.train.gan.phases import PHASES
from stylegan_jax.train.task import Aux


@functools.cache
def run(count: int, devices: int, name: str = "plain", **changes) -> toy.Run:
    own = {"train__grad_accum": count, "train__batch_size": 32}
    return toy.Run(toy.make_config(**(own | changes)), toy.TOYS[name], devices)


def gradient(state, net):
    """Adam's first moment, which is the gradient because beta1 is 0."""
    moments = optax.tree.get(state.opt[net], "mu", filtering=lambda path, _: "both" in str(path))
    return jax.tree.leaves(moments)


def near(a, b, rtol: float, atol: float) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


CASES = [("plain", phase, {}) for phase in PHASES]
CASES += [("plain", "d_reg", {"loss__d_reg": "wgan_gp"}), ("plain", "d_reg", {"loss__d_reg": "r1+r2"})]
CASES += [("plain", "g_main", {"loss__adversarial": "relativistic"})]
CASES += [
    ("projected", "g_main", {}),
    ("projected", "d_main", {"loss__adversarial": "hinge"}),
    ("projected", "d_reg", {}),
]
FEW = {"augment__apa__mode": "fixed", "augment__apa__p": 0.5, "loss__lecam_weight": 0.1}
CASES += [("clips", "g_reg", {}), ("clips", "d_main", FEW), ("plain", "d_reg", FEW)]


@pytest.mark.parametrize(("name", "phase", "changes"), CASES)
def test_micro_batches_give_the_gradient_of_the_whole_batch(name, phase, changes):
    kept = {key: value for key, value in changes.items() if key in FEW}  # what brings state of its own
    start = toy.put(jax.device_get(run(1, 1, name, **kept).start()), pl_mean=np.float32(0.3))
    if "lecam" in start.moving:
        heads = start.moving["lecam"].real.shape
        start = toy.put(
            start, lecam=lecam.Anchors(np.full(heads, 0.4, "f"), np.full(heads, -0.2, "f"), np.float32(0.5))
        )
    whole = run(1, 1, name, **changes).after(start, phase)
    assert max(np.abs(x).max() for x in gradient(whole, phase[0])) > 1e-3
    for count, devices in ((4, 1), (2, 8)) if (name, changes) == ("plain", {}) else ((2, 8),):
        r = run(count, devices, name, **changes)
        parts = r.after(start, phase)
        for a, b in zip(gradient(parts, phase[0]), gradient(whole, phase[0]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
        for term, value in r.means(whole).items():
            assert r.means(parts)[term] == pytest.approx(value, rel=1e-5, abs=1e-7), term
        near(parts.moving, whole.moving, 1e-4, 1e-7)
        collections = lambda state: [{k: v for k, v in net.items() if k != "params"} for net in state.nets.values()]
        near(collections(parts), collections(whole), 1e-4, 1e-6)


def test_rows_come_back_in_order_and_groups_stay_whole():
    layout = sharding.make_layout(1)
    x = jnp.arange(24.0).reshape(24, 1) ** 2
    stds = lambda rows: minibatch_std(rows[:, None, None], 4)[:, 0, 0, 1]
    of = lambda scale, part: (
        scale * part.sum(),
        Aux({"rows": part, "std": stds(part)}, {"one": part.mean()}, {"d": {"stats": {"mean": part.mean(axis=0)}}}),
    )
    grads, aux = jax.jit(lambda x: accumulate.gradients(of, jnp.float32(1), x, 3, layout))(x)
    np.testing.assert_array_equal(aux.rows["rows"], x)
    np.testing.assert_allclose(aux.rows["std"], stds(x), rtol=1e-5)
    np.testing.assert_allclose(aux.means["one"], x.mean(), rtol=1e-6)
    np.testing.assert_allclose(aux.moved["d"]["stats"]["mean"], x.mean(axis=0), rtol=1e-6)  # [c] stays [c]
    np.testing.assert_allclose(grads, x.sum() / 3, rtol=1e-6)


def test_no_row_changes_its_device():
    r = run(2, 8)
    shapes = programs.state_shapes(r.task, r.layout), {}, programs.batch_shapes(r.task, r.config, r.layout), toy.KEY
    text = r.programs["d_main"].lower(*shapes).compile().as_text()
    assert "all-reduce" in text
    for moving in ("all-to-all", "collective-permute", "all-gather"):
        assert moving not in text


def test_less_memory_than_the_whole_batch():
    sizes = {}
    for count in (1, 4):
        tree = tiny.get_config()
        tree.model.label_dim, tree.train.batch_size, tree.train.grad_accum = 0, 64, count
        config = from_dict(tree)
        r = toy.Run(config, models.build(config.model))
        shapes = programs.state_shapes(r.task, r.layout), {}, programs.batch_shapes(r.task, config, r.layout), toy.KEY
        memory = r.programs["d_reg"].lower(*shapes).compile().memory_analysis()
        sizes[count] = memory.temp_size_in_bytes
    assert sizes[4] < 0.5 * sizes[1]
