"""The `paper256` settings of StyleGAN2-ADA: FFHQ and LSUN Cat at 256x256, adaptive augmentation (Karras et al. 2020b).

Command:
  python -m stylegan_jax.main --config=configs/paper256.py --workdir=runs/paper256 --config.data.path=ffhq-256x256.zip
  mirrored data (the paper's FFHQ-140k): --config.data.xflip=True
Hardware: 8 accelerators. NVIDIA states 4.01 s/kimg on 8 V100 and 2.47 on 8 A100 for its own implementation
(docs/configs.md of NVlabs/stylegan3); ours: not measured.
Parameters: generator 24,767,458; discriminator 24,001,089.
Expected: FID 4.30 on FFHQ-70k and 3.81 on FFHQ-140k (paper, figure 7), reals resized with a box filter (issue 283 of
NVlabs/stylegan2-ada-pytorch); 21.29 with 1,000 images, where users report 24 (issue 14 of NVlabs/stylegan2-ada). Not
reproduced by us.
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_config()
    c.name = "paper256"
    c.model.resolution = 256
    c.model.channel_base = 16384
    c.model.mbstd_group = 8
    c.data.cache = "off"
    c.data.workers = 8
    c.loss.r1_gamma = 1.0
    c.augment.mode = "ada"
    c.train.batch_size = 64
    c.train.total_kimg = 25000.0
    c.train.g_lr = c.train.d_lr = 0.0025
    c.train.ema_kimg = 20.0
    return c
