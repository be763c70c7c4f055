"""BreCaHAD: histopathology crops at 512x512, from scratch with the settings of StyleGAN2-ADA (Karras et al. 2020b).

Command:
  python -m stylegan_jax.main --config=configs/brecahad.py --workdir=runs/brecahad \
      --config.data.path=brecahad-512x512.zip
  fine-tuned instead: --config.train.init_from=MODEL --config.augment.kimg=100
Hardware: 8 accelerators. NVIDIA states 9.11 s/kimg on 8 V100 and 5.28 on 8 A100 for these settings with its own
implementation (docs/configs.md of NVlabs/stylegan3); ours: not measured.
Parameters: generator 30,276,583; discriminator 28,982,849.
Expected: not reproduced by us. The settings are `paper512`, which the README of NVlabs/stylegan2-ada-pytorch names for
this data set; mirroring is our choice, as it is for its other small data sets.
"""

from stylegan_jax.configs import paper512


def get_config():
    c = paper512.get_config()
    c.name = "brecahad"
    c.data.path = "datasets/brecahad-512x512.zip"
    c.data.xflip = True
    return c
