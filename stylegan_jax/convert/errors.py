"""The error that reading, converting or writing a checkpoint raises."""

from __future__ import annotations

import os

from stylegan_jax.base.errors import StyleganError, visible


class BadCheckpointError(StyleganError):
    """A checkpoint is damaged, hostile, of an unknown kind, or does not fit the network it claims to be.

    Attributes:
        path: the file or folder at fault; empty when the data did not come from a file.
        reason: what is wrong and, if possible, what to do.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str):
        """Store both parts; the message joins them."""
        self.path = os.fspath(path)
        self.reason = visible(reason).replace("\n", "\\n")
        super().__init__(f"{self.path}: {self.reason}" if self.path else self.reason)
