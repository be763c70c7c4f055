"""StyleGAN-XL's generator: the design of full-size stems and stages, mapping, truncation, images and gradients."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax import models
from stylegan_jax.config import ModelConfig, ProjectedConfig, check_model, model_from_dict
from stylegan_jax.config.arch.stylegan_xl import StyleGANXLConfig, make_plan, split_plan
from stylegan_jax.convert import backbones as frozen_networks
from stylegan_jax.convert.importer import net_table
from stylegan_jax.convert.projected import BACKBONES
from stylegan_jax.convert.tables import Slot
from stylegan_jax.features import FEATURES
from stylegan_jax.models.stylegan_xl import Generator
from stylegan_jax.sampling import drawing
from stylegan_jax.train.gan.transfer import take

from . import stylegan3_adapters
from .layout import nchw, probe, variables_of
from .model_adapters import BASE, label_of, state_of
from .stylegan3_adapters import check_layers, designed, layers_seen


def model_config(stem: dict, stages: Any = (), **changes) -> ModelConfig:
    """Return our configuration of a stem's official constructor arguments and the stages on it."""
    rest = {k: v for k, v in stem.items() if k not in ("embedding", "mapping_layers", "stages")}
    plain = stylegan3_adapters.model_config({"z_dim": 64} | rest)
    rows, size = stem.get("embedding", (1000, 320))
    up_factors = tuple(stage["up_factor"] for stage in stages)
    own = StyleGANXLConfig(up_factors, tuple(stage["head_layers"] for stage in stages), rows, size)
    model = dataclasses.replace(
        plain,
        arch="stylegan_xl",
        resolution=plain.resolution * math.prod(up_factors),
        mapping_layers=stem.get("mapping_layers", 2),
        stylegan_xl=own,
        **changes,
    )
    check_model(model)
    return model


def to_ours(state: dict) -> dict:
    """Build linen variables from official names: the table of embeddings is stored as it is, its layer below it."""
    named = {k.replace("embed_proj.", "embed.proj."): x for k, x in state.items()}
    return variables_of({k: x.T if k == "mapping.embed.weight" else x for k, x in named.items()})


def to_official(params: dict, plan) -> dict:
    """Flatten a tree of parameters or gradients to official names and layouts; the inverse of `to_ours`."""
    flat = stylegan3_adapters.to_official(params, plan)
    flat = {k.replace("embed.proj.", "embed_proj."): x for k, x in flat.items()}
    return {k: x.T if k == "mapping.embed.weight" else x for k, x in flat.items()}


def design(meta, arrays, constants):
    out = {}
    for i, sub in enumerate(meta["subcases"]):
        plan = make_plan(model_config(sub["config"], sub["config"]["stages"], num_lowp_res=4))
        assert sub["num_ws"] == len(plan.layers) + 1
        out |= {f"out/cfg{i}/{k}": f for k, f in designed(plan, sub, lambda p: p.official_name).items()}
    return out


def check_stages(meta: dict, config: ModelConfig, gan: models.Gan) -> None:
    """Compare which layers are new, and what trains in a stage."""
    below, new = split_plan(config)
    assert [p.official_name for p in new] == meta["head_layer_names"]
    assert {name.split(".")[1] for name in meta["from_stem"] if ".L" in name} == {p.official_name for p in below}
    trained = {name.split(".")[1] for name in meta["trainable_in_training"]}
    assert trained == {p.official_name for p in new} | {"input"}
    groups = gan.spec.groups
    assert groups["stem"] == ("mapping", *(f"synthesis/L{p.index}" for p in below))
    assert groups["head"] + groups["input"] == (*(f"synthesis/L{p.index}" for p in new), "synthesis/input")


