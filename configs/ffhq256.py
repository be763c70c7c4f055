"""StyleGAN2 on FFHQ at 256x256 with the `paper256` settings of StyleGAN2-ADA (Karras et al. 2020b), no augmentation.

Command:
  python -m stylegan_jax.main --config=configs/ffhq256.py --workdir=runs/ffhq256 --config.data.path=ffhq-256x256.zip
Hardware: 8 accelerators. NVIDIA states 4.01 s/kimg on 8 V100 and 2.47 on 8 A100 for its own implementation (its
configuration table); ours: not measured.
Parameters: generator 24,767,458; discriminator 24,001,089.
Expected: not reproduced by us; FID at this size depends on the resize filter of the data set.
"""

from stylegan_jax.configs import paper256


def get_config():
    c = paper256.get_config()
    c.name = "ffhq256"
    c.data.path = "datasets/ffhq-256x256.zip"
    c.data.xflip = True
    c.augment.mode = "none"
    return c
