"""Hostile and damaged files: refused with one error type, nothing runs, time and memory stay bounded."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import forge
import numpy as np
import official
import pytest
from forge import Call, Name, New

from stylegan_jax.convert import BadCheckpointError, convert_pickle, read_official_pickle, read_plain_pickle

READERS = (read_official_pickle, read_plain_pickle, convert_pickle)


class _Reduces:
    """Pickles as a call, the way an attacker writes it."""

    def __init__(self, function: Any, *args: Any):
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def _stream_with(command: bytes) -> bytes:
    """A tensor stream whose system information is a call of os.system."""
    good = forge.stream(b"\0" * 4, "FloatStorage", 1)
    head = forge.dumps(0x1950A86A20F9469CFC6C, 2) + forge.dumps(1001, 2)
    return head + b"\x80\x02cos\nsystem\nX" + len(command).to_bytes(4, "little") + command + b"\x85R." + good


def _long(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little")


def _payloads(sentinel: Path) -> dict[str, bytes]:
    touch = f"touch {sentinel}"
    code = f"open({str(sentinel)!r}, 'w').close()"
    text = pickle.SHORT_BINUNICODE
    getattr_chain = Call(
        Name("builtins", "getattr"), Call(Name("builtins", "getattr"), Name("torch.nn", "x"), "__class__"), "mro"
    )
    nested = Call(Name("torch.storage", "_load_from_bytes"), _stream_with(touch.encode()))
    objects = forge.ndarray(np.zeros(1), code="O8", raw=[_Reduces(os.system, touch)])
    dtype_o = Call(Name("numpy.core.multiarray", "_reconstruct"), Name("numpy", "ndarray"), (0,), b"b")
    dtype_o.state = (1, (1,), Call(Name("numpy", "dtype"), "O8", False, True), False, [_Reduces(os.system, touch)])
    computed = b"\x80\x04" + text + b"\x02os" + b"\x94" + text + b"\x06system" + b"\x93"
    computed += text + bytes([len(touch)]) + touch.encode() + b"\x85R."
    bomb = b"\x80\x04]\x94" + b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"e\x94" for i in range(250)) + b"."
    return {
        "os.system": pickle.dumps({"G": _Reduces(os.system, touch)}),
        "eval": pickle.dumps({"G": _Reduces(eval, code)}),
        "exec": pickle.dumps({"G": _Reduces(exec, code)}, 2),
        "subprocess": pickle.dumps({"G": _Reduces(subprocess.Popen, touch)}),
        "getattr chain": forge.dumps({"G": Call(getattr_chain, touch)}),  # type: ignore[arg-type]
        "import": forge.dumps({"G": Call(Name("builtins", "__import__"), "os")}),
        "nested torch load": forge.dumps({"G": forge.persistent("G", {"_parameters": {"x": nested}})}),
        "torch.load": forge.dumps({"G": Call(Name("torch.serialization", "load"), "x.pt")}),
        "stack_global": computed,
        "dotted stack_global": forge.dumps({"G": Call(Name("torch_utils.persistence", "sys.modules.clear"))}),
        "ext1": b"\x80\x02\x82\x01)R.",
        "ext4": b"\x80\x02\x84\x01\0\0\0)R.",
        "persistent id": b"\x80\x02X\x01\0\0\0aQ.",
        "text persistent id": b"Pabc\n.",
        "copyreg": forge.dumps({"G": Call(Name("copyreg", "add_extension"), "os", "system", 1)}),
        "object array": forge.dumps({"G": objects}),
        "object array 2": forge.dumps({"G": dtype_o}),
        "build on a class": forge.dumps(Call(Name("torch.nn", "Linear"), state={"x": 1}))[:-1] + b"cos\nsystem\n}b.",
        "call of a call": forge.dumps({"G": Call(Call(Name("torch.nn", "x")), touch)}),  # type: ignore[arg-type]
        "inst": b"(X" + len(touch).to_bytes(4, "little") + touch.encode() + b"ios\nsystem\n.",
        "obj": b"(cos\nsystem\nX" + len(touch).to_bytes(4, "little") + touch.encode() + b"o.",
        "newobj_ex": b"\x80\x04cos\nsystem\n)}\x92.",
        "huge long4": b"\x80\x02\x8b\xff\xff\xff\x7f" + b"\1" * 100 + b".",
        "long4 of a megabyte": b"\x80\x02\x8b\0\0\x10\0" + b"\1" * (1 << 20) + b".",
        "huge binbytes8": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b"x.",
        "huge unicode": b"\x80\x04\x8d" + b"\xff" * 8 + b"x.",
        "deep marks": b"\x80\x02" + b"(" * 1_000_000 + b".",
        "deep tuples": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
        "deep lists": b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
        "memo bomb": bomb,
        "memo bomb as a key": b"\x80\x02)q\0" + b"h\0h\0\x86q\0" * 60 + b"0}h\0Ns.",
        "colliding keys": b"\x80\x02}" + b"".join(_long(k * (2**61 - 1)) + b"Ns" for k in range(9)) + b".",
        "recursive list": b"\x80\x02]q\0h\0a.",
        "memo index": b"\x80\x02Nr\xff\xff\xff\xff" + b"j\xff\xff\xff\x7f.",
    }


PAYLOADS = sorted(_payloads(Path("sentinel")))


@pytest.mark.parametrize("name", PAYLOADS)
def test_payload_is_refused(tmp_path, name):
    sentinel = tmp_path / "sentinel"
    path = tmp_path / "network.pkl"
    path.write_bytes(_payloads(sentinel)[name])
    modules = set(sys.modules)
    for reader in READERS if path.stat().st_size < 100_000 else READERS[:1]:
        start = time.process_time()
        with pytest.raises(BadCheckpointError) as caught:
            reader(path)
        assert time.process_time() - start < 8
        assert caught.value.path == str(path) and caught.value.reason
    assert not sentinel.exists()
    assert not {m for m in set(sys.modules) - modules if m.startswith(("torch", "dnnlib", "training", "timm"))}


def test_allowed_names_are_never_looked_up(tmp_path):
    record = New(Name("torch.nn.modules.linear", "Linear"), state={"_modules": {}})
    path = tmp_path / "x.pkl"
    path.write_bytes(forge.dumps(Call(Name("training.anything", "at_all"), record)))
    got = read_plain_pickle(path)
    assert got["class"] == "training.anything.at_all" and got["args"][0]["class"] == "torch.nn.modules.linear.Linear"
    assert "torch" not in sys.modules


def _bomb(levels: int = 60) -> Any:
    """A list that takes 2^levels steps to print, compare or hash."""
    bomb: Any = []
    for _ in range(levels):
        bomb = [bomb, bomb]
    return bomb


@pytest.mark.parametrize(
    "place",
    [
        lambda b: b,
        lambda b: {"G": forge.persistent("G", {"_init_kwargs": b})},
        lambda b: {"G": forge.persistent("G", {"_init_args": b, "_parameters": {"x": b}})},
        lambda b: {"G": forge.persistent("G", {"_modules": {"x": b}})},
        lambda b: {"G": forge.persistent("G", {"gain": b})},
        lambda b: {"G": forge.persistent(b, {})},
        lambda b: {"G": forge.persistent("G", {}), "progress": b},
        lambda b: (New(Name("dnnlib.tflib.network", "Network"), state={"version": b}),) * 3,
        lambda b: (New(Name("dnnlib.tflib.network", "Network"), state={"version": 5, "name": b}),) * 3,
        lambda b: (New(Name("dnnlib.tflib.network", "Network"), state={"version": 5, "build_func_name": b}),) * 3,
        lambda b: (New(Name("dnnlib.tflib.network", "Network"), state={"version": 5, "variables": [(b, b)]}),) * 3,
        lambda b: (New(Name("dnnlib.tflib.network", "Network"), state={"version": 5, "static_kwargs": {"x": b}}),) * 3,
        lambda b: {"G": Call(Name("_codecs", "encode"), "x", b)},
        lambda b: {"G": Call(Name("numpy", "dtype"), b)},
        lambda b: {"G": Call(Name("torch", "Size"), b)},
        lambda b: {"G": Call(Name("collections", "OrderedDict"), b)},
        lambda b: {"G": Call(Name("torch._utils", "_rebuild_tensor_v2"), forge.storage(np.ones(2)), b, b, b)},
        lambda b: {"G": Call(Name("torch.storage", "_load_from_bytes"), b)},
    ],
)
def test_memo_bombs_anywhere_end_at_once(tmp_path, place):
    path = tmp_path / "network.pkl"
    path.write_bytes(forge.dumps(place(_bomb())))
    start = time.process_time()
    for reader in (read_official_pickle, convert_pickle):
        with pytest.raises(BadCheckpointError):
            reader(path)
    assert time.process_time() - start < 8


def test_memo_bomb_inside_a_tensor_stream(tmp_path):
    good = forge.stream(b"\0" * 4, "FloatStorage", 1)
    for first in (_bomb(), {"little_endian": _bomb()}):
        store = Call(Name("torch.storage", "_load_from_bytes"), forge.dumps(first, 2) + good)
        path = tmp_path / "network.pkl"
        path.write_bytes(forge.dumps({"G": store}))
        with pytest.raises(BadCheckpointError):
            read_official_pickle(path)


def test_small_file_cannot_fill_the_memory(tmp_path):
    store = forge.storage(np.zeros((256, 64, 3, 3), np.float32))
    strides = (576, 1, 192, 64)
    copies = {f"x{i}": forge.view(store, (256, 64, 3, 3), strides) for i in range(400)}
    state = {"_parameters": OrderedDict(copies), "_buffers": {}, "_modules": {}}
    path = tmp_path / "x.pkl"
    path.write_bytes(forge.dumps({"G": forge.persistent("G", state)}))
    with pytest.raises(BadCheckpointError, match="far more data"):
        read_official_pickle(path)


def test_repeated_modules_are_bounded(tmp_path):
    child: Any = forge.persistent("Leaf", {"_parameters": {}, "_modules": {}})
    for _ in range(30):
        child = forge.persistent("Twin", {"_modules": {"a": child, "b": child}})
    path = tmp_path / "x.pkl"
    path.write_bytes(forge.dumps({"G": child}))
    with pytest.raises(BadCheckpointError, match="too often"):
        read_official_pickle(path)


@pytest.mark.parametrize(
    "data",
    [
        forge.stream(b"\0" * 8, "FloatStorage", 2, header=(7, 1001)),
        forge.stream(b"\0" * 8, "FloatStorage", 2, header=(0x1950A86A20F9469CFC6C, 1002)),
        forge.stream(b"\0" * 8, "FloatStorage", 2, written=3),
        forge.stream(b"\0" * 12, "FloatStorage", 2),
        forge.stream(b"\0" * 4, "FloatStorage", 2),
        forge.stream(b"", "FloatStorage", 1 << 62),
        forge.stream(b"\0" * 8, "StringStorage", 2),
        forge.zip_stream(b"\0" * 12, "FloatStorage", 2),
        forge.zip_stream(b"\0" * 80000, "FloatStorage", 20000, compression=8),
        forge.zip_stream(b"\0" * 8, "FloatStorage", 2)[:-30],
    ],
)
def test_bad_tensor_streams(tmp_path, data):
    store = Call(Name("torch.storage", "_load_from_bytes"), data)
    state = {"_parameters": {"x": forge.view(store, (2,), (1,))}, "_modules": {}}
    path = tmp_path / "x.pkl"
    path.write_bytes(forge.dumps({"G": forge.persistent("G", state)}))
    with pytest.raises(BadCheckpointError):
        read_official_pickle(path)


MUTATE = """
import random, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
import stylegan_jax.models  # JAX too is imported before the clock runs
from stylegan_jax.convert import BadCheckpointError, convert_pickle
source, work, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
good = open(source, 'rb').read()
rng = random.Random(0)
ends, slowest = {'ok': 0, 'refused': 0}, 0.0
for i in range(count):
    data = bytearray(good)
    kind = rng.randrange(4)
    for _ in range(rng.choice((1, 1, 3, 10))):
        at = rng.randrange(len(data))
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 50)]
        elif kind == 2:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
        else:
            data[at : at + 8] = rng.choice((b'\\xff' * 8, b'\\0' * 8, b'\\xff\\xff\\xff\\x7f' * 2))
    if i % 10 == 0:
        data = data[: rng.randrange(len(data))]
    open(work, 'wb').write(data)
    start = time.process_time()
    try:
        convert_pickle(work)
        ends['ok'] += 1
    except BadCheckpointError:
        ends['refused'] += 1
    slowest = max(slowest, time.process_time() - start)
print(ends['ok'], ends['refused'], slowest)
"""


@pytest.mark.parametrize("era", ["torch", "tf"])
def test_mutated_files_raise_only_our_error(tmp_path, era):
    source = tmp_path / "good.pkl"
    if era == "torch":
        source.write_bytes(forge.dumps({"G_ema": official.snapshot(8)["G_ema"]}))
    else:
        variables = {f"noise{i}": np.zeros((1, 1, 4, 4), np.float32) for i in range(3)}
        source.write_bytes(forge.dumps(tuple(forge.tf_network("G", 5, {"resolution": 8}, variables) for _ in "gds")))
    command = [sys.executable, "-c", MUTATE, str(source), str(tmp_path / "bad.pkl"), "500"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    ok, refused, slowest = done.stdout.split()
    assert int(ok) + int(refused) == 500 and int(refused) > 100
    assert float(slowest) < 1.0
