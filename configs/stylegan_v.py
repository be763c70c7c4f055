"""StyleGAN-V (Skorokhodov et al. 2022) with its published settings, for a data set or for any resolution.

Command:  python -m stylegan_jax.main --config=configs/stylegan_v.py:256 --workdir=runs/videos \
              --config.data.path=videos.zip
          Others: faceforensics, skytimelapse, ucf101, rainbowjelly (256x256), mead (1024x1024 with 77 classes), or a
          resolution of at least 32. The data are folders of frames (docs/data.md).
Hardware: 4 V100 for two days in the source, at 256x256; ours: not measured.
Parameters, generator and discriminator: 64x64 31,158,031 and 24,739,840; 128x128 31,863,698 and 25,214,848; 256x256
          32,105,941 and 25,333,568; mead 38,444,283 and 28,932,384.
Expected: FVD over 16 and 128 frames in the paper 47.4 and 89.3 for FaceForensics, 79.5 and 197.0 for SkyTimelapse, 1431
          and 1773 for UCF-101, 195 and 262 for RainbowJelly; not reproduced by us. kimg count frames, so 25000 kimg are
          8.3 million clips.
Source:   universome/stylegan-v (3fecd69): configs/ (dataset, model, sampling, training), the base 'auto' of
          src/train.py, and src/infra/experiments.yaml for MEAD's frames and batch; docs/stylegan_v.md has the
          preparation of the data.
"""

from typing import NamedTuple

from stylegan_jax.configs import common


class Preset(NamedTuple):
    """What differs between the published settings: height, frames per second and of a clip, period, batch, classes."""

    resolution: int
    fps: float
    frames: int = 3
    period: int = 16
    batch_size: int = 64
    classes: int = 0


PRESETS = {
    "faceforensics": Preset(256, 30),
    "skytimelapse": Preset(256, 25, period=256),
    "ucf101": Preset(256, 25),
    "rainbowjelly": Preset(256, 30),
    "mead": Preset(1024, 30, frames=2, batch_size=16, classes=77),
}


def get_config(argument: str = "256"):
    if argument in PRESETS:
        preset = PRESETS[argument]
    elif argument.isdecimal() and (size := int(argument)) >= 32 and size & (size - 1) == 0:
        preset = Preset(size, 25)
    else:
        raise ValueError(f"configs/stylegan_v.py:{argument}: write a power of two from 32, or :{', :'.join(PRESETS)}")
    c = networks(preset.resolution)
    c.name = f"stylegan_v_{argument}"
    c.model.stylegan_v.frames = preset.frames
    c.model.stylegan_v.min_period = c.model.stylegan_v.motion_distance = preset.period
    c.data.fps = preset.fps
    if preset.classes:
        c.model.label_dim, c.data.labels = preset.classes, "file"
    c.train.batch_size = preset.batch_size
    c.train.ema_kimg = preset.batch_size * 10 / 32
    c.train.g_lr = c.train.d_lr = 0.0025 if preset.resolution < 1024 else 0.002
    c.loss.r1_gamma = 0.0002 * preset.resolution**2 / preset.batch_size
    return c


def networks(resolution: int):
    """Return what all published settings share."""
    c = common.get_config()
    c.model.arch = "stylegan_v"
    c.model.resolution = resolution
    c.model.use_noise = False
    c.model.channel_base = 16384 if resolution < 512 else 32768
    c.model.mapping_layers = c.model.d_mapping_layers = 2
    c.data.source, c.data.xflip = "video", True
    c.loss.pl_weight = c.loss.style_mixing_prob = 0.0
    c.augment.mode, c.augment.pipe, c.augment.kimg = "ada", "bgc", 100.0
    quirks(c)
    return c


def quirks(c) -> None:
    """Follow the published code: it corrects G's Adam without path length, and updates w_avg twice per iteration."""
    c.train.lazy_always = c.loss.d_reg_whole = True
    c.train.w_avg_phases = "both"
