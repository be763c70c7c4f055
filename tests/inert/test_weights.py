"""Weights files as PyTorch and others write them, and hostile ones; files/make_files.py made the real ones."""

import collections
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from stylegan_jax.inert import RefusedError
from stylegan_jax.inert.weights import read_tensors

FILES = Path(__file__).parent / "files"


def read(source):
    """Read tensors of a file's name or of bytes."""
    return read_tensors(io.BytesIO((FILES / source).read_bytes() if isinstance(source, str) else source))


@pytest.mark.parametrize("name", ["legacy.pth", "zipped.pth"])
def test_both_forms_of_torch_save(name):
    tensors = read(name)
    assert {k: v.dtype.str for k, v in tensors.items()} == {
        "transposed": "<f4",
        "tail": "<f4",
        "half": "<f2",
        "brain": "<f4",
        "count": "<i8",
    }
    np.testing.assert_array_equal(tensors["transposed"], np.arange(12).reshape(3, 4).T)
    np.testing.assert_array_equal(tensors["tail"], np.arange(8, 12))
    np.testing.assert_array_equal(tensors["brain"], [1.5, -0.25])
    assert tensors["count"] == 7


def test_torchscript_archive():
    tensors = read("script.pt")
    kernel = np.arange(54, dtype=np.float32).reshape(3, 2, 3, 3)
    for layer in ("layers.conv", "layers.tower.0"):
        np.testing.assert_array_equal(tensors[f"{layer}.weight"], kernel)
        np.testing.assert_array_equal(tensors[f"{layer}.mean"], np.arange(3) / 4)
    np.testing.assert_array_equal(tensors["output.weight"], np.arange(6).reshape(2, 3))
    assert len(tensors) == 6


def test_safetensors_and_plain_pickles():
    arrays = {"a": np.arange(3, dtype=np.float32), "b.c": np.ones((2, 2), np.float32)}
    for source in (safetensors.numpy.save(arrays), pickle.dumps({"a": arrays["a"], "b": {"c": arrays["b.c"]}, "d": 5})):
        tensors = read(source)
        assert tensors.keys() == arrays.keys()
        for name, value in arrays.items():
            np.testing.assert_array_equal(tensors[name], value)


def test_wrappers_around_a_state_dict_are_seen_through():
    tensors = read(pickle.dumps({"state_dict": {"layer.weight": np.ones(2, np.float32)}, "epoch": 3}))
    assert list(tensors) == ["layer.weight"]


class Hostile:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return print, ("executed",)


def rezipped(name, change):
    """Return a zip archive whose members went through change(name, data) -> data, or None to leave one out."""
    out = io.BytesIO()
    with zipfile.ZipFile(FILES / name) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            if (data := change(info.filename, old.read(info))) is not None:
                new.writestr(info.filename, data)
    return out.getvalue()


def compressed():
    """Return an archive whose members are compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(FILES / "zipped.pth") as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    return out.getvalue()


LEGACY, ZIPPED = (FILES / "legacy.pth").read_bytes(), (FILES / "zipped.pth").read_bytes()
BAD = {
    "a command": (pickle.dumps(Hostile()), "print"),
    "a command in an archive": (
        rezipped("zipped.pth", lambda n, d: pickle.dumps(Hostile()) if n.endswith("data.pkl") else d),
        "print",
    ),
    "cut": (LEGACY[:-3], "EOFError"),
    "cut archive": (ZIPPED[: len(ZIPPED) // 2], "BadZipFile"),
    "compressed": (compressed(), "compressed"),
    "no data": (rezipped("zipped.pth", lambda n, d: None if "/data/" in n else d), "no data for the storage"),
    "short data": (rezipped("zipped.pth", lambda n, d: d[:-1] if "/data/" in n else d), "bytes of data"),
    "big-endian": (rezipped("zipped.pth", lambda n, d: b"big   " if n.endswith("byteorder") else d), "big-endian"),
    "no pickle inside": (
        rezipped("zipped.pth", lambda n, d: None if n.endswith("data.pkl") else d),
        "0 called data.pkl",
    ),
    "text": (b"not a weights file at all", "opcode"),
    "empty": (b"", "damaged"),
    "safetensors without data": (safetensors.numpy.save({"a": np.ones(9)})[:-9], "damaged"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused(kind, capfd):
    source, words = BAD[kind]
    with pytest.raises(RefusedError, match=words):
        read(source)
    assert "executed" not in capfd.readouterr().out


def test_flipped_bytes_never_escape():
    rng = np.random.default_rng(0)
    for original in (LEGACY, (FILES / "script.pt").read_bytes()):
        whole, outcomes = read(original), collections.Counter()
        for position in rng.integers(0, len(original), 150):
            data = bytearray(original)
            data[position] ^= 1 << rng.integers(8)
            try:
                tensors = read(bytes(data))
            except RefusedError:
                outcomes["refused"] += 1
            else:
                outcomes["read"] += 1
                assert all(isinstance(x, np.ndarray) for x in tensors.values())
                assert sum(x.nbytes for x in tensors.values()) <= sum(x.nbytes for x in whole.values())
        assert outcomes["refused"] > 5 and outcomes.total() == 150, outcomes
