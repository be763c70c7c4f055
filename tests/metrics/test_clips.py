"""Metrics of videos: I3D against a peer, which clips are taken, and numbers against computing clip by clip."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from features import inputs
from PIL import Image

from configs import stylegan_v_quickstart, tiny
from stylegan_jax import models
from stylegan_jax.base import images as pixels_of, rng
from stylegan_jax.config import ConfigError, from_dict
from stylegan_jax.data import open_source, order
from stylegan_jax.features import FeatureError, load_features
from stylegan_jax.metrics import __main__ as command, detectors, fakes, frechet, inception_score, moments, opening
from stylegan_jax.metrics.clips import make_clips
from stylegan_jax.metrics.definitions import Clip, choose
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.metrics.evaluate import Evaluation
from stylegan_jax.metrics.images import Extractor, make_images
from stylegan_jax.metrics.store import Store
from stylegan_jax.metrics.training import make_evaluator
from stylegan_jax.runtime.mesh import make_layout
from stylegan_jax.runtime.signals import StopSignal
from stylegan_jax.sampling import load
from stylegan_jax.sampling.model import LoadedModel

from . import toys

COUNT, LENGTHS = 12, {"a": 40, "b": 16, "c 2": 20, "c 10": 33, "d": 15}
SHORT = r"set: 1 of 5 videos have fewer than the 16 frames that fvd2048_16f needs: set/d \(15\)"


@functools.cache
def layout(devices=1):
    return make_layout(devices)


def png(pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def write(path, lengths, labels=None, size=16):
    """Write videos in which a video is darker towards the right by its number, and a frame towards the bottom."""
    x, y = np.arange(size)[None, :, None], np.arange(size)[:, None, None]
    with zipfile.ZipFile(path, "w") as archive:
        for v, (name, length) in enumerate(lengths.items()):
            for t in range(length):
                pixels = (7 * v * x + 3 * t * y + np.array([[[v, t, 100]]])) % 256
                archive.writestr(f"set/{name}/{t}.png", png(pixels.astype(np.uint8)))
        if labels:
            archive.writestr("set/dataset.json", json.dumps({"labels": labels}))
    return str(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    labels = [[f"{name}/0.png", int(name in ("b", "d"))] for name in LENGTHS]
    return write(tmp_path_factory.mktemp("videos") / "set.zip", LENGTHS, labels)


@pytest.fixture(scope="module")
def reals(path):
    with contextlib.closing(opened(path)) as source:
        yield make_images(source)


def opened(path, labels="file"):
    data = dataclasses.replace(opening.data_config(path, videos=True), labels=labels)
    return opening.open_images(data, None, 3)


def make_config(**changes):
    c = stylegan_v_quickstart.get_config()
    c.model.resolution, c.model.channel_base, c.model.channel_max = 16, 64, 4
    c.model.z_dim = c.model.w_dim = 8
    c.model.label_dim, c.data.labels = 2, "file"
    v = c.model.stylegan_v
    v.max_num_frames, v.max_dist, v.motion_z_dim, v.motion_v_dim, v.motion_kernel, v.time_dim = 9, 8, 4, 4, 2, 3
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return from_dict(c)


@functools.cache
def tiny_model() -> LoadedModel:
    """Return a model of videos of 9 frames, shorter than all clips of metrics; it moves fast."""
    config = make_config().model
    gan = models.build(config)
    g = jax.device_get(jax.jit(gan.init_g)(jax.random.key(0)))
    w_avg = np.full(8, 0.1, np.float32)
    return LoadedModel(config, gan, g, w_avg, None, None, {"toy": True}, "classes")


def evaluate(metrics, subject, reals, count=COUNT, batch=8, store=None, devices=1):
    chosen = choose(metrics.split(","), (), count)
    nets, over = toys.nets(chosen), layout(devices)
    run = Evaluation(chosen, subject, reals, nets, Extractor(nets, over, batch * devices), Store(store), progress=False)
    model = tiny_model()
    return {r.name: r for r in run.run(over.place({**model.g_ema, "w_avg": model.w_avg}))}


def generator(labels):
    model = tiny_model()
    return fakes.make_generator(model.config, model.gan, labels, 1.0, 0, {})


def toy_features(clips_or_images, name="i3d", output="logits"):
    net = toys.net(name)
    return np.asarray(net.apply(net.params, jnp.asarray(clips_or_images, jnp.float32), (output,))[output])


def sums(x):
    return moments.update(moments.empty(x.shape[1]), x)


# The real network


@pytest.fixture(scope="module")
def i3d():
    """Return an extractor of single clips with the published network, which is compiled once for this file."""
    try:
        net = load_features("i3d")
    except FeatureError as error:
        pytest.skip(f"{str(error).splitlines()[0]} (pip install -e '.[features]')")
    return Extractor({"i3d": net}, layout(), 1)


def test_published_i3d_equals_a_float64_evaluation_tap_by_tap(i3d):
    with np.load(inputs.I3D_RESULTS) as results:
        want = dict(results)
    got = i3d.of_pixels({"i3d": ["logits"]}, inputs.made_up_clip()[None])["i3d/logits"][0]
    np.testing.assert_allclose(got, want["made up"], rtol=0, atol=1e-4)
    assert np.argmax(got) == 20 and np.linalg.norm(got) == pytest.approx(60.055786, abs=1e-4)


def test_fvd_of_two_sets_of_videos_equals_numpy(i3d, tmp_path):
    """Of three and three animations; the trace of the root is a sum of singular values, without any root."""
    sets, animations = (inputs.CLIPS[:3], inputs.CLIPS[3:]), inputs.animations()
    for i, numbers in enumerate(sets):
        with zipfile.ZipFile(tmp_path / f"{i}.zip", "w") as archive:
            for number in numbers:
                for t, frame in enumerate(animations[number]):
                    archive.writestr(f"{number:03d}/{t}.png", png(frame))
    with contextlib.ExitStack() as stack:
        real, fake = (
            make_images(stack.enter_context(contextlib.closing(opened(str(tmp_path / f"{i}.zip"), "none"))))
            for i in (0, 1)
        )
        chosen = choose(["fvd2048_16f"], (), 3)
        found = list(Evaluation(chosen, fake, real, i3d.nets, i3d, Store(None), progress=False).run())
    with np.load(inputs.I3D_RESULTS) as results:
        one, two = (np.float64([results[str(i)] for i in sorted(numbers)]) for numbers in sets)
    a, b = ((x - x.mean(axis=0)) / np.sqrt(len(x)) for x in (one, two))
    want = np.square(one.mean(axis=0) - two.mean(axis=0)).sum() + np.square(a).sum() + np.square(b).sum()
    want -= 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum()
    assert [r.name for r in found] == ["fvd3_16f"] and want > 1000
    assert found[0].value == pytest.approx(want, rel=1e-3)
    assert found[0].interval[0] < want < found[0].interval[1]


# Which clips are taken


def test_a_clip_of_each_video_that_is_long_enough_from_anywhere_or_from_its_start(reals, caplog):
    whole = reals.source.inner.videos()
    assert whole.names == ("set/a", "set/b", "set/c 2", "set/c 10", "set/d")
    starts = {}
    for is_random in (True, False):
        made = make_clips(reals, Clip(16), "fvd2048_16f", is_random=is_random)
        assert made.count() == 4 and made.flips == (False, False)
        shown = made.pixels(np.arange(4))
        assert shown.shape == (4, 16, 16, 16, 3) and shown.dtype == np.uint8
        np.testing.assert_array_equal(shown[:, :, 0, 0, 0], np.arange(4)[:, None] * np.ones((1, 16)))
        starts[is_random] = shown[:, 0, 0, 0, 1]
        np.testing.assert_array_equal(shown[:, :, 0, 0, 1], starts[is_random][:, None] + np.arange(16))
        np.testing.assert_array_equal(made.pixels(np.array([2]))[0], shown[2])
    assert list(starts[False]) == [0] * 4 and starts[True][1] == 0 and (starts[True][[0, 2, 3]] > 0).all()
    assert starts[True][0] <= 24 and starts[True][2] <= 4 and starts[True][3] <= 17
    assert "set/d (15); they are skipped, as published" in caplog.text
    ways = [make_clips(reals, Clip(n), "x", is_random=r).identity for n, r in ((16, True), (16, False), (15, True))]
    assert ways[0] == make_clips(reals, Clip(16), "y", is_random=True).identity
    assert len({json.dumps(x) for x in ways}) == 3


def test_every_eighth_frame_of_videos_of_128():
    """With every=8 a clip spans 121 frames, and begins at one of the first 8 of a video of 128."""
    lengths, seen = np.full(200, 128), []
    u = order.numbers(0, order.METRIC_CLIP, np.arange(200), 1)[:, 0]
    from stylegan_jax.data.clips import consecutive

    for length, x in zip(lengths, u, strict=True):
        frames = consecutive(length, *Clip(16, 8), x)
        assert len(frames) == 16 and set(np.diff(frames)) == {8} and frames[-1] < 128
        seen.append(frames[0])
    assert set(seen) == set(range(8)) and Clip(16, 8).least == 128


# Of a generator


def drawn(clips, frames, every=1, labels=None):
    """Return uint8[clips, frames, h, w, 3], clip by clip and frame by frame, quantized on the host."""
    model, root = tiny_model(), rng.stream(rng.root(0), "metrics/images")

    @jax.jit
    def frame(key, time, cond):
        z = jax.random.normal(rng.stream(key, "z"), (8,))[None]
        inputs = {"z": z} | model.gan.draw_at(rng.stream(key, "motion"), time[None, None], cond)
        ws = model.gan.map_latents(model.g_ema, inputs, cond)
        return model.gan.synthesize(model.g_ema, ws, inputs)[0]["image"][0, 0]

    out = []
    for i in range(clips):
        key = jax.random.fold_in(root, i)
        cond = np.float32([[1, 0], [0, 1]])[labels[i]][None]
        shown = [frame(key, np.float32(t * every), cond) for t in range(frames)]
        out.append(pixels_of.to_pixels(np.stack(jax.device_get(shown))))
    return np.stack(out)


def test_metrics_of_a_model_of_videos_are_those_of_its_clips_one_by_one(reals):
    """FVD of clips whose labels are those of the reals' clips; FID of their frames, with labels of all videos."""
    found = evaluate("fvd2048_16f,fid50k_full", generator(reals.source), reals, count=20)
    assert list(found) == ["fvd20_16f", "fid20_full"]
    assert found["fvd20_16f"].counts == {"evaluated": 20, "real": 4}
    assert found["fid20_full"].counts == {"evaluated": 20, "real": sum(LENGTHS.values())}
    real = make_clips(reals, Clip(16), "x", is_random=True).pixels(np.arange(4))
    pick = lambda count, classes: np.array(classes)[order.label_index(0, np.arange(20), np.arange(1), count)[0]]
    fake = drawn(20, 16, labels=pick(4, [0, 1, 0, 0]))
    assert np.abs(np.diff(fake.astype(int), axis=1)).mean() > 1, "the clips stand still"
    want = frechet.frechet(sums(toy_features(real)), sums(toy_features(fake)))
    assert found["fvd20_16f"].value == pytest.approx(want, rel=1e-3)
    low, high = found["fvd20_16f"].interval
    assert low < want < high
    frames = drawn(2, 16, labels=pick(5, [0, 1, 0, 0, 1])).reshape(-1, 16, 16, 3)[:20]
    every = reals.pixels(np.arange(reals.count(False)))
    pool = [sums(toy_features(x, "inception", "pool")) for x in (every, frames)]
    assert found["fid20_full"].value == pytest.approx(frechet.frechet(*pool), rel=1e-3)


