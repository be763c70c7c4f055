"""Tiny: synthetic shapes at 8x8, for tests and to check an installation. Most of its minute is compilation.

Command:  python -m stylegan_jax.main --config=configs/tiny.py --workdir=/tmp/tiny
Hardware: any CPU.
Expected: 64 iterations at 8x8; nothing to look at.
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_config()
    c.name = "tiny"
    c.model.resolution = 8
    c.model.z_dim = c.model.w_dim = 16
    c.model.mapping_layers = 1
    c.model.channel_base = 64
    c.model.channel_max = 8
    c.data.source = "synthetic"
    c.data.synthetic_images = 64
    c.loss.r1_gamma = 1.0
    c.train.batch_size = 8
    c.train.total_kimg = 0.512
    c.train.ema_kimg = 0.1
    c.log.tick_kimg = 0.064
    c.log.grid_ticks = 4
    c.log.checkpoint_ticks = 1
    c.log.trackers = ()
    c.log.grid_columns = 4
    c.log.grid_rows = 2
    return c
