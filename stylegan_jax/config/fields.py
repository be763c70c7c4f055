"""Every configuration key: its type, default, unit, meaning and rule. Nothing else holds defaults.

`configs/common.py` makes the ConfigDict that recipes change from these classes; any key can be set on the command line,
as `--config.train.batch_size=16`. A stored configuration that lacks a key gets its default, so the default of a new key
must be the value that keeps the behaviour of older runs. The keys of one architecture are in `config/arch/`, the rules
that involve several keys in `rules`. Values that are names of a registry are checked against it at the start of a run,
by `train.names`.

Sources of the values: StyleGAN2 (Karras et al. 2020, config F) unless said otherwise. kimg: thousands of images shown.
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

    arch: str = field("stylegan2", "which entry of models.ARCHS")
    resolution: int = field(256, "image height in pixels: base height times a power of two", least=1)
    base_size: tuple[int, int] = field(
        (4, 4), "(h, w) of the learned constant and of D's last block; width = resolution * w / h", least=1
    )
    img_channels: int = field(3, "1 grey, 3 RGB, 4 RGBA", least=1)
    label_dim: int = field(
        -1, "length of a label; 0: none; -1: from the data when data.labels is not 'none', else 0", least=-1
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
        "discriminator layout (SG2 fig. 7), or 'projected', on frozen features, in place of any architecture's own",
        choices=("resnet", "skip", "orig", "projected"),
    )
    grows: bool = field(
        False, "RGB layers at every resolution, for progressive growing; stylegan1, or stylegan2 with orig and orig"
    )
    use_noise: bool = field(True, "per-layer noise inputs")
    activation: str = field("lrelu", "of the convolutions: a name in ops.bias_act.ACTIVATIONS")
    resample_filter: tuple[float, ...] = field((1.0, 3.0, 3.0, 1.0), "FIR taps of every up- and downsampling")
    conv_clamp: float = field(
        256.0, "activations are clamped to ±this after each convolution (ADA App. C); 0: none", least=0
    )
    compute_dtype: str = field(
        "auto",
        "of the low-precision blocks; auto: bfloat16 on TPU and GPU, float32 on CPU",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    num_lowp_res: int = field(4, "how many of the highest resolutions use compute_dtype", least=0)
    remat_from: int = field(
        0, "activations at this height and above are recomputed, not stored, to save memory; 0: none", least=0
    )
    d_mapping_layers: int = field(8, "layers that map the label inside the discriminator", least=0)
    d_mapping_lr_mult: float = field(0.01, "learning-rate multiplier of these layers", above=0)
    cmap_dim: int = field(0, "size of the mapped label in the discriminator; 0: its channel count at 4x4", least=0)
    mbstd_group: int = field(4, "images per minibatch-stddev group; must divide the batch", least=1)
    mbstd_channels: int = field(1, "statistics channels appended by minibatch stddev; 0: none", least=0)
    projected: ProjectedConfig = field(ProjectedConfig(), "of d_arch 'projected' only")
    stylegan1: StyleGAN1Config = field(StyleGAN1Config(), "of arch 'stylegan1' only")
    stylegan3: StyleGAN3Config = field(StyleGAN3Config(), "of arch 'stylegan3', and of the stem of 'stylegan_xl'")
    stylegan_xl: StyleGANXLConfig = field(StyleGANXLConfig(), "of arch 'stylegan_xl' only")
    r3gan: R3GANConfig = field(R3GANConfig(), "of arch 'r3gan' only")
    stylegan_v: StyleGANVConfig = field(StyleGANVConfig(), "of arch 'stylegan_v' only")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image."""
        return (self.resolution, self.resolution * self.base_size[1] // self.base_size[0], self.img_channels)

    @property
    def stats_group(self) -> tuple[str, int]:
        """Key and number of the images that share statistics in the discriminator; 1 if none do."""
        if self.d_arch == projected.NAME:
            return "projected.stats_group", self.projected.stats_group
        return "mbstd_group", self.mbstd_group if self.mbstd_channels else 1

    @property
    def class_tables(self) -> dict[str, tuple[int, int]]:
        """(rows, size) of the tables of class embeddings by network, 'g' and 'd'; only tables that exist."""
        out, g, d = {}, self.stylegan_xl, self.projected
        if self.arch == stylegan_xl.NAME:
            out["g"] = g.embed_rows, g.embed_dim
        if self.d_arch == projected.NAME and self.label_dim:
            out["d"] = d.embed_rows, d.embed_dim
        return out

    @property
    def num_blocks(self) -> int:
        """Number of resolutions, the base one included."""
        return int(math.log2(self.resolution // self.base_size[0])) + 1


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images come from."""

    source: str = field(
        "zip", "zip, folder, tfds, memory (npy/npz uint8), synthetic, tiles, video: a name in data.SOURCES"
    )
    path: str = field("", "file or folder; for tfds the data set name, such as 'cifar10'", is_path=True)
    split: str = field("train", "tfds only")
    labels: str = field(
        "none",
        "none, file (dataset.json or the source's own) or subfolders; arrays and synthetic bring theirs",
        choices=("none", "file", "subfolders"),
    )
    xflip: bool = field(False, "add the copy of every image that is mirrored left to right")
    yflip: bool = field(False, "add the copy that is mirrored top to bottom; with xflip also that of both: four in all")
    subset: int = field(
        0, "train on this many images, chosen at random (a larger subset contains the smaller); 0: all", least=0
    )
    subset_seed: int = field(0, "which images data.subset chooses")
    on_bad_image: str = field(
        "error", "error: name it and do not start; skip: train without it and count it", choices=("error", "skip")
    )
    resize_filter: str = field(
        "box", "box or lanczos, where images differ from the model's resolution: a name in data.images.FILTERS"
    )
    cache: str = field(
        "auto",
        "decoded images: off, host (RAM), device; auto: host when they fit cache_limit_mb",
        choices=("auto", "off", "host", "device"),
    )
    cache_limit_mb: int = field(
        2048, "MiB of decoded images that cache='auto' keeps, and of pictures that source 'tiles' keeps", least=0
    )
    workers: int = field(2, "decoding threads of the tf.data pipeline", above=0)
    fps: float = field(25.0, "data.source='video': frames per second, of previews and of what is drawn", above=0)
    tile_size: int = field(
        0,
        "data.source='tiles': height of a tile in pixels of the picture, then resized; 0: the model's height",
        least=0,
    )
    tile_step: int = field(1, "data.source='tiles': pixels between the places that tiles are cut from", above=0)
    tile_contrast: float = field(
        0.0,
        "data.source='tiles': skip tiles whose brightness has a smaller standard deviation, of 255; 0: none",
        least=0,
    )
    synthetic_images: int = field(1024, "data.source='synthetic': how many", above=0)
    synthetic_labels: int = field(0, "data.source='synthetic': classes; 0: none", least=0)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Adversarial loss and regularisers."""

    adversarial: str = field(
        "logistic", "logistic (non-saturating), hinge, minimax (saturating), …: a name in losses.adversarial.LOSSES"
    )
    adv_reduction: str = field(
        "mean",
        "mean: over examples and the frozen networks of a projected discriminator; sum: over both (StyleGAN-XL), which "
        "weighs it against path length and guidance",
        choices=("mean", "sum"),
    )
    adv_batch: int = field(
        0, "adv_reduction='sum': number of examples summed; published: those of a device, batch / devices", least=0
    )
    guidance_weight: float = field(0.0, "weight of a frozen classifier's cross entropy in G's loss; 0: none", least=0)
    guidance: str = field(
        "deit_small", "that classifier, a name in features.BACKBONES: deit_small (published; needs a file), …"
    )
    d_reg: str = field(
        "r1", "penalties of the discriminator: none, or names in losses.regularizers.PENALTIES joined by +, as r1+r2"
    )
    r1_gamma: float = field(10.0, "weight of R1 and of R2: gamma/2 * |grad|^2", least=0)
    gp_weight: float = field(10.0, "WGAN-GP weight (lambda)", least=0)
    d_reg_interval: int = field(
        16, "iterations between discriminator regularisations (lazy); 0: part of every step (SG1)", least=0
    )
    d_first: bool = field(False, "an iteration begins with the discriminator's phases, as in R3GAN")
    drift_weight: float = field(
        0.0, "weight of the squared logits of reals, which keeps a Wasserstein critic near 0 (PG: 0.001)", least=0
    )
    lecam_weight: float = field(
        0.0,
        "weight of LeCam regularisation, for few images (Tseng et al. 2021; 3e-7 for StyleGAN2 there); 0: off",
        least=0,
    )
    lecam_decay: float = field(0.99, "decay of its averages of the logits, per iteration", least=0, below=1)
    pl_weight: float = field(2.0, "path-length weight; 0: off", least=0)
    pl_decay: float = field(0.01, "step of the running mean of the path length; SG2 uses 0.01", least=0, most=1)
    pl_batch_shrink: int = field(2, "path length uses batch_size / this", above=0)
    g_reg_interval: int = field(4, "iterations between path-length regularisations (lazy)", least=0)
    d_reg_whole: bool = field(
        False,
        "a lazy penalty's step updates all of Adam's moments, D's last bias included, as published StyleGAN-V",
    )
    pl_start_kimg: float = field(0.0, "path length is off before this many kimg", least=0)
    style_mixing_prob: float = field(0.9, "probability of two latents per batch", least=0, most=1)
    blur_init_sigma: float = field(
        0.0, "pixels; blur of all images that the discriminator sees, at the start; 0: none", least=0
    )
    blur_fade_kimg: float = field(0.0, "the blur fades linearly to none over this many kimg", least=0)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length, optimisers and averages."""

    batch_size: int = field(32, "images per iteration, over all devices", above=0)
    total_kimg: float = field(25000.0, "length of training in kimg", above=0)
    seed: int = field(0, "of everything random")
    g_lr: float = field(0.002, "generator's learning rate (Adam), before the lazy-regularisation correction", above=0)
    d_lr: float = field(0.002, "the discriminator's", above=0)
    beta1: float = field(0.0, "decay of Adam's first moment", least=0, below=1)
    beta2: float = field(0.99, "decay of Adam's second moment", least=0, below=1)
    eps: float = field(1e-8, "of Adam", above=0)
    lazy_always: bool = field(
        False, "Adam is corrected for both lazy intervals even while a regulariser is off, as in StyleGAN-XL"
    )
    ema_kimg: float = field(10.0, "half-life of the generator average in kimg", least=0)
    ema_rampup: float = field(0.0, "half-life is at most this times the images shown so far; 0: no ramp", least=0)
    posthoc_ema: tuple[float, ...] = field(
        (),
        "relative widths of averages to store, from which tools.average makes one of any width afterwards (EDM2 §3): "
        "(0.05, 0.1) are recommended; (): none",
        above=0,
        most=0.288,
    )
    w_avg_beta: float = field(
        0.995, "decay of the w average, per iteration (SG2, ADA; stylegan3 repository: 0.998)", least=0, below=1
    )
    w_avg_phases: str = field(
        "d",
        "whose fakes update the w average: d, the discriminator's; both, the generator's too (SG2-ADA, StyleGAN-V)",
        choices=("d", "both"),
    )
    init_from: str = field(
        "", "start from these weights: a workdir, a model folder or an official .pkl (G, D and average)", is_path=True
    )
    init_step: int = field(
        0, "checkpoint of the run at init_from; 0: its best by its own log.keep_best, otherwise its newest", least=0
    )
    class_table: str = field(
        "",
        "file with a table of class embeddings, from which those of arch 'stylegan_xl' and of a projected "
        "discriminator start, as published; '': drawn at random, which deviates from that",
        is_path=True,
    )
    grad_accum: int = field(
        1, "micro-batches per step, for less memory; same result, stylegan3 (docs) nearly; 1: off", above=0
    )
    lr_warmup_kimg: float = field(0.0, "both learning rates rise linearly over this many kimg; 0: off", least=0)
    on_nan: str = field(
        "halt",
        "NaN or infinity: halt, skip the step, scrub the gradient, rollback to the last checkpoint",
        choices=("halt", "skip", "scrub", "rollback"),
    )
    max_rollbacks: int = field(3, "on_nan='rollback': halt after this many in one run", least=0)
    early_stop_kimg: float = field(0.0, "stop once log.keep_best has not improved for this many kimg; 0: off", least=0)
    freeze_d: int = field(
        0, "Freeze-D: how many of the discriminator's first layers, from the image, are not trained; 0: none", least=0
    )
    freeze_mapping: str = field(
        "none",
        "part of the mapping network that is not trained: none, embed (the label embedding), all",
        choices=("none", "embed", "all"),
    )
    freeze_g: str = field(
        "none",
        "what a super-resolution stage does not train: none; stem (as published), the mapping network and the layers "
        "of the stages before, but not the Fourier input; stem_input, that too",
        choices=("none", "stem", "stem_input"),
    )
    reload_stem: bool = field(
        False,
        "take the stem (without the Fourier input) and w_avg from train.init_from at every resume too, as published, "
        "so that a stem trained further is used; False: a resume continues bit for bit",
    )
    num_devices: int = field(0, "number of devices to use; 0: all", least=0)
    compilation_cache: str = field(
        "auto", "folder of compiled programs; auto: in the user's cache folder; off", is_path=True
    )


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """Final values of rates that follow half a cosine, as all do in R3GAN (Huang et al. 2024); -1: the rate is
    constant."""

    STAYS: ClassVar[float] = -1.0

    start_kimg: float = field(0.0, "kimg at which they start to change", least=0)
    end_kimg: float = field(0.0, "kimg at which they reach their ends; 0: no schedule", least=0)
    g_lr: float = field(STAYS, "end of train.g_lr")
    d_lr: float = field(STAYS, "end of train.d_lr")
    beta2: float = field(STAYS, "end of train.beta2", below=1)
    r1_gamma: float = field(STAYS, "end of loss.r1_gamma")
    ema_kimg: float = field(STAYS, "end of train.ema_kimg")
    augment_p: float = field(STAYS, "end of augment.p, with augment.mode='fixed'")


@dataclasses.dataclass(frozen=True)
class GrowingConfig:
    """Progressive growing (PG §2; values of SG1): needs model.grows."""

    start: int = field(0, "first image height, such as 8; 0: no growing")
    train_kimg: float = field(600.0, "kimg per height before the next is faded in")
    fade_kimg: float = field(600.0, "kimg over which it is faded in")
    batch_sizes: tuple[int, ...] = field(
        (), "one for each height below the last, which has train.batch_size; (): that everywhere", above=0
    )
    learning_rates: tuple[float, ...] = field((), "the same, of both networks; (): train.g_lr and d_lr", above=0)
    reset_moments: bool = field(True, "reset Adam when a fade begins and when it is over, as in the original")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How devices share the work: devices = data x fsdp x spatial, where data follows from the others."""

    fsdp: int = field(
        1, "share of devices over which parameters, optimiser moments and averages are split, the batch too", above=0
    )
    spatial: int = field(
        1, "devices over which the height of images and activations is split, for large images", above=0
    )


@dataclasses.dataclass(frozen=True)
class DistributedConfig:
    """The processes of a run on many hosts."""

    mode: str = field(
        "auto",
        "auto: find the other processes of a TPU slice, SLURM, Open MPI or GKE job; off: this process alone",
        choices=("auto", "off"),
    )
    coordinator: str = field("", "elsewhere: host:port of process 0, the same on every process")
    num_processes: int = field(0, "elsewhere: how many processes")
    process_id: int = field(-1, "elsewhere: number of this process, from 0")
    start_timeout_s: int = field(300, "seconds to wait for all processes at the start", above=0)
    heartbeat_s: int = field(100, "a process that is silent for this many seconds ends the run on all", above=0)


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Reports, grids and checkpoints."""

    tick_kimg: float = field(4.0, "kimg per progress line", above=0)
    grid_ticks: int = field(50, "ticks between image grids", above=0)
    checkpoint_ticks: int = field(50, "ticks between checkpoints", above=0)
    average_ticks: int = field(
        0, "ticks between snapshots of train.posthoc_ema, all of which are kept; 0: about 64 in a run", least=0
    )
    keep_latest: int = field(2, "newest checkpoints kept", above=0)
    keep_every_kimg: float = field(0.0, "also keep one checkpoint per this many kimg; 0: no", least=0)
    keep_best: str = field(
        "", "also keep the checkpoint with the best value of this name in stats.jsonl, as 'loss/d_penalty'; '': no"
    )
    best_mode: str = field("min", "which values are better", choices=("min", "max"))
    trackers: tuple[str, ...] = field(
        ("tensorboard",),
        "where scalars and grids go besides stats.jsonl and grids/: any of tensorboard, wandb (an extra): names in "
        "train.trackers.TRACKERS; (): nowhere else",
    )
    grid_columns: int = field(8, "images per row of a grid", above=0)
    grid_rows: int = field(6, "rows of a grid", above=0)
    progress_bar: bool = field(True, "live bar when the error output is a terminal")


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Metrics of the averaged generator while it trains; docs/metrics.md."""

    metrics: str = field(
        "", "names separated by commas, as 'fid5k,kid1k'; log.keep_best can take 'metric/fid5k'; '': none"
    )
    ticks: int = field(50, "ticks between evaluations", above=0)
    num_images: int = field(
        0,
        "evaluate this many images or clips instead of the metric's number, under another name; 0: the metric's",
        least=0,
    )
    features: str = field("", "other feature networks, separated by commas, under another name; '': the definitions'")
    features_path: str = field(
        "",
        "their weights: a path, or net=path,… for several; '': the folders that docs/metrics.md names",
        is_path=True,
    )
    batch: int = field(16, "images, or frames of clips, per device at a time", above=0)
    cache: str = field("auto", "folder of the reals' statistics; auto: in the user's cache folder; off", is_path=True)


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything a run depends on."""

    name: str = field("stylegan2", "used in logs and figure titles")
    task: str = field(
        "gan", "what is trained: gan, or encoder, which inverts a trained generator: a name in train.tasks.TASKS"
    )
    model: ModelConfig = field(ModelConfig(), "architecture of both networks")
    data: DataConfig = field(DataConfig(), "where images come from")
    loss: LossConfig = field(LossConfig(), "adversarial loss and regularisers")
    augment: AugmentConfig = field(AugmentConfig(), "augmentation of images before the discriminator")
    train: TrainConfig = field(TrainConfig(), "length, optimisers and averages")
    schedule: ScheduleConfig = field(ScheduleConfig(), "end values of scheduled rates")
    growing: GrowingConfig = field(GrowingConfig(), "progressive growing")
    mesh: MeshConfig = field(MeshConfig(), "how devices share the work")
    distributed: DistributedConfig = field(DistributedConfig(), "the processes of a run on many hosts")
    log: LogConfig = field(LogConfig(), "reports, grids and checkpoints")
    eval: EvalConfig = field(EvalConfig(), "metrics while training")
    encoder: EncoderConfig = field(EncoderConfig(), "of task 'encoder' only")

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain dicts, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))