def test_clips_go_through_in_any_number_on_any_devices_and_reals_are_stored(reals, tmp_path, monkeypatch):
    one = evaluate("fvd2048_16f", generator(reals.source), reals, store=tmp_path)["fvd12_16f"]
    assert len(list(tmp_path.glob("real-*.npz"))) == 1
    from stylegan_jax.metrics.clips import Clips

    monkeypatch.setattr(Clips, "pixels", lambda *_: pytest.fail("the reals are looked at again"))
    again = evaluate("fvd2048_16f", generator(reals.source), reals, store=tmp_path, batch=40)["fvd12_16f"]
    eight = evaluate("fvd2048_16f", generator(reals.source), reals, store=tmp_path, devices=8)["fvd12_16f"]
    for other in (again, eight):
        assert other.value == pytest.approx(one.value, rel=1e-5) and other.counts == one.counts


def test_longer_clips_and_every_eighth_frame_of_a_model_of_short_videos(tmp_path):
    path = write(
        tmp_path / "set.zip", {"a": 128, "b": 130, "c": 20}, [[f"{x}/0.png", int(x == "b")] for x in "abc"], size=8
    )
    with contextlib.closing(opened(path)) as source:
        reals = make_images(source)
        found = evaluate("fvd2048_128f_subsample8f", generator(source), reals)
        assert found["fvd12_128f_subsample8f"].counts == {"evaluated": 12, "real": 2}
        real = make_clips(reals, Clip(16, 8), "x", is_random=True).pixels(np.arange(2))
        labels = order.label_index(0, np.arange(12), np.arange(1), 2)[0]
        want = frechet.frechet(sums(toy_features(real)), sums(toy_features(drawn(12, 16, 8, labels))))
        assert found["fvd12_128f_subsample8f"].value == pytest.approx(want, rel=1e-3)


