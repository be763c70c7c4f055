"""A machine that is full is told in one sentence, with the amount and what helps; other errors are not."""

from __future__ import annotations

import errno

import jax
import numpy as np
import pytest

from stylegan_jax.base import shortage

DEVICE = jax.errors.JaxRuntimeError


@pytest.mark.parametrize(
    ("error", "amount"),
    [
        (DEVICE("RESOURCE_EXHAUSTED: Out of memory allocating 1228800000 bytes."), " (1.1 GiB asked for)"),
        (DEVICE("INTERNAL: Error while running: Out of memory allocating 1 bytes"), " (1 bytes asked for)"),
        (DEVICE("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 14.90GiB."), " (14.9 GiB asked for)"),
        (DEVICE("RESOURCE_EXHAUSTED: Attempting to allocate 2.14G. There are 1.95G free."), " (2.1 GiB asked for)"),
        (DEVICE("RESOURCE_EXHAUSTED: Ran out of memory in hbm. Used 21.32G of 15.48G"), " (21.3 GiB asked for)"),
        (DEVICE("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory"), ""),
        (MemoryError(), ""),
        (np._core._exceptions._ArrayMemoryError((10**12,), np.dtype("f4")), " (3.6 TiB asked for)"),  # type: ignore[attr-defined]
        (ValueError("Maximum allowed size exceeded"), ""),
        (OverflowError("Python int too large to convert to C long"), ""),
    ],
)
def test_memory(error, amount):
    said = shortage.explain(error, "lower --batch")
    assert said.startswith("out of memory") and said.endswith("; lower --batch")
    assert amount in said


@pytest.mark.parametrize("error", [DEVICE("INTERNAL: a bug"), ValueError("out of memory"), OSError(2, "x"), KeyError()])
def test_other_errors_are_not_explained(error):
    assert shortage.explain(error, "lower --batch") == ""


def test_a_graphics_card_may_be_held_by_another_program(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    said = shortage.explain(DEVICE("RESOURCE_EXHAUSTED: x"), "lower --batch")
    assert "XLA_PYTHON_CLIENT_PREALLOCATE" in said and "XLA_PYTHON_CLIENT_MEM_FRACTION" in said


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no room left on the disk of {out} ("),
        (RuntimeError('IoError(Os { code: 28, message: "No space left on device" })'), "no room left on the disk of"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk quota of {out} is used up"),
        (OSError(errno.EROFS, "Read-only file system"), "{out} lies on a read-only file system; choose another --dest"),
    ],
)
def test_disks(tmp_path, error, text):
    said = shortage.explain(error, "", tmp_path / "new" / "x", "--dest")
    assert text.format(out=tmp_path / "new" / "x") in said and said.endswith("choose another --dest")
    assert ("MiB free" in said) == ("no room" in said)
