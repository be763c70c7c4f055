"""The keys of `config.encoder.training`.

Defaults are e4e's (Tov et al. 2021) for domains other than faces. The paper counts iterations of 8 images; we count
images.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from stylegan_jax.base.errors import ConfigError
from stylegan_jax.config.documented import field

if TYPE_CHECKING:
    from stylegan_jax.config.fields import ExperimentConfig


@dataclasses.dataclass(frozen=True)
class EncoderTrainingConfig:
    """Losses, optimisers and stages of an encoder's training."""

    lr: float = field(1e-4, "learning rate of the encoder (Ranger)", above=0)
    d_lr: float = field(2e-5, "learning rate of the latent discriminator (Adam)", above=0)
    images: str = field(
        "data",
        "what it learns to encode: data: the images of config.data; samples: images of the generator, whose styles are "
        "known",
        choices=("data", "samples"),
    )
    warmup_kimg: float = field(
        0.0, "kimg of warm-up, in which it learns from samples only, without the latent discriminator", least=0
    )
    w_weight: float = field(
        0.0,
        "weight of the squared distance from the true styles of samples, in units of the mean style's distance",
        least=0,
    )
    l2_weight: float = field(1.0, "weight of the mean squared difference of pixels in [-1, 1]", least=0)
    lpips_weight: float = field(0.8, "weight of LPIPS", least=0)
    lpips: str = field(
        "alexnet_lpips",
        "network of LPIPS: alexnet_lpips (published) or vgg16_lpips",
        choices=("alexnet_lpips", "vgg16_lpips"),
    )
    similarity_weight: float = field(
        0.0,
        "weight of 1 - the cosine similarity of features; published: 0.1 for faces, 0.5 for other domains; 0: off",
        least=0,
    )
    similarity: str = field(
        "efficientnet_lite0",
        "network of these features: ir_se50 for faces (ArcFace; needs a file), efficientnet_lite0 (a package) or "
        "others; the published one for other domains, MoCo, is not available",
    )
    similarity_path: str = field("", "its weights file; '': where docs/metrics.md says", is_path=True)
    delta_weight: float = field(2e-4, "weight of the lengths of the offsets from the base style; e4e only", least=0)
    adversarial_weight: float = field(
        0.1, "weight of the latent discriminator, which favours styles like the generator's; 0: none", least=0
    )
    pool: int = field(
        50,
        "size of the pools of earlier styles that the latent discriminator sees too; 0: none, and it sees only the "
        "encoder's first style",
        least=0,
    )
    r1_gamma: float = field(10.0, "weight of the latent discriminator's R1: gamma/2 * |grad|^2", least=0)
    r1_interval: int = field(16, "iterations between its R1 steps", above=0)
    progressive_start_kimg: float = field(
        0.0,
        "kimg at which the offset of the second slot begins to train; before, all slots share one style (e4e: 160); 0: "
        "all slots train from the start",
        least=0,
    )
    progressive_step_kimg: float = field(16.0, "kimg from one slot to the next", above=0)

    @property
    def has_critic(self) -> bool:
        """Whether there is a latent discriminator."""
        return self.adversarial_weight > 0

    @property
    def is_progressive(self) -> bool:
        """Whether the slots' offsets begin to train one after another."""
        return self.progressive_start_kimg > 0


def check_encoder_run(config: ExperimentConfig) -> None:
    """Check the keys of a run of task 'encoder' against each other.

    Raises:
        ConfigError: a rule is broken.
    """
    encoder, t = config.encoder, config.encoder.training
    if not encoder.model:
        raise ConfigError(
            "config.encoder.model is empty; set it to the generator that the encoder should invert: a run's folder, a "
            "model folder or a network file"
        )
    if t.is_progressive and encoder.kind != "e4e":
        raise ConfigError(
            f"config.encoder.training.progressive_start_kimg is {t.progressive_start_kimg:g} with encoder.kind="
            f"{encoder.kind!r}; only kind 'e4e' has stages: use it, or 0"
        )
    if t.w_weight and not t.warmup_kimg and t.images == "data":
        raise ConfigError(
            f"config.encoder.training.w_weight is {t.w_weight:g} with images='data' and no warm-up, but only "
            "samples have known styles; set warmup_kimg, images='samples', or w_weight=0"
        )
    if t.warmup_kimg >= config.train.total_kimg and t.has_critic:
        raise ConfigError(
            f"config.encoder.training.warmup_kimg is {t.warmup_kimg:g} of train.total_kimg={config.train.total_kimg:g} "
            "with a latent discriminator, which would never train; shorten the warm-up, or set adversarial_weight=0"
        )
    unused = {
        "train.grad_accum": (config.train.grad_accum, 1, "batch normalisation needs the whole batch"),
        "train.posthoc_ema": (config.train.posthoc_ema, (), "an encoder has no average"),
        "eval.metrics": (config.eval.metrics, "", "metrics during training are for generators"),
        "growing.start": (config.growing.start, 0, "an encoder does not grow"),
    }
    for key, (value, only, why) in unused.items():
        if value != only:
            raise ConfigError(f"config.{key} is {value!r} with task 'encoder'; {why}: use {only!r}")
    if config.log.grid_rows < 4:
        raise ConfigError(
            f"config.log.grid_rows is {config.log.grid_rows}; an encoder's grid needs at least 4 rows: targets, "
            "reconstructions and two edits"
        )