def test_action_scores_are_defined_and_say_which_file_they_need(reals):
    with pytest.raises(MetricError, match=r"isv2048_ucf needs the file c3d_ucf101\.pt.*we could not obtain it"):
        detectors.load(["c3d_ucf101"], {})
    found = evaluate("isv2048_ucf", generator(reals.source), reals, count=20)
    labels = np.array([0, 1, 0, 0])[order.label_index(0, np.arange(20), np.arange(1), 4)[0]]
    probs = toy_features(drawn(20, 16, labels=labels), "c3d_ucf101", "probs")
    scores = inception_score.split_scores(np.random.default_rng(42).permutation(probs))
    assert found["isv20_ucf_mean"].value == pytest.approx(scores.mean(), rel=1e-4)
    assert found["isv20_ucf_std"].value == pytest.approx(scores.std(), rel=1e-2)


# From the command and while training


@pytest.fixture
def run(monkeypatch, tmp_path, path, capsys):
    """Return a function from arguments to (exit code, records, error text)."""
    monkeypatch.setattr(detectors, "load", lambda names, paths: {n: toys.net(n) for n in names})
    monkeypatch.setattr(load, "load_model", lambda path, step: tiny_model() if path == "v" else toys.model(moves=False))
    np.save(tmp_path / "images.npy", toys.pixels(30))

    def call(*arguments):
        base = [f"--cache={tmp_path / 'cache'}", "--num_devices=1", "--num_images=12"]
        given = {a.split("=")[0] for a in arguments}
        replaced = [a.replace("VIDEOS", path).replace("IMAGES", str(tmp_path / "images.npy")) for a in arguments]
        code = command.main([*replaced, *(a for a in base if a.split("=")[0] not in given)])
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return call


