"""Metrics of a toy generator and of images with toy networks, against computing them image by image."""

from __future__ import annotations

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import data
from stylegan_jax.base import images as pixels_of, rng
from stylegan_jax.data import order
from stylegan_jax.metrics import (
    definitions,
    engine,
    equivariance,
    fakes,
    families,
    frechet,
    inception_score,
    kernel_distance,
    moments,
    opening,
    path_length,
    precision_recall,
)
from stylegan_jax.metrics.definitions import METRICS, choose
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.metrics.evaluate import Evaluation
from stylegan_jax.metrics.images import Extractor, make_images
from stylegan_jax.metrics.store import Store
from stylegan_jax.models.gan import make_spec
from stylegan_jax.runtime.mesh import make_layout

from . import toys

COUNT = 52
VARIABLES = toys.VARIABLES | {"w_avg": np.full(6, 0.1, np.float32)}


def source(count=40, seed=0, labels=None, shape=toys.SHAPE):
    return of_pixels(toys.pixels(count, seed, shape), labels)


def of_pixels(pixels, labels=None):
    inner = data.MemorySource(pixels, labels)
    return data.fit_source(inner, opening.data_config("synthetic:1"), pixels.shape[1:])


@functools.cache
def layout(devices):
    return make_layout(devices)


@functools.cache
def extractor(names, devices=1, per_device=8):
    return Extractor({n: toys.net(n) for n in names}, layout(devices), per_device * devices)


def evaluate(
    metrics,
    subject=None,
    reals=None,
    store=None,
    devices=1,
    per_device=8,
    features=(),
    count=COUNT,
    variables=VARIABLES,
):
    psi, classes = getattr(subject, "psi", 1.0), getattr(subject, "classes", "data")
    chosen = choose(metrics.split(","), features, count, psi, classes)
    nets = toys.nets(chosen)
    of = extractor(tuple(sorted(nets)), devices, per_device)
    run = Evaluation(chosen, subject, reals, nets, of, Store(store), progress=False)
    return {r.name: r for r in run.run(of.layout.place(variables))}


def generator(label_dim=0, moves=True, psi=1.0, labels=None, identity=None, classes="data"):
    toy = toys.model(label_dim, moves)
    return fakes.make_generator(toy.config, toy.gan, labels, psi, 0, identity or {}, classes)


def drawn(count=COUNT, psi=1.0, label=None) -> np.ndarray:
    """Return uint8[count, h, w, c], image by image, quantized on the host."""
    out, root = [], rng.stream(rng.root(0), "metrics/images")
    for i in range(count):
        key = jax.random.fold_in(root, i)
        z = jax.random.normal(rng.stream(key, "z"), (1, 6))
        cond = jnp.zeros((1, 0)) if label is None else jnp.asarray(label[i : i + 1])
        ws = toys.truncated(VARIABLES, z, cond, psi)
        sample, _ = toys.synthesize(VARIABLES, ws, {}, noise="random", key=rng.stream(key, "noise")[None])
        out.append(pixels_of.to_pixels(jax.device_get(sample["image"])))
    return np.concatenate(out)


def features(pixels, name, output):
    net = toys.net(name)
    return np.asarray(net.apply(net.params, jnp.asarray(pixels, jnp.float32), (output,))[output])


def sums(x):
    return moments.update(moments.empty(x.shape[1]), x)


@pytest.fixture(scope="module")
def fake_pixels():
    return drawn()


