"""The `paper512` settings of StyleGAN2-ADA: small data sets at 512x512, adaptive augmentation (Karras et al. 2020b).

Command:
  python -m stylegan_jax.main --config=configs/paper512.py --workdir=runs/paper512 --config.data.path=mine-512x512.zip
Hardware: 8 accelerators. NVIDIA states 9.11 s/kimg on 8 V100 and 5.28 on 8 A100 for its own implementation
(docs/configs.md of NVlabs/stylegan3); ours: not measured.
Parameters: generator 30,276,583; discriminator 28,982,849.
Expected: see configs/afhq.py and configs/brecahad.py.
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_config()
    c.name = "paper512"
    c.model.resolution = 512
    c.model.mbstd_group = 8
    c.data.cache = "off"
    c.data.workers = 8
    c.loss.r1_gamma = 0.5
    c.augment.mode = "ada"
    c.train.batch_size = 64
    c.train.total_kimg = 25000.0
    c.train.g_lr = c.train.d_lr = 0.0025
    c.train.ema_kimg = 20.0
    return c
