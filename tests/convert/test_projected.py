"""Official projected discriminators: forged files of each layout in, every array accounted for, and out again."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import forge
import numpy as np
import pytest
import safetensors.numpy
import xl

from stylegan_jax import models
from stylegan_jax.config import model_from_dict
from stylegan_jax.convert import BadCheckpointError, backbones, convert_pickle, importer, pickles, tables
from stylegan_jax.convert.folder import read_model_folder, write_model_folder
from stylegan_jax.features import FEATURES, deit, weights
from stylegan_jax.features.backbones import BACKBONES

NATIVE = {xl.LITE0: xl.LITE0}
LAYOUTS: dict[str, tuple[bool, dict[str, str], int]] = {
    "two": (True, {xl.DEIT: xl.DEIT, xl.LITE0: xl.LITE0}, 2),
    "one": (False, NATIVE, 2),
    "early": (True, {xl.LITE0: f"{xl.LITE0}_0", xl.DEIT: f"{xl.DEIT}_1"}, 2),
    "channels": (False, {xl.LITE0: f"{xl.LITE0}_0"}, 1),
}
"""Name -> has labels, frozen networks as the file names them, projections."""


@pytest.fixture(autouse=True, scope="module")
def narrow_transformer():
    """Make DeiT-base a small one; what was traced of it is forgotten at the end."""
    shapes = functools.partial(deit.shapes, xl.WIDTH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FEATURES, "deit_base", FEATURES["deit_base"]._replace(shapes=shapes))
        patch.setitem(BACKBONES, "deit_base", BACKBONES["deit_base"]._replace(channels=(xl.WIDTH,) * 4))
        yield
    models.build.cache_clear()
    tables._network_tree.cache_clear()


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    """Have no weights are installed."""
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "nothing"))
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)


@pytest.fixture(scope="module")
def stem(tmp_path_factory):
    """Return a function of the number of classes that reads a stem."""
    path = tmp_path_factory.mktemp("stem") / "network.pkl"

    def read(c_dim: int) -> pickles.OfficialNet:
        path.write_bytes(forge.dumps(xl.snapshot(xl.Forged(xl.STEM, c_dim).network())))
        return pickles.read_official_pickle(path).nets["G_ema"]

    return read


def convert(tmp_path: Path, arrays: dict[str, np.ndarray], c_dim: int, nets: tuple[str, ...] = ("G_ema", "D")) -> Any:
    g = xl.Forged(xl.STEM, c_dim).network()
    path = tmp_path / "network.pkl"
    path.write_bytes(forge.dumps(xl.snapshot(g, xl.discriminator(arrays))))
    return convert_pickle(path, nets)


def plain(name: str) -> str:
    """An official name without the suffix of early files."""
    return name.replace(f"{xl.LITE0}_0", xl.LITE0).replace(f"{xl.DEIT}_1", xl.DEIT)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_in_and_out_again(tmp_path, layout):
    is_cond, frozen, proj = LAYOUTS[layout]
    arrays = xl.discriminator_arrays(is_cond, frozen, proj=proj)
    config, nets, provenance = convert(tmp_path, arrays, 3 * is_cond)
    own, model = config["projected"], model_from_dict(config)
    assert config["d_arch"] == "projected" and model.projected.projections == proj
    assert own["backbones"] == [{xl.LITE0: "efficientnet_lite0", xl.DEIT: "deit_base"}[name] for name in frozen]
    assert (own["channels"], own["expand"], own["heads"]) == (2, True, 4)
    assert own["widths"][1:4] == [16, 8, 4]
    if is_cond:
        assert (own["embed_rows"], own["embed_dim"], config["cmap_dim"]) == (xl.ROWS, xl.DIM, 2)
    state = importer.official_state_dicts(config, nets)["D"]
    is_state = lambda name: ".pretrained." not in name or ("layer" in name and xl.DEIT in name)
    want = {plain(name): value for name, value in arrays.items() if is_state(name)}
    assert set(state) == set(want)
    for name, value in want.items():
        np.testing.assert_array_equal(state[name], 0 if name.endswith("tracked") else value, err_msg=name)
    notes = provenance["nets"]["D"]["notes"]
    assert notes == dict.fromkeys(frozen, "ignored, not compared: no weights are installed")
    kwargs = importer.net_kwargs(config, "d")
    assert (kwargs["backbones"], kwargs["proj_type"], kwargs["interp224"]) == (list(frozen), proj, True)


def test_a_model_folder_holds_it_and_training_starts_from_it(tmp_path):
    arrays = xl.discriminator_arrays(False, NATIVE)
    config, nets, provenance = convert(tmp_path, arrays, 0)
    write_model_folder(tmp_path / "model", config, nets, provenance)
    _, again = read_model_folder(tmp_path / "model")
    assert set(again["d"]) == {"params", "batch_stats", "buffers"}
    np.testing.assert_array_equal(
        again["d"]["buffers"]["efficientnet_lite0"]["ccm2"]["bias"],
        arrays[f"feature_networks.{xl.LITE0}.scratch.layer2_ccm.bias"],
    )


def test_layouts_mean_the_same(tmp_path):
    """A kernel's singular value is the same on either side, and so is a transposed convolution."""
    is_cond, frozen, _ = LAYOUTS["two"]
    arrays = xl.discriminator_arrays(is_cond, frozen)
    _, nets, _ = convert(tmp_path, arrays, 3)
    name = f"discriminators.{xl.LITE0}.mini_discs.1.main.2.main.0"
    kernel = arrays[f"{name}.weight_orig"]
    want = arrays[f"{name}.weight_u"] @ kernel.reshape(len(kernel), -1) @ arrays[f"{name}.weight_v"]
    params, stats = nets["d"]["params"]["efficientnet_lite0"], nets["d"]["batch_stats"]["efficientnet_lite0"]
    ours = params["head1"]["block2"]["conv"]["weight"]
    vectors = stats["head1"]["block2"]
    np.testing.assert_allclose(np.einsum("hwio,hwi,o", ours, vectors["v"], vectors["u"]), want, rtol=1e-5)
    table = arrays[f"discriminators.{xl.LITE0}.mini_discs.1.embed.weight"]
    np.testing.assert_array_equal(params["head1"]["embed"]["weight"], table)
    dense = arrays[f"discriminators.{xl.LITE0}.mini_discs.1.embed_proj.weight"]
    np.testing.assert_allclose(table @ params["head1"]["embed_proj"]["weight"], table @ dense.T, rtol=1e-5)
    place = f"discriminators.{xl.LITE0}.mini_discs.0.main.1.main"
    own, kept = params["head0"]["block1"], stats["head0"]["block1"]
    pairs = {"0.bias": own["conv"]["bias"], "1.weight": own["norm"]["weight"], "1.bias": own["norm"]["bias"]}
    pairs |= {"1.running_mean": kept["mean"], "1.running_var": kept["var"]}
    for part, value in pairs.items():
        np.testing.assert_array_equal(value, arrays[f"{place}.{part}"])
    scale = nets["d"]["buffers"]["efficientnet_lite0"]["csm1"]["bias"]
    np.testing.assert_array_equal(scale, arrays[f"feature_networks.{xl.LITE0}.scratch.layer1_csm.out_conv.bias"])
    grows = arrays[f"feature_networks.{xl.DEIT}.pretrained.layer1.4.weight"]  # [in, out, kh, kw]
    got = nets["d"]["buffers"]["deit_base"]["resize0"]["weight"]
    x = np.random.default_rng(1).standard_normal(len(grows))
    np.testing.assert_allclose(np.einsum("i,hwio->hwo", x, got), np.einsum("i,iohw->hwo", x, grows), rtol=1e-5)


