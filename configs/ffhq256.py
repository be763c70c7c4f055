"""StyleGAN2 on FFHQ at 256x256 with the `paper256` settings of StyleGAN2-ADA (Karras et al. 2020b), no augmentation.

Command:
  python -m stylegan_jax.main --config=configs/ffhq256.py --workdir=runs/ffhq256 --config.data.path=ffhq-256x256.zip
Hardware: 8 accelerators. NVIDIA states 4.01 s/kimg on 8 V100 and 2.47 on 8 A100 for its own implementation (its
configuration table); ours: not measured.
Parameters: generator 24,767,458; discriminator 24,001,089.
Expected: not reproduced by us; FID at this size depends on the resize filter of the data set.
"""

from configs import common


def get_config():
    c = common.get_config()
    c.name = "ffhq256"
    c.model.resolution = 256
    c.model.channel_base = 16384
    c.model.mbstd_group = 8
    c.data.path = "datasets/ffhq-256x256.zip"
    c.data.xflip = True
    c.data.cache = "off"
    c.data.workers = 8
    c.loss.r1_gamma = 1.0
    c.train.batch_size = 64
    c.train.total_kimg = 25000.0
    c.train.g_lr = c.train.d_lr = 0.0025
    c.train.ema_kimg = 20.0
    return c
