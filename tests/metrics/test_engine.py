"""Passes: in chunks, interrupted and resumed, stored and damaged; all to the bit."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.base import agreement
from stylegan_jax.features import weights
from stylegan_jax.metrics import engine
from stylegan_jax.metrics.collect import BLOCK, Rows, Sums
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.metrics.store import VARIABLE, Store, default_folder, digest_of

COUNT = 3 * BLOCK + 11
FEATURES = np.random.default_rng(0).standard_normal((COUNT, 5)).astype(np.float32)


def job(chunk, fail_at=COUNT, identity=None, features=FEATURES, error=KeyboardInterrupt):
    def compute(index):
        assert len(index) == chunk
        if index[0] >= fail_at:
            raise error
        return {"a": jnp.asarray(features[index]), "b": jnp.asarray(features[index] ** 2)}

    identity = {"of": "these"} if identity is None else identity
    return engine.Job("a test", identity, COUNT, chunk, lambda index: index, compute)


def collectors():
    return {"a": [Sums(COUNT, 3), Rows(700)], "b": [Rows(COUNT, "float16")]}


def content(kept):
    return [x for group in kept.values() for c in group for x in c.arrays().values()]


def same(one, two) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(content(one), content(two), strict=True))


def run(*jobs, store=None):
    kept = collectors()
    engine.run(*jobs, kept, store or Store(None))
    return kept


def test_a_pass_gives_the_same_bits_whatever_its_chunks():
    whole = run(job(COUNT))
    assert same(whole, run(job(16))) and same(whole, run(job(100)))
    np.testing.assert_array_equal(whole["a"][1].rows, FEATURES[:700])
    np.testing.assert_array_equal(whole["b"][0].rows, (FEATURES**2).astype(np.float16))
    parts = whole["a"][0].parts()
    assert [p.count for p in parts] == [516, 516, 515] and sum(p.count for p in parts) == COUNT
    np.testing.assert_allclose(whole["a"][0].whole().total, FEATURES.astype(np.float64).sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("seconds", [0.0, 1e9])  # saved all the time; saved by the interruption
def test_an_interrupted_pass_goes_on_where_it_stopped(tmp_path, monkeypatch, seconds):
    monkeypatch.setattr(engine, "SAVE_SECONDS", seconds)
    store, straight = Store(tmp_path), run(job(COUNT))
    for chunk, fail_at in ((100, 600), (64, 1000)):
        with pytest.raises(KeyboardInterrupt):
            run(job(chunk, fail_at), store=store)
    seen = []
    last = job(32)
    resumed = run(last._replace(load=lambda index: seen.append(index[0]) or index), store=store)
    assert same(resumed, straight)
    assert 900 < seen[0] < 1000  # what was computed before was not computed again
    engine.forget(last, store)
    assert not list(tmp_path.iterdir())


def test_another_identity_does_not_resume(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(job(100, 600), store=Store(tmp_path))
    kept = run(job(100, identity={"of": "others"}, features=FEATURES + 1), store=Store(tmp_path))
    assert same(kept, run(job(100, features=FEATURES + 1)))


def test_what_does_not_fit_is_computed_again_with_a_note(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        run(job(100, 600), store=Store(tmp_path))
    few = {"a": [Sums(COUNT, 3), Rows(200)], "b": [Rows(COUNT, "float16")]}
    engine.run(job(100), few, Store(tmp_path))
    assert "a test: the stored statistics do not fit (500 rows, 200 wanted) and are computed again" in caplog.text
    whole = run(job(COUNT))
    assert few["a"][0].arrays()["outers"].tobytes() == whole["a"][0].arrays()["outers"].tobytes()
    assert few["a"][1].rows.tobytes() == FEATURES[:200].tobytes()


def test_whole_rows_are_not_copied():
    stored, kept = {"rows": FEATURES}, Rows(COUNT)
    kept.load(stored)
    assert kept.rows is FEATURES and kept.done == COUNT


def test_nan_is_named_by_its_item():
    broken = FEATURES.copy()
    broken[333, 2] = np.nan
    with pytest.raises(MetricError, match="a test: a of item 333 is NaN or infinite; check the images"):
        run(job(50, features=broken))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-40], lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:], lambda b: b""]
)
def test_a_damaged_entry_is_computed_again_with_a_note(tmp_path, caplog, damage):
    store, identity = Store(tmp_path), {"n": 1}
    store.save("real", identity, {"x": np.arange(50.0)})
    loaded = store.load("real", identity)
    assert loaded is not None and loaded["x"].tolist() == list(range(50))
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert store.load("real", identity) is None
    assert "is damaged" in caplog.text and "computed again" in caplog.text


def test_a_folder_that_cannot_be_written_costs_no_metric(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "below")
    store.save("real", {}, {"x": np.zeros(1)})
    assert "cannot be written" in caplog.text and store.load("real", {}) is None


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), PermissionError(13, "Permission denied")])
def test_a_cache_on_a_read_only_mount_costs_no_metric(tmp_path, monkeypatch, caplog, error):
    def refuse(*args, **options):
        raise error

    whole, store = run(job(50)), Store(tmp_path)
    for name in ("unlink", "mkdir", "open", "replace", "stat"):
        monkeypatch.setattr(Path, name, refuse)
    store.sweep()
    assert same(run(job(50, identity={"a": 1}), store=store), whole)
    engine.forget(job(50, identity={"a": 1}), store)
    store.save("real", {}, {"x": np.zeros(1)})
    assert store.load("real", {}) is None and "computed again" in caplog.text


def test_a_cache_that_is_a_file_costs_no_metric(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file")
    store.sweep()
    store.save("pass", {}, {"x": np.zeros(1)})
    store.remove("pass", {})
    assert store.load("pass", {}) is None


def test_what_nobody_goes_on_with_is_deleted_after_a_month(tmp_path):
    store = Store(tmp_path)
    for kind in ("real", "pass"):
        for age in (29, 31):
            store.save(kind, {"age": age}, {"x": np.zeros(1)})
    (tmp_path / "pass-0.7.part").write_bytes(b"")
    for path in tmp_path.iterdir():
        days = 29 if path.name.endswith(f"{digest_of({'age': 29})}.npz") else 31
        os.utime(path, (time.time() - days * 86400,) * 2)
    store.sweep()
    kept = {kind: [store.load(kind, {"age": age}) is not None for age in (29, 31)] for kind in ("real", "pass")}
    assert kept == {"real": [True, True], "pass": [True, False]} and len(list(tmp_path.iterdir())) == 3
    Store(None).sweep()
    Store(tmp_path / "absent").sweep()


def test_one_of_several_processes_that_fails_is_an_error_on_all(monkeypatch):
    monkeypatch.setattr(engine.jax, "process_count", lambda: 2)
    monkeypatch.setattr(agreement.multihost_utils, "broadcast_one_to_all", lambda x: x)
    monkeypatch.setattr(agreement.multihost_utils, "process_allgather", lambda x: np.array([x, False]))

    def fail():
        raise np.linalg.LinAlgError("no convergence")

    def refuse(index):
        raise OSError("the disk is gone")

    assert engine.run_on_first("fid5k", lambda: [1]) == [1]
    with pytest.raises(MetricError, match="fid5k: LinAlgError: no convergence"):
        engine.run_on_first("fid5k", fail)
    with pytest.raises(MetricError, match="a test: OSError: the disk is gone"):
        run(job(100)._replace(load=refuse))
    monkeypatch.setattr(agreement.multihost_utils, "process_allgather", lambda x: np.array([x, True]))
    with pytest.raises(MetricError, match="a test: process 1 cannot load its images; its own output says why"):
        run(job(100))
    monkeypatch.setattr(engine.jax, "process_index", lambda: 1)
    monkeypatch.setattr(agreement.multihost_utils, "broadcast_one_to_all", np.zeros_like)
    with pytest.raises(MetricError, match="fid5k: the first process failed; its own output says why"):
        engine.run_on_first("fid5k", fail)


def test_where_entries_lie(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a"))
    assert default_folder() == tmp_path / "a"
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable, found in ((VARIABLE, default_folder), (weights.FOLDER_VARIABLE, weights.cache_folder)):
        monkeypatch.setenv(variable, "~/b")  # as a file of variables has it, which no shell reads
        assert found() == tmp_path / "b"
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "stylegan_jax" / "metrics"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: Path("~no-such-user").expanduser())  # as for a user id without a name
    assert default_folder() is None
    assert (
        digest_of({"a": 1, "b": {"c": 2}}) == digest_of({"b": {"c": 2}, "a": 1}) != digest_of({"a": 1, "b": {"c": 3}})
    )


def test_features_that_float16_cannot_hold_are_refused():
    rows = Rows(3, "float16")
    rows.check(np.full((2, 4), 60_000, np.float32))
    with pytest.raises(MetricError, match=r"features up to 7e\+04 overflow float16"):
        rows.check(np.full((1, 4), -70_000, np.float32))