def weights_at_hand(arrays: dict[str, np.ndarray], folder: Path, scale: float = 1.0) -> None:
    """Write a weights file that holds what a discriminator's frozen network does, all but scaled."""
    prefix = f"feature_networks.{xl.LITE0}.pretrained."
    found = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    names = backbones.official_names("efficientnet_lite0")
    tensors = {ours: found[theirs] * np.float32(scale) for theirs, ours in names.items() if ours}
    folder.mkdir(exist_ok=True)
    (folder / "efficientnet-lite0-57934424.pth").write_bytes(safetensors.numpy.save(tensors))


def test_frozen_networks_are_compared_with_the_weights_at_hand(tmp_path, monkeypatch):
    arrays = xl.discriminator_arrays(False, NATIVE)
    source = weights.SOURCES["efficientnet_lite0"][0]._replace(sha256="")
    monkeypatch.setitem(weights.SOURCES, "efficientnet_lite0", (source,))
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "weights"))
    weights_at_hand(arrays, tmp_path / "weights", 1 + 1e-5)
    notes = convert(tmp_path, arrays, 0)[2]["nets"]["D"]["notes"]
    assert notes[xl.LITE0].startswith("ignored, the installed weights are used: equal within 1e-05")
    weights_at_hand(arrays, tmp_path / "weights", 1.01)
    with pytest.raises(BadCheckpointError, match=r"is not the installed one: _conv_stem.weight differs by 0\.0099"):
        convert(tmp_path, arrays, 0)
    assert set(convert(tmp_path, arrays, 0, ("G_ema",))[1]) == {"g_ema"}


