"""The dry run: resolved config, parameter totals, a row per program, memory; and the memory of known programs."""

from __future__ import annotations

import functools
import json
import math
import re

import jax
import jax.numpy as jnp
import pytest
import toy

from configs import emoji, quickstart, stylegan_v_quickstart, tiny
from stylegan_jax import models
from stylegan_jax.config import ConfigError, from_dict
from stylegan_jax.features import load_features, shapes_of
from stylegan_jax.features.backbones import BACKBONES
from stylegan_jax.train import estimate
from stylegan_jax.train.gan import task as gan_task


def tree(**model):
    c = tiny.get_config()
    c.model.label_dim = 0
    c.train.posthoc_ema = (0.05, 0.1)
    c.model.update(model)
    return c


@functools.cache
def text_of(wide: bool) -> str:
    c = tree()
    if wide:  # so that the numbers show in GFLOP and GiB
        c.model.channel_base, c.model.channel_max, c.train.batch_size = 2048, 128, 64
    return estimate.dry_run(from_dict(c))


def test_the_resolved_config_comes_first():
    shown, end = json.JSONDecoder().raw_decode(text_of(False))
    assert shown == json.loads(json.dumps(from_dict(tree()).to_dict()))
    assert text_of(False)[end:].startswith("\n\ngenerator parameters\n")


def test_an_unset_label_length_is_resolved_to_none():
    c = tree(label_dim=-1)
    assert json.JSONDecoder().raw_decode(estimate.dry_run(from_dict(c)))[0]["model"]["label_dim"] == 0