def generator(meta, arrays, constants):
    official = meta["config"]
    config = model_config(official.get("stem", official), official.get("stages", ()))
    plan, gan, state = make_plan(config), models.build(config), state_of(arrays)
    state = {k: x for k, x in state.items() if not k.startswith("stem/")}
    assert gan.spec.num_ws == meta["num_ws"]
    check_layers(plan, meta["layer_design"], state_of(constants))
    if "head_layer_names" in meta:
        check_stages(meta, config, gan)
    variables, z = to_ours(state), arrays["in/z"]
    cond, w_avg = label_of(arrays, "in/c", len(z)), state["mapping.w_avg"]
    cut = meta["truncation"]

    mapping = variables["params"]["mapping"]
    mapped = lambda mapping: gan.map_latents({"params": {"mapping": mapping}}, {"z": z}, cond)
    ws, pull = jax.vjp(mapped, mapping)
    by_mapping = {"mapping": pull(probe(ws.shape, ws.dtype))[0]}
    out = {"out/ws": ws} | {f"grad/{k}": x for k, x in to_official(by_mapping, plan).items()}
    truncated = models.truncate(ws, gan.centre(w_avg, cond), cut["psi"], cut["cutoff"])
    out["out/ws_trunc"] = truncated
    out["out/state_after_update/mapping.w_avg"] = gan.move_centre(w_avg, ws[:, 0], cond, 0.998)

    def image(synthesis, ws):
        params = {"params": variables["params"] | {"synthesis": synthesis}}
        shown, seen = Generator(config).apply(variables | params, ws, method="synthesize", mutable=["intermediates"])
        return nchw(shown), {k: nchw(x[0]) for k, x in seen["intermediates"]["synthesis"].items()}

    # One batch for both: a synthesis less to compile.
    styles = jnp.concatenate([ws, truncated])
    images, pull, seen = jax.vjp(image, variables["params"]["synthesis"], styles, has_aux=True)
    out["out/img"], out["out/img_trunc"] = jnp.split(images, 2)
    seen = {k: x[: len(z)] for k, x in seen.items()}
    out |= {"out/input_features": seen["features"]} | layers_seen(plan, seen)
    shown = out["out/img"]
    by_params, by_ws = pull(jnp.zeros_like(images).at[: len(z)].set(probe(shown.shape, shown.dtype)))
    out["grad/ws"] = by_ws[: len(z)]
    sample, moved = gan.synthesize(variables, ws, {}, train=True)
    assert not moved and sample["image"].shape == (len(z), *config.image_shape)
    return out | {f"grad/{k}": x for k, x in to_official({"synthesis": by_params}, plan).items()}


def mapping(meta, arrays, constants):
    """The oldest case: the mapping network alone, with a table of as many rows as classes."""
    c, state = meta["config"], {f"mapping.{k}": x for k, x in state_of(arrays).items()}
    rows, size = state["mapping.embed.weight"].shape
    stem = {"img_resolution": 16, "num_layers": 4, "z_dim": c["z_dim"], "c_dim": c["c_dim"], "w_dim": c["w_dim"]}
    gan = models.build(model_config(stem | {"embedding": (rows, size)}))
    w_avg, cond = state["mapping.w_avg"], arrays["in/c"]
    ws = gan.map_latents(to_ours(state), {"z": arrays["in/z"]}, cond)[:, : c["num_ws"]]
    return {
        "out/ws": ws,
        "out/ws_trunc": models.truncate(ws, gan.centre(w_avg, cond), 0.6, 2),
        "out/ws_trunc_all": models.truncate(ws, gan.centre(w_avg, cond), 0.3),
        "out/w_avg_after_update": gan.move_centre(w_avg, ws[:, 0], cond, 0.998),
    }


def truncation(meta, arrays, constants):
    """Latents and classes of a seed as NumPy draws them, and truncation towards what the subcase names."""
    out, gans = {}, {}
    for net, key in (("cond", "conditional"), ("uncond", "unconditional")):
        gans[net] = models.build(model_config(meta["config"][key])), state_of(arrays, f"state/{net}/")
    for sub in meta["subcases"]:
        (gan, state), name, n = gans[sub["net"]], sub["id"], sub["batch"]
        k, given = gan.spec.label_dim, constants[f"in/{name}/z"]
        drawn = np.random.RandomState(sub["seed"]).randn(n, gan.spec.z_dim)
        np.testing.assert_allclose(given, drawn, rtol=1e-6)
        cond = jnp.zeros((n, 0))
        if k:
            classes = constants[f"in/{name}/class"]
            drawn = np.random.RandomState(sub["seed"]).randint(0, k, n) if sub["class"] is None else sub["class"]
            assert (classes == drawn).all()
            cond = jnp.eye(k)[classes]
        variables, centroids = to_ours(state), arrays["in/centroids"] if sub["centroids"] else None
        z, w_avg = {"z": arrays[f"in/{name}/z"]}, state["mapping.w_avg"]
        out[f"out/{name}/ws"] = drawing.map_styles(gan, variables, w_avg, z, cond, sub["psi"], centroids=centroids)
        if centroids is not None:
            w = gan.map_latents(variables, z, cond)[:, 0]
            out[f"out/{name}/nearest"] = drawing.nearest(centroids, w)
    return out


