"""The state of each open page: its folder, picture, projection and directions."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from stylegan_jax.base.errors import StyleganError

QUIET_SECONDS = 600.0
"""Seconds after the last request when a page counts as closed; an open page sends one every minute."""


class NoSession(StyleganError):
    """The session has ended, or never existed."""


@dataclasses.dataclass
class Session:
    """One open page.

    Attributes:
        id: secret of that page.
        folder: folder of its files, which the studio names.
        seen: time of its last request.
        picture: uint8[h, w, c], the uploaded picture, upright.
        target: uint8[h, w, c] of the model's shape, cropped from it.
        found: its projection, a `projector.Projection` of one image.
        steps: how it was found: the command 'line', the 'label', and 'tune_steps' if the model was tuned.
        tuned: the model that was tuned to it, with arguments of `pti`.
        dragged: the result of every drag, `drags.Dragged`, for undo and as a source.
        directions: by name, `directions.Directions`.
        files: what can be downloaded: name for the page -> file in the folder.
    """

    id: str
    folder: Path
    seen: float
    picture: np.ndarray | None = None
    target: np.ndarray | None = None
    found: Any = None
    steps: dict[str, Any] = dataclasses.field(default_factory=dict)
    tuned: Any = None
    dragged: list[Any] = dataclasses.field(default_factory=list)
    directions: dict[str, Any] = dataclasses.field(default_factory=dict)
    files: dict[str, Path] = dataclasses.field(default_factory=dict)


class Sessions:
    """All open pages, at most `most`, with their folders in a temporary folder that `close_all` removes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.root = Path(tempfile.mkdtemp(prefix="stylegan_jax_studio_"))
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def open(self) -> Session:
        """Return a new session.

        Raises:
            NoSession: too many are open.
        """
        with self._lock:
            if len(self._open) >= self.most:
                raise NoSession(f"{self.most} pages of this studio are open; close one, or wait ten minutes")
            name = uuid.uuid4().hex
            (self.root / name).mkdir(parents=True)
            self._open[name] = Session(name, self.root / name, time.monotonic())
            return self._open[name]

    def get(self, name: str) -> Session:
        """Return a session, and note that its page is open.

        Raises:
            NoSession: no session has this id.
        """
        session = self._open.get(name)
        if session is None:
            raise NoSession("this page's session has ended; reload the page")
        session.seen = time.monotonic()
        return session

    def close(self, name: str) -> bool:
        """Remove a session and its folder; return whether there was one."""
        with self._lock:
            session = self._open.pop(name, None)
        if session is not None:
            shutil.rmtree(session.folder, ignore_errors=True)
        return session is not None

    def quiet(self) -> list[str]:
        """Return the sessions whose pages count as closed."""
        limit = time.monotonic() - QUIET_SECONDS
        return [name for name, session in list(self._open.items()) if session.seen < limit]

    def close_all(self) -> None:
        """Remove all sessions and the temporary folder."""
        for name in list(self._open):
            self.close(name)
        shutil.rmtree(self.root, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._open)