def test_metrics_of_a_generator_are_those_of_its_images_one_by_one(fake_pixels):
    reals = make_images(source())
    found = evaluate("fid50k_full,kid50k_full,pr50k3_full,dc50k5_full,is50k,sfid50k_full", generator(), reals)
    names = "fid52_full kid52_full pr52_3_full_precision pr52_3_full_recall dc52_5_full_density dc52_5_full_coverage"
    assert list(found) == [*names.split(), "is52_mean", "is52_std", "sfid52_full"]
    real = toys.pixels(40)
    pool = [features(x, "inception", "pool") for x in (real, fake_pixels)]
    want = {"fid52_full": frechet.frechet(*map(sums, pool))}
    want["kid52_full"] = kernel_distance.kernel_distances(*pool, kernel_distance.draw_subsets(40, COUNT)).mean()
    vgg = [features(x, "vgg16", "fc2").astype(np.float16) for x in (real, fake_pixels)]
    manifolds = precision_recall.precision_recall(*vgg)
    want["pr52_3_full_precision"], want["pr52_3_full_recall"] = (h.mean() for h in manifolds[:2])
    balls = precision_recall.density_coverage(*vgg)
    want["dc52_5_full_density"], want["dc52_5_full_coverage"] = (x.mean() for x in balls)
    scores = inception_score.split_scores(features(fake_pixels, "inception", "probs_no_bias"))
    want |= {"is52_mean": scores.mean(), "is52_std": scores.std()}
    spatial = [sums(features(x, "inception", "spatial")) for x in (real, fake_pixels)]
    want["sfid52_full"] = frechet.frechet(*spatial)
    for name, value in want.items():
        assert found[name].value == pytest.approx(value, rel=2e-4), name
        if name in ("is52_std", "kid52_full"):  # a subset of KID is everything here
            assert found[name].interval is None
        else:
            low, high = found[name].interval
            assert low <= found[name].value <= high and low < high
    assert found["fid52_full"].counts == {"evaluated": COUNT, "real": 40}
    assert 0 < want["pr52_3_full_precision"] < 1 and want["fid52_full"] > 0.1


def test_any_number_of_devices_and_any_batch_give_the_same():
    reals = make_images(source())
    one, eight = (evaluate("fid5k,kid1k", generator(), reals, devices=d, per_device=b) for d, b in ((1, 8), (8, 2)))
    for name, result in one.items():
        assert eight[name].value == pytest.approx(result.value, rel=1e-5)


def test_truncation_and_labels(fake_pixels):
    classes = np.arange(40) % 3
    labelled = source(labels=classes)
    label = np.eye(3, dtype=np.float32)[classes[order.label_index(0, np.arange(COUNT), np.arange(1), 40)[0]]]
    reals = make_images(labelled)
    real = sums(features(toys.pixels(40), "inception", "pool"))
    found = evaluate("fid50k_full", generator(3, psi=0.5, labels=labelled), reals)
    want = frechet.frechet(real, sums(features(drawn(psi=0.5, label=label), "inception", "pool")))
    assert found["fid52_full_psi0.5"].value == pytest.approx(want, rel=2e-4)
    plain = frechet.frechet(real, sums(features(fake_pixels, "inception", "pool")))
    assert want != pytest.approx(plain, rel=1e-2)
    assert len(set(label.argmax(axis=1))) == 3


def test_uniform_classes_are_drawn_as_often_however_many_images_they_have():
    labelled = source(labels=(np.arange(40) > 38).astype(int) * 2)  # of three classes the last has one image
    subject = generator(3, labels=labelled, classes="uniform")
    counts = subject.label(np.arange(3000), "uniform").sum(axis=0)
    assert np.abs(counts - 1000).max() < 100 and subject.label(np.arange(3000)).sum(axis=0)[1] == 0
    found = evaluate("fid50k_full", subject, make_images(labelled))
    label, real = subject.label(np.arange(COUNT), "uniform"), sums(features(toys.pixels(40), "inception", "pool"))
    want = frechet.frechet(real, sums(features(drawn(label=label), "inception", "pool")))
    assert found["fid52_full_uniform_classes"].value == pytest.approx(want, rel=2e-4)


@pytest.fixture
def short(monkeypatch):
    """Let the published fid50k and fid50k_full have 52 images."""
    for name in ("fid50k", "fid50k_full"):
        monkeypatch.setitem(METRICS, name, METRICS[name]._replace(count=COUNT))
    monkeypatch.setattr(definitions, "_PUBLISHED", {(m.template, m.count) for m in METRICS.values() if m.published})


@pytest.mark.parametrize("is_drawn", [False, True])
def test_mirrored_copies_are_reals_only_where_the_definition_has_them(request, is_drawn):
    if not is_drawn:
        request.getfixturevalue("short")
    take = lambda x: x[order.shuffled(np.arange(COUNT), len(x))] if is_drawn else x[:COUNT]
    reals, flipped = toys.pixels(40), toys.pixels(40)[:, :, ::-1]
    subject = make_images(source(60, 5))
    found = evaluate("fid50k,fid50k_full", subject, make_images(source(), (True, False)))
    fake = sums(features(take(toys.pixels(60, 5)), "inception", "pool"))
    want = {"fid52": take(np.concatenate([reals, flipped])), "fid52_full": reals}
    for name, pixels in want.items():
        got, expected = found[name], frechet.frechet(sums(features(pixels, "inception", "pool")), fake)
        assert got.value == pytest.approx(expected, rel=2e-4) and got.counts["real"] == len(pixels)
        drawn_from = {"evaluated_drawn_from": 60} | ({"real_drawn_from": 80} if name == "fid52" else {})
        assert {k: n for k, n in got.counts.items() if "drawn" in k} == (drawn_from if is_drawn else {})


