"""e4e (Tov et al. 2021): an encoder for a trained generator, as its authors train theirs for domains without faces.

Command:  python -m stylegan_jax.main --config=configs/e4e.py --workdir=runs/e4e --config.encoder.model=runs/x
          --config.data.path=images.zip
Faces:    --config.encoder.weights=IR-SE50.pth --config.encoder.training.similarity=ir_se50
          --config.encoder.training.similarity_path=IR-SE50.pth --config.encoder.training.similarity_weight=0.1
Hardware: published: one P40 for 3 days (cars at 512x512, 200k iterations).
Parameters: with a generator of 512x512 and w_dim 512, 238.3 million, and 0.8 million of the latent discriminator.
Expected: not reproduced here. Differences from the published training: MoCo's features, which need a file of their own,
are replaced by EfficientNet-Lite0's; the body starts fresh unless `weights` names its file; losses are computed at
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
