"""The studio inside a notebook, in Jupyter, VS Code and Colab.

    from stylegan_jax.studio import notebook

    notebook.show("demo")

The page appears below the cell. The server is a thread of the kernel, so the page draws with the notebook's own model.
It ends with the kernel, with `close`, or when the same model is shown again.
"""

from __future__ import annotations

import atexit
import html
import os
import secrets
import sys
from typing import Any

from stylegan_jax.sampling.load import load_model
from stylegan_jax.sampling.model import LoadedModel
from stylegan_jax.studio import serving
from stylegan_jax.studio.studio import Studio

HEIGHT = 900
FRAMES = (
    "'self' http://localhost:* http://127.0.0.1:* https://localhost:* https://127.0.0.1:* vscode-webview: "
    "https://*.vscode-cdn.net https://colab.research.google.com https://*.googleusercontent.com"
)
"""Pages that may show the studio in a frame, as a Content-Security-Policy names them."""
_open: dict[Any, Shown] = {}


class Shown:
    """A studio below a cell.

    Attributes:
        address: URL of the page with its token; whoever has it can use the studio.
        server: the running server.
    """

    def __init__(self, server: serving.Server, address: str, height: int):
        self.server, self.address, self._height = server, address, height

    def _repr_html_(self) -> str:
        source = html.escape(self.address, quote=True)
        return (
            f'<iframe src="{source}" title="stylegan_jax studio" width="100%" height="{self._height}" '
            'allow="clipboard-write; fullscreen" style="border: 0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"the studio on port {self.server.port}; close() ends it"

    def close(self) -> None:
        """End the studio."""
        for key in [key for key, shown in _open.items() if shown is self]:
            del _open[key]
        self.server.close()


def show(
    model: LoadedModel | str | os.PathLike[str],
    *,
    height: int = HEIGHT,
    port: int = 0,
    address: str | None = None,
    features: str | None = None,
) -> Shown | None:
    """Open the studio below the cell.

    The server listens on 127.0.0.1 only and rejects requests without the random token, which the address contains.

    Args:
        model: the generator, or an argument of `load_model`. Command lines on the page name the place that it was
            loaded from.
        height: height of the page in pixels.
        port: port to listen on; 0: any free one.
        address: if the kernel runs on another machine, the address by which the browser reaches {port}, such as
            '/user/me/proxy/{port}/' with jupyter-server-proxy; None: 127.0.0.1, or in Colab its own proxy.
        features: path of LPIPS weights for projection; None: those of the cache or of a package.

    Returns:
        The output of the cell; in Colab None, because Colab's own function shows the page.

    Raises:
        ValueError: the extra `studio` is missing, or an argument breaks a rule; also the errors of `load_model`.
    """
    serving.check_packages()
    if height < 200:
        raise ValueError(f"height={height}: the page needs at least 200 pixels")
    serving.check_port(port)
    if address is not None and "{port}" not in address:
        raise ValueError(f"address={address!r} has no {{port}}; write it where the port's number goes")
    if isinstance(model, LoadedModel):
        key, loaded = id(model), model
        path = str(model.provenance.get("workdir") or model.provenance.get("path") or "MODEL")
    else:
        key = path = os.fspath(model)
        loaded = load_model(path)
    if key in _open:
        _open[key].close()
    in_colab = "google.colab" in sys.modules  # which its kernels import at their start
    through = address is not None or in_colab
    options: dict[str, Any] = {"frames": FRAMES, "is_proxied": through} | ({"hosts": None} if through else {})
    server = serving.Server(Studio(loaded, path, None, features), secrets.token_urlsafe(24), port, **options)
    server.wait()
    place = address.format(port=server.port) if address else f"http://127.0.0.1:{server.port}/"
    shown = _open[key] = Shown(server, f"{place}#token={server.token}", height)
    if in_colab and address is None:
        from google.colab import output  # pyright: ignore[reportMissingImports]

        output.serve_kernel_port_as_iframe(server.port, path=f"/#token={server.token}", height=str(height))
        return None
    return shown


@atexit.register
def _close_all() -> None:
    for shown in list(_open.values()):
        shown.close()
