"""Three models small enough that their programs compile in a second, with the parameter names of the real ones.

`PLAIN` has what couples the images of a batch (minibatch stddev in groups of 4) and what tells them apart (noise).
`PROJECTED` has what a projected discriminator needs: a frozen network, several heads with spectral and batch
normalisation, draws of its own, labels, one mean style per class, and guidance by a frozen classifier. `CLIPS` are
videos: frames with times, motion codes, and a discriminator of the gaps between frames.

`JUDGED` is the generator of `PROJECTED` with the projected discriminator of `models.projected`, on `TINY`, a frozen
network of four products.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict

from configs import tiny
from stylegan_jax import models
from stylegan_jax.base import rng
from stylegan_jax.base.spec import Batch
from stylegan_jax.config import ExperimentConfig, from_dict, levels
from stylegan_jax.features.backbones import Backbone
from stylegan_jax.models import projected
from stylegan_jax.models.gan import GanSpec, centre_per_class, draw_z, make_spec, move_centre_per_class
from stylegan_jax.ops.norm import minibatch_std
from stylegan_jax.runtime import mesh as sharding
from stylegan_jax.train import programs, terms
from stylegan_jax.train.gan.task import make_task
from stylegan_jax.train.task import Frozen, Task

KEY = rng.root(3)
SHAPE = (8, 8, 3)
GROUPS = {
    "freeze_d": ("b8/fromrgb", "b8/conv0"),
    "mapping": ("mapping",),
    "embed": ("mapping/embed",),
    "no_penalty": ("b4/out/bias",),
}
SPEC = make_spec(SHAPE, 16, 2, 16, groups=GROUPS)


def _normal(key, *shape):
    return jax.random.normal(key, shape) / math.sqrt(shape[0])


def _init_g(key, width: int, pixels: int) -> Any:
    a, b = jax.random.split(key)
    mapping = {"fc0": {"weight": _normal(a, width, 16)}}
    return {"params": {"mapping": mapping, "synthesis": {"b8": {"weight": _normal(b, 16, pixels)}}}, "buffers": {}}


def _image(g, styles, noise, key, shape):
    if noise == "random":
        styles = styles + 0.3 * jax.vmap(lambda k: jax.random.normal(k, (16,)))(key)
    return jnp.tanh(styles @ g["params"]["synthesis"]["b8"]["weight"]).reshape(-1, *shape)


# The plain one


def init_g(key, frozen=()):
    return _init_g(key, 16, 192)


def init_d(key, frozen=()):
    a, b = jax.random.split(key)
    block = {"fromrgb": {"weight": _normal(a, 192, 4)}, "conv0": {"weight": _normal(b, 5, 1)}}
    return {"params": {"b8": block, "b4": {"out": {"bias": jnp.zeros(1)}}}}


def map_latents(g, inputs, cond, *, train=False):
    w = jnp.tanh(inputs["z"] @ g["params"]["mapping"]["fc0"]["weight"])
    return jnp.broadcast_to(w[:, None], (w.shape[0], 2, 16))


def synthesize(g, ws, inputs, *, noise="const", key=None, train=False, batch=None):
    return {"image": _image(g, ws.mean(axis=1), noise, key, SHAPE)}, {}


def discriminate(d, frozen, sample, cond, *, key=None, train=False):
    block, image = d["params"]["b8"], sample["image"]
    x = jnp.tanh(image.reshape(image.shape[0], -1) @ block["fromrgb"]["weight"])
    x = minibatch_std(x[:, None, None], 4)[:, 0, 0]
    return x @ block["conv0"]["weight"] + d["params"]["b4"]["out"]["bias"][None], {}


PLAIN = models.Gan(SPEC, init_g, init_d, draw_z(SPEC), map_latents, synthesize, discriminate)
GAN = PLAIN

# A projected discriminator

HEADS, CLASSES, BN_GROUP, MOMENTUM = 3, 2, 4, 0.1


def load_backbone() -> Frozen:
    """Return a random network: two feature maps, and the logits of a classifier."""
    draw = np.random.default_rng(5)
    make = lambda *shape: (draw.standard_normal(shape) / math.sqrt(shape[0])).astype(np.float32)
    return Frozen({"first": make(192, 8), "second": make(8, 6), "classes": make(6, CLASSES)}, "0123")


def features(net, image):
    first = jnp.tanh(image.reshape(image.shape[0], -1) @ net["first"])
    return first, jnp.tanh(first @ net["second"])


def projected_init_g(key, frozen):
    g = _init_g(key, 16 + CLASSES, 192)  # an embedding of pretrained weights is a constant of the tree
    return g | {"buffers": {"embedding": frozen["backbone"]["classes"]}}


def projected_init_d(key, frozen):
    sizes = (8, 6, 6)
    keys = jax.random.split(key, 2 * HEADS)
    params = {
        f"head{i}": {"weight": _normal(keys[i], n, 4), "out": _normal(keys[-1 - i], 4, 1)} for i, n in enumerate(sizes)
    }
    params |= {"b4": {"out": {"bias": jnp.zeros(HEADS)}}}
    state = {"mean": jnp.zeros(4), "var": jnp.ones(4), "u": jnp.full(4, 0.5)}
    projection = {"project": _normal(keys[0], 6, 6)}
    return {"params": params, "batch_stats": {f"head{i}": dict(state) for i in range(HEADS)}, "buffers": projection}


def projected_map(g, inputs, cond, *, train=False):
    x = jnp.concatenate([inputs["z"], cond], axis=1)
    w = jnp.tanh(x @ g["params"]["mapping"]["fc0"]["weight"])
    return jnp.broadcast_to(w[:, None], (w.shape[0], 2, 16))


def _spectral(weight, u, train):
    v = weight @ u
    v = v / jnp.sqrt(jnp.sum(v * v) + 1e-12)
    new = weight.T @ v
    new = new / jnp.sqrt(jnp.sum(new * new) + 1e-12)
    sigma = v @ weight @ jax.lax.stop_gradient(new)
    return weight / sigma, jax.lax.stop_gradient(new if train else u)


def _batch_norm(x, stats, train):
    """Normalise by the statistics of groups of rows n / group apart, whole in every micro-batch and on every device."""
    if not train:
        return (x - stats["mean"][None]) * jax.lax.rsqrt(stats["var"] + 1e-5)[None], stats
    groups = x.reshape(BN_GROUP, -1, x.shape[1])
    mean, var = groups.mean(axis=0), groups.var(axis=0)
    y = (groups - mean[None]) * jax.lax.rsqrt(var + 1e-5)[None]
    move = lambda old, new: old + MOMENTUM * (jax.lax.stop_gradient(new).mean(axis=0) - old)
    return y.reshape(x.shape), {"mean": move(stats["mean"], mean), "var": move(stats["var"], var)}


def projected_discriminate(d, frozen, sample, cond, *, key=None, train=False):
    image = sample["image"]
    if key is not None:  # differentiable augmentation, one draw per image
        image = image + 0.1 * jax.vmap(lambda k: jax.random.normal(k, SHAPE))(key)
    first, second = features(frozen["backbone"], image)
    third = jnp.tanh(second @ d["buffers"]["project"])
    logits, moved = [], {}
    for i, x in enumerate((first, second, third)):
        head, stats = d["params"][f"head{i}"], d["batch_stats"][f"head{i}"]
        weight, u = _spectral(head["weight"], stats["u"], train)
        y, new = _batch_norm(x @ weight, stats, train)
        moved[f"head{i}"] = {"mean": new["mean"], "var": new["var"], "u": u}
        logits.append(jax.nn.leaky_relu(y, 0.2) @ head["out"] + cond[:, i % CLASSES, None])
    out = jnp.concatenate(logits, axis=1) + d["params"]["b4"]["out"]["bias"][None]
    return out, {"batch_stats": moved} if train else {}


def guide(frozen, sample, cond):
    net = frozen["backbone"]
    scores = jax.nn.log_softmax(features(net, sample["image"])[1] @ net["classes"])
    return -0.5 * jnp.sum(scores * cond, axis=1)


PROJECTED_SPEC = make_spec(
    SHAPE,
    16,
    2,
    16,
    CLASSES,
    heads=HEADS,
    w_avg=(CLASSES, 16),
    frozen=("backbone",),
    is_d_random=True,
    groups={"freeze_d": ("head0",), "mapping": ("mapping",), "embed": (), "no_penalty": ("b4/out/bias",)},
)
PROJECTED = models.Gan(
    PROJECTED_SPEC,
    projected_init_g,
    projected_init_d,
    draw_z(PROJECTED_SPEC),
    projected_map,
    synthesize,
    projected_discriminate,
    centre=centre_per_class,
    move_centre=move_centre_per_class,
    guide=guide,
)

# Clips

FRAMES = 3
CLIPS_SPEC = GanSpec(
    sample=FrozenDict({"image": (FRAMES, *SHAPE), "times": (FRAMES,)}),
    inputs=FrozenDict({"z": (16,), "motion": (4,), "times": (FRAMES,)}),
    num_ws=2,
    w_dim=16,
    label_dim=0,
    heads=2,
    w_avg=(16,),
    groups=FrozenDict(GROUPS),
)


def clips_inputs(key, n, cond):
    z, motion, times = jax.random.split(key, 3)
    each = rng.per_example(times, jnp.arange(n))
    drawn = jax.vmap(lambda k: jnp.sort(jax.random.uniform(k, (FRAMES,)) * 16))(each)
    return {"z": rng.normal(z, (n, 16)), "motion": rng.normal(motion, (n, 4)), "times": drawn}


def clips_draw_at(key, times, cond):
    return {"motion": rng.normal(jax.random.split(key, 3)[1], (len(times), 4)), "times": times}


def clips_init_g(key, frozen=()):
    a, b = jax.random.split(key)
    g = _init_g(a, 16, 192)
    g["params"]["synthesis"]["motion"] = {"weight": _normal(b, 4, 16)}
    return g


def clips_init_d(key, frozen=()):
    a, b = jax.random.split(key)
    block = {"fromrgb": {"weight": _normal(a, 192, 4)}, "conv0": {"weight": _normal(b, 4 * FRAMES + FRAMES - 1, 2)}}
    return {"params": {"b8": block, "b4": {"out": {"bias": jnp.zeros(2)}}}}


def clips_synthesize(g, ws, inputs, *, noise="const", key=None, train=False, batch=None):
    times, motion = inputs["times"], inputs["motion"] @ g["params"]["synthesis"]["motion"]["weight"]
    n, t = times.shape
    styles = ws.mean(axis=1)[:, None] + jnp.sin(0.4 * times)[..., None] * motion[:, None]
    keys = None if key is None else jnp.repeat(key, t, axis=0)  # a clip's frames share their noise
    image = _image(g, styles.reshape(n * t, 16), noise, keys, SHAPE)
    return {"image": image.reshape(n, t, *SHAPE), "times": times}, {}


def clips_discriminate(d, frozen, sample, cond, *, key=None, train=False):
    block, image = d["params"]["b8"], sample["image"]
    n, t = image.shape[:2]
    x = jnp.tanh(image.reshape(n * t, -1) @ block["fromrgb"]["weight"]).reshape(n, -1)
    gaps = jnp.diff(sample["times"], axis=1) / 16
    x = jnp.concatenate([x, gaps], axis=1) @ block["conv0"]["weight"]
    return x + d["params"]["b4"]["out"]["bias"][None], {}


CLIPS = models.Gan(
    CLIPS_SPEC,
    clips_init_g,
    clips_init_d,
    clips_inputs,
    map_latents,
    clips_synthesize,
    clips_discriminate,
    draw_at=clips_draw_at,
)
# The projected discriminator itself

CHANNELS = (4, 5, 6, 7)


def tiny_stages(params, x):
    maps = []
    for k, shrink in enumerate((4, 2, 2, 2)):
        n, h, w, c = x.shape
        x = x.reshape(n, h // shrink, shrink, w // shrink, shrink, c).mean(axis=(2, 4))
        x = jnp.tanh(x @ params[f"mix{k}"])
        maps.append(x)
    return maps


def tiny_classify(params, x):
    return tiny_stages(params, x)[3].mean(axis=(1, 2)) @ params["classes"]


def load_tiny(seed: int = 7) -> Frozen:
    draw = np.random.default_rng(seed)
    make = lambda i, o: (2 * draw.standard_normal((i, o)) / math.sqrt(i)).astype(np.float32)
    tree = {f"mix{k}": make(*pair) for k, pair in enumerate(itertools.pairwise((3, *CHANNELS)))}
    return Frozen(tree | {"classes": make(CHANNELS[-1], 3)}, f"tiny{seed}")


TINY = Backbone(tiny_stages, tiny_classify, CHANNELS, classes=3)
JUDGED_KEYS = {
    "model__d_arch": "projected",
    "model__label_dim": CLASSES,
    "model__cmap_dim": 4,
    "model__projected__backbones": ("tiny",),
    "model__projected__input_size": 128,
    "model__projected__channels": 2,
    "model__projected__heads": 2,
    "model__projected__widths": (6, 6, 5, 4, 4, 4, 4, 4, 4),
    "model__projected__stats_group": 4,
    "model__projected__embed_rows": 3,
    "model__projected__embed_dim": 5,
    "loss__adversarial": "hinge",
    "loss__d_reg": "none",
    "loss__pl_weight": 0.0,
}
STEM_KEYS = JUDGED_KEYS | {
    "model__arch": "stylegan_xl",
    "model__stylegan3__num_layers": 3,
    "model__stylegan3__num_critical": 1,
    "model__stylegan3__margin_size": 2,
    "model__stylegan3__filter_size": 2,
    "model__stylegan_xl__embed_rows": 3,
    "model__stylegan_xl__embed_dim": 5,
    "model__projected__heads": 1,
    "model__projected__augment": "",
    "model__projected__projections": 1,
    "data__labels": "file",
    "data__synthetic_labels": CLASSES,
}
"""A stem of StyleGAN-XL with that discriminator."""
STAGE_KEYS = STEM_KEYS | {
    "model__resolution": 16,
    "model__stylegan_xl__up_factors": (2,),
    "model__stylegan_xl__head_layers": (3,),
    "train__freeze_g": "stem",
}
"""A stage on it; `train.init_from` is missing."""


def judged(**changes) -> models.Gan:
    """Return `JUDGED` with changes of `JUDGED_KEYS`."""
    return projected.compose(PROJECTED, make_config(**(JUDGED_KEYS | changes)).model, {"tiny": TINY})


TOYS = {"plain": PLAIN, "projected": PROJECTED, "clips": CLIPS}
LOADERS = {"backbone": load_backbone, "tiny": load_tiny}


def make_config(**changes: Any) -> ExperimentConfig:
    """Return the tiny recipe without labels, with changes by dotted name ('train__on_nan')."""
    tree = tiny.get_config()
    tree.model.label_dim = 0
    tree.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return from_dict(tree)


JUDGED = judged()


def make_loop_config(cache: str, **changes) -> ExperimentConfig:
    """Return a run of 64 steps with a report and a checkpoint every 8, and few programs to compile."""
    own = {"train__compilation_cache": cache, "train__num_devices": 1, "log__progress_bar": False}
    return make_config(**(own | {"loss__pl_weight": 0.0, "loss__d_reg": "none"} | changes))


def task_of(config: ExperimentConfig, layout: sharding.Layout, gan: models.Gan = PLAIN, **options: Any) -> Task:
    """Return the task of a toy; its frozen networks are at hand."""
    return make_task(config, layout, gan=gan, loaders=LOADERS, **options)


class Run:
    """Programs of a model, its state, and a way to take steps.

    Args:
        config: the experiment.
        gan: by default the plain toy.
        devices: how many.
        mesh: (data, fsdp, spatial); by default all of them split the batch.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        gan: models.Gan = PLAIN,
        devices: int = 1,
        mesh: tuple[int, int, int] | None = None,
    ):
        _, fsdp, spatial = mesh or (devices, 1, 1)
        self.config, self.gan = config, gan
        self.layout = sharding.make_layout(devices, fsdp=fsdp, spatial=spatial)
        self.task = task_of(config, self.layout, gan)
        self.plan = self.task.plan(levels(config)[-1])
        self.frozen = {name: self.layout.place(load().tree) for name, load in self.task.frozen.items()}
        self.programs = programs.jit_programs(programs.make_programs(self.task, config, self.layout), self.layout)

    def start(self):
        return programs.create_state(self.task, self.layout, KEY, self.frozen)

    def batch(self, index: int = 0) -> Batch:
        return jax.device_put(random_batch(self.plan.batch, index), self.layout.batch_shardings())

    def after(self, state, *names: str, index: int = 0):
        """Return the state on the host after programs; the given state, on the host, stays as it is."""
        state = jax.tree.map(np.copy, jax.device_get(state))
        state = jax.device_put(state, self.layout.state(state))
        for name in names:
            arguments = programs.arguments_of(name, state, self.frozen, self.batch(index), KEY)
            state = self.programs[name](*arguments)
        return jax.device_get(state)

    def means(self, state) -> dict[str, float]:
        """Return the reported means of a state on the host."""
        return terms.means(state.stats, self.task.terms)


