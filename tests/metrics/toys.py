"""A generator of waves that takes a transform, and feature networks that are random projections."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from configs import common
from stylegan_jax import models
from stylegan_jax.config import model_from_dict
from stylegan_jax.features import FeatureNet
from stylegan_jax.metrics.definitions import OUTPUTS
from stylegan_jax.models.gan import draw_z, make_spec
from stylegan_jax.sampling.model import LoadedModel

SHAPE = (16, 16, 3)
LENGTHS = {"pool": 12, "probs": 7, "spatial": 9, "random": 12, "lpips": 20, "embedding": 6, "attributes": 2}
LENGTHS |= {"motion": 10, "actions": 6}
NONE = lambda *_: {}


def net(name: str, seed: int = 0) -> FeatureNet:
    """Return a network with the outputs that the metrics ask of that name; any image size."""
    draw = np.random.default_rng([seed, *name.encode()])
    outputs = {nets[name]: LENGTHS[need] for need, nets in OUTPUTS.items() if name in nets}
    params = {key: draw.standard_normal((8 * 8 * 3, k)).astype(np.float32) / 14 for key, k in outputs.items()}

    def apply(params, images, wanted):
        if images.ndim == 5:  # clips: a picture of how they move
            weights = jnp.sin(1 + jnp.arange(images.shape[1])).reshape(1, -1, 1, 1, 1)
            images = 127.5 + (weights * (images - 127.5)).mean(axis=1)
        x = jax.image.resize(images / 127.5 - 1, (len(images), 8, 8, 3), "linear").reshape(len(images), -1)
        x = jnp.concatenate([jnp.tanh(3 * x[:, ::2]), x[:, 1::2]], axis=1)
        out = {key: jnp.matmul(x, params[key], precision="highest") for key in wanted}
        return {k: jax.nn.softmax(3 * v) if k.startswith("probs") else v for k, v in out.items()}

    return FeatureNet(name, outputs, params, apply, f"{name}-{seed}", "made up")


def nets(chosen) -> dict[str, FeatureNet]:
    return {c.net: net(c.net) for c in chosen if c.net}


def map_latents(variables, inputs, cond, *, train=False):
    z = inputs["z"] * variables["params"]["scale"]
    z = z + jnp.pad(cond, ((0, 0), (0, z.shape[1] - cond.shape[1])))
    return jnp.stack([z, 0.3 * z], axis=1)


def truncated(variables, z, cond, psi):
    """Map latents to styles, and pull these towards variables['w_avg']."""
    ws = map_latents(variables, {"z": z}, cond)
    return variables["w_avg"] + (ws - variables["w_avg"]) * psi


def synthesize(variables, ws, inputs, *, noise="const", key=None, train=False, batch=None):
    h, w, _ = SHAPE
    x, y = (np.arange(w) + 0.5 - w / 2) / h, (np.arange(h) + 0.5 - h / 2) / h
    points = np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones((h, w))], axis=-1).astype(np.float32)
    transform = jnp.broadcast_to(variables["buffers"]["transform"], (len(ws), 3, 3))
    at = jnp.einsum("hwj,nij->nhwi", points, transform, precision="highest")[..., :2]
    turns = jnp.einsum("nhwi,nci->nhwc", at, ws[:, 0].reshape(-1, 3, 2), precision="highest")
    image = 0.9 * jnp.sin(2 * jnp.pi * (turns + ws[:, 1, None, None, :3]))
    if noise == "random":
        image = image + 0.05 * jax.vmap(lambda k: jax.random.normal(k, (h, w, 1)))(key)
    return {"image": image}, {}


def with_transform(variables, transform):
    return models.merge(variables, {"buffers": {"transform": jnp.asarray(transform)}})


def gan(label_dim: int = 0, moves: bool = True) -> models.Gan:
    spec = make_spec(SHAPE, 6, 2, 6, label_dim)
    moving = with_transform if moves else None
    return models.Gan(spec, NONE, NONE, draw_z(spec), map_latents, synthesize, NONE, with_transform=moving)


def config(label_dim: int = 0, arch: str = "stylegan3"):
    tree = common.get_config().model.to_dict() | {"resolution": 16, "label_dim": label_dim, "arch": arch}
    return model_from_dict(tree)


VARIABLES = {
    "params": {"scale": np.full(6, 0.8, np.float32)},
    "buffers": {"transform": np.eye(3, dtype=np.float32)},
}


def model(label_dim: int = 0, moves: bool = True) -> LoadedModel:
    of = config(label_dim, "stylegan3" if moves else "stylegan2")
    return LoadedModel(of, gan(label_dim, moves), VARIABLES, np.zeros(6, np.float32), None, None, {"toy": True})


def pixels(count: int, seed: int = 0, shape=SHAPE) -> np.ndarray:
    """Return smooth random images uint8[count, h, w, c]."""
    small = np.random.default_rng(seed).uniform(0, 255, (count, 4, 4, shape[2])).astype(np.float32)
    return np.asarray(jax.image.resize(small, (count, *shape), "linear")).clip(0, 255).astype(np.uint8)
