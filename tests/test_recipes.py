"""The recipes have the published settings (train.py of NVlabs/stylegan2-ada-pytorch; cifarbaseline: stylegan2-ada)."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from pathlib import Path

import jax
import pytest

from stylegan_jax import encoders, models
from stylegan_jax.config import from_dict

TABLE = {  # kimg, batch, stddev group, channel base, learning rate, gamma, EMA kimg, ramp, mapping layers, augmentation
    "auto:128,2": (25000, 64, 4, 16384, 0.0025, 0.0512, 20, 0.05, 2, "ada"),
    "auto:256,1": (25000, 16, 4, 16384, 0.0025, 0.8192, 5, 0.05, 2, "ada"),
    "auto:512,4": (25000, 32, 4, 32768, 0.0025, 1.6384, 10, 0.05, 2, "ada"),
    "auto:1024,8": (25000, 32, 4, 32768, 0.002, 6.5536, 10, 0.05, 2, "ada"),
    "stylegan2:256": (25000, 32, 4, 32768, 0.002, 10, 10, 0, 8, "none"),
    "ffhq": (25000, 32, 4, 32768, 0.002, 10, 10, 0, 8, "none"),
    "ffhq256": (25000, 64, 8, 16384, 0.0025, 1, 20, 0, 8, "none"),
    "paper256": (25000, 64, 8, 16384, 0.0025, 1, 20, 0, 8, "ada"),
    "paper512": (25000, 64, 8, 32768, 0.0025, 0.5, 20, 0, 8, "ada"),
    "afhq:wild": (25000, 64, 8, 32768, 0.0025, 0.5, 20, 0, 8, "ada"),
    "brecahad": (25000, 64, 8, 32768, 0.0025, 0.5, 20, 0, 8, "ada"),
    "paper1024": (25000, 32, 4, 32768, 0.002, 2, 10, 0, 8, "ada"),
    "metfaces": (25000, 32, 4, 32768, 0.002, 2, 10, 0, 8, "ada"),
    "cifar10": (100000, 64, 32, 32768, 0.0025, 0.01, 500, 0.05, 2, "ada"),
    "cifarbaseline": (100000, 64, 32, 32768, 0.0025, 0.01, 500, 0.05, 8, "ada"),
}


def load(recipe: str):
    name, _, argument = recipe.partition(":")
    return importlib.import_module(f"configs.{name}").get_config(*[argument] if argument else [])


@pytest.mark.parametrize("recipe", TABLE)
def test_published_settings(recipe):
    c = load(recipe)
    t, m = c.train, c.model
    found = t.total_kimg, t.batch_size, m.mbstd_group, m.channel_base, t.d_lr, c.loss.r1_gamma
    assert (*found, t.ema_kimg, t.ema_rampup, m.mapping_layers, c.augment.mode) == pytest.approx(TABLE[recipe])
    tuned = recipe == "cifar10"  # no path length; the source still lowers the generator's rate for it
    assert t.g_lr == pytest.approx(t.d_lr * (0.8 if tuned else 1))
    assert (c.loss.pl_weight, c.loss.style_mixing_prob) == ((0, 0) if tuned else (2, 0.9))
    assert m.d_arch == ("orig" if tuned else "resnet")
    assert (c.augment.pipe, c.augment.target, c.augment.interval) == ("bgc", 0.6, 4)
    assert c.augment.kimg == (100 if recipe == "metfaces" else 500)
    assert (m.num_lowp_res, m.conv_clamp, m.channel_max, t.w_avg_beta) == (4, 256, 512, 0.995)


@pytest.mark.parametrize(
    "recipe",
    [
        "stylegan2:big",
        "stylegan2:4",
        "auto:4",
        "afhq:cow",
        "cifar10:grey",
        "ffhq_stylegan1:G",
        "stylegan2_ablation:skip",
        "r3gan:ffhq128",
        "r3gan_roadmap:f",
        "stylegan_v:48",
        "stylegan_v:kinetics",
    ],
)
def test_an_argument_that_means_nothing_is_refused(recipe):
    with pytest.raises(ValueError, match=recipe.replace(":", r"\.py:")):
        load(recipe)


ABLATIONS = {  # generator, discriminator
    "ffhq_stylegan1:A": (23_079_115, 23_087_249),
    "ffhq_stylegan1:B": (23_079_115, 23_087_249),
    "ffhq_stylegan1:C": (30_400_651, 23_087_249),
    "ffhq_stylegan1:D": (26_214_539, 23_087_249),
    "ffhq_stylegan1:F": (26_219_627, 23_087_249),
    "stylegan2_ablation:A": (26_219_627, 23_087_249),
    "stylegan2_ablation:D": (24_900_764, 23_087_249),
    "stylegan2_ablation:E": (24_900_764, 24_038_161),
    "stylegan2_ablation:orig-skip": (23_596_292, 23_087_249),
    "stylegan2_ablation:skip-resnet": (24_900_764, 24_038_161),
    "stylegan2_ablation:resnet-orig": (24_557_316, 23_077_137),
}


@pytest.mark.parametrize("recipe", ABLATIONS)
def test_ablations_have_the_parameters_that_their_docstring_states(recipe):
    config = experiment(recipe)
    gan = models.build(config.model)
    shapes = [jax.eval_shape(init, jax.random.key(0))["params"] for init in (gan.init_g, gan.init_d)]
    found = tuple(sum(math.prod(x.shape) for x in jax.tree.leaves(tree)) for tree in shapes)
    assert found == ABLATIONS[recipe]
    text = importlib.import_module(f"configs.{recipe.partition(':')[0]}").__doc__
    assert all(f"{number:,}" in text for number in found)


R3GAN = {  # batch, gamma, augmentation, average, end, parameters of both networks
    "cifar10": (512, (0.05, 0.005), 0.55, 5000, 20_000, (20_781_952, 21_280_512)),
    "ffhq64": (256, (2.0, 0.2), 0.3, 500, 20_000, (22_429_824, 22_381_440)),
    "ffhq256": (256, (150.0, 15.0), 0.3, 500, 20_000, (23_057_952, 23_009_568)),
    "imagenet32": (4096, (0.5, 0.05), 0.5, 50_000, 200_000, (82_914_304, 86_548_992)),
    "imagenet64": (4096, (1.0, 0.1), 0.4, 50_000, 200_000, (103_570_432, 107_205_120)),
}


@pytest.mark.parametrize("preset", R3GAN)
def test_r3gan_has_the_published_settings(preset):
    tree = load(f"r3gan:{preset}")
    tree.data.path = tree.data.path or "images.zip"
    tree.model.label_dim = max(tree.model.label_dim, 0)
    c = from_dict(tree)
    t, loss, end = c.train, c.loss, c.schedule
    found = t.batch_size, (loss.r1_gamma, end.r1_gamma), end.augment_p, end.ema_kimg, end.end_kimg
    assert found == R3GAN[preset][:-1]
    assert (t.g_lr, t.d_lr, end.g_lr, end.d_lr, t.beta1) == (2e-4, 2e-4, 5e-5, 5e-5, 0)
    assert (t.beta2, end.beta2, t.ema_kimg, c.augment.p, end.start_kimg) == (0.9, 0.99, 0, 0, 0)
    assert (loss.adversarial, loss.d_reg, loss.d_reg_interval, loss.d_first) == ("relativistic", "r1+r2", 0, True)
    gan = models.build(c.model)
    shapes = [jax.eval_shape(init, jax.random.key(0))["params"] for init in (gan.init_g, gan.init_d)]
    counts = tuple(sum(math.prod(x.shape) for x in jax.tree.leaves(tree)) for tree in shapes)
    assert counts == R3GAN[preset][-1]
    text = importlib.import_module("configs.r3gan").__doc__
    assert all(f"{number:,}" in text for number in counts)


AT_256 = (32_105_941, 25_333_568)
STYLEGAN_V = {  # frames per second and of a clip, period, batch, gamma, learning rate, EMA kimg, parameters
    "64": (25, 3, 16, 64, 0.0128, 0.0025, 20, (31_158_031, 24_739_840)),
    "128": (25, 3, 16, 64, 0.0512, 0.0025, 20, (31_863_698, 25_214_848)),
    "256": (25, 3, 16, 64, 0.2048, 0.0025, 20, AT_256),
    "skytimelapse": (25, 3, 256, 64, 0.2048, 0.0025, 20, AT_256),
    "faceforensics": (30, 3, 16, 64, 0.2048, 0.0025, 20, AT_256),
    "ucf101": (25, 3, 16, 64, 0.2048, 0.0025, 20, AT_256),
    "rainbowjelly": (30, 3, 16, 64, 0.2048, 0.0025, 20, AT_256),
    "mead": (30, 2, 16, 16, 13.1072, 0.002, 5, (38_444_283, 28_932_384)),
}
STYLEGAN_V_FVD = {
    "FaceForensics": (47.4, 89.3),
    "SkyTimelapse": (79.5, 197.0),
    "UCF-101": (1431, 1773),
    "RainbowJelly": (195, 262),
}


@pytest.mark.parametrize("preset", STYLEGAN_V)
def test_stylegan_v_has_the_published_settings(preset):
    tree = load(f"stylegan_v:{preset}")
    tree.data.path, tree.model.label_dim = "videos.zip", max(tree.model.label_dim, 0)
    c = from_dict(tree)
    v, t = c.model.stylegan_v, c.train
    found = c.data.fps, v.frames, v.min_period, t.batch_size, c.loss.r1_gamma, t.g_lr, t.ema_kimg
    assert found == pytest.approx(STYLEGAN_V[preset][:-1]) and t.d_lr == t.g_lr
    assert v.motion_distance == v.min_period and (v.max_period, v.max_num_frames, v.max_dist) == (1024, 1024, 32)
    assert (c.loss.pl_weight, c.loss.style_mixing_prob, c.loss.d_reg_interval, c.loss.g_reg_interval) == (0, 0, 16, 4)
    assert (t.total_kimg, t.ema_rampup, t.w_avg_phases, t.lazy_always, c.loss.d_reg_whole) == (
        25000,
        0,
        "both",
        True,
        True,
    )
    assert (c.augment.mode, c.augment.pipe, c.augment.kimg, c.augment.target, c.data.xflip) == (
        "ada",
        "bgc",
        100,
        0.6,
        True,
    )
    m, height = c.model, {"mead": 1024}.get(preset, int(preset) if preset.isdecimal() else 256)
    assert (m.resolution, m.label_dim, m.channel_base) == (height, *((77, 32768) if preset == "mead" else (0, 16384)))
    assert (m.channel_max, m.mapping_layers, m.d_mapping_layers, m.z_dim, m.w_dim) == (512, 2, 2, 512, 512)
    assert (m.num_lowp_res, m.conv_clamp, m.mbstd_group, m.use_noise, t.w_avg_beta) == (4, 256, 4, False, 0.995)
    assert (v.concat_res, v.frames_divisor, v.cond_type, v.sampling, v.dummy_cond) == (
        16,
        2,
        "concat_const",
        "random",
        False,
    )
    assert (v.motion_z_dim, v.motion_v_dim, v.motion_kernel, v.time_dim) == (512, 512, 11, 256)
    assert v.fractional_starts and v.total_dists == tuple(2**i for i in range(12))
    assert (t.beta1, t.beta2, t.eps, c.data.source) == (0, 0.99, 1e-8, "video")
    assert c.data.labels == ("file" if preset == "mead" else "none")
    counts = parameters(c.model)
    assert counts == STYLEGAN_V[preset][-1]
    assert all(f"{number:,}" in importlib.import_module("configs.stylegan_v").__doc__ for number in counts)


@functools.cache
def parameters(model):
    """Return the numbers of parameters of both networks."""
    gan = models.build(model)
    shapes = [jax.eval_shape(init, jax.random.key(0))["params"] for init in (gan.init_g, gan.init_d)]
    return tuple(sum(math.prod(x.shape) for x in jax.tree.leaves(tree)) for tree in shapes)


def test_stylegan_v_tells_the_published_numbers():
    told = " ".join(importlib.import_module("configs.stylegan_v").__doc__.split())
    page = (Path(__file__).parents[1] / "docs" / "stylegan_v.md").read_text()
    for data, (short, long) in STYLEGAN_V_FVD.items():
        assert f"{short} and {long} for {data}" in told
        row = next(line for line in page.splitlines() if line.startswith("| `") and f"| {data} |" in line)
        assert f"| {short}, {long} |" in row


def test_the_roadmap_to_r3gan_changes_one_thing_at_a_time():
    rows = {name: from_dict(load(f"r3gan_roadmap:{name}")) for name in ("a", "ac", "b", "c", "d", "e")}
    a, b, c, d, e = (rows[name] for name in "abcde")
    assert [x.model.arch for x in (a, b, c, d, e)] == ["stylegan2", "stylegan1", "stylegan1", "r3gan", "r3gan"]
    assert (rows["ac"].model, rows["ac"].loss) == (
        a.model,
        dataclasses.replace(c.loss, pl_weight=2, style_mixing_prob=0.9),
    )
    assert (b.model, b.train) == (c.model, c.train) and b.loss.adversarial == "logistic"
    assert (d.loss, d.train, d.schedule) == (e.loss, e.train, e.schedule)
    assert (set(d.model.r3gan.groups), d.model.r3gan.expansion, e.model.r3gan.expansion) == ({1}, 1, 2)
    assert {x.train.total_kimg for x in rows.values()} == {30}


def experiment(recipe: str):
    tree = load(recipe)
    tree.model.label_dim = 0
    return from_dict(tree)


LAYOUTS = ("orig", "skip", "resnet")


@pytest.mark.parametrize("g_arch", LAYOUTS)
@pytest.mark.parametrize("d_arch", LAYOUTS)
def test_the_nine_pairs_of_layouts_are_config_e(g_arch, d_arch):
    config, e = experiment(f"stylegan2_ablation:{g_arch}-{d_arch}"), experiment("stylegan2_ablation:E")
    assert (config.model.g_arch, config.model.d_arch) == (g_arch, d_arch)
    assert (config.loss, config.train, config.growing) == (e.loss, e.train, e.growing)
    assert (e.loss.r1_gamma, e.model.channel_base, e.growing.start) == (100, 16384, 0)


def test_stylegan2s_ablation_adds_one_thing_at_a_time():
    a, b, c, d, e, f = (experiment(f"stylegan2_ablation:{row}") for row in "ABCDEF")
    assert [x.model.arch for x in (a, b, f)] == ["stylegan1", "stylegan2", "stylegan2"]
    assert [x.loss.d_reg_interval for x in (a, b, c, d)] == [0, 0, 16, 16]
    assert [x.loss.pl_weight for x in (a, b, c, d, e)] == [0, 0, 0, 2, 2]
    assert [x.growing.start for x in (a, b, c, d, e, f)] == [8, 8, 8, 8, 0, 0]
    assert [x.loss.r1_gamma for x in (a, d, e, f)] == [10, 10, 100, 10]
    assert a.growing == b.growing == d.growing and (b.model.g_arch, b.model.d_arch) == ("orig", "orig")
    assert (d.train.g_lr, e.train.g_lr, f.model.channel_base) == (0.003, 0.002, 32768)


def test_table_1_of_stylegan_adds_one_thing_at_a_time():
    rows = [experiment(f"ffhq_stylegan1:{row}") for row in "ABCDEF"]
    switches = [x.model.stylegan1 for x in rows]
    assert [s.blur_filter for s in switches] == [(1.0,)] + [(1.0, 2.0, 1.0)] * 5
    assert [s.use_styles for s in switches] == [False, False, True, True, True, True]
    assert [s.const_input for s in switches] == [False, False, False, True, True, True]
    assert [x.model.use_noise for x in rows] == [False] * 4 + [True] * 2
    assert [x.loss.style_mixing_prob for x in rows] == [0.0] * 5 + [0.9]
    assert [x.loss.d_reg for x in rows] == ["wgan_gp"] + ["r1"] * 5
    assert (rows[0].loss.adversarial, rows[0].loss.drift_weight, rows[0].loss.gp_weight) == ("wasserstein", 0.001, 10)
    assert {(x.loss.d_reg_interval, x.loss.pl_weight, x.train.ema_kimg, x.train.total_kimg) for x in rows[1:]} == {
        (0, 0.0, 10.0, 25000.0)
    }


def test_the_stages_of_stylegan_xl_follow_from_each_other():
    from configs import stylegan_xl
    from stylegan_jax.config import ARCH_RULES

    for name, preset in stylegan_xl.PRESETS.items():
        models_of = {}
        for height in preset.stages:
            c = stylegan_xl.get_config(f"{name}{height}")
            c.data.path = "x.zip"
            models_of[height] = from_dict(c).model
            is_stem = len(models_of) == 1
            assert (c.train.freeze_g, c.loss.pl_weight) == (("none", 0.5) if is_stem else ("stem", 0.0))
            assert c.loss.guidance_weight == (8 if name == "imagenet" and height > 32 else 0)
        for height, model in models_of.items():
            factors, follows = model.stylegan_xl.up_factors, ARCH_RULES["stylegan_xl"].starts_stage
            before = [m for m in models_of.values() if m.stylegan_xl.up_factors == factors[:-1]]
            assert not factors or follows(model, before[0], "x"), (name, height)
    with pytest.raises(ValueError, match="ffhq64: write one of :imagenet16, "):
        stylegan_xl.get_config("ffhq64")


def test_the_quickstart_of_stylegan_xl_is_a_stem_and_a_stage_on_it():
    from stylegan_jax.config import ARCH_RULES

    trees = {height: load(f"stylegan_xl_quickstart:{height}") for height in (16, 32)}
    stem, stage = (from_dict(tree) for tree in trees.values())
    assert load("stylegan_xl_quickstart").to_dict() == trees[16].to_dict()
    assert ARCH_RULES["stylegan_xl"].starts_stage(stage.model, stem.model, "x")
    assert (stem.train.freeze_g, stage.train.freeze_g) == ("none", "stem")
    for config in (stem, stage):
        model, loss = config.model, config.loss
        assert (model.label_dim, config.data.labels, loss.adversarial, loss.d_reg) == (9, "file", "hinge", "none")
        assert (model.projected.backbones, model.projected.input_size) == (("efficientnet_lite0",), 128)
        assert loss.adv_batch == config.train.batch_size == model.projected.stats_group == 16
        shapes = jax.eval_shape(models.build(model).init_g, jax.random.key(0))["params"]["synthesis"]
        assert max(layer["bias"].size for name, layer in shapes.items() if name != "input") == 64
    with pytest.raises(ValueError, match=r"quickstart\.py:64: write one of :16, :32"):
        load("stylegan_xl_quickstart:64")


def test_e4e_has_the_published_settings():
    tree = load("e4e")
    tree.data.path, tree.encoder.model = "images.zip", "runs/x"
    c = from_dict(tree)
    t, batch = c.encoder.training, c.train.batch_size
    assert (t.lr, t.d_lr, t.l2_weight, t.lpips_weight, t.delta_weight, t.pool) == (1e-4, 2e-5, 1, 0.8, 2e-4, 50)
    assert (t.similarity_weight, t.adversarial_weight, t.r1_gamma, t.r1_interval) == (0.5, 0.1, 10, 16)
    steps = (1000 * kimg / batch for kimg in (t.progressive_start_kimg, t.progressive_step_kimg, c.train.total_kimg))
    assert tuple(steps) == (20_000, 2000, 200_000)
    encoder = encoders.build(c.encoder, num_ws=16, w_dim=512, channels=3)
    params = jax.eval_shape(encoder.init, jax.random.key(0))["params"]
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(params)) == pytest.approx(238.3e6, rel=2e-4)
