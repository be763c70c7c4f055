"""Every architecture through the training programs: a split mesh with micro-batches takes the step of one device."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
import toy

from configs import r3gan, stylegan_v, tiny
from stylegan_jax import models
from stylegan_jax.config import from_dict
from tests.models import variants

STEP = ("g_main", "d_main")


@functools.cache
def run(arch: str, mesh: tuple[int, int, int], grad_accum: int) -> toy.Run:
    tree = tiny.get_config()
    tree.train.batch_size, tree.train.grad_accum = 16, grad_accum
    tree.train.num_devices, (tree.mesh.fsdp, tree.mesh.spatial) = int(np.prod(mesh)), mesh[1:]
    tree.loss.pl_weight, tree.loss.d_reg, tree.loss.style_mixing_prob = 0.0, "none", 0.5
    if arch != "r3gan":
        tree.loss.lecam_weight, tree.augment.apa.mode, tree.augment.apa.p = 0.01, "apa", 0.5
    if arch == "r3gan":  # as it is published: pairs, both penalties in every step, the discriminator first
        r3gan.set_loss(tree)
        tree.loss.style_mixing_prob = 0.0
    if arch == "stylegan_v":  # with its quirks
        tree.data.source, tree.data.path = "video", "given-by-the-user"
        stylegan_v.quirks(tree)
    config = from_dict(tree.to_dict() | {"model": dataclasses.asdict(variants.make_config(arch))})
    return toy.Run(config, models.build(config.model), int(np.prod(mesh)), mesh)


@pytest.mark.parametrize("arch", models.ARCHS)
def test_a_mesh_with_micro_batches_takes_the_step_of_one_device(arch):
    one, many = run(arch, (1, 1, 1), 1), run(arch, (2, 2, 2), 2)
    start = jax.device_get(one.start())
    a, b = one.after(start, *STEP, "finish"), many.after(start, *STEP, "finish")
    for term, value in one.means(a).items():
        assert many.means(b)[term] == pytest.approx(value, rel=1e-4, abs=1e-6), term
    moved = lambda state: [{k: v for k, v in net.items() if k != "params"} for net in state.nets.values()]
    near = lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-6)
    jax.tree.map(near, moved(b), moved(a))
    for name in {"w_avg", "lecam", "apa"} & set(a.moving):
        jax.tree.map(near, b.moving[name], a.moving[name])
    for net in ("g", "d"):
        x, y = (optax.tree.get(s.opt[net], "mu", filtering=lambda path, _: "both" in str(path)) for s in (a, b))
        most = max(np.abs(leaf).max() for leaf in jax.tree.leaves(x))  # some gradients are 0 but for rounding
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-2, atol=1e-3 * most), y, x)
        assert most > 1e-3
