"""CRC-32C (Castagnoli), the checksum of TFRecord files, in NumPy.

A byte-by-byte loop is too slow for images. The bytes are cut into parts of equal length, whose checksums are computed
in parallel. Because checksums are linear, two neighbours are combined by advancing the first over as many zero bytes as
the second is long.
"""

from __future__ import annotations

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # reflected
_COLUMN = 64  # bytes; longer columns are slower for small images


def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


_TABLE = _table()
_WORDS: list[int] = _TABLE.tolist()


@functools.cache
def _past_zeros(nbytes: int) -> np.ndarray:
    """Return uint32[4, 256]: for each byte of a checksum and each of its values, the result after `nbytes` zeros."""
    states = np.uint32(1) << np.arange(32, dtype=np.uint32)  # linear, so 32 single bits determine all results
    for _ in range(nbytes):
        states = (states >> 8) ^ _TABLE[states & 0xFF]
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    return np.stack(
        [np.bitwise_xor.reduce(bits.astype(np.uint32) * states[8 * b : 8 * b + 8], axis=1) for b in range(4)]
    )


def _move(table: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Advance checksums over the zero bytes that `table` represents."""
    out = table[0][states & 0xFF]
    for byte in range(1, 4):
        out = out ^ table[byte][states >> (8 * byte) & 0xFF]
    return out


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data`, as in RFC 3720; crc32c(b'123456789') == 0xE3069283."""
    if len(data) < _COLUMN:
        return _bytewise(data, 0xFFFFFFFF) ^ 0xFFFFFFFF
    content = np.frombuffer(data, np.uint8)
    columns = 1 << (len(content) // _COLUMN).bit_length() - 1
    length = len(content) // columns
    body = content[: columns * length].reshape(columns, length)
    states = np.zeros(columns, np.uint32)
    states[0] = 0xFFFFFFFF
    for step in np.ascontiguousarray(body.T):
        states = (states >> 8) ^ _TABLE[(states ^ step) & 0xFF]
    table = _past_zeros(length)
    while len(states) > 1:
        states = _move(table, states[0::2]) ^ states[1::2]
        table = _move(table, table)  # past twice as many
    return _bytewise(data[columns * length :], int(states[0])) ^ 0xFFFFFFFF


def _bytewise(data: bytes, state: int) -> int:
    for value in data:
        state = state >> 8 ^ _WORDS[(state ^ value) & 0xFF]
    return state
