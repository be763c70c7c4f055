"""Checkpoints: round trip, retention, damage, full disk, other device counts."""

from __future__ import annotations

import gc
import json
import math
import random
import resource
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from stylegan_jax.checkpoints import checkpointer as checkpoint_lib, restore as restore_lib
from stylegan_jax.checkpoints.checkpointer import Checkpointer, CheckpointError, read_meta, restore_g_ema

# When one array cannot be read, Orbax leaves the other reads to finish on an event loop that is gone by then.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def drop_unfinished_reads() -> Iterator[None]:
    yield
    gc.collect()


META = {"config": {"name": "tiny", "lr": 0.0025, "channels": [8, 16]}, "nimg": 128}


class Moments(NamedTuple):
    n: jax.Array
    mu: dict[str, jax.Array]


@flax.struct.dataclass
class State:
    step: jax.Array
    g: dict[str, Any]
    opt: tuple[Any, ...]
    p: jax.Array
    unused: None = None


def make_state(seed: int) -> State:
    # Large enough that Orbax stores the arrays beside its index, which is all that it checks itself.
    values = np.random.default_rng(seed).normal(size=(3, 32, 32)).astype(np.float32)
    values[0, 0, 0] = -0.0
    return State(
        step=jnp.asarray(seed, jnp.int32),
        g={"mapping": {"w": jnp.asarray(values[0])}, "synthesis": {"w": jnp.asarray(values[1], jnp.bfloat16)}},
        opt=(Moments(jnp.asarray(seed), {"w": jnp.asarray(values[2])}), ()),
        p=jnp.asarray([True, False]),
    )


def save(checkpointer: Checkpointer, step: int, **kwargs: Any) -> None:
    state = make_state(step)
    checkpointer.save(step, state, state.g, META | {"nimg": step}, **kwargs)