def test_the_command_measures_models_and_data_sets(run, reals):
    code, rows, err = run("--model=v", "--data=VIDEOS", "--metrics=fvd2048_16f,fid50k_full")
    assert code == 0, err
    want = evaluate("fvd2048_16f,fid50k_full", generator(reals.source), reals)
    for row in rows:
        assert row["value"] == pytest.approx(want[row["metric"]].value, rel=1e-5)
    code, rows, err = run("--data=VIDEOS", "--data2=VIDEOS", "--metrics=fvd2048_16f,fid50k_full", "--num_images=4")
    assert code == 0, err
    assert [r["metric"] for r in rows] == ["fvd4_16f", "fid4_full"]
    starts = [make_clips(reals, Clip(16), "x", is_random=r).pixels(np.arange(4)) for r in (True, False)]
    expected = frechet.frechet(*(sums(toy_features(x)) for x in starts))
    assert rows[0]["value"] == pytest.approx(expected, rel=1e-3), "what is evaluated begins at the first frame"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("--model=i", "--data=VIDEOS", "--metrics=fvd2048_16f"),
            "fvd12_16f evaluates clips, but the model draws image",
        ),
        (("--model=v", "--data=VIDEOS", "--metrics=ppl2_wend"), "ppl2_wend_12 needs a generator of images"),
        (("--model=v", "--data=VIDEOS", "--metrics=eqt50k_int"), "eqt12_int needs a generator of images, but the"),
        (("--model=v", "--data=IMAGES", "--metrics=fvd2048_16f", "--labels=none"), "labels"),
        (
            ("--data=IMAGES", "--data2=VIDEOS", "--metrics=fvd2048_16f"),
            "fvd12_16f compares videos, and images holds im",
        ),
        (
            ("--data=VIDEOS", "--data2=VIDEOS", "--metrics=fvd2048_16f"),
            "fvd12_16f evaluates 12 clips, one of each video; set has 4 videos of at least 16 frames; add --num_ima",
        ),
        (
            ("--model=v", "--data=VIDEOS", "--metrics=fvd2048_128f"),
            "5 of 5 videos have fewer than the 128 frames that fvd12_128f needs: set/a (40), set/b (16), set/c",
        ),
        (("--model=v", "--data=VIDEOS", "--metrics=fvd2048_16f", "--num_images=1"), "fvd1_16f of 1 clips"),
    ],
)
def test_mistakes_end_with_one_line(run, arguments, text):
    code, rows, err = run(*arguments)
    *notes, last = err.splitlines()
    assert code == 2 and rows == [] and last.startswith("error: ") and text in last, err
    assert all(note.startswith(("--data", "WARNING")) for note in notes), err


