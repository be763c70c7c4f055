"""Tables: every array of a network has one official name, whatever the architecture and its options."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from configs import common
from stylegan_jax.base.trees import flatten
from stylegan_jax.config import ModelConfig, model_from_dict
from stylegan_jax.convert import BadCheckpointError, official_state_dicts, read_model_folder, write_model_folder
from stylegan_jax.convert.importer import EXPORTABLE, NAMES, net_table
from stylegan_jax.convert.tables import Fixed, Names, abstract, check_tree, export_net, import_net, make_table
from stylegan_jax.models import ARCHS, Gan
from stylegan_jax.models.gan import make_spec

BASE = common.get_config().model.to_dict()
SMALL = {"resolution": 16, "channel_base": 64, "channel_max": 8, "z_dim": 6, "w_dim": 5, "mapping_layers": 2}
SMALL |= {"d_mapping_layers": 1, "label_dim": 0}
TRADITIONAL = {"use_styles": False, "const_input": False, "use_pixel_norm": True, "use_instance_norm": False}
MOTION = {"max_num_frames": 40, "motion_z_dim": 6, "motion_v_dim": 7, "motion_kernel": 3, "time_dim": 5}
MOTION |= {"concat_res": 8}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "stylegan1": {
        "grows": {"grows": True, "img_channels": 1},
        "labels": {"label_dim": 3, "mapping_layer_dim": 7},
        "traditional": {"stylegan1": TRADITIONAL, "use_noise": False, "mbstd_channels": 0},
    },
    "stylegan2": {
        "plain": {},
        "resnet_labels": {"g_arch": "resnet", "d_arch": "skip", "label_dim": 3, "mapping_embed_dim": 4, "cmap_dim": 7},
        "orig": {"g_arch": "orig", "d_arch": "orig", "use_noise": False, "mapping_layer_dim": 9},
    },
    "stylegan3": {
        "t": {"stylegan3": {"num_layers": 4}},
        "r_labels": {"stylegan3": {"num_layers": 4, "conv_kernel": 1, "use_radial_filters": True}, "label_dim": 2},
    },
    "stylegan_xl": {
        "stem": {"stylegan3": {"num_layers": 4}, "stylegan_xl": {"embed_rows": 4, "embed_dim": 7}},
        "labels_stage": {
            "stylegan3": {"num_layers": 4, "conv_kernel": 1, "use_radial_filters": True},
            "stylegan_xl": {"up_factors": [2], "head_layers": [3], "embed_rows": 4, "embed_dim": 7},
            "resolution": 32,
            "label_dim": 3,
        },
    },
    "r3gan": {
        "plain": {"r3gan": {"widths": [8, 8, 4], "groups": [4, 4, 2], "blocks": [1, 2, 1]}, "mbstd_channels": 0},
        "labels": {
            "r3gan": {"widths": [8, 6, 4], "groups": [2, 3, 1], "blocks": [2, 1, 1], "expansion": 1, "embed_dim": 3},
            "mbstd_channels": 0,
            "label_dim": 3,
            "cmap_dim": 7,
        },
    },
    "stylegan_v": {
        "plain": {"stylegan_v": MOTION, "use_noise": False},
        "labels": {
            "stylegan_v": MOTION | {"cond_type": "concat_w", "sampling": "uniform", "frames": 4},
            "use_noise": False,
            "label_dim": 3,
            "cmap_dim": 7,
        },
        "image": {"stylegan_v": {"frames": 1, "motion_v_dim": 0}, "use_noise": False},
    },
}
CASES = [(arch, name) for arch, variants in VARIANTS.items() for name in variants]


def tree_of(arch: str, **changes: Any) -> dict[str, Any]:
    """Return a small model configuration as a nested dict; changes of a group of keys leave its others."""
    groups = {key: BASE[key] | value for key, value in changes.items() if isinstance(value, dict)}
    return BASE | SMALL | {"arch": arch} | changes | groups


def make(arch: str, variant: str) -> tuple[dict[str, Any], ModelConfig]:
    config = tree_of(arch, **VARIANTS[arch][variant])
    return config, model_from_dict(config)


def draw(tree: Any, seed: int = 0) -> Any:
    """Return values of the shapes of an abstract tree."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: np.asarray(rng.standard_normal(leaf.shape), np.float32), tree)


