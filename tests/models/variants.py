"""Small models of every layout, and the toys, built and compiled once per process and shared by the tests."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import toy

from configs import common
from stylegan_jax import models
from stylegan_jax.config import ModelConfig, model_from_dict

N = 8
SMALL = {"resolution": 8, "channel_base": 64, "channel_max": 8, "z_dim": 6, "w_dim": 10, "mapping_layers": 1}
SMALL |= {"d_mapping_layers": 1, "compute_dtype": "float32", "label_dim": 0}
SMALL3 = {"num_layers": 3, "num_critical": 1, "margin_size": 2, "filter_size": 3}  # of model.stylegan3
SMALLX = {"embed_rows": 4, "embed_dim": 5}  # of model.stylegan_xl
RADIAL = {"conv_kernel": 1, "use_radial_filters": True, "channel_base": 128, "channel_max": 12}
VARIANTS = {
    "stylegan1": {
        "f": {},
        "labels_wide": {"label_dim": 3, "base_size": (4, 6), "img_channels": 4, "mbstd_channels": 2},
        "grey_no_noise": {  # A of SG1 table 1
            "stylegan1": {
                "use_styles": False,
                "const_input": False,
                "use_pixel_norm": True,
                "use_instance_norm": False,
                "blur_filter": (1.0,),
            },
            "mapping_layers": 0,
            "w_dim": 6,
            "use_noise": False,
            "img_channels": 1,
        },
    },
    "stylegan2": {
        "skip": {},
        "resnet_labels": {"g_arch": "resnet", "d_arch": "skip", "label_dim": 3, "mbstd_channels": 2},
        "orig_rgba_wide": {"g_arch": "orig", "d_arch": "orig", "img_channels": 4, "base_size": (4, 6)},
        "grey_no_noise": {
            "img_channels": 1,
            "use_noise": False,
            "mbstd_channels": 0,
            "conv_clamp": 0.0,
            "label_dim": 2,
        },
    },
    "stylegan3": {
        "t": {},
        "r_labels_wide": {
            "stylegan3": RADIAL,
            "label_dim": 3,
            "resolution": 24,
            "base_size": (6, 5),
            "img_channels": 1,
        },
    },
}
VARIANTS["stylegan_xl"] = {
    "labels_stage": {
        "stylegan_xl": {"up_factors": (2,), "head_layers": (3,)},
        "stylegan3": RADIAL | {"num_layers": 2},
        "label_dim": 3,
        "resolution": 24,
        "base_size": (6, 5),
        "img_channels": 1,
    },
}
SMALLR = {"widths": (8, 6), "groups": (4, 3), "blocks": (1, 2)}  # of model.r3gan
VARIANTS["r3gan"] = {
    "grouped": {"mbstd_channels": 0},
    "labels_wide": {
        "mbstd_channels": 0,
        "label_dim": 3,
        "base_size": (4, 6),
        "img_channels": 1,
        "r3gan": {"groups": (1, 2), "expansion": 1, "embed_dim": 4},
    },
}
SMALLV = {"frames": 3, "max_num_frames": 20, "max_dist": 8, "motion_z_dim": 5, "motion_v_dim": 6, "motion_kernel": 2}
SMALLV |= {"motion_distance": 4, "time_dim": 4, "min_period": 4, "max_period": 16, "concat_res": 8}
VARIANTS["stylegan_v"] = {  # of model.stylegan_v
    "appended": {"use_noise": False, "resolution": 16},
    "labels_wide": {
        "use_noise": False,
        "resolution": 16,
        "label_dim": 3,
        "base_size": (4, 6),
        "img_channels": 1,
        "g_arch": "resnet",
        "stylegan_v": {"frames": 2, "sampling": "uniform", "cond_type": "concat_w"},
    },
}
MAIN = {arch: next(iter(variants)) for arch, variants in VARIANTS.items()}
"""The plainest variant of each architecture."""
LABELS = {
    "stylegan1": "labels_wide",
    "stylegan2": "resnet_labels",
    "stylegan3": "r_labels_wide",
    "stylegan_xl": "labels_stage",
    "r3gan": "labels_wide",
    "stylegan_v": "labels_wide",
}
NOISY = ("stylegan1", "stylegan2")
"""Architectures with noise inputs."""
MOVING = ("stylegan3", "projected", "judged")
"""Architectures with collections that training moves."""
TOYS = {"projected": toy.PROJECTED, "clips": toy.CLIPS, "judged": toy.JUDGED}
"""Bundles that have what no architecture has yet; each is an architecture of one variant here."""
MAIN |= dict.fromkeys(TOYS, "toy")
LABELS |= {"projected": "toy", "judged": "toy"}
CASES = [(arch, name) for arch, variants in VARIANTS.items() for name in variants] + [(name, "toy") for name in TOYS]


def make_config(arch: str, variant: str | None = None, **changes) -> ModelConfig:
    tree = common.get_config().model.to_dict() | SMALL
    own = VARIANTS[arch][variant or MAIN[arch]] | changes
    if arch in tree:
        small = {"stylegan1": {}, "stylegan3": SMALL3, "stylegan_xl": SMALLX, "r3gan": SMALLR, "stylegan_v": SMALLV}
        groups = ("stylegan3", "stylegan_xl") if arch == "stylegan_xl" else (arch,)
        own |= {name: tree[name] | small[name] | own.get(name, {}) for name in groups}
    return model_from_dict(tree | own | {"arch": arch})


class Built(NamedTuple):
    """A model, variables that look trained, inputs, and one compiled function of them."""

    config: ModelConfig
    gan: models.Gan
    g: dict
    d: dict
    inputs: dict
    cond: jax.Array
    frozen: dict
    run: object

    @property
    def rest(self) -> dict:
        """What the synthesis network reads besides styles."""
        return {name: x for name, x in self.inputs.items() if name != "z"}


def forward(gan, g, d, inputs, cond, frozen=None):
    """Return (ws, image, logits)."""
    ws = gan.map_latents(g, inputs, cond)
    sample, _ = gan.synthesize(g, ws, {name: x for name, x in inputs.items() if name != "z"})
    return ws, sample["image"], gan.discriminate(d, frozen or {}, sample, cond)[0]


def image(gan, g, ws, inputs=None, **options):
    """Return the images of styles."""
    return gan.synthesize(g, ws, inputs or {}, **options)[0]["image"]


def logits(gan, d, image, cond, frozen=None, rest=None):
    """Return the logits of images, or of clips whose times are among the rest of their inputs."""
    sample = {name: rest[name] for name in gan.spec.sample if name != "image"}
    return gan.discriminate(d, frozen or {}, sample | {"image": image}, cond)[0]


def draw(init, rng, is_scaled=True):
    """Draw variables of the right shapes without compiling: no zeros (they hide mistakes), and styles near one.

    Weights that the network does not scale at run time (`is_scaled`) are drawn as small as their initial ones.
    """

    def leaf(path, shape):
        names = [p.key for p in path]
        if names[-1] == "transform":
            return jnp.eye(3) + 0.05 * jnp.asarray(rng.standard_normal((3, 3)), shape.dtype)
        if "trajectory" in names and names[-1] == "weight":
            return jnp.asarray(100 * rng.standard_normal(shape.shape), shape.dtype)
        if names[-1] == "magnitude_ema":
            return jnp.asarray(0.5 + rng.random(), shape.dtype)
        scale = 100 if names[-2].startswith("fc") and "mapping" in names else 1 if names[-1] == "weight" else 0.2
        if not is_scaled and names[-1] == "weight":
            scale = np.prod(shape.shape[:-1]) ** -0.5
        x = scale * rng.standard_normal(shape.shape)
        return jnp.asarray(x + (names[-2:] == ["affine", "bias"]), shape.dtype)

    return jax.tree.map_with_path(leaf, jax.eval_shape(init, jax.random.key(0)))


@functools.cache
def build(arch: str, variant: str) -> Built:
    rng = np.random.default_rng(0)
    if arch in TOYS:
        gan, frozen = TOYS[arch], {name: toy.LOADERS[name]().tree for name in TOYS[arch].spec.frozen}
        config = toy.make_config(model__label_dim=gan.spec.label_dim).model
        g, d = (init(jax.random.key(i), frozen) for i, init in enumerate((gan.init_g, gan.init_d)))
    else:
        config, frozen = make_config(arch, variant), {}
        gan = models.build(config)
        g, d = (draw(init, rng, is_scaled=arch != "r3gan") for init in (gan.init_g, gan.init_d))
    z = jnp.asarray(rng.standard_normal((N, config.z_dim)), jnp.float32)
    cond = jnp.eye(gan.spec.label_dim, dtype=jnp.float32)[rng.integers(0, max(gan.spec.label_dim, 1), N)]
    cond = cond if gan.spec.label_dim else jnp.zeros((N, 0))
    inputs = gan.draw_inputs(jax.random.key(0), N, cond) | {"z": z}

    @jax.jit
    def run(g, d, inputs, cond):
        def loss(g_params, d_params, inputs):
            out = forward(gan, g | {"params": g_params}, d | {"params": d_params}, inputs, cond, frozen)
            return jnp.sum(jax.nn.softplus(-out[2])), out

        return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(g["params"], d["params"], inputs)

    return Built(config, gan, g, d, inputs, cond, frozen, run)
