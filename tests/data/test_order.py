"""The order is a function of (seed, position): a permutation per epoch, the same from any start."""

import numpy as np
import pytest

from stylegan_jax.data import order

GOLDEN_INDEX = [529, 1373, 466, 1793, 2769, 1336, 912, 3331]
GOLDEN_FLIP = [0, 1, 0, 1, 1, 1, 0, 1]
GOLDEN_SUBSET = [1848, 2391, 2406, 2887, 3184, 3290]
GOLDEN_LABEL = [[1163, 589, 980, 2437], [2064, 1574, 3331, 3152]]


@pytest.mark.parametrize("num_images", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("xflip", [False, True])
@pytest.mark.parametrize("yflip", [False, True])
def test_every_epoch_shows_every_copy_once(num_images, xflip, yflip):
    size = num_images * (1 + xflip) * (1 + yflip)
    index, flip = order.order(3, np.arange(4 * size), num_images, xflip, yflip)
    copies = {(i, x, y) for i in range(num_images) for x in {False, xflip} for y in {False, yflip}}
    assert len(copies) == size and flip.dtype == bool
    for epoch in range(4):
        part = slice(epoch * size, (epoch + 1) * size)
        assert set(zip(index[part].tolist(), *flip[part].T.tolist(), strict=True)) == copies


def test_a_subset_is_a_uniform_draw_and_part_of_every_larger_one():
    whole = [order.subset(3, n, 50) for n in range(1, 51)]
    for n, drawn in enumerate(whole, 1):
        assert drawn.tolist() == sorted(set(drawn.tolist())) and len(drawn) == n and 0 <= drawn[0] <= drawn[-1] < 50
        assert set(whole[0]) <= set(drawn) <= set(whole[-1])
    counts = np.bincount(np.concatenate([order.subset(seed, 10, 50) for seed in range(2000)]), minlength=50)
    assert abs(((counts - 400) ** 2 / (400 * 0.8)).sum() - 49) < 5 * np.sqrt(2 * 49)
    assert not np.array_equal(order.subset(0, 10, 50), order.subset(1, 10, 50))
    assert order.subset(0, 6, 3781).tolist() == GOLDEN_SUBSET


def test_epochs_and_seeds_differ():
    a = order.order(0, np.arange(200), 100)[0].reshape(2, 100)
    b = order.order(1, np.arange(100), 100)[0]
    for x, y in ((a[0], a[1]), (a[0], b), (a[0], np.arange(100))):
        assert np.mean(x == y) < 0.1


def test_any_start_continues_the_same_order():
    whole = order.order(5, np.arange(1000), 37, True)
    for start in (1, 57, 73, 74, 999):
        part = order.order(5, np.arange(start, 1000), 37, True)
        assert np.array_equal(part[0], whole[0][start:]) and np.array_equal(part[1], whole[1][start:])
    scattered = np.array([900, 3, 74])
    assert np.array_equal(order.order(5, scattered, 37, True)[0], whole[0][scattered])


def test_golden_values_do_not_change_between_releases():
    """A changed order would silently break the exact resume of old runs."""
    index, flip = order.order(0, np.arange(8), 3781, True)
    assert index.tolist() == GOLDEN_INDEX and flip[:, 0].astype(int).tolist() == GOLDEN_FLIP and not flip[:, 1].any()
    assert order.label_index(0, np.arange(4), np.arange(2), 3781).tolist() == GOLDEN_LABEL


def test_seeds_may_be_any_integer_and_positions_far():
    for seed in (-1, 2**63, 2**70, np.int64(-5)):
        index, _ = order.order(seed, np.arange(10) + 10**15, 10)
        assert index.min() >= 0 and index.max() < 10


@pytest.mark.parametrize("num_images", [5, 40])
def test_positions_in_an_epoch_are_uniform(num_images):
    epochs = 4000
    index, _ = order.order(7, np.arange(epochs * num_images), num_images)
    table = index.reshape(epochs, num_images)
    counts = np.stack([np.bincount(column, minlength=num_images) for column in table.T])
    expected = epochs / num_images
    freedom = (num_images - 1) ** 2
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)
    steps = np.bincount((np.diff(table, axis=1) % num_images).ravel(), minlength=num_images)[1:]
    assert np.ptp(steps) < 0.25 * steps.mean()


def test_label_draws_are_uniform_and_independent_of_the_order():
    drawn = order.label_index(0, np.arange(20000), np.arange(4), 10)
    assert drawn.shape == (4, 20000)
    counts = np.stack([np.bincount(row, minlength=10) for row in drawn])
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)
    for a in range(4):
        for b in range(a):
            assert abs(np.mean(drawn[a] == drawn[b]) - 0.1) < 0.015
    shown, _ = order.order(0, np.arange(20000), 10)
    assert abs(np.mean(drawn[0] == shown) - 0.1) < 0.015
    assert np.array_equal(order.label_index(0, np.arange(50, 60), np.arange(4), 10), drawn[:, 50:60])
    assert np.array_equal(order.label_index(0, np.arange(50, 60), np.array([3, 1]), 10), drawn[[3, 1], 50:60])


def test_uniform_is_a_function_of_its_parts():
    a = order.uniform(1000, 3)
    assert np.array_equal(a, order.uniform(1000, 3)) and not np.array_equal(a, order.uniform(1000, 4))
    assert a.min() >= 0 and a.max() < 1 and abs(a.mean() - 0.5) < 0.05


def test_the_order_of_metrics_is_one_fixed_permutation():
    whole = order.shuffled(np.arange(3781), 3781)
    np.testing.assert_array_equal(np.sort(whole), np.arange(3781))
    np.testing.assert_array_equal(order.shuffled(np.array([5, 0, 3780]), 3781), whole[[5, 0, 3780]])
    assert whole[:6].tolist() == [2335, 1316, 2358, 2670, 323, 2951]  # statistics in caches depend on it
    assert np.abs(whole[:1000].mean() - 1890) < 5 * 1091 / np.sqrt(1000)  # of the whole range