def test_every_architecture_has_variants_here_and_names():
    assert set(VARIANTS) == set(ARCHS), "add variants of the new architecture to VARIANTS above"
    missing = set(ARCHS) - set(NAMES)
    assert not missing, f"{missing} have no names: add convert/<arch>.py and a line in convert.importer.NAMES"


@pytest.mark.parametrize("net", ["g_ema", "d"])
@pytest.mark.parametrize(("arch", "variant"), CASES)
def test_every_array_has_one_official_name(arch, variant, net):
    config, model = make(arch, variant)
    tree = abstract(ARCHS[arch](model), net)
    table = net_table(config, net)
    owners: dict[str, list[str]] = {path: [] for path in flatten(tree)}
    for name, entry in table.items():
        if not isinstance(entry, Fixed):
            owners.setdefault("/".join(entry.where), []).append(name)
    wrong = {path: names for path, names in owners.items() if len(names) != 1}
    assert not wrong and len(owners) == len(flatten(tree)), f"arrays with no or several official names: {wrong}"
    values = draw(tree)
    official = export_net(values, table)
    assert {name: x.shape for name, x in official.items()} == {name: entry.shape for name, entry in table.items()}
    jax.tree.map(np.testing.assert_array_equal, import_net(official, table), values)
    assert not official, "the arrays were not released one by one"


@pytest.mark.parametrize(("arch", "variant"), CASES)
def test_styles_and_affine_layers_keep_their_official_names(arch, variant):
    """One name per architecture that no rule of ours could have invented, with its shape."""
    table = net_table(make(arch, variant)[0], "g")
    theirs = {"stylegan1": ("mapping/Dense1/bias", (5,)), "stylegan2": ("mapping.fc1.bias", (5,))}
    theirs["r3gan"] = ("Model.MainLayers.0.Layers.0.Basis", (8, 4, 4))
    theirs["stylegan_v"] = ("synthesis.b4.torgb.affine.weight", (8, 5 + 10 * (variant == "labels")))
    name, shape = theirs.get(arch, ("synthesis.input.affine.weight", (4, 5)))
    assert table[name].shape == shape


def test_two_arrays_of_one_name_are_a_mistake_that_says_where():
    tree = {"params": {"a": {"weight": jax.ShapeDtypeStruct((2, 3), jnp.float32)}, "b": {"weight": jnp.zeros(2)}}}
    with pytest.raises(ValueError, match=r"params/a/weight and params/b/weight both have the official name 'weight'"):
        make_table(tree, Names(lambda path: path[-1]))
    fixed = {"a.weight": Fixed(np.zeros(1), "zero")}
    with pytest.raises(ValueError, match=r"only official files hold and params/a/weight both have"):
        make_table(tree, Names(lambda path: ".".join(path[1:]), fixed=fixed))


def test_further_collections_and_counters_are_carried():
    """As of a discriminator with batch norm: its statistics are not parameters, and its counter is an integer."""

    def init(key, frozen):
        params = {"conv": {"weight": jax.random.normal(key, (3, 3, 2, 4))}}
        stats = {"bn": {"mean": jnp.zeros(4), "var": jnp.ones(4), "steps": jnp.zeros((), jnp.int32)}}
        return {"params": params, "batch_stats": stats}

    renamed = {"mean": "running_mean", "var": "running_var", "steps": "num_batches_tracked"}
    spec = make_spec((8, 8, 3), 4, 2, 4)
    gan = Gan(spec, *[None] * (len(Gan._fields) - 1))._replace(init_d=init)  # type: ignore[arg-type]
    tree = abstract(gan, "d")
    table = make_table(tree, Names(lambda path: ".".join([*path[1:-1], renamed.get(path[-1], path[-1])])))
    assert [*table] == ["bn.num_batches_tracked", "bn.running_mean", "bn.running_var", "conv.weight"]
    official = {name: np.full(entry.shape, 7, np.float64) for name, entry in table.items()}
    official["bn.num_batches_tracked"] = np.array(2**24 + 1)
    ours = import_net(dict(official), table)
    assert ours["batch_stats"]["bn"]["steps"] == 2**24 + 1 and ours["batch_stats"]["bn"]["steps"].dtype == np.int32
    assert ours["params"]["conv"]["weight"].shape == (3, 3, 2, 4)
    for name, value in export_net(ours, table).items():
        np.testing.assert_array_equal(value, official[name])


