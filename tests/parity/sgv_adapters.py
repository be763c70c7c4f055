"""Family 'video': StyleGAN-V's motion, networks, augmentation of clips and training steps."""

from __future__ import annotations

import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax import models
from stylegan_jax.base.trees import flatten
from stylegan_jax.config import ClipRule, ModelConfig, model_from_dict
from stylegan_jax.config.clips import distances
from stylegan_jax.data import clips as clip_rules
from stylegan_jax.losses import regularizers
from stylegan_jax.models.stylegan_v.discriminator import Gaps
from stylegan_jax.models.stylegan_v.motion import Motion, Trajectory, locate, waves

from .layout import nchw, nhwc, part, probe
from .model_adapters import BASE
from .official import check_fixed, table, to_official, to_ours

V = {"arch": "stylegan_v", "use_noise": False}


def sampling_keys(cfg: dict) -> dict:
    """Return the keys of a case's sampling: of the networks, only the frames and the longest video matter."""
    own = {"frames": cfg["num_frames_per_video"], "max_num_frames": cfg["max_num_frames"], "sampling": cfg["type"]}
    return own | {"max_dist": min(cfg.get("max_dist", 32), cfg["max_num_frames"] - 1)}


def motion_keys(cfg: dict) -> dict:
    """Return the keys of the motion and time of a generator's `cfg`."""
    motion, time = cfg["motion"], cfg["time_enc"]
    assert motion["gen_strategy"] == "conv" and motion["fourier"] and not cfg["use_noise"]
    return sampling_keys(cfg["sampling"]) | {
        "cond_type": time["cond_type"],
        "time_dim": time["dim"],
        "min_period": time["min_period_len"],
        "max_period": time["max_period_len"],
        "motion_z_dim": motion["z_dim"],
        "motion_v_dim": motion["v_dim"],
        "motion_distance": motion["motion_z_distance"],
        "motion_kernel": motion["kernel_size"],
        "fractional_starts": motion["use_fractional_t"],
    }


def canvas_keys(c: dict) -> dict:
    return {"resolution": c["img_resolution"], "img_channels": c["img_channels"], "label_dim": c["c_dim"]}


def generator_config(c: dict, frames: dict | None = None) -> ModelConfig:
    """Return the model of a generator's arguments; of what belongs to the discriminator, something that fits."""
    cfg, own = c["cfg"], motion_keys(c["cfg"]) | (frames or {"frames": 1})
    tree = canvas_keys(c) | c["synthesis_kwargs"] | {"z_dim": cfg["z_dim"], "w_dim": c["w_dim"]}
    tree["mapping_layers"] = c["mapping_kwargs"]["num_layers"]
    return model_from_dict(BASE | V | tree | {"stylegan_v": BASE["stylegan_v"] | own})


def discriminator_config(c: dict) -> ModelConfig:
    cfg = c["cfg"]
    own = sampling_keys(cfg["sampling"]) | {"concat_res": cfg["concat_res"], "dummy_cond": cfg["dummy_c"]}
    own |= {"frames_divisor": cfg["num_frames_div_factor"]}
    tree = canvas_keys(c) | {key: c[key] for key in ("channel_base", "channel_max")}
    tree |= {"d_mapping_layers": c["mapping_kwargs"]["num_layers"], "cmap_dim": c.get("cmap_dim", 0)}
    tree["mbstd_group"] = c["epilogue_kwargs"]["mbstd_group_size"]
    return model_from_dict(BASE | V | tree | {"stylegan_v": BASE["stylegan_v"] | own})


def frames(image):
    """Return clips [n, t, h, w, c] as official rows [n*t, c, h, w]."""
    return nchw(image.reshape(-1, *image.shape[2:]))


def clips(image, n: int):
    """Return official rows as clips of n videos."""
    image = nhwc(image)
    return image.reshape(n, -1, *image.shape[1:])