def test_drawn_and_first_images_are_kept_apart(short, tmp_path):
    """Both ways in one command and one cache: 52 of fid50k are the first, those of fid5k are drawn."""
    subject, reals = make_images(source(60, 5)), make_images(source(80))
    for _ in range(2):
        found = evaluate("fid50k,dc10k5", subject, reals, store=tmp_path)
        shown = [toys.pixels(*which)[:COUNT] for which in ((60, 5), (80,))]
        first = frechet.frechet(*(sums(features(x, "inception", "pool")) for x in shown[::-1]))
        assert found["fid52"].value == pytest.approx(first, rel=2e-4)
        drawn = [toys.pixels(*which)[order.shuffled(np.arange(COUNT), which[0])] for which in ((80,), (60, 5))]
        vgg = [features(x, "vgg16", "fc2").astype(np.float16) for x in drawn]
        density = precision_recall.density_coverage(*vgg)[0].mean()
        assert found["dc52_5_density"].value == pytest.approx(density, rel=2e-4)


def test_one_cache_tells_drawn_reals_from_the_first(short, monkeypatch, tmp_path):
    subject, reals = make_images(source(60, 5)), make_images(source(80))
    first = evaluate("fid50k", subject, reals, store=tmp_path)["fid52"]
    monkeypatch.setattr(definitions, "_PUBLISHED", set())
    drawn = evaluate("fid50k", subject, reals, store=tmp_path)["fid52"]
    assert drawn.value != pytest.approx(first.value, rel=1e-2)
    assert drawn.value == evaluate("fid50k", subject, reals)["fid52"].value


def test_fewer_images_than_published_are_drawn_from_the_whole_set(tmp_path):
    """Data sets are ordered by class; the first images of two such sets may all be of one class."""
    count = 24
    sets = [toys.pixels(60, 5), toys.pixels(40)]
    sets = [x[np.argsort(x.mean(axis=(1, 2, 3)))] for x in sets]
    subject, reals = (make_images(of_pixels(x)) for x in sets)
    first = evaluate("fid5k,dc10k5,fid50k_full", subject, reals, store=tmp_path, count=count)
    again = evaluate("fid5k,dc10k5,fid50k_full", subject, reals, store=tmp_path, count=count)
    shown = [x[order.shuffled(np.arange(count), len(x))] for x in sets]
    assert all(len(np.unique(x.mean(axis=(1, 2, 3)))) == count for x in shown)  # none twice
    fake, real, whole = (sums(features(x, "inception", "pool")) for x in (*shown, sets[1]))
    want = {"fid24": frechet.frechet(real, fake), "fid24_full": frechet.frechet(whole, fake)}
    vgg = [features(x, "vgg16", "fc2").astype(np.float16) for x in (shown[1], shown[0])]
    want["dc24_5_density"], want["dc24_5_coverage"] = (x.mean() for x in precision_recall.density_coverage(*vgg))
    for name, value in want.items():
        assert first[name].value == pytest.approx(value, rel=2e-4) and again[name].value == first[name].value, name
        real = {"real": 40} if "full" in name else {"real": count, "real_drawn_from": 40}
        assert first[name].counts == {"evaluated": count, "evaluated_drawn_from": 60} | real
    plain = frechet.frechet(*(sums(features(x[:count], "inception", "pool")) for x in (sets[1], sets[0])))
    assert plain != pytest.approx(want["fid24"], rel=1e-2)


def test_published_numbers_of_images_are_the_first_ones():
    names = [name for name, m in METRICS.items() if m.family in families.FAMILIES]
    assert {c.metric for c in choose(names) if c.draws} == {METRICS[n] for n in ("fid5k", "kid1k", "fvd256_16f")}
    assert all(c.draws for c in choose(names, num_images=7))
    for name, count in (("fid5k", 50_000), ("kid1k", 50_000), ("fid10k_full", 50_000), ("fvd256_16f", 2048)):
        (same,) = choose([name], num_images=count)
        assert same.name in METRICS and not same.draws  # a published name is computed as published


