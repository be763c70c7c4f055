"""StyleGAN on FFHQ at 1024x1024, grown from 8x8, and the ablation of its table 1 (Karras et al. 2019).

Command:
  python -m stylegan_jax.main --config=configs/ffhq_stylegan1.py --workdir=runs/ffhq-stylegan1 \
      --config.data.path=ffhq-1024x1024.zip
  after the colon: a row of table 1 (default: F), such as --config=configs/ffhq_stylegan1.py:B
    A Progressive GAN as it was (nearest-neighbour resampling, WGAN-GP, from 4x4); B tuned, with bilinear resampling;
    C mapping network and styles; D a constant as input; E noise inputs; F mixing regularisation
Hardware: 8 accelerators of 11 GB or more. NVIDIA states 6 d 14 h on 8 V100 for its own implementation (README of
NVlabs/stylegan); ours: not measured.
Parameters: generator 26,219,627; discriminator 23,087,249 (E and F); generators of A and B 23,079,115, C 30,400,651,
D 26,214,539. An RGB layer at every resolution is included, as in the official printout.
Expected: FID 8.04, 5.25, 4.85, 4.88, 4.42 and 4.40 for A to F, without truncation (paper, table 1); 4.4159 for the
official network (README). Not reproduced by us.
"""

from stylegan_jax.configs import common

ROWS = "ABCDEF"
BATCHES = {4: 512, 8: 256, 16: 128, 32: 64, 64: 32}  # on 8 devices; at 128 and above: 32
RATES = {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}  # below 128: 0.001


def get_config(row: str = "F"):
    if row not in [*ROWS]:
        raise ValueError(f"configs/ffhq_stylegan1.py:{row}: write a row of table 1, one of {', '.join(ROWS)}")
    c = common.get_config()
    c.name = f"ffhq-stylegan1-{row}"
    networks(c)
    ablate(c, row)
    schedule(c, start=4 if row == "A" else 8)
    c.data.path = "datasets/ffhq-1024x1024.zip"
    c.data.xflip = True
    c.data.cache = "auto"
    c.data.workers = 8
    return c


def networks(c) -> None:
    """Set StyleGAN's networks at 1024, its loss and averages."""
    c.model.arch = "stylegan1"
    c.model.resolution = 1024
    c.model.channel_base = 16384
    c.model.grows = True
    c.model.conv_clamp = 0.0
    c.model.num_lowp_res = 0
    c.loss.d_reg_interval = 0
    c.loss.pl_weight = 0.0


def schedule(c, start: int) -> None:
    """Grow starting at a height, with StyleGAN's batch sizes and learning rates."""
    heights = [start]
    while heights[-1] < c.model.resolution:
        heights.append(2 * heights[-1])
    *below, last = heights
    c.growing.start = start
    c.growing.batch_sizes = tuple(BATCHES.get(h, 32) for h in below)
    c.growing.learning_rates = tuple(RATES.get(h, 0.001) for h in below)
    c.train.batch_size = BATCHES.get(last, 32)
    c.train.g_lr = c.train.d_lr = RATES.get(last, 0.001)


def ablate(c, row: str) -> None:
    """Remove what later rows of table 1 add."""
    before = lambda later: ROWS.index(row) < ROWS.index(later)
    s = c.model.stylegan1
    if before("F"):
        c.loss.style_mixing_prob = 0.0
    if before("E"):
        c.model.use_noise = False
    if before("D"):
        s.const_input = False
    if before("C"):
        s.use_styles, s.use_pixel_norm, s.use_instance_norm = False, True, False
        c.model.mapping_layers = 0
    if before("B"):
        s.blur_filter = (1.0,)
        c.loss.adversarial, c.loss.d_reg, c.loss.drift_weight = "wasserstein", "wgan_gp", 0.001
        c.train.total_kimg = 12000.0
