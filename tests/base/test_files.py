"""A file is written whole or not at all."""

from __future__ import annotations

import pytest

from stylegan_jax.base.files import replacing, write_whole


def test_a_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_file_as_it_was(tmp_path, error):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(error), replacing(path, ".7.part") as part:
        part.write_text("half")
        assert part.name == "a.json.7.part"
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_error_before_the_first_byte_is_shown_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "absent" / "a") as part:
        part.write_text("x")


@pytest.mark.parametrize(("content", "found"), [("ä\n", b"\xc3\xa4\n"), (b"\r\n", b"\r\n")])
def test_text_and_bytes(tmp_path, content, found):
    write_whole(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == found
