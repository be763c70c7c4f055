"""The `paper1024` settings of StyleGAN2-ADA: small data sets at 1024x1024, adaptive augmentation (Karras et al. 2020b).

Command:
  python -m stylegan_jax.main --config=configs/paper1024.py --workdir=runs/paper1024 \
      --config.data.path=mine-1024x1024.zip
Hardware: 8 accelerators. NVIDIA states 18.56 s/kimg on 8 V100 and 11.75 on 8 A100 for its own implementation
(docs/configs.md of NVlabs/stylegan3); ours: not measured.
Parameters: generator 30,370,060; discriminator 29,012,513.
Expected: see configs/metfaces.py.
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_config()
    c.name = "paper1024"
    c.model.resolution = 1024
    c.data.cache = "off"
    c.data.workers = 8
    c.loss.r1_gamma = 2.0
    c.augment.mode = "ada"
    c.train.batch_size = 32
    c.train.total_kimg = 25000.0
    return c
