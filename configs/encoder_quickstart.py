"""A small encoder for the quickstart's generator (32x32), trained on samples with known styles, on a laptop CPU.

Command:  python -m stylegan_jax.main --config=configs/encoder_quickstart.py --workdir=runs/encoder
          --config.encoder.model=runs/quickstart
Hardware: 2 CPU cores, 4 GB of memory; no GPU, no download. LPIPS needs the weights of a package (docs/metrics.md).
Expected: on samples, a quarter of the mean style's LPIPS after 3 minutes on one core; figures are in docs/encoders.md.
"""

from stylegan_jax.configs import e4e


def get_config():
    c = e4e.get_config()
    c.name = "encoder_quickstart"
    c.data.path = "datasets/emoji64.zip"
    c.encoder.image_size = (32, 32)
    c.encoder.width = 0
    c.encoder.body_units = (1, 1, 1, 1)
    c.encoder.body_widths = (32, 64, 96, 128)
    c.encoder.body_squeeze = 8
    c.train.batch_size = 16
    c.train.total_kimg = 24.0
    t = c.encoder.training
    t.lr = 2e-3
    t.d_lr = 1e-3
    t.images = "samples"
    t.w_weight = 1.0
    t.similarity_weight = 0.0
    t.progressive_start_kimg = 0.0
    c.log.tick_kimg = 0.5
    c.log.grid_ticks = 8
    c.log.checkpoint_ticks = 4
    return c
