"""The generator as StableHLO programs for other platforms, with a batch of any size (`jax.export`).

Weights are arguments, read from `weights.safetensors` in the model folder. As constants, they would be in each of the
files, of three functions for three platforms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from stylegan_jax import __version__, models
from stylegan_jax.base import images
from stylegan_jax.base.backend import tracing_for
from stylegan_jax.base.errors import ConfigError
from stylegan_jax.base.trees import flatten, unflatten
from stylegan_jax.convert.folder import WEIGHTS_FILE, save_json
from stylegan_jax.models.precision import low_dtype
from stylegan_jax.sampling import drawing
from stylegan_jax.sampling.exported import FORMAT, FORMAT_VERSION
from stylegan_jax.sampling.model import LoadedModel, further_inputs

PLATFORMS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}
"""{name in `jax.export`: name of JAX's backend}."""
NET = "g_ema"


class Function(NamedTuple):
    """A function to export.

    Attributes:
        run: (weights {name in the weights file: array}, *inputs) -> output.
        inputs: names and shapes of float32 arrays; 'b' is the batch.
        output: (name, dtype, shape), for the description.
        reads: name -> whether it reads the weights of that name.
    """

    run: Callable[..., jax.Array]
    inputs: dict[str, tuple[int | str, ...]]
    output: tuple[str, str, list[int | str]]
    reads: Callable[[str], bool]


def functions(gan: models.Gan, noise: str, *, with_further: bool = False) -> dict[str, Function]:
    """Return `map`, `synthesize` and `sample` of a model; models without labels lack the input 'label'.

    Args:
        gan: the bundle.
        noise: 'const' or 'none'.
        with_further: `synthesize` and `sample` also take the model's inputs besides z; for clips, of one frame per row:
            'times' float32[b, 1], and the others as in `gan.spec.inputs`.

    Raises:
        ConfigError: the model draws more than z, and `with_further` is not set.
    """
    spec, further = gan.spec, further_inputs(gan.spec)
    if further and not with_further:
        raise ConfigError(
            f"this model draws {', '.join(further)} besides z, which exported programs and pages do not take; export "
            "a model folder alone (--platforms=none), or --to=onnx, whose files take them as inputs"
        )
    tree = lambda weights: unflatten(weights)[NET]
    variables = lambda net: {"buffers": {}} | {name: part for name, part in net.items() if name != "w_avg"}
    label: dict[str, tuple[int | str, ...]] = {"label": ("b", spec.label_dim)} if spec.label_dim else {}
    latents = {"z": ("b", spec.z_dim), **label, "psi": (spec.num_ws,)}
    more = {name: ("b", *((1,) if name == "times" else spec.inputs[name])) for name in further}
    in_sample = latents | more

    def map_(weights, z, *rest):
        net = tree(weights)
        label, psi = rest if spec.label_dim else (jnp.zeros((z.shape[0], 0)), *rest)
        return drawing.map_styles(gan, variables(net), net["w_avg"], z, label, psi[None, :, None])

    def synthesize(weights, ws, *rest):
        image = drawing.draw(gan, variables(tree(weights)), ws, dict(zip(further, rest, strict=True)), noise=noise)
        return image[:, 0] if "times" in further else image

    def sample(weights, *rest):
        given = dict(zip(in_sample, rest, strict=True))
        ws = map_(weights, *(given[name] for name in latents))
        return images.to_pixels(synthesize(weights, ws, *(given[name] for name in further)))

    size: list[int | str] = ["b", *spec.image_shape]
    ws: tuple[int | str, ...] = ("b", spec.num_ws, spec.w_dim)
    is_of = lambda part: lambda name: name.split("/")[2:3] == [part]  # NET/collection/part/…
    in_mapping, in_synthesis, in_motion = map(is_of, ("mapping", "synthesis", "motion"))
    for_styles = lambda name: not in_synthesis(name) and not in_motion(name)
    for_images = lambda name: name != f"{NET}/w_avg" and not in_mapping(name)
    return {
        "map": Function(map_, latents, ("ws", "float32", list(ws)), for_styles),
        "synthesize": Function(synthesize, {"ws": ws} | more, ("image", "float32", size), for_images),
        "sample": Function(sample, in_sample, ("pixels", "uint8", size), lambda name: True),
    }


def export_function(function: Function, weights: Mapping[str, Any], platform: str) -> export.Exported:
    """Return a function lowered for a platform, which need not be present.

    Args:
        function: one of `functions`.
        weights: {name: array or shape} of the weights that it reads.
        platform: one of `PLATFORMS`.
    """
    (batch,) = export.symbolic_shape("b")
    shape = lambda sizes: tuple(batch if size == "b" else size for size in sizes)
    inputs = [jax.ShapeDtypeStruct(shape(sizes), jnp.float32) for sizes in function.inputs.values()]
    given = {name: jax.ShapeDtypeStruct(np.shape(x), x.dtype) for name, x in weights.items()}
    program = jax.jit(function.run, keep_unused=True)  # so the arguments are those that the description lists
    with tracing_for(PLATFORMS[platform]):
        return export.export(program, platforms=(platform,))(given, *inputs)


def write_programs(folder: Path, model: LoadedModel, platforms: Sequence[str], noise: str, sha256: str) -> None:
    """Write FUNCTION.PLATFORM.bin for every function and platform, and export.json, which describes them.

    Args:
        folder: an empty folder in the model folder.
        model: the model.
        platforms: some of `PLATFORMS`.
        noise: 'const' or 'none'.
        sha256: of the weights file.
    """
    flat = flatten({NET: {**model.g_ema, "w_avg": model.w_avg}})
    described: dict[str, Any] = {}
    for name, function in functions(model.gan, noise).items():
        weights = {key: flat[key] for key in sorted(flat) if function.reads(key)}
        files = {}
        for platform in platforms:
            data = bytes(export_function(function, weights, platform).serialize())
            path = folder / f"{name}.{platform}.bin"
            path.write_bytes(data)
            files[platform] = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
        described[name] = {
            "weights": list(weights),
            "inputs": [{"name": key, "dtype": "float32", "shape": list(x)} for key, x in function.inputs.items()],
            "output": dict(zip(("name", "dtype", "shape"), function.output, strict=True)),
            "files": files,
        }
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "weights": {"file": f"../{WEIGHTS_FILE}", "sha256": sha256},
        "noise": noise,
        "precision": {platform: _precision(model, platform) for platform in platforms},
        "label_kind": model.label_kind,
        "label_names": list(model.label_names),
        "functions": described,
        "versions": {"stylegan_jax": __version__, "jax": jax.__version__},
    }
    save_json(folder / "export.json", content)


def _precision(model: LoadedModel, platform: str) -> str:
    """Return the dtype of the layers that may compute in low precision."""
    with tracing_for(PLATFORMS[platform]):
        return str(low_dtype(model.config) or "float32")
