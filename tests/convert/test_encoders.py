"""Encoders of others: a forged .pt of every layout, the network in it, and a real file of rosinality's."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import forge
import jax
import jax.numpy as jnp
import numpy as np
import official
import pytest
from forge import Call, Name, New
from others import rosinality, write

from stylegan_jax import encoders, load_model
from stylegan_jax.base.trees import flatten
from stylegan_jax.convert import BadCheckpointError
from stylegan_jax.convert.encoders import TYPES, read_encoder
from stylegan_jax.features import FEATURES, irse, load_features
from stylegan_jax.features.network import build, random_tensors

FIXTURES = Path(__file__).parents[1] / "fixtures" / "rosinality"
WIDTHS, SLOTS, W = (16, 16, 32, 32), 6, 32
RESNET = tuple(name for name in TYPES if name.startswith("ResNet"))
RESTYLE = ("BackboneEncoder", "ProgressiveBackboneEncoder", *RESNET)


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def ir_se(channels: int) -> dict[str, tuple[int, ...]]:
    """The arrays of IR-SE50's body as the authors' classes name them, written out independently of the reader."""
    out = {"input_layer.0.weight": (WIDTHS[0], channels, 3, 3), **norm("input_layer.1", WIDTHS[0])}
    out["input_layer.2.weight"] = (WIDTHS[0],)
    inside, index = WIDTHS[0], 0
    for count, width in zip((3, 4, 14, 3), WIDTHS, strict=True):
        for _ in range(count):
            p = f"body.{index}.res_layer"
            out |= norm(f"{p}.0", inside) | {f"{p}.1.weight": (width, inside, 3, 3), f"{p}.2.weight": (width,)}
            out |= {f"{p}.3.weight": (width, width, 3, 3)} | norm(f"{p}.4", width)
            out |= {f"{p}.5.fc1.weight": (width // 16, width, 1, 1), f"{p}.5.fc2.weight": (width, width // 16, 1, 1)}
            if inside != width:
                s = f"body.{index}.shortcut_layer"
                out |= {f"{s}.0.weight": (width, inside, 1, 1)} | norm(f"{s}.1", width)
            inside, index = width, index + 1
    return out


def resnet(channels: int) -> dict[str, tuple[int, ...]]:
    """The same of ReStyle's ResNet34, whose blocks are torchvision's."""
    out = {"conv1.weight": (WIDTHS[0], channels, 7, 7), **norm("bn1", WIDTHS[0]), "relu.weight": (WIDTHS[0],)}
    inside, index = WIDTHS[0], 0
    for group, (count, width) in enumerate(zip((3, 4, 6, 3), WIDTHS, strict=True)):
        for k in range(count):
            p = f"body.{index}"
            out |= {f"{p}.conv1.weight": (width, inside, 3, 3), f"{p}.conv2.weight": (width, width, 3, 3)}
            out |= norm(f"{p}.bn1", width) | norm(f"{p}.bn2", width)
            if group and k == 0:
                out |= {f"{p}.downsample.0.weight": (width, inside, 1, 1)} | norm(f"{p}.downsample.1", width)
            inside, index = width, index + 1
    return out


def encoder_arrays(kind: str) -> dict[str, np.ndarray]:
    """An encoder's arrays, each filled with a number of its own."""
    body = resnet if kind in RESNET else ir_se
    shapes = body(6 if kind in RESTYLE else 3)
    if TYPES[kind] == "w":
        shapes |= {"linear.weight": (W, W), "linear.bias": (W,)}
    for i in range(SLOTS if TYPES[kind] != "w" else 0):
        flat = "Gradual" not in kind and kind != "Encoder4Editing"
        for k in range(4 if flat or i < 3 else 5):
            shapes |= {f"styles.{i}.convs.{2 * k}.weight": (W, W, 3, 3), f"styles.{i}.convs.{2 * k}.bias": (W,)}
        shapes |= {f"styles.{i}.linear.weight": (W, W), f"styles.{i}.linear.bias": (W,)}
    if "Gradual" in kind or kind == "Encoder4Editing":
        for k, width in ((1, WIDTHS[2]), (2, WIDTHS[1])):
            shapes |= {f"latlayer{k}.weight": (W, width, 1, 1), f"latlayer{k}.bias": (W,)}
    fill = lambda i, name, shape: np.full(shape, i, np.int64 if name.endswith("tracked") else np.float32)
    return {name: fill(i, name, shape) for i, (name, shape) in enumerate(shapes.items(), 1)}


