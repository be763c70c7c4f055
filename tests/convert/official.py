"""Names and shapes of official StyleGAN2 networks, written out a second time to check the tables against."""

from __future__ import annotations

from typing import Any

import forge
import numpy as np

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


def _values(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    return made | {k: FIR for k in made if k.endswith("resample_filter")}


def generator(
    res: int = 16, arch: str = "skip", c_dim: int = 0, z: int = 6, w: int = 5, seed: int = 0, **other: Any
) -> dict[str, np.ndarray]:
    """Arrays of G; `other`: layers=2, channels=(8, 8, 4) per resolution, img=3, noise=True."""
    layers, img, noise = other.get("layers", 2), other.get("img", 3), other.get("noise", True)
    widths = other.get("channels") or [min(64 // 2**i, 8) for i in range(2, 12)]
    s: dict[str, tuple[int, ...]] = {}
    if c_dim:
        s |= {"mapping.embed.weight": (w, c_dim), "mapping.embed.bias": (w,)}
    for i in range(layers):
        s |= {f"mapping.fc{i}.weight": (w, w if i else z + w * bool(c_dim)), f"mapping.fc{i}.bias": (w,)}
    s["mapping.w_avg"] = (w,)
    previous, r, k = 0, 4, 0
    while r <= res:
        out, b = widths[k], f"synthesis.b{r}"
        s[f"{b}.resample_filter"] = (4, 4)
        layer_inputs = {"conv1": out} if r == 4 else {"conv0": previous, "conv1": out}
        if r == 4:
            s[f"{b}.const"] = (out, 4, 4)
        for name, fan_in in layer_inputs.items():
            p = f"{b}.{name}"
            s |= {f"{p}.weight": (out, fan_in, 3, 3), f"{p}.bias": (out,), f"{p}.resample_filter": (4, 4)}
            s |= {f"{p}.affine.weight": (fan_in, w), f"{p}.affine.bias": (fan_in,)}
            if noise:
                s |= {f"{p}.noise_strength": (), f"{p}.noise_const": (r, r)}
        if arch == "skip" or r == res:
            p = f"{b}.torgb"
            s |= {f"{p}.weight": (img, out, 1, 1), f"{p}.bias": (img,)}
            s |= {f"{p}.affine.weight": (out, w), f"{p}.affine.bias": (out,)}
        if arch == "resnet" and r > 4:
            s |= {f"{b}.skip.weight": (out, previous, 1, 1), f"{b}.skip.resample_filter": (4, 4)}
        previous, r, k = out, 2 * r, k + 1
    return _values(s, seed)


def discriminator(
    res: int = 16, arch: str = "resnet", c_dim: int = 0, seed: int = 9, **other: Any
) -> dict[str, np.ndarray]:
    """Arrays of D; `other`: cmap=8, layers=8, img=3, mbstd=1."""
    img, layers, cmap = other.get("img", 3), other.get("layers", 8), other.get("cmap", 8)
    width = {r: min(64 // r, 8) for r in (4, 8, 16, 32)}
    s: dict[str, tuple[int, ...]] = {}

    def conv(name: str, out: int, fan_in: int, k: int, bias: bool = True) -> None:
        s[f"{name}.weight"] = (out, fan_in, k, k)
        s[f"{name}.resample_filter"] = (4, 4)
        if bias:
            s[f"{name}.bias"] = (out,)

    r = res
    while r > 4:
        s[f"b{r}.resample_filter"] = (4, 4)
        if r == res or arch == "skip":
            conv(f"b{r}.fromrgb", width[r], img, 1)
        conv(f"b{r}.conv0", width[r], width[r], 3)
        conv(f"b{r}.conv1", width[r // 2], width[r], 3)
        if arch == "resnet":
            conv(f"b{r}.skip", width[r // 2], width[r], 1, bias=False)
        r //= 2
    if c_dim:
        s |= {"mapping.embed.weight": (cmap, c_dim), "mapping.embed.bias": (cmap,)}
        for i in range(layers):
            s |= {f"mapping.fc{i}.weight": (cmap, cmap), f"mapping.fc{i}.bias": (cmap,)}
    if arch == "skip":
        conv("b4.fromrgb", 8, img, 1)
    conv("b4.conv", 8, 8 + other.get("mbstd", 1), 3)
    s |= {"b4.fc.weight": (8, 128), "b4.fc.bias": (8,)}
    out = cmap if c_dim else 1
    s |= {"b4.out.weight": (out, 8), "b4.out.bias": (out,)}
    return _values(s, seed)


def g_kwargs(res: int = 16, c_dim: int = 0, ada: bool = False, **synthesis: Any) -> dict[str, Any]:
    """Constructor arguments in the flat form, or nested as in StyleGAN2-ADA."""
    top = {"z_dim": 6, "c_dim": c_dim, "w_dim": 5, "img_resolution": res, "img_channels": 3}
    inner = {"channel_base": 64, "channel_max": 8, **synthesis}
    mapping = {"mapping_kwargs": forge.easy({"num_layers": 2})}
    return {**top, **mapping, **({"synthesis_kwargs": forge.easy(inner)} if ada else inner)}


def d_kwargs(res: int = 16, c_dim: int = 0, **more: Any) -> dict[str, Any]:
    top = {"c_dim": c_dim, "img_resolution": res, "img_channels": 3, "channel_base": 64, "channel_max": 8}
    parts = {k: forge.easy({}) for k in ("block_kwargs", "mapping_kwargs")}
    return {**top, **parts, "epilogue_kwargs": forge.easy({"mbstd_group_size": 4}), **more}


def snapshot(res: int = 16, g_arch: str = "skip", d_arch: str = "resnet", c_dim: int = 0, **options: Any) -> dict:
    """The dict of a training snapshot; `options` go to every network (channels_last, form)."""
    gk = g_kwargs(res, c_dim, architecture=g_arch)
    return {
        "G": forge.network("Generator", generator(res, g_arch, c_dim, seed=1), gk, **options),
        "D": forge.network(
            "Discriminator", discriminator(res, d_arch, c_dim), d_kwargs(res, c_dim, architecture=d_arch), **options
        ),
        "G_ema": forge.network("Generator", generator(res, g_arch, c_dim, seed=2), gk, **options),
        "augment_pipe": None,
        "training_set_kwargs": None,
    }
