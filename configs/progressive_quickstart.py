"""Quickstart of progressive growing: StyleGAN on the bundled emoji, 8x8 to 16x16 to 32x32, on a laptop CPU.

Command:  python -m stylegan_jax.main --config=configs/progressive_quickstart.py --workdir=runs/progressive
Hardware: 2 CPU cores, 4 GB of memory; no GPU, no download.
Expected: 24 thousand images take seven minutes at the speeds in docs/story.md, plus compilation; pictures are there
too. Such a short run shows that the generator learns, not how good it becomes.
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_small_config()
    c.name = "progressive-quickstart"
    c.model.arch = "stylegan1"
    c.model.grows = True
    c.model.num_lowp_res, c.model.conv_clamp = 0, 0.0
    c.loss.d_reg_interval = 0
    c.loss.pl_weight = 0.0
    c.train.total_kimg = 24.0
    c.growing.start = 8
    c.growing.train_kimg = 2.4
    c.growing.fade_kimg = 2.4
    c.growing.batch_sizes = (32, 16)
    return c
