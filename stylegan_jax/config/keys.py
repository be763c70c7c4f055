"""The groups of keys as frozen dataclasses: names and types. `configs/common.py` has defaults, units and meanings."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class StyleGAN1Config:
    """What only StyleGAN's first networks have; see `configs/common.py`."""

    use_styles: bool
    const_input: bool
    use_pixel_norm: bool
    use_instance_norm: bool
    blur_filter: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class StyleGAN3Config:
    """What only StyleGAN3's generator has; see `configs/common.py`."""

    num_layers: int
    num_critical: int
    first_cutoff: float
    first_stopband: float
    last_stopband_rel: float
    margin_size: int
    output_scale: float
    conv_kernel: int
    filter_size: int
    lrelu_upsampling: int
    use_radial_filters: bool
    channel_base: int
    channel_max: int
    magnitude_ema_kimg: float


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture; see `configs/common.py` for units and meanings."""

    arch: str
    resolution: int
    base_size: tuple[int, int]
    img_channels: int
    label_dim: int
    z_dim: int
    w_dim: int
    mapping_layers: int
    mapping_lr_mult: float
    mapping_embed_dim: int
    mapping_layer_dim: int
    channel_base: int
    channel_max: int
    g_arch: str
    d_arch: str
    grows: bool
    use_noise: bool
    activation: str
    resample_filter: tuple[float, ...]
    conv_clamp: float
    compute_dtype: str
    num_lowp_res: int
    remat_from: int
    d_mapping_layers: int
    d_mapping_lr_mult: float
    cmap_dim: int
    mbstd_group: int
    mbstd_channels: int
    stylegan1: StyleGAN1Config
    stylegan3: StyleGAN3Config

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image."""
        return (self.resolution, self.resolution * self.base_size[1] // self.base_size[0], self.img_channels)

    @property
    def num_blocks(self) -> int:
        """Number of resolutions, the base one included."""
        return int(math.log2(self.resolution // self.base_size[0])) + 1


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images come from; see `configs/common.py`."""

    source: str
    path: str
    split: str
    labels: str
    xflip: bool
    yflip: bool
    subset: int
    subset_seed: int
    on_bad_image: str
    resize_filter: str
    cache: str
    cache_limit_mb: int
    workers: int
    synthetic_images: int
    synthetic_labels: int


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Adversarial loss and regularisers; see `configs/common.py`."""

    adversarial: str
    d_reg: str
    r1_gamma: float
    gp_weight: float
    d_reg_interval: int
    drift_weight: float
    pl_weight: float
    pl_decay: float
    pl_batch_shrink: int
    g_reg_interval: int
    pl_start_kimg: float
    style_mixing_prob: float
    blur_init_sigma: float
    blur_fade_kimg: float


@dataclasses.dataclass(frozen=True)
class AugmentOps:
    """Multiplier of p per operation; -1: as the pipe says."""

    xflip: float
    rotate90: float
    xint: float
    scale: float
    rotate: float
    aniso: float
    xfrac: float
    brightness: float
    contrast: float
    lumaflip: float
    hue: float
    saturation: float
    imgfilter: float
    noise: float
    cutout: float


@dataclasses.dataclass(frozen=True)
class AugmentStrength:
    """Standard deviations and ranges of the operations; see `configs/common.py`."""

    xint_max: float
    scale_std: float
    rotate_max: float
    aniso_std: float
    xfrac_std: float
    brightness_std: float
    contrast_std: float
    hue_max: float
    saturation_std: float
    imgfilter_std: float
    imgfilter_bands: tuple[float, ...]
    noise_std: float
    cutout_size: float


@dataclasses.dataclass(frozen=True)
class DiffAugmentConfig:
    """Policies and sizes of DiffAugment; see `configs/common.py`."""

    policy: str
    translation: float
    cutout: float


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of the discriminator's images; see `configs/common.py`."""

    mode: str
    method: str
    pipe: str
    p: float
    p_max: float
    target: float
    interval: int
    kimg: float
    ops: AugmentOps
    strength: AugmentStrength
    diffaugment: DiffAugmentConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length, optimisers and averages; see `configs/common.py`."""

    batch_size: int
    total_kimg: float
    seed: int
    g_lr: float
    d_lr: float
    beta1: float
    beta2: float
    eps: float
    ema_kimg: float
    ema_rampup: float
    w_avg_beta: float
    init_from: str
    grad_accum: int
    lr_warmup_kimg: float
    on_nan: str
    max_rollbacks: int
    early_stop_kimg: float
    freeze_d: int
    freeze_mapping: str
    num_devices: int
    compilation_cache: str


@dataclasses.dataclass(frozen=True)
class GrowingConfig:
    """Progressive growing; see `configs/common.py`."""

    start: int
    train_kimg: float
    fade_kimg: float
    batch_sizes: tuple[int, ...]
    learning_rates: tuple[float, ...]
    reset_moments: bool


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How devices share the work; see `configs/common.py`."""

    fsdp: int
    spatial: int


@dataclasses.dataclass(frozen=True)
class DistributedConfig:
    """The processes of a run on many hosts; see `configs/common.py`."""

    mode: str
    coordinator: str
    num_processes: int
    process_id: int
    start_timeout_s: int
    heartbeat_s: int


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Reports, grids and checkpoints; see `configs/common.py`."""

    tick_kimg: float
    grid_ticks: int
    checkpoint_ticks: int
    keep_latest: int
    keep_every_kimg: float
    keep_best: str
    best_mode: str
    tensorboard: bool
    grid_columns: int
    grid_rows: int
    progress_bar: bool


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Metrics while training; see `configs/common.py`."""

    metrics: str
    ticks: int
    num_images: int
    features: str
    features_path: str
    batch: int
    cache: str


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything a run depends on."""

    name: str
    model: ModelConfig
    data: DataConfig
    loss: LossConfig
    augment: AugmentConfig
    train: TrainConfig
    growing: GrowingConfig
    mesh: MeshConfig
    distributed: DistributedConfig
    log: LogConfig
    eval: EvalConfig

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain dicts, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


CHOICES = {
    "model.g_arch": ("skip", "resnet", "orig"),
    "model.d_arch": ("resnet", "skip", "orig"),
    "model.activation": ("lrelu", "relu", "linear", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"),
    "model.compute_dtype": ("auto", "float32", "bfloat16", "float16"),
    "data.source": ("zip", "folder", "tfds", "memory", "synthetic"),
    "data.labels": ("none", "file", "subfolders"),
    "data.on_bad_image": ("error", "skip"),
    "data.resize_filter": ("box", "lanczos"),
    "data.cache": ("auto", "off", "host", "device"),
    "loss.adversarial": ("logistic", "hinge", "minimax", "wasserstein"),
    "loss.d_reg": ("r1", "wgan_gp", "none"),
    "augment.mode": ("none", "fixed", "ada"),
    "augment.method": ("ada", "diffaugment"),
    "augment.pipe": (
        *("blit", "geom", "color", "filter", "noise", "cutout"),
        *("bg", "bgc", "bgcf", "bgcfn", "bgcfnc"),
    ),
    "train.on_nan": ("halt", "skip", "scrub", "rollback"),
    "train.freeze_mapping": ("none", "embed", "all"),
    "distributed.mode": ("auto", "off"),
    "log.best_mode": ("min", "max"),
}
