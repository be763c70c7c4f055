"""Reasonable settings for any data set, from its resolution and the number of devices (StyleGAN2-ADA's `auto`).

As there, augmentation is adaptive; with 100,000 images or more, `--config.augment.mode=none` may be better.

Command:  python -m stylegan_jax.main --config=configs/auto.py:256 --workdir=runs/mine --config.data.path=mine.zip
          after the colon: resolution, or resolution,devices (default: all devices)
Hardware: any; batch = max(min(devices * min(4096 // resolution, 32), 64), devices), in multiples of two per device.
Expected: a good start; tune `config.loss.r1_gamma` first, by factors of two.
Sources: train.py of NVlabs/stylegan2-ada-pytorch; on large data sets docs/configs.md of NVlabs/stylegan3.
"""

from stylegan_jax.configs import common


def get_config(argument: str = "256"):
    try:
        parts = [int(p) for p in argument.split(",")]
        resolution, devices = parts[0], parts[1] if len(parts) > 1 else count_devices()
        if resolution < 8 or devices < 1 or len(parts) > 2:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"configs/auto.py:{argument}: write a resolution of 8 or more, such as :256, or :256,8"
        ) from None
    c = common.get_config()
    c.name = f"auto{resolution}"
    batch = max(min(devices * min(4096 // resolution, 32), 64), devices)
    batch = max(batch // (2 * devices), 1) * 2 * devices  # so that path length's half divides evenly too
    c.train.batch_size = batch
    c.model.resolution = resolution
    c.model.mapping_layers = 2
    c.model.mbstd_group = 4 if batch % 4 == 0 and batch // devices >= 4 else 2
    c.model.channel_base = 32768 if resolution >= 512 else 16384
    c.loss.r1_gamma = 0.0002 * resolution**2 / batch
    c.augment.mode = "ada"
    c.train.g_lr = c.train.d_lr = 0.002 if resolution >= 1024 else 0.0025
    c.train.ema_kimg = batch * 10 / 32
    c.train.ema_rampup = 0.05
    return c


def count_devices() -> int:
    """Return the number of devices."""
    import jax

    return jax.device_count()
