"""StyleGAN3-T on the bundled emoji at 32x32, on a laptop CPU.

Command:  python -m stylegan_jax.main --config=configs/stylegan3_quickstart.py --workdir=runs/sg3
Hardware: 2 CPU cores, 4 GB of memory; no GPU, no download.
Expected: figures are in docs/performance.md. Such a short run shows that the generator learns, not how good it becomes.
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_small_config()
    c.name = "stylegan3-quickstart"
    c.model.arch = "stylegan3"
    c.model.stylegan3.num_layers = 6
    c.model.stylegan3.margin_size = 4
    c.loss.pl_weight = 0.0
    c.loss.style_mixing_prob = 0.0
    c.train.w_avg_beta = 0.998
    return c
