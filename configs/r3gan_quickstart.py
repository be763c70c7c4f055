"""R3GAN (Huang et al. 2024) on the bundled emoji at 32x32, on a laptop CPU.

Command:  python -m stylegan_jax.main --config=configs/r3gan_quickstart.py --workdir=runs/r3gan_quickstart
Hardware: 2 CPU cores, 4 GB of memory; no GPU, no download.
Expected: 35 images per second on one core (6 minutes); docs/story.md compares it with StyleGAN2 at 30 thousand images.
"""

from stylegan_jax.configs import r3gan


def get_config():
    c = r3gan.networks(32, (96, 96, 48, 16), (12, 12, 6, 2))
    c.name = "r3gan_quickstart"
    c.data.source, c.data.path = "zip", "datasets/emoji64.zip"
    c.data.xflip = False
    c.loss.r1_gamma, c.schedule.r1_gamma = 2.0, 0.2
    c.augment.mode = "none"
    c.train.batch_size = 16
    c.train.total_kimg = c.schedule.end_kimg = 12.0
    c.train.g_lr = c.train.d_lr = 1e-3
    c.schedule.g_lr = c.schedule.d_lr = 2.5e-4
    c.schedule.ema_kimg = 1.0
    c.log.tick_kimg = 0.5
    c.log.grid_ticks = c.log.checkpoint_ticks = 4
    return c
