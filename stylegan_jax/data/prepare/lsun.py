"""LSUN: an LMDB of encoded images (the published `*_lmdb` folders)."""

from __future__ import annotations

import os

from stylegan_jax.data.errors import DataError
from stylegan_jax.data.images import MAX_BYTES
from stylegan_jax.data.prepare.examples import Example, Examples


def open_lsun(path: str) -> Examples:
    """Open an LMDB folder (with data.mdb) or file, in the order of its keys; LSUN has no labels.

    Raises:
        DataError: the package is missing, it is not an LMDB, or it is cut off.
    """
    try:
        import lmdb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(f"{path}: reading LSUN needs the package lmdb: pip install 'stylegan_jax[lsun]'") from error
    try:
        database = lmdb.open(path, subdir=os.path.isdir(path), readonly=True, lock=False, create=False)
        known = database.stat()
        count, needed = known["entries"], (database.info()["last_pgno"] + 1) * known["psize"]
    except lmdb.Error as error:
        raise DataError(f"{path}: not an LMDB that can be read: {error}") from error
    file = os.path.join(path, "data.mdb") if os.path.isdir(path) else path
    size = os.path.getsize(file)
    if size < needed:  # the file is mapped into memory: reading past its end would kill the process
        database.close()
        raise DataError(f"{file}: cut off: {size} of {needed} bytes; copy it again")

    def examples():
        try:
            with database.begin() as transaction:
                for key, value in transaction.cursor():
                    data = value if len(value) <= MAX_BYTES else b""
                    yield Example(key.decode("latin1"), None, lambda data=data: data)
        except lmdb.Error as error:
            raise DataError(f"{path}: damaged: {error}; copy it again") from error

    return Examples("lsun", os.path.basename(os.path.abspath(path)), examples(), count, close=database.close)
