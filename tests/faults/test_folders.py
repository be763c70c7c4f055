"""What may happen to a run's folder, its disk, its caches and the clock while it trains, or between two starts."""

from __future__ import annotations

import builtins
import errno
import gc
import inspect
import io
import itertools
import logging
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import toy
from helpers import same_bits
from test_loop_kill import records

from stylegan_jax import models
from stylegan_jax.base.errors import StyleganError
from stylegan_jax.checkpoints.checkpointer import Checkpointer, CheckpointError
from stylegan_jax.config import ConfigError
from stylegan_jax.runtime.lock import WorkdirLock, WorkdirMovedError
from stylegan_jax.train import loop

# When one array cannot be written, Orbax leaves the other writes to finish on an event loop that is gone by then.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

YEAR = 365 * 86400
Act = Callable[[Path], None]


@pytest.fixture(autouse=True)
def drop_unfinished_writes() -> Iterator[None]:
    logging.disable()  # records would hold the errors, and so the writes, past the end of the test
    yield
    logging.disable(logging.NOTSET)
    end = time.monotonic() + 1
    while any(inspect.iscoroutine(found) for found in gc.get_objects()) and time.monotonic() < end:
        gc.collect()
        time.sleep(0.05)


def train(folder: Path, steps: int = 40, **changes: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda _: toy.GAN)
        return loop.train(toy.make_loop_config("auto", train__total_kimg=steps * 8 / 1000, **changes), folder)


def train_until(folder: Path, step: int, act: Act, wait: bool = True, **changes: Any) -> Any:
    """Train; at the report of a step, when the save before is on disk (or behind it), something happens."""
    report = loop.Run._report

    def reported(self, state, at, *args):
        out = report(self, state, at, *args)
        if at == step:
            if wait:
                self.checkpoints.wait()
            act(folder)
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Run, "_report", reported)
        return train(folder, **changes)


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> tuple[Path, Any]:
    """A run that nothing happens to: folder and final state."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, train(folder)


def check(straight: tuple[Path, Any], folder: Path) -> None:
    """Run the command again; the run must end as the straight one did."""
    assert same_bits(train(folder), straight[1])
    (rows, _, pictures, _), (expected, _, known, _) = records(folder), records(straight[0])
    assert rows == expected
    assert known.items() <= pictures.items()  # a shorter run draws one more, at its end


def test_a_folder_moved_between_two_starts_goes_on_where_it_is(straight, tmp_path):
    train(tmp_path / "a", steps=24)
    (tmp_path / "a").rename(tmp_path / "b")
    check(straight, tmp_path / "b")


def test_a_copy_of_a_folder_taken_while_it_trains_goes_on_as_the_run_does(straight, tmp_path):
    def copy(folder: Path) -> None:
        shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True)

    train_until(tmp_path / "run", 24, copy, wait=False, steps=32)
    check(straight, tmp_path / "copy")


def replace(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    with WorkdirLock(folder):
        pass


@pytest.mark.parametrize("act", [lambda folder: folder.rename(folder.with_name("moved")), shutil.rmtree, replace])
def test_a_folder_moved_deleted_or_replaced_while_it_trains_ends_the_run(straight, tmp_path, act: Act):
    with pytest.raises(WorkdirMovedError, match=r"moved, deleted or replaced.* pass its new path"):
        train_until(tmp_path / "run", 24, act)
    left = [path.name for path in (tmp_path / "run").iterdir()] if (tmp_path / "run").exists() else []
    assert left == (["run.lock"] if act is replace else [])  # nothing was written where the folder is not
    if act is not shutil.rmtree:
        check(straight, tmp_path / "moved")


def test_a_folder_moved_in_the_middle_of_a_save_is_named_too(straight, tmp_path, monkeypatch):
    save = Checkpointer.save

    def moved(self, step, *args, **kwargs):
        if step == 24:
            self.wait()
            (tmp_path / "run").rename(tmp_path / "moved")
            raise CheckpointError("no such file")
        save(self, step, *args, **kwargs)

    monkeypatch.setattr(Checkpointer, "save", moved)
    with pytest.raises(WorkdirMovedError):
        train(tmp_path / "run")
    monkeypatch.undo()
    check(straight, tmp_path / "moved")


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/run"):
        with pytest.raises(ConfigError, match=f"cannot be created: {tmp_path}/file is a file"):
            train(tmp_path / folder)


def test_a_read_only_file_system_is_said_before_anything_is_compiled(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)]
    if os.name != "posix" or os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        with pytest.raises(ConfigError, match="cannot be written to; choose a folder you can write to"):
            train(tmp_path)
        with pytest.raises(ConfigError, match="cannot be created"):
            train(tmp_path / "run")
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_clock_that_leaps_changes_nothing(straight, tmp_path, monkeypatch):
    """As that of a machine that was suspended, or had the wrong year when it started."""
    leaps, offset = itertools.cycle((50 * YEAR, -30 * YEAR, 3600, -20 * YEAR)), [0]
    clock, clock_ns, save = time.time, time.time_ns, Checkpointer.save
    monkeypatch.setattr(time, "time", lambda: clock() + offset[0])
    monkeypatch.setattr(time, "time_ns", lambda: clock_ns() + offset[0] * 10**9)

    def leap(self, *args, **kwargs):
        offset[0] += next(leaps)  # while the save before is being written
        save(self, *args, **kwargs)
        offset[0] += next(leaps)

    monkeypatch.setattr(Checkpointer, "save", leap)
    train(tmp_path, steps=32)
    check(straight, tmp_path)


class Disk:
    """Writes below a folder a few bytes at a time, slowly, and no more than so many in all."""

    def __init__(self, folder: Path, room: float, seconds: float = 0.0):
        self.folder, self.room, self.seconds, self.written = os.fspath(folder), room, seconds, 0

    def open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        ours = isinstance(file, str | os.PathLike) and os.path.abspath(file).startswith(self.folder)
        if not ours or mode.strip("bt") not in ("w", "a", "x"):
            return _open(file, mode, *args, **kwargs)
        time.sleep(self.seconds)
        buffered = io.BufferedWriter(_Short(self, os.fspath(file), mode.replace("t", "")))
        return buffered if "b" in mode else io.TextIOWrapper(buffered, "utf-8", write_through=True)


class _Short(io.FileIO):
    def __init__(self, disk: Disk, path: str, mode: str):
        super().__init__(path, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        count = min(len(data), 100, self._disk.room - self._disk.written)
        if count <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
        self._disk.written += int(count)
        return super().write(memoryview(data)[: int(count)])


_open = io.open


@pytest.fixture
def disk(monkeypatch) -> Iterator[Callable[..., Disk]]:
    """Put a `Disk` under what Python writes; Orbax's arrays are written by other means (see test_checkpointer.py)."""

    def insert(*args: Any) -> Disk:
        found = Disk(*args)
        monkeypatch.setattr(builtins, "open", found.open)
        monkeypatch.setattr(io, "open", found.open)
        return found

    yield insert
    monkeypatch.undo()