def test_names_of_the_frozen_network_are_those_of_the_file_that_is_read():
    """Every array of EfficientNet-Lite0 but its head has a name in official files, and the shape there."""
    shapes, names = FEATURES["efficientnet_lite0"].shapes(), backbones.official_names("efficientnet_lite0")
    head = {name for name in shapes if name.startswith(("_conv_head", "_bn1.", "_fc"))}
    assert {ours for ours in names.values() if ours} == set(shapes) - head
    table = xl.state_shapes(False)
    prefix = f"feature_networks.{xl.LITE0}.pretrained."
    assert set(names) == {name.removeprefix(prefix) for name in table if name.startswith(prefix)}
    for theirs, ours in names.items():
        assert table[prefix + theirs] == (tuple(shapes[ours]) if ours else ())


HEAD = f"discriminators.{xl.LITE0}.mini_discs.2"


@pytest.mark.parametrize(
    ("changes", "c_dim", "words"),
    [
        ({f"{HEAD}.main.1.main.0.weight_v": None}, 0, "missing: .*mini_discs.2.main.1.main.0.weight_v"),
        ({f"{HEAD}.main.2.weight_u": None}, 0, "missing: .*mini_discs.2.main.2.weight_u"),
        ({f"feature_networks.{xl.LITE0}.scratch.layer2_ccm.bias": None}, 0, "missing: .*scratch.layer2_ccm.bias"),
        (
            {f"feature_networks.{xl.LITE0}.pretrained.layer1.0.0.bn1.bias": None},
            0,
            r"its frozen network tf_efficientnet_lite0: missing: layer1\.0\.0\.bn1\.bias",
        ),
        (
            {f"feature_networks.{xl.LITE0}.pretrained.layer9.x": np.ones(2)},
            0,
            r"its frozen network tf_efficientnet_lite0: not part of it: layer9\.x",
        ),
        (
            {f"feature_networks.{xl.LITE0}.pretrained.layer0.0.weight": np.ones((32, 3, 3, 1))},
            0,
            r"layer0\.0\.weight is \[32, 3, 3, 1\], expected \[32, 3, 3, 3\]",
        ),
        ({f"{HEAD}.extra": np.ones(2)}, 0, "not part of this network: .*mini_discs.2.extra"),
        ({f"{HEAD}.main.0.main.1.bias": np.ones(9, np.float32)}, 0, r"main\.1\.bias is \[9\], expected \[8\]"),
        (
            {"feature_networks.resnet50.pretrained.x": np.ones(2)},
            0,
            "its frozen network is 'resnet50'; known are tf_eff",
        ),
        ({f"feature_networks.{xl.LITE0}_3.scratch.layer0_ccm.bias": np.ones(2)}, 0, "the same frozen network twice"),
        ({}, 3, "generator and discriminator differ: one is with labels, the other without labels"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, monkeypatch, stem, changes, c_dim, words):
    arrays = xl.discriminator_arrays(False, NATIVE) | changes
    arrays = {name: value for name, value in arrays.items() if value is not None}
    d = pickles.OfficialNet("ProjectedDiscriminator", 0, (), {}, arrays, {}, {})
    found = pickles.OfficialPickle("torch", {"G_ema": stem(c_dim), "D": d}, {})
    monkeypatch.setattr(importer, "read_official_pickle", lambda *args, **kwargs: found)  # 13 MB, read in others
    with pytest.raises(BadCheckpointError, match=words):
        convert_pickle(tmp_path / "network.pkl")


def test_alone_it_does_not_tell_the_size_of_its_images(tmp_path):
    with pytest.raises(BadCheckpointError, match="convert it with a generator: --nets=g_ema,d"):
        convert(tmp_path, xl.discriminator_arrays(False, NATIVE), 0, ("D",))
