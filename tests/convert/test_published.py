"""Names of published models: what a user must fetch is said where the file is missing, and in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stylegan_jax.convert import BadCheckpointError, read_official_pickle
from stylegan_jax.convert.published import PUBLISHED, advice
from stylegan_jax.sampling import load_model

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["imagenet256.pkl", "imagenet256"])
def test_a_missing_file_says_where_it_is_published(tmp_path, name):
    words = r"ImageNet at 256x256 is published at https://.*/imagenet256\.pkl"
    with pytest.raises(BadCheckpointError, match=rf"cannot be read: No such file.*; {words}"):
        read_official_pickle(tmp_path / name)
    with pytest.raises(Exception, match=rf"does not exist; {words}$"):
        load_model(tmp_path / name)
    assert not advice("imagenet257.pkl")


def test_addresses_end_in_the_names_of_their_files():
    assert len(PUBLISHED) == 14 and all(model.address.endswith(f"/{name}") for name, model in PUBLISHED.items())


def test_the_docs_list_every_published_model():
    text = (DOCS / "stylegan_xl.md").read_text()
    for name, model in PUBLISHED.items():
        assert model.address.endswith(f"/{name}")
        row = f"| {model.data} | {model.resolution} | {model.classes or 'none'} | {model.fid:g} | `{name}` |"
        assert row in text, row
