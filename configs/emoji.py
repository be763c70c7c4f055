"""The demo model: StyleGAN2 with the nine classes of the bundled emoji, 32x32, adaptive augmentation, on two CPU cores.

Command:  python -m stylegan_jax.main --config=configs/emoji.py --workdir=runs/emoji
Hardware: 2 CPU cores, 4 GB of memory; no GPU, no download. The same command continues after an interruption.
Expected: models/emoji/README.md, the card of the model that this recipe trained (`--model=demo`), has the figures.
Learning rates, the weight of R1 and the length of the average change over the whole run.
"""

from stylegan_jax.configs import quickstart


def get_config():
    c = quickstart.get_config()
    c.name = "emoji"
    c.augment.mode = "ada"
    c.train.total_kimg = c.schedule.end_kimg = 440.0
    c.schedule.start_kimg = 0.0
    c.schedule.g_lr = c.schedule.d_lr = 0.001
    c.schedule.r1_gamma = 0.05
    c.schedule.ema_kimg = 8.0
    c.log.tick_kimg = 2.0
    c.log.grid_ticks = c.log.checkpoint_ticks = 5
    c.log.keep_every_kimg = 40.0
    return c
