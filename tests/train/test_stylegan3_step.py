"""The generator's running statistics through the training programs, on the smallest StyleGAN3."""

from __future__ import annotations

import functools

import jax
import numpy as np
import toy

from configs import stylegan3_quickstart
from stylegan_jax import models
from stylegan_jax.config import from_dict


@functools.cache
def run(**changes) -> toy.Run:
    c = stylegan3_quickstart.get_config()
    c.model.stylegan3.num_layers, c.model.stylegan3.num_critical = 2, 1
    c.model.stylegan3.channel_base, c.model.stylegan3.channel_max = 64, 4
    c.model.resolution, c.model.channel_base, c.model.channel_max = 16, 64, 4
    c.model.z_dim = c.model.w_dim = 8
    c.model.label_dim, c.train.batch_size, c.model.mbstd_group = 0, 8, 4
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    config = from_dict(c)
    return toy.Run(config, models.build(config.model))


@functools.cache
def start():
    return jax.device_get(run().start())


@functools.cache
def after(phase: str, **changes):
    return run(**changes).after(start(), phase)


def magnitudes(state) -> dict[str, np.ndarray]:
    flat = jax.tree_util.tree_leaves_with_path(state.nets["g"]["buffers"])
    return {jax.tree_util.keystr(path): x for path, x in flat if np.ndim(x) == 0}


def test_the_fakes_of_the_discriminator_alone_move_the_statistics():
    before, g, d = (magnitudes(s) for s in (start(), after("g_main"), after("d_main")))
    assert before and g == before
    assert [name for name in before if d[name] == before[name]] == []


def test_they_are_in_what_is_sampled_and_move_with_parts_of_a_batch_too():
    whole, parts = after("d_main"), after("d_main", train__grad_accum=2)
    for name, value in magnitudes(whole).items():
        np.testing.assert_allclose(magnitudes(parts)[name], value, rtol=2e-3, err_msg=name)
    assert run().task.export(whole)["buffers"].keys() == whole.nets["g"]["buffers"].keys()


def test_a_skipped_step_leaves_them():
    d = jax.tree.map(lambda x: np.full_like(x, np.nan), start().nets["d"])
    broken = toy.put(start(), d=d)
    assert magnitudes(run(train__on_nan="skip").after(broken, "d_main")) == magnitudes(start())