def motion(meta, arrays, constants):
    cfg = meta["config"]
    own = BASE["stylegan_v"] | motion_keys(cfg) | {"frames": 1}
    tree = {"z_dim": cfg["z_dim"], "w_dim": cfg["w_dim"], "label_dim": cfg["c_dim"]}
    config = model_from_dict(BASE | V | tree | {"stylegan_v": own})
    state = {f"synthesis.motion_encoder.{k}": v for k, v in part(arrays).items()}
    inside = {k: v for k, v in table(config, "g").items() if k.startswith("synthesis.motion_encoder.")}
    assert set(inside) == set(state)
    variables: dict = {}
    for name, entry in inside.items():
        place = variables
        for key in (entry.where[0], *entry.where[2:-1]):
            place = place.setdefault(key, {})
        place[entry.where[-1]] = entry.layout.to_ours(state[name])
    label = arrays["in/c"] if cfg["c_dim"] else None
    times, noise = arrays["in/t"], arrays["in/motion_z"]

    def codes(params, noise):
        v = Motion(config).apply(variables | {"params": params}, noise, label, times)
        v = v.reshape(-1, v.shape[-1])
        return jnp.sum(v * probe(v.shape, v.dtype)), v

    (_, v), (grads, by_noise) = jax.value_and_grad(codes, (0, 1), has_aux=True)(variables["params"], noise)
    place = locate(times, config.stylegan_v.motion_distance)
    params = {"params": variables["params"]["trajectory"]}
    left, right = Trajectory(config).apply(params, noise, label, place.index)
    alpha = place.alpha[..., None]
    out = {"out/motion_u_left": left, "out/motion_u_right": right, "out/interp_weights": alpha}
    out |= {"out/t_left": place.left, "out/t_right": place.left + config.stylegan_v.motion_distance}
    out |= {"out/motion_u": (left * (1 - alpha) + right * alpha).reshape(-1, left.shape[-1]), "out/motion_v": v}
    out |= {f"out/{k}": x[None] for k, x in zip(("freqs", "phase_scales"), waves(config), strict=True)}
    flat = flatten({"params": {"motion": grads}})
    prefix = "synthesis.motion_encoder."
    back = {k.removeprefix(prefix): e for k, e in inside.items() if e.where[0] == "params"}
    out |= {f"grad/{k}": e.layout.to_official(flat["/".join(e.where)]) for k, e in back.items()}
    return out | {"grad/motion_z": by_noise}


def generator(meta, arrays, constants):
    config = generator_config(meta["config"])
    gan, state = models.build(config), part(arrays)
    g = to_ours(config, "g", state)
    check_fixed(config, "g", part(constants))
    label = {"label": arrays["in/c"]} if config.label_dim else {}
    inputs = {"motion": arrays["in/motion_z"], "times": arrays["in/t"]} | label
    image = lambda g, ws, inputs: frames(gan.synthesize(g, ws, inputs)[0]["image"])
    ws = gan.map_latents(g, {"z": arrays["in/z"]}, arrays["in/c"])
    psi, cutoff = re.search(r"truncation_psi (\S+) truncation_cutoff (\w+)", meta["how_computed"]).groups()
    centre = jnp.broadcast_to(state["mapping.w_avg"], (len(ws), ws.shape[2]))
    pulled = models.truncate(ws, centre, float(psi), None if cutoff == "None" else int(cutoff))
    out = {"out/ws": ws, "out/img": image(g, ws, inputs), "out/img_trunc": image(g, pulled, inputs)}
    if "in/ws2" not in arrays:
        return out
    other = arrays["in/ws2"]

    def weighed(params, ws, motion, times):
        x = image(g | {"params": params}, ws, inputs | {"motion": motion, "times": times})
        return jnp.sum(x * probe(x.shape, x.dtype)), x

    grads, out["out/img_wplus"] = jax.grad(weighed, (0, 1, 2, 3), has_aux=True)(
        g["params"], other, inputs["motion"], inputs["times"]
    )
    out["out/motion_v"] = _codes(config, g, inputs)
    out |= dict(zip(("grad/ws2", "grad/motion_z", "grad/t"), grads[1:], strict=True))
    return out | {f"grad/{k}": v for k, v in to_official(config, "g", grads[0]).items()}


def _codes(config: ModelConfig, g: dict, inputs: dict) -> Any:
    variables = {kind: tree["motion"] for kind, tree in g.items()}
    v = Motion(config).apply(variables, inputs["motion"], inputs.get("label"), inputs["times"])
    return v.reshape(-1, v.shape[-1])


