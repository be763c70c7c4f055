"""Metrics while a toy trains: when, where they are written, the best checkpoint by one of them, and what goes wrong."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from stylegan_jax import data, models
from stylegan_jax.checkpoints.restore import committed_steps
from stylegan_jax.config import ConfigError
from stylegan_jax.features import FeatureNet
from stylegan_jax.metrics import detectors, engine
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.metrics.evaluate import Evaluation
from stylegan_jax.train import loop

MATRIX = np.random.default_rng(0).standard_normal((192, 6)).astype(np.float32) / 14


def net(name):
    def apply(params, images, outputs):
        return {key: jnp.tanh(images.reshape(-1, 192) / 127.5 - 1) @ params for key in outputs}

    return FeatureNet(name, {}, MATRIX, apply, "x", "made up")


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    monkeypatch.setattr(models, "build", lambda config: toy.GAN)
    monkeypatch.setattr(detectors, "load", lambda names, paths: {name: net(name) for name in names})


def make_config(cache, **changes):
    own = {"eval__cache": "off", "log__checkpoint_ticks": 2}
    own |= {"eval__metrics": "fid5k", "eval__num_images": 24, "eval__ticks": 2}
    return toy.make_loop_config(cache, **(own | changes))


def rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_are_reported_and_the_best_checkpoint_stays(cache, tmp_path, capsys):
    own = {"log__keep_best": "metric/fid24", "log__keep_latest": 1}
    loop.train(make_config(cache, **own, train__total_kimg=0.256), tmp_path / "a")
    told = rows(tmp_path / "a" / "stats.jsonl")
    values = {row["step"]: row["metrics"]["metric/fid24"] for row in told if "metrics" in row}
    assert list(values) == [16, 32] and len(told) == 4
    assert "step 16: metric/fid24 " in capsys.readouterr().out
    loop.train(make_config(cache, **own), tmp_path / "a")  # goes on
    loop.train(make_config(cache, **own), tmp_path / "b")
    told, straight = (rows(tmp_path / name / "stats.jsonl") for name in "ab")
    assert [row.get("metrics") for row in told] == [row.get("metrics") for row in straight]
    values = {row["step"]: row["metrics"]["metric/fid24"] for row in straight if "metrics" in row}
    best = min(values, key=lambda step: values[step])
    assert committed_steps(tmp_path / "b" / "checkpoints") == sorted({best, 64})
    written = rows(tmp_path / "a" / "metrics.jsonl")
    assert [(r["step"], r["value"]) for r in written] == list(values.items())
    assert written[0]["metric"] == "fid24" and written[0]["nimg"] == 128 and written[0]["detector"]["digest"] == "x"
    assert len(set(values.values())) == len(values)


def test_training_is_the_same_with_and_without_metrics(cache, tmp_path):
    with_, without = (
        loop.train(make_config(cache, eval__metrics=names, train__total_kimg=0.128), tmp_path / f"r{i}")
        for i, names in enumerate(("fid5k,pr50k3", ""))
    )
    np.testing.assert_array_equal(*(s.ema["g"]["mapping"]["fc0"]["weight"] for s in (with_, without)))
    assert not (tmp_path / "r1" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MetricError("pool of item 3 is NaN"), "pool of item 3 is NaN"),
        (data.DataError("a.png: damaged"), "DataError: a.png: damaged"),
        (np.linalg.LinAlgError("no convergence"), "LinAlgError: no convergence"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (MemoryError("5 GB"), "MemoryError: 5 GB"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED"), "JaxRuntimeError: RESOURCE_EXHAUSTED"),
    ],
)
def test_a_metric_that_fails_does_not_end_the_training(cache, tmp_path, monkeypatch, capsys, error, text):
    def run(self, variables, stop):
        raise error
        yield

    monkeypatch.setattr(Evaluation, "run", run)
    state = loop.train(make_config(cache, train__total_kimg=0.128), tmp_path)
    assert int(state.step) == 16
    assert f"warning: no metrics at step 16: {text}" in capsys.readouterr().out


def test_reals_are_all_images_where_training_has_a_subset(cache, tmp_path):
    config = make_config(cache, data__subset=20, eval__num_images=40, train__total_kimg=0.128)
    total = config.data.synthetic_images
    loop.train(config, tmp_path)
    (row,) = rows(tmp_path / "metrics.jsonl")
    assert total > 40 and row["data"]["num_images"] == total
    assert row["counts"] == {"evaluated": 40, "real": 40, "real_drawn_from": total}


def test_a_signal_ends_the_evaluation(cache, tmp_path, monkeypatch, capsys):
    import os
    import signal

    collect = engine._collect

    def signalled(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        collect(*args)

    monkeypatch.setattr(engine, "_collect", signalled)
    state = loop.train(make_config(cache, eval__batch=4), tmp_path)
    assert int(state.step) == 16 and committed_steps(tmp_path / "checkpoints") == [16]
    assert "warning: no metrics at step 16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"eval__metrics": "fid9k"}, "config.eval.metrics=fid9k: metric 'fid9k': did you mean"),
        ({"eval__metrics": "eqt50k_int"}, "needs a generator that can translate or rotate its output"),
        ({"eval__metrics": "lpips"}, "compares pairs of images"),
        ({"log__keep_best": "metric/fid5k"}, "metric/fid5k'.*did you mean 'metric/fid24'"),
        ({"log__keep_best": "metric/fid24", "log__best_mode": "max"}, "best_mode is 'max'; for fid24, use 'min'"),
        ({"log__keep_best": "metric/fid24", "log__checkpoint_ticks": 3}, "a multiple of eval.ticks"),
        ({"eval__ticks": 0}, "config.eval.ticks is 0"),
        ({"eval__num_images": -1}, "config.eval.num_images is -1"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_at_the_start(cache, tmp_path, changes, text):
    with pytest.raises(ConfigError, match=text):
        loop.train(make_config(cache, **changes), tmp_path)
    assert not (tmp_path / "checkpoints").exists()