def put(state, **entries: Any):
    """Return a state with other entries of its dicts: networks 'g' and 'd', or what else moves."""
    for name, value in entries.items():
        field = "nets" if name in state.nets else "moving"
        state = state.replace(**{field: getattr(state, field) | {name: value}})
    return state


def random_batch(shapes: Batch, index: int = 0) -> Batch:
    """Return a batch of these abstract shapes on the host: pixels, times in order, classes or one-hot labels."""
    draw = np.random.default_rng(index)

    def labels(like):
        if np.issubdtype(like.dtype, np.integer):
            return draw.integers(0, CLASSES, like.shape, dtype=np.int32)
        k = like.shape[-1]
        return np.eye(max(k, 1), dtype=np.float32)[draw.integers(0, max(k, 1), like.shape[:-1])][..., :k]

    def sample():
        image = shapes.sample["image"]
        made = {"image": draw.integers(0, 256, image.shape, dtype=np.uint8)}
        for name, like in shapes.sample.items():
            if name != "image":
                made[name] = np.sort(draw.uniform(0, 16, like.shape).astype(np.float32), axis=1)
        return made

    first, label, gen_label = sample(), labels(shapes.label), labels(shapes.gen_label)
    second = None if shapes.second is None else (sample(), labels(shapes.label))
    times = lambda like: np.sort(draw.uniform(0, 16, like.shape).astype(np.float32), axis=-1)
    given = shapes.given and {name: times(like) for name, like in shapes.given.items()}
    return Batch(first, label, gen_label, second, given)
