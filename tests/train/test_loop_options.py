"""The loop with a toy model: rollback, skipped steps, the best checkpoint, early stopping; each across a restart."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import toy

from stylegan_jax import data, models
from stylegan_jax.base import rng
from stylegan_jax.checkpoints.averages import read_snapshot
from stylegan_jax.checkpoints.checkpointer import Checkpointer
from stylegan_jax.checkpoints.restore import committed_steps
from stylegan_jax.config import ConfigError
from stylegan_jax.sampling import averages
from stylegan_jax.train import loop, programs, schedule
from stylegan_jax.train.gan import task as gan_task
from stylegan_jax.train.gan.preview import GanPreview


@pytest.fixture(autouse=True)
def toy_model(monkeypatch):
    monkeypatch.setattr(models, "build", lambda config: toy.GAN)


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def same_bits(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, jax.device_get((a, b))), strict=True))


@pytest.fixture
def poison(monkeypatch):
    """Return a function that makes programs write NaN: at chosen steps, as long as the root key is the first one."""

    def install(at: set[int], *, always: bool = False, phase: str = "d_main"):
        make = programs.jit_programs

        def jit_programs(made, layout):
            sound = made[phase]

            def program(state, frozen, batch, root_key):
                hit = np.isin(np.arange(1000), list(at))
                first = (jax.random.key_data(root_key) == jax.random.key_data(rng.root(0))).all()
                bad = jax.numpy.asarray(hit)[state.step] & (first | always)
                g = state.nets["g"]
                broken = g | {"params": jax.tree.map(lambda x: jax.numpy.where(bad, np.nan, x), g["params"])}
                after = sound(state.replace(nets=state.nets | {"g": broken}), frozen, batch, root_key)
                return after.replace(nets=after.nets | {"g": g})

            return make(made | {phase: program}, layout)

        monkeypatch.setattr(programs, "jit_programs", jit_programs)

    return install


def test_rollback_goes_on_from_the_last_checkpoint_with_other_numbers(cache, tmp_path, poison, capsys):
    poison({20})
    own = {"train__on_nan": "rollback", "train__max_rollbacks": 1, "train__posthoc_ema": (0.1,)}
    own |= {"log__tick_kimg": 0.032, "log__checkpoint_ticks": 2}
    config = toy.make_loop_config(cache, **own)
    state = loop.train(config, tmp_path / "a")
    text = capsys.readouterr().out
    assert "rollback 1 of 1: loss/d_adversarial is not finite at step 20" in text
    assert "continuing from step 16 with other random numbers" in text
    assert int(state.step) == 64
    told = rows(tmp_path / "a")
    assert [row["step"] for row in told] == list(range(4, 65, 4))
    assert [row.get("rollbacks", 0) for row in told] == [0] * 4 + [1] * 12
    with Checkpointer(tmp_path / "a") as checkpointer:
        found = checkpointer.restore(jax.device_get(state))
    assert found is not None and found[1]["rollbacks"] == 1
    # A restart after the rollback goes on with the same numbers.
    half = toy.make_loop_config(cache, **own, train__total_kimg=0.256)
    loop.train(half, tmp_path / "b")
    assert same_bits(loop.train(config, tmp_path / "b"), state)
    assert [r["mean"] for r in rows(tmp_path / "b")] == [r["mean"] for r in told]
    # The snapshot of step 20 is that of the second time.
    first, second = (averages.snapshots_of(tmp_path / name) for name in "ab")
    assert [s.meta["rollbacks"] for s in first] == [0] * 4 + [1] * 12
    assert all(map(same_bits, map(read_snapshot, first), map(read_snapshot, second)))


def test_rollbacks_come_to_an_end(cache, tmp_path, poison):
    poison({3}, always=True)  # before the first checkpoint: back to the start, each time
    config = toy.make_loop_config(cache, train__on_nan="rollback", train__max_rollbacks=2)
    with pytest.raises(loop.DivergedError, match=r"not finite at step 3 .*none yet.*\(after 2 rollbacks\)"):
        loop.train(config, tmp_path)
    assert committed_steps(tmp_path / "checkpoints") == []


def test_other_numbers_after_a_rollback():
    assert schedule.after_rollbacks(7, 0) == 7
    assert len({schedule.after_rollbacks(seed, n) for seed in (7, 8) for n in range(9)}) == 18


def test_skipped_steps_are_told_and_training_goes_on(cache, tmp_path, poison, capsys):
    poison({9, 11, 30})
    state = loop.train(toy.make_loop_config(cache, train__on_nan="skip", train__total_kimg=0.256), tmp_path)
    assert int(state.step) == 32 and all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(state.nets["g"])))
    text = capsys.readouterr().out
    assert "warning: 2 of 8 steps of d_main were not finite and were skipped" in text
    assert [round(r["mean"]["nonfinite/d_main"] * 8) for r in rows(tmp_path)] == [0, 2, 0, 1]


def test_nothing_but_bad_steps_ends_the_run(cache, tmp_path, poison):
    poison(set(range(10, 1000)))
    with pytest.raises(loop.DivergedError, match="the last 16 steps of d_main before step 32 were not finite"):
        loop.train(toy.make_loop_config(cache, train__on_nan="skip"), tmp_path)
    assert committed_steps(tmp_path / "checkpoints")[-1] == 24  # its averages are as good as before


def test_a_restart_goes_on_with_the_same_augmentation(cache, tmp_path):
    steered = {"augment__mode": "ada", "augment__pipe": "blit", "augment__p": 0.3, "augment__kimg": 0.5}
    state = loop.train(toy.make_loop_config(cache, **steered), tmp_path / "a")
    assert float(state.moving["augment"].p) != np.float32(0.3)
    loop.train(toy.make_loop_config(cache, **steered, train__total_kimg=0.192), tmp_path / "b")
    assert same_bits(loop.train(toy.make_loop_config(cache, **steered), tmp_path / "b"), state)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (np.arange(12) % 3, "classes"),
        (np.tile(np.float32([[1, 1, 0], [0, 1, 1], [0, 0, 1]]), (4, 1)), "multi-hot"),
        (np.linspace(0, 1, 36, dtype=np.float32).reshape(12, 3), "vectors"),
    ],
)
def test_labels_of_every_kind(cache, tmp_path, monkeypatch, labels, kind):
    """They reach the discriminator with reals and fakes, the grid and, by the checkpoint, what samples from it."""
    weights = np.float32([100, 200, 400])  # far more than what the toy adds

    def discriminate(d, frozen, sample, cond, **options):
        logits, moved = toy.discriminate(d, frozen, sample, cond, **options)
        return logits + (cond @ weights)[:, None], moved

    gan = toy.GAN._replace(spec=toy.SPEC._replace(label_dim=3), discriminate=discriminate)
    monkeypatch.setattr(models, "build", lambda config: gan)
    config = toy.make_loop_config(cache, model__label_dim=-1, train__total_kimg=0.064)
    pixels = np.random.default_rng(0).integers(0, 256, (12, *toy.SHAPE), np.uint8)
    source = data.fit_source(
        data.MemorySource(pixels, labels, label_names=("a", "b", "c")), config.data, config.model.image_shape
    )
    cells = []
    monkeypatch.setattr(gan_task, "GanPreview", lambda *args: cells.append(args[3]) or GanPreview(*args))
    state = loop.train(config, tmp_path, source)
    cell = [1, 0, 0] if kind == "classes" else labels[data.order.shuffled(np.arange(1), 12)[0]]
    np.testing.assert_allclose(cells[0][0], cell, rtol=1e-6)
    added = float((source.labels(np.arange(12)) @ weights).mean())
    means = rows(tmp_path)[0]["mean"]
    assert means["scores/real"] == pytest.approx(added, rel=0.1) and means["scores/fake"] == pytest.approx(
        added, rel=0.3
    )
    with Checkpointer(tmp_path) as checkpointer:
        found = checkpointer.restore(jax.device_get(state))
    assert found is not None and found[1]["label_names"] == ["a", "b", "c"]
    assert found[1]["label_kind"] == kind and found[1]["config"]["model"]["label_dim"] == 3


@pytest.fixture
def scores(monkeypatch):
    """Return a function that replaces a reported mean by a series, one value per tick."""

    def install(name: str, values: list[float]):
        means = loop.terms.means
        after = {8 * (i + 1): v for i, v in enumerate(values)}
        report = loop.Run._report

        def replaced(self, state, step, *args):
            monkeypatch.setattr(loop.terms, "means", lambda *args: means(*args) | {name: after[step]})
            return report(self, state, step, *args)

        monkeypatch.setattr(loop.Run, "_report", replaced)

    return install


def test_the_best_checkpoint_stays_and_training_stops_early(cache, tmp_path, scores, capsys):
    scores("scores/real", [3, 5, 1, 4, 4, 4, 4, 4])
    own = {"log__keep_best": "scores/real", "log__best_mode": "max", "log__keep_latest": 1}
    limited = toy.make_loop_config(cache, **own, train__early_stop_kimg=0.25)  # 31.25 steps
    stopped = loop.train(limited, tmp_path)
    assert int(stopped.step) == 48
    assert committed_steps(tmp_path / "checkpoints") == [16, 48]
    line = "scores/real has not been better than 5 (checkpoint of step 16, kept) for 0.25 kimg"
    assert f"stopped at step 48: {line}" in capsys.readouterr().out
    # The command again does nothing, as the best value is known from its checkpoint.
    assert same_bits(loop.train(limited, tmp_path), stopped)
    assert f"nothing to do: {line}" in capsys.readouterr().out
    # With more patience it goes on.
    assert int(loop.train(toy.make_loop_config(cache, **own, train__early_stop_kimg=9.0), tmp_path).step) == 64
    assert committed_steps(tmp_path / "checkpoints") == [16, 64]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"log__keep_best": "signs/reel"}, r"keep_best is 'signs/reel', .*did you mean 'signs/real'"),
        (
            {"log__keep_best": "loss/d_penalty"},
            "'loss/d_penalty', which this run does not report",
        ),
        ({"train__freeze_d": 3}, "freeze_d is 3"),
    ],
)
def test_refused_before_anything_is_written(cache, tmp_path, changes, text):
    with pytest.raises(ConfigError, match=text):
        loop.train(toy.make_loop_config(cache, **changes), tmp_path)
    assert not (tmp_path / "config.json").exists()
