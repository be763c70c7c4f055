"""Names and layouts of StyleGAN3, checked against names and sizes written out a second time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import forge
import numpy as np
import official
import pytest
from scipy import signal

from stylegan_jax.config import model_from_dict
from stylegan_jax.config.arch.stylegan3 import make_plan
from stylegan_jax.convert import BadCheckpointError, convert_pickle, official_state_dicts
from stylegan_jax.convert.importer import net_kwargs
from stylegan_jax.ops.lowpass import design_lowpass

NAMES = ("L0_36_9", "L1_36_9", "L2_52_9", "L3_52_7", "L4_52_4", "L5_32_4", "L6_32_3")
CHANNELS = (9, 9, 9, 9, 7, 4, 4, 3)  # of what each layer reads, and of the image
KINDS: dict[str, dict[str, Any]] = {
    "t": {"channel_base": 128, "channel_max": 9},
    "r": {"channel_base": 128, "channel_max": 9, "conv_kernel": 1, "use_radial_filters": True},
}
BUFFERS = ("w_avg", "freqs", "phases", "transform", "magnitude_ema", "up_filter", "down_filter")


def kwargs(kind: str, c_dim: int = 0, **changes: Any) -> dict[str, Any]:
    own = {"z_dim": 6, "c_dim": c_dim, "w_dim": 5, "img_resolution": 32, "img_channels": 3, "num_layers": 6}
    return own | KINDS[kind] | {"mapping_kwargs": forge.easy({"num_layers": 2})} | changes


def arrays(kind: str, c_dim: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
    """The state dict of a generator, in the official layouts."""
    s: dict[str, tuple[int, ...]] = {"mapping.w_avg": (5,)}
    if c_dim:
        s |= {"mapping.embed.weight": (5, c_dim), "mapping.embed.bias": (5,)}
    s |= {"mapping.fc0.weight": (5, 6 + 5 * bool(c_dim)), "mapping.fc1.weight": (5, 5)}
    s |= {"mapping.fc0.bias": (5,), "mapping.fc1.bias": (5,)}
    s |= {f"synthesis.input.{k}": v for k, v in {"weight": (9, 9), "freqs": (9, 2), "phases": (9,)}.items()}
    s |= {"synthesis.input.transform": (3, 3), "synthesis.input.affine.weight": (4, 5)}
    s |= {"synthesis.input.affine.bias": (4,)}
    for name, i, o in zip(NAMES, CHANNELS[:-1], CHANNELS[1:], strict=True):
        k = 3 if kind == "t" and o != 3 else 1
        s |= {f"synthesis.{name}.weight": (o, i, k, k), f"synthesis.{name}.bias": (o,)}
        s |= {f"synthesis.{name}.affine.weight": (i, 5), f"synthesis.{name}.affine.bias": (i,)}
        s[f"synthesis.{name}.magnitude_ema"] = ()
    rng = np.random.default_rng(seed)
    out = {name: np.asarray(rng.standard_normal(shape), np.float32) for name, shape in s.items()}
    return out | filters(kind)


def filters(kind: str) -> dict[str, np.ndarray]:
    """Low-pass filters: rates, cutoffs and half-widths from the paper's formulas (SG3 App. C)."""
    rate = (16, 16, 32, 32, 32, 32)
    steps = np.minimum(np.arange(6) / 4, 1)
    cutoff, stopband = 2 * 8**steps, 2**2.1 * (16 * 2**0.3 / 2**2.1) ** steps
    half = np.maximum(stopband, np.array(rate) / 2) - cutoff
    out = {}
    for i, name in enumerate(NAMES[:-1]):
        source = max(i - 1, 0)
        tmp = 2 * max(rate[source], rate[i])
        up = signal.firwin(6 * tmp // rate[source], cutoff[source], width=2 * half[source], fs=tmp)
        down = signal.firwin(6 * tmp // rate[i], cutoff[i], width=2 * half[i], fs=tmp)
        if kind == "r" and i < 4:
            down = design_lowpass(6 * tmp // rate[i], cutoff[i], 2 * half[i], tmp, True)
        out |= {f"synthesis.{name}.up_filter": up, f"synthesis.{name}.down_filter": down}
    return {name: np.asarray(f, np.float32) for name, f in out.items()}


def content(kind: str, c_dim: int = 0, changes: dict | None = None, **more: Any) -> dict[str, Any]:
    """A snapshot with G_ema, and `changes` of its arrays."""
    net = forge.network(
        "Generator", arrays(kind, c_dim) | (changes or {}), kwargs(kind, c_dim, **more), buffers=BUFFERS
    )
    return {"G_ema": net}


def convert(tmp_path: Path, content: Any) -> tuple[dict, dict, dict]:
    path = tmp_path / "network.pkl"
    path.write_bytes(forge.dumps(content))
    return convert_pickle(path)


@pytest.mark.parametrize(("kind", "c_dim"), [("t", 0), ("r", 3)])
def test_round_trip_is_exact(tmp_path, kind, c_dim):
    d = official.discriminator(32, "resnet", c_dim, cmap=2)
    d_net = forge.network("Discriminator", d, official.d_kwargs(32, c_dim, cmap_dim=2))
    config, nets, provenance = convert(tmp_path, content(kind, c_dim) | {"D": d_net})
    assert set(nets) == {"g_ema", "d"} and config["arch"] == "stylegan3"
    states = official_state_dicts(config, nets)
    for net, want in {"G_ema": arrays(kind, c_dim), "D": d}.items():
        assert set(states[net]) == set(want)
        for name, value in want.items():
            np.testing.assert_allclose(states[net][name], value, atol=1e-7 * ("filter" in name), rtol=0, err_msg=name)
    again = forge.network("Generator", states["G_ema"], net_kwargs(config, "g_ema"), buffers=BUFFERS)
    assert convert(tmp_path, {"G_ema": again, "D": d_net})[0] == config
    assert provenance["nets"]["G_ema"]["notes"]["magnitude_ema_beta"] == 0.999


def test_configuration_is_that_of_the_arguments(tmp_path):
    config, nets, _ = convert(tmp_path, content("r", magnitude_ema_beta=0.99))
    model = model_from_dict(config)
    own = model.stylegan3
    assert (model.resolution, model.mapping_layers, model.conv_clamp, model.num_lowp_res) == (32, 2, 256.0, 4)
    assert (own.num_layers, own.num_critical, own.conv_kernel, own.use_radial_filters) == (6, 2, 1, True)
    assert (own.channel_base, own.channel_max, own.margin_size) == (128, 9, 10)
    assert tuple(p.official_name for p in make_plan(model).layers) == NAMES
    assert set(nets["g_ema"]) == {"params", "buffers", "w_avg"}


def test_layouts_mean_the_same(tmp_path):
    _, nets, _ = convert(tmp_path, content("t"))
    ours, theirs = nets["g_ema"]["params"]["synthesis"], arrays("t")
    rng = np.random.default_rng(5)
    w, patch = rng.standard_normal(5), rng.standard_normal((3, 3, 9))
    np.testing.assert_allclose(
        w @ ours["L3"]["affine"]["weight"], theirs["synthesis.L3_52_7.affine.weight"] @ w, rtol=1e-6
    )
    got = np.einsum("hwi,hwio->o", patch, ours["L3"]["weight"])
    np.testing.assert_allclose(got, np.einsum("hwi,oihw->o", patch, theirs["synthesis.L3_52_7.weight"]), rtol=1e-5)
    x = rng.standard_normal(9)
    np.testing.assert_allclose(x @ ours["input"]["weight"], theirs["synthesis.input.weight"] @ x, rtol=1e-6)
    buffers = nets["g_ema"]["buffers"]["synthesis"]
    np.testing.assert_array_equal(buffers["input"]["transform"], theirs["synthesis.input.transform"])
    np.testing.assert_array_equal(buffers["L6"]["magnitude_ema"], theirs["synthesis.L6_32_3.magnitude_ema"])


@pytest.mark.parametrize(
    ("kind", "changes", "more", "words"),
    [
        ("t", {"synthesis.L2_52_9.up_filter": np.ones(24, np.float32)}, {}, "L2_52_9.up_filter is not the low-pass"),
        ("t", {"synthesis.L0_36_9.extra": np.ones(2, np.float32)}, {}, "not part of this network: .*L0_36_9.extra"),
        ("t", {}, {"margin_size": 9}, "missing: .*L0_34_9"),
        ("t", {}, {"conv_kernel": 1}, r"L0_36_9.weight is \[9, 9, 3, 3\], expected \[9, 9, 1, 1\]"),
        ("r", {}, {"use_radial_filters": False}, r"down_filter is \[12, 12\], expected \[12\]"),
        ("t", {}, {"filter_size": 10**6}, "stylegan3.filter_size is 1000000; at most 32"),
        ("t", {}, {"num_critical": 6}, "num_critical is 6; it must be less than num_layers=6"),
        ("t", {}, {"noise_kernel": 1}, "not known: noise_kernel"),
        ("t", {}, {"first_cutoff": "2"}, "first_cutoff is '2', not a number"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, kind, changes, more, words):
    with pytest.raises(BadCheckpointError, match=words):
        convert(tmp_path, content(kind, 0, changes, **more))
