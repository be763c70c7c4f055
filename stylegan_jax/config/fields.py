"""Every configuration key with its type, default, unit, meaning and limits. Defaults are defined nowhere else.

From these classes `configs/common.py` makes the ConfigDict that recipes change; any key can be set on the command line,
such as `--config.train.batch_size=16`. A stored configuration that lacks a key gets its default, so the default of a
new key must keep the behaviour of older runs. Keys of one architecture are in `config/arch/`, rules that involve
several keys in `rules`. At the start of a run, `train.names` checks values that are names in a registry.

Defaults are StyleGAN2's (Karras et al. 2020, config F) unless another source is named. kimg: thousands of images shown.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, ClassVar

from stylegan_jax.config.arch import projected, stylegan_xl
from stylegan_jax.config.arch.projected import ProjectedConfig
from stylegan_jax.config.arch.r3gan import R3GANConfig
from stylegan_jax.config.arch.stylegan1 import StyleGAN1Config
from stylegan_jax.config.arch.stylegan3 import StyleGAN3Config
from stylegan_jax.config.arch.stylegan_v import StyleGANVConfig
from stylegan_jax.config.arch.stylegan_xl import StyleGANXLConfig
from stylegan_jax.config.augmentation import AugmentConfig
from stylegan_jax.config.documented import field
from stylegan_jax.config.encoder import EncoderConfig


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture of both networks."""

    arch: str = field("stylegan2", "architecture of the generator: a name in models.ARCHS")
    resolution: int = field(256, "image height in pixels: base height times a power of two", least=1)
    base_size: tuple[int, int] = field(
        (4, 4), "(h, w) of the learned constant and of D's last block; image width = resolution * w / h", least=1
    )
    img_channels: int = field(3, "1 grey, 3 RGB, 4 RGBA", least=1)
    label_dim: int = field(
        -1, "length of a label; 0: no labels; -1: from the data if data.labels is not 'none', else 0", least=-1
    )
    z_dim: int = field(512, "latent size", least=1)
    w_dim: int = field(512, "style size", least=1)
    mapping_layers: int = field(8, "fully connected layers of the mapping network", least=0)
    mapping_lr_mult: float = field(0.01, "learning-rate multiplier of the mapping network", above=0)
    mapping_embed_dim: int = field(0, "size of the embedded label; 0: w_dim", least=0)
    mapping_layer_dim: int = field(0, "size of the hidden mapping layers; 0: w_dim", least=0)
    channel_base: int = field(32768, "channels(r) = min(channel_base // r, channel_max)", least=1)
    channel_max: int = field(512, "largest number of channels of a layer", least=1)
    g_arch: str = field("skip", "generator layout (SG2 fig. 7)", choices=("skip", "resnet", "orig"))
    d_arch: str = field(
        "resnet",
        "discriminator layout (SG2 fig. 7), or projected: on frozen features, instead of the architecture's own",
        choices=("resnet", "skip", "orig", "projected"),
    )
    grows: bool = field(
        False,
        "RGB layers at every resolution, for progressive growing; for stylegan1, or stylegan2 with g_arch and d_arch "
        "'orig'",
    )
    use_noise: bool = field(True, "per-layer noise inputs")
    activation: str = field("lrelu", "activation after convolutions: a name in ops.bias_act.ACTIVATIONS")
    resample_filter: tuple[float, ...] = field((1.0, 3.0, 3.0, 1.0), "FIR taps for upsampling and downsampling")
    conv_clamp: float = field(
        256.0, "activations are clamped to ±this after each convolution (ADA App. C); 0: not clamped", least=0
    )
    compute_dtype: str = field(
        "auto",
        "dtype of the low-precision blocks; auto: bfloat16 on TPU and GPU, float32 on CPU",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    num_lowp_res: int = field(4, "how many of the highest resolutions use compute_dtype", least=0)
    remat_from: int = field(
        0, "activations at this height and above are recomputed instead of stored, to save memory; 0: none", least=0
    )
    d_mapping_layers: int = field(8, "layers of the discriminator's mapping network, which maps the label", least=0)
    d_mapping_lr_mult: float = field(0.01, "learning-rate multiplier of the discriminator's mapping network", above=0)
    cmap_dim: int = field(0, "size of the mapped label in the discriminator; 0: its channel count at 4x4", least=0)
    mbstd_group: int = field(4, "images per minibatch-stddev group; must divide the batch", least=1)
    mbstd_channels: int = field(1, "statistics channels appended by minibatch stddev; 0: none", least=0)
    projected: ProjectedConfig = field(ProjectedConfig(), "keys of d_arch 'projected' only")
    stylegan1: StyleGAN1Config = field(StyleGAN1Config(), "keys of arch 'stylegan1' only")
    stylegan3: StyleGAN3Config = field(StyleGAN3Config(), "keys of arch 'stylegan3', and of the stem of 'stylegan_xl'")
    stylegan_xl: StyleGANXLConfig = field(StyleGANXLConfig(), "keys of arch 'stylegan_xl' only")
    r3gan: R3GANConfig = field(R3GANConfig(), "keys of arch 'r3gan' only")
    stylegan_v: StyleGANVConfig = field(StyleGANVConfig(), "keys of arch 'stylegan_v' only")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image."""
        return (self.resolution, self.resolution * self.base_size[1] // self.base_size[0], self.img_channels)

    @property
    def stats_group(self) -> tuple[str, int]:
        """(key, number) of images that share statistics in the discriminator; 1 if none do."""
        if self.d_arch == projected.NAME:
            return "projected.stats_group", self.projected.stats_group
        return "mbstd_group", self.mbstd_group if self.mbstd_channels else 1

    @property
    def class_tables(self) -> dict[str, tuple[int, int]]:
        """(rows, size) of the existing tables of class embeddings, by network 'g' or 'd'."""
        out, g, d = {}, self.stylegan_xl, self.projected
        if self.arch == stylegan_xl.NAME:
            out["g"] = g.embed_rows, g.embed_dim
        if self.d_arch == projected.NAME and self.label_dim:
            out["d"] = d.embed_rows, d.embed_dim
        return out

    @property
    def num_blocks(self) -> int:
        """Number of resolutions, including the base."""
        return int(math.log2(self.resolution // self.base_size[0])) + 1


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images come from."""

    source: str = field(
        "zip", "zip, folder, tfds, memory (npy/npz uint8), synthetic, tiles, video: a name in data.SOURCES"
    )
    path: str = field("", "file or folder; for tfds, name of the data set, such as 'cifar10'", is_path=True)
    split: str = field("train", "data.source='tfds': split of the data set")
    labels: str = field(
        "none",
        "none, file (dataset.json or the source's own) or subfolders; arrays and synthetic have their own",
        choices=("none", "file", "subfolders"),
    )
    xflip: bool = field(False, "also train on every image mirrored left to right")
    yflip: bool = field(False, "also train on every image mirrored top to bottom; with xflip, on all four versions")
    subset: int = field(
        0, "train on this many images, chosen at random (larger subsets contain smaller ones); 0: all", least=0
    )
    subset_seed: int = field(0, "determines which images data.subset chooses")
    on_bad_image: str = field(
        "error", "error: report it and do not start; skip: train without it", choices=("error", "skip")
    )
    resize_filter: str = field(
        "box", "box or lanczos, for images that differ from the model's size: a name in data.images.FILTERS"
    )
    cache: str = field(
        "auto",
        "where to keep decoded images: off, host (RAM), device; auto: host if they fit into cache_limit_mb",
        choices=("auto", "off", "host", "device"),
    )
    cache_limit_mb: int = field(
        2048, "MiB of decoded images that cache='auto' may keep, and of pictures for source 'tiles'", least=0
    )
    workers: int = field(2, "decoding threads of the tf.data pipeline", above=0)
    fps: float = field(25.0, "data.source='video': frames per second of previews and of sampled videos", above=0)
    tile_size: int = field(
        0,
        "data.source='tiles': height of a tile in the picture's pixels, before resizing; 0: the model's height",
        least=0,
    )
    tile_step: int = field(1, "data.source='tiles': tiles are cut at multiples of this many pixels", above=0)
    tile_contrast: float = field(
        0.0,
        "data.source='tiles': skip tiles whose brightness (0 to 255) has a smaller standard deviation; 0: skip none",
        least=0,
    )
    synthetic_images: int = field(1024, "data.source='synthetic': number of images", above=0)
    synthetic_labels: int = field(0, "data.source='synthetic': number of classes; 0: no labels", least=0)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Adversarial loss and regularisers."""

    adversarial: str = field(
        "logistic", "logistic (non-saturating), hinge, minimax (saturating), …: a name in losses.adversarial.LOSSES"
    )
    adv_reduction: str = field(
        "mean",
        "how examples, and the frozen networks of a projected discriminator, are combined: mean, or sum (StyleGAN-XL), "
        "which changes the weight relative to path length and guidance",
        choices=("mean", "sum"),
    )
    adv_batch: int = field(
        0, "adv_reduction='sum': number of examples to sum over; published: batch / devices", least=0
    )
    guidance_weight: float = field(0.0, "weight of a frozen classifier's cross entropy in G's loss; 0: off", least=0)
    guidance: str = field(
        "deit_small", "this classifier: deit_small (published; needs a file), …: a name in features.BACKBONES"
    )
    d_reg: str = field(
        "r1", "penalties of the discriminator: none, or names in losses.regularizers.PENALTIES, such as r1 or r1+r2"
    )
    r1_gamma: float = field(10.0, "weight of R1 and of R2: gamma/2 * |grad|^2", least=0)
    gp_weight: float = field(10.0, "weight of WGAN-GP (lambda)", least=0)
    d_reg_interval: int = field(
        16, "iterations between (lazy) regularisations of the discriminator; 0: part of every step (SG1)", least=0
    )
    d_first: bool = field(False, "each iteration begins with the discriminator's phases, as in R3GAN")
    drift_weight: float = field(
        0.0, "weight of the squared logits of reals, which keeps a Wasserstein critic near 0 (PG: 0.001)", least=0
    )
    lecam_weight: float = field(
        0.0,
        "weight of LeCam regularisation, for small data sets (Tseng et al. 2021: 3e-7 with StyleGAN2); 0: off",
        least=0,
    )
    lecam_decay: float = field(0.99, "decay per iteration of LeCam's averages of logits", least=0, below=1)
    pl_weight: float = field(2.0, "weight of path-length regularisation; 0: off", least=0)
    pl_decay: float = field(0.01, "weight of new path lengths in their running mean", least=0, most=1)
    pl_batch_shrink: int = field(2, "path-length regularisation uses batch_size / this images", above=0)
    g_reg_interval: int = field(4, "iterations between (lazy) path-length regularisations", least=0)
    d_reg_whole: bool = field(
        False,
        "a lazy penalty's step updates all of Adam's moments, including those of D's last bias, as in published "
        "StyleGAN-V",
    )
    pl_start_kimg: float = field(0.0, "path-length regularisation starts at this many kimg", least=0)
    style_mixing_prob: float = field(0.9, "probability that a batch mixes the styles of two latents", least=0, most=1)
    blur_init_sigma: float = field(0.0, "initial blur of the discriminator's images, in pixels; 0: no blur", least=0)
    blur_fade_kimg: float = field(0.0, "kimg over which the blur falls linearly to zero", least=0)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length, optimisers and averages."""

    batch_size: int = field(32, "images per iteration, over all devices", above=0)
    total_kimg: float = field(25000.0, "length of training in kimg", above=0)
    seed: int = field(0, "seed of all random numbers and of the data order")
    g_lr: float = field(
        0.002, "learning rate of the generator (Adam), before the correction for lazy regularisation", above=0
    )
    d_lr: float = field(0.002, "learning rate of the discriminator, before that correction", above=0)
    beta1: float = field(0.0, "decay of Adam's first moment", least=0, below=1)
    beta2: float = field(0.99, "decay of Adam's second moment", least=0, below=1)
    eps: float = field(1e-8, "epsilon of Adam", above=0)
    lazy_always: bool = field(
        False, "Adam is corrected for both lazy intervals even if a regulariser is off, as in StyleGAN-XL"
    )
    ema_kimg: float = field(10.0, "half-life of the generator's average (EMA), in kimg", least=0)
    ema_rampup: float = field(0.0, "limits this half-life to a multiple of the images shown so far; 0: off", least=0)
    posthoc_ema: tuple[float, ...] = field(
        (),
        "relative widths of averages to store, from which tools.average makes one of any width later (EDM2 §3); "
        "recommended: (0.05, 0.1); (): none",
        above=0,
        most=0.288,
    )
    w_avg_beta: float = field(
        0.995, "decay per iteration of the average style (SG2, ADA; stylegan3 repository: 0.998)", least=0, below=1
    )
    w_avg_phases: str = field(
        "d",
        "fakes that update the average style: d: the discriminator's; both: also the generator's (SG2-ADA, StyleGAN-V)",
        choices=("d", "both"),
    )
    init_from: str = field(
        "",
        "initial weights: a workdir, a model folder or an official .pkl (G, D and average); '': random",
        is_path=True,
    )
    init_step: int = field(
        0, "checkpoint of the run at init_from; 0: its best by its own log.keep_best, else its newest", least=0
    )
    class_table: str = field(
        "",
        "file with the initial class embeddings of arch 'stylegan_xl' and of a projected discriminator, as published; "
        "'': random, unlike the published models",
        is_path=True,
    )
    grad_accum: int = field(
        1,
        "micro-batches per step, to save memory; the result is the same (for stylegan3 nearly, see docs); 1: off",
        above=0,
    )
    lr_warmup_kimg: float = field(0.0, "kimg over which both learning rates rise linearly from 0; 0: off", least=0)
    on_nan: str = field(
        "halt",
        "on NaN or infinity: halt, skip the step, scrub the gradient, or rollback to the last checkpoint",
        choices=("halt", "skip", "scrub", "rollback"),
    )
    max_rollbacks: int = field(3, "on_nan='rollback': halt after this many in one run", least=0)
    early_stop_kimg: float = field(0.0, "stop once log.keep_best has not improved for this many kimg; 0: off", least=0)
    freeze_d: int = field(
        0, "Freeze-D: number of the discriminator's layers, in order from the image, that are not trained", least=0
    )
    freeze_mapping: str = field(
        "none",
        "part of the mapping network that is not trained: none, embed (the label embedding), all",
        choices=("none", "embed", "all"),
    )
    freeze_g: str = field(
        "none",
        "part of G that a super-resolution stage does not train: none; stem (published): the mapping network and the "
        "layers of earlier stages except the Fourier input; stem_input: that too",
        choices=("none", "stem", "stem_input"),
    )
    reload_stem: bool = field(
        False,
        "whenever the run resumes, load the stem (without the Fourier input) and w_avg from train.init_from again, as "
        "published, to use a stem that was trained further; False: a resumed run continues bit for bit",
    )
    num_devices: int = field(0, "number of devices to use; 0: all", least=0)
    compilation_cache: str = field(
        "auto", "folder of compiled programs; auto: in the user's cache folder; off: none", is_path=True
    )


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """Final values of rates that change along half a cosine, as in R3GAN (Huang et al. 2024); -1: the rate is
    constant."""

    STAYS: ClassVar[float] = -1.0

    start_kimg: float = field(0.0, "kimg at which rates start to change", least=0)
    end_kimg: float = field(0.0, "kimg at which rates reach their final values; 0: no schedule", least=0)
    g_lr: float = field(STAYS, "final value of train.g_lr")
    d_lr: float = field(STAYS, "final value of train.d_lr")
    beta2: float = field(STAYS, "final value of train.beta2", below=1)
    r1_gamma: float = field(STAYS, "final value of loss.r1_gamma")
    ema_kimg: float = field(STAYS, "final value of train.ema_kimg")
    augment_p: float = field(STAYS, "final value of augment.p, with augment.mode='fixed'")


@dataclasses.dataclass(frozen=True)
class GrowingConfig:
    """Progressive growing (PG §2; values of SG1); needs model.grows."""

    start: int = field(0, "first image height, such as 8; 0: no growing")
    train_kimg: float = field(600.0, "kimg at each height before the next is faded in")
    fade_kimg: float = field(600.0, "kimg over which a height is faded in")
    batch_sizes: tuple[int, ...] = field(
        (), "batch size at each height below the last, which uses train.batch_size; (): that at all heights", above=0
    )
    learning_rates: tuple[float, ...] = field(
        (), "learning rate of both networks at each height below the last; (): train.g_lr and d_lr", above=0
    )
    reset_moments: bool = field(True, "reset Adam when a fade begins and when it ends, as in the original")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How devices share the work: devices = data x fsdp x spatial, where data follows from the others."""

    fsdp: int = field(
        1,
        "number of devices over which parameters, optimiser moments and averages are split (and the batch)",
        above=0,
    )
    spatial: int = field(
        1, "number of devices over which the height of images and activations is split, for large images", above=0
    )


@dataclasses.dataclass(frozen=True)
class DistributedConfig:
    """The processes of a run on several hosts."""

    mode: str = field(
        "auto",
        "auto: find the other processes of a TPU slice, SLURM, Open MPI or GKE job; off: this process alone",
        choices=("auto", "off"),
    )
    coordinator: str = field("", "on other clusters: host:port of process 0, the same on every process")
    num_processes: int = field(0, "on other clusters: number of processes")
    process_id: int = field(-1, "on other clusters: number of this process, from 0")
    start_timeout_s: int = field(300, "seconds to wait for all processes at the start", above=0)
    heartbeat_s: int = field(100, "if a process is silent for this many seconds, the run ends on all", above=0)


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Reports, grids and checkpoints."""

    tick_kimg: float = field(4.0, "kimg per progress line", above=0)
    grid_ticks: int = field(50, "ticks between sample grids", above=0)
    checkpoint_ticks: int = field(50, "ticks between checkpoints", above=0)
    average_ticks: int = field(
        0, "ticks between snapshots of train.posthoc_ema, all of which are kept; 0: about 64 per run", least=0
    )
    keep_latest: int = field(2, "number of newest checkpoints to keep", above=0)
    keep_every_kimg: float = field(0.0, "also keep a checkpoint every this many kimg; 0: no", least=0)
    keep_best: str = field(
        "",
        "also keep the checkpoint with the best value of this name in stats.jsonl, such as 'metric/fid5k'; '': no",
    )
    best_mode: str = field("min", "whether smaller (min) or larger (max) values are better", choices=("min", "max"))
    trackers: tuple[str, ...] = field(
        ("tensorboard",),
        "receive scalars and grids besides stats.jsonl and grids/: tensorboard, wandb (an extra): names in "
        "train.trackers.TRACKERS; (): none",
    )
    grid_columns: int = field(8, "images per row of a grid", above=0)
    grid_rows: int = field(6, "rows of a grid", above=0)
    progress_bar: bool = field(True, "show a progress bar if stderr is a terminal")


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Metrics of the averaged generator during training; docs/metrics.md."""

    metrics: str = field(
        "", "names separated by commas, such as 'fid5k,kid1k'; log.keep_best can be 'metric/fid5k'; '': none"
    )
    ticks: int = field(50, "ticks between evaluations", above=0)
    num_images: int = field(
        0,
        "number of images or clips to evaluate, if not the metric's own; the reported name then says so, and as many "
        "reals are drawn; 0: its own",
        least=0,
    )
    features: str = field(
        "",
        "feature networks separated by commas, if not the metrics' own; the reported names then say so; '': their own",
    )
    features_path: str = field(
        "",
        "weights of feature networks: a path, or net=path,… for several; '': the folders that docs/metrics.md names",
        is_path=True,
    )
    batch: int = field(16, "images, or frames of clips, per device at a time", above=0)
    cache: str = field(
        "auto", "folder of the reals' statistics; auto: in the user's cache folder; off: none", is_path=True
    )


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything a run depends on."""

    name: str = field("stylegan2", "name in logs and figure titles")
    task: str = field(
        "gan", "what to train: gan, or encoder, which inverts a trained generator: a name in train.tasks.TASKS"
    )
    model: ModelConfig = field(ModelConfig(), "architecture of both networks")
    data: DataConfig = field(DataConfig(), "where images come from")
    loss: LossConfig = field(LossConfig(), "adversarial loss and regularisers")
    augment: AugmentConfig = field(AugmentConfig(), "augmentation of the discriminator's images")
    train: TrainConfig = field(TrainConfig(), "length, optimisers and averages")
    schedule: ScheduleConfig = field(ScheduleConfig(), "final values of scheduled rates")
    growing: GrowingConfig = field(GrowingConfig(), "progressive growing")
    mesh: MeshConfig = field(MeshConfig(), "how devices share the work")
    distributed: DistributedConfig = field(DistributedConfig(), "the processes of a run on several hosts")
    log: LogConfig = field(LogConfig(), "reports, grids and checkpoints")
    eval: EvalConfig = field(EvalConfig(), "metrics during training")
    encoder: EncoderConfig = field(EncoderConfig(), "keys of task 'encoder' only")

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain dicts, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))
