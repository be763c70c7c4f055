"""Family 'elpips': transformations, draws and distances of E-LPIPS."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.features import elpips

from .layout import hwio, nchw, nhwc, probe


def drawn(fields, colours) -> elpips.Draw:
    """Return a transformation from the fields of a case."""
    return elpips.Draw(
        level=fields["level"],
        scale_offset=np.array(fields["scale_offset"]),
        offsets=np.array(fields["offsets"]),
        flips=np.array(fields["flips"]),
        transposed=bool(fields["transposed"]),
        permutations=np.array(fields["permutations"]),
        colours=colours,
    )


def transforms(meta, arrays, constants):
    out = {}
    for case in meta["subcases"]:
        named = {"level": "scale_level", "scale_offset": "scale_offset_y_x", "offsets": "offset_y_x", "flips": "flips"}
        named |= {"transposed": "swap_xy", "permutations": "permutations"}
        fields = {ours: case[theirs] for ours, theirs in named.items()}
        crop = case["fast_and_approximate"]

        def run(x, colours, fields=fields, crop=crop):
            return nchw(elpips.transform(nhwc(x), drawn(fields, colours), crop))

        given = arrays[case["x"]], arrays[case["color_factors"]]
        out[case["out"]], pull = jax.vjp(run, *given)
        gradients = pull(probe(out[case["out"]].shape, given[0].dtype))
        out[case["grad"]] = gradients[0]
        out[case["grad"].replace("/x", "/color_factors")] = gradients[1]
    return out


def draws(meta, arrays, constants):
    out = {}
    for case in meta["subcases"]:
        i, n, levels = case["id"], case["batch"], case["num_scales"]
        given = {k.removeprefix(f"in/{i}/"): v for k, v in constants.items() if k.startswith(f"in/{i}/")}
        out[f"out/{i}/scale_level"] = elpips.level_of(given["u_level"], levels)
        out[f"out/{i}/color_factors"] = elpips.spread_colours(given["u_color"], given["color_order"])
        out[f"out/{i}/flips"] = elpips.spread(np.arange(4), n, given["flip_order"])
        out[f"out/{i}/permutations"] = elpips.spread(elpips.PERMUTATIONS, n, given["permutation_order"])
        out[f"out/{i}/scale_probabilities"] = elpips.level_probabilities(levels)
    return out


def params_of(arrays):
    """Return parameters from a case's arrays, whose widths are not VGG16's."""
    out = {}
    for name, x in arrays.items():
        name = name.removeprefix("state/")
        if name.startswith("lin"):
            out[name.partition(".")[0]] = {"weight": x.reshape(-1)}
        elif name.endswith(".weight"):
            index = name.removesuffix(".weight")
            out[f"features.{index}"] = {"kernel": hwio(x), "bias": arrays[f"state/{index}.bias"]}
    return out


def network(meta, arrays, constants):
    params = params_of({k: v for k, v in arrays.items() if k.startswith("state/")})
    keep = [nhwc(arrays[f"in/keep/{k}"]) for k in range(13) if f"in/keep/{k}" in arrays]
    run = lambda image: elpips.distance(params, image, nhwc(arrays["in/reference"]), keep)
    value, pull = jax.vjp(run, nhwc(arrays["in/image"]))
    return {"out/distance": value, "grad/image": nchw(pull(jnp.ones_like(value))[0])}


def metric(meta, arrays, constants):
    params = params_of({k: v for k, v in arrays.items() if k.startswith("state/")})
    images = {key: nhwc(arrays[f"in/{key}"]) for key in ("image", "image2", "reference")}
    named = {"level": "level", "scale_offset": "soff", "offsets": "off", "flips": "flips", "transposed": "swap"}
    named |= {"permutations": "perm"}
    sums = {"image": 0.0, "image2": 0.0}
    for k, case in enumerate(meta["config"]["draws"]):
        fields = {ours: case[theirs] for ours, theirs in named.items()}
        moved = {key: elpips.transform(x, drawn(fields, arrays[f"in/color_factors{k}"])) for key, x in images.items()}
        for key in sums:
            sums[key] += elpips.distance(params, moved[key], moved["reference"])
    count = len(meta["config"]["draws"])
    return {"out/distance": sums["image"] / count, "out/distance2": sums["image2"] / count}


ADAPTERS = {
    "elpips/e-LPIPS input transformations": transforms,
    "elpips/e-LPIPS draws": draws,
    "elpips/e-LPIPS network and distance": network,
    "elpips/e-LPIPS metric": metric,
}
