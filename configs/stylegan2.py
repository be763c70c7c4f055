"""The `stylegan2` settings, StyleGAN2 config F (Karras et al. 2020), for any data at any resolution.

Command:
  python -m stylegan_jax.main --config=configs/stylegan2.py:1024 --workdir=runs/mine \
      --config.data.path=mine-1024x1024.zip
  after the colon: the resolution (default: 1024); for small data sets: --config.augment.mode=ada
Hardware: 8 accelerators of 16 GB or more. NVIDIA states 17.55 s/kimg on 8 V100 and 14.57 on 8 A100 at 1024 for its own
implementation (docs/configs.md of NVlabs/stylegan3); ours: not measured.
Parameters: generator 30,370,060; discriminator 29,012,513 at 1024.
Expected: see configs/ffhq.py, which has these settings for FFHQ. Below 1024, tune `config.loss.r1_gamma` first;
NVIDIA's rule of thumb is a quarter of it per halving of the resolution.
"""

from stylegan_jax.configs import common


def get_config(resolution: str = "1024"):
    if not (resolution.isascii() and resolution.isdecimal() and int(resolution[:6]) >= 8):
        raise ValueError(f"configs/stylegan2.py:{resolution}: write a resolution of 8 or more, such as :512")
    c = common.get_config()
    c.name = f"stylegan2-{resolution}"
    c.model.resolution = int(resolution)
    c.data.workers = 8
    c.loss.r1_gamma = 10.0
    c.train.batch_size = 32
    c.train.total_kimg = 25000.0
    return c