def test_copies_are_numbered_after_the_images():
    both = make_images(source(5), (True, True))
    assert both.count(True) == 20 and both.count(False) == 5
    x = toys.pixels(5)
    want = [x, x[:, :, ::-1], x[:, ::-1], x[:, ::-1, ::-1]]
    np.testing.assert_array_equal(both.pixels(np.arange(20)), np.concatenate(want))


def test_reals_are_read_once(tmp_path, monkeypatch):
    class Counted:
        def __init__(self, inner):
            self.inner, self.read = inner, 0

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def pixels(self, index):
            self.read += 1
            return self.inner.pixels(index)

    def read(metrics, **changes):
        of = make_images(source(**changes))
        counted = Counted(of.source)
        found = evaluate(metrics, generator(), of._replace(source=counted), store=tmp_path)
        return counted.read, {name: r.value for name, r in found.items()}

    first, values = read("fid50k_full,pr50k3_full")
    assert first >= 40
    again, same = read("fid50k_full,pr50k3_full")
    assert again == 0 and same == values
    assert read("pr50k3_full")[0] == 0
    assert read("kid50k_full")[0] >= 40  # needs the features themselves
    assert read("fid50k_full", seed=9)[0] >= 40  # other images
    monkeypatch.setattr(toys, "net", functools.partial(toys.net, seed=1))
    assert read("fid50k_full")[0] >= 40  # other weights
    net = toys.net
    monkeypatch.setattr(toys, "net", lambda name: net(name)._replace(revision=2))
    extractor.cache_clear()
    assert read("fid50k_full")[0] >= 40  # other code
    entries = list(tmp_path.iterdir())
    assert entries and not [p for p in entries if not p.name.startswith("real-")]


def test_an_interrupted_evaluation_is_resumed(tmp_path, monkeypatch):
    reals = make_images(source())
    straight = evaluate("fid50k_full,kid50k_full", generator(identity={"of": "toy"}), reals)
    collect, left = engine._collect, [8]

    def interrupted(*args):
        left[0] -= 1
        if left[0] == 0:
            raise MetricError("pulled the plug")
        collect(*args)

    monkeypatch.setattr(engine, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(engine, "_collect", interrupted)
    with pytest.raises(MetricError, match="pulled"):
        evaluate("fid50k_full,kid50k_full", generator(identity={"of": "toy"}), reals, store=tmp_path)
    assert [p for p in tmp_path.iterdir() if p.name.startswith("pass-")]
    left[0] = 6  # chunks: two were computed before, five are left
    names = "kid50k_full,fid50k_full"  # in another order: what is stored goes to the metric that it is of
    again = evaluate(names, generator(identity={"of": "toy"}), reals, store=tmp_path)
    assert {n: r.value for n, r in again.items()} == {n: r.value for n, r in straight.items()}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("pass-")]


def test_equivariance_is_that_of_the_same_moves():
    found = evaluate("eqt50k_int,eqt50k_frac", generator(psi=0.9), count=24, devices=8, per_device=1)

    @jax.jit
    def sums(i):
        key = rng.stream(rng.root(0), "metrics/equivariance", i)
        z = jax.random.normal(rng.stream(key, "z"), (4, 6))
        ws = toys.truncated(VARIABLES, z, jnp.zeros((4, 0)), 0.9)
        noise = rng.per_example(rng.stream(key, "noise"), jnp.arange(4))
        at = lambda t: toys.synthesize(toys.with_transform(VARIABLES, t), ws, {}, noise="random", key=noise)
        draw = lambda t: at(t)[0]["image"]
        moves = equivariance.draw_moves(rng.stream(key, "moves"), 16, 16)
        return equivariance.errors(draw, moves, (4, *toys.SHAPE), ("eqt_int", "eqt_frac"))

    each = [jax.device_get(sums(i)) for i in range(6)]
    for kind, name in (("eqt_int", "eqt24_int_psi0.9"), ("eqt_frac", "eqt24_frac_psi0.9")):
        assert found[name].value == pytest.approx(equivariance.psnr(*sum(x[kind] for x in each)), abs=0.01)
        low, high = found[name].interval
        assert low < found[name].value < high and found[name].counts == {"evaluated": 24}
    with pytest.raises(MetricError, match="needs a generator that can translate or rotate its output"):
        evaluate("eqt50k_int", generator(moves=False))


