"""StyleGAN2 config F on FFHQ at 1024x1024: the flagship (Karras et al. 2020, table 1 F).

Command:
  python -m stylegan_jax.main --config=configs/ffhq.py --workdir=runs/ffhq --config.data.path=ffhq-1024x1024.zip
Hardware: 8 accelerators of 16 GB or more. NVIDIA states 9 d 18 h on 8 V100 for its own implementation; ours: not
measured.
Parameters: generator 30,370,060; discriminator 29,012,513.
Expected: FID 2.84 ± 0.03 (NVIDIA's StyleGAN2 README, fid50k); not reproduced by us.
"""

from stylegan_jax.configs import stylegan2


def get_config():
    c = stylegan2.get_config("1024")
    c.name = "ffhq"
    c.data.path = "datasets/ffhq-1024x1024.zip"
    c.data.xflip = True
    c.data.cache = "off"
    return c
