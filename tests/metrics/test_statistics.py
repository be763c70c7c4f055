"""What is computed from features: closed forms, torch-fidelity's figures, brute force, and the intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import scipy.special
import scipy.stats

from stylegan_jax.metrics import (
    families,
    frechet,
    inception_score,
    intervals,
    kernel_distance,
    moments,
    precision_recall,
    separability,
)

from .peers import draw

PEERS = json.loads((Path(__file__).parent / "peers" / "torch_fidelity.json").read_text())["results"]


def sums(x, parts=1):
    return [moments.update(moments.empty(x.shape[1]), part) for part in np.array_split(x, parts)]


@pytest.fixture(scope="module")
def two():
    return draw.features()


def test_moments_merge_in_any_order(two):
    x = two[0]
    whole, parts = sums(x)[0], sums(x, 7)
    merged = moments.merge(moments.merge_all(parts[3:]), moments.merge_all(parts[:3]))
    for a, b in zip(whole, merged, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    mean, cov = moments.mean_cov(merged)
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(cov, np.cov(x.astype(np.float64), rowvar=False, bias=True), atol=1e-12)


def test_frechet_distance_of_known_gaussians():
    draw = np.random.default_rng(0)
    turn = np.linalg.qr(draw.standard_normal((6, 6)))[0]
    a, b, shift = draw.uniform(0.1, 2, 6), draw.uniform(0.1, 2, 6), draw.standard_normal(6)
    cov = lambda d: turn @ np.diag(d) @ turn.T  # they commute: the distance is that of the axes
    got = frechet.distance(frechet.prepare(np.zeros(6), cov(a)), shift, cov(b))
    assert got == pytest.approx((shift**2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rel=1e-12)


def test_frechet_distance_equals_the_form_with_a_matrix_root(two):
    (m1, s1), (m2, s2) = (moments.mean_cov(sums(x)[0]) for x in two)
    root = scipy.linalg.sqrtm(s2 @ s1)
    want = np.square(m1 - m2).sum() + np.trace(s1 + s2 - 2 * root).real
    assert frechet.distance(frechet.prepare(m1, s1), m2, s2) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("offset", [0, 5])
@pytest.mark.parametrize("groups", [1, 10])
def test_the_frechet_distance_of_a_set_to_itself_is_zero(groups, offset):
    x = np.random.default_rng(5).standard_normal((40, 120)) * np.geomspace(1e-3, 3, 120) + offset  # of rank 39
    value, interval = frechet.with_interval(sums(x)[0], sums(x, groups))
    assert value == 0
    assert groups == 1 or (interval[0] == 0 and interval[1] > 0)


def test_a_small_frechet_distance_is_not_lost_in_rounding():
    draw = np.random.default_rng(6)
    basis = np.linalg.qr(draw.standard_normal((120, 120)))[0]
    a = np.where(np.arange(120) < 40, 2.0, 0.0)  # deficient rank, where roots of rounding errors would add up
    b = np.square(np.sqrt(a) + 1e-5)
    cov = lambda d: (basis * d) @ basis.T
    got = frechet.distance(frechet.prepare(np.zeros(120), cov(a)), np.zeros(120), cov(b))
    assert got == pytest.approx(120e-10, rel=0.01)


def test_the_interval_of_a_distance_begins_at_zero():
    assert families.average_pairs(np.array([0, 0, 0, 1.0]), is_distance=True)[0][1][0] == 0
    assert families.average_pairs(np.array([0, 0, 0, 1.0]), is_distance=False)[0][1][0] < 0


def test_equal_to_torch_fidelity(two):
    first, second = two
    fid = frechet.frechet(sums(first)[0], sums(second)[0])
    assert fid == pytest.approx(PEERS["frechet_inception_distance"], rel=1e-3)
    chooser = np.random.RandomState(2020)  # as torch-fidelity chooses
    pick = lambda x: chooser.choice(len(x), 600, replace=False)
    kid = kernel_distance.kernel_distances(first, second, ((pick(first), pick(second)) for _ in range(20)))
    assert kid.mean() == pytest.approx(PEERS["kernel_inception_distance_mean"], rel=1e-3)
    assert kid.std() == pytest.approx(PEERS["kernel_inception_distance_std"], rel=1e-3)
    scores = inception_score.split_scores(scipy.special.softmax(draw.logits().astype(np.float64), axis=1))
    assert scores.mean() == pytest.approx(PEERS["inception_score_mean"], rel=1e-3)
    assert scores.std() == pytest.approx(PEERS["inception_score_std"], rel=1e-3)
    found = precision_recall.precision_recall(first, second)
    assert found.precision_hits.mean() == pytest.approx(PEERS["precision"], rel=1e-3)
    assert found.recall_hits.mean() == pytest.approx(PEERS["recall"], rel=1e-3)
    assert 0.2 < PEERS["precision"] < 0.99 and PEERS["kernel_inception_distance_mean"] > 0.01  # they say something


@pytest.mark.parametrize("tile", [37, 64, 4096])
def test_precision_and_recall_by_brute_force(tile):
    draw = np.random.default_rng(1)
    real, fake = draw.standard_normal((130, 5)), draw.standard_normal((97, 5)) * 0.8 + 0.4 + 50
    real, fake = ((x + off).astype(np.float16) for x, off in ((real, 50), (fake, 0)))  # a common offset, coarse digits
    between = scipy.spatial.distance.cdist
    radius = lambda x: np.sort(between(x, x), axis=1)[:, 3]
    cross = between(fake, real)
    found = precision_recall.precision_recall(real, fake, tile=tile)
    np.testing.assert_allclose(found.real_radii, radius(real), rtol=1e-5)
    clear = lambda radii: np.abs(cross - radii) > 1e-4  # coarse features make ties, which rounding decides
    sure = clear(radius(real)[None]).all(axis=1)
    np.testing.assert_array_equal(found.precision_hits[sure], (cross <= radius(real)).any(axis=1)[sure])
    sure_too = clear(radius(fake)[:, None]).all(axis=0)
    np.testing.assert_array_equal(found.recall_hits[sure_too], (cross <= radius(fake)[:, None]).any(axis=0)[sure_too])
    assert sure.mean() > 0.5 and sure_too.mean() > 0.5


def by_brute_force(real, fake, k=3):
    """Return (precision hits, recall hits), from differences in float64."""
    between = lambda a, b: np.stack([np.square(b.astype(np.float64) - x).sum(axis=1) for x in a.astype(np.float64)])
    radius = lambda x: np.sort(between(x, x), axis=1)[:, k]
    cross = between(fake, real)
    return (cross <= radius(real)).any(axis=1), (cross <= radius(fake)[:, None]).any(axis=0)


def same_hits(real, fake, tile):
    found = precision_recall.precision_recall(real, fake, tile=tile)
    for got, want in zip((found.precision_hits, found.recall_hits), by_brute_force(real, fake), strict=True):
        np.testing.assert_array_equal(got, want)
    return found


@pytest.mark.parametrize("copies", [1, 2, 4, 5, 6, 8])
@pytest.mark.parametrize("tile", [7, 64, 4096])
def test_pictures_that_occur_several_times_have_exact_precision_and_recall(copies, tile):
    draw = np.random.default_rng(copies)
    base = np.maximum(draw.normal(0.3, 0.5, (20, 640)), 0).astype(np.float16)
    real, half = (draw.permutation(np.repeat(base[:n], copies, axis=0)) for n in (20, 10))
    found = same_hits(real, half, tile)
    same_hits(half, real, tile)
    if copies > 3:  # every radius is 0: an image is hit by its own copies alone
        assert not found.real_radii.any() and found.precision_hits.all() and found.recall_hits.mean() == 0.5


@pytest.mark.parametrize("tile", [16, 4096])
def test_frames_of_a_still_video_have_exact_precision_and_recall(tile):
    draw = np.random.default_rng(9)
    base = np.maximum(draw.normal(0.3, 0.5, (10, 640)), 0).astype(np.float16)

    def frames(count):
        x = np.repeat(base, count, axis=0)
        for row in x:  # the least that a feature can change, in three places
            at = draw.integers(0, 640, 3)
            row[at] = np.nextafter(row[at], np.float16(9))
        return x

    found = same_hits(frames(8), frames(7), tile)
    assert 0.2 < found.precision_hits.mean() < 0.8 and 0 < found.real_radii.max() < 0.01


def test_minus_zero_is_zero():
    zeros = np.zeros((8, 4), np.float16)
    assert precision_recall.precision_recall(zeros, -zeros).recall_hits.all()


def balls_by_brute_force(real, fake, k):
    """Return (density of each fake, coverage of each real), from differences in float64."""
    between = lambda a, b: np.stack([np.square(b.astype(np.float64) - x).sum(axis=1) for x in a.astype(np.float64)])
    inside = between(real, fake) < np.sort(between(real, real), axis=1)[:, k, None]
    return inside.sum(axis=0) / k, inside.any(axis=1)


@pytest.mark.parametrize(("tile", "copies"), [(7, 1), (16, 3), (4096, 1), (4096, 7)])
def test_density_and_coverage_by_brute_force(tile, copies):
    draw = np.random.default_rng(copies)
    base = np.maximum(draw.normal(0.3, 0.5, (40, 640)), 0).astype(np.float16)
    real = draw.permutation(np.repeat(base[:30], copies, axis=0))
    fake = draw.permutation(np.repeat(base[20:], 2, axis=0))  # half of them are copies of reals
    found = precision_recall.density_coverage(real, fake, tile=tile)
    for got, want in zip(found, balls_by_brute_force(real, fake, 5), strict=True):
        np.testing.assert_array_equal(got, want)
    if copies == 7:  # every radius is 0, and an open ball of radius 0 is empty
        assert not found.density.any() and not found.is_covered.any()
    else:
        assert 0 < found.is_covered.mean() < 1 and found.density.any()


def test_density_and_coverage_of_one_distribution_are_what_theory_says():
    n, k, found = 200, 5, []
    for seed in range(30):
        a, b = np.random.default_rng(seed).standard_normal((2, n, 8)).astype(np.float32)
        balls = precision_recall.density_coverage(a, b, k)
        found.append((balls.density.mean(), balls.is_covered.mean()))
    missed = np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])  # Naeem et al. 2020, lemmas 1 and 2
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(30)
    assert np.all(np.abs(mean - (1, 1 - missed)) < 3 * error) and np.all(error < 0.02)


def test_inception_score_of_certain_and_of_uniform_classes():
    certain = np.tile(np.eye(5), (20, 1))
    np.testing.assert_allclose(inception_score.split_scores(certain), 5)
    np.testing.assert_allclose(inception_score.split_scores(np.full((100, 5), 0.2)), 1)


def test_subsets_hold_nothing_twice_and_fit_the_smaller_set():
    for real, fake in kernel_distance.draw_subsets(30, 20, count=3):
        assert len(set(real)) == len(set(fake)) == 20 and real.max() < 30 and fake.max() < 20


def coverage(make, truth, runs=60):
    """Return the share of runs whose interval holds the truth."""
    held = [low <= truth <= high for low, high in (make(np.random.default_rng(i)) for i in range(runs))]
    return np.mean(held)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    assert 0.85 <= coverage(lambda d: intervals.of_mean(d.exponential(size=200)), 1.0) <= 1
    assert 0.85 <= coverage(lambda d: intervals.of_share(int(d.binomial(300, 0.1)), 300), 0.1) <= 1
    assert intervals.bootstrap(np.mean, np.full(9, np.inf)) == (np.inf, np.inf)  # a PSNR without any error
    assert 0.85 <= coverage(lambda d: intervals.bootstrap(np.median, d.standard_normal(200)), 0.0) <= 1
    groups = lambda d: d.standard_normal((10, 50)).mean(axis=1)

    def left_out(d):
        x = groups(d)
        return intervals.jackknife(x.mean(), [np.delete(x, i).mean() for i in range(10)])

    assert 0.85 <= coverage(left_out, 0.0) <= 1
    assert intervals.of_mean(np.ones(1)) is intervals.jackknife(1.0, [1.0]) is None


def test_the_interval_of_the_frechet_distance_has_the_spread_of_its_draws():
    draw = np.random.default_rng(3)
    real = sums(draw.standard_normal((4000, 8)))[0]
    values, widths = [], []
    for _ in range(30):
        value, interval = frechet.with_interval(real, sums(draw.standard_normal((1000, 8)) * 1.3 + 0.2, 10))
        values.append(value)
        widths.append((interval[1] - interval[0]) / 2 / intervals.Z)
    assert 0.6 < np.mean(widths) / np.std(values) < 1.6


def test_entropy_that_a_guess_leaves():
    truth = np.array([0, 0, 1, 1] * 25, bool)
    assert separability.conditional_entropy(truth, truth) == 0
    assert separability.conditional_entropy(truth, np.zeros(100, bool)) == pytest.approx(1)
    guess = truth.copy()
    guess[:20:4] = ~guess[:20:4]  # 5 of 100 wrong: rows of 45 (all right) and of 55 (50 right)
    assert separability.conditional_entropy(truth, guess) == pytest.approx(0.55 * scipy.stats.entropy([5, 50], base=2))


def test_separability_of_a_plane_and_of_a_shell():
    latents = np.random.default_rng(4).standard_normal((3000, 6))
    plane, shell = latents @ np.arange(6.0) - 1, np.square(latents).sum(axis=1) - 5.3
    score, entropies = separability.separability(latents, np.stack([plane, shell], axis=1), keep=1500)
    assert entropies[0] < 0.05 and entropies[1] > 0.9
    assert score == pytest.approx(2 ** entropies.sum())
    assert separability.attribute_entropy(latents, np.ones(3000)) == 0
