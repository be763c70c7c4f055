"""R3GAN (Huang et al. 2024) with its published settings; rates, average and augmentation change during the run.

Command:  python -m stylegan_jax.main --config=configs/r3gan.py:ffhq256 --workdir=runs/r3gan \
              --config.data.path=ffhq256.zip
          Others: cifar10 (prepare it once with `tfds build cifar10`), ffhq64, imagenet32 and imagenet64 (with labels).
Hardware: 8 GPUs in the source (ImageNet: 32 and 64); ours: not measured.
Parameters, generator and discriminator: cifar10 20,781,952 and 21,280,512; ffhq64 22,429,824 and 22,381,440; ffhq256
          23,057,952 and 23,009,568; imagenet32 82,914,304 and 86,548,992; imagenet64 103,570,432 and 107,205,120.
Expected: FID 1.96, 1.95, 2.75, 1.27 and 2.09 in the source, in that order; not reproduced by us. There, the settings
          change over 20 or 200 million images and then stay constant, and runs are stopped by hand.
"""

from typing import NamedTuple

from stylegan_jax.configs import common


class Preset(NamedTuple):
    """What differs between the published settings: gamma is (start, end); augment_p and ema_kimg are final values."""

    resolution: int
    widths: tuple[int, ...]
    groups: tuple[int, ...]
    classes: int
    batch_size: int
    gamma: tuple[float, float]
    ema_kimg: float
    augment_p: float
    end_kimg: float
    num_lowp_res: int


PRESETS = {
    "cifar10": Preset(32, (768,) * 4, (96,) * 4, 10, 512, (0.05, 0.005), 5000.0, 0.55, 20000.0, 3),
    "ffhq64": Preset(64, (768,) * 4 + (384,), (96,) * 4 + (48,), 0, 256, (2.0, 0.2), 500.0, 0.3, 20000.0, 4),
    "ffhq256": Preset(
        256, (768,) * 4 + (384, 192, 96), (96,) * 4 + (48, 24, 12), 0, 256, (150.0, 15.0), 500.0, 0.3, 20000.0, 4
    ),
    "imagenet32": Preset(32, (1536,) * 4, (96,) * 4, 1000, 4096, (0.5, 0.05), 50000.0, 0.5, 200000.0, 3),
    "imagenet64": Preset(64, (1536,) * 5, (96,) * 5, 1000, 4096, (1.0, 0.1), 50000.0, 0.4, 200000.0, 4),
}


def get_config(argument: str = "ffhq256"):
    if argument not in PRESETS:
        raise ValueError(f"configs/r3gan.py:{argument}: write one of :{', :'.join(PRESETS)}")
    preset = PRESETS[argument]
    c = networks(preset.resolution, preset.widths, preset.groups)
    c.name = f"r3gan_{argument}"
    c.model.num_lowp_res = preset.num_lowp_res
    if argument == "cifar10":
        c.data.source, c.data.path = "tfds", "cifar10"
    if preset.classes:
        c.model.label_dim, c.data.labels = preset.classes, "file"
    c.train.batch_size, c.train.total_kimg = preset.batch_size, preset.end_kimg
    c.loss.r1_gamma, c.schedule.r1_gamma = preset.gamma
    c.schedule.ema_kimg, c.schedule.augment_p = preset.ema_kimg, preset.augment_p
    c.schedule.end_kimg = preset.end_kimg
    return c


def networks(resolution: int, widths: tuple[int, ...], groups: tuple[int, ...]):
    """Return what all published settings share, at a resolution and with widths; two blocks per stage."""
    c = common.get_config()
    c.model.arch = "r3gan"
    c.model.resolution = resolution
    c.model.z_dim = 64
    c.model.mbstd_channels = 0
    c.model.r3gan.widths, c.model.r3gan.groups, c.model.r3gan.blocks = widths, groups, (2,) * len(widths)
    c.data.xflip = True
    c.loss.pl_weight = c.loss.style_mixing_prob = 0.0
    set_loss(c)
    c.augment.mode, c.augment.pipe = "fixed", "bgc"
    for name in ("brightness", "contrast", "lumaflip", "hue", "saturation"):
        c.augment.ops[name] = 0.5
    c.augment.ops.cutout = 1.0
    c.train.g_lr = c.train.d_lr = 2e-4
    c.schedule.g_lr = c.schedule.d_lr = 5e-5
    c.train.beta2, c.schedule.beta2 = 0.9, 0.99
    c.train.ema_kimg = 0.0  # the average starts as a copy, and its half-life grows
    return c


def set_loss(c) -> None:
    """Compare pairs, penalise both gradients in every step, and train the discriminator first (paper section 2)."""
    c.loss.adversarial, c.loss.d_reg, c.loss.d_reg_interval, c.loss.d_first = "relativistic", "r1+r2", 0, True
