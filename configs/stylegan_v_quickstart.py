"""StyleGAN-V (Skorokhodov et al. 2022) on the bundled animations at 32x32, on a laptop CPU.

Command:  python -m stylegan_jax.main --config=configs/stylegan_v_quickstart.py --workdir=runs/stylegan_v_quickstart
Hardware: 2 CPU cores, 4 GB of memory; no GPU, no download.
Expected: seven minutes on one core of a 2-core AMD EPYC. grids/fakes_*.webp show clips, and the PNGs their frames;
          distances are in docs/stylegan_v.md. kimg count frames: 30 kimg are 10,000 clips of 3 frames.
"""

from stylegan_jax.configs import stylegan_v


def get_config():
    c = stylegan_v.networks(32)
    c.name = "stylegan_v_quickstart"
    c.model.z_dim = c.model.w_dim = 64
    c.model.channel_base, c.model.channel_max = 1024, 64
    v = c.model.stylegan_v
    v.max_num_frames, v.concat_res = 64, 8
    v.motion_z_dim = v.motion_v_dim = 64
    v.motion_kernel, v.motion_distance = 5, 8
    v.time_dim, v.min_period, v.max_period = 16, 8, 64
    c.data.path, c.data.fps = "datasets/fluent64.zip", 12.0
    c.augment.mode = "none"
    c.loss.r1_gamma = 0.2
    c.train.batch_size = 16
    c.train.total_kimg = 30.0
    c.train.g_lr = c.train.d_lr = 0.0025
    c.train.ema_kimg = 0.4
    c.log.tick_kimg = 0.5
    c.log.grid_ticks = c.log.checkpoint_ticks = 6
    c.log.grid_columns, c.log.grid_rows = 6, 3
    return c