def target_of(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def assert_same(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with steps 1 and 2; tests copy it."""
    workdir = tmp_path_factory.mktemp("saved")
    with Checkpointer(workdir) as checkpointer:
        save(checkpointer, 1)
        save(checkpointer, 2)
    return workdir


@pytest.fixture
def workdir(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "run")


def test_round_trip_is_bit_equal_with_types_and_meta(saved: Path):
    with Checkpointer(saved) as checkpointer:
        assert checkpointer.steps() == [1, 2]
        found = checkpointer.restore(target_of(make_state(0)))
    assert found is not None
    state, meta, step = found
    assert_same(state, make_state(2))
    assert isinstance(state, State) and isinstance(state.opt[0], Moments)
    assert (meta, step) == (META | {"nimg": 2}, 2)


def test_nothing_saved_yet(tmp_path: Path):
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.restore(make_state(0)) is None
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        restore_g_ema(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        read_meta(tmp_path / "missing")


def test_saved_arrays_may_be_donated_and_changed_at_once(tmp_path: Path):
    scale = jax.jit(lambda tree: jax.tree.map(lambda x: x * 3, tree), donate_argnums=0)
    state = {"w": jnp.arange(250_000, dtype=jnp.float32)}
    on_host = np.arange(1000.0)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state | {"host": on_host}, {"w": on_host}, {})
        # On CPU, JAX copies instead of donating as long as the writer, in its thread, looks at the array itself.
        assert jax.tree.leaves(scale(state))[0][1] == 3
        on_host[:] = 0
        checkpointer.wait()
        found = checkpointer.restore({"w": jax.ShapeDtypeStruct((250_000,), np.float32), "host": on_host})
    assert found is not None
    np.testing.assert_array_equal(found[0]["w"], np.arange(250_000, dtype=np.float32))
    np.testing.assert_array_equal(found[0]["host"], np.arange(1000.0))
    assert isinstance(found[0]["host"], np.ndarray) and found[0]["host"].dtype == np.float64
    with Checkpointer(tmp_path) as checkpointer, pytest.raises(CheckpointError, match="64-bit mode is off"):
        checkpointer.restore({"w": found[0]["w"], "host": jax.ShapeDtypeStruct((1000,), np.float64)})
    # What was restored may be donated too.
    restored = {"w": found[0]["w"]}
    assert scale(restored)["w"][2] == 6


def test_retention_keeps_latest_best_and_periodic(tmp_path: Path):
    with Checkpointer(tmp_path, keep_latest=2, keep_every=lambda step: step // 4, keep_best="fid") as checkpointer:
        for step, fid in [(1, 9.0), (2, 3.0), (3, 5.0), (4, math.nan), (5, 7.0)]:
            save(checkpointer, step, metrics={"fid": fid})
    with Checkpointer(tmp_path, keep_latest=2, keep_every=lambda step: step // 4, keep_best="fid") as checkpointer:
        assert checkpointer.steps() == [2, 4, 5]
        for step in (6, 7, 8, 9):  # the best is known after a restart too; no metrics is no claim
            save(checkpointer, step)
        checkpointer.wait()
        assert checkpointer.steps() == [2, 4, 8, 9]
        assert checkpointer.best() == (2, 3.0)


def test_the_best_may_be_the_largest_and_another_name_may_be_asked_for_later(tmp_path: Path):
    with Checkpointer(tmp_path, keep_latest=1, keep_best="pr", best_mode="max") as checkpointer:
        assert checkpointer.best() is None
        for step, pr in [(1, 0.5), (2, 0.7), (3, 0.7), (4, 0.1)]:
            save(checkpointer, step, metrics={"pr": pr, "fid": -step})
        assert checkpointer.best() == (2, 0.7)  # the first of equals
    with Checkpointer(tmp_path, keep_latest=1, keep_best="fid") as checkpointer:
        assert checkpointer.steps() == [2, 4]
        assert checkpointer.best() == (4, -4.0)


def test_steps_must_grow(workdir: Path):
    with Checkpointer(workdir) as checkpointer:
        for step in (1, 2):
            with pytest.raises(CheckpointError, match="already holds step 2"):
                save(checkpointer, step)
        save(checkpointer, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.replace(p=jnp.zeros(3, bool)), r"'p' is saved as bool\[2\] but this model has bool\[3\]"),
        (lambda s: s.replace(step=jnp.zeros((), jnp.float32)), r"'step' is saved as int32\[\] but .* float32\[\]"),
        (lambda s: s.replace(unused=jnp.zeros(1)), "'unused' is in this model but not in the checkpoint"),
        (lambda s: s.replace(g={}), "'g/mapping/w' is in the checkpoint but not in this model"),
    ],
)
def test_another_configuration_is_refused_by_leaf(workdir: Path, change: Any, message: str):
    with Checkpointer(workdir) as checkpointer:
        with pytest.raises(CheckpointError, match=message):
            checkpointer.restore(change(make_state(0)))
        assert checkpointer.steps() == [1, 2]  # a mismatch is not damage


def test_g_ema_reads_alone_as_numpy_or_to_a_target(workdir: Path):
    shutil.rmtree(workdir / "checkpoints/2/state")
    found, meta, step = restore_g_ema(workdir)
    expected = jax.tree.map(np.asarray, make_state(2).g)
    assert_same(found, expected)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))
    assert (meta["nimg"], step) == (2, 2)
    found, meta, step = restore_g_ema(workdir, target_of(make_state(0).g), step=1)
    assert_same(found, make_state(1).g)
    assert (meta["nimg"], step) == (1, 1)
    assert read_meta(workdir)["nimg"] == 2
    assert read_meta(workdir, 1)["nimg"] == 1
    with pytest.raises(CheckpointError, match=r"there are: \[1, 2\]"):
        restore_g_ema(workdir, step=7)
    with pytest.raises(CheckpointError, match="'mapping/w' is saved as"):
        restore_g_ema(workdir, {"mapping": {"w": np.ones(1)}})


def test_g_ema_reads_while_training_saves(tmp_path: Path):
    stop = threading.Event()
    failures: list[BaseException] = []
    seen: list[int] = []

    def read() -> None:
        while not stop.is_set():
            try:
                found, _, step = restore_g_ema(tmp_path)
                assert_same(found, jax.tree.map(np.asarray, make_state(step).g))
                seen.append(step)
            except BaseException as error:
                failures.append(error)

    with Checkpointer(tmp_path, keep_latest=1) as checkpointer:
        save(checkpointer, 1)
        checkpointer.wait()
        reader = threading.Thread(target=read)
        reader.start()
        for step in range(2, 14):
            save(checkpointer, step)
        checkpointer.wait()
        stop.set()
        reader.join()
    assert not failures
    assert seen and seen == sorted(seen)


def test_a_step_deleted_while_it_is_read_is_not_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    keep: dict[str, Any] = {"keep_latest": 1, "keep_every": lambda step: step // 4}
    read_step = restore_lib.read_step

    def train_meanwhile(root: Any, step: int, *args: Any, **named: Any) -> Any:
        if step == 5:
            with Checkpointer(tmp_path, **keep) as checkpointer:
                save(checkpointer, 6)
        return read_step(root, step, *args, **named)

    with Checkpointer(tmp_path, **keep) as checkpointer:
        save(checkpointer, 4)
        save(checkpointer, 5)
    monkeypatch.setattr(restore_lib, "read_step", train_meanwhile)
    assert restore_g_ema(tmp_path)[2] == 6  # not 4, the next older in the outdated list
    assert "damaged" not in caplog.text


def test_restoring_an_older_step_moves_the_newer_away(workdir: Path):
    with Checkpointer(workdir) as checkpointer:
        found = checkpointer.restore(make_state(0), step=1)
        assert found is not None and found[2] == 1
        assert checkpointer.steps() == [1]
        save(checkpointer, 2)
        checkpointer.wait()
        assert checkpointer.steps() == [1, 2]
    assert [path.name for path in (workdir / "checkpoints_aside").iterdir()] == ["2-newer-0"]


def test_leftovers_of_interrupted_saves_are_swept(workdir: Path):
    root = workdir / "checkpoints"
    (root / "9" / "default").mkdir(parents=True)
    (root / "11.orbax-checkpoint-tmp").mkdir()
    (root / "notes").mkdir()
    (root / "2" / "commit_success.txt").unlink()
    with Checkpointer(workdir) as checkpointer:
        assert checkpointer.steps() == [1]
        found = checkpointer.restore(make_state(0))
        assert found is not None and found[2] == 1
        save(checkpointer, 2)
    assert sorted(path.name for path in root.iterdir()) == ["1", "2", "notes"]


@pytest.mark.parametrize("content", [b"", b"{", bytes(100), b"[]", b'{"commit_timestamp_nsecs": "x"}'])
def test_damaged_step_metadata_of_orbax_does_not_stop_the_start(workdir: Path, content: bytes):
    for step in (1, 2):
        (workdir / f"checkpoints/{step}/_CHECKPOINT_METADATA").write_bytes(content)
    with Checkpointer(workdir) as checkpointer:
        assert checkpointer.restore(make_state(0)) is not None
        save(checkpointer, 3)
        checkpointer.wait()
        assert checkpointer.steps() == [2, 3]


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def zero(path: Path, rng: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def delete(path: Path, rng: random.Random) -> None:
    path.unlink()


def empty_step(path: Path, rng: random.Random) -> None:
    step = next(parent for parent in path.parents if parent.name == "2")
    shutil.rmtree(step)
    step.mkdir()
    (step / "commit_success.txt").touch()


def newest_files(workdir: Path) -> list[Path]:
    return sorted(path for path in (workdir / "checkpoints/2").rglob("*") if path.is_file() and path.stat().st_size)


def check_damaged(workdir: Path, must_fall_back: bool, caplog: pytest.LogCaptureFixture) -> int:
    """Restore; the result must be one of the two saved states, never anything else. Return its step."""
    caplog.clear()
    with Checkpointer(workdir) as checkpointer:
        found = checkpointer.restore(make_state(0))
        assert found is not None
        state, meta, step = found
        assert_same(state, make_state(step))
        assert meta == META | {"nimg": step}
        if step == 1:
            assert not must_fall_back or "checkpoints/2 is damaged" in caplog.text
            save(checkpointer, 2)
            checkpointer.wait()
            assert checkpointer.steps() == [1, 2]
    assert step == 1 or not must_fall_back
    return step


@pytest.mark.parametrize("damage", [flip, truncate, zero, delete, empty_step])
def test_a_damaged_newest_checkpoint_is_skipped(saved: Path, tmp_path: Path, damage: Any, caplog: Any):
    rng = random.Random(damage.__name__)
    for trial in range(6):
        workdir = shutil.copytree(saved, tmp_path / str(trial))
        damage(rng.choice(newest_files(workdir)), rng)
        check_damaged(workdir, damage is empty_step, caplog)


def test_every_flipped_bit_in_the_array_data_is_found(workdir: Path):
    """Orbax alone restores most of these without an error."""
    rng = random.Random(0)
    data = [path for path in newest_files(workdir) if path.parent.name == "d" and "g_ema" not in path.parts]
    payload = max(data, key=lambda path: path.stat().st_size)
    good = payload.read_bytes()
    silent = 0
    for _ in range(15):
        flip(payload, rng)
        with Checkpointer(workdir) as checkpointer:
            try:
                found = checkpointer.restore(make_state(0), strict=True)
                assert found is not None
                assert_same(found[0], make_state(2))  # the bit was in unused space
            except CheckpointError as error:
                assert "step 2" in str(error)
                silent += "fail their SHA-256" in str(error)
        payload.write_bytes(good)
    assert silent > 5  # what only the manifest has found


@pytest.mark.slow
def test_a_hundred_damages(saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    rng = random.Random(1)
    steps = []
    for trial in range(100):
        workdir = shutil.copytree(saved, tmp_path / str(trial))
        damage = rng.choice([flip, flip, flip, truncate, zero, delete])
        damage(rng.choice(newest_files(workdir)), rng)
        steps.append(check_damaged(workdir, False, caplog))
        shutil.rmtree(workdir)
    assert steps.count(1) > 10  # the others hit files that restoring the state does not need


def test_damage_with_strict_or_everywhere_is_refused(workdir: Path, caplog: pytest.LogCaptureFixture):
    (workdir / "checkpoints/2/manifest/metadata").write_text("{}")
    with Checkpointer(workdir) as checkpointer:
        with pytest.raises(CheckpointError, match=r"damaged checkpoint .* step 2: .*Other steps there: \[1\]"):
            checkpointer.restore(make_state(0), strict=True)
        with pytest.raises(CheckpointError, match="step 2"):
            checkpointer.restore(make_state(0), step=2)
        (workdir / "checkpoints/1/meta/metadata").write_text(json.dumps(META | {"nimg": 3}))
        with pytest.raises(CheckpointError, match=r"step 2: .*; step 1: its metadata does not match"):
            checkpointer.restore(make_state(0))
        assert checkpointer.steps() == [1, 2]  # nothing is moved unless something good was found
    with pytest.raises(CheckpointError, match="step 1: its meta"):
        restore_g_ema(workdir)


def test_a_damaged_manifest_is_not_taken_for_another_configuration(workdir: Path):
    manifest = workdir / "checkpoints/2/manifest/metadata"
    manifest.write_text(manifest.read_text().replace("bfloat16", "float16"))
    with Checkpointer(workdir) as checkpointer:
        found = checkpointer.restore(make_state(0))
        assert found is not None and found[2] == 1


def test_damage_of_g_ema_falls_back_and_of_a_renamed_step_too(workdir: Path, caplog: pytest.LogCaptureFixture):
    shutil.copytree(workdir / "checkpoints/2", workdir / "checkpoints/5")
    shutil.rmtree(workdir / "checkpoints/2/g_ema")
    found, meta, step = restore_g_ema(workdir)
    assert (meta["nimg"], step) == (1, 1)
    assert_same(found, jax.tree.map(np.asarray, make_state(1).g))
    assert "checkpoints/5 is damaged and was skipped: its manifest belongs to step 2" in caplog.text
    with pytest.raises(CheckpointError, match="step 2"):
        restore_g_ema(workdir, step=2)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no file size limits here")
def test_a_failed_write_is_loud_and_keeps_the_last_checkpoint(workdir: Path, caplog: pytest.LogCaptureFixture):
    big = {"w": np.random.default_rng(0).normal(size=500_000)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        checkpointer = Checkpointer(workdir)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        checkpointer.save(3, big, {"w": np.ones(2)}, {})
        with pytest.raises(CheckpointError, match=r"checkpoints/3: .*bytes are free there. .* step 2 is intact"):
            checkpointer.wait()
        assert checkpointer.steps() == [1, 2]
        assert not (workdir / "checkpoints/3").exists()  # what was written is freed
        # The next save reports the failure of the one before, and so does the end of the run.
        checkpointer.save(3, big, {"w": np.ones(2)}, {})
        with pytest.raises(CheckpointError, match="checkpoints/3"):
            save(checkpointer, 4)
        checkpointer.save(5, big, {"w": np.ones(2)}, {})
        with pytest.raises(CheckpointError, match="checkpoints/5"):
            checkpointer.close()
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with Checkpointer(workdir) as checkpointer:
            found = checkpointer.restore(make_state(0))
            assert found is not None
            assert_same(found[0], make_state(2))
            save(checkpointer, 3)
            checkpointer.wait()
            assert checkpointer.steps() == [2, 3]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [r for r in caplog.records if r.exc_info or "Traceback" in r.getMessage()]  # Orbax logs pages of it


def test_a_save_that_fails_before_it_starts_writing(workdir: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: Any, **kwargs: Any):
        raise OSError(28, "No space left on device")

    with Checkpointer(workdir) as checkpointer:
        with monkeypatch.context() as patch:
            patch.setattr(ocp.CheckpointManager, "save", refuse)
            with pytest.raises(CheckpointError, match=r"No space left on device; .*step 2 is intact"):
                save(checkpointer, 3)
        save(checkpointer, 3)
        checkpointer.wait()
        assert checkpointer.steps() == [2, 3]


def test_an_error_in_the_run_is_not_hidden_by_a_failed_save(workdir: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: Checkpointer) -> None:
        raise CheckpointError("disk full")

    with pytest.raises(ZeroDivisionError), Checkpointer(workdir):
        monkeypatch.setattr(checkpoint_lib.Checkpointer, "wait", refuse)
        raise ZeroDivisionError
    with pytest.raises(CheckpointError, match="disk full"), Checkpointer(workdir):
        pass


def test_restores_bit_equal_on_other_device_counts(tmp_path: Path):
    devices = jax.devices()
    counts = sorted({len(devices), max(1, len(devices) // 2), 1}, reverse=True)
    values = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)

    def shardings(count: int) -> dict[str, NamedSharding]:
        mesh = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:count])
        return {
            "split": NamedSharding(mesh, PartitionSpec("data")),
            "columns": NamedSharding(mesh, PartitionSpec(None, "data")),
            "whole": NamedSharding(mesh, PartitionSpec()),
        }

    state = {name: jax.device_put(values, sharding) for name, sharding in shardings(counts[0]).items()}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state, state, {})
        for count in counts:
            target = {
                name: jax.ShapeDtypeStruct(values.shape, values.dtype, sharding=sharding)
                for name, sharding in shardings(count).items()
            }
            found = checkpointer.restore(target)
            assert found is not None
            for name, sharding in shardings(count).items():
                assert found[0][name].sharding == sharding
                np.testing.assert_array_equal(np.asarray(found[0][name]), values)
    np.testing.assert_array_equal(restore_g_ema(tmp_path)[0]["split"], values)
