"""Quickstart: StyleGAN2 with classes on the bundled emoji at 32x32, on a laptop CPU, in minutes.

Command:  python -m stylegan_jax.main --config=configs/quickstart.py --workdir=runs/quickstart
Hardware: 2 CPU cores, 4 GB of memory; no GPU, no download.
Settings: docs/performance.md has the effect of each change to common.get_small_config.
Expected: blurred heads and faces by class; docs/performance.md has time and distance too. The first stage of
          configs/emoji.py trains seven times longer.
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_small_config()
    c.name = "quickstart"
    c.data.labels = "file"
    c.model.channel_max = 128
    c.model.use_noise = False
    c.data.xflip = True
    c.loss.pl_weight = 0.0
    c.loss.style_mixing_prob = 0.5
    c.train.total_kimg = c.schedule.end_kimg = 64.0
    c.schedule.start_kimg = 44.0
    c.schedule.g_lr = c.schedule.d_lr = 0.0008
    c.schedule.ema_kimg = 3.0
    c.log.tick_kimg = 1.0
    return c
