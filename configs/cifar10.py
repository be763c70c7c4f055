"""CIFAR-10 at 32x32, class-conditional or not, with the tuned `cifar` settings of StyleGAN2-ADA (Karras et al. 2020b).

Command:  python -m stylegan_jax.main --config=configs/cifar10.py --workdir=runs/cifar10
          (prepare the data once with `tfds build cifar10`); without classes: --config=configs/cifar10.py:unconditional
Hardware: 2 accelerators in the source; ours: not measured.
Parameters: generator 20,215,315; discriminator 23,089,664 (with classes).
Expected: FID 2.42 is the paper's record on CIFAR-10 (README of NVlabs/stylegan2-ada-pytorch); not reproduced by us.
"""

from stylegan_jax.configs import common


def get_config(argument: str = "conditional"):
    c = common.get_config()
    c.name = "cifar10"
    c.model.resolution = 32
    c.model.mapping_layers = 2
    c.model.d_arch = "orig"
    c.model.mbstd_group = 32
    c.data.source = "tfds"
    c.data.path = "cifar10"
    set_labels(c, argument, "cifar10")
    c.loss.r1_gamma = 0.01
    c.loss.pl_weight = 0.0
    c.loss.style_mixing_prob = 0.0
    c.augment.mode = "ada"
    c.train.batch_size = 64
    c.train.total_kimg = 100000.0
    c.train.g_lr = 0.002  # 0.0025 * 4/5: the source corrects for lazy path length (its beta2 too) even at weight 0
    c.train.d_lr = 0.0025
    c.train.ema_kimg = 500.0
    c.train.ema_rampup = 0.05
    return c


def set_labels(c, argument: str, recipe: str) -> None:
    """Train with or without the ten classes."""
    if argument not in ("conditional", "unconditional"):
        raise ValueError(f"configs/{recipe}.py:{argument}: write :conditional or :unconditional")
    with_labels = argument == "conditional"
    c.model.label_dim = 10 if with_labels else 0
    c.data.labels = "file" if with_labels else "none"
