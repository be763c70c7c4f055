"""LSUN: an LMDB of encoded images (the published `*_lmdb` folders)."""

from __future__ import annotations

import os

from stylegan_jax.data.errors import DataError
from stylegan_jax.data.images import MAX_BYTES
from stylegan_jax.data.prepare.examples import Example, Examples


def open_lsun(path: str) -> Examples:
    """Open an LMDB folder (with data.mdb) or file, in the order of its keys; LSUN has no labels.

    Raises:
        DataError: the package is missing, or it is not an LMDB.
    """
    try:
        import lmdb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(f"{path}: reading LSUN needs the package lmdb: pip install 'stylegan_jax[lsun]'") from error
    try:
        database = lmdb.open(path, subdir=os.path.isdir(path), readonly=True, lock=False, create=False)
        count = database.stat()["entries"]
    except lmdb.Error as error:
        raise DataError(f"{path}: not an LMDB that can be read: {error}") from error

    def examples():
        try:
            with database.begin() as transaction:
                for key, value in transaction.cursor():
                    data = value if len(value) <= MAX_BYTES else b""
                    yield Example(key.decode("latin1"), None, lambda data=data: data)
        except lmdb.Error as error:
            raise DataError(f"{path}: damaged: {error}; copy it again") from error

    return Examples("lsun", os.path.basename(os.path.abspath(path)), examples(), count, close=database.close)
