"""The generator's running statistics through the training programs, on the smallest StyleGAN3."""

from __future__ import annotations

import functools

import jax
import numpy as np

from configs import stylegan3_quickstart
from stylegan_jax import models
from stylegan_jax.base import rng
from stylegan_jax.base.spec import PHASES, Batch
from stylegan_jax.config import from_dict
from stylegan_jax.runtime import mesh as sharding
from stylegan_jax.train.gan import state as states, step

KEY = rng.root(5)


def setup(**changes):
    c = stylegan3_quickstart.get_config()
    c.model.stylegan3.num_layers, c.model.stylegan3.num_critical = 2, 1
    c.model.stylegan3.channel_base, c.model.stylegan3.channel_max = 64, 4
    c.model.resolution, c.model.channel_base, c.model.channel_max = 16, 64, 4
    c.model.z_dim = c.model.w_dim = 8
    c.model.label_dim, c.train.batch_size, c.model.mbstd_group = 0, 8, 4
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    config = from_dict(c)
    return config, models.build(config.model), sharding.make_layout(1)


@functools.cache
def start():
    config, gan, layout = setup()
    return jax.device_get(step.create_state(gan, config, layout, KEY))


def after(phase: str, state, **changes):
    config, gan, layout = setup(**changes)
    program = step.jit_programs(step.make_programs(gan, config, layout), layout)[phase]
    draw, n = np.random.default_rng(0), config.train.batch_size
    pixels = draw.integers(0, 256, (n, *gan.spec.image_shape), dtype=np.uint8)
    batch = Batch(pixels, np.zeros((n, 0), np.float32), np.zeros((len(PHASES), n, 0), np.float32))
    placed = jax.device_put(jax.tree.map(np.copy, state), layout.replicated)
    return jax.device_get(program(placed, jax.device_put(batch, layout.batch_shardings()), KEY))


def magnitudes(state) -> dict[str, np.ndarray]:
    flat = jax.tree_util.tree_leaves_with_path(state.g["buffers"])
    return {jax.tree_util.keystr(path): x for path, x in flat if np.ndim(x) == 0}


def test_the_fakes_of_the_discriminator_alone_move_the_statistics():
    before, g, d = (magnitudes(s) for s in (start(), after("g_main", start()), after("d_main", start())))
    assert before and g == before
    assert [name for name in before if d[name] == before[name]] == []


def test_they_are_in_what_is_sampled_and_move_with_parts_of_a_batch_too():
    whole, parts = after("d_main", start()), after("d_main", start(), train__grad_accum=2)
    for name, value in magnitudes(whole).items():
        np.testing.assert_allclose(magnitudes(parts)[name], value, rtol=2e-3, err_msg=name)
    assert states.ema_model(whole)["buffers"].keys() == whole.g["buffers"].keys()


def test_a_skipped_step_leaves_them():
    broken = start().replace(d=jax.tree.map(lambda x: np.full_like(x, np.nan), start().d))
    assert magnitudes(after("d_main", broken, train__on_nan="skip")) == magnitudes(start())