@pytest.mark.parametrize("kind", fakes.PATHS.values(), ids=fakes.PATHS)
def test_path_length_of_a_linear_generator(kind):
    """Images linear in w move by a constant times the step: the distance is the squared length of that move."""
    size = 8 if kind.crop else 4
    matrix = np.random.default_rng(2).standard_normal((6, size * size * 3)).astype(np.float32)
    spec = make_spec((size, size, 3), 6, 1, 6)

    def synthesize(variables, ws, inputs, *, noise, key):
        return {"image": jnp.matmul(ws[:, 0], matrix, precision="highest").reshape(-1, size, size, 3)}, {}

    twice = lambda variables, inputs, cond: 2 * inputs["z"][:, None]
    gan = toys.gan()._replace(spec=spec, map_latents=twice, synthesize=synthesize)
    embed = lambda params, image: (image / 127.5 - 1).reshape(len(image), -1) * params
    keys = jax.random.split(jax.random.key(0), 300)
    with jax.enable_x64(True):
        distances = path_length.make_distances(gan, kind, embed)
        got = jax.jit(distances)({}, 3.0, keys, jnp.zeros((300, 0)))
        latents = lambda name: jax.vmap(lambda k: jax.random.normal(rng.stream(k, name), (6,)))(keys)
        z0, z1 = latents("z0"), latents("z1")
        step = 2 * (z1 - z0)
        if kind.space == "z":  # the speed on the circle is the angle, at right angles to where it is
            t = jax.vmap(lambda k: jax.random.uniform(rng.stream(k, "t")))(keys)[:, None] * kind.full
            a, b = (z / jnp.linalg.norm(z, axis=1, keepdims=True) for z in (z0, z1))
            angle = jnp.arccos((a * b).sum(axis=1, keepdims=True))
            c = (b - jnp.cos(angle) * a) / jnp.sin(angle)
            step = 2 * angle * (c * jnp.cos(t * angle) - a * jnp.sin(t * angle))
        moved = (np.asarray(step) @ matrix).reshape(-1, size, size, 3)
        if kind.crop:
            moved = moved[:, 3:7, 2:6]
        np.testing.assert_allclose(got, 9 * np.square(moved).sum(axis=(1, 2, 3)), rtol=2e-3)


@pytest.mark.parametrize(("height", "crop", "seen"), [(1024, True, 256), (1024, False, 256), (512, True, 256)])
def test_what_is_left_after_the_crop_is_brought_to_256(height, crop, seen):
    found = jax.eval_shape(
        lambda x: path_length.prepare(x, crop), jax.ShapeDtypeStruct((1, height, height, 3), np.float32)
    )
    assert found.shape == (1, seen, seen, 3)


def test_path_length_metric_is_the_trimmed_mean():
    found = evaluate("ppl2_wend", generator())
    (result,) = found.values()
    low, high = result.interval
    assert result.name == "ppl2_wend_52" and low < result.value < high
    distances = np.r_[np.full(100, 2.0), 1e9, 1e8, np.full(97, 2.0), 0]
    assert families.measure_path_length(distances, 0)[0][0] == pytest.approx(np.r_[np.full(197, 2.0), 1e8].mean())


def test_pairs():
    first, second = toys.pixels(11, 1), toys.pixels(11, 2)
    sets = [make_images(source(11, seed)) for seed in (1, 2)]
    found = evaluate("lpips,id_similarity,l2", sets[1], sets[0])
    levels = [x.astype(np.float64) / 127.5 - 1 for x in (first, second)]
    assert found["l2"].value == pytest.approx(np.square(levels[0] - levels[1]).mean(), rel=1e-5)
    assert found["l2"].net == "" and found["l2"].counts == {"pairs": 11}
    a, b = (features(x, "vgg16_lpips", "lpips") for x in (first, second))
    assert found["lpips"].value == pytest.approx(np.square(a - b).sum(axis=1).mean(), rel=1e-4)
    a, b = (features(x, "face", "embedding") for x in (first, second))
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert found["id_similarity_face"].value == pytest.approx(cosines.mean(), rel=1e-4)
    same = evaluate("lpips,id_similarity", sets[0], sets[0])
    assert same["lpips"].value == 0 and same["id_similarity_face"].value == pytest.approx(1)