@pytest.mark.parametrize("recipe", [quickstart, emoji])
def test_the_labels_of_bundled_data_are_read_and_no_others(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the data are the package's
    c = recipe.get_config()
    assert estimate.without_data(from_dict(c), "this").model.label_dim == 9
    c.data.path = "mine.zip"
    with pytest.raises(ConfigError, match="this reads only data that come with the package, so set"):
        estimate.without_data(from_dict(c), "this")


def test_parameter_totals_are_those_of_the_networks():
    gan = models.build(from_dict(tree()).model)
    key = jax.random.key(0)
    sizes = lambda init: [math.prod(x.shape) for x in jax.tree.leaves(jax.eval_shape(init, key)["params"])]
    for title, init in (("generator", gan.init_g), ("discriminator", gan.init_d)):
        table = text_of(False).split(f"{title} parameters\n")[1].split("\n\n")[0].splitlines()
        numbers = [int(row.split()[-1].replace(",", "")) for row in table]
        assert table[-1].split()[0] == "total"
        assert sorted(numbers[:-1]) == sorted(sizes(init))
        assert numbers[-1] == sum(sizes(init))


def test_clips_are_counted_by_their_frames():
    c = stylegan_v_quickstart.get_config()
    c.data.path = "videos.zip"
    c.model.update({"resolution": 16, "label_dim": 0})
    c.model.stylegan_v.concat_res = 8
    c.train.update({"batch_size": 64, "total_kimg": 60})
    config = from_dict(c)
    text = estimate.dry_run(config)
    assert config.model.stylegan_v.frames == 3 and "cost per iteration of 192 images (64 clips), on one device" in text
    row = {name: float(x.replace(",", "")) for name, x in re.findall(r"^  (\w+) +([\d.,]+) +[\d.,]+ GiB$", text, re.M)}
    per_image = float(re.search(r"per image shown, .*: ([\d.]+) GFLOP", text)[1])
    once = row["g_main"] + row["d_main"] + row["d_reg"] / config.loss.d_reg_interval + row["finish"]
    assert per_image == pytest.approx(once / 192, abs=0.006) and per_image > 0.02
    whole = float(re.search(r"whole run of 60 kimg: ([\d.e-]+) EFLOP", text)[1])
    assert whole == pytest.approx(per_image * 1e9 * 60_000 / 1e18, rel=0.25)


def test_a_row_per_program_and_a_memory_estimate():
    found = re.findall(r"^  ([gd]_\w+|finish) +([\d.,]+) +([\d.,]+) GiB$", text_of(True), re.MULTILINE)
    rows = {name: (float(flops.replace(",", "")), float(gib)) for name, flops, gib in found}
    assert set(rows) == {"g_main", "g_reg", "d_main", "d_reg", "finish"} and len(found) == 5
    for name, (flops, gib) in rows.items():
        assert gib >= 0 if name == "finish" else flops > 0 and gib > 0  # what ends an iteration costs next to nothing
    total = float(re.search(r"estimate for one device: ([\d.]+) GiB", text_of(True))[1])
    state = float(re.search(r"state \(.*\): ([\d.]+) GiB", text_of(True))[1])
    assert total == pytest.approx(state + max(gib for _, gib in rows.values()), abs=0.011)
    assert float(re.search(r"per image shown, .*: ([\d.]+) GFLOP", text_of(True))[1]) > 0


def test_averages_of_a_width_to_be_chosen_are_counted_in_memory_and_on_disk():
    own = re.search(r"generator parameters\n.*? total +([\d,]+)\n", text_of(True), re.DOTALL)
    line = r"of which 2 averages of .*posthoc_ema: ([\d.]+) MiB; 8 snapshots .* ([\d.,]+) MiB"
    found = re.search(line, text_of(True))
    assert float(found[1]) == pytest.approx(2 * 4 * int(own[1].replace(",", "")) / 2**20, rel=0.02)
    assert float(found[2]) == pytest.approx(8 * float(found[1]), abs=1)


def test_frozen_networks_count_without_their_files(monkeypatch):
    tiny = toy.load_tiny().tree
    with monkeypatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", toy.TINY)
        patch.setattr(gan_task, "shapes_of", lambda name: {"tiny": jax.eval_shape(lambda: tiny)}[name])
        text = estimate.dry_run(toy.make_config(**toy.JUDGED_KEYS, train__class_table="missing.pkl"))
    models.build.cache_clear()  # others ask whether 'tiny' is unknown
    size = 4 * sum(x.size for x in jax.tree.leaves(tiny))
    assert f"  frozen tiny: {size / 2**20:.1f} MiB on every device, in no checkpoint" in text
    assert "  frozen class_table: 0.0 MiB" in text


def test_the_shapes_of_a_network_are_those_of_its_weights():
    loaded = load_features("efficientnet_lite0").params
    assert shapes_of("efficientnet_lite0") == jax.eval_shape(lambda: loaded)


@pytest.mark.parametrize("labels", ["file", "subfolders"])
def test_labels_of_unknown_length_are_refused(labels):
    c = tree(label_dim=-1)
    c.data.source, c.data.path, c.data.labels = "folder", "nowhere", labels
    with pytest.raises(ConfigError, match=r"label_dim is -1 .*set config\.model\.label_dim"):
        estimate.dry_run(from_dict(c))


X = jax.ShapeDtypeStruct((256,), jnp.float32)  # 1 KiB


@pytest.mark.parametrize(
    ("function", "kib"),
    [
        (lambda x: jnp.sin(x) + jnp.cos(x), 3),  # both terms and their sum
        (lambda x: jnp.sin(jnp.cos(jnp.tan(x))), 2),  # a chain: one input, one output at a time
        (lambda x: (jnp.sin(x), jnp.cos(x), jnp.tan(x)), 3),  # results live to the end
        (lambda x: (jnp.sin(x), jnp.cos(x) + jnp.tan(x)), 4),  # a result waits under the 3 of the sum
        (lambda x: jnp.sin(x).astype(jnp.bfloat16), 1.5),
        (lambda x: x, 0),  # inputs do not count
    ],
)
def test_peak_live_bytes_known_by_hand(function, kib):
    assert estimate.peak_live_bytes(jax.make_jaxpr(function)(X).jaxpr) == kib * 1024


def test_peak_live_bytes_counts_the_inside_of_calls():
    inner = jax.jit(lambda x: jnp.sin(x) + jnp.cos(x))
    # 3 KiB inside (its sum among them) and the 1 KiB result outside
    assert estimate.peak_live_bytes(jax.make_jaxpr(lambda x: inner(x))(X).jaxpr) == 4 * 1024


def flops_of(function, *arguments) -> float:
    traced = jax.jit(function).trace(*arguments)
    return estimate.program_flops(traced, traced.lower())


def test_flops_of_products_and_loops():
    a = jax.ShapeDtypeStruct((16, 16), jnp.float32)
    once = 2 * 16**3
    product = lambda x, _: (x @ x, None)
    loop = lambda x: jax.lax.scan(product, x, length=5)[0]
    assert flops_of(lambda x: x @ x, a) == once
    assert flops_of(loop, a) == pytest.approx(5 * once, rel=0.01)  # and a few for the counter
    nested = lambda x: jax.lax.scan(lambda x, _: (jax.jit(loop)(x) @ x, None), x, length=3)[0]
    assert flops_of(nested, a) == pytest.approx(3 * 6 * once, rel=0.01)
    assert flops_of(lambda x: jax.lax.fori_loop(0, 4, lambda _, x: x @ x, x), a) == pytest.approx(4 * once, rel=0.01)
    for name, function in {"sum": lambda x: jnp.sum(loop(x)), "grad": jax.grad(lambda x: jnp.sum(loop(x)))}.items():
        factor = {"sum": 1, "grad": 3}[name]
        assert flops_of(function, a) == pytest.approx(factor * 5 * once, rel=0.05), name