def saved(tmp_path, arrays, opts, mean=None, legacy=False, **beside):
    container = forge.Container()
    pack = lambda x: forge.tensor(x, form=container)
    state = OrderedDict((f"encoder.{name}", pack(value)) for name, value in arrays.items())
    state |= {f"decoder.{name}": pack(x) for name, x in rosinality(official.generator(16, seed=2)).items()}
    content = {"state_dict": state, "opts": opts, **beside}
    if mean is not None:
        content["latent_avg"] = pack(np.asarray(mean, np.float32))
    made = container.legacy(content) if legacy else container.zip(content)
    return write(tmp_path, made, "encoder.pt")


@pytest.mark.parametrize("kind", TYPES)
def test_every_array_of_every_layout_has_its_place(tmp_path, kind):
    arrays = encoder_arrays(kind)
    mean = np.arange(W, dtype=np.float32)
    rows = np.tile(mean, (SLOTS, 1)) if TYPES[kind] != "w" else mean[None]
    opts = {"encoder_type": kind, "start_from_latent_avg": True, "output_size": 16, "device": "cuda:0", "lr": 1e-4}
    opts |= {"input_nc": 6} if kind in RESTYLE else {}
    got = read_encoder(saved(tmp_path, arrays, opts, rows))
    spec = got.encoder.spec
    assert spec.kind == TYPES[kind] and spec.num_ws == SLOTS and spec.w_dim == W
    assert spec.body == ("resnet34" if kind in RESNET else "ir_se50") and spec.image == (256, 256, 3)
    assert spec.residual == (kind in RESTYLE) and spec.iterations == (5 if spec.residual else 1)
    assert spec.pyramid == (kind not in RESTYLE or "Gradual" in kind)
    tree = flatten({part: got.variables[part] for part in ("params", "batch_stats")})
    numbers = {float(x.reshape(-1)[0]): x.size for x in tree.values()}
    assert all(np.all(x == x.reshape(-1)[0]) for x in tree.values())
    idle = {"latlayer2.weight", "latlayer2.bias"} & set(arrays)  # six styles do not read the finest map
    used = {name: x for name, x in arrays.items() if not name.endswith("tracked") and name not in idle}
    assert numbers == {float(x.reshape(-1)[0]): x.size for x in used.values()}
    assert bool(idle) == any("latlayer2" in note for note in got.notes)
    first = "conv1.weight" if kind in RESNET else "input_layer.0.weight"
    assert tree["params/body/input/conv"].flat[0] == arrays[first].flat[0]
    np.testing.assert_array_equal(got.variables["average"]["w"], np.tile(mean, (SLOTS, 1)))
    shapes = jax.eval_shape(got.encoder.init, jax.random.key(0))
    jax.tree.map(lambda x, y: np.testing.assert_equal(x.shape, y.shape), shapes, got.variables)
    images = jax.ShapeDtypeStruct((1, 256, 256, spec.channels), jnp.float32)
    assert jax.eval_shape(got.encoder.encode, got.variables, images)[0].shape == (1, SLOTS, W)
    built = rebuilt(got)
    assert built.spec == spec._replace(halvings=built.spec.halvings)
    assert built.spec.halvings[: len(spec.halvings)] == spec.halvings or spec.kind == "w"


def rebuilt(got):
    """The encoder that the keys of a file build."""
    spec = got.encoder.spec
    return encoders.build(got.config, num_ws=spec.num_ws, w_dim=spec.w_dim, channels=spec.image[2])


def test_settings_may_be_a_namespace_and_say_that_images_are_wide(tmp_path):
    opts = New(Name("argparse", "Namespace"), state={"encoder_type": "Encoder4Editing", "dataset_type": "cars_encode"})
    arrays = {name: x for name, x in encoder_arrays("Encoder4Editing").items() if x.dtype == np.float32}
    path = saved(tmp_path, arrays, opts, np.zeros((SLOTS, W)), legacy=True, global_step=4)
    got = read_encoder(path)
    assert got.encoder.spec.image == (192, 256, 3) and "cars" in got.notes[0] and got.encoder.spec.start_from_average


def test_settings_that_are_no_plain_data_do_not_hide_the_others(tmp_path):
    opts = {"encoder_type": "Encoder4Editing", "device": Call(Name("torch", "device"), "cuda")}
    path = saved(tmp_path, encoder_arrays("Encoder4Editing"), opts, np.zeros((SLOTS, W)))
    assert read_encoder(path).encoder.spec.kind == "e4e"


