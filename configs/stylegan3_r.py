"""StyleGAN3-R, equivariant to translation and rotation (Karras et al. 2021), at 1024, 512, 256 or 128.

Like `stylegan3_t`, with 1x1 convolutions, radially symmetric downsampling filters and twice the generator's channels.

Command:
  python -m stylegan_jax.main --config=configs/stylegan3_r.py:512 --workdir=runs/afhq-r \
      --config.data.path=afhqv2-512x512.zip --config.loss.r1_gamma=16.4
  after the colon: the resolution, 1024 (default), 512, 256 or 128
Hardware: 8 accelerators. NVIDIA states for its own implementation on 8 A100, batch 32: 23.42 s per 1000 images at 1024,
14.04 at 512, 8.03 at 256 (docs/configs.md of its repository); ours: not measured.
Parameters: generator 15,093,151; discriminator 29,012,513 at 1024. Generator 16,665,594 at 512, 18,816,387 at 256
(15,779,565 with half the channel bases, as in the paper's ablations).
Settings: as `stylegan3_t`; in addition, the discriminator's images are blurred at first, except when fine-tuning (see
docs/stylegan3.md). The paper's R1 weight for AFHQv2 at 512 is 16.4.
Expected: FFHQ 1024 FID 3.07; AFHQv2 512 FID 4.40, EQ-T 64.89 dB, EQ-R 40.34 dB (paper, table 1); not reproduced by us.
"""

from stylegan_jax.configs import stylegan3_t


def get_config(resolution: str = "1024"):
    c = stylegan3_t.get_config(resolution)
    c.name = f"stylegan3-r-{resolution}"
    c.model.stylegan3.conv_kernel = 1
    c.model.stylegan3.use_radial_filters = True
    c.model.stylegan3.channel_base = 2 * c.model.channel_base
    c.model.stylegan3.channel_max = 2 * c.model.channel_max
    c.loss.blur_init_sigma = 10.0
    c.loss.blur_fade_kimg = c.train.batch_size * 200 / 32
    return c
