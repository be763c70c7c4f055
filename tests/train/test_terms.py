"""Sums of reported terms, and the first bad value."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.train import terms

NAMES = ("loss/d_adversarial", "loss/g_adversarial", "loss/d_penalty", "scores/fake", "scores/real")
add = jax.jit(terms.add, static_argnums=1)


def run(rows):
    """Add rows of {term: value} at steps 0, 1, …; return host statistics."""
    stats = terms.empty(len(NAMES))
    for step, row in enumerate(rows):
        stats = add(stats, NAMES, {k: jnp.float32(v) for k, v in row.items()}, jnp.int32(step))
    return jax.device_get(stats)


def test_means_and_deviations_count_only_the_steps_that_reported():
    rows = [{"scores/fake": 1.0, "loss/d_penalty": 5.0}, {"scores/fake": 2.0}, {"scores/fake": 6.0}]
    stats = run(rows)
    assert terms.means(stats, NAMES) == {"scores/fake": 3.0, "loss/d_penalty": 5.0}
    assert terms.stds(stats, NAMES)["scores/fake"] == pytest.approx(np.std([1, 2, 6]), rel=1e-5)
    assert terms.stds(stats, NAMES)["loss/d_penalty"] == 0


def test_nothing_reported_is_nothing():
    stats = jax.device_get(terms.empty(len(NAMES)))
    assert terms.means(stats, NAMES) == terms.stds(stats, NAMES) == {}
    assert terms.first_bad(stats, NAMES) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_bad_step_of_a_term_is_kept(bad):
    stats = run([{"scores/real": 0.0}, {"scores/real": bad}, {"scores/real": bad}, {"scores/real": 1.0}])
    assert terms.first_bad(stats, NAMES) == ("scores/real", 1)


def test_the_earliest_step_wins_and_within_a_step_the_loss():
    stats = run(
        [{"scores/fake": 0.0, "loss/d_adversarial": 0.0}, {"scores/fake": np.nan, "loss/d_adversarial": np.nan}]
    )
    assert terms.first_bad(stats, NAMES) == ("loss/d_adversarial", 1)
    stats = run([{"scores/real": np.inf}, {"loss/g_adversarial": np.nan}])
    assert terms.first_bad(stats, NAMES) == ("scores/real", 0)


def test_every_buffer_is_its_own():
    leaves = jax.tree.leaves(terms.empty(len(NAMES)))
    assert len({x.unsafe_buffer_pointer() for x in leaves}) == len(leaves)  # the state is donated


def test_an_unknown_term_is_an_error():
    with pytest.raises(ValueError, match="not in tuple"):
        terms.add(terms.empty(len(NAMES)), NAMES, {"scores/fakes": jnp.float32(0)}, jnp.int32(0))