def test_a_slow_disk_with_short_writes_changes_nothing(straight, tmp_path, disk):
    slow = disk(tmp_path, float("inf"), 0.02)
    assert same_bits(train(tmp_path), straight[1])
    assert records(tmp_path) == records(straight[0]) and slow.written > 10_000


def fill_up(straight, folder: Path, disk: Any, counts: int, seed: int) -> None:
    whole = disk(folder, float("inf"))
    train(folder / "whole")
    rng = random.Random(seed)
    for number in range(counts):
        disk(folder, rng.randrange(whole.written))
        with pytest.raises((OSError, StyleganError)):
            train(folder / str(number))
        disk(folder, float("inf"))
        check(straight, folder / str(number))


def test_a_disk_that_is_full_at_any_byte_costs_nothing_but_time(straight, tmp_path, disk):
    fill_up(straight, tmp_path, disk, 2, 0)


@pytest.mark.nightly
def test_a_disk_that_is_full_at_a_hundred_bytes_costs_nothing_but_time(straight, tmp_path, disk):
    fill_up(straight, tmp_path, disk, 100, 1)


def test_two_writers_without_a_lock_never_give_a_mixture(tmp_path):
    """As on a file system without locks: each checkpoint is one writer's, whole, or is found to be damaged."""
    state = lambda writer, step: {"w": np.full((64, 64), 1000 * writer + step, np.float32), "step": np.asarray(step)}
    failed = []

    def write(writer: int) -> None:
        for step in range(1, 9):
            try:
                with Checkpointer(tmp_path) as checkpointer:
                    checkpointer.save(step, state(writer, step), state(writer, step), {"writer": writer})
            except (CheckpointError, OSError) as error:  # as what one sweeps while the other looks at it
                failed.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in (1, 2)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    with Checkpointer(tmp_path) as checkpointer:
        found = checkpointer.restore(state(0, 0))
    assert found is not None
    tree, meta, step = found
    assert same_bits(tree, state(meta["writer"], step))


@pytest.fixture
def own_programs(tmp_path) -> Iterator[Path]:
    """Use an empty folder for compiled programs."""
    from jax.experimental.compilation_cache import compilation_cache

    before = jax.config.values["jax_compilation_cache_dir"]
    for folder in (str(tmp_path / "programs"), before):
        jax.config.update("jax_compilation_cache_dir", folder)
        compilation_cache.reset_cache()
        if folder != before:
            yield tmp_path / "programs"


def test_a_cache_of_programs_that_vanishes_changes_nothing(straight, tmp_path, own_programs, monkeypatch):
    equip = loop.Run._equip

    def without(self, number):
        shutil.rmtree(own_programs)
        return equip(self, number)

    monkeypatch.setattr(loop.Run, "_equip", without)
    with pytest.warns(UserWarning, match="Error writing persistent compilation cache entry"):
        state = train(tmp_path / "run", train__compilation_cache=str(own_programs))
    assert same_bits(state, straight[1])