def discriminator(meta, arrays, constants):
    config = discriminator_config(meta["config"])
    gan, d = models.build(config), to_ours(config, "d", part(arrays))
    check_fixed(config, "d", part(constants))
    times, cond = arrays["in/t"], arrays["in/c"]
    image, gamma = clips(arrays["in/img"], len(times)), meta.get("r1_gamma", 1.0)

    def logits(params, image):
        return gan.discriminate({"params": params}, {}, {"image": image, "times": times}, cond)[0]

    def weighed(params):
        x = logits(params, image)[:, 0]
        return jnp.sum(x * probe(x.shape, x.dtype)), x

    def penalty(params):
        squared, _, _ = regularizers.squared_norm(lambda x: (logits(params, x), {}), image)
        return (squared * (gamma / 2)).mean(), squared * (gamma / 2)

    (_, scores), grads = jax.value_and_grad(weighed, has_aux=True)(d["params"])
    (_, r1), r1_grads = jax.value_and_grad(penalty, has_aux=True)(d["params"])
    by_image = jax.grad(lambda x: logits(d["params"], x).sum())(image)
    out = {"out/logits": scores, "out/r1_loss": r1, "out/r1_grads": frames(by_image)}
    out["out/r1_penalty"] = jnp.square(by_image).sum(axis=(2, 3, 4)).reshape(-1)
    if "gaps" in d["params"]:
        out["out/time_embedding"] = Gaps(config).apply({"params": d["params"]["gaps"]}, times)
    out |= {f"grad/{k}": v for k, v in to_official(config, "d", grads).items()}
    return out | {f"grad/r1/{k}": v for k, v in to_official(config, "d", r1_grads).items()}


def rule_of(case: dict) -> ClipRule:
    """Return the rule of a case of frame sampling; its kind 'reals' is 'random' in a window."""
    kind = "uniform" if case["kind"] == "uniform" else "random"
    most = case.get("max_num_frames", 1 << 20)
    return ClipRule(
        case["num_frames"], most, kind, case.get("max_dist", most), tuple(case.get("total_dists", ())), True
    )


def frame_sampling(meta, arrays, constants):
    out = {}
    for i, case in enumerate(meta["subcases"]):
        rows, length = np.asarray(constants[f"in/{i}/u"], np.float64), case["video_len"]
        if case["kind"] == "clip":
            found = [clip_rules.consecutive(length, case["num_frames"], case["every"], u[0]) for u in rows]
            out |= {f"out/{i}/times": np.stack(found), f"out/{i}/frames": np.stack(found)}
            continue
        rule, inner = rule_of(case), constants.get(f"in/{i}/inner")
        rows = rows if inner is None else np.concatenate([rows, np.asarray(inner, np.float64)], axis=1)
        if case["kind"] == "reals":
            if length <= rule.max_num_frames:  # no window is drawn
                rows = np.concatenate([np.zeros((len(rows), 1)), rows], axis=1)
            found = [clip_rules.real_clip(rule, length, u) for u in rows]
            out |= {
                f"out/{i}/frames": np.stack([x for x, _ in found]),
                f"out/{i}/times": np.stack([t for _, t in found]),
            }
            continue
        fractional = case.get("fractional", False)
        out[f"out/{i}/times"] = np.stack(
            [clip_rules.clip_times(rule, length, u, is_fractional=fractional) for u in rows]
        )
        if f"out/{i}/total_prob" in meta["arrays"]:
            out |= {f"out/{i}/{name}_prob": x for name, x in probabilities(rule, length).items()}
    return out


def probabilities(rule: ClipRule, length: int) -> dict[str, np.ndarray]:
    """Return the chances of distances, first frames and frames, by trying every outcome of every draw."""
    total, first, frame = (np.zeros(length) for _ in range(3))
    known, middle = distances(rule, length), lambda n: [(k + 0.5) / n for k in range(n)]
    for u0, distance in zip(middle(len(known)), known, strict=True):
        total[distance] += 1 / len(known)
        counts = [length - distance, *(distance - 1 - k for k in range(rule.frames - 2))]
        for us in itertools.product(*map(middle, counts)):
            times = clip_rules.clip_times(rule, length, np.array([u0, *us])).astype(int)
            share = 1 / len(known) / np.prod(counts)
            first[times[0]] += share
            frame[times] += share
    return {"total": total, "first": first, "frame": frame}


ADAPTERS = {
    "video/stylegan-v frame sampling": frame_sampling,
    "video/stylegan-v motion mapping and aligned time encoder": motion,
    "video/stylegan-v generator": generator,
    "video/stylegan-v video discriminator": discriminator,
}
