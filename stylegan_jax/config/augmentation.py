"""The keys of `config.augment`: augmentation of the discriminator's images."""

from __future__ import annotations

import dataclasses

from stylegan_jax.config.documented import field


@dataclasses.dataclass(frozen=True)
class AugmentOps:
    """Multiplier of p for each operation; 0: off, -1: the pipe's value (0 or 1)."""

    xflip: float = field(-1.0, "mirroring left to right")
    rotate90: float = field(-1.0, "rotation by a multiple of 90 degrees")
    xint: float = field(-1.0, "translation by whole pixels")
    scale: float = field(-1.0, "isotropic scaling")
    rotate: float = field(-1.0, "rotation by any angle")
    aniso: float = field(-1.0, "anisotropic scaling")
    xfrac: float = field(-1.0, "translation by a fraction of the image")
    brightness: float = field(-1.0, "brightness")
    contrast: float = field(-1.0, "contrast")
    lumaflip: float = field(-1.0, "inversion of the luma axis")
    hue: float = field(-1.0, "hue rotation")
    saturation: float = field(-1.0, "saturation")
    imgfilter: float = field(-1.0, "amplification of frequency bands")
    noise: float = field(-1.0, "additive noise")
    cutout: float = field(-1.0, "a blanked rectangle")


@dataclasses.dataclass(frozen=True)
class AugmentStrength:
    """Distributions of the operations (ADA App. B)."""

    xint_max: float = field(0.125, "whole-pixel translation: uniform in ±this, in image sizes", least=0)
    scale_std: float = field(0.2, "of the log2 of the scale", least=0)
    rotate_max: float = field(1.0, "rotation: uniform in ±this, 1 = 180 degrees", least=0)
    aniso_std: float = field(0.2, "of the log2 of the anisotropic scale", least=0)
    xfrac_std: float = field(0.125, "of the translation, in image sizes", least=0)
    brightness_std: float = field(0.2, "of the added brightness; images are in [-1, 1]", least=0)
    contrast_std: float = field(0.5, "of the log2 of the contrast", least=0)
    hue_max: float = field(1.0, "hue rotation: uniform in ±this, 1 = 180 degrees", least=0)
    saturation_std: float = field(1.0, "of the log2 of the saturation", least=0)
    imgfilter_std: float = field(1.0, "of the log2 of a frequency band's amplification", least=0)
    imgfilter_bands: tuple[float, ...] = field(
        (1.0, 1.0, 1.0, 1.0), "multipliers of p for the 4 bands, lowest frequencies first", least=0
    )
    noise_std: float = field(0.1, "scale of the half-normal distribution of the noise's standard deviation", least=0)
    cutout_size: float = field(0.5, "sides of the rectangle, in image sizes", least=0, most=1)


@dataclasses.dataclass(frozen=True)
class DiffAugmentConfig:
    """Policies and sizes of DiffAugment."""

    policy: str = field("color,translation,cutout", "any of these, separated by commas")
    translation: float = field(0.125, "largest shift, in image sizes", least=0, most=1)
    cutout: float = field(0.5, "sides of the rectangle, in image sizes (StyleGAN-XL: 0.2)", least=0, most=1)


@dataclasses.dataclass(frozen=True)
class ApaConfig:
    """Adaptive pseudo augmentation (Jiang et al. 2021): some fakes are presented to the discriminator as real."""

    mode: str = field(
        "none", "none; fixed: probability p; apa: p is adjusted as in mode 'ada'", choices=("none", "fixed", "apa")
    )
    p: float = field(0.0, "probability that a real is replaced by a fake; initial value in mode 'apa'", least=0)
    p_max: float = field(0.9, "upper limit of p; at 1 no reals would be left to measure overfitting", above=0, below=1)
    target: float = field(0.6, "p is adjusted so that mean(sign(D(real))), over true reals, is this", above=-1, below=1)
    interval: int = field(4, "iterations between two updates of p", above=0)
    kimg: float = field(500.0, "kimg in which p can rise from 0 to 1", above=0)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of reals and fakes before the discriminator (StyleGAN2-ADA)."""

    mode: str = field("none", "none; fixed: strength p; ada: adaptive p (ADA §3.3)", choices=("none", "fixed", "ada"))
    method: str = field("ada", "ada: the operations of pipe; diffaugment", choices=("ada", "diffaugment"))
    pipe: str = field("bgc", "operations of method 'ada', such as blit, geom, bg, bgc, bgcfnc: a name in augment.PIPES")
    p: float = field(0.0, "strength: the probability of each operation; initial value in mode 'ada'")
    p_max: float = field(
        1.0, "upper limit of the adaptive p; at 1 all operations are always applied (official code: no limit)", above=0
    )
    target: float = field(0.6, "p is adjusted so that mean(sign(D(real))) is this")
    interval: int = field(4, "iterations between two updates of p", above=0)
    kimg: float = field(500.0, "kimg in which p can rise from 0 to 1 (100 when fine-tuning)", above=0)
    ops: AugmentOps = field(AugmentOps(), "multiplier of p for each operation")
    strength: AugmentStrength = field(AugmentStrength(), "distributions of the operations")
    diffaugment: DiffAugmentConfig = field(DiffAugmentConfig(), "keys of method 'diffaugment'")
    apa: ApaConfig = field(ApaConfig(), "fakes presented as real; alone or with the above")