def test_a_set_of_one_video_is_too_few(reals, tmp_path):
    path = write(tmp_path / "set.zip", {"": 20})
    with contextlib.closing(opened(path, "none")) as source:
        one = make_images(source)
        with pytest.raises(
            MetricError, match="fvd12_16f needs at least 2 real videos of at least 16 frames; there are 1"
        ):
            evaluate("fvd2048_16f", generator(reals.source), one)


def test_a_run_measures_its_videos(path, reals, tmp_path, monkeypatch):
    monkeypatch.setattr(detectors, "load", lambda names, paths: {n: toys.net(n) for n in names})
    changes = {"data__path": path, "eval__num_images": COUNT, "eval__batch": 8, "eval__cache": "off"}
    config = make_config(eval__metrics="fvd2048_16f", log__keep_best="metric/fvd12_16f", eval__ticks=6, **changes)
    model = tiny_model()
    with contextlib.closing(open_source(config.data, config.model.image_shape)) as source:
        evaluator = make_evaluator(config, source, layout(), tmp_path)
        assert evaluator.names == ["metric/fvd12_16f"]
        values, lines = evaluator(layout().place({**model.g_ema, "w_avg": model.w_avg}), 3, 48, StopSignal())
        want = evaluate("fvd2048_16f", generator(reals.source), reals)["fvd12_16f"].value
        assert values["metric/fvd12_16f"] == pytest.approx(want, rel=1e-5) and "step 3: metric/fvd12_16f" in lines[0]
        long = make_config(eval__metrics="fvd2048_128f", **changes)
        with pytest.raises(ConfigError, match=r"config\.eval\.metrics=fvd2048_128f: set: 5 of 5 videos have fewer"):
            make_evaluator(long, source, layout(), tmp_path)
    tree = tiny.get_config()
    tree.model.label_dim, tree.eval.metrics = 0, "fvd2048_16f"
    config = from_dict(tree)
    with (
        contextlib.closing(open_source(config.data, config.model.image_shape)) as source,
        pytest.raises(ConfigError, match=r"metrics=fvd2048_16f: fvd2048_16f evaluates clips, but the model draws"),
    ):
        make_evaluator(config, source, layout(), tmp_path)
