"""e4e (Tov et al. 2021): an encoder for a trained generator, with its authors' settings for domains other than faces.

Command:  python -m stylegan_jax.main --config=configs/e4e.py --workdir=runs/e4e --config.encoder.model=runs/x
          --config.data.path=images.zip
Faces:    --config.encoder.weights=IR-SE50.pth --config.encoder.training.similarity=ir_se50
          --config.encoder.training.similarity_path=IR-SE50.pth --config.encoder.training.similarity_weight=0.1
Hardware: published: one P40 for 3 days (cars at 512x512, 200k iterations).
Parameters: for a generator at 512x512 with w_dim 512, 238.3 million; latent discriminator 0.8 million.
Expected: not reproduced by us. Differences from the published training: EfficientNet-Lite0's features replace MoCo's,
which need a separate file; the body's initial weights are random unless `weights` names a file; losses are computed at
`encoder.image_size`.
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_config()
    c.name = "e4e"
    c.task = "encoder"
    c.data.source = "zip"
    c.data.xflip = True
    c.encoder.width = 512
    t = c.encoder.training
    t.similarity_weight = 0.5
    t.progressive_start_kimg = 160.0
    t.progressive_step_kimg = 16.0
    c.train.batch_size = 8
    c.train.total_kimg = 1600.0
    c.log.grid_columns = 8
    c.log.grid_rows = 8
    return c
