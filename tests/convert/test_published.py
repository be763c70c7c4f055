"""Names of published models: what a user must fetch is said where the file is missing, and in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stylegan_jax.convert import BadCheckpointError, read_official_pickle
from stylegan_jax.convert.published import PUBLISHED, advice
from stylegan_jax.sampling import load_model

DOCS = Path(__file__).parents[2] / "docs"
XL = [model for model in PUBLISHED if model.arch == "stylegan_xl"]


@pytest.mark.parametrize("name", ["imagenet256.pkl", "imagenet256"])
def test_a_missing_file_says_where_it_is_published(tmp_path, name):
    words = r"ImageNet at 256x256 is published at https://.*/imagenet256\.pkl"
    with pytest.raises(BadCheckpointError, match=rf"cannot be read: No such file.*; {words}"):
        read_official_pickle(tmp_path / name)
    with pytest.raises(Exception, match=rf"does not exist; {words}$"):
        load_model(tmp_path / name)
    assert not advice("imagenet257.pkl")


def test_a_name_that_two_authors_use_names_both():
    text = advice("runs/cifar10.pkl")
    assert text.count("CIFAR-10 at 32x32 is published at https://") == 2 and text.startswith("; ")
    assert "stylegan_xl/models/cifar10.pkl" in text and "pretrained/cifar10.pkl" in text


def test_addresses_of_files_end_in_their_names():
    files = [model for model in PUBLISHED if model.name.endswith(".pkl") and "drive.google" not in model.address]
    assert len(XL) == 14 and set(XL) < set(files)
    assert all(model.address.endswith(f"/{model.name}") for model in files)


def test_the_docs_list_what_they_say_they_list():
    text = (DOCS / "stylegan_xl.md").read_text()
    for m in XL:
        row = f"| {m.data} | {m.size.split('x')[0]} | {m.classes or 'none'} | {m.fid:g} | `{m.name}` |"
        assert row in text, row
    text = (DOCS / "stylegan_v.md").read_text()
    videos = [model for model in PUBLISHED if model.arch == "stylegan_v"]
    assert videos and all(f"| {m.data} |" in text and m.address in text for m in videos)
