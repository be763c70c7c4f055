"""The names of StyleGAN3's official files: layers such as L0_36_512, by index, width and channels; here L0.

Low-pass filters, which follow from the layer plan, exist only in official files. The discriminator is StyleGAN2's.
"""

from __future__ import annotations

from collections.abc import Iterable

from stylegan_jax.config import ModelConfig
from stylegan_jax.config.arch.stylegan3 import Plan, make_plan
from stylegan_jax.convert.stylegan2 import discriminator, dotted
from stylegan_jax.convert.tables import Fixed, Names, Path
from stylegan_jax.ops.lowpass import design_lowpass

__all__ = ["discriminator", "generator"]


def generator(config: ModelConfig, paths: Iterable[Path]) -> Names:
    """Return the names of a generator, which follow from the plan alone."""
    return names_of(make_plan(config))


def names_of(plan: Plan) -> Names:
    """Return the names of a generator of a plan."""
    layers = plan.layers
    theirs = {f"L{p.index}": p.official_name for p in layers}
    fixed = {}
    for p in layers:
        for name, design in {"up_filter": p.up_design, "down_filter": p.down_design}.items():
            f = design_lowpass(*design)
            if f is not None:
                described = "the low-pass filter that the arguments determine"
                fixed[f"synthesis.{p.official_name}.{name}"] = Fixed(f, described)
    return Names(lambda path: dotted(tuple(theirs.get(key) or key for key in path)), fixed=fixed)
