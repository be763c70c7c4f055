"""Names and layouts of StyleGAN2, checked against names written out a second time and against what layouts mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import forge
import numpy as np
import official
import pytest

from stylegan_jax.config import model_from_dict
from stylegan_jax.convert import BadCheckpointError, convert_pickle, official_state_dicts
from stylegan_jax.convert.stylegan2 import fir


def convert(tmp_path: Path, content: Any, **kwargs: Any) -> tuple[dict, dict, dict]:
    path = tmp_path / "network.pkl"
    path.write_bytes(forge.dumps(content))
    return convert_pickle(path, **kwargs)


def generator_file(arrays: dict[str, np.ndarray], kwargs: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"G_ema": forge.network("Generator", arrays, kwargs, **options)}


@pytest.mark.parametrize(("g_arch", "d_arch"), [("skip", "resnet"), ("resnet", "orig"), ("orig", "skip")])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_round_trip_is_exact(tmp_path, g_arch, d_arch, c_dim):
    content = official.snapshot(16, g_arch, d_arch, c_dim, channels_last=c_dim > 0)
    config, nets, provenance = convert(tmp_path, content)
    assert (config["g_arch"], config["d_arch"], config["label_dim"]) == (g_arch, d_arch, c_dim)
    assert set(nets) == {"g", "d", "g_ema"} and set(nets["d"]) == {"params"}
    states = official_state_dicts(config, nets)
    wanted = {
        "G": official.generator(16, g_arch, c_dim, seed=1),
        "G_ema": official.generator(16, g_arch, c_dim, seed=2),
        "D": official.discriminator(16, d_arch, c_dim),
    }
    for net, want in wanted.items():
        assert set(states[net]) == set(want)
        for name, value in want.items():
            np.testing.assert_array_equal(states[net][name], value, err_msg=name)
    assert provenance["source"] == "network.pkl" and len(provenance["sha256"]) == 64


def test_configuration_is_one_that_the_project_accepts(tmp_path):
    config, _, _ = convert(tmp_path, official.snapshot(c_dim=2))
    model = model_from_dict(config)
    assert (model.resolution, model.channel_base, model.mapping_layers) == (16, 64, 2)
    assert model.conv_clamp == 256 and model.cmap_dim == 0 and model.mbstd_group == 4


def test_layouts_mean_the_same(tmp_path):
    """Each weight is applied to data in both layouts."""
    arrays, d_arrays = official.generator(16, "resnet"), official.discriminator()
    _, nets, _ = convert(tmp_path, official.snapshot(16, "resnet"))
    g, d = nets["g"]["params"], nets["d"]["params"]
    arrays = official.generator(16, "resnet", seed=1)
    rng = np.random.default_rng(5)
    z = rng.standard_normal(6)
    np.testing.assert_allclose(z @ g["mapping"]["fc0"]["weight"], arrays["mapping.fc0.weight"] @ z, rtol=1e-6)
    patch = rng.standard_normal((3, 3, 8))  # h w c; correlation at one pixel
    for name in ("conv0", "conv1"):
        ours = np.einsum("hwi,hwio->o", patch, g["synthesis"]["b8"][name]["weight"])
        theirs = np.einsum("ihw,oihw->o", patch.transpose(2, 0, 1), arrays[f"synthesis.b8.{name}.weight"])
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_array_equal(g["synthesis"]["b4"]["const"][1, 2], arrays["synthesis.b4.const"][:, 1, 2])
    features = rng.standard_normal((4, 4, 8))
    ours = features.reshape(-1) @ d["b4"]["fc"]["weight"]
    theirs = d_arrays["b4.fc.weight"] @ features.transpose(2, 0, 1).reshape(-1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_array_equal(nets["g"]["w_avg"], arrays["mapping.w_avg"])
    noise = nets["g"]["buffers"]["synthesis"]["b8"]["conv0"]["noise_const"]
    np.testing.assert_array_equal(noise, arrays["synthesis.b8.conv0.noise_const"])


def test_nested_arguments_and_their_defaults(tmp_path):
    flat, *_ = convert(tmp_path, generator_file(official.generator(), official.g_kwargs(conv_clamp=None)))
    content = generator_file(official.generator(), official.g_kwargs(ada=True))
    nested, _, provenance = convert(tmp_path, content)
    assert nested == flat | {"num_lowp_res": 0} and nested["conv_clamp"] == 0.0
    assert provenance["nets"]["G_ema"]["notes"]["w_avg_beta"] == 0.995


def test_half_precision_buffers_arguments_and_no_noise(tmp_path):
    arrays = {k: v.astype(np.float16) for k, v in official.generator(noise=False, img=1).items()}
    kwargs = official.g_kwargs(use_noise=False, fp16_channels_last=True) | {"img_channels": 1}
    config, nets, provenance = convert(tmp_path, generator_file(arrays, kwargs, channels_last=True))
    assert "buffers" not in nets["g_ema"] and not config["use_noise"] and config["img_channels"] == 1
    got = official_state_dicts(config, nets)["G_ema"]
    for name, value in arrays.items():
        np.testing.assert_array_equal(got[name], value.astype(np.float32))
    recorded = provenance["nets"]["G_ema"]
    assert recorded["dtypes"] == ["float16"] and recorded["notes"]["fp16_channels_last"] is True


def test_modules_fill_in_what_the_arguments_leave_out(tmp_path):
    attributes = {
        "synthesis.b4": {"architecture": "resnet"},
        "synthesis.b4.conv1": {"conv_clamp": 100, "use_noise": True, "activation": "lrelu"},
        "mapping": {"num_layers": 2, "w_avg_beta": 0.9},
        "mapping.fc0": {"bias_gain": 0.1, "activation": "lrelu"},
    }
    content = generator_file(official.generator(16, "resnet"), official.g_kwargs(), attributes=attributes)
    config, _, provenance = convert(tmp_path, content)
    assert (config["g_arch"], config["conv_clamp"], config["mapping_lr_mult"]) == ("resnet", 100, 0.1)
    assert provenance["nets"]["G_ema"]["notes"]["w_avg_beta"] == 0.9
    content = generator_file(official.generator(), official.g_kwargs(architecture="skip"), attributes=attributes)
    with pytest.raises(BadCheckpointError, match="'skip' but the network was built with 'resnet'"):
        convert(tmp_path, content)


def test_discriminator_arguments(tmp_path):
    arrays = official.discriminator(16, "skip", 3, cmap=6, layers=1, mbstd=2)
    parts = {
        "mapping_kwargs": forge.easy({"num_layers": 1, "lr_multiplier": 0.2}),
        "epilogue_kwargs": forge.easy({"mbstd_group_size": None, "mbstd_num_channels": 2}),
        "block_kwargs": forge.easy({"freeze_layers": 4}),
    }
    kwargs = official.d_kwargs(16, 3, architecture="skip", cmap_dim=6, **parts)
    frozen = ("resample_filter", "b16.fromrgb.weight", "b16.fromrgb.bias", "b16.conv0.weight", "b16.conv0.bias")
    content = {"D": forge.network("Discriminator", arrays, kwargs, buffers=frozen)}
    config, nets, provenance = convert(tmp_path, content)
    assert (config["cmap_dim"], config["d_mapping_layers"], config["d_mapping_lr_mult"]) == (6, 1, 0.2)
    assert config["mbstd_channels"] == 2 and config["mbstd_group"] > 1_000_000
    assert provenance["nets"]["D"]["notes"] == {"freeze_layers": 4}
    assert set(official_state_dicts(config, nets)["D"]) == set(arrays)


def test_positional_arguments(tmp_path):
    kwargs = official.g_kwargs()
    args = tuple(kwargs.pop(k) for k in ("z_dim", "c_dim", "w_dim"))
    config, *_ = convert(tmp_path, generator_file(official.generator(), kwargs, init_args=args))
    assert (config["z_dim"], config["w_dim"]) == (6, 5)


def _without(arrays: dict, name: str) -> dict:
    return {k: v for k, v in arrays.items() if k != name}


@pytest.mark.parametrize(
    ("arrays", "kwargs", "message"),
    [
        (_without(official.generator(), "synthesis.b8.conv0.bias"), {}, "missing: synthesis.b8.conv0.bias"),
        (official.generator() | {"synthesis.b8.extra": np.ones(1)}, {}, "not part of this network: synthesis.b8.extra"),
        (official.generator(), {"channel_base": 32}, r"synthesis.b8.conv0.weight is \[8, 8, 3, 3\], expected \[4"),
        (official.generator(), {"channel_max": 4}, "expected"),
        (official.generator(), {"resample_filter": [1, 2, 1]}, "shapes"),
        (official.generator(), {"resample_filter": [1, 2, 2, 1]}, "is not the filter"),
        (official.generator(), {"resample_filter": [[1, 2], [2, 1]]}, "only a list of taps"),
        (official.generator(), {"secret_layers": 7}, "not known: secret_layers"),
        (official.generator(), {"activation": "relu7"}, "activation is 'relu7'; known are lrelu"),
        (official.generator(), {"kernel_size": 5}, "kernel_size"),
        (official.generator(), {"architecture": "dense"}, "known are skip, resnet, orig"),
        (official.generator(), {"channel_base": "64"}, "not a count"),
        (official.generator(), {"conv_clamp": -1}, "positive number or None"),
        (
            official.generator(),
            {"mapping_kwargs": forge.easy({"num_layers": 2, "layer_features": 9})},
            "shapes do not fit",
        ),
        (official.generator(), {"mapping_kwargs": forge.easy({"num_layers": 10**9})}, "mapping layers"),
        (official.generator(), {"mapping_kwargs": 3}, "not a dict"),
        (official.generator(), {"img_resolution": 12}, "power of two"),
    ],
)
def test_files_that_do_not_fit_say_why(tmp_path, arrays, kwargs, message):
    with pytest.raises(BadCheckpointError, match=message) as caught:
        convert(tmp_path, generator_file(arrays, official.g_kwargs() | kwargs))
    assert caught.value.path.endswith("network.pkl")


def test_networks_that_disagree_are_converted_one_by_one(tmp_path):
    content = official.snapshot()
    content["D"] = forge.network("Discriminator", official.discriminator(), official.d_kwargs(conv_clamp=None))
    with pytest.raises(BadCheckpointError, match=r"differ in conv_clamp .*--nets"):
        convert(tmp_path, content)
    _, nets, _ = convert(tmp_path, content, nets=["D"])
    assert set(nets) == {"d"}


def test_other_filters(tmp_path):
    taps = [1, 2, 1]
    given = np.outer(taps, taps).astype(np.float32) / 16
    arrays = official.generator(16, "resnet")
    used = [k for k in arrays if k.endswith("resample_filter") and "conv1" not in k]
    config, nets, _ = convert(
        tmp_path,
        generator_file(
            arrays | dict.fromkeys(used, given), official.g_kwargs(architecture="resnet", resample_filter=taps)
        ),
    )
    got = official_state_dicts(config, nets)["G_ema"]
    assert config["resample_filter"] == taps
    for name in used:
        np.testing.assert_array_equal(got[name], given)
    np.testing.assert_array_equal(got["synthesis.b8.conv1.resample_filter"], official.FIR)
    assert fir((1,) * 8).shape == (8,)


def test_networks_of_other_architectures_are_named_by_their_classes(tmp_path):
    content = generator_file({"encoder.x": np.ones((2, 2), np.float32)}, {})
    with pytest.raises(BadCheckpointError, match=r"G_ema .*: the architecture is unknown; known are .*_v$"):
        convert(tmp_path, content)


# ---- TensorFlow era ----

_PARTS = {"weight": "weight", "bias": "bias", "noise_strength": "noise_strength"}
_PARTS |= {"affine.weight": "mod_weight", "affine.bias": "mod_bias"}


def _tf_generator(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The variables TensorFlow would hold for these PyTorch arrays."""
    out = {"lod": np.float32(0).reshape(()), "dlatent_avg": arrays["mapping.w_avg"]}
    out["synthesis/4x4/Const/const"] = arrays["synthesis.b4.const"][None]
    for name, x in arrays.items():
        net, block, *rest = name.split(".")
        part = ".".join(rest)
        if net == "mapping" and rest:
            layer = "LabelEmbed" if block == "embed" else block.replace("fc", "Dense")
            out[f"mapping/{layer}/{part}"] = x.T
        elif part.endswith("noise_const"):
            level = int(np.log2(int(block[1:])))
            index = 0 if level == 2 else 2 * level - (5 if rest[0] == "conv0" else 4)
            out[f"synthesis/noise{index}"] = x[None, None]
        elif net == "synthesis" and len(rest) > 1 and rest[-1] != "resample_filter":
            layer = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}[rest[0]]
            layer = "Conv" if block == "b4" and rest[0] == "conv1" else layer
            leaf = ".".join(rest[1:])
            if x.ndim == 4:
                x = x.transpose(2, 3, 1, 0)[::-1, ::-1] if rest[0] in ("conv0", "skip") else x.transpose(2, 3, 1, 0)
            elif leaf == "affine.weight":
                x = x.T
            elif leaf == "affine.bias":
                x = x - 1
            out[f"synthesis/{block[1:]}x{block[1:]}/{layer}/{_PARTS[leaf]}"] = x
    return out


