"""Photographs of the Earth at 32x32: StyleGAN2 on random tiles of the bundled Blue Marble, on a laptop CPU.

Command:  python -m stylegan_jax.main --config=configs/earth_quickstart.py --workdir=runs/earth_quickstart
Hardware: 2 CPU cores, 4 GB of memory; no GPU, no download.
Expected: land, coasts, ice and sea from above. A tile is 64x64 pixels of the picture, about 475 km at the equator. Of
          14 million positions, those without structure, mostly open sea, are skipped. After all 20
          thousand images, 3 minutes of processor time, the samples have the colours and light of deserts, forests, ice
          and sea, but hardly any coasts (docs/gallery.md).
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_small_config()
    c.name = "earth_quickstart"
    c.data.source = "tiles"
    c.data.path = "datasets/earth.jpg"
    c.data.tile_size = 64
    c.data.tile_contrast = 12.0
    c.data.xflip = c.data.yflip = True
    c.train.total_kimg = 20.0
    return c
