"""MetFaces at 1024x1024, fine-tuned from FFHQ with the settings of StyleGAN2-ADA (Karras et al. 2020b).

Command:
  python -m stylegan_jax.main --config=configs/metfaces.py --workdir=runs/metfaces \
      --config.data.path=metfaces-1024x1024.zip --config.train.init_from=ffhq-res1024-mirror-stylegan2-noaug.pkl
  with the first ten layers of the discriminator frozen (Freeze-D): --config.train.freeze_d=10
Hardware: 8 accelerators. NVIDIA states 18.74 s/kimg on 8 V100 and 11.80 on 8 A100 for StyleGAN2 on MetFaces with its
own implementation (docs/configs.md of NVlabs/stylegan3); ours: not measured.
Parameters: generator 30,370,060; discriminator 29,012,513.
Expected: not reproduced by us. The settings are those of the run `metfaces-mirror-paper1024-ada-resumeffhq1024` (README
of NVlabs/stylegan2-ada), which often converges within 1000 kimg (README of NVlabs/stylegan2-ada-pytorch, on transfer).
"""

from stylegan_jax.configs import paper1024


def get_config():
    c = paper1024.get_config()
    c.name = "metfaces"
    c.data.path = "datasets/metfaces-1024x1024.zip"
    c.data.xflip = True
    c.augment.kimg = 100.0  # p changes faster when fine-tuning
    c.train.init_from = "models/ffhq-res1024-mirror-stylegan2-noaug.pkl"
    c.log.grid_ticks = c.log.checkpoint_ticks = 10  # fine-tuning converges fast
    return c