def reload(meta, arrays, constants):
    """What a restart takes from the stem: trees as `train.reload_stem` joins them, and its mean styles."""
    config = model_config(meta["config"]["stem"], meta["config"]["stages"])
    plan, groups = make_plan(config), models.build(config).spec.groups
    own = {k: x for k, x in state_of(arrays).items() if not k.startswith("stem/")}
    stem = state_of(arrays, "state/stem/")
    ours, theirs, problems = to_ours(own), to_ours(stem), []
    after = {name: take(tree, theirs.get(name, {}), groups["stem"], problems) for name, tree in ours.items()}
    assert not problems
    flat = {k: x for tree in after.values() for k, x in to_official(tree, plan).items()}
    return {f"out/state_after_reload/{k}": x for k, x in (flat | {"mapping.w_avg": stem["mapping.w_avg"]}).items()}


def full_size(kind: str, c: dict) -> ModelConfig:
    """Return the model of a network at its published size."""
    if kind == "generator":
        return model_config(c, c["stages"])
    own = dataclasses.asdict(
        ProjectedConfig(tuple(BACKBONES[name] for name in c["backbones"]), projections=c["proj_type"])
    )
    label_dim = own["embed_rows"] if c["cond"] else 0
    return model_from_dict(BASE | {"resolution": 256, "d_arch": "projected", "projected": own, "label_dim": label_dim})


def state_tables(meta, arrays, constants):
    """Names, shapes and kinds of all that official files hold, as `convert` expects them, and what is counted."""
    counts = []
    for sub in meta["subcases"]:
        model, net = full_size(sub["kind"], sub["config"]), {"generator": "g", "discriminator": "d"}[sub["kind"]]
        table = net_table(dataclasses.asdict(model), net)
        trained = {k: e.shape for k, e in table.items() if isinstance(e, Slot) and e.where[0] == "params"}
        fixed = {k: e.shape for k, e in table.items() if net == "d" and isinstance(e, Slot) and e.where[0] == "buffers"}
        rest = {k: e.shape for k, e in table.items() if k not in trained | fixed}
        for name in sub["config"].get("backbones", ()):
            ours, names = BACKBONES[name], frozen_networks.official_names(BACKBONES[name])
            shapes = FEATURES[ours].shapes() | {"": ()}
            for inside, there in names.items():
                is_moving = inside.endswith(("running_mean", "running_var", "num_batches_tracked"))
                (rest if is_moving else fixed)[f"feature_networks.{name}.pretrained.{inside}"] = shapes[there]
        official = {part: {k: tuple(x) for k, x in sub[part].items()} for part in ("parameters", "buffers")}
        assert official == {"parameters": trained | fixed, "buffers": rest}
        size = lambda shapes: sum(map(math.prod, shapes.values()))
        assert sub.get("num_trained", size(trained)) == size(trained)
        counts.append(size(trained) + size(fixed))
    return {"out/num_parameters": np.array(counts)}


ADAPTERS = {
    "design/stylegan-xl state tables": state_tables,
    "generator/stylegan-xl super-resolution stem reload": reload,
    "mapping/stylegan-xl truncated sampling": truncation,
    "design/stylegan-xl layer design": design,
    "generator/stylegan-xl generator": generator,
    "generator/stylegan-xl super-resolution generator": generator,
    "mapping/stylegan-xl mapping network": mapping,
}
