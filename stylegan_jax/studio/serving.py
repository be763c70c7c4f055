"""The server of a studio: in this thread until Ctrl-C (`run`), or in one of its own (`Server`)."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import threading
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from stylegan_jax.studio.guard import LOOPBACK, Rules

if TYPE_CHECKING:
    from stylegan_jax.studio.studio import Studio


def check_packages() -> None:
    """Raise ValueError unless the packages of the extra `studio` are installed."""
    absent = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if absent:
        raise ValueError(f"the studio needs {' and '.join(absent)}: pip install 'stylegan_jax[studio]'")


def check_port(port: int) -> None:
    """Raise ValueError unless `port` is a valid port number."""
    if not 0 <= port <= 65535:
        raise ValueError(f"--port={port}: choose a port from 0 to 65535")


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ValueError: the port is taken, or the host is not an address of this machine.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(place)
            found.listen(128)
            return found
        except OSError:
            found.close()
            raise
    except OSError as error:
        why = error.strerror or str(error)
        told = f"--host={host} --port={port}: {why}; choose another, or --port=0 for any that is free"
        raise ValueError(told) from None


def _make(studio: Studio, rules: Rules) -> Any:
    import uvicorn

    from stylegan_jax.studio.app import make_app

    app = make_app(studio, rules)
    config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none", loop="asyncio", http="h11")
    config.timeout_graceful_shutdown, config.server_header = 3, False
    return uvicorn.Server(config)


def run(studio: Studio, rules: Rules, listener: socket.socket) -> None:
    """Serve until Ctrl-C, then close the studio."""
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _make(studio, rules).run(sockets=[listener])
    finally:
        studio.close()


class Server:
    """A studio that listens on 127.0.0.1 in a thread of its own, until it is closed.

    Attributes:
        studio: the studio that it serves.
        token: secret that pages must send.
        port: port that it listens on.
    """

    def __init__(self, studio: Studio, token: str, port: int = 0, hosts: Collection[str] | None = LOOPBACK, **rules):
        self.studio, self.token = studio, token
        self._socket = bind(LOOPBACK[0], port)
        self.port: int = self._socket.getsockname()[1]
        self._server = _make(studio, Rules(token, hosts, **rules))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()

    def close(self, seconds: float = 30.0) -> None:
        """End the server, and delete everything of its pages; a second call does nothing."""
        self._server.should_exit = True
        self._thread.join(seconds)
        self._socket.close()
        self.studio.close()

    @property
    def is_running(self) -> bool:
        """Whether its thread is alive."""
        return self._thread.is_alive()

    def wait(self, seconds: float = 30.0) -> None:
        """Wait until the server answers.

        Raises:
            OSError: it does not.
        """
        end = time.monotonic() + seconds
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise OSError(f"the studio does not answer on port {self.port}")
            time.sleep(0.02)
