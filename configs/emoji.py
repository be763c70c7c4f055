"""The demo model: StyleGAN2 with the nine classes of the bundled emoji, 32x32, adaptive augmentation, on two CPU cores.

Command:  python -m stylegan_jax.main --config=configs/emoji.py --workdir=runs/emoji
Hardware: 2 CPU cores, 4 GB of memory; no GPU, no download. The same command continues after an interruption.
Expected: models/emoji/README.md, the card of the model that this recipe trained (`--model=demo`), has the figures.
Learning rates, R1 and the length of the average move over the whole run from their first to their last values.
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_config()
    c.name = "emoji"
    c.model.resolution = 32
    c.model.label_dim = 9
    c.model.z_dim = c.model.w_dim = 128
    c.model.mapping_layers = 2
    c.model.channel_base = 1024
    c.model.channel_max = 128
    c.model.use_noise = False
    c.data.source = "zip"
    c.data.path = "datasets/emoji64.zip"
    c.data.labels = "file"
    c.data.xflip = True
    c.augment.mode = "ada"
    c.loss.r1_gamma = 0.5
    c.loss.pl_weight = 0.0
    c.loss.style_mixing_prob = 0.5
    c.train.batch_size = 16
    c.train.total_kimg = 440.0
    c.train.g_lr = c.train.d_lr = 0.0025
    c.train.ema_kimg = 1.0
    c.train.ema_rampup = 0.05
    c.schedule.end_kimg = 440.0
    c.schedule.r1_gamma = 0.05
    c.schedule.g_lr = c.schedule.d_lr = 0.001
    c.schedule.ema_kimg = 8.0
    c.log.tick_kimg = 2.0
    c.log.grid_ticks = 5
    c.log.checkpoint_ticks = 5
    c.log.keep_every_kimg = 40.0
    return c
