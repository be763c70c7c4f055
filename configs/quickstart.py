"""Quickstart: StyleGAN2 on the bundled emoji at 32x32, on a laptop CPU, in minutes.

Command:  python -m stylegan_jax.main --config=configs/quickstart.py --workdir=runs/quickstart
Hardware: 2 CPU cores, 4 GB of memory; no GPU, no download.
Expected: figures in docs/performance.md. A run this short shows a generator that learns, not a good one.
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_config()
    c.name = "quickstart"
    c.model.resolution = 32
    c.model.z_dim = c.model.w_dim = 128
    c.model.mapping_layers = 2
    c.model.channel_base = 1024
    c.model.channel_max = 64
    c.data.source = "zip"
    c.data.path = "datasets/emoji64.zip"
    c.loss.r1_gamma = 0.5
    c.train.batch_size = 16
    c.train.total_kimg = 12.0
    c.train.g_lr = c.train.d_lr = 0.0025
    c.train.ema_kimg = 1.0
    c.train.ema_rampup = 0.05
    c.log.tick_kimg = 0.5
    c.log.grid_ticks = 4
    c.log.checkpoint_ticks = 4
    return c
