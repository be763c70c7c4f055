"""Open a model in the browser: `python -m stylegan_jax.studio --model=RUN_OR_FILE`, then visit the printed address.

Explore, mix, edit, project your own pictures, make films, look into layers, follow a run (docs/studio.md). It listens
only on this machine, loads nothing from other hosts, and deletes a page's files when the page is closed.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import secrets
import socket
import sys
from collections.abc import Sequence

from stylegan_jax.base.flags import Parser
from stylegan_jax.studio.guard import LOOPBACK
from stylegan_jax.tools import _inputs as inputs, _runner as runner

PORT = 7860
MIN_TOKEN = 16


def parser() -> argparse.ArgumentParser:
    """Return the arguments."""
    head, _, rest = (__doc__ or "").partition("\n\n")
    p = Parser(prog="python -m stylegan_jax.studio", description=head, epilog=rest)
    inputs.add_model(p)
    p.add_argument("--port", type=int, default=PORT, help="0: any that is free (default: %(default)s)")
    p.add_argument("--host", default="127.0.0.1", help="where to listen; beyond this machine only with --token")
    p.add_argument(
        "--token", help=f"that pages must bring, {MIN_TOKEN} letters or digits or more (default: a random one)"
    )
    p.add_argument(
        "--features", metavar="FILE", help="VGG16 LPIPS weights for projection (default: cache, or a package)"
    )
    text = "workdir of an encoder's run, which finds pictures in one pass (docs/inversion.md)"
    p.add_argument("--encoder", metavar="PATH", help=text)
    p.add_argument("--open", action="store_true", help="open the page in the default browser")
    return p


def check(args: argparse.Namespace) -> str:
    """Return the token.

    Raises:
        ValueError: an argument breaks a rule, or packages are missing.
    """
    absent = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if absent:
        raise ValueError(f"the studio needs {' and '.join(absent)}: pip install 'stylegan_jax[studio]'")
    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port={args.port}: choose a port from 0 to 65535")
    if args.token is not None and not re.fullmatch(rf"[\w-]{{{MIN_TOKEN},200}}", args.token, re.ASCII):
        raise ValueError(
            f"--token: pass {MIN_TOKEN} to 200 letters, digits, - or _, such as {secrets.token_urlsafe(16)}"
        )
    if args.host not in LOOPBACK and args.token is None:
        raise ValueError(
            f"--host={args.host} can be reached from other machines; pass a --token too, such as "
            f"--token={secrets.token_urlsafe(16)}, or leave --host out"
        )
    return args.token or secrets.token_urlsafe(24)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ValueError: the port is taken, or the host is none of this machine's.
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


def act(args: argparse.Namespace) -> str:
    """Serve until Ctrl-C; return the sentence to print."""
    token = check(args)
    listener = bind(args.host, args.port)
    import uvicorn

    from stylegan_jax.sampling.encoding import load_encoder
    from stylegan_jax.sampling.load import load_model
    from stylegan_jax.studio.app import make_app
    from stylegan_jax.studio.studio import Studio

    with listener:
        model = load_model(args.model, args.step)
        encoder = None if args.encoder is None else load_encoder(args.encoder, model)
        studio = Studio(model, args.model, args.step, args.features, encoder, args.encoder or "")
        port = listener.getsockname()[1]
        is_here = args.host in LOOPBACK
        shown = socket.gethostname() if args.host in ("0.0.0.0", "::") else args.host
        address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/#token={token}"
        print(f"the studio is at {address}\nCtrl-C ends it", flush=True)
        if args.open:
            import webbrowser

            webbrowser.open(address)
        app = make_app(studio, token, LOOPBACK if is_here else None)
        config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none", loop="asyncio", http="h11")
        config.timeout_graceful_shutdown, config.server_header = 3, False
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            studio.close()
    return "the studio is closed"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