def test_networks_made_from_frozen_ones_need_their_trees():
    frozen = {
        "backbone": {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in toy.load_backbone().tree.items()}
    }
    tree = abstract(toy.PROJECTED, "g_ema", frozen)
    assert tree["buffers"]["embedding"].shape == (6, toy.CLASSES) and tree["w_avg"].shape == (toy.CLASSES, 16)
    with pytest.raises(BadCheckpointError, match="its arrays depend on the frozen networks backbone; pass their trees"):
        abstract(toy.PROJECTED, "g_ema")


def test_what_does_not_fit_a_table_is_listed_in_the_order_of_the_layers():
    config, model = make("stylegan2", "plain")
    tree = abstract(ARCHS["stylegan2"](model), "g")
    values = draw(tree)
    values["params"]["synthesis"]["b16"]["conv0"]["bias"] = np.zeros(3)
    values["params"]["synthesis"]["b8"]["conv0"]["bias"] = np.zeros((8, 1))
    words = r"not fit the arguments: \S*b8/conv0/bias is \[8, 1\], expected \[8\], \S*b16/conv0/bias is \[3\], expected"
    for check in (lambda: check_tree(values, tree), lambda: export_net(values, net_table(config, "g"))):
        with pytest.raises(BadCheckpointError, match=words):
            check()


@pytest.mark.parametrize(
    ("arch", "changes"),
    [
        ("stylegan2", {"g_arch": "orig", "d_arch": "orig", "grows": True}),
        ("stylegan2", {"base_size": (4, 6), "img_channels": 4}),
        ("stylegan3", {"base_size": (6, 5), "resolution": 24, "stylegan3": {"num_layers": 4}}),
    ],
    ids=["grows", "wide", "odd"],
)
def test_folders_of_networks_that_no_official_file_has(tmp_path, arch, changes):
    config = tree_of(arch, **changes)
    gan = ARCHS[arch](model_from_dict(config))
    nets = {net: draw(abstract(gan, net)) for net in ("g_ema", "d")}
    write_model_folder(tmp_path / "model", config, nets, {})
    jax.tree.map(np.testing.assert_array_equal, read_model_folder(tmp_path / "model")[1], nets)
    assert arch in EXPORTABLE
    with pytest.raises(BadCheckpointError, match=r"grows is True|base_size is"):
        official_state_dicts(config, nets)
    del nets["d"]["params"]["b4"]["fc"]["bias"]
    with pytest.raises(BadCheckpointError, match="d: missing: params/b4/fc/bias"):
        write_model_folder(tmp_path / "damaged", config, nets, {})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resample_filter": [1] * 100}, "resample_filter has 100 taps; at most 64"),
        ({"arch": "stylegan1", "stylegan1": {"blur_filter": (1.0,) * 100}}, "blur_filter has 100 taps; at most 64"),
        ({"arch": "stylegan3", "stylegan3": {"use_radial_filters": True, "filter_size": 32}}, "taps in all; at most"),
        ({"base_size": (4, 40_000)}, r"images of \(16, 160000, 3\) are larger than 16384"),
        ({"resolution": 1 << 15, "channel_base": 1 << 20}, "resolution 32768 is not a power of two between 8 and"),
    ],
)
def test_arguments_that_no_computer_could_build_raise_an_error_at_once(changes, words):
    with pytest.raises(BadCheckpointError, match=words):
        net_table(tree_of(**{"arch": "stylegan2"} | changes), "g")
