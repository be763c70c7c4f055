"""Files of arrays by anybody: what is in them is known before anything is read, and nothing large is."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from stylegan_jax.base import arrays


def npy(text: str, values: bytes = b"") -> bytes:
    """Return an .npy file whose header is this text."""
    body = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body + values


def header(shape: str, kind: str = "<f4") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}"


def npz(path, **members: bytes) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return str(path)


def test_arrays_come_back_as_they_were(tmp_path):
    given = {"w": np.arange(6, dtype=">f8").reshape(2, 3), "a/b": np.asfortranarray(np.ones((3, 2), np.int16))}
    np.savez_compressed(tmp_path / "x.npz", **given, words=np.array(["a"]))
    assert {n: str(h) for n, h in arrays.read_headers(tmp_path / "x.npz").items()} == {
        "w": ">f8[2, 3]",
        "a/b": "int16[3, 2]",
        "words": "<U1[1]",
    }
    found = arrays.load(tmp_path / "x.npz", ("w", "a/b"))
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)
    np.save(tmp_path / "x.npy", given["w"])
    (tmp_path / "x.npy").rename(tmp_path / "named.npz")  # the content decides
    np.testing.assert_array_equal(arrays.load(tmp_path / "named.npz")[""], given["w"])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (npy(header("(1000000000000,)")), r"'w' is float32\[1000000000000\]; more than 1024 MiB are not read"),
        (npy("{'descr': ("), "the header of 'w' is damaged"),
        (npy(header("(2, -1)")), "the header of 'w' is damaged"),
        (npy(header("(2, 3)"), bytes(8)), "'w' is cut off: 8 of 24 bytes"),
        (npy(header("(1,)", "|O"), b"cos\nsystem\n"), r"'w' is object\[1\], not real numbers"),
        (npy(header("(1,)", "<c8"), bytes(8)), r"'w' is complex64\[1\], not real numbers"),
        (b"\x93NUMPY\x09\x00", "the header of 'w' is damaged"),
        (b"", "the header of 'w' is damaged"),
    ],
)
def test_hostile_headers_are_an_error_of_one_line(tmp_path, content, text):
    with pytest.raises(ValueError, match=text) as caught:
        arrays.load(npz(tmp_path / "x.npz", w=content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no such file"),
        (b"", "it is empty"),
        (b"<html>", "it begins with b'<html>', as neither .npz nor .npy does"),
        (b"PK\x03\x04cut", "not a zip file"),
        (npy(header("(1000000000000,)")), r"the array is float32\[1000000000000\]"),
    ],
)
def test_files_that_are_no_arrays(tmp_path, content, text):
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=text):
        arrays.load(tmp_path / "x")


def test_a_small_file_of_gigabytes_takes_no_memory(tmp_path):
    """The header is read, not the eight gigabytes of zeros that it is followed by, of which a few MiB are there."""
    path = npz(tmp_path / "x.npz", w=npy(header(f"({2**31},)"), bytes(8 << 20)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than 1024 MiB"):
        arrays.load(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_the_sum_of_all_arrays_is_bounded(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(300), b=np.zeros(300))
    assert len(arrays.load(tmp_path / "x.npz", ("a",), most=3000)["a"]) == 300
    with pytest.raises(ValueError, match="'b' is"):
        arrays.load(tmp_path / "x.npz", most=3000)


def test_a_missing_array_and_a_torch_file_are_named(tmp_path):
    npz(tmp_path / "x.npz", **{"esc\x1b[2J": npy(header("()"), bytes(4))})
    with pytest.raises(ValueError, match=r"it has no 'w', but 'esc\\x1b\[2J'"):
        arrays.load(tmp_path / "x.npz", ("w",))
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    with pytest.raises(ValueError, match=r"a file of torch\.save; save the tensor by numpy\.savez"):
        arrays.load(tmp_path / "x.pt")


def test_every_cut_of_a_file_is_an_error_or_nothing(tmp_path):
    file = io.BytesIO()
    np.savez_compressed(file, w=np.arange(50.0))
    whole = file.getvalue()
    for end in range(len(whole)):
        (tmp_path / "x.npz").write_bytes(whole[:end])
        with pytest.raises(ValueError):
            arrays.load(tmp_path / "x.npz", ("w",))
    for at in range(len(whole)):
        (tmp_path / "x.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            arrays.load(tmp_path / "x.npz", ("w",))
        except ValueError as error:
            assert "\n" not in str(error)
