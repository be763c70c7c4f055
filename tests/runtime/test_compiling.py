"""Where compiled programs are kept."""

from __future__ import annotations

import os
import time
import zlib

import jax
import pytest

from stylegan_jax.runtime.compiling import drop_damaged, use_compilation_cache

FOLDER, SECONDS = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
VARIABLES = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


@pytest.fixture
def unset(monkeypatch):
    """Run as for a user who sets none of JAX's variables; JAX's own configuration is put back."""
    for name in VARIABLES:
        monkeypatch.delenv(name)
    before = {name: jax.config.values[name] for name in (FOLDER, SECONDS)}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.parametrize(("where", "folder"), [("auto", "xdg/stylegan_jax/xla"), ("/own/folder", "/own/folder")])
def test_programs_are_kept_in_the_users_cache_folder_or_the_named_one(unset, monkeypatch, where, folder):
    monkeypatch.setenv("XDG_CACHE_HOME", "xdg")
    use_compilation_cache(where)
    assert [jax.config.values[name] for name in (FOLDER, SECONDS)] == [folder, 0.5]


def test_jaxs_own_variables_come_first(unset, monkeypatch):
    monkeypatch.setenv(VARIABLES[0], "/jax/folder")
    monkeypatch.setenv(VARIABLES[1], "0")
    before = jax.config.values[SECONDS]
    use_compilation_cache("auto")
    assert [jax.config.values[name] for name in (FOLDER, SECONDS)] == ["/jax/folder", before]
    use_compilation_cache("/own/folder")
    assert jax.config.values[FOLDER] == "/own/folder"


def test_off_changes_nothing(unset):
    jax.config.update(FOLDER, "/before")
    use_compilation_cache("off")
    assert jax.config.values[FOLDER] == "/before"


def test_half_of_a_program_that_a_killed_process_left_is_deleted(tmp_path):
    whole = zlib.compress(bytes(1000))
    contents = {"a": whole, "b": whole[:-1], "c": b"", "d": bytes(len(whole)), "e": whole[:5], "f": b"\x28\xb5\x2f\xfd"}

    def write(name: str, age: float) -> None:
        path = tmp_path / f"jit_{name}-0-cache"
        path.write_bytes(contents[name])
        os.utime(path, (time.time() - age,) * 2)

    def left() -> list[str]:
        return sorted(path.name[4] for path in tmp_path.glob("jit_*-cache"))

    for name in contents:
        write(name, 10.0)
    drop_damaged(tmp_path)
    assert left()[0] == "a" and not {"b", "c", "d", "e"} & set(left())
    write("b", 0.0)  # another process may be writing it
    write("c", 1000.0)  # looked at before
    drop_damaged(tmp_path)
    assert {"b", "c"} < set(left())
    write("b", 10.0)
    drop_damaged(tmp_path)
    assert "b" not in left()
    drop_damaged(tmp_path / "none")