def test_features_of_pairs_stay_on_their_devices(monkeypatch):
    left, program = [], Extractor.program

    def watched(self, *args, **options):
        compiled = program(self, *args, **options)
        return lambda *inputs: [left.append(x.shape) for x in jax.tree.leaves(compiled(*inputs))] and compiled(*inputs)

    monkeypatch.setattr(Extractor, "program", watched)
    sets = [make_images(source(11, seed)) for seed in (1, 2)]
    evaluate("lpips", sets[1], sets[0], devices=8, per_device=1)
    assert set(left) == {(8, 1)}


def test_a_process_loads_the_rows_that_its_devices_have():
    """Devices of a process need not follow each other in the mesh, and may share rows."""
    parts = dict(enumerate([(slice(6, 9),), (slice(0, 3),), (slice(6, 9),)]))
    batch = types.SimpleNamespace(addressable_devices_indices_map=lambda shape: parts if shape == (12,) else {})
    of = Extractor({}, types.SimpleNamespace(batch=batch, place=lambda tree: tree), 12)
    assert of.own(np.arange(100, 112)).tolist() == [100, 101, 102, 106, 107, 108]


def test_what_is_stored_of_equivariance_is_of_its_number_of_batches(monkeypatch):
    seen, run = [], engine.run
    monkeypatch.setattr(
        engine, "run", lambda job, *args, **options: seen.append(job.identity) or run(job, *args, **options)
    )
    for count in (8, 12):
        evaluate("eqt50k_int", generator(identity={"of": "toy"}), count=count, devices=8, per_device=1)
    assert seen[0]["equivariance"] != seen[1]["equivariance"]


def test_linear_separability_of_a_generator():
    found = evaluate("ls", generator(), count=200)
    assert 1 <= found["ls_200_z"].value <= 4 and 1 <= found["ls_200_w"].value <= 4
    assert found["ls_200_w"].value == pytest.approx(found["ls_200_z"].value, rel=0.1)  # w is a multiple of z here


def test_grey_images_are_repeated():
    grey = make_images(source(6, shape=(16, 16, 1)))
    x = grey.pixels(np.arange(6))
    assert x.shape == (6, 16, 16, 3) and (x == toys.pixels(6, shape=(16, 16, 1))).all()


@pytest.mark.parametrize(
    ("metrics", "subject", "reals", "text"),
    [
        ("fid50k_full", lambda: generator(), lambda: None, "fid52_full compares with real images; pass --data"),
        ("fid50k", lambda: make_images(source(30)), lambda: make_images(source()), "has 30; add --num_images=30"),
        ("ppl2_wend", lambda: make_images(source()), lambda: None, "needs the generator itself; pass --model"),
        ("lpips", lambda: generator(), lambda: make_images(source()), "compares pairs of images; pass them as --data"),
        ("lpips", lambda: make_images(source(7)), lambda: make_images(source()), "has 40 images and --data2 7"),
        ("pr50k3_full", lambda: generator(), lambda: make_images(source(3)), "at least 4 real images; there are 3"),
        ("fid50k", lambda: generator(3), lambda: None, "labels of length 3, which are drawn from a data set"),
        (
            "fid50k",
            lambda: generator(3, labels=source(labels=np.arange(40) % 2)),
            lambda: None,
            "the model has labels of length 3, memory of length 2",
        ),
        ("fid50k", lambda: make_images(source(shape=(16, 16, 4))), lambda: None, "4 channels; feature networks see"),
    ],
)
def test_what_does_not_fit_is_answered(metrics, subject, reals, text):
    with pytest.raises(MetricError, match=text):
        evaluate(metrics, subject(), reals())


def test_sets_of_other_sizes_are_no_pairs():
    small = make_images(source(40, shape=(8, 8, 3)))
    with pytest.raises(MetricError, match="--data has 8x8 images and --data2 16x16"):
        evaluate("lpips", make_images(source()), small)


def test_a_diverged_model_is_noticed():
    broken = {**VARIABLES, "params": {"scale": np.full(6, np.nan, np.float32)}}
    with pytest.raises(MetricError, match="generated images: image of item 0 is NaN or infinite"):
        evaluate("fid5k", generator(), make_images(source()), variables=broken)
