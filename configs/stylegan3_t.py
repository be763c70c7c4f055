"""StyleGAN3-T, equivariant to translation (Karras et al. 2021), at 1024x1024, 512x512, 256x256 or 128x128.

Command:
  python -m stylegan_jax.main --config=configs/stylegan3_t.py:1024 --workdir=runs/ffhq-t \
      --config.data.path=ffhq-1024x1024.zip
  after the colon: the resolution, 1024 (default), 512, 256 or 128
Hardware: 8 accelerators. NVIDIA states for its own implementation on 8 A100, batch 32: 20.01 s per 1000 images at 1024,
12.29 at 512, 7.32 at 256 (docs/configs.md of its repository); ours: not measured.
Parameters: generator 22,313,167; discriminator 29,012,513 at 1024. Generator 24,873,519 at 512, 28,472,133 at 256
(23,320,443 with channel_base=16384, as in the paper's ablations).
Settings: SG3 App. F and NVIDIA's docs/configs.md; docs/stylegan3.md has the source of each. The R1 weight is 32 at 1024
and a quarter per halving; the paper has 32.8 for FFHQ at 1024, 8.2 for AFHQv2 at 512. Tune it first, by factors of two.
Expected: FFHQ 1024 FID 2.79, EQ-T 61.21 dB; AFHQv2 512 FID 4.04, EQ-T 60.15 dB (paper, table 1); not reproduced by us.
"""

from stylegan_jax.configs import common

R1_GAMMA = {"1024": 32.0, "512": 8.0, "256": 2.0, "128": 0.5}


def get_config(resolution: str = "1024"):
    if resolution not in R1_GAMMA:
        raise ValueError(f"configs/stylegan3_t.py:{resolution}: write one of {', '.join(R1_GAMMA)} after the colon")
    c = common.get_config()
    c.name = f"stylegan3-t-{resolution}"
    c.model.arch = "stylegan3"
    c.model.resolution = int(resolution)
    c.model.mapping_layers = 2
    c.data.xflip = True
    c.data.workers = 8
    c.loss.r1_gamma = R1_GAMMA[resolution]
    c.loss.pl_weight = 0.0
    c.loss.style_mixing_prob = 0.0
    c.train.batch_size = 32
    c.train.total_kimg = 25000.0
    c.train.g_lr = 0.0025
    c.train.d_lr = 0.002
    c.train.ema_kimg = 10.0
    c.train.ema_rampup = 0.05
    c.train.w_avg_beta = 0.998
    return c
