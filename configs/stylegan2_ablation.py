"""StyleGAN2's own ablation on FFHQ at 1024x1024: its configurations and layouts (Karras et al. 2020, tables 1 and 2).

Command:
  python -m stylegan_jax.main --config=configs/stylegan2_ablation.py:B --workdir=runs/ablation-B \
      --config.data.path=ffhq-1024x1024.zip
  after the colon: a configuration, A to F:
    A StyleGAN; B weight demodulation, still growing; C lazy regularisation; D path length; E no growing, a skip
    generator and a residual discriminator; F larger networks
  or layouts of generator and discriminator, each orig, skip or resnet, such as :skip-resnet, with the settings of E
Hardware: 8 accelerators of 16 GB or more; ours: not measured.
Parameters: generator 30,370,060; discriminator 29,012,513 (F); A 26,219,627 and 23,087,249, B to D 24,900,764 and
23,087,249, E 24,900,764 and 24,038,161; generators of the layouts orig 23,596,292, skip 24,900,764, resnet 24,557,316,
discriminators 23,077,137, 23,087,249, 24,038,161.
Expected: FID 4.40, 4.39, 4.38, 4.34, 3.31 and 2.84, path length (PPL) 212.1, 175.4, 158.0, 122.5, 124.5 and 145.0 for A
to F (paper, table 1). Not reproduced by us.
"""

from stylegan_jax.configs import common, ffhq_stylegan1

LAYOUTS = ("orig", "skip", "resnet")


def get_config(argument: str = "F"):
    g_arch, _, d_arch = argument.partition("-")
    is_layout = g_arch in LAYOUTS and d_arch in LAYOUTS
    if not is_layout and argument not in [*"ABCDEF"]:
        raise ValueError(
            f"configs/stylegan2_ablation.py:{argument}: write a configuration, A to F, or layouts such as :skip-resnet "
            f"(known: {', '.join(LAYOUTS)})"
        )
    c = common.get_config()
    c.name = f"stylegan2-{argument}"
    c.model.resolution = 1024
    c.model.num_lowp_res, c.model.conv_clamp = 0, 0.0  # float32, as in the paper
    c.data.path = "datasets/ffhq-1024x1024.zip"
    c.data.xflip = True
    c.data.workers = 8
    if is_layout:
        c.model.g_arch, c.model.d_arch = g_arch, d_arch
    row = "E" if is_layout else argument
    if row == "A":
        ffhq_stylegan1.networks(c)
    if row in "ABCD":
        growing(c)
    if row in "BCD":
        c.model.g_arch = c.model.d_arch = "orig"
    if row in "AB":
        c.loss.d_reg_interval = 0
    if row in "ABC":
        c.loss.pl_weight = 0.0
    if row == "E":
        c.model.channel_base = 16384
        c.loss.r1_gamma = 100.0
    return c


def growing(c) -> None:
    """Grow like StyleGAN, with the smaller batches of StyleGAN2's repository."""
    c.model.grows = True
    c.model.channel_base = 16384
    ffhq_stylegan1.schedule(c, start=8)