def test_files_that_are_no_encoder(tmp_path):
    good, zeros = encoder_arrays("Encoder4Editing"), np.zeros((SLOTS, W))
    opts = {"encoder_type": "Encoder4Editing"}
    nan = good | {"styles.0.linear.bias": np.full(W, np.nan, np.float32)}
    without = {name: x for name, x in good.items() if name != "body.7.res_layer.2.weight"}
    bad = {
        "has no encoder_type.*pass kind='e4e'": (good, {}, zeros),
        "has encoder_type='Mystery'": (good, {"encoder_type": "Mystery"}, zeros),
        "lacks the array encoder.body.7.res_layer.2.weight": (without, opts, zeros),
        "does not have: extra": (good | {"extra": np.ones(2, np.float32)}, opts, zeros),
        "styles.0.linear.bias holds NaN": (nan, opts, zeros),
        "impossible shape": (good | {"styles.2.convs.0.bias": np.ones(3, np.float32)}, opts, zeros),
        "latent_avg has shape .5, 32.": (good, opts, np.zeros((5, W))),
        "has no latent_avg": (good, opts | {"start_from_latent_avg": True}, None),
        "neither the arrays of IR-SE nor": ({"styles.0.linear.weight": np.ones((W, W), np.float32)}, opts, zeros),
        "no style blocks": (ir_se_only(), opts, zeros),
    }
    for words, (arrays, settings, mean) in bad.items():
        with pytest.raises(BadCheckpointError, match=words) as raised:
            read_encoder(saved(tmp_path, arrays, settings, mean))
        assert str(tmp_path) in str(raised.value)
    with pytest.raises(BadCheckpointError, match="cannot be read"):
        read_encoder(tmp_path / "nowhere.pt")
    with pytest.raises(BadCheckpointError):
        read_encoder(write(tmp_path, {"state_dict": {"a": 1}}, "x.pt"))


def ir_se_only() -> dict[str, np.ndarray]:
    return {name: np.ones(shape, np.float32) for name, shape in ir_se(3).items()}


@pytest.mark.parametrize("name", ["ir_se50", "curricularface"])
def test_every_array_of_a_face_network_counts(tmp_path, monkeypatch, name):
    """Forged as the authors' .pth are, with narrow layers and one unit per group."""
    monkeypatch.setattr(irse, "WIDTHS", (16, 16, 32, 32))
    monkeypatch.setattr(irse, "UNITS", dict.fromkeys(irse.UNITS, (1, 1, 1, 1)))
    tensors = random_tensors(FEATURES[name].shapes(), 1)
    if name == "ir_se50":  # whose last normalisation has a scale and a shift
        tensors |= {f"output_layer.4.{part}": np.linspace(0.5, 1, 512, dtype=np.float32) for part in ("weight", "bias")}
    container = forge.Container()
    counters = {"output_layer.4.num_batches_tracked": np.asarray(7, np.int64)}
    state = OrderedDict((key, forge.tensor(x, form=container)) for key, x in (tensors | counters).items())
    net = load_features(name, write(tmp_path, container.zip(state), "weights.pth"))
    assert net.outputs == {"embedding": 512, "crop": 512}
    same = build(name, FEATURES[name], tensors, "")
    assert same.digest == net.digest
    for key, value in tensors.items():
        changed = build(name, FEATURES[name], tensors | {key: value + np.float32(0.5)}, "")
        assert changed.digest != net.digest, key


def test_a_real_network_of_rosinality_draws_its_own_images():
    """Made by tests/peers/rosinality.py, outside the project."""
    model = load_model(FIXTURES / "rosinality16.pt")
    with np.load(FIXTURES / "rosinality16.npz") as file:
        want = dict(file)
    ws = model.map(want["z"])
    np.testing.assert_allclose(ws, np.repeat(want["w"][:, None], 6, axis=1), atol=1e-5)
    for name, psi in (("image", 1.0), ("truncated", 0.6)):
        mean = np.asarray(model.w_avg)
        image = model.synthesize(mean + psi * (ws - mean), noise="const")
        error = np.abs(np.asarray(image).transpose(0, 3, 1, 2) - want[name]).max()
        assert error < 1e-5 * max(1.0, np.abs(want[name]).max()), (name, error)
