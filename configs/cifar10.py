"""Class-conditional StyleGAN2 on CIFAR-10 with the `cifar` settings of StyleGAN2-ADA, without its augmentation.

Command:  python -m stylegan_jax.main --config=configs/cifar10.py --workdir=runs/cifar10
          (prepare the data once with `tfds build cifar10`)
Hardware: 2 accelerators in the source; ours: not measured.
Expected: not reproduced by us.
"""

from configs import common


def get_config():
    c = common.get_config()
    c.name = "cifar10"
    c.model.resolution = 32
    c.model.mapping_layers = 2
    c.model.d_arch = "orig"
    c.model.mbstd_group = 32
    c.model.label_dim = 10
    c.data.source = "tfds"
    c.data.path = "cifar10"
    c.data.labels = "file"
    c.loss.r1_gamma = 0.01
    c.loss.pl_weight = 0.0
    c.loss.style_mixing_prob = 0.0
    c.train.batch_size = 64
    c.train.total_kimg = 100000.0
    c.train.g_lr = 0.002  # 0.0025 * 4/5: the source corrects for lazy path length even with its weight at 0
    c.train.d_lr = 0.0025
    c.train.ema_kimg = 500.0
    c.train.ema_rampup = 0.05
    return c
