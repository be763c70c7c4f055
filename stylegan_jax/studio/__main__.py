"""Open a model in the browser: `python -m stylegan_jax.studio --model=RUN_OR_FILE`, then visit the printed address.

Explore, mix and edit samples, project your own pictures, make films, look into layers, follow a run (docs/studio.md).
The server listens only on this machine, loads nothing from other hosts, and deletes a page's files when it is closed.
"""

from __future__ import annotations

import argparse
import re
import secrets
import socket
import sys
from collections.abc import Sequence

from stylegan_jax.base.flags import Parser
from stylegan_jax.studio import serving
from stylegan_jax.studio.guard import LOOPBACK, Rules
from stylegan_jax.tools import _inputs as inputs, _runner as runner

PORT = 7860
MIN_TOKEN = 16
PUBLIC_FRAMES = "'self' https://huggingface.co https://*.hf.space"
"""Pages that may show a public studio in a frame, such as a Hugging Face Space."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    head, _, rest = (__doc__ or "").partition("\n\n")
    p = Parser(prog="python -m stylegan_jax.studio", description=head, epilog=rest)
    inputs.add_model(p, default="demo")
    p.add_argument("--port", type=int, default=PORT, help="port to listen on; 0: any free one (default: %(default)s)")
    p.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; others than this machine's need --token or --public"
    )
    p.add_argument(
        "--token", help=f"secret that pages must send, at least {MIN_TOKEN} letters or digits (default: a random one)"
    )
    p.add_argument(
        "--features", metavar="FILE", help="VGG16 LPIPS weights for projection (default: cache, or a package)"
    )
    text = "workdir of an encoder's run, which inverts pictures in one pass (docs/inversion.md)"
    p.add_argument("--encoder", metavar="PATH", help=text)
    p.add_argument(
        "--public",
        action="store_true",
        help="let everybody in without a token, but disable uploads, projection and the run's files",
    )
    p.add_argument("--open", action="store_true", help="open the page in the default browser")
    return p


def check(args: argparse.Namespace) -> str:
    """Return the token; '' for a public studio.

    Raises:
        ValueError: an argument breaks a rule, or packages are missing.
    """
    serving.check_packages()
    serving.check_port(args.port)
    if args.token is not None and not re.fullmatch(rf"[\w-]{{{MIN_TOKEN},200}}", args.token, re.ASCII):
        raise ValueError(
            f"--token: pass {MIN_TOKEN} to 200 letters, digits, - or _, such as {secrets.token_urlsafe(16)}"
        )
    if args.public and args.token is not None:
        raise ValueError("--public lets everybody in, and --token only those who have it; pass one of them")
    if args.host not in LOOPBACK and args.token is None and not args.public:
        raise ValueError(
            f"--host={args.host} can be reached from other machines; pass a --token too, such as "
            f"--token={secrets.token_urlsafe(16)}, or leave --host out"
        )
    return "" if args.public else args.token or secrets.token_urlsafe(24)


def act(args: argparse.Namespace) -> str:
    """Serve until Ctrl-C; return the sentence to print."""
    token = check(args)
    listener = serving.bind(args.host, args.port)
    from stylegan_jax.sampling.encoding import load_encoder
    from stylegan_jax.sampling.load import load_model
    from stylegan_jax.studio.studio import Studio

    with listener:
        model = load_model(args.model, args.step)
        encoder = None if args.encoder is None else load_encoder(args.encoder, model)
        given = (args.model, args.step, args.features, encoder, args.encoder or "")
        studio = Studio(model, *given, is_public=args.public)
        port = listener.getsockname()[1]
        is_here = args.host in LOOPBACK
        shown = socket.gethostname() if args.host in ("0.0.0.0", "::") else args.host
        address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/{f'#token={token}' if token else ''}"
        print(f"the studio is at {address}\nCtrl-C ends it", flush=True)
        if args.open:
            import webbrowser

            webbrowser.open(address)
        hosts = LOOPBACK if is_here and not args.public else None
        frames = PUBLIC_FRAMES if args.public else "'self'"
        serving.run(studio, Rules(token, hosts, frames, is_proxied=args.public), listener)
    return "the studio is closed"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return runner.run(parser(), act, argv)


if __name__ == "__main__":
    sys.exit(main())
