"""StyleGAN-XL: published sizes, plans of stages, what a stage keeps, embeddings, mean styles, bad input."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import models
from stylegan_jax.config import ARCH_RULES, ConfigError
from stylegan_jax.config.arch.stylegan_xl import largest_map, make_plan, split_plan, stem_of
from stylegan_jax.convert.importer import net_table
from stylegan_jax.models import stylegan3
from stylegan_jax.models.gan import centre_per_class
from tests.parity.xl_adapters import model_config

from . import variants
from .test_stylegan3 import sizes_only

TABLES = json.loads((Path(__file__).parent.parent / "golden" / "xl_state_tables.json").read_text())["subcases"]
GENERATORS = [case for case in TABLES if case["kind"] == "generator"]
T = {"img_resolution": 16, "num_layers": 10, "channel_base": 65536, "channel_max": 1024}
R = {"conv_kernel": 1, "use_radial_filters": True, "channel_base": 131072, "channel_max": 2048}


def stages(*pairs):
    return [{"up_factor": up, "head_layers": layers} for up, layers in pairs]


@pytest.mark.parametrize(
    ("stem", "heads", "num_ws", "size"),
    [
        (T | {"c_dim": 1000}, (), 12, 101_883_463),
        (T | {"c_dim": 1000}, ((2, 7),), 17, 151_701_063),
        (T | {"c_dim": 1000}, ((2, 7),) * 4, 32, 233_375_910),
        (T | {"c_dim": 1000}, ((2, 7),) * 6, 42, 236_106_655),
        (T | {"c_dim": 0} | R, ((2, 7),), 17, 84_573_703),
    ],
)
def test_published_parameter_counts(stem, heads, num_ws, size, monkeypatch):
    monkeypatch.setattr(stylegan3, "filtered_lrelu", sizes_only)  # parameters do not depend on what it computes
    gan = models.build(model_config(stem, stages(*heads)))
    shapes = jax.eval_shape(gan.init_g, jax.random.key(0))["params"]
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) == size
    assert gan.spec.num_ws == num_ws


@pytest.mark.parametrize("case", GENERATORS, ids=lambda case: str(len(case["parameters"])))
def test_names_and_shapes_are_those_of_full_size_official_files(case, monkeypatch):
    monkeypatch.setattr(stylegan3, "filtered_lrelu", sizes_only)
    model = model_config(case["config"], case["config"]["stages"], num_lowp_res=4)
    table = net_table(json.loads(json.dumps(dataclasses.asdict(model))), "g")
    found = {name: list(entry.shape) for name, entry in table.items()}
    assert found == case["parameters"] | case["buffers"]


def test_a_stage_keeps_what_is_not_critically_sampled_and_skips_one_number():
    model = model_config(T, stages((2, 7), (2, 7)), num_lowp_res=4)
    below, new = split_plan(model)
    assert [p.index for p in (*below, *new)] == [*range(8), *range(9, 22)]
    assert [p.official_name for p in new[:2]] == ["L14_52_1024", "L15_84_1024"]
    assert new[0].source == below[-1].out and new[0].out == below[-1].out._replace(half_width=new[0].out.half_width)
    assert below == tuple(p for p in make_plan(stem_of(model, 1)).layers if not p.is_critical)
    assert split_plan(stem_of(model)) == ((), make_plan(stem_of(model)).layers)
    assert [stem_of(model, i).resolution for i in range(3)] == [16, 32, 64]


def test_the_largest_map_is_what_the_layer_makes_in_memory():
    layer, shape = largest_map(make_plan(model_config(T, stages((2, 7)))))
    assert (layer.index, shape) == (10, (114, 114, 1024)) and layer.tmp_rate == 64
    text = ARCH_RULES["stylegan_xl"].describe(model_config(T, stages((2, 7))))
    assert "stage 1, x2: to height 32, 8 layers kept, 8 new (L9 to L16)" in text
    assert "largest map: 114x114x1024 in L10, 50.8 MiB per image in float32" in text
    assert "\n  L16" not in text and text.count("\n  L") == 15  # the last one is called rgb


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"up_factors": (2,), "head_layers": (2,)}, r"head_layers is \(2,\); each must be at least 3"),
        ({"up_factors": (3,), "head_layers": (7,)}, r"up_factors is \(3,\); each must be one of \(2, 4, 8, 16\)"),
        ({"up_factors": (2, 2), "head_layers": (7,)}, r"head_layers is \(7,\) and up_factors is \(2, 2\); each stage"),
        (
            {"up_factors": (16,), "head_layers": (7,)},
            r"resolution is 4; .* at least 8 .*be at most 8",
        ),
        ({"embed_rows": 2, "label_dim": 3}, r"label_dim is 3; the table of embeddings has 2 rows; set .*at least 3"),
        ({"grows": True}, "grows by stages of its own"),
        (
            {"up_factors": (16,), "head_layers": (3,), "resolution": 16384, "channel_base": 1 << 24},
            r"layer L5 upsamples by .*, 32772x32772x8, has 2\^31 values or more; with 3 head "
            r"layers at height 1024 these factors fit: 2, 4; use one",
        ),
        ({"resolution": 65536, "channel_base": 1 << 24}, "the stem alone is too large: use fewer channels"),
    ],
)
def test_what_no_plan_can_take_raises_an_error(changes, words):
    own = {k: changes.pop(k) for k in ("up_factors", "head_layers", "embed_rows") if k in changes}
    with pytest.raises(ConfigError, match=words):
        variants.make_config(
            "stylegan_xl", **{"resolution": 64, "base_size": (4, 4), "stylegan3": {}} | changes, stylegan_xl=own
        )


def test_a_label_reads_its_row_of_the_table_alone():
    b = variants.build("stylegan_xl", "labels_stage")
    table = b.g["params"]["mapping"]["embed"]["weight"]

    @jax.jit
    def gradient(cond):
        total = lambda params: b.gan.map_latents({"params": params}, {"z": b.inputs["z"][:2]}, cond).sum()
        return jax.grad(total)(b.g["params"])["mapping"]["embed"]["weight"]

    rows = np.abs(gradient(jnp.eye(3)[jnp.array([2, 0])])).max(axis=1)
    assert table.shape == (4, 5) and (rows > 0).tolist() == [True, False, True, False]


def test_mean_styles_are_per_class_and_move_row_by_row():
    gan = variants.build("stylegan_xl", "labels_stage").gan
    assert gan.spec.w_avg == (3, 10) and gan.centre is centre_per_class
    rng = np.random.default_rng(0)
    table, w, classes = rng.standard_normal((3, 10)), rng.standard_normal((6, 10)), np.array([1, 2, 1, 1, 2, 1])
    want = table.copy()
    for row, k in zip(w, classes, strict=True):
        want[k] = row + 0.9 * (want[k] - row)
    got = gan.move_centre(jnp.asarray(table), jnp.asarray(w), jnp.eye(3)[classes], 0.9)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_magnitudes_are_read_and_do_not_move():
    b = variants.build("stylegan_xl", "labels_stage")
    ws = jnp.zeros((2, b.gan.spec.num_ws, b.gan.spec.w_dim))
    run = jax.jit(lambda g: b.gan.synthesize(g, ws, {}, train=True))
    image, moved = run(b.g)
    buffers = jax.tree.map(lambda x: x, b.g["buffers"])
    buffers["synthesis"]["L0"]["magnitude_ema"] = jnp.float32(9)
    assert moved == {} and not np.allclose(run(b.g | {"buffers": buffers})[0]["image"], image["image"])


def test_without_labels_the_table_is_there_and_nothing_reads_it():
    model = variants.make_config("stylegan_xl", label_dim=0)
    gan = models.build(model)
    g = variants.draw(gan.init_g, np.random.default_rng(0))
    assert g["params"]["mapping"]["embed"]["weight"].shape == (4, 5) and gan.spec.w_avg == (10,)
    total = lambda params: gan.map_latents({"params": params}, {"z": jnp.ones((2, 6))}, jnp.zeros((2, 0))).sum()
    gradients = jax.jit(jax.grad(total))(g["params"])["mapping"]
    assert not np.any(gradients["embed"]["weight"]) and np.any(gradients["fc0"]["weight"])
