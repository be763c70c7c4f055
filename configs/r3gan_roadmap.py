"""From StyleGAN2 to R3GAN in five steps (Huang et al. 2024, section 3), at 32x32 on the bundled emoji.

Command:  for row in a b c d e; do
              python -m stylegan_jax.main --config=configs/r3gan_roadmap.py:$row --workdir=runs/$row; done
Rows:     a is StyleGAN2 (common.get_small_config, the quickstart of version 0.1); b drops styles, noise, mapping
          network, path length, mixing and minibatch stddev; c adds the relativistic loss and R1 + R2; d uses residual
          networks, without groups; e is R3GAN. ac is StyleGAN2 with the loss of c.
          In b and c the networks are those of StyleGAN without styles, whose weights are scaled at run time; the paper
          removes that too.
Hardware: 2 CPU cores.
Expected: rows a, ac and e with two seeds each are in docs/story.md; 12 to 25 minutes a row on one core.
"""

from stylegan_jax.configs import common, r3gan, r3gan_quickstart

ROWS = ("a", "ac", "b", "c", "d", "e")


def get_config(argument: str = "e"):
    if argument not in ROWS:
        raise ValueError(f"configs/r3gan_roadmap.py:{argument}: write one of :{', :'.join(ROWS)}")
    if argument in ("d", "e"):
        c = r3gan_quickstart.get_config()
        if argument == "d":
            c.model.r3gan.groups, c.model.r3gan.expansion = (1,) * len(c.model.r3gan.widths), 1
    else:
        c = common.get_small_config()
        if argument in ("b", "c"):
            strip(c)
        if argument in ("ac", "c"):
            r3gan.set_loss(c)
    c.name = f"roadmap_{argument}"
    c.train.total_kimg = 30.0
    if argument in ("d", "e"):
        c.schedule.end_kimg = 30.0
    return c


def strip(c) -> None:
    """Reduce StyleGAN2 to convolutions after a dense layer on the latent."""
    c.model.arch = "stylegan1"
    c.model.use_noise = False
    c.model.mapping_layers = 0
    c.model.mbstd_channels = 0
    own = c.model.stylegan1
    own.use_styles = own.const_input = own.use_pixel_norm = own.use_instance_norm = False
    c.loss.pl_weight = c.loss.style_mixing_prob = 0.0
