"""Plain pickles of every protocol come back as data; everything else is refused and nothing runs."""

import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from stylegan_jax.inert import RefusedError, load_plain


def load(data: bytes):
    return load_plain(io.BytesIO(data))


def same(a, b) -> bool:
    if isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(b, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in b)
    if isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_pickled_comes_back(protocol):
    tree = {
        "text": "é\n",
        "numbers": [0, 1, 255, 65536, -1, 2**62, 0.5, True, None],
        "nested": ({"a": (1, 2)}, [[]]),
        "bytes": b"\x00\xff" * 10,
        "small": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "large": np.arange(6000, dtype=">i4").reshape(60, 100)[:, ::-1],
        "columns": np.asfortranarray(np.eye(5, 3, dtype=np.float32)),
    }
    expected = tree | {"large": tree["large"].astype("i4")}
    assert same(load(pickle.dumps(tree, protocol)), expected)


def test_python_2_strings_are_latin_1():
    assert load(b"\x80\x02}q\x01(U\x04dataq\x02U\x03\xe9\x00\xffq\x03u.") == {"data": "é\x00ÿ"}


class Runs:
    """What an attacker pickles: a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


HOSTILE = {
    "a command": lambda path: Runs(os.system, f"touch {path}"),
    "eval": lambda path: [Runs(eval, f"open({str(path)!r}, 'w')")],
    "a class": lambda path: OrderedDict(a=1),
    "an instance": lambda path: Runs(bytearray, 10**10),
    "an array of objects": lambda path: np.array([Runs(os.system, f"touch {path}")], dtype=object),
    "an array subclass": lambda path: np.ma.masked_array([1], mask=[0]),
}


@pytest.mark.parametrize("protocol", (0, 2, 4))
@pytest.mark.parametrize("kind", HOSTILE)
def test_calls_and_classes_are_refused(kind, protocol, tmp_path):
    sentinel = tmp_path / "ran"
    with pytest.raises(RefusedError):
        load(pickle.dumps(HOSTILE[kind](sentinel), protocol))
    assert not sentinel.exists()


def test_limits():
    bomb = (
        b"\x80\x04]\x94" + b"".join(b"](h" + bytes([i]) * 1 + b"h" + bytes([i]) + b"e\x94" for i in range(200)) + b"."
    )
    for data in (
        b"\x80\x04" + b"(" * 5000 + b".",
        bomb,
        b"\x80\x04\x8b\xff\xff\xff\x7f.",
        b"\x80\x04\x8e" + b"\xff" * 8,
    ):
        with pytest.raises(RefusedError):
            load(data)


def test_damage_is_one_kind_of_error():
    rng = np.random.default_rng(0)
    whole = pickle.dumps({"data": np.arange(300, dtype=np.uint8), "labels": list(range(20)), b"x": ["a.png"] * 5}, 2)
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(256)
        try:
            load(bytes(data[: rng.integers(1, len(data) + 1)]))
        except RefusedError as error:
            assert str(error)
            refused += 1
    assert refused > 200
