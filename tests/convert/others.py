"""Small networks as forks and other code bases write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import forge
import numpy as np
import official

from stylegan_jax.base.trees import flatten


def g_net(extra: dict[str, Any] | None = None, mapping: dict[str, Any] | None = None, **options: Any) -> Any:
    """A StyleGAN2 generator at 16x16, with further constructor arguments."""
    kwargs = official.g_kwargs(16, architecture="skip") | (extra or {})
    kwargs["mapping_kwargs"] = forge.easy({"num_layers": 2, **(mapping or {})})
    arrays = options.pop("arrays", None) or official.generator(16, seed=2)
    return forge.network("Generator", arrays, kwargs, **options)


def write(tmp_path: Path, content: Any, name: str = "network.pkl") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else forge.dumps(content))
    return path


def equal_trees(a: Any, b: Any) -> None:
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    for name, value in b.items():
        np.testing.assert_array_equal(a[name], value, err_msg=name)


def tf_nets(count: int = 3, d: dict[str, Any] | None = None, **more: Any) -> Any:
    """TensorFlow networks in one file, with further arguments of the generator; `d`: of the discriminator."""
    variables = {"dlatent_avg": (5,), "mapping/Dense0/weight": (6, 5), "mapping/Dense0/bias": (5,)}
    variables |= {"mapping/Dense1/weight": (5, 5), "mapping/Dense1/bias": (5,), "synthesis/noise0": (1, 1, 4, 4)}
    variables["synthesis/4x4/Const/const"] = (1, 8, 4, 4)
    layers = {"4x4/Conv": (8, 8, 4), "8x8/Conv0_up": (8, 8, 8), "8x8/Conv1": (8, 8, 8)}
    variables |= {"synthesis/noise1": (1, 1, 8, 8), "synthesis/noise2": (1, 1, 8, 8)}
    for name, (fan_in, out, _) in layers.items():
        p = f"synthesis/{name}"
        variables |= {f"{p}/weight": (3, 3, fan_in, out), f"{p}/bias": (out,), f"{p}/noise_strength": ()}
        variables |= {f"{p}/mod_weight": (5, fan_in), f"{p}/mod_bias": (fan_in,)}
    for r in (4, 8):
        p = f"synthesis/{r}x{r}/ToRGB"
        variables |= {f"{p}/weight": (1, 1, 8, 3), f"{p}/bias": (3,), f"{p}/mod_weight": (5, 8), f"{p}/mod_bias": (8,)}
    rng = np.random.default_rng(1)
    arrays = {k: np.asarray(rng.standard_normal(s), np.float32) for k, s in variables.items()}
    kwargs = {"latent_size": 6, "dlatent_size": 5, "resolution": 8, "fmap_base": 32, "fmap_max": 8}
    kwargs |= {"mapping_layers": 2, "architecture": "skip", **more}
    g = forge.tf_network("G", 4, kwargs, arrays)
    d_net = forge.tf_network("D", 4, {"resolution": 8, **(d or {})}, {"4x4/Dense0/bias": arrays["dlatent_avg"]}, "D_x")
    return (g, d_net, g) if count == 3 else g


def rosinality(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """An official StyleGAN2 state dict under rosinality's names, written out independently of the reader."""
    blur = (np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16).astype(np.float32)
    out = {"input.input": arrays["synthesis.b4.const"][None]}
    for i in range(2):
        out |= {f"style.{i + 1}.{leaf}": arrays[f"mapping.fc{i}.{leaf}"] for leaf in ("weight", "bias")}
    convs = {"conv1": "b4.conv1", "convs.0": "b8.conv0", "convs.1": "b8.conv1", "convs.2": "b16.conv0"}
    convs["convs.3"] = "b16.conv1"
    for i, (theirs, ours) in enumerate(convs.items()):
        p = f"synthesis.{ours}"
        out[f"{theirs}.conv.weight"] = arrays[f"{p}.weight"][None]
        out[f"{theirs}.conv.modulation.weight"] = arrays[f"{p}.affine.weight"]
        out[f"{theirs}.conv.modulation.bias"] = arrays[f"{p}.affine.bias"]
        out[f"{theirs}.noise.weight"] = arrays[f"{p}.noise_strength"].reshape(1)
        out[f"{theirs}.activate.bias"] = arrays[f"{p}.bias"]
        out[f"noises.noise_{i}"] = arrays[f"{p}.noise_const"][None, None]
        if theirs in ("convs.0", "convs.2"):
            out[f"{theirs}.conv.blur.kernel"] = blur
    for theirs, ours in {"to_rgb1": "b4", "to_rgbs.0": "b8", "to_rgbs.1": "b16"}.items():
        p = f"synthesis.{ours}.torgb"
        out[f"{theirs}.conv.weight"] = arrays[f"{p}.weight"][None]
        out[f"{theirs}.conv.modulation.weight"] = arrays[f"{p}.affine.weight"]
        out[f"{theirs}.conv.modulation.bias"] = arrays[f"{p}.affine.bias"]
        out[f"{theirs}.bias"] = arrays[f"{p}.bias"].reshape(1, 3, 1, 1)
        if theirs != "to_rgb1":
            out[f"{theirs}.upsample.kernel"] = blur
    return out