def _tf_discriminator(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = {}
    for name, x in arrays.items():
        block, layer, *rest = name.split(".")
        if name.endswith("resample_filter"):
            continue
        if block == "mapping":
            out[f"{'LabelEmbed' if layer == 'embed' else layer.replace('fc', 'Mapping')}/{rest[0]}"] = x.T
        elif layer in ("out", "fc"):
            out[f"{'Output' if layer == 'out' else '4x4/Dense0'}/{rest[0]}"] = x.T
        else:
            r = block[1:]
            tf = {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip", "conv": "Conv"}[layer]
            out[f"{r}x{r}/{tf}/{rest[0]}"] = x.transpose(2, 3, 1, 0) if x.ndim == 4 else x
    return out


G_TF = {"latent_size": 6, "dlatent_size": 5, "resolution": 16, "num_channels": 3, "fmap_base": 32, "fmap_max": 8}
G_TF |= {"mapping_layers": 2, "truncation_psi": 0.5, "structure": "auto", "func_name": "x"}
D_TF = {"resolution": 16, "num_channels": 3, "fmap_base": 32, "fmap_max": 8, "mbstd_group_size": 4}


def _tf_file(version: int, c_dim: int = 0, g_arch: str = "skip", d_arch: str = "resnet", **kwargs: Any) -> tuple:
    g = forge.tf_network(
        "G",
        version,
        {**G_TF, "label_size": c_dim, "architecture": g_arch, **kwargs},
        _tf_generator(official.generator(16, g_arch, c_dim)),
    )
    d_arrays = official.discriminator(16, d_arch, c_dim, layers=0)
    d_args = {**D_TF, "label_size": c_dim, "architecture": d_arch}
    return g, forge.tf_network("D", version, d_args, _tf_discriminator(d_arrays), "D_stylegan2"), g


@pytest.mark.parametrize(
    ("version", "c_dim", "g_arch", "d_arch"),
    [(4, 0, "skip", "resnet"), (5, 3, "skip", "resnet"), (5, 0, "resnet", "skip"), (4, 0, "orig", "orig")],
)
def test_tensorflow_networks(tmp_path, version, c_dim, g_arch, d_arch):
    config, nets, provenance = convert(tmp_path, _tf_file(version, c_dim, g_arch, d_arch))
    states = official_state_dicts(config, nets)
    want = official.generator(16, g_arch, c_dim)
    assert set(states["G_ema"]) == set(want)
    for name, value in want.items():
        np.testing.assert_allclose(states["G_ema"][name], value, atol=2e-7, err_msg=name)
    want = official.discriminator(16, d_arch, c_dim, layers=0)
    for name, value in want.items():
        np.testing.assert_array_equal(states["D"][name], value, err_msg=name)
    assert provenance["era"] == "tf" and config["conv_clamp"] == 0.0 and config["d_mapping_layers"] == 0
    model_from_dict(config)


def test_tensorflow_single_rgb_names_mean_orig(tmp_path):
    g = _tf_generator(official.generator(16, "orig"))
    g = {k.replace("16x16/ToRGB/", "ToRGB_lod0/"): v for k, v in g.items()}
    d = _tf_discriminator(official.discriminator(16, "orig"))
    d = {k.replace("16x16/FromRGB/", "FromRGB_lod0/"): v for k, v in d.items()}
    nets = (forge.tf_network("G", 4, G_TF, g), forge.tf_network("D", 4, D_TF, d), forge.tf_network("Gs", 4, G_TF, g))
    config, *_ = convert(tmp_path, nets)
    assert config["g_arch"] == config["d_arch"] == "orig"


def test_tensorflow_files_that_cannot_be_converted(tmp_path):
    with pytest.raises(BadCheckpointError, match="unknown arguments: architecture"):  # version 3 is StyleGAN's
        convert(tmp_path, _tf_file(3))
    with pytest.raises(BadCheckpointError, match="unknown arguments: my_option"):
        convert(tmp_path, _tf_file(5, my_option=1))
    with pytest.raises(BadCheckpointError, match="fmap_decay"):
        convert(tmp_path, _tf_file(5, fmap_decay=2.0))
    g = forge.tf_network("G", 4, G_TF | {"label_size": 2}, {"mapping/LabelConcat/weight": np.ones((2, 6))})
    with pytest.raises(BadCheckpointError, match="labels are in the form of the first StyleGAN2 release"):
        convert(tmp_path, (g, g, g))
    g = forge.tf_network("G", 4, G_TF, {"synthesis/4x4/Const/StyleMod/weight": np.ones((2, 6))})
    with pytest.raises(BadCheckpointError, match="another architecture: synthesis/4x4/Const/StyleMod/weight"):
        convert(tmp_path, (g, g, g))
