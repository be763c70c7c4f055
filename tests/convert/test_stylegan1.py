"""StyleGAN's TensorFlow files: small ones in the shape of the official, against a forward pass of their own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import forge
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import load_model
from stylegan_jax.convert import convert_pickle, read_model_folder, write_model_folder
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.importer import official_state_dicts

Z, W, WIDTHS = 6, 5, {4: 8, 8: 8, 16: 4}
G_ARGS = {"latent_size": Z, "dlatent_size": W, "mapping_fmaps": 7, "resolution": 16, "num_channels": 3}
G_ARGS |= {"fmap_base": 32, "fmap_max": 8, "mapping_layers": 2, "truncation_psi": 0.7, "dlatent_avg_beta": 0.995}
D_ARGS = {"resolution": 16, "num_channels": 3, "fmap_base": 32, "fmap_max": 8, "mbstd_group_size": 4}
TRADITIONAL = {"use_styles": False, "use_pixel_norm": True, "use_instance_norm": False, "const_input_layer": False}
TRADITIONAL |= {"use_noise": False, "blur_filter": None}


def layer(shapes: dict, name: str, *shape: int) -> None:
    shapes[f"{name}/weight"], shapes[f"{name}/bias"] = shape, shape[-1:]


def generator_shapes(
    labels: int, args: dict, rgb: tuple[int, ...], widths: dict[int, int] = WIDTHS
) -> dict[str, tuple[int, ...]]:
    s: dict[str, tuple[int, ...]] = {"lod": (), "synthesis/lod": (), "dlatent_avg": (W,)}
    if labels:
        s["mapping/LabelConcat/weight"] = (labels, Z)
    layer(s, "mapping/Dense0", Z * (2 if labels else 1), 7)
    layer(s, "mapping/Dense1", 7, W)
    for k, (r, c) in enumerate(widths.items()):
        names = (
            (("Const" if args.get("const_input_layer", True) else "Dense"), "Conv") if r == 4 else ("Conv0_up", "Conv1")
        )
        for j, name in enumerate(names):
            path, before = f"synthesis/{r}x{r}/{name}", widths.get(r // 2, c) if j == 0 else c
            kind = {"Const": (1, c, 4, 4), "Dense": (W, 16 * c)}.get(name, (3, 3, before, c))
            s[f"{path}/{'const' if name == 'Const' else 'weight'}"], s[f"{path}/bias"] = kind, (c,)
            if args.get("use_noise", True):
                s[f"{path}/Noise/weight"], s[f"synthesis/noise{2 * k + j}"] = (c,), (1, 1, r, r)
            if args.get("use_styles", True):
                layer(s, f"{path}/StyleMod", W, 2 * c)
        if r in rgb:
            layer(s, f"synthesis/ToRGB_lod{int(math.log2(max(widths) // r))}", 1, 1, c, 3)
    return s


def discriminator_shapes(labels: int, rgb: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    s: dict[str, tuple[int, ...]] = {"lod": ()}
    for r, c in WIDTHS.items():
        if r in rgb:
            layer(s, f"FromRGB_lod{int(math.log2(16 // r))}", 1, 1, 3, c)
        if r > 4:
            layer(s, f"{r}x{r}/Conv0", 3, 3, c, c)
            layer(s, f"{r}x{r}/Conv1_down", 3, 3, c, WIDTHS[r // 2])
    layer(s, "4x4/Conv", 3, 3, 9, 8)
    layer(s, "4x4/Dense0", 128, 8)
    layer(s, "4x4/Dense1", 8, max(labels, 1))
    return s


def draw(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    scale = lambda name: 100 if name.startswith("mapping/Dense") else 1 if name.endswith("weight") else 0.3
    return {k: (scale(k) * rng.standard_normal(v)).astype(np.float32) for k, v in shapes.items()}


def make(labels: int = 0, rgb: tuple[int, ...] = (4, 8, 16), **args: Any) -> tuple[dict, dict, tuple]:
    """Return (arrays of G, arrays of D, the three networks of a file)."""
    shared = {"label_size": labels} | {k: args[k] for k in ("blur_filter", "fused_scale") if k in args}
    g, d = draw(generator_shapes(labels, args, rgb), 1), draw(discriminator_shapes(labels, rgb), 2)
    nets = (
        forge.tf_network("G", 3, G_ARGS | shared | args, g, "training.networks_stylegan.G_style"),
        forge.tf_network("D", 3, D_ARGS | shared, d, "training.networks_stylegan.D_basic"),
        forge.tf_network("Gs", 3, G_ARGS | shared | args, g, "training.networks_stylegan.G_style"),
    )
    return g, d, nets


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "net.pkl"
    path.write_bytes(forge.dumps(content))
    return path


# The networks once more, in NumPy and float64, with TensorFlow's layouts: NCHW activations.


ROOT2 = math.sqrt(2)


def conv(x, w, gain=ROOT2):
    k = w.shape[0]
    w = w * gain / math.sqrt(math.prod(w.shape[:3]))
    pad = np.pad(x, ((0, 0), (0, 0), (k // 2,) * 2, (k // 2,) * 2))
    h, width = x.shape[2:]
    return sum(
        np.einsum("nihw,io->nohw", pad[:, :, a : a + h, b : b + width], w[a, b]) for a in range(k) for b in range(k)
    )


def dense(x, w, gain=ROOT2, lrmul=1.0):
    return x @ w * (gain * lrmul / math.sqrt(len(w)))


def lrelu(x):
    return np.where(x > 0, x, 0.2 * x)


def blur(x, on):
    if not on:
        return x
    f, pad = np.outer([1, 2, 1], [1, 2, 1]) / 16, np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return sum(f[a, b] * pad[:, :, a : a + x.shape[2], b : b + x.shape[3]] for a in range(3) for b in range(3))


def double(x):
    return x.repeat(2, axis=2).repeat(2, axis=3)


def halve(x):
    return x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean(axis=(3, 5))


def pixel_norm(x):
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)


def mapping(v, z, label):
    x = np.concatenate([z, label @ v["mapping/LabelConcat/weight"]], axis=1) if label.shape[1] else z
    x = pixel_norm(x)
    for i in range(2):
        x = lrelu(dense(x, v[f"mapping/Dense{i}/weight"], lrmul=0.01) + v[f"mapping/Dense{i}/bias"] * 0.01)
    return x


def synthesis(v, w, args):
    fused = {True: 0, False: 1 << 30}.get(args.get("fused_scale", "auto"), 128)
    on = args.get("blur_filter", [1, 2, 1]) is not None
    for k, r in enumerate(WIDTHS):
        names = (
            ("Const" if args.get("const_input_layer", True) else "Dense", "Conv") if r == 4 else ("Conv0_up", "Conv1")
        )
        for j, name in enumerate(names):
            path = f"synthesis/{r}x{r}/{name}"
            if name == "Const":
                x = np.tile(v[f"{path}/const"], (len(w), 1, 1, 1))
            elif name == "Dense":
                x = dense(w, v[f"{path}/weight"], math.sqrt(2) / 4).reshape(len(w), -1, 4, 4)
            elif name == "Conv0_up":
                kernel = v[f"{path}/weight"]
                x = blur(conv(double(x), kernel[::-1, ::-1] if r >= fused else kernel), on)
            else:
                x = conv(x, v[f"{path}/weight"])
            if args.get("use_noise", True):
                x = x + v[f"synthesis/noise{2 * k + j}"] * v[f"{path}/Noise/weight"][:, None, None]
            x = lrelu(x + v[f"{path}/bias"][:, None, None])
            x = pixel_norm(x) if args.get("use_pixel_norm") else x
            if args.get("use_instance_norm", True):
                x = x - x.mean(axis=(2, 3), keepdims=True)
                x = x / np.sqrt((x**2).mean(axis=(2, 3), keepdims=True) + 1e-8)
            if args.get("use_styles", True):
                style = dense(w, v[f"{path}/StyleMod/weight"], 1.0) + v[f"{path}/StyleMod/bias"]
                scale, shift = style.reshape(len(w), 2, -1, 1, 1).swapaxes(0, 1)
                x = x * (scale + 1) + shift
    return conv(x, v["synthesis/ToRGB_lod0/weight"], 1.0) + v["synthesis/ToRGB_lod0/bias"][:, None, None]


def discriminator(v, image, label, on):
    plain = lambda x, name: lrelu(conv(x, v[f"{name}/weight"]) + v[f"{name}/bias"][:, None, None])
    x = plain(image, "FromRGB_lod0")
    for r in (16, 8):
        x = blur(plain(x, f"{r}x{r}/Conv0"), on)
        name = f"{r}x{r}/Conv1_down"
        x = lrelu(halve(conv(x, v[f"{name}/weight"])) + v[f"{name}/bias"][:, None, None])
    std = np.sqrt(((x - x.mean(axis=0)) ** 2).mean(axis=0) + 1e-8).mean()  # one group
    x = np.concatenate([x, np.full_like(x[:, :1], std)], axis=1)
    x = plain(x, "4x4/Conv").reshape(len(x), -1)
    x = lrelu(dense(x, v["4x4/Dense0/weight"]) + v["4x4/Dense0/bias"])
    x = dense(x, v["4x4/Dense1/weight"], 1.0) + v["4x4/Dense1/bias"]
    return (x * label).sum(axis=1, keepdims=True) if label.shape[1] else x


CASES = {
    "official": {},
    "labels_fused_fixed": {"labels": 3, "fused_scale": True, "rgb": (16,)},
    "traditional": TRADITIONAL,
}


@pytest.mark.parametrize("case", CASES)
def test_imported_networks_compute_what_the_file_says(tmp_path, case):
    options = CASES[case]
    args = {k: v for k, v in options.items() if k not in ("labels", "rgb")}
    g, d, nets = make(**options)
    model = load_model(write(tmp_path, nets), whole=True)
    labels = options.get("labels", 0)
    assert (model.config.grows, model.config.label_dim) == ("rgb" not in options, labels)
    rng = np.random.default_rng(3)
    z, label = rng.standard_normal((4, Z)), np.eye(max(labels, 1))[rng.integers(0, max(labels, 1), 4)][:, :labels]
    wide = lambda arrays: {k: x.astype(np.float64) for k, x in arrays.items()}
    w = mapping(wide(g), z, label)
    image = synthesis(wide(g), w, args)
    logits = discriminator(wide(d), image, label, "blur_filter" not in args)

    @jax.jit
    def forward(g, d, z, label):
        ws = model.gan.map_latents(g, {"z": z}, label)
        sample, _ = model.gan.synthesize(g, ws, {}, noise="const")
        return ws, sample["image"], model.gan.discriminate(d, {}, sample, label)[0]

    ws, made, scores = jax.device_get(forward(model.g_ema, model.d, jnp.float32(z), jnp.float32(label)))
    np.testing.assert_allclose(ws, np.repeat(w[:, None], ws.shape[1], axis=1), rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(made.transpose(0, 3, 1, 2), image, rtol=1e-3, atol=2e-4 * np.abs(image).max())
    np.testing.assert_allclose(scores, logits, rtol=2e-3, atol=1e-3 * np.abs(logits).max())
    np.testing.assert_array_equal(model.w_avg, g["dlatent_avg"])


def test_a_file_becomes_a_model_folder_and_back(tmp_path):
    config, nets, provenance = convert_pickle(write(tmp_path, make()[2]))
    write_model_folder(tmp_path / "model", config, nets, provenance)
    model, again = read_model_folder(tmp_path / "model")
    assert model["architecture"] == "stylegan1" and provenance["era"] == "tf"
    jax.tree.map(np.testing.assert_array_equal, again, nets)
    assert config["conv_clamp"] == 0.0 and config["channel_base"] == 64 and config["mapping_layer_dim"] == 7
    with pytest.raises(BadCheckpointError, match="'stylegan1' has no official PyTorch network;"):
        official_state_dicts(config, nets)


def test_official_sizes_are_what_the_arguments_leave_out(tmp_path):
    """Of a file of 1024x1024 nothing but the arguments is read here: fmap_base 8192, eight layers of 512."""
    from stylegan_jax.convert.arguments import stylegan1
    from stylegan_jax.convert.arguments.shared import DEFAULTS
    from stylegan_jax.convert.importer import net_table
    from stylegan_jax.convert.pickles import OfficialNet

    net = OfficialNet("G_style", 3, (), {"num_channels": 3, "resolution": 1024, "label_size": 0}, {}, {}, {})
    net.params.update({f"synthesis/ToRGB_lod{k}/weight": np.zeros(0) for k in range(9)})
    found, _ = stylegan1.generator_arguments(net)
    table = net_table(DEFAULTS | found, "g")
    sizes = [math.prod(slot.shape) for slot in table.values() if slot.where[0] == "params"]
    assert sum(sizes) == 26_219_627
    assert len([name for name in table if name.startswith("synthesis/noise")]) == 18


@pytest.mark.parametrize(("fused", "least"), [("auto", 128), (None, 128), (True, 8), (False, 512)])
def test_kernels_are_turned_round_where_enlarging_is_part_of_them(tmp_path, fused, least):
    """By default from 128x128 on; what a turned kernel computes is tested above, at 16x16."""
    widths = {4: 8, 8: 8, 16: 8, 32: 8, 64: 4, 128: 2, 256: 1}
    args = G_ARGS | {"resolution": 256, "fmap_base": 128} | ({} if fused is None else {"fused_scale": fused})
    arrays = draw(generator_shapes(0, args, tuple(widths), widths), 1)
    net = forge.tf_network("G", 3, args, arrays, "training.networks_stylegan.G_style")
    _, nets, _ = convert_pickle(write(tmp_path, (net, net, net)), ["G"])
    for r in [*widths][1:]:
        block, size = nets["g"]["params"]["synthesis"][f"b{r}"], f"synthesis/{r}x{r}"
        stored = arrays[f"{size}/Conv0_up/weight"]
        np.testing.assert_array_equal(block["conv0"]["weight"], stored[::-1, ::-1] if r >= least else stored)
        np.testing.assert_array_equal(block["conv1"]["weight"], arrays[f"{size}/Conv1/weight"])


def _without(name: str) -> tuple:
    g, d, _ = make()
    del g[name]
    net = forge.tf_network("G", 3, G_ARGS, g)
    return net, forge.tf_network("D", 3, D_ARGS, d), net


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: _without("synthesis/8x8/Conv1/StyleMod/bias"), "missing: synthesis/8x8/Conv1/StyleMod/bias"),
        (lambda: make(my_option=1)[2], "unknown arguments: my_option"),
        (lambda: make(use_wscale=False)[2], "use_wscale differs from True"),
        (lambda: make(fused_scale="maybe")[2], "fused_scale is 'maybe'; known are True, False, 'auto'"),
        (lambda: make(fmap_max="many")[2], "fmap_max is 'many', not a count"),
        (lambda: make(nonlinearity="swishy")[2], "activation is 'swishy'; known are lrelu"),
        (lambda: make(blur_filter=[0, 0])[2], "blur_filter"),
    ],
)
def test_files_that_do_not_fit_say_why(tmp_path, content, message):
    with pytest.raises(BadCheckpointError, match=message):
        convert_pickle(write(tmp_path, content()))
