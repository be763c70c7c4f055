"""The demo model: StyleGAN2 with the nine classes of the bundled emoji, 32x32, adaptive augmentation, on two CPU cores.

Command:  python -m stylegan_jax.main --config=configs/emoji.py --workdir=runs/emoji
          python -m stylegan_jax.main --config=configs/emoji.py:second --workdir=runs/emoji-second
Hardware: 2 CPU cores, 4 GB of memory; no GPU, no download. The same command continues after an interruption.
Stages:   :first, the default, is 440 thousand images, :second a million more from the weights of the first
          (config.train.init_from, runs/emoji), to lower rates. Learning rates, the weight of R1 and the length of the
          average change over each whole stage.
Expected: distance 77 after the first stage and 63 after the second; the card models/emoji/README.md has the figures.
"""

from stylegan_jax.configs import quickstart

STAGES = {"first": (440.0, 0.001), "second": (1000.0, 0.0003)}  # thousand images, final learning rate


def get_config(argument: str = "first"):
    if argument not in STAGES:
        raise ValueError(f"configs/emoji.py:{argument}: write one of :{', :'.join(STAGES)}")
    c = quickstart.get_config()
    c.name = "emoji" if argument == "first" else f"emoji-{argument}"
    if argument == "second":
        c.train.init_from = "runs/emoji"
    c.augment.mode = "ada"
    c.train.total_kimg, c.schedule.g_lr = STAGES[argument]
    c.schedule.end_kimg, c.schedule.d_lr = c.train.total_kimg, c.schedule.g_lr
    c.schedule.start_kimg = 0.0
    c.schedule.r1_gamma = 0.05
    c.schedule.ema_kimg = 8.0
    c.log.tick_kimg = 2.0
    c.log.grid_ticks = c.log.checkpoint_ticks = 5
    c.log.keep_every_kimg = 40.0
    return c
